from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import aiomqtt
import pytest

from brokers import free_port, mosquitto, needs_mosquitto
from candled.core.bar import Stream
from candled.core.decision import Side
from candled.ports import Act, Entry, Hazard, Incident, ServiceState, StreamHealth, StreamState
from candled_adapters.sinks.mqtt import MqttSettings, MqttSink
from fakes import (
    BTC,
    EVENING_MS,
    Board,
    Decisions,
    FixedClock,
    MemoryOutbox,
    ended,
    until,
)
from mqtt_tap import Tap, tap

pytestmark = needs_mosquitto

ETH = Stream("binance", "ETHUSDT", "1m")
WRONG, RIGHT = "correct-horse-battery", "another"


def quick(port: int, **changes: object) -> MqttSettings:
    """Return settings for a broker on loopback, with the patience of a test."""
    patient = MqttSettings("127.0.0.1", port, status_beat=60.0)
    return replace(patient, backoff_max=0.3, **changes)


class Running:
    """A sink at work, and the fakes around it."""

    def __init__(
        self,
        settings: MqttSettings,
        outbox: MemoryOutbox,
        clock: FixedClock,
        streams: Sequence[Stream] = (),
    ) -> None:
        self.outbox = outbox
        self.board = Board()
        self.acked: list[Entry] = []
        sink = MqttSink(
            settings,
            lambda _exchange: clock,
            lambda: {"version": "1"},
            streams=streams,
            instance="test-1",
            on_acked=lambda entries, _at: self.acked.extend(entries),
        )
        self.task = asyncio.create_task(sink.run(outbox, self.board))

    @property
    def position(self) -> int:
        return self.outbox.position("mqtt")

    async def well(self, seconds: float = 5.0) -> None:
        """Wait until the sink reports that all is well."""
        await until(lambda: self.board.reports and self.board.problem is None, seconds, "not well")

    async def unwell(self, text: str) -> str:
        """Wait until the sink reports a problem with `text` in it, and return it."""
        await until(lambda: text in (self.board.problem or ""), 5.0, f"no problem with {text!r}")
        return str(self.board.problem)

    async def delivered(self, seconds: float = 5.0) -> None:
        """Wait until all entries are marked."""
        last = self.outbox.entries[-1].position
        await until(lambda: self.position == last, seconds, "not all delivered")


@asynccontextmanager
async def running(
    settings: MqttSettings,
    entries: Iterable[Entry] = (),
    clock: FixedClock | None = None,
) -> AsyncIterator[Running]:
    """Run a sink for the length of the block."""
    sink = Running(settings, MemoryOutbox(entries), clock or FixedClock(EVENING_MS))
    try:
        yield sink
    finally:
        await ended(sink.task)


@asynccontextmanager
async def subscriber(port: int, topic: str = "candled/#") -> AsyncIterator[list[aiomqtt.Message]]:
    """Collect what the broker gives a subscriber, as a consumer would see it."""
    got: list[aiomqtt.Message] = []

    async def collect(client: aiomqtt.Client) -> None:
        with suppress(aiomqtt.MqttError):
            async for message in client.messages:
                got.append(message)  # noqa: PERF401 - seen while it grows, not at its end

    version = aiomqtt.ProtocolVersion.V5
    async with aiomqtt.Client("127.0.0.1", port, protocol=version) as client:
        await client.subscribe(topic, qos=1)
        task = asyncio.create_task(collect(client))
        try:
            yield got
        finally:
            await ended(task)


def bodies(messages: list[aiomqtt.Message], part: str) -> list[dict[str, object]]:
    """Return the payloads on topics that contain `part`."""
    return [json.loads(m.payload) for m in messages if part in str(m.topic)]


class WitnessedOutbox(MemoryOutbox):
    """Notes with each mark what the broker had really accepted by then."""

    wire: Tap

    def mark(self, sink: str, position: int) -> None:
        accepted = set(self.wire.accepted)
        for entry in self.entries:
            if entry.position <= position and entry.seq is not None:
                assert entry.decision.id in accepted, f"{entry.position} was not accepted"
        super().mark(sink, position)


