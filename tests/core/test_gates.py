"""Gates keep back exactly the signals that their rules name, in their order, whatever the batch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from candled.core.bar import HOUR, Bars, Stream
from candled.core.decision import BarClosed, Decision, Evidence, Policy, Reason, Side, Source
from candled.core.engine import Engine, Lane
from candled.core.features.mar import MAR
from candled.core.gates import Cooldown
from candled.core.model import Model, Ranges
from candled.core.regime import TRENDING_DOWN, TRENDING_UP
from candles import HOURLY, bars_at, candles
from models import THRESHOLD, model

BTC = Stream("binance", "BTCUSDT", "1h")
HISTORY = MAR.history
LIVE = 150
COOLDOWN = 3
NOVELTY_MAX = 10 / 220  # reached exactly by some rows
UNIT = st.floats(0, 1, width=32)


def band(side: Side, above: float, below: float | None, **fields: object) -> Evidence:
    """Make a band; what it says beside its edges is not looked at by the core."""
    said = {"n": 9, "coverage": 0.1, "precision": 0.5, "low": 0.4, "high": 0.6, "base_rate": 0.3}
    return Evidence(side, above, below, **{**said, "gross_pct": None, **fields})


def bands(side: Side, edges: Sequence[float]) -> list[Evidence]:
    return [
        band(side, above, below) for above, below in zip(edges, [*edges[1:], None], strict=True)
    ]


def float32s(*values: float) -> list[float]:
    return np.array(values, dtype=np.float32).tolist()


EVIDENCE = (
    *bands(Side.LONG, float32s(0.5, 0.6, 0.75)),
    *bands(Side.SHORT, float32s(0.5, 0.7)),
)


@functools.cache
def series() -> Bars:
    return candles(HISTORY + COOLDOWN + LIVE, seed=10)


@functools.cache
def table() -> np.ndarray:
    return MAR.table(series(), HOURLY)


@functools.cache
def trusted() -> Model:
    """Return a model that knows its ranges, limits and evidence: none shuts or opens all gates."""
    usable = table()[HISTORY - 1 :]
    ranges = Ranges(np.quantile(usable, 0.05, axis=0), np.quantile(usable, 0.95, axis=0))
    return dataclasses.replace(
        model(),
        digest="trusted",
        evidence=EVIDENCE,
        ranges=ranges,
        abstain_limits=np.array([0.28, 0.3, 0.3], dtype=np.float32),
    )


GATES = {"novelty_max": NOVELTY_MAX, "abstain": True, "regime_gate": True}


def lane(stream: Stream = BTC, **policy: object) -> Lane:
    return Lane(stream, trusted(), Policy(**{"threshold": THRESHOLD, **policy}))


def closed(bars: Bars, stream: Stream = BTC) -> list[BarClosed]:
    return [BarClosed(stream, bar, Source.WS, 0, 0) for bar in bars]


def begun(start: int, kind: Lane) -> list[Decision]:
    """Decide the bars from `start` on, in an engine that is warmed with all before."""
    engine = Engine([kind])
    engine.warm(kind.stream, series()[:start], from_listing=False)
    return engine.decide(closed(series()[start:], kind.stream))


@functools.cache
def decided(**policy: object) -> list[Decision]:
    """Decide the live bars."""
    return begun(HISTORY + COOLDOWN, lane(**policy))


@functools.cache
def ungated() -> list[Decision]:
    """Decide them and the ones that a cooldown looks back on, without any gate."""
    return begun(HISTORY, lane())


# --- the rules alone


@given(
    st.integers(1, 6).flatmap(
        lambda k: st.tuples(
            st.lists(st.tuples(*[st.integers(-2, 2)] * k), min_size=1, max_size=5),
            st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 2)), min_size=k, max_size=k),
        )
    )
)
def test_novelty_is_the_share_of_features_outside_their_ranges(case):
    """Row by row, each feature below its low or above its high counts, and the ends do not."""
    rows, spans = case
    low = np.array([start for start, _ in spans], dtype=np.float64)
    high = np.array([start + width for start, width in spans], dtype=np.float64)
    expected = [
        sum(not low[at] <= value <= high[at] for at, value in enumerate(row)) / len(spans)
        for row in rows
    ]
    found = Ranges(low, high).share_outside(np.array(rows, dtype=np.float64))
    assert found.tolist() == expected


@settings(deadline=None)
@given(
    st.lists(st.tuples(UNIT, UNIT, UNIT), min_size=1, max_size=6),
    st.tuples(UNIT, UNIT, UNIT),
    st.data(),
)
def test_a_row_is_ambiguous_unless_its_own_class_alone_remains(rows, limits, data):
    """The classes at or above their limits, compared in float32, must be just the row's own."""
    if data.draw(st.booleans()):
        limits = rows[0]  # each exactly on its limit
    classes = data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows)))
    judge = dataclasses.replace(model(), abstain_limits=np.array(limits, dtype=np.float32))
    found = judge.ambiguous(np.array(rows, dtype=np.float32), np.array(classes, dtype=np.int8))
    sets = [{c for c in range(3) if np.float32(row[c]) >= np.float32(limits[c])} for row in rows]
    assert found.tolist() == [
        remaining != {own} for remaining, own in zip(sets, classes, strict=True)
    ]


