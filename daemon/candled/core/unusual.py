"""What is unusual about a bar beside the ones before it: runs of flat bars, and flash wicks.

Said with a decision, never mended: the model was trained on raw bars. Knows a bounded number of
bars of one stream, so that it says the same live, after a restart and in a replay.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from candled.core.bar import Bar

#: Flat bars in a row that make a run: this one and two before it.
FLAT_RUN: Final = 3
#: True ranges before a bar that tell how far its like usually reaches.
WICK_RANGES: Final = 20
#: A flash wick is longer than so many times the median of these ...
WICK_FACTOR: Final = 10.0
#: ... and than this share of the close.
WICK_SHARE: Final = 0.01
#: How many bars before a bar decide what is said of it; a true range needs the close before it.
HISTORY: Final = WICK_RANGES + 1


class Unusual:
    """Takes a stream's bars one after the other, and says what is unusual about each."""

    __slots__ = ("_close", "_flat", "_ranges")

    def __init__(self) -> None:
        self._flat = 0
        self._close: float | None = None
        self._ranges: deque[float] = deque(maxlen=WICK_RANGES)

    def step(self, bar: Bar) -> tuple[bool, bool]:
        """Take the next bar; say whether it ends a run of flat bars, and whether it has a wick."""
        opened, high, low, close, before = bar.open, bar.high, bar.low, bar.close, self._close
        still = bar.volume == 0 and opened == high == low == close
        self._flat = self._flat + 1 if still else 0
        bottom, top = (opened, close) if opened < close else (close, opened)
        limit = WICK_SHARE * close
        wick = (high - top > limit or bottom - low > limit) and self._are_short_of(
            max(high - top, bottom - low)
        )
        if before is not None:
            self._ranges.append(max(high, before) - min(low, before))
        self._close = close
        return self._flat >= FLAT_RUN, wick

    def _are_short_of(self, wick: float) -> bool:
        """Whether the last true ranges are nothing beside a wick of this length."""
        if len(self._ranges) < WICK_RANGES:
            return False
        ranges = sorted(self._ranges)
        middle = WICK_RANGES // 2
        return wick > WICK_FACTOR * ((ranges[middle - 1] + ranges[middle]) / 2)
