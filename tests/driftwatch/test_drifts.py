"""Rows are compared for the model that decides their stream; a shift is noticed, noise is not."""

from __future__ import annotations

import dataclasses

from candled.core.decision import Decision, Probabilities, Side
from candled.core.drift import above, entering
from candled.core.lane import Lane
from candled.core.track import StreamDrift
from candled.driftwatch.alarm import CONFIRM
from candled.driftwatch.drifts import Drifts
from candled.driftwatch.rings import Table
from drifting import BTC, ETH, SEEN, lane, model, rows
from fakes import Decisions

SIZE = 120
FLAT = Decisions().make(Side.FLAT).decision


def decisions(table: Table, stream=BTC) -> list[Decision]:
    """Return a decision for each row."""
    return [
        dataclasses.replace(
            FLAT, stream=stream, bar_open=int(at), probabilities=Probabilities(1 - a - b, a, b)
        )
        for at, (a, b) in zip(table.opened, table.sides.tolist(), strict=True)
    ]


def feed(drifts: Drifts, table: Table, kind: Lane) -> list[StreamDrift]:
    """Give a stream rows one by one; return whose alarm changed."""
    changed = []
    for at, made in enumerate(decisions(table, kind.stream)):
        changed += drifts.take(kind.model, [made], table.features[at : at + 1])
    return changed


def test_a_shift_is_noticed_within_a_window_and_its_end_too():
    """2,000 rows as in training: silence; shifted by 1.5 deviations: flagged once, then cleared."""
    kind = lane()
    drifts = Drifts([kind], SIZE)
    drifts.fill(BTC, rows(SIZE, 1))
    assert feed(drifts, rows(2_000, 2, start=1_000), kind) == []
    (flagged,) = feed(drifts, rows(300, 3, start=4_000, shift=1.5), kind)
    assert flagged.flagged
    assert above(flagged.levels, entering(SEEN))
    found = drifts.of(BTC)
    assert found is not None
    assert found.flagged
    (cleared,) = feed(drifts, rows(300, 4, start=5_000), kind)
    assert not cleared.flagged


def test_how_soon_a_shift_is_noticed():
    """Not before the rows that confirm it, and before all older rows have gone."""
    kind = lane()
    drifts = Drifts([kind], SIZE)
    drifts.fill(BTC, rows(SIZE, 1))
    shifted = rows(SIZE, 3, start=4_000, shift=1.5)
    each = (feed(drifts, shifted[at : at + 1], kind) for at in range(SIZE))
    taken = next(number for number, changed in enumerate(each, 1) if changed)
    assert CONFIRM <= taken < SIZE


def test_a_filled_stream_has_the_alarm_that_it_would_have_had_live():
    """The last rows are taken one by one; an alarm that is on is not told again."""
    kind = lane()
    live, filled, short = (Drifts([kind], SIZE) for _ in range(3))
    table = rows(200, 3, shift=1.5)
    live.fill(BTC, table[:0])
    feed(live, table, kind)
    (changed,) = filled.fill(BTC, table)
    assert changed == filled.of(BTC) == live.of(BTC)
    assert filled.fill(BTC, table) == []
    assert filled.of(BTC) == live.of(BTC)
    assert short.fill(BTC, table[: CONFIRM - 1]) == []
    assert short.fill(BTC, rows(200, 5)) == []
    assert filled.fill(BTC, rows(50, 5)) == []  # too few to say otherwise
    assert (filled.of(BTC) or live).flagged
    (over,) = filled.fill(BTC, rows(200, 5))
    assert not over.flagged


def test_until_it_is_filled_a_stream_takes_nothing():
    """Its rows are in the journal, from where they come in their order."""
    kind, other = lane(), lane(ETH)
    drifts = Drifts([kind, other], SIZE)
    drifts.fill(ETH, rows(0, 1))
    for stream in (BTC, ETH):
        feed(drifts, rows(30, 1), lane(stream))
    counts = [found.rows for found in map(drifts.of, (BTC, ETH)) if found]
    assert counts == [0, 30]
    assert [found.bar_open is None for found in map(drifts.of, (BTC, ETH)) if found] == [
        True,
        False,
    ]


def test_a_stream_that_another_model_decides_begins_anew():
    """Its rows are compared for that model only; what the first one was asked no longer counts."""
    first, second = lane(), model(digest="second", reference=None)
    drifts = Drifts([first, lane(ETH)], SIZE)
    for stream in (BTC, ETH):
        drifts.fill(stream, rows(200, 3, shift=1.5))
    drifts.give(second, [BTC])
    found = drifts.of(BTC)
    assert found is not None
    assert (found.rows, found.flagged, found.model_digest) == (0, False, "second")
    drifts.fill(BTC, rows(40, 4))
    feed(drifts, rows(10, 6, start=500), first)
    feed(drifts, rows(7, 6, start=600), Lane(BTC, second, first.policy))
    again = drifts.of(BTC)
    assert again is not None
    assert again.rows == 47
    assert (drifts.of(ETH) or found).rows == SIZE
    assert drifts.model(BTC) is second
    unknown = dataclasses.replace(BTC, symbol="NONE")
    assert (drifts.of(unknown), drifts.model(unknown)) == (None, None)


def test_models_of_a_batch_are_kept_apart():
    """Streams of two models and one of none's row, in one call each; the figures are their own."""
    kinds = [lane(), lane(ETH, digest="other", reference=None)]
    drifts = Drifts(kinds, SIZE)
    for kind in kinds:
        drifts.fill(kind.stream, rows(0, 1))
    table = rows(2, 8)
    both = [decisions(table, kind.stream)[at] for at, kind in enumerate(kinds)]
    drifts.take(kinds[0].model, both, table.features)
    assert [found.rows for found in map(drifts.of, (BTC, ETH)) if found] == [1, 0]
    drifts.take(kinds[1].model, both, table.features)
    assert [found.rows for found in map(drifts.of, (BTC, ETH)) if found] == [1, 1]
    assert drifts.nbytes > 0
