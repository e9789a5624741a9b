"""The bars before a stream's first decision, gathered going back; and what REST proves.

Pure: no network, no clock; times are arguments. `Sightings` is the one place that decides when a
slot that the venue's history lacks is believed to be absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from candled.core.bar import COLUMNS, RULES, Bar, Bars, Interval, Rule, broken_rule
from candled_adapters.exchanges.dialect import Closing, Dialect, Rows
from candled_adapters.feeds.sanity import complaint

#: What a reader of history may find missing: the slot expected and the open time found instead.
Hole = tuple[int, int]
_REACH_SHARE: Final = 0.95  # so near the end of what is kept, older bars are likely


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for what. Network matters in our seconds, bars in venue milliseconds."""

    grace_ms: int = 3_000
    """Venue time after a bar's end in which its push may still be under way."""
    grace_s: float = 2.0
    """The least that this is in our own time."""
    confirm_reads: int = 3
    """Consecutive answers without a slot, before it is believed absent ..."""
    confirm_s: float = 1.0
    """... and the least time of ours that they span."""
    first_retry_s: float = 0.25
    last_retry_s: float = 30.0
    """Retries grow from the first to this."""
    buffer: int = 2_000
    """Pushed bars kept for each stream while history is read."""
    answer_s: float = 1.0
    """REST may take so long to bring a bar that is due, until that is told."""
    fallback_s: float = 5.0
    """Without a subscription for so long, REST is asked for what should be pushed."""
    audit_s: float = 5.0
    """So long after a bar went out, history is asked what it says of it ..."""
    audit_reach: int = 48
    """... and of so many bars before it; 0: nothing is compared."""
    audit_corrects: bool = True
    """Whether a bar that history shows otherwise is revised; if not, that is only told."""
    halted_bars: int = 5
    """A stream without a bar for so many is taken as halted."""
    max_jump: float = 50.0
    """A bar whose price or unit of volume is so many times another is not believed."""

    @property
    def confirm_gap_s(self) -> float:
        """Pause between the answers that confirm an absence."""
        return self.confirm_s / (self.confirm_reads - 1)


@dataclass(frozen=True, slots=True)
class Read:
    """What REST is to be asked: bars with open times in [start_ms, end_ms], at most `limit`."""

    start_ms: int | None
    """None asks for the last ones."""
    end_ms: int | None
    limit: int
    server_ms: int
    """Server time, taken before; rows that close later do not count."""
    epoch: int
    """The connection that it was asked under."""
    sure: bool = True
    """Whether the server time is beyond doubt; if not, only a later row proves a bar closed."""


@dataclass(frozen=True, slots=True)
class Nature:
    """What a venue's history is like."""

    page: int
    """Most rows in one answer."""
    closing: Closing = Closing.FLAG
    reach: int | None = None
    """How many bars back it goes; None when to the listing, 0 when that is not known."""
    by_span: bool = False
    """A page is a span of time, and may hold few bars although older ones exist."""

    @classmethod
    def of(cls, dialect: Dialect) -> Nature:
        """Take it from what the dialect says."""
        limits = dialect.limits
        return cls(limits.history_page, dialect.closing, limits.reach, limits.by_span)

    def is_near_reach(self, slots: float) -> bool:
        """Whether so many slots back may be all that the venue keeps."""
        return self.reach is not None and slots >= self.reach * _REACH_SHARE

    def proof(self, known_later: int, *, sure: bool = True) -> int | None:
        """Return what `closed_rows` must know; `sure`: the server time is beyond doubt."""
        return None if sure and self.closing is Closing.FLAG else known_later