def test_what_is_not_known_is_none():
    """A model without ranges, limits and evidence says nothing of them."""
    rows = table()[-4:]
    odds = model().probabilities(rows)
    assert model().novelty(rows) is None
    assert model().ambiguous(odds, np.zeros(4, dtype=np.int8)) is None
    assert model().evidence_of(Side.LONG, 0.9) is None
    decision = begun(len(series()) - 1, Lane(BTC, model(), Policy(threshold=0.01)))[0]
    assert decision.side.is_signal
    assert (decision.novelty, decision.evidence) == (None, None)


@settings(deadline=None)
@given(st.lists(UNIT, min_size=1, max_size=6, unique=True).map(sorted), UNIT, st.data())
@example([0.5], 0.5, None)
def test_evidence_is_of_the_band_that_holds_the_probability(edges, probability, data):
    """A band holds its lower edge and not its upper one; below the first there is nothing."""
    if data is not None and data.draw(st.booleans()):
        probability = data.draw(st.sampled_from(edges))
    knowing = dataclasses.replace(
        model(), evidence=(*bands(Side.SHORT, [0.0]), *bands(Side.LONG, edges))
    )
    at_or_below = [index for index, edge in enumerate(edges) if edge <= probability]
    expected = bands(Side.LONG, edges)[at_or_below[-1]] if at_or_below else None
    assert knowing.evidence_of(Side.LONG, probability) == expected
    assert knowing.evidence_of(Side.SHORT, probability) == band(Side.SHORT, 0.0, None)


@given(st.integers(0, 6), st.lists(st.booleans(), max_size=60))
def test_the_cooldown_looks_back_so_many_rows(bars, passes):
    """A signal waits if any of the `bars` rows before its own would have passed, and only then."""
    cooldown = Cooldown(bars)
    waits = [cooldown.step(passes=one) for one in passes]
    assert waits == [one and any(passes[max(0, at - bars) : at]) for at, one in enumerate(passes)]
    published = [at for at, one in enumerate(passes) if one and not waits[at]]
    assert all(later - earlier > bars for earlier, later in zip(published, published[1:]))  # noqa: RUF007, B905


# --- the gates in the engine


def reference(**policy: object) -> list[tuple[Side, Reason | None]]:
    """Apply the gates to the decisions without any, one row after another, as they are worded."""
    limits, ranges = trusted().abstain_limits, trusted().ranges
    assert limits is not None
    assert ranges is not None
    allowed = {Side.LONG: TRENDING_UP, Side.SHORT: TRENDING_DOWN}
    found: list[tuple[Side, Reason | None]] = []
    passed: list[bool] = []
    for decision, row in zip(ungated(), table()[HISTORY:].tolist(), strict=True):
        odds = decision.probabilities
        assert odds is not None
        own = {Side.LONG: [1], Side.SHORT: [2]}.get(decision.side)
        remaining = [
            c
            for c, p in enumerate((odds.no_trade, odds.long, odds.short))
            if np.float32(p) >= limits[c]
        ]
        outside = sum(
            not low <= value <= high
            for value, low, high in zip(row, ranges.low.tolist(), ranges.high.tolist(), strict=True)
        )
        reason = None
        if own:
            if policy.get("abstain") and remaining != own:
                reason = Reason.AMBIGUOUS
            elif outside / len(row) > policy.get("novelty_max", 1.0):
                reason = Reason.NOVELTY
            elif policy.get("regime_gate") and decision.regime != allowed[decision.side]:
                reason = Reason.REGIME
        before = passed[max(0, len(passed) - policy.get("cooldown_bars", 0)) :]
        passed.append(bool(own) and reason is None)
        if passed[-1] and policy.get("cooldown_bars") and any(before):
            reason = Reason.COOLDOWN
        found.append((Side.FLAT if reason else decision.side, reason))
    return found[-LIVE:]


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"novelty_max": NOVELTY_MAX},
        {"novelty_max": 0.0},
        {"novelty_max": 1.0},
        {"abstain": True},
        {"cooldown_bars": COOLDOWN},
        {"cooldown_bars": 1, "novelty_max": NOVELTY_MAX},
        GATES,
        {**GATES, "cooldown_bars": COOLDOWN},
    ],
    ids=str,
)
def test_gates_are_what_they_are_worded_to_be(policy: dict[str, object]):
    """Sides and reasons are those of the rules applied to each row by hand, in their order."""
    made = decided(**policy)
    assert [(decision.side, decision.reason) for decision in made] == reference(**policy)
    free = decided()
    for gated, before in zip(made, free, strict=True):
        assert gated.probabilities == before.probabilities is not None
        assert gated.novelty == before.novelty is not None
        assert gated.evidence == (before.evidence if gated.side.is_signal else None)
        assert (gated.regime, gated.price) == (before.regime, before.price)


