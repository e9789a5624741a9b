from __future__ import annotations

import asyncio
import select
import socket
import struct
import threading
from pathlib import Path

import aiomqtt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from brokers import free_port, mosquitto, needs_mosquitto
from candled_adapters.protocol.signing import Verifier, make_key
from candled_adapters.sinks.mqtt_codes import pubacks
from candled_adapters.sinks.mqtt_link import Heard, Link, LinkError
from candled_adapters.sinks.mqtt_messages import Message, MqttSettings
from candled_adapters.sinks.mqtt_properties import properties_of, with_pairs
from fakes import until

CONNACK = b"\x20\x03\x00\x00\x00"
REFUSED = b"\x40\x03\x00\x01\x87"  # message 1, code 135
WILL = Message("candled/status", b"{}", retain=True)


def refuse_and_reset(server: socket.socket) -> None:
    """Play a broker that refuses the first message and closes at once, as Mosquitto 2.0 does."""
    connection, _ = server.accept()
    connection.recv(1_000)
    connection.sendall(CONNACK)
    connection.recv(1_000)
    connection.sendall(REFUSED)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def hang_up(server: socket.socket) -> None:
    """Play something that is no broker: it closes before it has answered."""
    connection, _ = server.accept()
    connection.recv(1_000)
    connection.close()


def refuse_to_let_listen(server: socket.socket) -> None:
    """Play a broker that grants no subscription; Mosquitto grants all and then sends nothing."""
    connection, _ = server.accept()
    connection.recv(1_000)
    connection.sendall(CONNACK)
    asked = connection.recv(1_000)
    connection.sendall(b"\x90\x04" + asked[2:4] + b"\x00\x87")
    connection.recv(1_000)
    connection.close()


def keep_quiet(server: socket.socket) -> None:
    """Play a broker that accepts the connection and says no more."""
    connection, _ = server.accept()
    connection.recv(1_000)
    connection.sendall(CONNACK)
    while connection.recv(1_000):
        pass
    connection.close()


def take_and_hang_up(server: socket.socket) -> None:
    """Play a broker that takes a message and goes away without a word about it."""
    connection, _ = server.accept()
    with connection:
        connection.recv(1_000)
        connection.sendall(CONNACK)
        connection.recv(1_000)


def answer_and_hang_up(server: socket.socket) -> None:
    """Play a broker that accepts the connection and goes away."""
    connection, _ = server.accept()
    connection.recv(1_000)
    connection.sendall(CONNACK)
    connection.close()


async def connect(play) -> Link:
    """Return a link, not yet entered, to a server that plays `play` once."""
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]

    def serve() -> None:
        with server:
            play(server)

    threading.Thread(target=serve, daemon=True).start()
    return Link(MqttSettings("127.0.0.1", port), WILL)


def test_a_refusal_is_read_even_when_the_next_write_fails_first():
    """The reason for the end is in the socket; a failed write must not throw it away."""

    async def scenario() -> None:
        async with await connect(refuse_and_reset) as link:
            ack = await link.send(Message("candled/signal/a/b/1m", b"{}"))
            link._client.loop_write()
            poll = select.poll()
            poll.register(link._client.socket(), 0)
            assert poll.poll(5_000), "the server has not reset the connection"
            link.send_unacked(Message("candled/head/a/b/1m", b"{}"))
            link._client.loop_write()  # before the loop could read
            mend = "candled/signal/a/b/1m .code 135 Not authorized.: grant write rights"
            with pytest.raises(LinkError, match=mend):
                await ack
            with pytest.raises(LinkError, match=mend):
                await link.lost()
            with pytest.raises(LinkError, match=mend):
                await link.send(Message("candled/info", b"{}"))

    asyncio.run(scenario())


def test_a_connection_that_closes_unanswered_is_given_up_at_once():
    """Entering fails without waiting for the timeout of 2 s."""

    async def scenario() -> None:
        async with asyncio.timeout(1):
            with pytest.raises(LinkError, match="closed before it was answered"):
                async with await connect(hang_up):
                    raise AssertionError("there is no connection")

    asyncio.run(scenario())


def test_tls_files_that_cannot_be_read_are_named(tmp_path):
    """With what was configured and why it does not do."""

    async def scenario() -> None:
        missing = tmp_path / "ca.pem"
        settings = MqttSettings("127.0.0.1", free_port(), tls=True, ca_file=str(missing))
        with pytest.raises(LinkError, match=rf"mqtt.ca_file: cannot use {missing}: No such file"):
            await Link(settings, WILL).__aenter__()

    asyncio.run(scenario())


@given(st.lists(st.tuples(st.integers(0, 65_535), st.integers(0, 255))), st.binary(max_size=3))
def test_pubacks_are_found_among_other_packets(answers, rest):
    """Short and long forms, with others between; half a packet at the end is left alone."""
    data, expected = b"", []
    for mid, code in answers:
        body = struct.pack(">H", mid) + (bytes([code, 0]) if code else b"")
        data += b"\xd0\x00\x40" + bytes([len(body)]) + body
        expected.append((mid, code))
    assert list(pubacks(data + b"\x40\x04" + rest)) == expected


