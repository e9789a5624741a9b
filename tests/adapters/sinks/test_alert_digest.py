"""What people are told: many things at once, few messages, and an honest count of the rest."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from candled_adapters.sinks.alert_digest import HOUR_S, LINES, Digest

#: What happens: how long after the last thing, of which kind.
HAPPENINGS = st.lists(
    st.tuples(st.floats(0, 2000), st.sampled_from(["signals", "corrections", "halts"])), max_size=60
)


def told(happenings, window_s, per_hour, fails=()):
    """Play what happens, calling whenever something is due; return the messages with times."""
    digest, now, messages = Digest(window_s, per_hour), 0.0, []

    def until(moment: float) -> None:
        while (due := digest.due_s()) is not None and due <= moment:
            if message := digest.take(due):
                messages.append((due, message))
                if len(messages) in fails:
                    digest.failed(message, due)

    for pause, kind in happenings:
        until(now + pause)
        now += pause
        digest.add(kind, f"{kind} at {now}", now)
    until(now + 10 * HOUR_S)
    return messages


@given(HAPPENINGS, st.floats(0, 600), st.integers(1, 5))
def test_every_thing_is_told_or_counted_once(happenings, window_s, per_hour):
    """The counts of all messages together are what happened, kind by kind."""
    messages = told(happenings, window_s, per_hour)
    sums: Counter[str] = Counter()
    for _, message in messages:
        sums += Counter(message.counts) + Counter(message.unsaid)
    assert sums == Counter(kind for _, kind in happenings)


@given(HAPPENINGS, st.floats(0, 600), st.integers(1, 5))
def test_no_hour_has_more_messages_than_allowed(happenings, window_s, per_hour):
    """Any hour, not only those of the clock."""
    times = [moment for moment, _ in told(happenings, window_s, per_hour)]
    pauses = [later - first for first, later in zip(times, times[per_hour:], strict=False)]
    assert all(pause >= HOUR_S - 1e-6 for pause in pauses)


@given(HAPPENINGS, st.floats(0, 600), st.integers(1, 5), st.sets(st.integers(1, 4)))
def test_what_reached_nobody_is_counted_in_a_later_message(happenings, window_s, per_hour, fails):
    """Unless the last one failed too, after which nobody can be told."""
    messages = told(happenings, window_s, per_hour, fails)
    reached = [m for number, (_, m) in enumerate(messages, start=1) if number not in fails]
    sums: Counter[str] = Counter()
    for message in reached:
        sums += Counter(message.counts) + Counter(message.unsaid)
    assert sums == Counter(kind for _, kind in happenings)


def test_three_hundred_signals_of_one_close_are_one_message():
    """The first are shown, the rest counted; memory does not grow with them."""
    digest = Digest(10.0, 20)
    for number in range(300):
        digest.add("signals", f"LONG {number}", 100.0 + number / 100)
    assert digest.due_s() == 110.0
    message = digest.take(110.0)
    assert message is not None
    assert message.title == "candled: 300 signals"
    lines = message.body.splitlines()
    assert lines[0] == "LONG 0"
    assert lines[-1] == "... and 280 more"
    assert len(lines) == LINES + 1
    assert digest.due_s() is None


def test_a_message_says_what_was_not_told_before_it():
    """As soon as the hour has room, even if nothing else happens."""
    digest = Digest(0.0, 1)
    digest.add("signals", "first", 0.0)
    assert digest.take(0.0)
    digest.add("corrections", "second", 5.0)
    digest.add("signals", "third", 5.0)
    assert digest.take(5.0) is None
    assert digest.due_s() == HOUR_S
    message = digest.take(HOUR_S)
    assert message is not None
    assert message.title == "candled: not told: 1 correction, 1 signal"
    assert message.body == "Not told before: 1 correction, 1 signal"


def test_after_a_failure_it_is_not_tried_again_at_once():
    """A service that is down is not asked all the time, and neither is the hour used up."""
    digest = Digest(0.0, 20)
    digest.add("signals", "first", 0.0)
    message = digest.take(0.0)
    assert message is not None
    digest.failed(message, 3.0)
    assert digest.due_s() == 63.0
    digest.add("signals", "second", 10.0)
    assert digest.due_s() == 10.0


def test_a_long_line_is_cut():
    """A venue's text cannot make a message that no service takes."""
    digest = Digest(0.0, 1)
    digest.add("halts", "x" * 10_000, 0.0)
    message = digest.take(0.0)
    assert message is not None
    assert len(message.body) == 200
