"""A journal, a ledger that follows it, and what the backtest's arithmetic says of the same rows."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from candled.core.bar import HOUR, Bar, Bars, Stream
from candled.core.correction import correction
from candled.core.decision import (
    BarClosed,
    BarRevised,
    Decision,
    Probabilities,
    Side,
    Source,
    Target,
    decision_id,
)
from candled.core.labels import LONG, LabelParams
from candled.core.resolving import can_resolve
from candled.core.touch import KINDS, outcomes
from candled.core.track import Outcome
from candled.journal import Journal, open_journal
from candled.journal.rows import entry_of
from candled.journal.sums import row_sum
from candled.lab.rules import label_rule
from candled.ledger import Ledger, TrackSettings
from candled.ports import Entry, Incident
from fakes import Board, FixedClock
from journals import BTC, NAN, START, decided, rows
from tapes import jumpy

NOW = 1_900_000_000_000
#: A file system in memory: thousands of commits wait for no disk. None: the usual place.
FAST = next((place for place in ("/dev/shm",) if Path(place).is_dir()), None)  # noqa: S108
PRICES = jumpy(200, 3)


class World:
    """One journal in a folder; the ledger can be killed and begun again at any moment."""

    def __init__(self, folder: Path, settings: TrackSettings | None = None) -> None:
        self.folder = folder
        self.settings = settings or TrackSettings()
        self.told: list[Incident] = []
        self.targets: dict[str, Target | None] = {}
        self.begin()

    def begin(self) -> None:
        """Begin a process: journal, board, ledger."""
        self.journal: Journal = open_journal(self.folder)
        self.board = Board()
        self.ledger = Ledger(
            self.journal,
            tell=self.told.append,
            clock=lambda _: FixedClock(NOW),
            settings=self.settings,
            targets=self.targets,
        )
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Let the ledger follow."""
        if self.task is None:
            self.task = asyncio.create_task(self.ledger.run(self.journal, self.board))

    async def kill(self) -> None:
        """End the process as a kill does, wherever the ledger is, and begin another."""
        await self.end()
        self.begin()

    async def end(self) -> None:
        """End the process."""
        task, self.task = self.task, None
        if task:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.journal.close()

    async def settled(self) -> None:
        """Wait until the ledger has done all there is to do."""
        self.start()
        for _ in range(200_000):
            await asyncio.sleep(0)
            assert self.task is not None
            if self.task.done():
                self.task.result()
            change, _ = self.journal.changed_after(0)
            following = self.journal.position("ledger") == self.journal.last_position
            if following and not self.ledger._stale and self.ledger._change == change:
                return
        raise AssertionError("the ledger never comes to an end")

    # --- what happens

    def close(
        self, bar: Bar, side: Side = Side.FLAT, *, stream: Stream = BTC, **fields: object
    ) -> Entry:
        """Commit a bar with a decision."""
        event = BarClosed(stream, bar, Source.WS, 0, bar.close_time + 12)
        made = decision(event, side, **fields)
        return self.journal.commit([event], [made], [event.received_ms])[0]

    def history(self, bars: Iterable[Bar], stream: Stream = BTC) -> None:
        """Store bars that are not decided."""
        self.journal.store_history(stream, Bars.of(list(bars)), from_listing=False)

    def revise(
        self, bar: Bar, corrected: Iterable[tuple[Entry, Decision]] = (), stream: Stream = BTC
    ) -> list[Entry]:
        """Revise a bar; `corrected` are decisions of before and what they are now."""
        made = [correction(again, entry.decision, entry.seq) for entry, again in corrected]
        event = BarRevised(stream, bar, 0, bar.close_time + 9_000)
        return self.journal.revise(event, bar, [one for one in made if one], event.received_ms)

    def shadow(
        self, bar: Bar, side: Side, position: int, *, stream: Stream = BTC, **fields: object
    ) -> None:
        """Store what a challenger decides about a bar."""
        event = BarClosed(stream, bar, Source.WS, 0, bar.close_time + 12)
        made = decision(event, side, **fields)
        seq = position if side.is_signal else None
        at = event.received_ms
        entry = Entry(position, made, seq, position, Source.WS, 0, at, at)
        key = self.journal._streams.of(stream).key
        text = msgspec.json.encode(entry).decode()
        cells = (position, key, made.bar_open, made.id, side.value, seq, text)
        with self.journal._db.transaction():
            sql = "INSERT INTO shadows VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            self.journal._db.write(sql, [(*cells, row_sum(*cells))])

    # --- what is found

    def found(self, stream: Stream = BTC) -> list[Outcome]:
        """Return all outcomes that are durable."""
        return self.journal.outcomes.since(stream, -(2**62))

    def expected(self, stream: Stream = BTC) -> list[Outcome]:
        """Return what training's labels and the backtest's trades say of the same signals."""
        texts = rows(self.folder, "SELECT entry FROM decisions ORDER BY position")
        entries = [e for (text,) in texts if (e := entry_of(text)).decision.stream == stream]
        bars = self.journal.bars(stream, 1_000_000)
        return sorted(
            (made for entry in entries if (made := resolution(bars, entry, entries))),
            key=lambda outcome: (outcome.bar_open, outcome.id),
        )