def test_nothing_is_marked_that_the_broker_has_not_accepted(tmp_path):
    """Over a broker's kill -9 amid 500 signals, marks never run ahead and order holds."""

    async def scenario(broker) -> None:
        decisions = Decisions()
        sides = [Side.LONG, Side.FLAT, Side.SHORT]
        entries = [decisions.make(sides[i % 3], BTC if i % 2 else ETH) for i in range(750)]
        signals = [e.decision.id for e in entries if e.seq is not None]
        async with tap(broker.port) as wire:
            wire.on_accepted = lambda count: broker.kill() if count == 200 else None
            outbox = WitnessedOutbox(entries)
            outbox.wire = wire
            sink = Running(quick(wire.port), outbox, FixedClock(EVENING_MS))
            try:
                await sink.unwell("no connection")
                first = list(wire.accepted)
                assert first == signals[: len(first)]
                assert 200 <= len(first) < 500
                assert sink.position < 750
                assert [e.decision.id for e in sink.acked] == first
                broker.start()
                await sink.delivered()
                again = wire.accepted[len(first) :]
                assert again == signals[len(signals) - len(again) :]
                assert set(first) | set(again) == set(signals)
            finally:
                await ended(sink.task)

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker))


def test_signals_keep_their_order_within_the_brokers_window(tmp_path):
    """The broker's Receive Maximum is kept, each stream's order holds, no signal is retained."""

    async def scenario(port: int) -> None:
        decisions = Decisions()
        entries = [decisions.make(Side.LONG, BTC if i % 3 else ETH) for i in range(300)]
        async with tap(port) as wire, subscriber(port) as got, running(quick(wire.port)) as sink:
            sink.outbox.add(*entries)
            await sink.delivered()
            await until(lambda: len(bodies(got, "/signal/")) == 300)
            for stream in (BTC, ETH):
                seqs = [body["seq"] for body in bodies(got, f"/signal/{stream.path}")]
                assert seqs == list(range(1, len(seqs) + 1))
            assert wire.most_outstanding == 5
            assert {said.qos for said in wire.topics("/signal/")} == {1}
            assert not any(said.retain for said in wire.topics("/signal/"))
        async with subscriber(port, "candled/signal/#") as late, subscriber(port) as others:
            await until(lambda: bodies(others, "/head/"))
            assert not late

    with mosquitto(tmp_path, conf="max_inflight_messages 5") as broker:
        asyncio.run(scenario(broker.port))


def test_a_signal_without_subscribers_is_delivered(tmp_path):
    """Reason code 16, no matching subscribers, is a success."""

    async def scenario(port: int) -> None:
        async with tap(port) as wire, running(quick(wire.port), Decisions().some(3)) as sink:
            await sink.delivered()
            assert 16 in wire.codes
            assert len(wire.topics("/signal/")) == 3

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


@pytest.mark.parametrize("count", [1, 300])
@pytest.mark.parametrize("part", ["signal", "head", "status"])
def test_a_refusal_is_reported_and_nothing_is_taken_for_delivered(tmp_path, part, count):
    """A broker that grants no right to write is named with the mend; it heals by itself."""
    rights = {"signal", "head", "status", "info"}
    acl = tmp_path / "acl"

    def grant(parts: set[str]) -> None:
        lines = [f"topic write candled/{part}/#" for part in sorted(parts)]
        acl.write_text("\n".join(["topic read #", *lines]) + "\n")
        acl.chmod(0o700)

    async def scenario(broker) -> None:
        async with running(quick(broker.port), Decisions().some(count)) as sink:
            problem = await sink.unwell("(code 135 Not authorized): grant write rights on")
            assert f"candled/{part}" in problem
            assert sink.position == 0 or part != "signal"
            reports = len(sink.board.reports)
            await until(lambda: len(sink.board.reports) > reports + 1)  # it tries again, and again
            assert None not in [problem for _, problem in sink.board.reports]
            grant(rights)
            broker.reload()
            await sink.well()
            await sink.delivered()

    grant(rights - {part})
    with mosquitto(tmp_path, conf=f"acl_file {acl}") as broker:
        asyncio.run(scenario(broker))


