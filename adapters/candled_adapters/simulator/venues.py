"""Which venues can be simulated, by the names of the dialects that they speak."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from candled.core.bar import Interval
from candled_adapters.simulator import binance, rest
from candled_adapters.simulator.bybit import Bybit
from candled_adapters.simulator.coinbase import Coinbase
from candled_adapters.simulator.fault import Push
from candled_adapters.simulator.hyperliquid import Hyperliquid
from candled_adapters.simulator.kraken import Kraken
from candled_adapters.simulator.market import Tape
from candled_adapters.simulator.okx import Okx
from candled_adapters.simulator.session import Session
from candled_adapters.simulator.venue import Answer, Asked, Venue, request_of


@dataclass(frozen=True, slots=True)
class Binance:
    """Binance's spot and USD-M markets at once: their paths differ, their words do not."""

    example: str = "BTCUSDT"
    flags: bool = True

    def spells(self, symbol: str) -> bool:
        """Whether it is upper case without separators."""
        return re.fullmatch(r"[^\W_a-z]+(_\d{6})?", symbol) is not None

    def channel(self, symbol: str, interval: Interval) -> str:
        """Return ``btcusdt@kline_1h``."""
        return binance.stream_name(symbol, interval.name)

    def session(self, target: str) -> Session | None:
        """Open a raw or combined session."""
        return Session.of(target)

    def replies(self, session: Session, frame: str | bytes) -> list[bytes]:
        """Obey a method."""
        return [session.answer(frame)]

    def push(self, tape: Tape, interval: Interval, push: Push) -> bytes:
        """Encode a raw push."""
        return binance.push(tape.symbol, interval.name, push.kline, push.told_ms)

    def wrap(self, channel: str, frame: bytes) -> bytes:
        """Wrap it as a combined stream does."""
        return binance.combined(channel, frame)

    def answer(self, asked: Asked) -> Answer:
        """Answer a GET."""
        return rest.answer(asked)

    def denial(self, frame: str | bytes) -> bytes:
        """Encode an error that names the request."""
        return binance.denial(request_of(frame).get("id"))

    def farewell(self, now_ms: int, *, combined: bool) -> bytes | None:
        """Encode ``serverShutdown``."""
        return binance.shutdown(now_ms, combined=combined)

    def refusal(self, status: int) -> bytes:
        """Encode an error."""
        return binance.refusal(status)


BINANCE: Final = Binance()
VENUES: Final[Mapping[str, Venue]] = {
    "binance-spot": BINANCE,
    "binance-usdm": BINANCE,
    "bybit-spot": Bybit("spot", "BTCUSDT"),
    "bybit-linear": Bybit("linear", "BTCUSDT"),
    "bybit-inverse": Bybit("inverse", "BTCUSD"),
    "okx": Okx(),
    "kraken": Kraken(),
    "coinbase": Coinbase(),
    "hyperliquid": Hyperliquid(),
}
