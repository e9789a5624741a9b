"""The label rules by name, each giving the same two columns: classes, and when they were known.

What training needs of a label, whichever rule made it. Knows no features and no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars
from candled.core.labels import LabelParams, window_labels
from candled.core.touch import first_touch_labels


@dataclass(frozen=True, slots=True)
class Labelled:
    """The classes of n bars, and the stretch of bars that each was read from."""

    classes: NDArray[np.int8]
    """[n] 0 no trade, 1 long, 2 short; 0 too where nothing is known."""
    ends: NDArray[np.int64]
    """[n] index of the bar at whose close a class was known: row i is an event from bar i to bar
    ``ends[i]``, for purging and for uniqueness. Beyond the table where it is not known yet."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """[n] whether the bars reach far enough to say the class."""
        return np.asarray(self.ends < len(self.ends))


class LabelRule(Protocol):
    """From bars, parameters and (to settle what qualifies both ways) regimes [n] to classes."""

    def __call__(
        self, bars: Bars, params: LabelParams, regime: NDArray[np.integer] | None = None
    ) -> Labelled:
        """Label all bars. Raises ValueError when `regime` has not one value for each bar."""
        ...


def _window(bars: Bars, params: LabelParams, regime: NDArray[np.integer] | None = None) -> Labelled:
    ends = np.arange(len(bars), dtype=np.int64) + params.lookahead_bars
    return Labelled(window_labels(bars, params, regime).signal, ends)


def _first_touch(
    bars: Bars, params: LabelParams, regime: NDArray[np.integer] | None = None
) -> Labelled:
    made = first_touch_labels(bars, params, regime)
    return Labelled(made.signal, made.end)


LABEL_RULES: Final[dict[str, LabelRule]] = {"window": _window, "first_touch": _first_touch}


def label_rule(name: str) -> LabelRule:
    """Return the rule called `name`; raises ValueError for an unknown one."""
    if name not in LABEL_RULES:
        raise ValueError(f"unknown label rule {name!r}; known are {', '.join(LABEL_RULES)}")
    return LABEL_RULES[name]
