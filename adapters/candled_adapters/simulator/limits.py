"""What venues allow their clients, and the book that is kept of who went beyond it.

Written from the vendors' documents, on their own: nothing is shared with the dialects that keep
within them. Time is an argument: monotonic seconds, because limits are about real time.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#websocket-limits
https://bybit-exchange.github.io/docs/v5/rate-limit
https://www.okx.com/docs-v5/en/#overview-websocket-overview
https://docs.kraken.com/api/docs/guides/spot-ws-intro
https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-rate-limits
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/rate-limits-and-user-limits
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_KEPT: Final = 10_000
_JITTER: Final = 0.95  # of a window: what left in time may arrive a little closer together


@dataclass(frozen=True, slots=True)
class Rate:
    """So many within any stretch of so many seconds."""

    count: int
    window_s: float


@dataclass(frozen=True, slots=True)
class VenueLimits:
    """What a venue allows; None where it does not say."""

    streams: int | None = None
    """On one connection."""
    messages: Rate | None = None
    """From the client, on one connection."""
    connects: Rate | None = None
    """Handshakes, of all clients: they have one address."""
    questions: Rate | None = None
    """REST requests, of all clients."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A client went beyond a limit."""

    kind: str
    """``streams``, ``messages``, ``connects`` or ``questions``."""
    at_s: float
    """Monotonic time (s)."""
    detail: str
    """For people: who, and what is allowed."""


_BINANCE: Final = Rate(300, 300.0)
_BYBIT: Final = VenueLimits(500, None, Rate(500, 300.0), Rate(600, 5.0))
#: By venue. Of REST weights that which rows of 1000 candles cost is counted.
LIMITS: Final[Mapping[str, VenueLimits]] = {
    "binance-spot": VenueLimits(1024, Rate(5, 1.0), _BINANCE, Rate(3000, 60.0)),
    "binance-usdm": VenueLimits(1024, Rate(10, 1.0), _BINANCE, Rate(240, 60.0)),
    "bybit-spot": _BYBIT,
    "bybit-linear": _BYBIT,
    "bybit-inverse": _BYBIT,
    "okx": VenueLimits(None, Rate(480, 3600.0), Rate(3, 1.0), Rate(40, 2.0)),
    "kraken": VenueLimits(None, None, Rate(150, 600.0), Rate(15, 15.0)),
    "coinbase": VenueLimits(None, Rate(8, 1.0), Rate(8, 1.0), Rate(10, 1.0)),
    "hyperliquid": VenueLimits(1000, Rate(2000, 60.0), Rate(30, 60.0), Rate(57, 60.0)),
}


@dataclass(slots=True)
class LimitBook:
    """Counts what clients do; every breach is written down, in `breaches`."""

    limits: VenueLimits
    breaches: deque[Breach] = field(default_factory=lambda: deque(maxlen=_KEPT))
    """The newest 10,000."""
    _times: dict[tuple[str, int], deque[float]] = field(default_factory=dict)

    def message(self, connection: int, now_s: float) -> bool:
        """Count a client's message; return whether it is one too many."""
        return self._counted("messages", self.limits.messages, connection, now_s)

    def connect(self, now_s: float) -> bool:
        """Count a handshake; return whether it is one too many."""
        return self._counted("connects", self.limits.connects, 0, now_s)

    def question(self, now_s: float) -> bool:
        """Count a REST request; return whether it is one too many."""
        return self._counted("questions", self.limits.questions, 0, now_s)

    def streams(self, connection: int, count: int, now_s: float) -> bool:
        """Look at how many streams a connection has now; return whether they are too many."""
        most = self.limits.streams
        if most is None or count <= most:
            return False
        detail = f"connection {connection} has {count} streams; {most} are allowed"
        self.breaches.append(Breach("streams", now_s, detail))
        return True

    def _counted(self, kind: str, rate: Rate | None, connection: int, now_s: float) -> bool:
        if rate is None:
            return False
        times = self._times.setdefault((kind, connection), deque(maxlen=rate.count))
        beyond = len(times) == rate.count and now_s - times[0] < rate.window_s * _JITTER
        times.append(now_s)
        if beyond:
            who = f"connection {connection}: " if connection else ""
            detail = f"{who}more than {rate.count} {kind} within {rate.window_s:g} s"
            self.breaches.append(Breach(kind, now_s, detail))
        return beyond