def decision(event: BarClosed, side: Side, **fields: object) -> Decision:
    """Make the decision about a bar with other fields than usual; its id follows from them."""
    made = dataclasses.replace(decided(event, side), **fields)
    name = decision_id(event.stream, made.model_digest, made.policy_digest, made.bar_open, 0)
    return dataclasses.replace(made, id=name)


def resolution(bars: Bars, entry: Entry, entries: Iterable[Entry]) -> Outcome | None:
    """Return a signal's outcome as whole columns of labels and trades have it."""
    one = entry.decision
    target = one.target
    if entry.seq is None or target is None or not can_resolve(target):
        return None
    row = int(np.searchsorted(bars.open_time, one.bar_open))
    params = LabelParams(target.lookahead_bars, target.profit_pct, target.stop_pct)
    if row + params.lookahead_bars >= len(bars):
        return None
    regime = np.full(len(bars), one.regime, dtype=np.int8)
    labels = label_rule(target.rule)(bars, params, regime)
    trades = outcomes(bars, params)
    number = 1 if one.side is Side.LONG else 2
    trade = trades.long if number == LONG else trades.short
    later = [e.decision for e in entries if e.decision.bar_open == one.bar_open]
    odds = one.probabilities or Probabilities(0.0, 0.0, 0.0)
    return Outcome(
        id=one.id,
        stream=one.stream,
        model_digest=one.model_digest,
        bar_open=one.bar_open,
        bar_close=one.bar_close,
        side=one.side,
        probability=odds.long if number == LONG else odds.short,
        right=bool(labels.classes[row] == number),
        ended=KINDS[trade.kind[row]],
        gross_pct=float(trade.gross_pct[row]),
        resolved_bar=int(bars.open_time[max(labels.ends[row], trade.bar[row])]),
        evidence=one.evidence,
        policy_digest=one.policy_digest,
        taken_back=any(d.revision > one.revision and d.side is not one.side for d in later),
    )


def bar_at(hour: int, prices: Bars, row: int) -> Bar:
    """Make the bar of an hour from the prices of a row."""
    opened = START + hour * HOUR
    cells = (float(getattr(prices, n)[row]) for n in ("open", "high", "low", "close"))
    return Bar(opened, *cells, 5.5, opened + HOUR - 1, 550.0, 9.0, NAN, NAN)


def flat_bar(hour, move=0.0):
    """Return a bar around 100 that closes so many percent up."""
    made = bar_at(hour, PRICES, 0)
    close = 100.0 + move
    return dataclasses.replace(
        made, open=100.0, high=max(100.0, close), low=min(100.0, close), close=close
    )


def soon(**changed):
    """Return the fields of a decision whose label looks one bar ahead."""
    return {"target": Target(1, 1.0, 1.0), "regime": 0, **changed}
