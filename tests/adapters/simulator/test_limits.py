"""What venues allow: who goes beyond it is written down, and, when wanted, treated as by them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus

from candled_adapters.simulator.limits import LIMITS, LimitBook, Rate, VenueLimits
from candled_adapters.simulator.venues import VENUES
from raw_venues import BINANCE, KRAKEN, Ears, Words, dial, get, run, simulator, until

venues = pytest.mark.parametrize("words", [BINANCE, KRAKEN], ids=lambda words: words.name)


def held(words: Words, limits: VenueLimits, **options: Any):
    return simulator(words, 8, speed=1e-3, start_at=4, limits=limits, **options)


@venues
@pytest.mark.parametrize("enforce", [False, True])
def test_too_many_streams(words: Words, enforce: bool):  # noqa: FBT001 - a parameter
    """Recorded once per message that leaves too many; enforced, the connection ends with 1008."""

    async def main() -> None:
        async with held(words, VenueLimits(streams=1), enforce=enforce) as venue:
            async with dial(words, venue) as ws:
                ears = Ears(words, ws)
                await ears.say(words.subscribe([words.symbol]))
                await until(lambda: ears.replies, "an answer")
                assert not venue.breaches
                await ears.say(words.subscribe([words.other]))
                await until(lambda: venue.breaches, "a breach")
                if enforce:
                    assert await ears.closed() == 1008
            (breach,) = venue.breaches
            assert (breach.kind, breach.detail) == (
                "streams", "connection 1 has 2 streams; 1 are allowed",
            )  # fmt: skip

    run(main())


@venues
@pytest.mark.parametrize("enforce", [False, True])
def test_too_many_messages(words: Words, enforce: bool):  # noqa: FBT001 - a parameter
    """On one connection; another has its own count."""

    async def main() -> None:
        limits = VenueLimits(messages=Rate(2, 60.0))
        async with held(words, limits, enforce=enforce) as venue:
            async with dial(words, venue) as one, dial(words, venue) as two:
                ears, others = Ears(words, one), Ears(words, two)
                for _ in range(3):
                    await ears.say(words.subscribe([words.symbol]))
                await others.say(words.subscribe([words.symbol]))
                await until(lambda: venue.breaches and others.replies, "a breach")
                if enforce:
                    assert await ears.closed() == 1008
            assert [b.detail for b in venue.breaches] == [
                "connection 1: more than 2 messages within 60 s"
            ]

    run(main())


@venues
@pytest.mark.parametrize("enforce", [False, True])
def test_too_many_connects_and_questions(words: Words, enforce: bool):  # noqa: FBT001 - a parameter
    """Answered with 429 and Retry-After when enforced."""

    async def main() -> None:
        limits = VenueLimits(connects=Rate(1, 60.0), questions=Rate(1, 60.0))
        async with held(words, limits, enforce=enforce) as venue:
            with contextlib.suppress(InvalidStatus):
                for _ in range(2):
                    async with dial(words, venue):
                        pass
            answers = [await get(venue, words.time) for _ in range(2)]
            expected = 429 if enforce else 200
            assert [a.status_code for a in answers] == [200, expected]
            assert ("Retry-After" in answers[1].headers) == enforce
            assert [r.status for r in venue.requests] == [
                101, 429 if enforce else 101, 200, expected,
            ]  # fmt: skip
            assert [b.kind for b in venue.breaches] == ["connects", "questions"]
            assert venue.breaches[0].at_s <= venue.breaches[1].at_s

    run(main())


def test_without_limits_nothing_is_a_breach():
    """As it is by default."""

    async def main() -> None:
        async with held(BINANCE, VenueLimits(), enforce=True) as venue:
            for _ in range(5):
                assert (await get(venue, BINANCE.time)).status_code == 200
            assert not venue.breaches

    run(main())


@given(st.lists(st.floats(0.0, 3.0), max_size=40), st.integers(1, 5))
def test_a_breach_is_one_more_than_allowed_within_the_window(gaps: list[float], count: int):
    """Counted by hand; questions beyond the limit count too."""
    book, now, times = LimitBook(VenueLimits(questions=Rate(count, 4.0))), 0.0, []
    for gap in gaps:
        now += gap
        recent = sum(now - at < 4.0 * 0.95 for at in times)
        assert book.question(now) == (recent >= count)
        times.append(now)


def test_every_venue_has_its_limits():
    """By the names of the simulated venues."""
    assert LIMITS.keys() == VENUES.keys()
