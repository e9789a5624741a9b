"""How connections end that the broker or another client ends, and what is said of it."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from brokers import mosquitto, needs_mosquitto
from candled_adapters.sinks.mqtt import MqttSink
from candled_adapters.sinks.mqtt_link import Link, LinkError, TakenOverError
from candled_adapters.sinks.mqtt_messages import Message, MqttSettings
from fakes import EVENING_MS, Board, Decisions, FixedClock, MemoryOutbox, ended, until
from raw_broker import Call, raw_broker

WILL = Message("candled/status", b"{}", retain=True)
SERVER = "mqtt2.example:8883"
REFERENCE = b"\x1c" + struct.pack(">H", len(SERVER)) + SERVER.encode()


def quick(port: int, **changes: object) -> MqttSettings:
    return replace(MqttSettings("127.0.0.1", port, backoff_max=0.3), **changes)


class Daemon:
    """A sink at work."""

    def __init__(self, port: int, **changes: object) -> None:
        self.board = Board()
        self.outbox = MemoryOutbox(Decisions().some(3))
        self.links: list[Link] = []

        def connect(settings: MqttSettings, will: Message) -> Link:
            self.links.append(Link(settings, will))
            return self.links[-1]

        sink = MqttSink(
            quick(port, **changes),
            lambda _: FixedClock(EVENING_MS),
            lambda: {"v": 1},
            connect=connect,
        )
        self.task = asyncio.create_task(sink.run(self.outbox, self.board))

    def told(self, text: str) -> bool:
        return any(text in str(problem) for _, problem in self.board.reports)

    async def well(self) -> None:
        await until(lambda: self.board.reports and self.board.problem is None, 10.0)


class OneAtATime:
    """Plays a broker that knows one client id and says so to whom it throws out."""

    def __init__(self) -> None:
        self._present: Call | None = None

    async def __call__(self, call: Call) -> None:
        if self._present is not None:
            self._present.say(b"\xe0\x02\x8e\x00")
        self._present = call
        call.accept()
        await call.serve()


MEND = "another client uses this client id; stop it, or choose another mqtt.client_id"


def test_two_daemons_with_one_client_id_are_told_and_the_one_that_stays_recovers():
    """The board names the mend; after a take-over well is said only once it has lasted."""

    async def scenario() -> None:
        async with raw_broker(OneAtATime()) as broker:
            first = Daemon(broker.port)
            await first.well()
            second = Daemon(broker.port)
            await until(lambda: first.told(MEND) and second.told(MEND), 10.0)
            await ended(second.task)
            await first.well()
            await until(lambda: first.outbox.position("mqtt") == 3)
            said = [problem for part, problem in first.board.reports if part == "mqtt"]
            taken = next(i for i, problem in enumerate(said) if MEND in str(problem))
            assert None not in said[taken:-1]
            await ended(first.task)

    asyncio.run(scenario())


def test_after_a_take_over_well_is_said_only_once_it_has_lasted():
    """Signals flow, but the board keeps the problem for as long as the longest pause."""

    async def play(call: Call) -> None:
        call.accept()
        if call.number == 1:
            call.say(b"\xe0\x02\x8e\x00")
        await call.serve()

    async def scenario() -> None:
        async with raw_broker(play) as broker:
            daemon = Daemon(broker.port, backoff_max=1.0)
            await until(lambda: daemon.told(MEND))
            daemon.outbox.add(*Decisions().some(0))
            await until(lambda: len(broker.calls) == 2 and daemon.outbox.position("mqtt") == 3)
            assert MEND in str(daemon.board.problem)
            await daemon.well()
            await ended(daemon.task)

    asyncio.run(scenario())


def test_two_daemons_that_fight_for_an_id_do_not_do_so_at_full_speed():
    """Who was thrown out waits for half the longest pause at least, and is never called well."""

    async def scenario() -> None:
        async with raw_broker(OneAtATime()) as broker:
            one, two = Daemon(broker.port), Daemon(broker.port)
            start = asyncio.get_running_loop().time()
            await until(lambda: min(len(one.links), len(two.links)) >= 4, 10.0)
            assert asyncio.get_running_loop().time() - start > 3 * 0.15
            for daemon in (one, two):
                await ended(daemon.task)

    asyncio.run(scenario())


@needs_mosquitto
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_twin_that_the_broker_keeps_quiet_about_is_recognised_by_its_pattern(
    tmp_path: Path, protocol: str
):
    """Mosquitto 2.0 gives no reason: ends soon after all was well, again and again, tell."""
    hint = "perhaps another client uses this client id"

    async def scenario(port: int) -> None:
        daemons = [Daemon(port, protocol=protocol, backoff_max=0.6) for _ in range(2)]
        try:
            await until(lambda: any(d.told(hint) for d in daemons), 20.0)
        finally:
            for daemon in daemons:
                await ended(daemon.task)

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


WHY = {
    133: "choose another mqtt.client_id",
    136: "(code 136 Server unavailable): the broker is not available now",
    137: "(code 137 Server busy): the broker is busy or shutting down; it is tried again",
    138: "(code 138 Banned): the broker's administrator has banned this client",
    156: f"set mqtt.url to the server that it names ({SERVER})",
    157: f"set mqtt.url to the server that it names ({SERVER})",
    159: "the broker limits new connections; it is tried again, less often each time",
}
ALSO_LATER = (137, 156, 157, 159)  # the others may stand in a CONNACK only


@pytest.mark.parametrize(
    ("code", "later"), [*((code, False) for code in WHY), *((code, True) for code in ALSO_LATER)]
)
def test_why_a_broker_does_not_want_us_is_said_with_the_mend(code: int, later: bool):  # noqa: FBT001
    """Both when it refuses the connection and when it ends it."""
    reference = REFERENCE if code in (156, 157) else b""

    async def play(call: Call) -> None:
        if later:
            call.accept()
            body = bytes([code, len(reference)]) + reference
            call.say(bytes([0xE0, len(body)]) + body)
        else:
            call.refuse(code, reference)

    async def scenario() -> str:
        async with raw_broker(play) as broker:
            with pytest.raises(LinkError) as caught:
                async with Link(quick(broker.port), WILL) as link:
                    await link.lost()
            return str(caught.value)

    assert WHY[code] in asyncio.run(scenario())


@pytest.mark.parametrize(
    ("code", "said"), [(2, "choose another mqtt.client_id"), (3, "not available now"),
                       (4, "check the user name and the password"),
                       (5, "check the user name and the password")]
)  # fmt: skip
def test_the_return_codes_of_3_1_1_are_said_as_well(code: int, said: str):
    """Four of its five; the first is about the version."""

    async def play(call: Call) -> None:
        call.refuse(code)

    async def scenario() -> str:
        async with raw_broker(play) as broker:
            with pytest.raises(LinkError) as caught:
                await Link(quick(broker.port, protocol="3.1.1"), WILL).__aenter__()
            return str(caught.value)

    assert said in asyncio.run(scenario())


def test_a_take_over_is_an_error_of_its_own():
    """The sink goes by it."""

    async def play(call: Call) -> None:
        call.accept()
        call.say(b"\xe0\x02\x8e\x00")

    async def scenario() -> None:
        async with raw_broker(play) as broker, Link(quick(broker.port), WILL) as link:
            with pytest.raises(TakenOverError, match="code 142 Session taken over"):
                await link.lost()

    asyncio.run(scenario())


@pytest.mark.parametrize("accepts", [True, False])
def test_a_broker_that_drops_us_at_once_is_outlived(accepts: bool):  # noqa: FBT001
    """It is tried for ever, nothing is marked, and all is delivered once it behaves."""
    behaves = asyncio.Event()

    async def play(call: Call) -> None:
        if behaves.is_set():
            call.accept()
            await call.serve()
        elif accepts:
            call.accept()

    async def scenario() -> None:
        async with raw_broker(play) as broker:
            daemon = Daemon(broker.port, protocol="5")
            await until(lambda: len(broker.calls) > 6, 10.0)
            assert daemon.outbox.position("mqtt") == 0
            behaves.set()
            await until(lambda: daemon.outbox.position("mqtt") == 3)
            await daemon.well()
            await ended(daemon.task)

    asyncio.run(scenario())
