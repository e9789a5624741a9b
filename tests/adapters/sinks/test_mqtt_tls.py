"""TLS and passwords: what works, and what is said of what does not."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from brokers import Mosquitto, mosquitto, needs_mosquitto
from candled_adapters.sinks.mqtt import MqttSink
from candled_adapters.sinks.mqtt_link import Link, LinkError
from candled_adapters.sinks.mqtt_messages import Message, MqttSettings
from certificates import Authority, Pair, needs_openssl
from fakes import EVENING_MS, Board, Decisions, FixedClock, MemoryOutbox, ended, until

pytestmark = [needs_mosquitto, needs_openssl]
WILL = Message("candled/status", b"{}", retain=True)
CONNACK = b"\x20\x03\x00\x00\x00"


class World:
    """Certificates as they should be, and as they should not."""

    def __init__(self, folder: Path) -> None:
        authority, stranger = Authority(folder, "authority"), Authority(folder, "stranger")
        self.ca, self.other_ca = authority.ca, stranger.ca
        self.server = authority.sign("server")
        self.elsewhere = authority.sign("elsewhere", "DNS:broker.example")
        self.expired = authority.sign("expired", days=-1)
        self.client = authority.sign("client", "DNS:client")
        self.strange_client = stranger.sign("strange-client", "DNS:client")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("certificates"))


@contextmanager
def secure_broker(folder: Path, pair: Pair, more: str = "") -> Iterator[Mosquitto]:
    with mosquitto(folder, conf=f"certfile {pair.cert}\nkeyfile {pair.key}\n{more}") as broker:
        yield broker


def settings(port: int, ca: Path, **changes: object) -> MqttSettings:
    return replace(MqttSettings("127.0.0.1", port, tls=True, ca_file=str(ca)), **changes)


def said_of(wanted: MqttSettings) -> str:
    """Return why there is no connection."""

    async def scenario() -> str:
        with pytest.raises(LinkError) as caught:
            await Link(wanted, WILL).__aenter__()
        return str(caught.value)

    return asyncio.run(scenario())


def test_who_is_not_to_be_trusted_is_told_with_the_key_that_mends_it(tmp_path: Path, world: World):
    """A wrong authority, the wrong name, an expired certificate, no TLS at all."""
    with secure_broker(tmp_path, world.server) as broker:
        wrong_ca = said_of(settings(broker.port, world.other_ca))
        no_ca = said_of(replace(settings(broker.port, world.ca), ca_file=None))
        plain = said_of(MqttSettings("127.0.0.1", broker.port))
    with secure_broker(tmp_path, world.elsewhere) as broker:
        wrong_name = said_of(settings(broker.port, world.ca))
    with secure_broker(tmp_path, world.expired) as broker:
        expired = said_of(settings(broker.port, world.ca))
    with mosquitto(tmp_path) as broker:
        no_tls = said_of(settings(broker.port, world.ca))
    assert "set mqtt.ca_file to the certificate of the authority" in wrong_ca
    assert "set mqtt.ca_file to the certificate of the authority" in no_ca
    assert "give mqtt.url the name that the certificate has" in wrong_name
    assert "its certificate has expired" in expired
    assert "write mqtt:// instead of mqtts:// in mqtt.url" in no_tls
    assert "expects TLS (mqtts://)" in plain
    for text in (wrong_ca, no_ca, wrong_name, expired):
        assert "certificate verify failed" in text


def test_a_client_certificate_is_shown_where_the_broker_asks_for_one(tmp_path: Path, world: World):
    """The right one connects; none and a stranger's are told with the keys."""
    asking = f"cafile {world.ca}\nrequire_certificate true"

    def with_pair(port: int, pair: Pair) -> MqttSettings:
        return settings(port, world.ca, cert_file=str(pair.cert), key_file=str(pair.key))

    async def right(port: int) -> None:
        async with Link(with_pair(port, world.client), WILL) as link:
            await (await link.send(Message("candled/x", b"{}")))

    with secure_broker(tmp_path, world.server, asking) as broker:
        asyncio.run(right(broker.port))
        none = said_of(settings(broker.port, world.ca))
        strange = said_of(with_pair(broker.port, world.strange_client))
    assert "set mqtt.cert_file and mqtt.key_file" in none
    assert "does not accept our certificate: see mqtt.cert_file" in strange


@pytest.mark.parametrize("case", ["mixed", "garbled", "locked", "no ca"])
def test_files_that_do_not_do_are_named_with_their_keys(tmp_path: Path, world: World, case: str):
    """A key of another certificate, a file that is no PEM, a key under a passphrase."""
    garbled, locked = tmp_path / "garbled.pem", tmp_path / "locked.key"
    garbled.write_text("hello")
    command = ["openssl", "ec", "-in", str(world.client.key), "-aes256", "-passout", "pass:secret"]
    subprocess.run([*command, "-out", str(locked)], check=True, capture_output=True)
    cert = str(world.client.cert)
    changes, said = {
        "mixed": ({"cert_file": cert, "key_file": str(world.server.key)}, "does not belong to"),
        "garbled": ({"cert_file": str(garbled), "key_file": cert}, "it must be a PEM file"),
        "locked": ({"cert_file": cert, "key_file": str(locked)}, "the key has a passphrase"),
        "no ca": ({"ca_file": str(garbled)}, "it must be a PEM file"),
    }[case]
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        text = said_of(replace(settings(nobody.getsockname()[1], world.ca), **changes))
    assert said in text
    assert text.startswith("mqtt.ca_file: " if case == "no ca" else "mqtt.cert_file or mqtt.key_")
    assert "secret" not in text


