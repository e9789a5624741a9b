"""Webhooks and alerts: what of the configuration becomes which sink. Part of the composition root.

Everything that can be wrong with them is found here, all at once and before anything runs:
templates are read and rendered with a sample, secrets are read, symbols are given their pairs.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from candled.config import Config, ConfigError, WebhookConfig
from candled.ports import Clock, Sink
from candled.secret import read_secret
from candled_adapters.sinks.alerts import (
    AlertSettings,
    AlertSink,
    AlertUrlError,
    Tell,
    apprise_tell,
)
from candled_adapters.sinks.couriers import (
    TRADINGVIEW,
    TRADINGVIEW_SECRETS,
    Courier,
    PostCourier,
    Wording,
    read_wording,
)
from candled_adapters.sinks.freqtrade import FreqtradeCourier
from candled_adapters.sinks.orders import Wanted, sample
from candled_adapters.sinks.pairs import Market, pair_of
from candled_adapters.sinks.templates import Template, TemplateError
from candled_adapters.sinks.webhook import WebhookSink
from candled_adapters.sinks.webhook_wire import WireSettings, open_wire, tls_context

_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e\t]+")
_OUR_HEADERS: Final = frozenset(
    {"content-type", "content-length", "host", "transfer-encoding", "connection"}
    | {"idempotency-key", "x-candled-signature", "user-agent", "accept-encoding"}
)


@dataclass(frozen=True, slots=True)
class Target:
    """A webhook, ready to be made a sink of."""

    name: str
    wire: WireSettings
    wording: Wording | None
    """None for freqtrade, which has a way of its own."""
    wanted: Wanted
    market: Market
    pairs: Mapping[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def open(self, epoch: str) -> AsyncIterator[Courier]:
        """Give the way to the target."""
        async with open_wire(self.wire) as wire:
            if self.wording is None:
                yield FreqtradeCourier(wire, self.market, self.pairs)
            else:
                yield PostCourier(wire, self.wording, epoch)


def require_targets(config: Config) -> None:
    """Raise ConfigError with all that is wrong with webhooks and alerts."""
    problems = webhook_targets(config)[1] + alert_tell(config)[1]
    if problems:
        raise ConfigError(Path("webhooks and alerts"), problems)


def webhook_sinks(config: Config, clocks: Callable[[str], Clock]) -> list[Sink]:
    """Return a sink for each webhook; raises ConfigError, see `webhook_targets`."""
    targets, problems = webhook_targets(config)
    if problems:
        raise ConfigError(Path("webhooks"), problems)
    return [
        WebhookSink(
            target.name,
            target.wire.place,
            target.wanted,
            target.open,
            clocks,
            timeout=target.wire.timeout,
        )
        for target in targets
    ]


def webhook_targets(config: Config) -> tuple[list[Target], list[str]]:
    """Return the webhooks that can be used, and what is wrong with the others, by their keys."""
    problems = _repeated(config)
    targets = []
    for index, part in enumerate(config.webhooks):
        reading = _Reading(f"webhooks.{index}", problems)
        target = _target(part, config, reading)
        if target is not None and not reading.failed:
            targets.append(target)
    return targets, problems


class _Reading:
    """Collects what is wrong with one webhook, each with its key."""

    def __init__(self, where: str, problems: list[str]) -> None:
        self._where = where
        self._problems = problems
        self.failed = False

    def problem(self, key: str, text: str) -> None:
        self.failed = True
        self._problems.append(f"{self._where}.{key}: {text}")

    def secret(self, key: str, place: Path | None) -> str | None:
        if place is None:
            return None
        try:
            return read_secret(f"{self._where}.{key}", place)
        except ConfigError as error:
            self.failed = True
            self._problems += [f"{problem} ({place})" for problem in error.problems]
            return None

    @contextmanager
    def about(self, key: str) -> Iterator[None]:
        """Let what a template or file is refused for be a problem of `key`."""
        try:
            yield
        except (TemplateError, OSError) as error:
            self.problem(key, str(error))


def _target(part: WebhookConfig, config: Config, reading: _Reading) -> Target | None:
    _check_streams(part, config, reading)
    secrets = _read_all("secrets", part.secrets, reading)
    wire = _wire(part, secrets, reading)
    wording = _wording(part, secrets, reading)
    wanted = Wanted(
        streams=tuple(part.streams),
        sides=tuple(part.sides),
        exits=part.exits and (part.template is None or part.exit_template is not None),
        exit_seconds=part.exit_seconds,
    )
    if part.preset == "freqtrade":
        _check_freqtrade(part, config, reading)
    if wire is None:
        return None
    return Target(part.name, wire, wording, wanted, part.market, part.pairs)


def _wire(
    part: WebhookConfig, secrets: Mapping[str, str], reading: _Reading
) -> WireSettings | None:
    headers = _headers(part, reading)
    password = reading.secret("password_file", part.password_file)
    key = reading.secret("hmac_key_file", part.hmac_key_file)
    if (part.username is None) != (part.password_file is None):
        reading.problem("username", "username and password_file go together; set both or neither")
    url = _url(part, reading)
    tls = None
    with reading.about("ca_file"):
        tls = tls_context(part.ca_file)
    if url is None:
        return None
    return WireSettings(
        url=url,
        headers=headers,
        username=part.username,
        password=password,
        hmac_key=key,
        tls=tls,
        connect_timeout=part.connect_timeout,
        timeout=part.timeout,
        secrets=frozenset(secrets.values()),
    )


def _url(part: WebhookConfig, reading: _Reading) -> str | None:
    if (part.url is None) == (part.url_file is None):
        reading.problem("url", "is required, or url_file; one of the two")
        return None
    key = "url" if part.url_file is None else "url_file"
    url = part.url or reading.secret("url_file", part.url_file)
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        reading.problem(key, "must look like https://host/path")
        return None
    if parts.scheme == "http" and not part.allow_http and not _is_here(parts.hostname):
        reading.problem(
            key, f"http to {parts.hostname} is open to all between; use https, or allow_http = true"
        )
    return url


def _is_here(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _headers(part: WebhookConfig, reading: _Reading) -> dict[str, str]:
    headers = _read_all("headers", part.headers, reading)
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or name.lower() in _OUR_HEADERS:
            reading.problem(f"headers.{name}", "cannot be set; it is no header's name, or ours")
        if not _HEADER_VALUE.fullmatch(value):
            reading.problem(f"headers.{name}", "its file must hold one line of printable ASCII")
    return headers


def _read_all(key: str, places: Mapping[str, Path], reading: _Reading) -> dict[str, str]:
    read = {name: reading.secret(f"{key}.{name}", place) for name, place in places.items()}
    return {name: value for name, value in read.items() if value is not None}


def _wording(part: WebhookConfig, secrets: Mapping[str, str], reading: _Reading) -> Wording | None:
    if part.preset is not None and (part.template or part.exit_template):
        reading.problem("template", f"preset {part.preset!r} has its own; remove one of the two")
    if part.exit_template is not None and part.template is None:
        reading.problem("exit_template", "needs a template for entries as well")
    if part.preset == "freqtrade":
        return None
    if part.preset == "tradingview":
        missing = [name for name in TRADINGVIEW_SECRETS if name not in part.secrets]
        for name in missing:
            reading.problem(f"secrets.{name}", "is required by preset 'tradingview'")
        template = None if missing else _template("preset", TRADINGVIEW, secrets, reading)
        return Wording(template, template, secrets, part.pairs)
    enter = _template("template", part.template, secrets, reading)
    leave = _template("exit_template", part.exit_template, secrets, reading)
    return Wording(enter, leave, secrets, part.pairs)


def _template(
    key: str, text: str | None, secrets: Mapping[str, str], reading: _Reading
) -> Template | None:
    """Read a template and render it once, so that what cannot be rendered is told now."""
    if text is None or (reading.failed and "secret." in text):
        return None
    template = None
    with reading.about(key):
        template = read_wording(text, secrets)
        for order in sample():
            Wording(template, template, secrets).body(order, "sample")
    return template


def _check_freqtrade(part: WebhookConfig, config: Config, reading: _Reading) -> None:
    if part.username is None:
        reading.problem("username", "is required by preset 'freqtrade', with password_file")
    if part.hmac_key_file is not None:
        reading.problem("hmac_key_file", "freqtrade does not check signatures; remove it")
    for stream in _streams(config):
        symbol = stream.split("/")[1] if stream.count("/") == 2 else stream  # noqa: PLR2004
        wanted = any(fnmatchcase(stream, pattern) for pattern in part.streams)
        if wanted and symbol not in part.pairs and pair_of(symbol, part.market) is None:
            reading.problem("pairs", f'nobody knows the pair of {symbol}; add {symbol} = "A/B"')


def _check_streams(part: WebhookConfig, config: Config, reading: _Reading) -> None:
    for pattern in part.streams:
        if not any(fnmatchcase(stream, pattern) for stream in _streams(config)):
            reading.problem(
                "streams", f"{pattern!r} matches no configured exchange/symbol/interval"
            )


def _streams(config: Config) -> list[str]:
    return [
        f"{part.exchange}/{symbol}/{part.interval}"
        for part in config.streams
        for symbol in part.symbols
    ]


def _repeated(config: Config) -> list[str]:
    names = [part.name for part in config.webhooks]
    return [
        f"webhooks.{index}.name: {name!r} is used twice; each target needs a name of its own"
        for index, name in enumerate(names)
        if name in names[:index]
    ]


def alert_sinks(config: Config, clocks: Callable[[str], Clock]) -> list[Sink]:
    """Return the alerts' sink, if there is one; raises ConfigError."""
    tell, problems = alert_tell(config)
    if problems:
        raise ConfigError(Path("alerts"), problems)
    if tell is None:
        return []
    part = config.alerts
    settings = AlertSettings(
        kinds=frozenset(part.kinds),
        streams=tuple(part.streams),
        window_s=part.digest_seconds,
        per_hour=part.per_hour,
        timeout_s=part.timeout,
    )
    return [AlertSink(settings, tell, clocks)]


def alert_tell(config: Config) -> tuple[Tell | None, list[str]]:
    """Return the way to tell people, None without one, and what is wrong with it."""
    part, key = config.alerts, "alerts.urls_file"
    if part.urls_file is None:
        return None, []
    try:
        return apprise_tell(read_secret(key, part.urls_file)), []
    except ConfigError as error:
        return None, [f"{problem} ({part.urls_file})" for problem in error.problems]
    except AlertUrlError as error:
        return None, [f"{key}: {part.urls_file}: {error}"]
    except ModuleNotFoundError:
        return None, [f"{key}: alerts need apprise; pip install candled[alerts]"]
