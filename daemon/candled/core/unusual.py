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
        still = bar.volume == 0 and bar.open == bar.high == bar.low == bar.close
        self._flat = self._flat + 1 if still else 0
        wick = self._is_flash(bar)
        if self._close is not None:
            self._ranges.append(max(bar.high, self._close) - min(bar.low, self._close))
        self._close = bar.close
        return self._flat >= FLAT_RUN, wick

    def _is_flash(self, bar: Bar) -> bool:
        longer = max(bar.high - max(bar.open, bar.close), min(bar.open, bar.close) - bar.low)
        if not longer > WICK_SHARE * bar.close or len(self._ranges) < WICK_RANGES:
            return False
        ranges = sorted(self._ranges)
        middle = WICK_RANGES // 2
        return longer > WICK_FACTOR * ((ranges[middle - 1] + ranges[middle]) / 2)
