"""What is counted equals what happened, in whatever order and batches it came."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.web.metrics_world import Values, entry, own, sources, values
from candled.core.bar import Stream
from candled.core.decision import Reason, Side, Source
from candled.figures import Durations
from candled.ports import Act, Entry, Hazard, Incident
from candled.service import BatchTimes
from candled.tally import Tally
from candled_adapters.web.metrics import Metrics
from journals import BTC, ETH, START

STREAMS = (BTC, ETH, Stream("kraken", "BTC/USD", "1m"))
AT_NS = 1_735_689_600 * 10**9
DECIDED_NS, DURABLE_NS, ACKED_NS = AT_NS + 3_000_000, AT_NS + 3_500_000, AT_NS + 9_000_000
TIMES = BatchTimes(AT_NS, AT_NS, DECIDED_NS, DURABLE_NS)

MS = st.one_of(st.integers(-2_000, 90_000), st.sampled_from([1, 2, 5, 1_000, 60_000]))


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    side = draw(st.sampled_from(Side))
    return entry(
        draw(st.sampled_from(STREAMS)),
        side,
        reason=draw(st.sampled_from([None, *Reason])) if not side.is_signal else None,
        correction=draw(st.booleans()),
        source=draw(st.sampled_from(Source)),
        after_ms=draw(MS),
        received_ns=AT_NS - draw(st.integers(-(10**9), 7 * 10**10)),
    )


INCIDENTS = st.builds(
    lambda exchange, stream, hazard, act: Incident(
        stream.exchange if stream else exchange, stream, hazard, act, "text", START
    ),
    st.sampled_from(["binance", "kraken"]),
    st.sampled_from([None, *STREAMS]),
    st.sampled_from([Hazard.GAP, Hazard.CONNECTION_LOST, Hazard.DRIFT]),
    st.sampled_from([Act.FLAG, Act.RECONNECT]),
)
ACTIONS = st.lists(st.one_of(st.lists(entries(), min_size=1, max_size=8), INCIDENTS), max_size=8)
Action = list[Entry] | Incident


def feed(tally: Tally, action: Action) -> None:
    if isinstance(action, Incident):
        tally.met(action)
        return
    tally.durable(action, TIMES)
    tally.acked([one for one in action if one.seq is not None], ACKED_NS)


def told(tally: Tally) -> Values:
    return own(values(Metrics(sources(STREAMS, tally)).registry.collect()))


def buckets(found: Values, name: str, **labels: str) -> dict[float, float]:
    """Return a histogram's cumulative counts by their upper ends."""
    wanted = set(labels.items())
    return {
        float(dict(key[1])["le"]): value
        for key, value in found.items()
        if key[0] == f"{name}_bucket" and wanted <= set(key[1])
    }


def check_spread(found: Values, took_ns: Sequence[int], name: str, **labels: str) -> None:
    """Compare a histogram with the durations that went into it, one by one."""
    key = frozenset(labels.items())
    assert found[f"{name}_count", key] == len(took_ns)
    assert found[f"{name}_sum", key] == sum(max(0, took) for took in took_ns) / 1e9
    spread = buckets(found, name, **labels)
    assert (min(spread), sorted(spread)[-2:]) == (0.001, [60.0, float("inf")])
    for end, count in spread.items():
        assert count == sum(took / 1e9 <= end for took in took_ns)