@needs_mosquitto
def test_every_message_and_the_will_are_signed_as_the_broker_hands_them_out(tmp_path: Path):
    """With and without expiry, acknowledged or not, at the end as well: a verifier believes all."""
    sign = make_key(tmp_path / "key")
    verifier = Verifier.trusting([sign.public_key])
    said = [
        Message("candled/signal/a/b/1m", b"{}", expiry=60),
        Message("candled/status", b"\x00", retain=True),
        Message("candled/event/a", b"{}"),
    ]
    answer = Message("candled/replay/response/bot", b"{}", correlation=b"17")

    async def scenario(port: int) -> list[aiomqtt.Message]:
        version = aiomqtt.ProtocolVersion.V5
        async with aiomqtt.Client("127.0.0.1", port, protocol=version) as bot:
            await bot.subscribe("candled/#", qos=1)
            signing = MqttSettings("127.0.0.1", port, sign=sign.properties)
            async with Link(signing, WILL) as link:
                for message in said[:2]:
                    await (await link.send(message))
                link.send_unacked(said[2])
                await (await link.send(answer))
            heard = []  # leaving without a word made the broker say the will
            async for message in bot.messages:
                heard.append(message)
                if len(heard) == len(said) + 2:
                    return heard
        raise AssertionError

    with mosquitto(tmp_path) as broker:
        heard = asyncio.run(asyncio.wait_for(scenario(broker.port), 5))
    assert [str(m.topic) for m in heard] == [m.topic for m in (*said, answer, WILL)]
    for message in heard:
        proof = dict(message.properties.UserProperty)
        assert verifier.problem(str(message.topic), message.payload, proof) is None
    assert heard[0].properties.MessageExpiryInterval == 60
    assert heard[3].properties.CorrelationData == b"17"


plain = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=90)


@settings(max_examples=30)
@given(st.integers(0, 300), st.lists(st.tuples(plain, plain), max_size=3))
def test_user_properties_are_packed_as_paho_would(filler: int, pairs: list[tuple[str, str]]):
    """Behind any other properties, of any length."""
    properties = Properties(PacketTypes.PUBLISH)
    properties.MessageExpiryInterval = 5
    properties.CorrelationData = b"x" * filler
    before = properties.pack()
    if pairs:
        properties.UserProperty = pairs
    read = Properties(PacketTypes.PUBLISH)
    read.unpack(with_pairs(before, pairs))
    assert getattr(read, "UserProperty", []) == pairs
    assert read.CorrelationData == properties.CorrelationData
    assert len(with_pairs(before, pairs)) == len(properties.pack())


@pytest.mark.parametrize("correlation", [None, b"17"])
def test_what_lasts_longer_than_a_packet_can_say_lasts_as_long_as_it_can(correlation):
    """An expiry beyond four bytes, as under a venue's clock that stands still, ends nothing."""
    message = Message("candled/head/a/b/1m", b"{}", expiry=2**40, correlation=correlation)
    read = Properties(PacketTypes.PUBLISH)
    read.unpack(properties_of(message, MqttSettings("127.0.0.1")).pack())
    assert read.MessageExpiryInterval == 2**32 - 1


@needs_mosquitto
def test_a_link_hears_what_others_ask_and_where_they_want_the_answer(tmp_path: Path):
    """Response topic and correlation data come with the payload."""

    async def scenario(port: int) -> Heard:
        async with Link(MqttSettings("127.0.0.1", port), WILL) as link:
            await link.listen("candled/replay/request")
            asking = Properties(PacketTypes.PUBLISH)
            asking.ResponseTopic = "candled/replay/response/bot"
            asking.CorrelationData = b"17"
            async with aiomqtt.Client(
                "127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5
            ) as bot:
                await bot.publish("candled/replay/request", b"{}", qos=1, properties=asking)
            async for heard in link.heard():
                return heard
        raise AssertionError

    with mosquitto(tmp_path) as broker:
        heard = asyncio.run(scenario(broker.port))
    there = "candled/replay/response/bot"
    assert heard == Heard("candled/replay/request", b"{}", retained=False, response_topic=there,
                          correlation=b"17")  # fmt: skip


@needs_mosquitto
def test_who_is_cancelled_in_the_moment_of_the_grant_learns_of_it(tmp_path: Path):
    """The end of the service would wait for the listener for ever otherwise."""

    async def scenario(port: int) -> None:
        async with Link(MqttSettings("127.0.0.1", port), WILL) as link:
            listening = asyncio.ensure_future(link.listen("candled/replay/request"))
            granted = link._client.on_subscribe

            def grant_and_cancel(*answer: object) -> None:
                granted(*answer)
                listening.cancel()

            link._client.on_subscribe = grant_and_cancel
            await asyncio.wait([listening], timeout=5)
            assert listening.cancelled()

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


def test_listening_where_we_may_not_is_told_with_the_mend():
    """A refused subscription is an error that names the topic and the right that is missing."""

    async def scenario() -> None:
        async with await connect(refuse_to_let_listen) as link:
            with pytest.raises(LinkError, match=r"candled/replay/request.*grant read rights"):
                await link.listen("candled/replay/request")

    asyncio.run(scenario())


def test_what_is_on_its_way_learns_of_the_end():
    """A message that was taken and not acknowledged fails with the connection, and at once."""

    async def scenario() -> None:
        async with await connect(take_and_hang_up) as link:
            ack = await link.send(Message("candled/signal/a/b/1m", b"{}"))
            async with asyncio.timeout(5):
                with pytest.raises(LinkError, match="was lost while a message on candled/signal"):
                    await ack

    asyncio.run(scenario())


def test_who_listens_learns_of_the_end():
    """A connection that ends while nothing is said raises its error in the listener."""

    async def scenario() -> None:
        async with await connect(answer_and_hang_up) as link:
            with pytest.raises(LinkError, match="was lost"):
                await anext(link.heard())

    asyncio.run(scenario())


def test_an_end_that_comes_together_with_an_answer_is_not_forgotten():
    """A task that is cancelled just when the broker grants its subscription does end."""

    async def scenario() -> None:
        async with await connect(keep_quiet) as link:
            listening = asyncio.create_task(link.listen("candled/replay/request"))
            await until(lambda: link._pending_subscribes)
            next(iter(link._pending_subscribes.values())).set_result([0])
            listening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await listening

    asyncio.run(scenario())
