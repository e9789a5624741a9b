"""Binance's REST endpoints over a `Market`: a request target in, status and body out. Pure.

Spot under ``/api/v3``, USD-M under ``/fapi/v1``: ``ping``, ``time``, ``exchangeInfo``, ``klines``.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from candled_adapters.simulator import binance
from candled_adapters.simulator.market import Query, Tape
from candled_adapters.simulator.venue import Answer, Asked

#: Largest `limit` of klines by the prefix of its path.
_MAX_LIMIT: Final = {"/api/v3/": 1000, "/fapi/v1/": 1500, "/dapi/v1/": 1500}
_DEFAULT_LIMIT: Final = 500


class _RefusedError(Exception):
    """A request that Binance refuses; carries the body of the 400."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.body = body


def answer(asked: Asked) -> Answer:
    """Answer a GET as the venue would."""
    prefix = _prefix(asked)
    endpoint = _ENDPOINTS.get(asked.path.removeprefix(prefix)) if prefix else None
    if endpoint is None:
        return Answer(HTTPStatus.NOT_FOUND, binance.error(-1000, f"No such path: {asked.path}"))
    try:
        return Answer(HTTPStatus.OK, endpoint(asked))
    except _RefusedError as refused:
        return Answer(HTTPStatus.BAD_REQUEST, refused.body)


def _prefix(asked: Asked) -> str:
    return next((known for known in _MAX_LIMIT if asked.path.startswith(known)), "")


def _ping(_: Asked) -> bytes:
    return b"{}"


def _time(asked: Asked) -> bytes:
    return binance.server_time(asked.told_ms)


def _exchange_info(asked: Asked) -> bytes:
    tapes = asked.market.tapes
    symbols = [_tape(asked).symbol] if "symbol" in asked.parameters else tapes
    return binance.exchange_info(symbols, asked.told_ms)


def _klines(asked: Asked) -> bytes:
    tape = _tape(asked)
    if _required(asked.parameters, "interval") != asked.market.interval.name:
        raise _RefusedError(binance.INVALID_INTERVAL)
    query = _query(asked.parameters, _MAX_LIMIT[_prefix(asked)])
    return binance.rows(asked.klines(tape, query))


_ENDPOINTS: Final[Mapping[str, Callable[[Asked], bytes]]] = {
    "ping": _ping,
    "time": _time,
    "exchangeInfo": _exchange_info,
    "klines": _klines,
}


def _tape(asked: Asked) -> Tape:
    try:
        return asked.market.tapes[_required(asked.parameters, "symbol")]
    except KeyError:
        raise _RefusedError(binance.INVALID_SYMBOL) from None


def _query(asked: Mapping[str, str], max_limit: int) -> Query:
    limit = _whole(asked, "limit")
    if limit == 0:
        raise _RefusedError(binance.error(-1130, "Data sent for parameter 'limit' is not valid."))
    return Query(
        limit=min(limit or _DEFAULT_LIMIT, max_limit),
        start_ms=_whole(asked, "startTime"),
        end_ms=_whole(asked, "endTime"),
    )


def _required(asked: Mapping[str, str], name: str) -> str:
    if not asked.get(name):
        reason = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        raise _RefusedError(binance.error(-1102, reason))
    return asked[name]


def _whole(asked: Mapping[str, str], name: str) -> int | None:
    text = asked.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 20):  # noqa: PLR2004 - Binance's rule
        reason = (
            f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."
        )
        raise _RefusedError(binance.error(-1100, reason))
    return int(text)