def test_a_wrong_password_is_reported_but_never_shown(tmp_path, caplog):
    """The report names the mend; neither reports, nor logs, nor the settings' text hold secrets."""
    passwords = tmp_path / "passwords"
    passwords.write_text(f"bot:{RIGHT}\n")
    program = shutil.which("mosquitto_passwd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("no mosquitto_passwd here: apt-get install mosquitto")
    subprocess.run([program, "-U", str(passwords)], check=True)
    passwords.chmod(0o700)

    async def scenario(port: int) -> None:
        caplog.set_level(logging.DEBUG)
        settings = quick(port, username="bot", password=WRONG)
        async with running(settings, Decisions().some(1)) as sink:
            problem = await sink.unwell("check the user name and the password")
            assert "refused the connection" in problem
            shown = repr(settings) + repr(sink.board.reports) + caplog.text
            assert WRONG not in shown
        async with running(replace(settings, password=RIGHT), Decisions().some(1)) as sink:
            await sink.delivered()

    conf = f"allow_anonymous false\npassword_file {passwords}"
    with mosquitto(tmp_path, conf=conf) as broker:
        asyncio.run(scenario(broker.port))


def test_the_status_tells_of_birth_change_and_end(tmp_path):
    """Retained: online at birth, what the board says then, offline when the service ends."""

    async def scenario(port: int) -> None:
        async with subscriber(port) as got:
            async with running(quick(port)) as sink:
                await sink.well()
                sink.board.set(ServiceState.DEGRADED, "binance is down")
                await until(lambda: len(bodies(got, "/status")) == 2)
            await until(lambda: len(bodies(got, "/status")) == 3)
            states = [(body["state"], body["reasons"]) for body in bodies(got, "/status")]
            assert states == [
                ("online", []),
                ("degraded", ["binance is down"]),
                ("offline", ["stopped"]),
            ]
            assert {body["instance"] for body in bodies(got, "/status")} == {"test-1"}
            assert {body["epoch"] for body in bodies(got, "/status")} == {"epoch-1"}
            assert bodies(got, "/info") == [{"version": "1"}]
        async with subscriber(port) as late:
            await until(lambda: len(late) == 2)
            assert bodies(late, "/status")[0]["state"] == "offline"

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


def test_the_will_speaks_when_the_connection_dies(tmp_path):
    """A cut connection makes the broker say offline; the next birth says online again."""

    async def scenario(port: int) -> None:
        async with (
            tap(port) as wire,
            subscriber(port) as got,
            running(quick(wire.port)) as sink,
        ):
            await sink.well()
            wire.cut()
            await until(lambda: len(bodies(got, "/status")) == 3)
            states = [(body["state"], body["since"]) for body in bodies(got, "/status")]
            since = "2025-01-01T00:00:00Z"
            assert states == [("online", since), ("offline", None), ("online", since)]

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


def test_a_late_signal_is_delivered_as_a_record_only(tmp_path):
    """Before valid_until a signal is live and expires then; after it, neither."""

    async def scenario(port: int) -> None:
        decisions = Decisions()
        late, edge, live = decisions.some(3)
        clock = FixedClock(edge.decision.valid_until)  # exclusive, so this one is late as well
        async with subscriber(port) as got, running(quick(port), [late, edge, live], clock):
            await until(lambda: len(bodies(got, "/signal/")) == 3)
        assert [body["live"] for body in bodies(got, "/signal/")] == [False, False, True]
        messages = [m for m in got if "/signal/" in str(m.topic)]
        expiry = [getattr(m.properties, "MessageExpiryInterval", None) for m in messages]
        assert expiry == [None, None, 60]

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


def test_heads_are_retained_and_only_the_newest_is_said(tmp_path):
    """Of 100 decisions at once the last is the head; it is retained, and expires."""

    async def scenario(port: int) -> None:
        decisions = Decisions()
        entries = [*decisions.some(99), decisions.make(Side.NO_DECISION)]
        async with tap(port) as wire, running(quick(wire.port)) as sink:
            await sink.well()
            sink.outbox.add(*entries)
            await until(lambda: wire.topics("/head/"))
            assert len(wire.topics("/head/")) == 1
            assert wire.topics("/signal/")[-1].payload["seq"] == 99
        async with subscriber(port, "candled/head/#") as got:
            await until(lambda: got)
        (head,) = bodies(got, f"/head/{BTC.path}")
        assert (head["side"], head["reason"], head["last_signal_seq"]) == (
            "no_decision",
            "warmup",
            99,
        )
        assert got[0].retain
        assert 170 <= got[0].properties.MessageExpiryInterval <= 180  # 2 bars and 2 refreshes

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


def test_corrections_go_out_in_order_and_are_signals_only_when_they_turn(tmp_path):
    """Each correction is an event; one that turns the side is a signal, one that keeps it is not.

    What a correction that is known by then withdraws is delivered as a record, without expiry.
    """

    async def scenario(port: int) -> None:
        decisions = Decisions()
        first, other = decisions.make(Side.LONG), decisions.make(Side.SHORT)
        kept = decisions.correct(first, Side.LONG)
        turned = decisions.correct(kept, Side.SHORT)
        flat = decisions.correct(other, Side.FLAT)
        sure = decisions.make(Side.LONG)
        stronger = decisions.correct(sure, Side.LONG)
        entries = [first, other, kept, turned, flat, sure, stronger]
        async with (
            tap(port) as wire,
            subscriber(port) as got,
            running(quick(wire.port), entries) as sink,
        ):
            await sink.delivered()
            await until(lambda: len(bodies(got, "/event/")) == 4)
            events, signals = bodies(got, f"/event/{BTC.path}"), bodies(got, "/signal/")
            assert [body["id"] for body in events] == [
                entry.decision.id for entry in (kept, turned, flat, stronger)
            ]
            assert [(body["seq"], body["live"], body["supersedes"]) for body in signals] == [
                (1, False, None),
                (2, False, None),
                (3, True, first.decision.id),
                (4, True, None),
            ]
            assert [said.qos for said in wire.topics("/event/")] == [1] * 4
            assert not any(said.retain for said in wire.topics("/event/"))
            assert [entry.seq for entry in sink.acked] == [1, 2, 3, 4]

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


def test_a_correction_of_an_older_bar_is_not_the_head(tmp_path):
    """The head stays with the newest bar and its newest decision, and knows the newest signal."""

    async def scenario(port: int) -> None:
        decisions = Decisions()
        old, newest = decisions.make(Side.LONG), decisions.make(Side.FLAT)
        turned = decisions.correct(old, Side.SHORT)

        async def said(got: list[aiomqtt.Message], entry: Entry, seq: int) -> None:
            def newest_head() -> tuple[object, object]:
                heads = bodies(got, "/head/")
                return (heads[-1]["id"], heads[-1]["last_signal_seq"]) if heads else (None, None)

            await until(lambda: newest_head() == (entry.decision.id, seq))

        async with subscriber(port) as got, running(quick(port), [old, newest]) as sink:
            await said(got, newest, 1)
            sink.outbox.add(turned)
            await said(got, newest, 2)
            again = decisions.correct(newest, Side.LONG)
            sink.outbox.add(again)
            await said(got, again, 3)
        outbox = MemoryOutbox([old, newest, turned])
        outbox.mark("mqtt", turned.position)
        outbox.latest = lambda: [newest, turned]
        async with subscriber(port, "candled/head/#") as got:
            await said(got, again, 3)
            sink = Running(quick(port), outbox, FixedClock(EVENING_MS))
            try:
                await said(got, newest, 2)
            finally:
                await ended(sink.task)

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


def test_incidents_are_told_also_those_of_the_time_without_a_broker(tmp_path):
    """Each once, in order, on its stream's topic or its exchange's; a head shows the state."""

    def incident(number: int, stream: Stream | None = BTC) -> Incident:
        return Incident(
            "binance", stream, Hazard.RATE_LIMIT, Act.HOLD, f"number {number}", EVENING_MS
        )

    async def scenario(broker) -> None:
        async with (
            tap(broker.port) as wire,
            running(quick(wire.port), Decisions().some(1)) as sink,
        ):
            sink.board.streams[BTC] = StreamHealth(BTC, StreamState.HOLDING, "a bar is missing")
            async with subscriber(broker.port) as got:
                await sink.delivered()
                sink.board.tell(incident(1))
                sink.board.tell(incident(2, None), unsaid=7)
                await until(lambda: len(bodies(got, "/event/")) == 2)
                topics = [str(m.topic) for m in got if "/event/" in str(m.topic)]
                assert topics == [f"candled/event/{BTC.path}", "candled/event/binance"]
                assert [body["unsaid"] for body in bodies(got, "/event/")] == [0, 7]
                await until(lambda: bodies(got, "/head/"))
                (head, *_) = bodies(got, "/head/")
                assert (head["stream_state"], head["stream_reason"]) == (
                    "holding", "a bar is missing",
                )  # fmt: skip
                broker.kill()
            await sink.unwell("connection")
            sink.board.tell(incident(3))
            broker.start()
            await until(lambda: len(wire.topics("/event/")) == 3)
            assert [said.qos for said in wire.topics("/event/")] == [0] * 3

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker))


