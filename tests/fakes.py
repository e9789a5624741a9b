"""Fakes of the service's parts for tests of the parts around them: an outbox, a board, a clock.

They keep everything in memory and remember what was asked of them, so that tests can look.
"""

from __future__ import annotations

import asyncio
import bisect
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from candled.core.bar import MINUTE, Interval, Stream
from candled.core.correction import correction
from candled.core.decision import (
    Decision,
    Evidence,
    Probabilities,
    Reason,
    Side,
    Source,
    Target,
    decision_id,
)
from candled.errors import describe
from candled.ports import Entry, Health, Incident, Notice, ServiceState, StreamHealth

BTC = Stream("binance", "BTCUSDT", "1m")
EVENING_MS = 1_735_689_600_000  # 2025-01-01T00:00:00Z


def float32(value: float) -> float:
    """Return a float32, widened to a Python float as decisions hold them."""
    return float(np.float32(value))


class FixedClock:
    """A venue's clock that stands still until it is set; its seconds last as long as ours."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.known = asyncio.Event()
        self.known.set()

    def now_ms(self) -> int:
        """Return what it was set to (UTC ms)."""
        return self.now

    def local_seconds(self, venue_ms: float) -> float:
        """Return the same duration in seconds."""
        return venue_ms / 1000

    async def measured(self) -> None:
        """Return at once, unless a test has it wait."""
        await self.known.wait()


class MemoryOutbox:
    """An outbox whose entries and marks live in lists."""

    def __init__(self, entries: Iterable[Entry] = (), epoch: str = "epoch-1") -> None:
        self.epoch = epoch
        self.entries = list(entries)
        self.marks: list[tuple[str, int]] = []
        """Every mark in the order it was made: (sink, position)."""
        self.refused: list[tuple[str, int, str]] = []
        """What was given up for good: (sink, position, reason)."""
        self._more = asyncio.Event()

    def add(self, *entries: Entry) -> None:
        """Append entries and wake who waits for them."""
        self.entries.extend(entries)
        self._more.set()

    def position(self, sink: str) -> int:
        return max((position for name, position in self.marks if name == sink), default=0)

    def after(self, position: int, limit: int) -> list[Entry]:
        first = bisect.bisect_right(self.entries, position, key=lambda entry: entry.position)
        return self.entries[first : first + limit]

    def mark(self, sink: str, position: int) -> None:
        self.marks.append((sink, position))

    def refuse(self, sink: str, position: int, reason: str) -> None:
        self.refused.append((sink, position, reason))

    def signals(self, stream: Stream, after_seq: int, limit: int) -> list[Entry]:
        return [e for e in self._signals(stream) if (e.seq or 0) > after_seq][:limit]

    def signals_kept(self, stream: Stream) -> tuple[int, int] | None:
        seqs = [entry.seq or 0 for entry in self._signals(stream)]
        return (seqs[0], seqs[-1]) if seqs else None

    def _signals(self, stream: Stream) -> list[Entry]:
        return [e for e in self.entries if e.decision.stream == stream and e.seq is not None]

    def latest(self) -> list[Entry]:
        return list({entry.decision.stream: entry for entry in self.entries}.values())

    async def wait(self, position: int) -> None:
        while not self.entries or self.entries[-1].position <= position:
            self._more.clear()
            await self._more.wait()


class Board:
    """A health board that is online until told otherwise, and keeps what is reported to it."""

    def __init__(self) -> None:
        self._health = Health(ServiceState.ONLINE, (), EVENING_MS)
        self._news = asyncio.Event()
        self.reports: list[tuple[str, str | None]] = []
        """Every report in order: (part, problem)."""
        self.remarks: list[tuple[str, str | None]] = []
        """Every remark in order: (part, remark)."""
        self.streams: dict[Stream, StreamHealth] = {}
        self._notices: list[Notice] = []
        self._changes: list[Stream] = []
        self.failure: str | None = None

    @property
    def health(self) -> Health:
        return self._health

    @property
    def problem(self) -> str | None:
        """What was reported last, by anyone."""
        return self.reports[-1][1] if self.reports else None

    def set(self, state: ServiceState, *reasons: str) -> None:
        """Change the health and wake who waits for it."""
        self._health = Health(state, reasons, EVENING_MS)
        self._news.set()

    def report(self, part: str, problem: str | None) -> None:
        self.reports.append((part, problem))

    def remark(self, part: str, remark: str | None) -> None:
        self.remarks.append((part, remark))

    def stream(self, stream: Stream) -> StreamHealth | None:
        return self.streams.get(stream)

    def note(self, health: StreamHealth) -> None:
        """Change how a stream is doing and wake who waits for it."""
        self.streams[health.stream] = health
        self._changes.append(health.stream)
        self._news.set()

    async def streams_changed(self, after: int) -> tuple[int, list[Stream]]:
        while len(self._changes) <= after:
            self._news.clear()
            await self._news.wait()
        return len(self._changes), list(dict.fromkeys(self._changes[after:]))

    def fail(self, part: str, error: BaseException) -> None:
        self.failure = self.failure or f"{part} failed: {describe(error)}"

    def tell(self, incident: Incident, unsaid: int = 0) -> None:
        """Give sinks an incident to tell."""
        self._notices.append(Notice(len(self._notices) + 1, incident, unsaid))
        self._news.set()

    async def notices(self, after: int) -> list[Notice]:
        while len(self._notices) <= after:
            self._news.clear()
            await self._news.wait()
        return self._notices[after:]

    async def changed(self, seen: Health) -> Health:
        while self._health == seen:
            self._news.clear()
            await self._news.wait()
        return self._health


class Decisions:
    """Makes numbered entries, minute after minute, as a journal would hold them."""

    def __init__(self) -> None:
        self._position = 0
        self._bars: dict[Stream, int] = {}
        self._seqs: dict[Stream, int] = {}

    def make(self, side: Side = Side.LONG, stream: Stream = BTC) -> Entry:
        """Return the next entry of `stream`."""
        self._position += 1
        bar = self._bars[stream] = self._bars.get(stream, -1) + 1
        if side.is_signal:
            self._seqs[stream] = self._seqs.get(stream, 0) + 1
        decision = _decision(side, stream, EVENING_MS + bar * Interval(stream.interval).typical_ms)
        last_seq = self._seqs.get(stream, 0)
        return Entry(
            position=self._position,
            decision=decision,
            seq=last_seq if side.is_signal else None,
            last_seq=last_seq,
            source=Source.WS,
            received_ns=(decision.bar_close + 38) * 1_000_000,
            received_ms=decision.bar_close + 38,
            decided_ms=decision.bar_close + 41,
        )

    def correct(self, entry: Entry, side: Side) -> Entry:
        """Return the next entry, which makes `side` of a decision that said something else."""
        self._position += 1
        last, stream = entry.decision, entry.decision.stream
        again = replace(_decision(side, stream, last.bar_open), price=last.price + 1)
        corrected = correction(again, last, entry.seq)
        assert corrected is not None
        self._seqs[stream] = self._seqs.get(stream, 0) + corrected.is_signal
        return replace(
            entry,
            position=self._position,
            decision=corrected,
            seq=self._seqs[stream] if corrected.is_signal else None,
            last_seq=self._seqs[stream],
            source=Source.REST,
        )

    def some(self, count: int, side: Side = Side.LONG, stream: Stream = BTC) -> list[Entry]:
        """Return the next `count` entries of `stream`."""
        return [self.make(side, stream) for _ in range(count)]


def _decision(side: Side, stream: Stream, bar_open: int) -> Decision:
    asked = side is not Side.NO_DECISION
    return Decision(
        id=decision_id(stream, "model-digest", "policy-digest", bar_open, 0),
        stream=stream,
        bar_open=bar_open,
        bar_close=bar_open + Interval(stream.interval).typical_ms,
        revision=0,
        side=side,
        reason=None if asked else Reason.WARMUP,
        probabilities=Probabilities(*map(float32, (0.21, 0.6123, 0.1777))) if asked else None,
        threshold=0.6,
        target=Target(lookahead_bars=10, profit_pct=0.6, stop_pct=0.3),
        price=93_576.01,
        regime=1,
        raw_regime=2,
        quality=(),
        model="ribbon",
        model_digest="model-digest",
        policy_digest="policy-digest",
        valid_until=bar_open + 2 * MINUTE,
        novelty=3 / 220 if asked else None,
        evidence=evidence(side) if side.is_signal else None,
    )


def evidence(side: Side) -> Evidence:
    """Return the highest of a side's bands."""
    shares = {"coverage": 0.05, "precision": 0.328, "low": 0.29, "high": 0.366, "base_rate": 0.245}
    return Evidence(side, above=float32(0.55), below=None, n=812, gross_pct=0.17, **shares)


async def until(condition: Callable[[], object], seconds: float = 20.0, what: str = "") -> None:
    """Wait for `condition` to hold, looking every few milliseconds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        await asyncio.sleep(0.005)


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with_error = await asyncio.gather(task, return_exceptions=True)
    for error in with_error:
        assert error is None or isinstance(error, asyncio.CancelledError), repr(error)
