"""Questions through ccxt, to a client that answers from a list: what proves, what is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from candled.core.bar import HOUR, Stream
from candled_adapters.exchanges.ccxt_venue import CcxtVenue
from candled_adapters.exchanges.dialect import RefusalKind, Rows
from candled_adapters.feeds.backlog import Read
from candled_adapters.feeds.ccxt_rest import CcxtRest
from candled_adapters.feeds.questions import NotAnsweredError
from candled_adapters.feeds.stats import SourceStats
from candled_adapters.feeds.venuetime import VenueTime

START = 1_700_000_000_000 // HOUR * HOUR
STREAM = Stream("venue", "BTC-USDT", "1h")
VENUE = CcxtVenue("fake", frozenset({"1h"}), 100, watches=True, tells_time=True)


def at(slot: float) -> int:
    return int(START + slot * HOUR)


def row(slot: int, close: float = 1.0) -> list[Any]:
    return [at(slot), 1.0, 2.0, 0.5, close, 3.0]


class Client:
    """ccxt's calls that are used, answered in order; an exception is raised."""

    def __init__(self, *answers: Any, told: Any = START) -> None:
        self.answers = list(answers)
        self.told = told
        self.times = 0
        self.asked: list[tuple[Any, ...]] = []
        self.last_response_headers: dict[str, str] | None = None

    async def load_markets(self) -> Sequence[str]:
        return ["BTC/USDT", "ETH/USDT"]

    async def fetch_time(self) -> Any:
        self.times += 1
        return self.told

    async def fetch_ohlcv(self, *asked: Any) -> Any:
        self.asked.append(asked)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    watch_ohlcv = fetch_ohlcv


class RateLimitExceeded(Exception):  # noqa: N818 - ccxt's name
    __module__ = "ccxt.base.errors"


def rest_of(client: Client, venue: CcxtVenue = VENUE) -> CcxtRest:
    return CcxtRest(venue, client, VenueTime(lambda: None), SourceStats())


def rows(client: Client, read: Read) -> Rows:
    return asyncio.run(rest_of(client).rows(STREAM, read))