def test_the_status_is_said_again_while_the_service_lives(tmp_path):
    """Silence is not calm: at every beat, retained and without acknowledgement, as it is then."""

    async def scenario(port: int) -> None:
        async with tap(port) as wire, running(quick(wire.port, status_beat=0.05)) as sink:
            await until(lambda: len(wire.topics("/status")) >= 4)
            sink.board.set(ServiceState.DEGRADED, "binance is down")
            await until(lambda: wire.topics("/status")[-1].payload["state"] == "degraded")
            known = len(wire.topics("/status"))
            await until(lambda: len(wire.topics("/status")) >= known + 2)
            said = wire.topics("/status")
            assert all(message.retain for message in said)
            assert {message.payload["beat_s"] for message in said} == {0.05}
            online = [message.qos for message in said if message.payload["state"] == "online"]
            degraded = [message.qos for message in said if message.payload["state"] == "degraded"]
            assert online[0] == degraded[0] == 1
            assert set(online[1:]) == set(degraded[1:]) == {0}

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


def test_heads_are_said_again_on_every_connection_and_in_between(tmp_path):
    """A consumer need not wait for the next close to see that a stream lives."""

    async def scenario(port: int) -> None:
        decisions = Decisions()
        symbols = [Stream("binance", f"S{i}", "1m") for i in range(250)]
        entries = [decisions.make(Side.FLAT, stream) for stream in symbols]
        async with tap(port) as wire, running(quick(wire.port, head_refresh=0.2), entries) as sink:
            for times in (1, 2, 3):
                await until(lambda times=times: len(wire.topics("/head/")) == 250 * times)
            heads = wire.topics("/head/")
            assert len({said.topic for said in heads[250:500]}) == 250
            assert all(said.retain for said in heads)
            assert [said.qos for said in heads[:250]].count(1) == 3  # one for each slice of 100
            wire.cut()
            wire.said.clear()
            await until(lambda: len({said.topic for said in wire.topics("/head/")}) == 250)
            assert not sink.acked

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