def test_a_mute_server_does_not_hold_up_the_handshake_for_long():
    """The timeout bounds it, and a service that ends takes the socket away at once."""

    async def scenario() -> None:
        callers: list[socket.socket] = []
        with socket.create_server(("127.0.0.1", 0)) as mute:
            port = mute.getsockname()[1]
            wanted = MqttSettings("127.0.0.1", port, tls=True, publish_timeout=0.2)
            async with asyncio.timeout(5):
                with pytest.raises(LinkError, match="no answer in time"):
                    await Link(wanted, WILL).__aenter__()
            patient = replace(wanted, publish_timeout=60.0)
            entering = asyncio.create_task(Link(patient, WILL).__aenter__())
            for _ in range(2):
                taken, _ = await asyncio.to_thread(mute.accept)
                callers.append(taken)
            try:
                async with asyncio.timeout(5):
                    await ended(entering)
            finally:
                for caller in callers:
                    caller.close()

    asyncio.run(scenario())


def test_the_socket_under_tls_is_as_quick_as_a_plain_one(tmp_path: Path, world: World):
    """Nagle's algorithm is off, and a burst of 300 is accepted without a delay for each."""

    async def scenario(port: int) -> None:
        async with Link(settings(port, world.ca), WILL) as link:
            there = link._client.socket()
            assert isinstance(there, ssl.SSLSocket)
            assert there.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for _ in range(300):
                ack = await link.send(Message("candled/x", b"{}" * 100))
            await ack
            asked = []
            link._acknowledge_now = lambda: asked.append(1)
            await (await link.send(Message("candled/x", b"{}")))
            await until(lambda: asked)

    with secure_broker(tmp_path, world.server) as broker:
        asyncio.run(scenario(broker.port))


@pytest.mark.parametrize("records", [1, 3])
def test_a_refusal_under_tls_is_read_when_the_next_write_fails_first(world: World, records: int):
    """Also where it comes after other packets in TLS records of their own."""
    served = threading.Event()

    def play(server: socket.socket) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(world.server.cert, world.server.key)
        with server, context.wrap_socket(server.accept()[0], server_side=True) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.recv(1_000)
            connection.sendall(CONNACK)
            connection.recv(1_000)
            for _ in range(records - 1):
                connection.sendall(b"\xd0\x00")
            connection.sendall(b"\x40\x03\x00\x01\x87")
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        served.set()

    async def scenario() -> None:
        server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=play, args=(server,), daemon=True).start()
        wanted = settings(server.getsockname()[1], world.ca)
        async with Link(wanted, WILL) as link:
            ack = await link.send(Message("candled/signal/a/b/1m", b"{}"))
            link._write(link._client)
            assert served.wait(5)
            link.send_unacked(Message("candled/head/a/b/1m", b"{}"))
            link._write(link._client)  # before the loop could read
            with pytest.raises(LinkError, match=r"code 135 Not authorized.: grant write rights"):
                await ack

    asyncio.run(scenario())


def test_signals_go_on_over_tls_when_the_broker_comes_back(tmp_path: Path, world: World):
    """A kill -9 amid a burst loses nothing; a password is told from a wrong one."""
    passwords = tmp_path / "passwords"
    program = shutil.which("mosquitto_passwd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("no mosquitto_passwd here: apt-get install mosquitto")
    passwords.write_text("bot:right\n")
    subprocess.run([program, "-U", str(passwords)], check=True)
    passwords.chmod(0o700)
    login = f"allow_anonymous false\npassword_file {passwords}"

    async def scenario(broker: Mosquitto) -> None:
        wanted = settings(broker.port, world.ca, username="bot", password="right", backoff_max=0.2)  # noqa: S106
        outbox, board = MemoryOutbox(Decisions().some(300)), Board()
        acked: list[object] = []

        def killing(entries, _at) -> None:
            if not acked:
                broker.restart()
            acked.extend(entries)

        sink = MqttSink(
            wanted, lambda _: FixedClock(EVENING_MS), lambda: {"v": 1}, on_acked=killing
        )
        task = asyncio.create_task(sink.run(outbox, board))
        await until(lambda: outbox.position("mqtt") == 300)
        outbox.add(*Decisions().some(0))
        await until(lambda: board.reports[-1][1] is None, 5.0, str(board.reports))
        await ended(task)

    with secure_broker(tmp_path, world.server, login) as broker:
        asyncio.run(scenario(broker))
        wrong = said_of(settings(broker.port, world.ca, username="bot", password="wrong"))  # noqa: S106
        nobody = said_of(settings(broker.port, world.ca))
    for text in (wrong, nobody):
        assert "check the user name and the password (mqtt.username, mqtt.password_file)" in text
        assert "wrong" not in text
