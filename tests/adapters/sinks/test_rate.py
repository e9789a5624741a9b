"""Who may ask how often: nobody more than the rates allow, and who waits as told is granted."""

from __future__ import annotations

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from candled_adapters.sinks.rate import Limiter, Rate

EACH, TOGETHER = Rate(burst=4, per_second=2), Rate(burst=7, per_second=5)
NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
#: Who asks, and how many seconds after the one before.
CALLS = st.lists(st.tuples(NAMES, st.floats(0, 3) | st.just(0.0)), max_size=80)


def granted(limiter: Limiter, calls: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return who was granted when."""
    now, found = 0.0, []
    for name, pause in calls:
        now += pause
        if limiter.ask(name, now) == 0:
            found.append((name, now))
    return found


def keeps(times: list[float], rate: Rate) -> bool:
    """Whether no stretch of time has more than its length allows."""
    return all(
        j - i + 1 <= rate.burst + rate.per_second * (times[j] - times[i]) + 1e-6
        for i, j in itertools.combinations_with_replacement(range(len(times)), 2)
    )


@given(CALLS)
@example([("a", 0.0)] * 5 + [("b", 0.0)] * 4)
def test_nobody_gets_more_than_the_rates(calls: list[tuple[str, float]]):
    """In any stretch of time, one client has at most its burst and rate, and all have theirs."""
    found = granted(Limiter(EACH, TOGETHER), calls)
    assert keeps([at for _, at in found], TOGETHER)
    for name in {name for name, _ in found}:
        assert keeps([at for who, at in found if who == name], EACH)


@given(CALLS, NAMES)
def test_who_waits_as_long_as_told_is_granted(calls: list[tuple[str, float]], name: str):
    """After whatever was before, if nobody else asks meanwhile; a moment earlier it is not."""
    limiter = Limiter(EACH, TOGETHER)
    granted(limiter, calls)
    now = sum(pause for _, pause in calls)
    for _ in range(12):
        wait = limiter.ask(name, now)
        if wait:
            assert limiter.ask(name, now + wait * 0.99) > 0
            now += wait
            assert limiter.ask(name, now) == 0


@given(CALLS, NAMES)
def test_a_refusal_costs_nothing(calls: list[tuple[str, float]], name: str):
    """Who is refused a hundred times waits no longer than who is refused once."""
    patient, hasty = Limiter(EACH, TOGETHER), Limiter(EACH, TOGETHER)
    assert granted(patient, calls) == granted(hasty, calls)
    now = sum(pause for _, pause in calls)
    while patient.ask(name, now) == hasty.ask(name, now) == 0:
        pass
    for _ in range(100):
        hasty.ask(name, now)
    assert patient.ask(name, now) == hasty.ask(name, now) > 0


def test_a_full_bucket_is_refilled_to_its_burst_and_no_further():
    """After a long pause a client has its burst at once, and then its rate."""
    limiter = Limiter(Rate(10, 2), Rate(50, 20))
    for now in (0.0, 1e6):
        assert [limiter.ask("bot", now) for _ in range(11)] == [0.0] * 10 + [0.5]


def test_one_that_is_greedy_leaves_the_others_theirs():
    """Its own limit comes before that of all, so that others are granted meanwhile."""
    limiter = Limiter(Rate(10, 2), Rate(50, 20))
    asked = [limiter.ask("greedy", at / 100) for at in range(1_000)]
    assert 29 <= asked.count(0) <= 30
    assert limiter.ask("modest", 10.0) == 0


def test_few_clients_are_remembered_however_many_ask():
    """A name for each request is granted what all may have, and then forgotten."""
    limiter = Limiter(Rate(10, 2), Rate(50, 20))
    most = 0
    for number in range(20_000):
        limiter.ask(f"client {number}", number / 100)
        most = max(most, len(limiter))
    assert 100 < most <= 50 + 20 * 5 + 1


def test_one_that_asks_for_ever_does_not_keep_the_others_remembered():
    """They are forgotten in the order of their last grants, not of their first."""
    limiter = Limiter(Rate(10, 2), Rate(50, 20))
    for number in range(5_000):
        limiter.ask("steady", number / 10)
        limiter.ask(f"client {number}", number / 10)
        assert len(limiter) <= 50 + 20 * 5 + 1


@given(CALLS)
def test_nobody_gains_by_being_forgotten(calls: list[tuple[str, float]]):
    """Grants are the same as those of a table that forgets nobody."""

    class Elephant(Limiter):
        def _forget(self, now_s: float) -> None:
            """Forget nobody."""

    assert granted(Limiter(EACH, TOGETHER), calls) == granted(Elephant(EACH, TOGETHER), calls)