def states(got: list[aiomqtt.Message], stream: Stream = BTC) -> list[tuple[object, object]]:
    """Return state and reason of a stream's heads as they came."""
    heads = bodies(got, f"/head/{stream.path}")
    return [(head["stream_state"], head["stream_reason"]) for head in heads]


def test_a_head_is_said_again_at_once_when_its_stream_does_otherwise(tmp_path):
    """A consumer that latches the head's side learns in time that nothing is decided any more."""

    async def scenario(port: int) -> None:
        made = Decisions()
        entries = [made.make(Side.LONG), made.make(Side.FLAT, ETH)]
        async with subscriber(port) as got, running(quick(port), entries) as sink:
            await sink.well()
            await until(lambda: states(got) and states(got, ETH))
            for number, state in enumerate(StreamState):
                sink.board.note(StreamHealth(BTC, state, f"reason {number}"))
                said = (state.value, f"reason {number}")
                await until(lambda said=said: states(got)[-1] == said)
            (head, *_) = bodies(got, f"/head/{BTC.path}")[-1:]
            assert (head["side"], head["last_signal_seq"]) == ("long", 1)
            assert len(states(got, ETH)) == 1
            sink.board.note(StreamHealth(Stream("binance", "NEW", "1m"), StreamState.LIVE, ""))
            sink.board.note(StreamHealth(ETH, StreamState.LIVE, ""))
            await until(lambda: states(got, ETH)[-1] == ("live", ""))
            assert not bodies(got, "/head/binance/NEW")

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


