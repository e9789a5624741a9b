"""MQTT 3.1.1 for brokers that know no better, and what is lost by it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers import mosquitto, needs_mosquitto
from candled_adapters.sinks.mqtt import MqttSink
from candled_adapters.sinks.mqtt_link import Dial, Link, LinkError
from candled_adapters.sinks.mqtt_messages import Heard, Message, MqttSettings
from candled_adapters.sinks.mqtt_rights import echo, probes
from candled_adapters.sinks.mqtt_versions import LOSSES, Versions
from fakes import EVENING_MS, Board, Decisions, FixedClock, MemoryOutbox, ended, until
from raw_broker import Call, raw_broker, read_packet

WILL = Message("candled/status", b"{}", retain=True)
WORD, SILENCE, WELL = "word", "silence", "well"


def quick(port: int, **changes: object) -> MqttSettings:
    return replace(MqttSettings("127.0.0.1", port, backoff_max=0.2), **changes)


# --- the memory


@given(st.lists(st.tuples(st.sampled_from([WORD, SILENCE, WELL]), st.floats(0, 100))))
def test_the_older_version_is_never_asked_for_without_a_cause(happenings):
    """3.1.1 needs a refusal in words or two silent ones since 5 was last accepted."""
    versions, now, causes = Versions(), 0.0, 0
    for what, pause in happenings:
        now += pause
        chosen = versions.choose(now)
        if chosen == "3.1.1":
            assert causes >= 2
        if what == WELL:
            versions.accepted(chosen)
            causes = 0 if chosen == "5" else causes
        else:
            versions.refused(chosen, now, in_words=what == WORD)
            causes = causes + (2 if what == WORD else 1) if chosen == "5" else 0


@given(st.booleans(), st.floats(0, 1e6))
def test_five_is_tried_again_after_ten_minutes(in_words, start):
    """A broker may have been replaced by a better one."""
    versions = Versions()
    while versions.choose(start) == "5":
        versions.refused("5", start, in_words=in_words)
    versions.accepted("3.1.1")
    assert versions.losses == LOSSES
    assert versions.choose(start + 599) == "3.1.1"
    assert versions.choose(start + 601) == "5"
    versions.accepted("5")
    assert versions.losses == ()


@pytest.mark.parametrize("choice", ["5", "3.1.1"])
def test_a_version_that_was_chosen_stays(choice):
    """Whatever the broker says."""
    versions = Versions(choice)
    for now in range(5):
        versions.refused(versions.choose(now), now, in_words=True)
        assert versions.choose(now) == choice
        assert not versions.asks_again


def test_a_broker_that_refuses_both_is_asked_with_five_again():
    """Neither answer is final."""
    versions = Versions()
    versions.refused("5", 0, in_words=True)
    versions.refused(versions.choose(0), 0, in_words=True)
    assert versions.choose(0) == "5"


# --- brokers that know no MQTT 5


def refuse_in_words(call: Call) -> bool:
    """Refuse as MQTT 3.1.1 does: return code 1 in a CONNACK of two bytes."""
    call.say(b"\x20\x02\x00\x01")
    return True


def refuse_with_132(call: Call) -> bool:
    call.refuse(132)
    return True


def hang_up(_call: Call) -> bool:
    return True


async def sink_at(port: int, **changes: object):
    """Start a sink; return its task, its outbox and its board."""
    outbox, board = MemoryOutbox(Decisions().some(2)), Board()
    sink = MqttSink(quick(port, **changes), lambda _: FixedClock(EVENING_MS), lambda: {"v": 1})
    return asyncio.create_task(sink.run(outbox, board)), outbox, board


class Echo:
    """Plays a broker of MQTT 3.1.1 with one client, to whom it hands back what it listens to."""

    def __init__(self, refuse, *, deaf_to: str = "nothing") -> None:
        self._refuse = refuse
        self._deaf_to = deaf_to
        self.said: list[tuple[int, str]] = []
        """First byte and topic of each PUBLISH."""

    async def __call__(self, call: Call) -> None:
        if call.version == 5 and self._refuse(call):
            return
        call.accept()
        await self._serve(call)

    async def _serve(self, call: Call) -> None:
        listened: set[str] = set()
        while True:
            kind, body = await read_packet(call.reader)
            end = 2 + int.from_bytes(body[:2]) if body else 0
            if kind >> 4 == 3:
                topic = body[2:end].decode()
                self.said.append((kind, topic))
                if kind & 0x06:
                    call.say(b"\x40\x02" + body[end : end + 2])
                if topic in listened and self._deaf_to not in topic:
                    rest = body[:end] + body[end + (2 if kind & 0x06 else 0) :]
                    call.say(bytes([0x30, len(rest)]) + rest)
            elif kind >> 4 == 8:
                listened.add(body[4 : 4 + int.from_bytes(body[2:4])].decode())
                call.say(b"\x90\x03" + body[:2] + b"\x01")
            elif kind >> 4 == 12:
                call.say(b"\xd0\x00")


@pytest.mark.parametrize(
    ("refuse", "asked"), [(refuse_in_words, [5]), (refuse_with_132, [5]), (hang_up, [5, 5])]
)
def test_a_broker_that_refuses_mqtt_5_is_asked_with_3_1_1(refuse, asked):
    """In words at once, after two silent refusals otherwise; then signals are delivered."""

    async def scenario() -> None:
        play = Echo(refuse)
        async with raw_broker(play) as broker:
            task, outbox, board = await sink_at(broker.port)
            await until(lambda: outbox.position("mqtt") == 2, 5.0, str(board.reports))
            await until(lambda: board.problem is None)
            await ended(task)
            assert broker.versions == [*asked, 4]
            retained = {topic for kind, topic in play.said if kind & 1}
            assert retained == {"candled/status", "candled/info"}
            assert any("/head/" in topic for _, topic in play.said)

    asyncio.run(scenario())


def test_a_chosen_version_is_not_left():
    """With protocol = "5" a broker that refuses it is told with the mend, and asked again."""

    async def scenario() -> None:
        async with raw_broker(Echo(refuse_in_words)) as broker:
            task, _, board = await sink_at(broker.port, protocol="5")
            await until(lambda: len(broker.versions) > 3)
            await ended(task)
            assert set(broker.versions) == {5}
            assert "speaks another MQTT; set mqtt.protocol to auto" in str(board.problem)

    asyncio.run(scenario())


def test_without_proof_of_its_rights_nothing_is_delivered_by_3_1_1():
    """What the broker takes and does not hand back may be refused: nothing is marked, all told."""

    async def scenario() -> None:
        async with raw_broker(Echo(refuse_in_words, deaf_to="/signal/")) as broker:
            task, outbox, board = await sink_at(broker.port, publish_timeout=0.2)
            said = "topic readwrite candled/signal/#"
            await until(lambda: said in str(board.problem), 5.0, str(board.reports))
            await ended(task)
            assert "candled/head" not in str(board.problem)
            assert outbox.position("mqtt") == 0

    asyncio.run(scenario())


@needs_mosquitto
def test_mosquitto_in_3_1_1_gets_signals_and_no_retained_head(tmp_path: Path):
    """Signals, heads and status come; only status and info are kept for who comes later."""

    async def scenario(port: int) -> None:
        dial = Dial(quick(port, protocol="3.1.1"))
        outbox, board = MemoryOutbox(Decisions().some(3)), Board()
        sink = MqttSink(
            quick(port, protocol="3.1.1"),
            lambda _: FixedClock(EVENING_MS),
            lambda: {"protocol": dial.protocol, "losses": dial.losses},
            connect=dial,
        )
        task = asyncio.create_task(sink.run(outbox, board))
        await until(lambda: outbox.position("mqtt") == 3)
        await until(lambda: board.problem is None)
        command = ["mosquitto_sub", "-p", str(port), "-t", "candled/#", "-v", "-W", "1"]
        late = await asyncio.to_thread(
            lambda: subprocess.run([*command, "-C", "2"], capture_output=True, text=True).stdout  # noqa: PLW1510
        )
        kept = dict(line.split(" ", 1) for line in late.splitlines())
        assert set(kept) == {"candled/status", "candled/info"}
        assert json.loads(kept["candled/info"]) == {"protocol": "3.1.1", "losses": list(LOSSES)}
        await ended(task)

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


@needs_mosquitto
@pytest.mark.parametrize("part", ["signal", "head", "event", "digest", "replay/response", "check"])
def test_mosquitto_gives_no_reason_in_3_1_1_and_is_found_out(tmp_path: Path, part: str):
    """It acknowledges what it refuses and hangs up; the order tells which right is missing."""
    parts = {"signal", "head", "event", "digest", "replay/response", "check", "status"}
    lines = [f"topic write candled/{p}/#" for p in sorted(parts - {part})]
    acl = tmp_path / "acl"
    acl.write_text("\n".join(["topic read #", *lines]) + "\n")
    acl.chmod(0o700)

    async def scenario(port: int) -> str:
        with pytest.raises(LinkError) as caught:
            await Link(quick(port, protocol="3.1.1", publish_timeout=0.2), WILL).__aenter__()
        return str(caught.value)

    with mosquitto(tmp_path, conf=f"acl_file {acl}") as broker:
        said = asyncio.run(scenario(broker.port))
    assert said.endswith(f"grant topic readwrite candled/{part}/#")


def test_other_connections_follow_the_version_that_was_found():
    """They ask in it at once, prove no rights of their own, and change nothing for the first."""

    async def scenario() -> None:
        async with raw_broker(Echo(refuse_in_words, deaf_to="/")) as broker:
            settings = quick(broker.port)
            dial = Dial(settings, prove=False)
            with pytest.raises(LinkError, match=r"refused the connection .code 132"):
                await dial(settings, WILL).__aenter__()
            async with dial(settings, WILL), dial.follow(settings, None) as other:
                assert other.version == "3.1.1"
            assert broker.versions == [5, 4, 4]

    asyncio.run(scenario())


class Answering:
    """A wire on which something else comes back than was said."""

    async def listen(self, topic: str) -> None:
        self.topic = topic

    async def send(self, _message: Message) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def heard(self):
        yield Heard(self.topic, b"{}", retained=False, response_topic=None, correlation=None)
        await asyncio.get_running_loop().create_future()


def test_what_others_say_proves_nothing():
    """Only the very message that was sent counts, whoever else tries at the same time."""
    (probe, *_) = probes("candled", "candled")
    assert asyncio.run(echo(Answering(), [probe], 0.05)) == [probe]
