"""What is verified: a feature set on bars, a model perhaps; and the only way to call the set.

Every call gets memory of its own and is looked at afterwards, so that a set that writes into its
input is seen and spoils no other check.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import COLUMNS, Bars, Interval
from candled.core.features import FeatureSet, FeatureState
from candled.core.model import Model
from candled.core.regime import regime_rule, regimes
from candled.lab.verify.facts import Ledger, differs
from candled.lab.verify.series import copy, rows_worth_a_look

Floats = NDArray[np.float64]
#: Preset and inputs [n, 3] in; raw and confirmed regimes [n, 2] out.
Regimes = Callable[[str, Floats], NDArray[np.int8]]


def core_regimes(preset: str, inputs: Floats) -> NDArray[np.int8]:
    """Return the core's own regimes."""
    return regimes(regime_rule(preset), inputs)


@dataclass(frozen=True)
class Subject:
    """What the checks look at."""

    features: FeatureSet
    bars: Bars
    interval: Interval
    model: Model | None
    regimes: Regimes
    samples: int
    """About how many rows to look at where not all are."""
    seed: int
    modified: dict[str, int] = field(default_factory=dict)
    """Input columns that the set has written into, and how many cells."""

    @cached_property
    def whole(self) -> Floats:
        """The table of all bars, which everything else is compared with."""
        return self.table(self.bars)

    @cached_property
    def rows(self) -> NDArray[np.intp]:
        """The rows that sampling checks look at."""
        n, full, settled = len(self.bars), self.features.window - 1, self.features.history - 1
        edges = (0, full - 1, full, settled - 1, settled, settled + 1, n - 2, n - 1)
        rng = np.random.default_rng(self.seed)
        return rows_worth_a_look(self.bars, self.interval, edges, self.samples, rng)

    def table(self, bars: Bars) -> Floats:
        """Ask the set for a table."""
        given = copy(bars)
        with np.errstate(all="ignore"):
            made = np.asarray(self.features.table(given, self.interval))
        self.look_at(bars, given)
        return made

    def blocks(self, bars: Bars, size: int) -> Floats:
        """Ask the set for its table in blocks of `size` rows; return them joined."""
        given = copy(bars)
        with np.errstate(all="ignore"):
            made = [block.copy() for block in self.features.blocks(given, self.interval, size)]
        self.look_at(bars, given)
        return np.concatenate(made)

    def state(self, capacity: int) -> FeatureState:
        """Ask the set for the windows of live streams."""
        return self.features.state(capacity, self.interval)

    def warm(self, state: FeatureState, row: int, bars: Bars) -> None:
        """Begin a stream with a history."""
        given = copy(bars)
        with np.errstate(all="ignore"):
            state.warm(row, given)
        self.look_at(bars, given)

    def look_at(self, before: Bars, after: Bars) -> None:
        """Note what has been written into `after`, a copy of `before`."""
        for name in COLUMNS:
            cells = int(np.count_nonzero(differs(getattr(before, name), getattr(after, name))))
            if cells:
                self.modified[name] = self.modified.get(name, 0) + cells

    def ledger(self, name: str, about: str) -> Ledger:
        """Return an empty ledger for a check of the feature columns."""
        return Ledger(name, about, self.features.columns, self.bars.open_time)

    def segments(self, most: int) -> Iterator[tuple[int, int]]:
        """Cut the bars into at most `most` stretches, each at least as long as a history."""
        n, history = len(self.bars), self.features.history
        count = max(1, min(most, n // max(history, 64)))
        borders = np.linspace(0, n, count + 1).astype(int).tolist()
        return itertools.pairwise(borders)