def test_no_head_goes_on_saying_live_after_the_end(tmp_path):
    """First the status says offline, then each head that its stream is not served; all retained."""
    streams = [Stream("binance", f"S{number}", "1m") for number in range(250)]

    async def scenario(port: int) -> None:
        made = Decisions()
        entries = [made.make(Side.LONG, stream) for stream in streams]
        async with tap(port) as wire:
            async with running(quick(wire.port), entries) as sink:
                for stream in streams:
                    sink.board.note(StreamHealth(stream, StreamState.LIVE, ""))
                await sink.delivered()
                await until(lambda: len({s.topic for s in wire.topics("/head/")}) == 250)
                wire.said.clear()
            assert wire.said[0].topic == "candled/status"
            assert {said.payload["stream_state"] for said in wire.said[1:]} == {None}
            assert {said.payload["stream_reason"] for said in wire.said[1:]} == {"stopped"}
            assert len(wire.said) == 251
        async with subscriber(port, "candled/head/#") as got:
            await until(lambda: len(got) == 250)
            assert {json.loads(message.payload)["stream_state"] for message in got} == {None}
            assert {message.retain for message in got} == {True}
            assert {message.properties.MessageExpiryInterval > 0 for message in got} == {True}

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


def test_a_head_of_a_stream_that_is_no_longer_served_says_so(tmp_path):
    """The journal still has its decisions; the board knows nothing of it."""

    async def scenario(port: int) -> None:
        made = Decisions()
        outbox = MemoryOutbox([made.make(Side.LONG), made.make(Side.SHORT, ETH)])
        outbox.mark("mqtt", 2)
        async with subscriber(port) as got:
            sink = Running(quick(port), outbox, FixedClock(EVENING_MS))
            sink.board.note(StreamHealth(BTC, StreamState.LIVE, ""))
            try:
                await until(lambda: states(got) and states(got, ETH))
                assert set(states(got)) == {("live", "")}
                assert states(got, ETH) == [(None, "")]
            finally:
                await ended(sink.task)

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


