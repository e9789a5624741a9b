"""The watch over subscriptions: silence is a hint, missed bars are a proof."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import Stream
from candled_adapters.feeds.watch import Orders, Watch

SILENCE_S = 180.0
LAST_S = 3600.0


@dataclass
class Seen:
    """A stream as the watch sees it."""

    stream: Stream
    silent_since: float = 0.0
    missed: int = 0


def seen(*names: str) -> list[Seen]:
    return [Seen(Stream("venue", name, "1h")) for name in names]


def told(orders: Orders) -> tuple[list[str], bool, list[str], list[str]]:
    names = [[s.symbol for s in part] for part in (orders.anew, orders.mute, orders.well)]
    return names[0], bool(orders.over), names[1], names[2]


NOTHING = ([], False, [], [])


def test_a_stream_that_is_silent_on_a_busy_line_is_asked_for_anew_alone():
    """Not a moment before its time, and the reason has the numbers."""
    watch, (quiet, busy) = Watch(SILENCE_S, LAST_S), seen("QUIET", "BUSY")
    busy.silent_since = 179.0
    assert told(watch.look([quiet, busy], 179.9)) == NOTHING
    orders = watch.look([quiet, busy], 180.0)
    assert told(orders) == (["QUIET"], False, [], [])
    assert "silent for 180 s while 1 others are not" in orders.anew[quiet.stream]


def test_a_calm_pair_costs_a_message_ever_more_rarely_and_is_never_called_mute():
    """Without a missed bar silence is no proof: pauses double up to the last one."""
    watch, (quiet, busy) = Watch(SILENCE_S, LAST_S), seen("CALM", "BUSY")
    times = []
    for second in range(0, 17_000, 10):
        busy.silent_since = float(second)
        orders = watch.look([quiet, busy], float(second))
        assert (orders.over, orders.mute) == ("", [])
        times += [second] * len(orders.anew)
    pauses = [after - before for before, after in zip([0, *times], times, strict=False)]
    assert pauses == [180, 360, 720, 1440, 2880, 3600, 3600, 3600]


def test_a_mute_stream_is_asked_twice_then_the_line_is_changed_then_it_is_called_mute():
    """Two more missed bars are what each step takes; then it is retried for ever."""
    watch, (mute, busy) = Watch(SILENCE_S, LAST_S), seen("MUTE", "BUSY")
    steps = []
    for minute in range(14):
        now = 60.0 * minute
        busy.silent_since, mute.missed = now, minute
        steps.append(told(watch.look([mute, busy], now)))
    done = [step for step in steps if step != NOTHING]
    again = (["MUTE"], False, [], [])
    assert done[:4] == [again, again, ([], True, [], []), (["MUTE"], False, ["MUTE"], [])]
    assert done[4:]
    assert set(map(str, done[4:])) == {str(again)}


def test_a_new_line_gives_every_stream_its_time_anew():
    """After a handover a quiet stream is not judged by its silence on the line before."""
    watch, (quiet, busy) = Watch(SILENCE_S, LAST_S), seen("QUIET", "BUSY")
    busy.silent_since = 180.0
    assert watch.look([quiet, busy], 180.0).anew
    watch.handed_over(400.0)
    busy.silent_since = 759.0
    assert told(watch.look([quiet, busy], 759.0)) == NOTHING
    assert told(watch.look([quiet, busy], 760.0)) == (["QUIET"], False, [], [])


def test_a_stream_that_speaks_again_is_well_and_forgotten():
    """What comes of a subscription made anew lifts the concern; free speech ends the case."""
    watch, (mute, busy) = Watch(SILENCE_S, LAST_S), seen("MUTE", "BUSY")
    for minute in range(9):
        busy.silent_since, mute.missed = 60.0 * minute, minute
        watch.look([mute, busy], 60.0 * minute)
    mute.silent_since, mute.missed, busy.silent_since = 481.0, 0, 481.0
    assert told(watch.look([mute, busy], 482.0)) == ([], False, [], ["MUTE"])
    busy.silent_since = mute.silent_since = 600.0
    watch.look([mute, busy], 600.0)
    busy.silent_since = 790.0
    assert told(watch.look([mute, busy], 790.0)) == (["MUTE"], False, [], []), "the pause is short"


def test_a_line_whose_streams_are_all_silent_is_changed():
    """A frozen feed: no stream is at fault; the next change comes later, and later."""
    watch, both = Watch(SILENCE_S, LAST_S), seen("A", "B")
    times = []
    for second in range(0, 8_000, 10):
        orders = watch.look(both, float(second))
        assert (orders.anew, orders.mute) == ({}, [])
        if orders.over:
            assert orders.all_mute
            times.append(second)
    assert times == [180, 540, 1260, 2700, 5580]


def test_a_frozen_line_whose_bars_are_missed_is_called_mute_after_another_was_tried():
    """Then a person should know, and the first word lifts it."""
    watch, both = Watch(SILENCE_S, LAST_S), seen("A", "B")
    both[0].missed = both[1].missed = 1
    assert told(watch.look(both, 180.0)) == ([], True, [], [])
    assert told(watch.look(both, 540.0)) == ([], True, ["A", "B"], [])
    both[1].silent_since, both[1].missed = 541.0, 0
    assert told(watch.look(both, 542.0)) == ([], False, [], ["B"])


@given(st.lists(st.tuples(st.integers(1, 400), st.booleans(), st.booleans()), max_size=60))
@settings(max_examples=200, deadline=None)
def test_who_is_heard_and_misses_nothing_is_left_alone(steps):
    """Whatever its neighbours do, a lively stream gets no message, and mute and well alternate."""
    watch, (lively, other) = Watch(SILENCE_S, LAST_S), seen("LIVELY", "OTHER")
    now, mute = 0.0, False
    for seconds, speaks, misses in steps:
        now += seconds
        lively.silent_since = now
        if speaks:
            other.silent_since, other.missed = now, 0
        other.missed += misses and not speaks
        orders = watch.look([lively, other], now)
        assert lively.stream not in orders.anew
        assert not orders.all_mute
        assert orders.mute in ([], [other.stream])
        assert orders.well in ([], [other.stream])
        assert not (orders.mute and (mute or orders.well))
        assert not orders.well or mute
        mute = bool(orders.mute) or (mute and not orders.well)