def slots(found: Rows) -> list[int]:
    return [(time - START) // HOUR for time in found.bars.open_time.tolist()]


def test_one_answer_that_reaches_the_open_bar_is_enough():
    """A span that ends now is asked from its beginning, by ccxt's own symbol."""
    client = Client([row(slot) for slot in range(5, 11)])
    read = Read(at(6), None, 5, at(10.5), 0)
    assert slots(rows(client, read)) == [6, 7, 8, 9, 10]
    assert client.asked == [("BTC/USDT", "1h", at(6), 5)]


def test_a_page_that_is_shorter_than_was_asked_is_no_hole():
    """A venue that gives three rows at a time is asked on, until the span is full."""
    answers = [[row(slot) for slot in range(first, first + 3)] for first in (0, 2, 4)]
    client = Client(*answers)
    assert slots(rows(client, Read(None, at(6), 7, at(20), 0))) == [0, 1, 2, 3, 4, 5, 6]
    assert [asked[2] for asked in client.asked] == [at(0), at(2), at(4)]


def test_the_last_slot_of_a_span_belongs_to_it():
    """An answer that ends one slot before is asked on."""
    client = Client([row(0), row(1)], [row(1), row(2)])
    assert slots(rows(client, Read(at(0), at(2), 3, at(20), 0))) == [0, 1, 2]


def test_a_venue_that_begins_its_answers_too_early_is_cut():
    """No row counts twice, however often it is shown."""
    client = Client([row(0), row(1)], [row(0), row(1), row(2)], [row(1), row(2), row(3)])
    assert slots(rows(client, Read(at(0), None, 10, at(3.5), 0))) == [0, 1, 2, 3]


def test_the_last_bar_of_a_page_is_taken_from_the_answer_that_shows_a_later_one():
    """It may have been open when the first answer was made."""
    client = Client([row(0), row(1, 0.7)], [row(1, 0.9), row(2)], [row(2)])
    found = rows(client, Read(at(0), None, 10, at(3.5), 0))
    assert slots(found) == [0, 1, 2]
    assert found.bars.close.tolist() == [1.0, 0.9, 1.0]


@pytest.mark.parametrize("later", [[], [row(1)]])
def test_a_venue_that_has_no_more_ends_the_question(later: list[Any]):
    """Nothing after the last bar: what there is, is the answer."""
    client = Client([row(0), row(1)], later)
    assert slots(rows(client, Read(at(0), None, 10, at(5.5), 0))) == [0, 1]
    assert client.answers == []


def test_an_empty_answer_is_an_answer():
    """No bar in the span: no question follows."""
    assert slots(rows(Client([]), Read(at(0), at(3), 4, at(9), 0))) == []


def test_what_ccxt_cannot_read_is_malformed_and_not_fatal():
    """A defect over odd bytes, a table that is none, a time that is none: each is told, counted."""

    async def main() -> None:
        client = Client(KeyError("data"), [[None]], {"a": 1}, told="noon")
        rest = rest_of(client)
        stats = rest._stats
        for count in range(1, 3):
            with pytest.raises(NotAnsweredError):
                await rest.rows(STREAM, Read(at(0), None, 5, at(5), 0))
            assert stats.malformed == count
        with pytest.raises(NotAnsweredError, match="push"):
            await rest.next_begun(STREAM)
        with pytest.raises(NotAnsweredError, match="told no time but 'noon'"):
            await rest.server_time(time.monotonic())
        assert stats.malformed == stats.rest_failures == 4

    asyncio.run(main())


def test_a_limit_closes_the_door_for_all_who_ask():
    """Until Retry-After has passed nothing is asked; long waits are told at once."""

    async def main() -> None:
        client = Client(RateLimitExceeded("slow down"))
        client.last_response_headers = {"Retry-After": "60"}
        rest = rest_of(client)
        with pytest.raises(NotAnsweredError, match="RateLimitExceeded slow down") as refused:
            await rest.rows(STREAM, Read(at(0), None, 5, at(5), 0))
        assert (refused.value.kind, refused.value.wait_s) == (RefusalKind.RATE_LIMIT, 60.0)
        for question in (rest.rows(STREAM, Read(at(0), None, 5, at(5), 0)), rest.server_time(1e12)):
            with pytest.raises(NotAnsweredError, match="left alone for"):
                await question
        assert len(client.asked) == 1

    asyncio.run(main())


def test_an_unknown_market_is_an_unknown_stream():
    """It stops its stream; the venue's list says so before a bar is asked for."""
    client = Client()
    with pytest.raises(NotAnsweredError, match="no market 'XRP-USDT'") as refused:
        asyncio.run(
            rest_of(client).rows(Stream("v", "XRP-USDT", "1h"), Read(at(0), None, 5, at(5), 0))
        )
    assert refused.value.unknown
    assert client.asked == []


def test_one_time_is_everybodys_until_a_later_one_is_wanted():
    """Those who ask at the same moment share the answer."""

    async def main() -> None:
        client = Client()
        rest, now = rest_of(client), time.monotonic()
        told = await asyncio.gather(*(rest.server_time(now) for _ in range(3)))
        assert told == [START] * 3
        assert client.times == 1
        await rest.server_time(time.monotonic())
        assert client.times == 2

    asyncio.run(main())


def test_a_venue_that_tells_no_time_has_this_machines_in_doubt():
    """Wall time, taken as up to two seconds wrong."""

    async def main() -> None:
        clock = VenueTime(lambda: None)
        venue = CcxtVenue("fake", frozenset({"1h"}), 100, watches=True, tells_time=False)
        rest = CcxtRest(venue, Client(told=None), clock, SourceStats())
        told = await rest.server_time(time.monotonic())
        assert abs(told - time.time_ns() // 1_000_000) < 1_000
        assert clock._clock is not None
        assert clock._clock.error_ms >= 2_000

    asyncio.run(main())