def test_the_last_word_is_why_the_service_ends(tmp_path):
    """The status and the heads say what failed elsewhere, and not that all was stopped."""

    async def scenario(port: int) -> None:
        async with subscriber(port) as got:
            async with running(quick(port), Decisions().some(1)) as sink:
                await sink.well()
                sink.board.fail("decider", RuntimeError("the journal is full"))
            why = "decider failed: RuntimeError: the journal is full"
            await until(lambda: (None, why) in states(got))
            last = bodies(got, "/status")[-1]
            assert (last["state"], last["reasons"]) == ("offline", [why])

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_sink_that_fails_itself_says_so_before_it_ends(tmp_path, cancelled):
    """The broker need not say the will instead, also when others have failed meanwhile."""

    class Full(MemoryOutbox):
        full = False

        def mark(self, sink: str, position: int) -> None:
            if self.full:
                raise RuntimeError(f"{sink} cannot mark {position}")
            super().mark(sink, position)

    streams = [Stream("binance", f"S{number}", "1m") for number in range(150)]

    async def scenario(port: int) -> None:
        made = Decisions()
        async with subscriber(port) as got:
            outbox = Full([made.make(Side.LONG, stream) for stream in streams])
            sink = Running(quick(port), outbox, FixedClock(EVENING_MS))
            await sink.well()
            await sink.delivered()
            outbox.full = True
            outbox.add(made.make(Side.LONG))
            await until(lambda: sink.board.failure)
            if cancelled:
                sink.task.cancel()
            done, _ = await asyncio.wait([sink.task], timeout=5)
            assert done
            assert sink.task.cancelled() is cancelled
            assert cancelled or "cannot mark 151" in repr(sink.task.exception())

            def retired(stream: Stream) -> bool:
                return any("cannot mark" in str(why) for _, why in states(got, stream))

            await until(lambda: all(map(retired, streams)))
            last = bodies(got, "/status")[-1]
            assert last["state"] == "offline"
            assert "cannot mark 151" in str(last["reasons"])
            assert last["since"] is not None

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


# --- digests


def test_a_close_is_told_in_one_message_after_its_signals(tmp_path):
    """When all have decided; not retained, gone after a bar, only the first at QoS 1."""
    streams = [Stream("binance", f"S{number}", "1m") for number in range(30)]

    async def scenario(port: int) -> None:
        made = Decisions()
        clock = FixedClock(EVENING_MS + 60_000)
        async with tap(port) as wire, subscriber(port) as got:
            sink = Running(quick(wire.port), MemoryOutbox(), clock, streams)
            try:
                await sink.well()
                for close in (1, 2):
                    sides = [Side.LONG, Side.FLAT, Side.NO_DECISION]
                    entries = [made.make(sides[i % 3], s) for i, s in enumerate(streams)]
                    sink.outbox.add(*entries[:10])
                    await sink.delivered()
                    sink.outbox.add(*entries[10:])
                    await until(lambda close=close: len(bodies(got, "/digest/")) == close)
                    topics = [said.topic for said in wire.said]
                    at = topics.index("candled/digest/binance/1m")
                    assert sum("/signal/" in topic for topic in topics[:at]) == 10
                    assert not wire.said[at].retain
                    wire.said.clear()
                    digest = bodies(got, "/digest/")[-1]
                    lines = digest.pop("decisions")
                    assert [line["id"] for line in lines] == [e.decision.id for e in entries]
                    assert [line["seq"] for line in lines] == [e.seq for e in entries]
                    assert lines[2] == {
                        "id": entries[2].decision.id,
                        "symbol": "S2",
                        "side": "no_decision",
                        "reason": "warmup",
                        "probabilities": None,
                        "seq": None,
                        "price": 93576.01,
                        "regime": 1,
                    }
                    opened = EVENING_MS + (close - 1) * 60_000
                    assert digest == {
                        "schema": "candled.digest/1",
                        "epoch": "epoch-1",
                        "exchange": "binance",
                        "interval": "1m",
                        "bar_open": f"2025-01-01T00:0{close - 1}:00Z",
                        "bar_close": f"2025-01-01T00:0{close}:00Z",
                        "bar_open_ms": opened,
                        "bar_close_ms": opened + 60_000,
                        "part": 1,
                        "decided": 30,
                        "expected": 30,
                        "published_at": "2025-01-01T00:01:00Z",
                    }
                messages = [m for m in got if "/digest/" in str(m.topic)]
                assert [m.qos for m in messages] == [1, 0]
                assert {m.properties.MessageExpiryInterval for m in messages} == {60}
            finally:
                await ended(sink.task)

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


