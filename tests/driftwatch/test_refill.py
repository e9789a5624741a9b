"""Rows out of a journal: those that a model answered about and whose whole history is there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from candled.core.bar import Bars
from candled.core.decision import BarClosed, Probabilities, Reason, Side, Source
from candled.core.engine import Engine
from candled.driftwatch.refill import Refill
from candles import HOURLY, candles, differing
from drifting import BTC, ETH, TOY, lane, model
from fakes import Decisions
from journals import opened

BARS = candles(80, seed=10)
FLAT = Decisions().make(Side.FLAT).decision
SETTLING = lane().settling


def write(folder: Path, bars: Bars, sides: list[Side], *, from_listing: bool) -> None:
    """Make a journal that begins with `bars`, a decision about each of the newest of them."""
    first = len(bars) - len(sides)
    made = [
        dataclasses.replace(
            FLAT,
            stream=BTC,
            bar_open=bar.open_time,
            id=str(number),
            side=side,
            reason=Reason.WARMUP if side is Side.NO_DECISION else None,
            probabilities=None if side is Side.NO_DECISION else Probabilities(0.5, 0.25, 0.25),
        )
        for number, (bar, side) in enumerate(zip(bars[first:], sides, strict=True))
    ]
    with opened(folder) as journal:
        journal.store_history(BTC, bars[:first], from_listing=from_listing)
        batch = [BarClosed(BTC, bar, Source.WS, 0, 0) for bar in bars[first:]]
        journal.commit(batch, made, [0] * len(batch))


@pytest.mark.parametrize(("from_listing", "first"), [(True, TOY.window), (False, TOY.history)])
def test_rows_without_their_whole_history_are_left_out(tmp_path: Path, from_listing, first):
    """The venue's first bars have none before them; what was pruned had some."""
    write(tmp_path, BARS, [Side.FLAT] * 80, from_listing=from_listing)
    found = Refill(tmp_path, 200)(BTC, model())
    assert found.opened.tolist() == BARS.open_time[first - 1 :].tolist()
    assert differing(found.features, TOY.table(BARS, HOURLY)[first - 1 :]) == 0
    sides = model().probabilities(found.features)[:, 1:].astype(np.float64)
    assert differing(found.sides, sides) == 0


def test_only_what_was_answered_counts(tmp_path: Path):
    """Of the newest so many answers; bars that no model was asked about lie between them."""
    sides = [Side.NO_DECISION if row % 3 else Side.FLAT for row in range(40)]
    write(tmp_path, BARS, sides, from_listing=False)
    found = Refill(tmp_path, 5)(BTC, model())
    assert found.opened.tolist() == BARS.open_time[40:][::3][-5:].tolist()
    nothing = Refill(tmp_path, 5)(ETH, model())
    assert (len(nothing), nothing.features.shape) == (0, (0, 4))


def test_a_row_that_is_not_finite_is_no_row(tmp_path: Path):
    """Another model may have answered about a bar whose features this one lacks."""
    taken = BARS.taker_buy_base.copy()
    taken[60] = np.nan
    bars = dataclasses.replace(BARS, taker_buy_base=taken)
    write(tmp_path, bars, [Side.FLAT] * 40, from_listing=False)
    found = Refill(tmp_path, 200)(BTC, model())
    assert found.opened.tolist() == np.delete(BARS.open_time, 60)[40:].tolist()


def test_where_the_engine_needs_a_long_history_its_rows_come_back_to_the_bit(tmp_path: Path):
    """Bars that fill its windows are read, its own rows are the ones that count."""
    bars, shown = candles(SETTLING + 60, seed=12), []
    engine = Engine([lane()], on_rows=lambda *what: shown.append(what))
    engine.warm(BTC, bars[:SETTLING], from_listing=False)
    batch = [BarClosed(BTC, bar, Source.WS, 0, 0) for bar in bars[SETTLING:]]
    decisions = engine.decide(batch)
    with opened(tmp_path) as journal:
        journal.store_history(BTC, bars[:SETTLING], from_listing=False)
        journal.commit(batch, decisions, [0] * len(batch))
    found = Refill(tmp_path, 200)(BTC, model())
    assert differing(found.features, np.concatenate([features for _, _, features in shown])) == 0
    assert found.opened.tolist() == [one.bar_open for _, made, _ in shown for one in made]
    assert len(found) == 60