def check(found: Values, done: Sequence[Action]) -> None:
    """Compare what is told with all that happened, counted anew and naively."""
    made = [one for action in done if isinstance(action, list) for one in action]
    first = [one for one in made if one.decision.supersedes is None]
    signals = [one for one in made if one.seq is not None]
    for stream in STREAMS:
        where = set(
            zip(
                ("exchange", "symbol", "interval"),
                (stream.exchange, stream.symbol, stream.interval),
                strict=True,
            )
        )
        mine = [one for one in first if one.decision.stream == stream]
        by_side = Counter(one.decision.side for one in mine)
        for side in Side:
            key = frozenset({*where, ("side", side.value)})
            assert found["candled_decisions_total", key] == by_side[side]
            of_side = [
                s for s in signals if s.decision.stream == stream and s.decision.side is side
            ]
            assert found.get(("candled_signals_total", key), 0) == len(of_side)
        by_reason = Counter(one.decision.reason for one in mine)
        for reason in Reason:
            key = frozenset({*where, ("reason", reason.value)})
            assert found.get(("candled_suppressed_total", key), 0) == by_reason[reason]
        corrected = [one for one in made if one.decision.stream == stream and one not in first]
        assert found["candled_corrections_total", frozenset(where)] == len(corrected)
        gaps = sum(
            isinstance(action, Incident) and (action.stream, action.hazard) == (stream, Hazard.GAP)
            for action in done
        )
        assert found["candled_gaps_total", frozenset(where)] == gaps
    live = [one for one in first if one.source is not Source.BACKFILL]
    acked = [one for one in live if one.seq is not None]
    after = {id(one): (one.received_ms - one.decision.bar_close) * 10**6 for one in live}
    stage = "candled_stage_seconds"
    check_spread(found, [after[id(one)] for one in live], stage, stage="received")
    check_spread(found, [DECIDED_NS - one.received_ns for one in live], stage, stage="decided")
    check_spread(found, [DURABLE_NS - one.received_ns for one in live], stage, stage="durable")
    check_spread(found, [ACKED_NS - one.received_ns for one in acked], stage, stage="acked")
    whole = [after[id(one)] + ACKED_NS - one.received_ns for one in acked]
    check_spread(found, whole, "candled_signal_seconds")
    assert found["candled_delivered_total", frozenset()] == len(signals)


def rising(found: Values) -> Values:
    """Return what may never fall."""
    ends = ("_total", "_bucket", "_count", "_sum")
    return {key: value for key, value in found.items() if key[0].endswith(ends)}


@settings(max_examples=40, deadline=None)
@given(actions=ACTIONS, seed=st.integers(0, 999))
def test_what_is_told_is_what_happened_and_never_falls(actions: list[Action], seed: int):
    """After every step figures equal a naive count; fed anew in another order, they are equal."""
    tally = Tally()
    seen = [told(tally)]
    for action in actions:
        feed(tally, action)
        seen.append(told(tally))
    check(seen[-1], actions)
    for before, after in pairwise(map(rising, seen)):
        assert all(after[key] >= value for key, value in before.items())
    single: list[Action] = []
    for action in actions:
        single += [action] if isinstance(action, Incident) else [[one] for one in action]
    random.Random(seed).shuffle(single)
    again = Tally()
    for action in single:
        feed(again, action)
    assert told(again) == seen[-1]


@settings(max_examples=40, deadline=None)
@given(actions=ACTIONS)
def test_the_summary_says_the_same_as_the_figures(actions: list[Action]):
    """What is logged at the end and what was scraped are one count."""
    tally = Tally()
    for action in actions:
        feed(tally, action)
    summary, found = tally.summary(), told(tally)

    def total(name: str, **labels: str) -> float:
        wanted = set(labels.items())
        return sum(v for (n, key), v in found.items() if n == name and wanted <= set(key))

    assert summary.decisions == total("candled_decisions_total")
    assert summary.no_decisions == total("candled_decisions_total", side="no_decision")
    assert summary.signals == total("candled_signals_total")
    assert summary.corrections == total("candled_corrections_total")
    assert summary.delivered == total("candled_delivered_total")
    met = sum(sum(counts.values()) for counts in summary.incidents.values())
    assert met == total("candled_incidents_total")


@given(took_ns=st.lists(st.integers(-(10**10), 10**11), max_size=40), cut=st.integers(0, 40))
def test_durations_add_up_however_they_are_cut(took_ns: list[int], cut: int):
    """One by one or many at once, each falls into the bucket that ends at it or after it."""
    many, single = Durations(), Durations()
    many.extend(took_ns[:cut])
    many.extend(iter(took_ns[cut:]))
    for took in reversed(took_ns):
        single.add(took)
    assert many.spread() == single.spread()
    assert many.spread().count == len(took_ns)
    for bound, count in many.spread().upto:
        assert count == sum(took <= bound * 1e9 for took in took_ns)


def test_a_duration_on_a_bound_is_in_its_bucket():
    """The bounds are included, as Prometheus reads them."""
    durations = Durations()
    durations.extend([1_000_000, 1_000_001, 60_000_000_000, 60_000_000_001])
    spread = durations.spread()
    assert dict(spread.upto)[0.001] == 1
    assert dict(spread.upto)[0.002] == 2
    assert dict(spread.upto)[60.0] == 3
    assert spread.count == 4