@pytest.mark.parametrize("digest", [True, False])
def test_who_may_not_write_digests_still_delivers(tmp_path, digest):
    """A broker that ends the connection over one gets none for ever longer; or they are off."""
    acl = tmp_path / "acl"
    lines = [f"topic write candled/{part}/#" for part in ("signal", "head", "status", "info")]
    acl.write_text("\n".join(["topic read #", *lines]) + "\n")
    acl.chmod(0o700)

    async def scenario(port: int) -> None:
        made, clock = Decisions(), FixedClock(EVENING_MS + 60_000)
        sink = Running(quick(port, digest=digest), MemoryOutbox(), clock, [BTC])
        try:
            await sink.well()
            for _ in range(20):
                clock.now += 60_000
                sink.outbox.add(made.make(Side.LONG))
                await sink.delivered()
                await sink.well()
            refusals = {text for _, text in sink.board.reports if text and "refused" in text}
            ends = sum(problem is not None for _, problem in sink.board.reports)
            assert ends == (2 if digest else 1)  # at first there is no connection yet
            assert any("candled/digest/binance/1m" in text for text in refusals) is digest
        finally:
            await ended(sink.task)

    with mosquitto(tmp_path, conf=f"acl_file {acl}") as broker:
        asyncio.run(scenario(broker.port))


def test_a_frozen_broker_is_left_and_found_again(tmp_path):
    """No answer within the publish timeout ends the connection; nothing is lost by it."""

    async def scenario(broker) -> None:
        async with running(quick(broker.port, publish_timeout=0.3)) as sink:
            await sink.well()
            broker.freeze()
            sink.outbox.add(*Decisions().some(150))
            await sink.unwell("has not answered for 0.3 s")
            assert sink.position == 0
            await sink.unwell("no connection")
            broker.thaw()
            await sink.delivered()
            await sink.well()

    with mosquitto(tmp_path) as broker:
        try:
            asyncio.run(scenario(broker))
        finally:
            broker.thaw()


@pytest.mark.parametrize("connected", [True, False])
def test_the_end_of_the_service_waits_for_no_frozen_broker(tmp_path, connected):
    """Cancelled while the broker hangs, with or without a connection, it ends within 2 s."""

    async def scenario(broker) -> float:
        if not connected:
            broker.freeze()
        async with running(quick(broker.port)) as sink:
            if connected:
                await sink.well()
                broker.freeze()
                sink.outbox.add(*Decisions().some(200))
            await asyncio.sleep(0.1)
            start = time.monotonic()
        return time.monotonic() - start

    with mosquitto(tmp_path) as broker:
        try:
            assert asyncio.run(scenario(broker)) < 2
        finally:
            broker.thaw()


def test_no_broker_at_all_is_reported_and_tried_for_ever():
    """The report names the address; the service can end at any time."""

    async def scenario() -> None:
        port = free_port()
        async with running(quick(port), Decisions().some(1)) as sink:
            await sink.unwell(f"no connection to mqtt://127.0.0.1:{port}")
            await until(lambda: len(sink.board.reports) > 3)

    asyncio.run(scenario())


# paho leaves the socket of a failed handshake to the garbage collector, which closes it
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
def test_signals_go_through_tls(tmp_path):
    """With the broker's certificate trusted they do; without, the report says that it is not."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl here: apt-get install openssl")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    )
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([program, *make.split(), *names], check=True, capture_output=True)

    async def scenario(port: int) -> None:
        entries = Decisions().some(300)
        async with running(quick(port, tls=True), entries) as sink:
            problem = await sink.unwell("no connection to mqtts://")
            assert "certificate verify failed" in problem
        async with running(quick(port, tls=True, ca_file=str(cert)), entries) as sink:
            await sink.delivered()
            await sink.well()

    with mosquitto(tmp_path, conf=f"certfile {cert}\nkeyfile {key}") as broker:
        asyncio.run(scenario(broker.port))
