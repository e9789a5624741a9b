"""What the simulated venue says when asked: REST, handshakes, client frames; faults included.

Time is an argument. Knows no socket: the server hands over what came in and sends what goes out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus

from candled_adapters.simulator.fault import Fault, Reply, View
from candled_adapters.simulator.faults import Faults
from candled_adapters.simulator.market import Change, Kline, Market, Tape
from candled_adapters.simulator.pushing import Pusher
from candled_adapters.simulator.venue import Asked, Session, Venue


@dataclass(frozen=True, slots=True)
class Answerer:
    """Answers for a venue."""

    venue: Venue
    market: Market
    pusher: Pusher
    faults: Faults

    def rest(self, target: str, body: bytes, now_ms: int) -> Reply:
        """Answer a REST question at a venue time (UTC ms)."""
        symbols: set[str] = set()
        asked = Asked(
            self._listed(now_ms), target, body, now_ms, now_ms + self._clock_error(now_ms),
            partial(self._wrong_rows, symbols, now_ms),
        )  # fmt: skip
        answer = self.venue.answer(asked)
        reply = Reply(answer.status, answer.body, symbols)
        for fault in self._now("answers", now_ms):
            if fault.symbol is None or fault.symbol in symbols:
                reply = self._spoilt(fault, reply)
        return reply

    def handshake(self, now_ms: int) -> Reply | None:
        """Refuse a handshake, or let it pass with None."""
        for fault in self._now("handshakes", now_ms):
            return self._spoilt(fault, Reply(HTTPStatus.SWITCHING_PROTOCOLS, b""))
        return None

    def limited(self) -> Reply:
        """Refuse whoever asks too often."""
        status = HTTPStatus.TOO_MANY_REQUESTS
        return Reply(status, self.venue.refusal(status), retry_after_s=1)

    def frame(self, session: Session, frame: str | bytes, now_ms: int) -> list[bytes]:
        """Obey one client frame and return what is said to it, unless it is denied."""
        before = dict(session.streams)
        replies = self.venue.replies(session, frame)
        fresh = [name for name, serial in session.streams.items() if before.get(name) != serial]
        for fault in self._now("denies", now_ms) if fresh else ():
            if any(self._concerns(fault, name) for name in fresh):
                self.faults.spend(fault)
                session.streams.clear()
                session.streams.update(before)
                return [self.venue.denial(frame)]
        return replies

    def _concerns(self, fault: Fault, channel: str) -> bool:
        tape = self.pusher.tapes.get(channel)
        return fault.symbol is None or (tape is not None and tape.symbol == fault.symbol)

    def _spoilt(self, fault: Fault, reply: Reply) -> Reply:
        change = fault.hooks.answers or fault.hooks.handshakes
        assert change is not None, "asked for by its place"  # noqa: S101
        self.faults.spend(fault)
        return change(reply, self.venue.refusal)

    def _now(self, place: str, now_ms: int) -> list[Fault]:
        return [fault for fault in self.faults.in_force(place) if now_ms in fault.bars]

    def _listed(self, now_ms: int) -> Market:
        """Return the market without the symbols that are unknown now."""
        gone = self._now("unlists", now_ms)
        if not gone:
            return self.market
        kept = {
            symbol: tape
            for symbol, tape in self.market.tapes.items()
            if not any(fault.concerns(symbol) for fault in gone)
        }
        return replace(self.market, tapes=kept)

    def _clock_error(self, now_ms: int) -> int:
        faults = self._now("rest_clock", now_ms)
        return sum(f.hooks.rest_clock(now_ms, f.bars) for f in faults if f.hooks.rest_clock)

    def _wrong_rows(self, symbols: set[str], now_ms: int, tape: Tape) -> Change | None:
        """Note that a symbol's rows are wanted, and return what is wrong with them."""
        symbols.add(tape.symbol)
        faults = self.faults.in_force("rows", symbol=tape.symbol)
        if not faults:
            return None
        view = View(self.market, tape, now_ms)

        def change(klines: list[Kline]) -> list[Kline]:
            for fault in faults:
                if fault.hooks.rows:
                    klines = fault.hooks.rows(klines, view, fault.bars)
            return klines

        return change
