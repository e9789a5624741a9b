"""Digests: each decision of a close in one part, at the right moment, in bounded memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from candled.core.bar import HOUR, MINUTE, Stream
from candled.core.decision import Side
from candled.ports import Entry
from candled_adapters.sinks.digest import MOST_LINES, PATIENCE_S, Digests, Part
from fakes import EVENING_MS, Decisions

STREAMS = [Stream("binance", f"S{number}", "1m") for number in range(4)]
ON_TIME = EVENING_MS + MINUTE + 50


def at(now: int = ON_TIME):
    return lambda _exchange: now


def ids(parts: list[Part]) -> list[list[str]]:
    return [[entry.decision.id for entry in part.entries] for part in parts]


def test_a_close_is_told_at_once_when_all_have_decided():
    """Not before; and then nothing more is due."""
    made, digests = Decisions(), Digests(STREAMS, at())
    entries = [made.make(Side.FLAT, stream) for stream in STREAMS]
    digests.add(entries[:3], 5.0)
    assert digests.take(5.0) == []
    assert digests.wait_s(5.0) == 1.0
    digests.add(entries[3:], 5.3)
    assert digests.wait_s(5.3) == 0
    assert digests.take(5.3) == [Part(1, 4, 4, tuple(entries))]
    assert digests.wait_s(5.3) is None
    assert digests.take(99.0) == []


def test_who_is_late_is_waited_for_a_second_and_told_later():
    """A second after the first one what there is goes out; the rest follows in parts of its own."""
    made, digests = Decisions(), Digests(STREAMS, at())
    first, second, third, last = (made.make(Side.LONG, stream) for stream in STREAMS)
    digests.add([first], 10.0)
    digests.add([second], 10.9)
    assert digests.take(10.0 + PATIENCE_S - 0.01) == []
    assert digests.take(10.0 + PATIENCE_S) == [Part(1, 2, 4, (first, second))]
    digests.add([third], 20.0)
    assert digests.wait_s(20.25) == 0.75
    assert digests.take(20.25) == []
    digests.add([last], 20.5)
    assert digests.take(20.5) == [Part(2, 4, 4, (third, last))]


def test_closes_of_other_exchanges_intervals_and_bars_are_others():
    """Each is whole by itself."""
    made = Decisions()
    streams = [Stream("a", "X", "1m"), Stream("b", "X", "1m"), Stream("a", "X", "1h")]
    digests = Digests(streams, at())
    entries = [made.make(Side.FLAT, stream) for stream in (*streams, streams[0])]
    digests.add(entries, 0.0)
    assert digests.take(0.0) == [Part(1, 1, 1, (entry,)) for entry in (
        entries[0], entries[3], entries[1], entries[2],
    )]  # fmt: skip


def test_a_large_close_is_told_in_parts():
    """None of more lines than a broker takes, and `decided` counts on."""
    made = Decisions()
    streams = [Stream("binance", f"S{number}", "1m") for number in range(2 * MOST_LINES + 1)]
    digests = Digests(streams, at())
    entries = [made.make(Side.FLAT, stream) for stream in streams]
    digests.add(entries, 0.0)
    parts = digests.take(0.0)
    assert [(part.number, part.decided, part.expected) for part in parts] == [
        (1, 500, 1001), (2, 1000, 1001), (3, 1001, 1001),
    ]  # fmt: skip
    assert [entry for part in parts for entry in part.entries] == entries


def test_corrections_and_streams_that_are_not_served_are_left_out():
    """A digest tells what was decided when the bar closed."""
    made, digests = Decisions(), Digests(STREAMS, at())
    entry = made.make(Side.LONG, STREAMS[0])
    stranger = made.make(Side.LONG, Stream("binance", "OTHER", "1m"))
    digests.add([made.correct(entry, Side.SHORT), stranger], 0.0)
    assert digests.wait_s(0.0) is None
    assert len(digests) == 0


@pytest.mark.parametrize(
    ("stream", "age", "told"),
    [
        (STREAMS[0], 0, True),
        (STREAMS[0], 2 * MINUTE - 1, True),
        (STREAMS[0], 2 * MINUTE, False),
        (STREAMS[0], 400 * HOUR, False),
        (Stream("binance", "H", "1h"), 2 * HOUR - 1, True),
        (Stream("binance", "H", "1h"), 2 * HOUR, False),
    ],
)
def test_what_is_caught_up_makes_no_digest(stream: Stream, age: int, told: bool):  # noqa: FBT001
    """Only a bar that closed less than two bars ago, on the venue's clock, is news."""
    entry = Decisions().make(Side.FLAT, stream)
    digests = Digests([stream], at(entry.decision.bar_close + age))
    digests.add([entry], 0.0)
    assert bool(digests.take(0.0)) is told


def entry_of(stream: Stream, minute: int) -> Entry:
    made = Decisions().make(Side.FLAT, stream)
    opened = EVENING_MS + minute * MINUTE
    close = opened + MINUTE
    decision = replace(
        made.decision, id=f"{stream.symbol}@{minute}", bar_open=opened, bar_close=close
    )
    return replace(made, decision=decision)


#: Bars that are decided in any order: (which stream, which minute, seconds since the one before).
DECIDED = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 30), st.sampled_from([0.0, 0.4, 1.0, 7.0])),
    unique_by=lambda bar: bar[:2],
    max_size=60,
)


@given(DECIDED)
@example([(0, minute, 0.0) for minute in range(6)] + [(1, 9, 7.0)])
@example([(number, minute, 0.4) for minute in range(5) for number in range(4)])
def test_each_decision_of_a_recent_close_is_told_once(decided: list[tuple[int, int, float]]):
    """In whatever order they come, when time goes on with them: once, in time, counted, bounded."""
    newest, now = 0, 0.0
    digests = Digests(STREAMS, lambda _: EVENING_MS + (newest + 1) * MINUTE)
    told: list[Part] = []
    waiting: dict[str, tuple[int, float]] = {}
    for number, minute, pause in decided:
        now += pause
        told += (due := digests.take(now))
        for identity in (entry.decision.id for part in due for entry in part.entries):
            waiting.pop(identity)
        overdue = [m for m, since in waiting.values() if now - since >= PATIENCE_S]
        assert all(m <= newest - 4 for m in overdue)  # only of closes that were forgotten
        newest = max(newest, minute)
        entry = entry_of(STREAMS[number], minute)
        digests.add([entry], now)
        if minute > newest - 2:
            waiting[entry.decision.id] = (minute, now)
        assert len(digests) <= 4
    told += digests.take(now + PATIENCE_S)
    names = [identity for part in ids(told) for identity in part]
    assert len(set(names)) == len(names)
    for minute in range(31):
        parts = [p for p in told if p.entries[0].decision.bar_open == EVENING_MS + minute * MINUTE]
        assert [part.number for part in parts] == list(range(1, len(parts) + 1))
        counts = [len(part.entries) for part in parts]
        assert [part.decided for part in parts] == [
            sum(counts[: i + 1]) for i in range(len(counts))
        ]
        assert all(part.expected == 4 and part.decided <= 4 for part in parts)


def test_memory_is_bounded_also_when_the_clock_stands_still():
    """A venue's clock that is stuck must not make every close recent for ever."""
    made, digests = Decisions(), Digests(STREAMS, at(EVENING_MS))
    for _ in range(1_000):
        digests.add([made.make(Side.FLAT, STREAMS[0])], 0.0)
    assert len(digests) == 4
    assert len(digests.take(1.0)) == 4
