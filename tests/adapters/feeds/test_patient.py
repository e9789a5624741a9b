"""Questions that are asked again: how long is waited, how fast is asked, when it is given up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled.core.bar import Bars, Stream
from candled_adapters.exchanges.dialect import RefusalKind, Rows
from candled_adapters.feeds.backlog import Read
from candled_adapters.feeds.patient import Endurance, PatientRest
from candled_adapters.feeds.questions import NotAnsweredError

STREAM = Stream("x", "BTCUSDT", "1h")
READ = Read(0, 1, 10, 0, 0)


class Answers:
    """A REST interface that answers as it is told to: with bars, or by raising."""

    def __init__(self, *failures: NotAnsweredError) -> None:
        self.left = list(failures)
        self.asked = 0

    async def rows(self, stream: Stream, read: Read) -> Rows:
        assert (stream, read) == (STREAM, READ)
        self.asked += 1
        if self.left:
            raise self.left.pop(0)
        return Rows(Bars.of([]))


def patient(rest: Any, **more: Any) -> tuple[PatientRest, list, list]:
    """Return a patient interface, what it slept, and what it said."""
    slept, said = [], []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def told(reason: str, seconds: float) -> None:
        said.append((reason, seconds))

    endurance = Endurance(**more)
    return PatientRest(rest, endurance, told=told, sleep=sleep), slept, said


def test_a_long_retry_after_is_waited_out():
    """A ban of three hours is slept through and told; then the question is asked once more."""
    rest = Answers(NotAnsweredError("binance spot: HTTP 418", RefusalKind.BANNED, 10_800.0))
    ask, slept, said = patient(rest)
    assert len(asyncio.run(ask.rows(STREAM, READ)).bars) == 0
    assert slept == [10_800.0]
    assert said == [("binance spot: HTTP 418", 10_800.0)]
    assert rest.asked == 2


def test_it_is_given_up_after_so_many_failures():
    """In a row; each answer begins the count anew."""
    rest = Answers(*[NotAnsweredError(str(n)) for n in range(7)])
    ask, slept, _ = patient(rest, attempts=4)
    with pytest.raises(NotAnsweredError, match="3"):
        asyncio.run(ask.rows(STREAM, READ))
    assert (rest.asked, len(slept)) == (4, 3)
    asyncio.run(ask.rows(STREAM, READ))
    assert rest.asked == 8


@pytest.mark.parametrize("kind", [RefusalKind.UNKNOWN_STREAM, RefusalKind.REJECTED])
def test_what_is_final_is_not_asked_again(kind):
    """A symbol that the venue does not know, or a country that it does not serve."""
    rest = Answers(NotAnsweredError("no", kind))
    ask, slept, _ = patient(rest)
    with pytest.raises(NotAnsweredError):
        asyncio.run(ask.rows(STREAM, READ))
    assert (rest.asked, slept) == (1, [])


@given(st.integers(1, 30), st.floats(0, 1e6), st.floats(0, 1))
def test_pauses_grow_and_never_fall_short_of_the_venues_wish(failures, wait_s, chance):
    """Between half and the whole of a pause that doubles up to its bound, and at least the wish."""
    endurance = Endurance(first_retry_s=0.5, last_retry_s=30.0)
    pause = endurance.pause(failures, wait_s, chance)
    grown = min(0.5 * 2 ** (failures - 1), 30.0)
    assert pause >= wait_s
    assert max(wait_s, grown / 2) <= pause <= max(wait_s, grown)