class Sightings:
    """Counts consecutive answers that show the same hole with rows on both sides."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._seen: dict[Hole, tuple[int, float]] = {}

    def see(self, holes: Iterable[Hole], now_s: float) -> None:
        """Record the holes of one answer; a hole that it no longer shows starts again."""
        fresh = (0, now_s)
        counted = {hole: self._seen.get(hole, fresh) for hole in holes}
        self._seen = {hole: (count + 1, since) for hole, (count, since) in counted.items()}

    def confirmed(self, hole: Hole, now_s: float) -> bool:
        """Whether `hole` was seen often enough, for long enough."""
        count, since = self._seen.get(hole, (0, now_s))
        enough = count >= self._patience.confirm_reads
        return enough and now_s - since >= self._patience.confirm_s

    def __bool__(self) -> bool:
        """Whether the last answer showed any hole."""
        return bool(self._seen)


def holes_in(opens: Sequence[int], interval: Interval) -> list[Hole]:
    """Return the holes between ascending open times."""
    expected = opens[0] if opens else 0
    holes = []
    for found in opens:
        if found != expected:
            holes.append((expected, found))
        expected = interval.end(found)
    return holes


def first_broken(bars: Bars, interval: Interval) -> tuple[int, Rule] | None:
    """Return the index of the first row that breaks a rule, and the rule."""
    fine = np.ones(len(bars), dtype=np.bool_)
    for rule in RULES:
        fine &= rule.holds(bars)
    fine &= np.fromiter(map(interval.on_grid, bars.open_time.tolist()), np.bool_, len(bars))
    if fine.all():
        return None
    index = int(np.argmin(fine))
    broken = broken_rule(bars.row(index), interval)
    return (index, broken) if broken else None


def closed_rows(rows: Rows, server_ms: int, known_later: int | None = None) -> Bars:
    """Return the bars that are proven to have been closed at `server_ms`, a server time.

    They had ended by then, and the venue calls them closed where it says. Where it never says,
    `known_later` is the open time of a bar that is known (0: none is): closed are those before it,
    or before the answer's own last bar.
    """
    bars = rows.bars
    count = int(np.searchsorted(bars.close_time, server_ms))
    if rows.closed is not None:
        count = min(count, rows.closed)
    if known_later is not None and len(bars):
        newest = max(known_later, int(bars.open_time[-1]))
        count = min(count, int(np.searchsorted(bars.open_time, newest)))
    return bars[:count]


class Backlog:
    """Closed bars of one stream, gathered from `boundary` back until there are `wanted`."""

    def __init__(
        self, wanted: int, interval: Interval, nature: Nature, patience: Patience, known: int
    ) -> None:
        """Gather `wanted` bars; those before the open time `known` are known to be closed."""
        self._wanted = wanted
        self._interval = interval
        self._nature = nature
        self._known = known
        self._sightings = Sightings(patience)
        self._pages: list[Bars] = []
        self._later: list[Bar] = []
        self.done = False
        """Whether nothing older is wanted or to be had."""
        self.gaps = 0
        self._ended = False

    @property
    def confirming(self) -> bool:
        """Whether the last answer showed something missing that is yet to be believed."""
        return bool(self._sightings)

    @property
    def from_listing(self) -> bool:
        """Whether the venue has no bar before the first of `bars`."""
        gathered = sum(map(len, self._pages))
        all_of_it = self._ended and gathered + len(self._later) <= self._wanted
        return all_of_it and not self._cut_by_reach

    @property
    def last_open(self) -> int | None:
        """Open time of the newest bar, None when there is none."""
        return int(self._pages[-1].open_time[-1]) if self._pages else None

    def question(self, newest_ms: int) -> tuple[int, int]:
        """Return the latest open time to ask for, and how many rows."""
        end = int(self._pages[0].open_time[0]) - 1 if self._pages else newest_ms
        missing = self._wanted - sum(map(len, self._pages))
        if self._nature.by_span:
            return end, self._nature.page
        return end, min(self._nature.page, max(missing, 1) + 1)  # one more: the last may be open

    def take(self, answer: Rows, read: Read, server_ms: int, now_s: float) -> str:
        """Take the answer to `read`; return why it cannot be had yet, or ''."""
        bars, asked = answer.bars, read.limit
        rows = closed_rows(answer, server_ms, self._nature.proof(self._known, sure=read.sure))
        broken = first_broken(rows, self._interval)
        if broken:
            self._sightings.see((), now_s)
            return complaint(int(rows.open_time[broken[0]]), broken[1])
        if not len(rows) and len(bars) >= asked:
            return "the venue answers with bars that are not asked for"
        opens = rows.open_time.tolist()
        holes = holes_in(
            opens + [int(page.open_time[0]) for page in self._pages[:1]], self._interval
        )
        short = not len(bars) if self._nature.by_span else len(bars) < asked
        listing = [(0, opens[0] if opens else 0)] if short else []
        self._sightings.see([*holes, *listing], now_s)
        for hole in (*holes, *listing):
            if not self._sightings.confirmed(hole, now_s):
                return "history has holes or is short; asking again to be sure"
        self._accept(rows, len(holes), ended=bool(listing))
        return ""

    def _accept(self, rows: Bars, holes: int, *, ended: bool) -> None:
        self.gaps += holes
        if len(rows):
            self._pages.insert(0, rows)
            self._known = int(rows.open_time[0])
        self._ended = ended
        self.done = ended or sum(map(len, self._pages)) >= max(self._wanted, 1)

    @property
    def _cut_by_reach(self) -> bool:
        """Whether older bars may exist, but not where REST can see."""
        if not self._pages:
            return False
        span = int(self._pages[-1].open_time[-1] - self._pages[0].open_time[0])
        return self._nature.is_near_reach(span // self._interval.typical_ms)

    def add(self, bar: Bar) -> None:
        """Add a later bar, which still belongs to the history."""
        self._later.append(bar)

    def bars(self) -> Bars:
        """Return the newest bars, at most as many as wanted."""
        parts = [*self._pages, Bars.of(self._later)]
        columns = {name: np.concatenate([getattr(p, name) for p in parts]) for name in COLUMNS}
        table = Bars(**columns)
        return table[max(0, len(table) - self._wanted) :]
