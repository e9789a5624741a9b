"""One look at a venue's pushes, against a server that says what a test lets it say."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Callable, Sequence

from websockets.asyncio.server import ServerConnection, serve

from candled.core.bar import Stream
from candled_adapters.exchanges.dialect import Dialect
from candled_adapters.exchanges.registry import DIALECTS
from candled_adapters.feeds.probe import Heard, ProbeBounds, probe
from contract.cases import CASES, encoded

KRAKEN = DIALECTS["kraken"]
BTC, NOPE = (Stream("venue", symbol, "1h") for symbol in ("BTC-USD", "NOPE-USD"))
QUICK = ProbeBounds(connect_s=2.0, answer_s=0.2, push_s=0.1)
PUSH = encoded(next(case for case in CASES if case.name == "kraken").open).decode()
Script = Callable[[str], Sequence[str]]


def heard(
    say: Script, streams: Sequence[Stream] = (BTC,), dialect: Dialect = KRAKEN
) -> tuple[list[Heard], list[str]]:
    """Probe a server that answers each frame as `say` says; return what was heard and asked.

    An empty answer text closes the connection.
    """
    asked: list[str] = []
    fast = dataclasses.replace(
        dialect, limits=dataclasses.replace(dialect.limits, frames_per_second=1000)
    )

    async def attend(connection: ServerConnection) -> None:
        async for frame in connection:
            asked.append(str(frame))
            for text in say(str(frame)):
                if not text:
                    await connection.close(1008, "go away")
                    return
                await connection.send(text)

    async def main() -> list[Heard]:
        async with serve(attend, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            return await probe(fast, f"ws://127.0.0.1:{port}", streams, QUICK)

    return asyncio.run(main()), asked


def ack(frame: str, *, error: str = "") -> str:
    """Answer one of Kraken's subscriptions."""
    said = {"method": "subscribe", "req_id": json.loads(frame)["req_id"], "success": not error}
    return json.dumps(said | ({"error": error} if error else {"result": {}}))


def test_an_acknowledged_stream_whose_bars_come_is_heard_at_once():
    """Nothing more is waited for."""
    began = time.monotonic()
    (one,), asked = heard(lambda frame: [ack(frame), PUSH])
    assert one.answered == {BTC}
    assert (one.bars, one.silent, one.lost, one.complaints) == (1, [], "", [])
    assert len(asked) == 1
    assert time.monotonic() - began < 1.0


def test_a_pushed_bar_is_answer_enough():
    """Where nothing is acknowledged."""
    (one,), _ = heard(lambda _: [PUSH])
    assert one.answered == {BTC}
    assert one.bars == 1


def test_a_refused_stream_is_known_from_its_neighbour():
    """Each of a few streams is asked for on its own; the venue's words are kept."""

    def say(frame: str) -> list[str]:
        if "NOPE/USD" in frame:
            return [ack(frame, error="Currency pair not supported NOPE/USD")]
        return [ack(frame), PUSH]

    (one,), asked = heard(say, [NOPE, BTC])
    assert one.refused == {NOPE: "Currency pair not supported NOPE/USD"}
    assert one.answered == {BTC}
    assert one.silent == []
    assert len(asked) == 2


def test_a_silent_stream_is_named_within_the_bound():
    """A subscription without an answer, on a connection that lives."""
    (one,), _ = heard(lambda frame: [ack(frame)] if "BTC" in frame else [], [NOPE, BTC])
    assert one.silent == [NOPE]
    assert one.answered == {BTC}
    assert one.bars == 0


def test_complaints_without_a_name_and_frames_that_cannot_be_read_are_kept():
    """They are told as they are."""
    refusal = json.dumps({"method": "subscribe", "success": False, "error": "no", "req_id": 99})
    (one,), _ = heard(lambda frame: [refusal, "<html>", ack(frame), PUSH])
    assert one.complaints[0] == "no"
    assert "<html>" in one.complaints[1]
    assert one.answered == {BTC}


def test_a_connection_that_ends_says_why():
    """Closed by the venue before anything was heard."""
    (one,), _ = heard(lambda _: [""])
    assert "1008" in one.lost
    assert one.silent == [BTC]


def test_open_bars_that_a_dialect_passes_over_are_bars():
    """Binance's open pushes are not decoded; that they come is what counts."""
    case = next(case for case in CASES if case.name == "binance-spot")
    opened = encoded(case.open).decode()
    stream = Stream("venue", "BTCUSDT", "1h")
    (one,), _ = heard(
        lambda frame: [json.dumps({"result": None, "id": json.loads(frame)["id"]}), opened],
        [stream],
        case.dialect,
    )
    assert one.answered == {stream}
    assert one.bars == 1


def test_streams_are_spread_over_the_connections_of_a_feed():
    """Each connection carries what a feed's would, and is heard on its own."""
    limits = dataclasses.replace(KRAKEN.limits, streams_per_connection=2)
    small = dataclasses.replace(KRAKEN, limits=limits)
    streams = [Stream("venue", f"A{number}-USD", "1h") for number in range(5)]
    found, asked = heard(lambda frame: [ack(frame), PUSH], streams, small)
    assert [len(one.streams) for one in found] == [2, 2, 1]
    assert all(not one.silent for one in found)
    assert len(asked) == 5


def test_many_streams_are_asked_for_in_few_frames():
    """More than twenty go together, as a feed asks."""
    streams = [Stream("venue", f"A{number}-USD", "1h") for number in range(21)]
    (one,), asked = heard(lambda frame: [ack(frame), PUSH], streams)
    assert len(asked) == 1
    assert one.silent == []
