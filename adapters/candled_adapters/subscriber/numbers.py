"""The numbers of one stream: which were told, which are missing, which wait for those.

Pure. Bounded: what was told is one number and a few holes, however long it goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, Final

_MOST_HOLES: Final = 64
_MOST_WAITING: Final = 4_096
_MOST_IDS: Final = 128
_MOST_EPOCHS: Final = 4
_IDS_KEPT: Final = 16
#: A jump so far is no loss: a stream of one-second bars needs eleven days for it.
FARTHEST_JUMP: Final = 1_000_000


class Place(Enum):
    """Where a number stands among those that were told."""

    NEXT = auto()
    BEHIND_A_HOLE = auto()
    LATE = auto()
    """A later one was told before."""
    OLD = auto()
    """Further back than is remembered: it was told, or is from before our time."""
    IMPLAUSIBLE = auto()


@dataclass(slots=True)
class Numbers:
    """The numbers of one stream within one epoch."""

    epoch: str | None = None
    last: int | None = None
    """All up to here were told, are holes, or were before our time; None: nothing is known."""
    assumed: bool = False
    """Whether `last` is only what a head said; the first signal that comes knows better."""
    holes: list[tuple[int, int]] = field(default_factory=list)
    """First and last number of each run that is still missing, ascending, below `last`."""
    waiting: dict[int, Any] = field(default_factory=dict)
    """What came and is not told yet, because of what is missing before it."""
    ids: dict[str, int] = field(default_factory=dict)
    """The last ids that were told, with their numbers; 0 for those of earlier epochs."""
    forgotten: int = 0
    """Of numbers above it that were told, the ids are remembered."""
    earlier: dict[str, tuple[int, list[tuple[int, int]]]] = field(default_factory=dict)
    """`last` and `holes` of earlier epochs, for a journal that was lost comes back."""

    def kept(self) -> Numbers:
        """Return a small copy for a memory on disk; what waits is not in it: it was not told."""
        ids = list(self.ids.items())
        gone, ids = ids[:-_IDS_KEPT], ids[-_IDS_KEPT:]
        forgotten = max((self.forgotten, *(number for _, number in gone)))
        return replace(self, waiting={}, ids=dict(ids), forgotten=forgotten)

    def begin(self, epoch: str) -> None:
        """Begin with an epoch's first number, or where it was left; ids are remembered."""
        if self.epoch is not None and self.last is not None:
            self.earlier[self.epoch] = self.last, self.holes
        last, self.holes = self.earlier.pop(epoch, (0, []))
        self.epoch, self.last, self.assumed, self.forgotten = epoch, last, False, last
        self.waiting.clear()
        self.ids = dict.fromkeys(self.ids, 0)
        while len(self.earlier) > _MOST_EPOCHS:
            del self.earlier[next(iter(self.earlier))]

    def assume(self, last: int) -> None:
        """Take it that numbering stands here, when nothing else is known."""
        if self.last is None:
            self.last, self.assumed, self.forgotten = last, True, last

    def place(self, number: int) -> Place:
        """Say where a number stands; the first one tells where numbering stands."""
        if self.last is None or (self.assumed and number <= self.last):
            self.last = self.forgotten = number - 1
        if number > self.last + FARTHEST_JUMP:
            return Place.IMPLAUSIBLE
        self.assumed = False
        if number > self.last:
            return Place.NEXT if number == self.last + 1 else Place.BEHIND_A_HOLE
        is_new = number > self.forgotten or self._is_missing(number)
        return Place.LATE if is_new else Place.OLD

    def _is_missing(self, number: int) -> bool:
        return any(first <= number <= last for first, last in self.holes)

    def told(self, number: int, name: str) -> None:
        """Note that a number was told."""
        self.last = max(self.last or 0, number)
        self.holes = list(_without(self.holes, number, number))
        self.note(name, number)

    def note(self, name: str, number: int) -> None:
        """Remember an id, and forget the oldest where there are too many."""
        self.ids[name] = number
        while len(self.ids) > _MOST_IDS:
            self.forgotten = max(self.forgotten, self.ids.pop(next(iter(self.ids))))

    def ready(self) -> Iterator[Any]:
        """Take what waits and is next, one after the other."""
        while self.last is not None and self.last + 1 in self.waiting:
            yield self.waiting.pop(self.last + 1)

    def first_waiting(self) -> int | None:
        """Return the lowest number that waits."""
        return min(self.waiting, default=None)

    def is_crowded(self) -> bool:
        """Whether more wait than may."""
        return len(self.waiting) > _MOST_WAITING

    def pass_over(self, upto: int) -> list[tuple[int, int]]:
        """Wait no longer for numbers up to here: they become a hole. Return holes given up."""
        if self.last is not None and upto > self.last:
            self.holes.append((self.last + 1, upto))
            self.last = upto
        given_up, self.holes = self.holes[:-_MOST_HOLES], self.holes[-_MOST_HOLES:]
        return given_up

    def missing_since(self, upto: int) -> int | None:
        """Return the number above which to ask, when one up to `upto` is missing."""
        if self.holes:
            return self.holes[0][0] - 1
        return self.last if self.last is not None and self.last < upto else None

    def highest_wanted(self) -> int:
        """Return the highest number that is known to have been, and was not told."""
        return max((*self.waiting, *(last for _, last in self.holes)), default=0)

    def give_up(self, above: int, upto: int) -> list[tuple[int, int]]:
        """Remove holes among the numbers above `above` up to `upto`; return what was removed."""
        gone = [
            (max(first, above + 1), min(last, upto))
            for first, last in self.holes
            if first <= upto and last > above
        ]
        self.holes = list(_without(self.holes, above + 1, upto))
        return gone

    def skip(self, upto: int) -> tuple[int, int] | None:
        """Go past the missing numbers that are next, at most to `upto`; return which they are."""
        if self.last is None:
            return None
        stop = min(self.first_waiting() or upto + 1, upto + 1) - 1
        if stop <= self.last:
            return None
        first, self.last = self.last + 1, stop
        return first, stop


def _without(holes: list[tuple[int, int]], first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield the holes less the numbers from `first` to `last`."""
    for low, high in holes:
        if high < first or low > last:
            yield low, high
            continue
        if low < first:
            yield low, first - 1
        if high > last:
            yield last + 1, high
