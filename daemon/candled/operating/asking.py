"""Asks a running daemon over its window on loopback; its word counts only if it is ours."""

from __future__ import annotations

import http.client
from typing import Final

import msgspec

from candled.config import Config, digest, split_address
from candled_adapters.web.shapes import Overview

_TIMEOUT_S: Final = 3.0
_MOST_BYTES: Final = 64 * 2**20
_SHOWN: Final = 200
_OK: Final = 200

_overview: Final = msgspec.json.Decoder(Overview).decode


class NoAnswerError(Exception):
    """The daemon could not be asked; the text says why, and the mend where there is one."""


def ask(listen: str) -> Overview:
    """Return what the daemon that listens there says of itself; raises NoAnswerError."""
    host, port = split_address(listen) if listen else ("", None)
    if not listen:
        raise NoAnswerError(
            '[web] listen is "": nothing can be asked; name an address to switch on'
        )
    if not port:
        raise NoAnswerError(f"[web] listen = {listen}: only its log says which port it took")
    body = _get(host, port, f"[web] listen = {listen}")
    try:
        return _overview(body)
    except msgspec.MsgspecError as error:
        raise NoAnswerError(
            f"[web] listen = {listen}: what answers there is no candled of this version: {error}"
        ) from error


def _get(host: str, port: int, where: str) -> bytes:
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/api/overview", headers={"Accept": "application/json"})
        answer = connection.getresponse()
        body = answer.read(_MOST_BYTES + 1)
    except ConnectionRefusedError:
        raise NoAnswerError(f"{where}: nothing listens there") from None
    except TimeoutError:
        raise NoAnswerError(f"{where}: no answer within {_TIMEOUT_S:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswerError(f"{where}: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if answer.status != _OK:
        raise NoAnswerError(f"{where}: answers {answer.status}: {_said(body)}")
    if len(body) > _MOST_BYTES:
        raise NoAnswerError(f"{where}: answers more than {_MOST_BYTES} bytes")
    return body


def _said(body: bytes) -> str:
    return body[:_SHOWN].decode(errors="replace")


def stranger(said: Overview, config: Config, epoch: str | None) -> str | None:
    """Return why an answer is another daemon's than this configuration's; None for ours.

    `epoch` is that of the configured journal, None where it cannot be read: then the configuration
    alone must tell.
    """
    where = f"[web] listen = {config.web.listen} is answered by another daemon"
    if epoch is not None:
        if said.epoch == epoch:
            return None
        return f"{where}: its journal has epoch {said.epoch}, that in {config.state.path} {epoch}"
    if said.config_digest == digest(config):
        return None
    return (
        f"{where}, or by ours with another configuration (digest {said.config_digest[:16]}, this "
        f"file's {digest(config)[:16]}): the journal in {config.state.path} cannot be read to tell"
    )


def outdated(said: Overview, config: Config) -> str | None:
    """Return a word about a daemon of ours that runs with another text of its configuration."""
    if said.config_digest == digest(config):
        return None
    return "the configuration has changed since the daemon read it; reload or restart it"
