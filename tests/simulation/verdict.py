"""What must hold of what is left in the end: the journal, the log, and what the application has.

Judges tables, a file and lists; what must hold while things happen is for `watch` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from candled.core.bar import Bar, Bars, Stream
from candled.core.correction import differing
from candled.core.decision import Decision, decision_id
from candled.core.engine import Engine
from candled.ports import Entry
from simulation.truth import expected, lanes, model, slot_of

if TYPE_CHECKING:
    from simulation.world import World

_OF_STREAM = "stream = (SELECT id FROM streams WHERE symbol = ?)"
_COLUMNS = (
    "open_time", "open", "high", "low", "close", "volume", "quote_volume", "trades",
    "taker_buy_base",
)  # fmt: skip
Tell = Callable[[str], None]


def judge(world: World, epoch: str, logged: set[str], tell: Tell) -> None:
    """Judge the end of a run; `tell` hears of all that does not hold.

    `epoch` is the last journal's, `logged` are the ids in the log.
    """
    for stream in world.venue.streams:
        entries = _entries(world, stream)
        world.counts["decisions"] += len(entries)
        _Stream(world, stream, entries, tell).judge()
        _judge_delivery(world, stream, entries, epoch, tell)
    stored = {identity for (identity,) in world.disk.query("SELECT id FROM decisions")}
    if stored - logged:
        tell(f"the log lacks {len(stored - logged)} decisions")


def _entries(world: World, stream: Stream) -> list[Entry]:
    """Return a stream's entries, as they were made."""
    sql = f"SELECT entry FROM decisions WHERE {_OF_STREAM} ORDER BY position"  # noqa: S608
    rows = world.disk.query(sql, (stream.symbol,))
    return [msgspec.json.decode(text, type=Entry) for (text,) in rows]


def _judge_delivery(
    world: World, stream: Stream, entries: Sequence[Entry], epoch: str, tell: Tell
) -> None:
    """Each signal once, whoever forgot it on the way; what is acted on in order, too."""
    got = world.consumer.got.get(stream.path, [])
    world.counts["signals"] += len(got)
    if len({one["id"] for one in got}) != len(got):
        tell(f"{stream.path}: the application got a signal twice")
    wanted = [entry.decision.id for entry in entries if entry.seq is not None]
    present = sorted((one for one in got if one["epoch"] == epoch), key=lambda one: one["seq"])
    if [one["id"] for one in present] != wanted and not world.lied:
        # what a disk took back was heard all the same
        tell(f"{stream.path}: the application got {len(present)} of {len(wanted)} signals")
    if world.consumer.lost and not (world.lied or world.has("torn")):  # with the journal
        tell(f"the application was told of losses: {world.consumer.lost}")
    acted = [heard.signal for heard in world.consumer.acted if heard.stream == stream.path]
    world.counts["acted on"] += len(acted)
    if len({signal.id for signal in acted}) != len(acted):
        tell(f"{stream.path}: the application acted twice on a signal")
    if any(one.epoch == two.epoch and one.seq > two.seq for one, two in pairwise(acted)):
        tell(f"{stream.path}: the application acted out of order")


