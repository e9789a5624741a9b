from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiomqtt
import pytest

from brokers import free_port, needs_mosquitto
from candled_adapters.broker import BrokerError, EmbeddedBroker
from candled_adapters.sinks.mqtt import MqttSettings, MqttSink
from fakes import EVENING_MS, Board, Decisions, FixedClock, MemoryOutbox, ended, until

needs_iotcore = pytest.mark.skipif(
    importlib.util.find_spec("iotcore") is None, reason="no iotcore here: pip install iotcore"
)
kinds = pytest.mark.parametrize(
    "kind",
    [
        pytest.param("mosquitto", marks=needs_mosquitto),
        pytest.param("iotcore", marks=needs_iotcore),
    ],
)


def alive(pid: int) -> bool:
    """Whether a process runs (one that is dead but not yet waited for does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def listeners(port: int) -> list[str]:
    """Return the local addresses that listen on `port`, as Linux writes them."""
    table = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    listening = [row.split()[1] for row in table.splitlines() if " 0A " in row]
    return [address for address in listening if address.endswith(f":{port:04X}")]


@kinds
def test_the_sink_delivers_through_it(kind):
    """Signals, retained heads and status reach a subscriber, on loopback, and it ends cleanly."""

    async def scenario() -> None:
        async with EmbeddedBroker(kind=kind) as broker:
            assert broker.kind == kind
            assert broker.url == f"mqtt://127.0.0.1:{broker.port}"
            outbox, got = MemoryOutbox(Decisions().some(50)), []
            settings = MqttSettings("127.0.0.1", broker.port)
            sink = MqttSink(settings, lambda _: FixedClock(EVENING_MS), lambda: b"{}")
            client = aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5)
            async with client:
                await client.subscribe("candled/#", qos=1)
                task = asyncio.create_task(sink.run(outbox, Board()))
                async with asyncio.timeout(5):
                    while not any("/head/" in topic for topic in got):
                        message = await anext(aiter(client.messages))
                        got.append(str(message.topic))
                await ended(task)
            assert outbox.position("mqtt") == 50
            assert sum("/signal/" in topic for topic in got) == 50
            pid, folder = broker._child.pid, broker._folder
            assert alive(pid)
        assert not alive(pid)
        assert not folder.exists()

    asyncio.run(scenario())


@kinds
def test_it_listens_on_loopback_only(kind):
    """No other address of this machine leads to it."""

    async def scenario() -> None:
        async with EmbeddedBroker(kind=kind) as broker:
            assert listeners(broker.port) == [f"0100007F:{broker.port:04X}"]

    asyncio.run(scenario())


@kinds
def test_it_ends_and_cleans_up_when_its_user_fails(kind):
    """An error inside the block passes through, and the child is gone."""
    seen = []

    async def scenario() -> None:
        async with EmbeddedBroker(kind=kind) as broker:
            seen.append((broker._child.pid, broker._folder))
            raise LookupError("the user's own")

    with pytest.raises(LookupError, match="the user's own"):
        asyncio.run(scenario())
    ((pid, folder),) = seen
    assert not alive(pid)
    assert not folder.exists()


@kinds
def test_it_ends_when_it_is_cancelled_while_starting(kind):
    """No child and no folder are left behind."""

    async def scenario() -> None:
        broker = EmbeddedBroker(kind=kind)
        task = asyncio.create_task(broker.__aenter__())
        await until(lambda: broker._child is not None)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert not alive(broker._child.pid)
        assert not broker._folder.exists()

    asyncio.run(scenario())


@kinds
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_it_dies_with_a_process_that_is_killed(kind):
    """After a kill -9 of its user no broker is left."""
    program = (
        "import asyncio\n"
        "from candled_adapters.broker import EmbeddedBroker\n"
        "async def main():\n"
        f"    async with EmbeddedBroker(kind={kind!r}) as broker:\n"
        "        print(broker._child.pid, broker._folder, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    user = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        pid, folder = user.stdout.readline().split()
        assert alive(int(pid))
    finally:
        user.kill()
        user.communicate()
    try:
        asyncio.run(until(lambda: not alive(int(pid))))
    finally:
        if alive(int(pid)):
            os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["rm", "-r", folder], check=True)


@kinds
def test_a_taken_port_is_named(kind):
    """With what to do: another port, or the broker that is there."""

    async def scenario(port: int) -> None:
        async with EmbeddedBroker(kind=kind, port=port):
            raise AssertionError("it must not start")

    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        with pytest.raises(BrokerError, match=rf"cannot listen on 127.0.0.1:{port}.*another port"):
            asyncio.run(scenario(port))


@kinds
def test_a_wanted_port_is_taken(kind):
    """Also when it was in use a moment ago."""

    async def scenario(port: int) -> None:
        for _ in range(2):
            async with EmbeddedBroker(kind=kind, port=port) as broker:
                assert broker.port == port

    asyncio.run(scenario(free_port()))


@needs_mosquitto
def test_a_child_that_dies_at_once_is_quoted(monkeypatch):
    """The error shows its last words."""
    monkeypatch.setattr("candled_adapters.broker._MOSQUITTO", "no_such_setting {port}\n")

    async def scenario() -> None:
        async with EmbeddedBroker(kind="mosquitto"):
            raise AssertionError("it must not start")

    with pytest.raises(BrokerError, match=r"(?s)did not start.*no_such_setting"):
        asyncio.run(scenario())


def test_without_any_broker_it_says_what_to_install(monkeypatch, tmp_path):
    """Mosquitto, iotcore, or a broker of one's own."""
    monkeypatch.setattr("candled_adapters.broker._mosquitto", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def scenario() -> None:
        async with EmbeddedBroker():
            raise AssertionError("it must not start")

    with pytest.raises(BrokerError, match=r"apt-get install mosquitto.*iotcore.*\[mqtt\] url"):
        asyncio.run(scenario())
    assert not list(tmp_path.iterdir())