def test_the_cases_are_not_all_alike():
    """Every gate closes for some row, some signal passes all of them, and edges are met exactly."""
    made = decided(**GATES, cooldown_bars=COOLDOWN)
    assert {decision.reason for decision in made} == {
        None, Reason.AMBIGUOUS, Reason.NOVELTY, Reason.REGIME, Reason.COOLDOWN,
    }  # fmt: skip
    assert any(decision.side.is_signal for decision in made)
    on_the_limit = [d for d in decided() if d.novelty == NOVELTY_MAX and d.side.is_signal]
    assert on_the_limit
    assert {d.evidence for d in decided()} == {None, *EVIDENCE}


def test_evidence_is_said_of_signals_alone():
    """A signal carries the band of its own side's probability, anything else carries none."""
    for decision in decided():
        odds = decision.probabilities
        assert odds is not None
        probability = odds.long if decision.side is Side.LONG else odds.short
        expected = trusted().evidence_of(decision.side, probability)
        assert decision.evidence == (expected if decision.side.is_signal else None)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=20), st.sampled_from([0, COOLDOWN]))
def test_any_batch_is_gated_alike(sizes: list[int], cooldown: int):
    """However bars fall into batches, beside other lanes of the model, the decisions are equal."""
    other = Stream("binance", "ETHUSDT", "1h")
    policy = {**GATES, "cooldown_bars": cooldown}
    engine = Engine([lane(other), lane(**policy)])
    history = HISTORY + cooldown
    engine.warm(BTC, series()[-LIVE - history : -LIVE], from_listing=False)
    engine.warm(other, series()[-LIVE - HISTORY : -LIVE], from_listing=False)
    pairs = zip(closed(series()[-LIVE:]), closed(series()[-LIVE:], other), strict=True)
    queue = [event for pair in pairs for event in pair]
    made: list[Decision] = []
    cut = iter(sizes)
    while len(made) < len(queue):
        made += engine.decide(queue[len(made) : len(made) + next(cut, len(queue))])
    assert made[::2] == decided(**policy)
    free = [(d.side, d.reason, d.novelty, d.evidence) for d in decided()]
    assert [(d.side, d.reason, d.novelty, d.evidence) for d in made[1::2]] == free


@functools.cache
def gapped() -> Bars:
    """Return the series without a few of its bars."""
    gone = [HISTORY - 9, HISTORY + 31, HISTORY + 32, HISTORY + 50]
    return bars_at(series(), np.delete(np.arange(len(series())), gone))


@functools.cache
def decided_gapped(**policy: object) -> list[Decision]:
    """Decide all bars of that, from the first on."""
    return Engine([lane(**policy)]).decide(closed(gapped()))


def since_gaps(bars: Bars) -> list[int | None]:
    """Count for each bar the bars since the first one after a gap, by looking at all of them."""
    after = [at for at in range(1, len(bars)) if bars.open_time[at] - bars.open_time[at - 1] > HOUR]
    return [min((at - gap for gap in after if gap <= at), default=None) for at in range(len(bars))]


