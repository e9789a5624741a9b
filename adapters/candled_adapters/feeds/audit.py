"""The audit: what went out of one stream, compared with what the venue's history says afterwards.

Pure: no network, no clock; time is an argument. Some seconds after a close REST is asked for the
newest bars once more. A row that differs from what went out must be shown so by two answers in a
row before it is believed: then the bar is revised, because the tables that models are trained on
come from history. A row counts only when the answer shows a later one, and the bars before the last
close are compared again each time, so that a difference that goes away is taken back.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from operator import attrgetter

from candled.core.bar import COLUMNS, Bar, Bars, Interval
from candled_adapters.exchanges.dialect import Rows
from candled_adapters.feeds.backlog import Patience, Read
from candled_adapters.feeds.pushed import Moment, same
from candled_adapters.feeds.sanity import complaint_of

_LEAST_KEPT = 8
_MOST_ROUNDS_KEPT = 4  # how many reaches of bars wait while REST does not answer
#: What history says of a bar that went out otherwise: its row, or None when there is none.
Doubts = dict[int, Bar | None]


def agree(bar: Bar, row: Bar) -> bool:
    """Whether two accounts of a bar say the same wherever both say something (NaN: nothing)."""
    pairs = [(getattr(bar, name), getattr(row, name)) for name in COLUMNS]
    return all(a == b or math.isnan(a) or math.isnan(b) for a, b in pairs)


def merged(bar: Bar, row: Bar) -> Bar:
    """Return `row`, with the columns that it lacks as `bar` has them."""
    lacks = {name: getattr(bar, name) for name in COLUMNS if math.isnan(getattr(row, name))}
    return replace(row, **lacks) if lacks else row


_ROW = struct.Struct("<q5dq4d")  # a fifth of what a bar takes, and there are many
_cells = attrgetter(*COLUMNS)


def _packed(bar: Bar) -> bytes:
    return _ROW.pack(*_cells(bar))


def _unpacked(row: bytes) -> Bar:
    return Bar(*_ROW.unpack(row))


@dataclass(frozen=True, slots=True)
class Findings:
    """What an answer settles."""

    revised: tuple[Bar, ...] = ()
    """Bars as they are now, ascending."""
    vanished: tuple[int, ...] = ()
    """Open times (UTC ms) of bars that history lacks; each is told once."""
    appeared: tuple[int, ...] = ()
    """Open times (UTC ms) of bars among them that never went out; each is told once."""
    refused: tuple[str, ...] = ()
    """What is wrong with rows that are no sane account of a bar; these are not believed."""


class Audit:
    """Remembers the newest bars of one stream, and when to ask about them."""

    def __init__(
        self, interval: Interval, page: int, patience: Patience, recent: Bars | None
    ) -> None:
        """Remember what went out before as `recent`; `page` rows come in one answer at most."""
        self._interval = interval
        self._patience = patience
        self._page = page
        self._reach = patience.audit_reach
        self._limit = min(page - 3, max(self._reach * _MOST_ROUNDS_KEPT, _LEAST_KEPT))
        self._bars = {bar.open_time: _packed(bar) for bar in recent or ()}
        self._doubts: Doubts = {}
        self._gone: set[int] = set()
        self._strangers: set[int] = set()
        self._met: set[int] = set()
        self.due_s: float | None = None
        """Local time at which REST is to be asked; None when there is no need."""

    def known(self, open_time: int) -> Bar | None:
        """Return the bar that went out for a slot, while it is remembered."""
        packed = self._bars.get(open_time)
        return None if packed is None else _unpacked(packed)

    def out(self, bar: Bar, moment: Moment) -> None:
        """Remember a bar that goes out now; it is to be compared some seconds later."""
        self._bars[bar.open_time] = _packed(bar)
        if len(self._bars) > self._limit:
            del self._bars[next(iter(self._bars))]
        if self._reach and self.due_s is None:
            self.due_s = moment.local_s + self._patience.audit_s

    def began(self, history: Bars) -> None:
        """Remember the newest bars of a history too: they may have been read before their time."""
        newest = {bar.open_time: _packed(bar) for bar in history[-self._reach :]}
        self._bars = newest | self._bars if self._reach else self._bars

    def begin_anew(self) -> None:
        """Forget what went out: it has no connection with what follows."""
        self._bars = {}
        self._doubts = {}

    def suspect(self, moment: Moment) -> None:
        """Ask soon: something was seen that contradicts what went out."""
        if self._reach:
            self.due_s = moment.local_s

    def question(self, moment: Moment) -> Read | None:
        """Return what to ask now, if anything; `take` or `failed` must follow."""
        if self.due_s is None or moment.local_s < self.due_s or not self._bars:
            return None
        self.due_s = None
        start = next(iter(self._bars))
        slots = max(0, moment.venue_ms - start) // self._interval.typical_ms + 3
        return Read(start, None, min(self._page, slots), moment.venue_ms, 0)

    def failed(self, moment: Moment) -> None:
        """Take note that REST did not answer: ask again later."""
        self.due_s = moment.local_s + self._patience.last_retry_s

    def take(self, rows: Rows, moment: Moment) -> Findings:
        """Compare an answer; what it contradicts for the second time in a row is settled."""
        proven = len(rows.bars) - 1 if rows.closed is None else min(rows.closed, len(rows.bars) - 1)
        shown = rows.bars[: max(proven, 0)]
        doubts, refused = self._contradicted(shown)
        appeared = self._appeared(shown)
        settled = {at: row for at, row in doubts.items() if self._said_before(at, row)}
        self._doubts = {at: row for at, row in doubts.items() if at not in settled}
        if self._doubts or self._strangers:
            self.due_s = moment.local_s + self._patience.confirm_s
        return replace(self._settle(settled), appeared=appeared, refused=refused)

    def _appeared(self, shown: Bars) -> tuple[int, ...]:
        """Return the rows among what went out that did not, when two answers in a row show them."""
        first, last = min(self._bars, default=0), max(self._bars, default=0)
        opens = {at for at in shown.open_time.tolist() if first < at < last}
        strangers = opens - self._bars.keys() - self._met
        settled = strangers & self._strangers
        self._strangers = strangers - settled
        self._met = {at for at in self._met | settled if at > first}
        return tuple(sorted(settled))

    def _said_before(self, at: int, row: Bar | None) -> bool:
        """Whether the last answer said the same of a bar."""
        if at not in self._doubts:
            return False
        before = self._doubts[at]
        return before is row if before is None or row is None else same(before, row)

    def _contradicted(self, shown: Bars) -> tuple[Doubts, tuple[str, ...]]:
        """Return what rows say of bars that went out otherwise, and complaints of bad rows."""
        rows = {row.open_time: row for row in shown}
        first, last = min(rows, default=0), max(rows, default=0)
        self._gone -= rows.keys()
        doubts: Doubts = {}
        refused = []
        for at, packed in self._bars.items():
            bar, row = _unpacked(packed), rows.get(at)
            if row is None:
                if first < at < last and at not in self._gone:
                    doubts[at] = None
            elif not agree(bar, row):
                complaint = complaint_of(row, self._interval, bar, self._patience.max_jump)
                if complaint:
                    refused.append(complaint)
                else:
                    doubts[at] = merged(bar, row)
        return doubts, tuple(refused)

    def _settle(self, settled: Doubts) -> Findings:
        revised = {at: row for at, row in settled.items() if row is not None}
        vanished = settled.keys() - revised.keys()
        self._bars.update({at: _packed(row) for at, row in revised.items()})
        self._gone |= vanished
        kept = set(sorted(self._bars)[-self._reach :]) | self._doubts.keys()
        self._bars = {at: row for at, row in self._bars.items() if at in kept}
        self._gone &= kept
        return Findings(tuple(revised.values()), tuple(sorted(vanished)))
