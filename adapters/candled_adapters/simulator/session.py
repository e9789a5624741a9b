"""One websocket connection as Binance sees it: what its path asked for, what it subscribed to.

Pure: a path or a frame in, an answer out. Any stream name is acknowledged, also one that never
sends, because Binance does the same.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams ::

    {"method":"SUBSCRIBE","params":["btcusdt@kline_1h"],"id":1}   ->  {"result":null,"id":1}
    {"method":"LIST_SUBSCRIPTIONS","id":3}   ->  {"result":["btcusdt@kline_1h"],"id":3}
    {"method":"JUMP","id":4}   ->  {"code":2,"msg":"Invalid request: unknown variant `JUMP`, ..."}
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from candled_adapters.simulator import binance
from candled_adapters.simulator.venue import Topics

#: Prefix of the USD-M paths; without it they are the spot ones.
_FUTURES: Final = "/market"
_INVALID_REQUEST: Final = 2
_INVALID_JSON: Final = 3
_METHODS: Final = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS")


class Session(Topics):
    """A connection's subscriptions, of one of two kinds: raw or combined."""

    __slots__ = ()

    @classmethod
    def of(cls, target: str) -> Session | None:
        """Open the session for a request target, or return None if it is no websocket path.

        Known are ``/ws``, ``/ws/NAME[/NAME]``, ``/stream`` and ``/stream?streams=A/B``, each also
        under ``/market``.
        """
        url = urlsplit(target)
        path = unquote(url.path).removeprefix(_FUTURES).rstrip("/")
        if path == "/stream":
            session = cls(combined=True)
            names = parse_qs(url.query).get("streams", [""])[0].split("/")
        elif path == "/ws" or path.startswith("/ws/"):
            session, names = cls(), path.split("/")[2:]
        else:
            return None
        session.subscribe(name for name in names if name)
        return session

    def answer(self, frame: str | bytes) -> bytes:
        """Obey one client frame and return the reply."""
        try:
            request = json.loads(frame)
        except ValueError as error:
            return binance.error(_INVALID_JSON, f"Invalid JSON: {error}")
        if not isinstance(request, dict):
            return binance.error(_INVALID_REQUEST, "Invalid request: not an object")
        return self._obey(request)

    def _obey(self, request: dict[str, Any]) -> bytes:
        method, names = request.get("method"), request.get("params", [])
        if method not in _METHODS:
            expected = ", ".join(f"`{name}`" for name in _METHODS)
            reason = f"unknown variant `{method}`, expected one of {expected}"
            return binance.error(_INVALID_REQUEST, f"Invalid request: {reason}")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return binance.error(_INVALID_REQUEST, "Invalid request: params must be strings")
        if method == "LIST_SUBSCRIPTIONS":
            return binance.acknowledge(request.get("id"), list(self.streams))
        if method == "SUBSCRIBE":
            self.subscribe(names)
        else:
            self.unsubscribe(names)
        return binance.acknowledge(request.get("id"))