@pytest.mark.parametrize("mute", [1, 2, 19, 40, HISTORY + 30])
def test_the_first_bars_after_a_gap_are_muted(mute: int):
    """So many bars after a gap, the first one included, have no signal, and say so before all."""
    made = decided_gapped(**GATES, gap_mute_bars=mute)
    free, others = decided_gapped(), decided_gapped(**GATES)
    start = max(HISTORY, mute + 1) - 1
    muted = 0
    for one, before, other, since in list(
        zip(made, free, others, since_gaps(gapped()), strict=True)
    )[start:]:
        if since is not None and since < mute and before.side.is_signal:
            assert (one.side, one.reason) == (Side.FLAT, Reason.GAP_MUTE)
            muted += 1
        else:
            assert (one.side, one.reason) == (other.side, other.reason)
        assert one.probabilities == before.probabilities
    assert muted
    assert {one.reason for one in made[:start]} == {Reason.WARMUP}


@settings(max_examples=12, deadline=None)
@given(
    mute=st.sampled_from([1, 40, HISTORY, HISTORY + 35]),
    cooldown=st.sampled_from([0, COOLDOWN]),
    stop=st.integers(0, LIVE - 45),
)
def test_a_restart_forgets_no_gap(mute: int, cooldown: int, stop: int):
    """With the history that it asks for, an engine mutes as one that has seen all the bars."""
    policy = {**GATES, "cooldown_bars": cooldown, "gap_mute_bars": mute}
    engine = Engine([lane(**policy)])
    start = min(max(HISTORY, mute + 1) + cooldown + stop, len(gapped()) - 1)
    engine.warm(BTC, gapped()[start - engine.history(BTC) : start], from_listing=False)
    assert engine.decide(closed(gapped()[start:])) == decided_gapped(**policy)[start:]


@settings(max_examples=8, deadline=None)
@given(stop=st.integers(0, LIVE - 1), cooldown=st.integers(0, COOLDOWN))
def test_a_restart_changes_no_gate(stop: int, cooldown: int):
    """With the history that it asks for, an engine decides as one that has seen all the bars."""
    policy = {**GATES, "cooldown_bars": cooldown}
    engine = Engine([lane(**policy)])
    assert engine.history(BTC) == HISTORY + cooldown
    start = len(series()) - LIVE + stop
    engine.warm(BTC, series()[start - HISTORY - cooldown : start], from_listing=False)
    assert engine.decide(closed(series()[start:])) == decided(**policy)[stop:]


@pytest.mark.parametrize("history", [100, HISTORY, HISTORY + 1, HISTORY + COOLDOWN])
def test_a_cooldown_needs_so_many_bars_more(history: int):
    """Nothing is decided until the rows that it looks back on are known; then all is as ever."""
    bars = series()
    engine = Engine([lane(cooldown_bars=COOLDOWN)])
    engine.warm(BTC, bars[:history], from_listing=False)
    made = engine.decide(closed(bars[history:]))
    waiting = max(0, HISTORY + COOLDOWN - 1 - history)
    assert {(d.reason, d.probabilities, d.novelty) for d in made[:waiting]} <= {
        (Reason.WARMUP, None, None)
    }
    assert Reason.WARMUP not in {d.reason for d in made[waiting:]}
    assert made[-LIVE:] == decided(cooldown_bars=COOLDOWN)


def test_a_listing_has_nothing_before_it_to_wait_for():
    """From the first complete row of a listing on the cooldown looks at what there has been."""
    bars = series()[:120]
    whole = Engine([lane(cooldown_bars=COOLDOWN)])
    whole.warm(BTC, bars[:0], from_listing=True)
    made = whole.decide(closed(bars))
    assert [d.reason for d in made].count(Reason.WARMUP) == 40
    assert Reason.COOLDOWN in {d.reason for d in made}
    for stop in range(38, 60):
        again = Engine([lane(cooldown_bars=COOLDOWN)])
        again.warm(BTC, bars[:stop], from_listing=True)
        assert again.decide(closed(bars[stop:])) == made[stop:]


@pytest.mark.parametrize(
    ("policy", "key"), [({"novelty_max": 1.0}, "novelty_max"), ({"abstain": True}, "abstain")]
)
def test_a_gate_without_its_means_is_refused(policy: dict[str, object], key: str):
    """A policy whose gate the model cannot serve is an error, never a gate that stands open."""
    with pytest.raises(ValueError, match=f"binance/BTCUSDT/1h: BTCUSDT_1h .* {key}"):
        Engine([Lane(BTC, model(), Policy(**policy))])