class _Stream:
    """What must hold of one stream."""

    def __init__(self, world: World, stream: Stream, entries: Sequence[Entry], tell: Tell) -> None:
        self._world, self._stream, self._entries = world, stream, entries
        self._tell_all = tell

    def judge(self) -> None:
        if not self._entries:
            self._tell("nothing was ever decided")
            return
        self._judge_numbers()
        truth = self._judge_slots()
        if truth and self._bars_hold(truth):
            self._judge_decisions(truth)

    def _tell(self, text: str) -> None:
        self._tell_all(f"{self._stream.path}: {text}")

    def _judge_slots(self) -> list[Bar]:
        """One first decision for each closed slot, in order; return the bars up to the last."""
        world = self._world
        slots = [slot_of(e.decision.bar_open) for e in self._entries if e.decision.revision == 0]
        truth = world.venue.final(self._stream, max(slots))
        due = [slot_of(bar.open_time) for bar in truth if slot_of(bar.open_time) >= min(slots)]
        if sorted(slots) != due:
            odd = sorted(set(slots) ^ set(due)) or "some twice"
            self._tell(f"not one decision for each closed slot: {odd}")
            return []
        closed = world.venue.final(self._stream, world.closed_slot - 1)
        if slot_of(closed[-1].open_time) > max(slots):
            self._tell(f"slot {max(slots)} is the last that was decided")
        if slots != sorted(slots):
            self._tell(f"decided out of order: {slots}")
        models = [e.decision.model_digest for e in self._entries if e.decision.revision == 0]
        versions = [int(digest.split()[-1]) for digest in models]
        if versions != sorted(versions):
            self._tell(f"an older model decided after a newer one: {versions}")
        return truth

    def _judge_numbers(self) -> None:
        seqs = [entry.seq for entry in self._entries if entry.seq is not None]
        if seqs != list(range(1, len(seqs) + 1)):
            self._tell(f"the signals' numbers are {seqs}")
        for entry in self._entries:
            made = entry.decision
            parts = (made.model_digest, made.policy_digest, made.bar_open, made.revision)
            if made.id != decision_id(self._stream, *parts):
                self._tell("an id does not follow from what it names")
            if (entry.seq is not None) != made.is_signal:
                self._tell(f"{made.side} has the number {entry.seq}")
            if entry.decided_ms < made.bar_close - 2_000 and not self._world.has("clock_jump"):
                self._tell("decided before the bar had closed")

    def _bars_hold(self, truth: Sequence[Bar]) -> bool:
        """Whether what is stored is what the venue's history says in the end."""
        columns = ", ".join(_COLUMNS)
        sql = f"SELECT {columns} FROM bars WHERE {_OF_STREAM} ORDER BY open_time"  # noqa: S608
        stored = self._world.disk.query(sql, (self._stream.symbol,))
        wanted = [tuple(getattr(bar, name) for name in _COLUMNS) for bar in truth]
        self._world.counts["bars"] += len(stored)
        wanted = wanted[-len(stored) :]
        odd = sorted({slot_of(row[0]) for row in set(stored) ^ set(wanted)})
        if odd or len(stored) != len(wanted):
            self._tell(f"stored bars differ from history: slots {odd}")
        return not odd

    def _judge_decisions(self, truth: Sequence[Bar]) -> None:
        """Of each slot the newest decision is what a fresh engine, and we, make of all bars."""
        newest = {entry.decision.bar_open: entry.decision for entry in self._entries}
        at = {bar.open_time: index for index, bar in enumerate(truth)}
        for version in range(self._world.version + 1):
            mine = [
                made
                for made in newest.values()
                if made.model_digest == model(version).digest
                and not self._is_left_alone(version, made.bar_open)
            ]
            again = self._replayed(truth, version) if mine else {}
            for made in mine:
                self._compare(made, again[made.bar_open], truth, at[made.bar_open], version)

    def _compare(
        self, made: Decision, again: Decision, truth: Sequence[Bar], at: int, version: int
    ) -> None:
        verdict, slot = expected(truth, at, version), slot_of(made.bar_open)
        if (made.side, made.reason) != (verdict.side, verdict.reason):
            said, due = f"{made.side} {made.reason}", f"{verdict.side} {verdict.reason}"
            self._tell(f"slot {slot} is {said}, and should be {due}")
        elif odd := differing(made, again):
            self._tell(f"slot {slot}, live is not batch: {odd}")

    def _is_left_alone(self, version: int, opened: int) -> bool:
        """Whether a bar behind it was revised and the model that decided it may be gone."""
        if version == self._world.version:
            return False
        sql = f"SELECT count(*) FROM revisions WHERE {_OF_STREAM} AND open_time <= ?"  # noqa: S608
        return bool(self._world.disk.query(sql, (self._stream.symbol, opened))[0][0])

    def _replayed(self, truth: Sequence[Bar], version: int) -> dict[int, Decision]:
        engine = Engine(lanes([self._stream], version))
        bars = Bars.of(truth)
        engine.warm(self._stream, bars[:1], from_listing=True)
        blocks = engine.replay(self._stream, bars[1:])
        return {made.bar_open: made for block in blocks for made in block}
