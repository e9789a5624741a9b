"""Requests to a webhook's target: bounded in time and size, and silent about secrets.

Nothing is retried here and nothing is known of orders. Redirects are never followed: what is meant
for one host must not reach another.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from candled_adapters.sinks.retrying import Outcome, outcome_of

_EXCERPT: Final = 200
_BODY_S: Final = 2.0
_SHORTEST_SECRET: Final = 4  # hiding every "1" would hide nothing and spoil the text
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]+")


class NotReachedError(Exception):
    """A target did not answer; the text says why, without secrets."""


@dataclass(frozen=True, slots=True)
class WireSettings:
    """How a target is reached. What may hold a secret is left out of its repr."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with every request."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    """For HTTP basic authentication, with `username`."""
    hmac_key: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """Which certificates are trusted; None for the usual ones."""
    connect_timeout: float = 3.0
    """Seconds."""
    timeout: float = 10.0
    """Seconds for a request and its answer."""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """Whatever else must not be seen in a message."""

    @property
    def place(self) -> str:
        """Where the target is, without what may be secret: scheme, host and port."""
        parts = urlsplit(self.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool
    """False when the body was too long, too slow or cut off."""

    def outcome(self, now_s: float) -> Outcome:
        """Tell what it means by its status; `now_s` is Unix time."""
        return outcome_of(self.status, self.headers, now_s)

    def json(self) -> Any:  # noqa: ANN401 - whatever the target says
        """Return the body as plain data; None for one that is not whole or no JSON."""
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(self.body) if self.whole else None
        return None


class WebhookWire:
    """Asks one target; made by `open_wire`."""

    def __init__(self, settings: WireSettings, client: httpx.AsyncClient) -> None:
        self.settings = settings
        self._client = client
        self._patience = httpx.Timeout(settings.timeout, connect=settings.connect_timeout)
        hidden = {settings.password, settings.hmac_key, *settings.headers.values()}
        self._hidden = sorted(
            (text for text in hidden | settings.secrets | _of_url(settings.url) if text),
            key=len,
            reverse=True,
        )

    def hurry(self, within_s: float) -> None:
        """Let the next calls connect early enough for an attempt that ends in `within_s`.

        To connect and to shake hands take the connect timeout each, and a handshake that is
        cancelled from outside, instead of running out of time, would leave its socket open.
        """
        settings = self.settings
        connect = max(0.001, min(settings.connect_timeout, 0.45 * within_s))
        self._patience = httpx.Timeout(settings.timeout, connect=connect)

    async def call(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        most: int = 65_536,
    ) -> Answer:
        """Return the answer with at most `most` bytes of its body; raises NotReachedError."""
        request = self._client.build_request(
            method, url, content=body, headers=dict(headers or {}), timeout=self._patience
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx.TimeoutException as error:
            raise NotReachedError("no answer in time") from error
        except (httpx.HTTPError, OSError) as error:
            raise NotReachedError(self.safe(str(error) or type(error).__name__)) from error
        try:
            content, whole = await _read(response, most)
        finally:
            await response.aclose()
        return Answer(response.status_code, response.headers, content, whole)

    def safe(self, text: str) -> str:
        """Return a text for people without secrets, control characters and length."""
        for secret in self._hidden:
            text = text.replace(secret, "[hidden]")
        text = _UNPRINTABLE.sub(" ", text).strip()
        return text if len(text) <= _EXCERPT else text[:_EXCERPT] + " ..."


@asynccontextmanager
async def open_wire(settings: WireSettings) -> AsyncIterator[WebhookWire]:
    """Give a wire to the target; nothing is connected before the first call."""
    user, password = settings.username, settings.password
    client = httpx.AsyncClient(
        verify=_usual_trust() if settings.tls is None else settings.tls,
        auth=None if user is None else httpx.BasicAuth(user, password or ""),
        headers={**settings.headers, "User-Agent": "candled", "Accept-Encoding": "identity"},
        limits=httpx.Limits(max_connections=2, max_keepalive_connections=1),
        follow_redirects=False,
        trust_env=False,  # neither a proxy nor a .netrc that nobody named may see an order
    )
    async with client:
        yield WebhookWire(settings, client)


async def reach(settings: WireSettings) -> None:
    """Connect to the target and check its certificate, but ask it nothing; NotReachedError."""
    parts = urlsplit(settings.url)
    tls = (settings.tls or _usual_trust()) if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    try:
        async with asyncio.timeout(settings.connect_timeout):
            _, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
    except TimeoutError as error:
        raise NotReachedError("no answer in time") from error
    except OSError as error:
        raise NotReachedError(_UNPRINTABLE.sub(" ", str(error))) from error
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def tls_context(ca_file: Path | None) -> ssl.SSLContext | None:
    """Return what to trust: the authorities in `ca_file`, or None for the usual ones.

    Raises OSError (ssl.SSLError is one) for a file that cannot be used.
    """
    return None if ca_file is None else ssl.create_default_context(cafile=str(ca_file))


@lru_cache(maxsize=1)
def _usual_trust() -> ssl.SSLContext:
    """Return the context that all targets share: to read the authorities takes a while."""
    return httpx.create_ssl_context()


def signature(key: str, body: bytes, unix_s: int) -> str:
    """Return the value of X-Candled-Signature: when it was sent, and a proof of who sent it."""
    signed = str(unix_s).encode() + b"." + body
    return f"t={unix_s},v1={hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()}"


def excerpt(answer: Answer) -> str:
    """Return the beginning of what was answered, for people."""
    return answer.body[:_EXCERPT].decode(errors="replace")


async def _read(response: httpx.Response, most: int) -> tuple[bytes, bool]:
    """Return what can be had of a body; the status is known already, so that nothing is raised."""
    found = bytearray()
    with suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(_BODY_S):
            async for piece in response.aiter_raw():
                found += piece
                if len(found) > most:
                    return bytes(found[:most]), False
            return bytes(found), True
    return bytes(found), False


def _of_url(url: str) -> set[str]:
    """Return the parts of an address that may be secret."""
    parts = urlsplit(url)
    pieces: Iterable[str] = re.split(r"[/&=]", f"{parts.path}/{parts.query}/{parts.fragment}")
    return {piece for piece in pieces if len(piece) >= 2 * _SHORTEST_SECRET}
