"""A broker of one's own, for a machine that has none: the demonstration and first trials.

Runs mosquitto where there is one, else iotcore (rumqttd in a wheel), as a child process that
listens on 127.0.0.1 only and lives as long as the `async with`. Nothing is known here of topics or
decisions. For production use a broker that is set up as such.

On Linux the child also ends when this process is killed outright: setpriv (util-linux) asks the
kernel for that. Where there is no setpriv, a kill -9 leaves the broker behind.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

Kind = Literal["mosquitto", "iotcore"]

_HOST: Final = "127.0.0.1"
_START_S: Final = 10.0
_STOP_S: Final = 3.0
_ASK_S: Final = 1.0
_POLL_S: Final = 0.02
_LOG_TAIL: Final = 12
#: An MQTT 5 CONNECT (clean start, keep alive 5 s, client id "candled-probe") and DISCONNECT.
_CONNECT: Final = b"\x10\x1a\x00\x04MQTT\x05\x02\x00\x05\x00\x00\x0dcandled-probe"
_CONNACK: Final = 0x20
_DISCONNECT: Final = b"\xe0\x00"

_MOSQUITTO: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
persistence {persistence}
persistence_location {folder}/
{user}
"""
#: MQTT 5 alone: a property sent to a subscriber of 3.1.1 ends that listener. Small segments, since
#: a topic's first message takes a whole one.
_IOTCORE: Final = """\
id = 0

[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 10

[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 5000
max_payload_size = 1048576
max_inflight_count = 200
dynamic_filters = true
"""


class BrokerError(Exception):
    """There is no broker to be had. The text says why and what to do."""


class EmbeddedBroker:
    """A broker on loopback, from `async with` to its end.

    Afterwards `url` is ``mqtt://127.0.0.1:PORT``, and `port` and `kind` say which. `kind` forces
    one; `port` None takes a free one. With `persistence` mosquitto keeps its store on disk for as
    long as it runs. Entering raises BrokerError.
    """

    def __init__(
        self, *, port: int | None = None, kind: Kind | None = None, persistence: bool = False
    ) -> None:
        self.port = port or 0
        self.kind: Kind = kind or "mosquitto"
        self._forced = kind is not None
        self._persistence = persistence
        self._child: asyncio.subprocess.Process | None = None
        self._folder: Path | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"mqtt://{_HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        """Start it and wait until it answers."""
        self.kind = _available(self.kind if self._forced else None)
        self.port = _free_port(self.port)
        self._folder = Path(tempfile.mkdtemp(prefix="candled-broker-"))
        try:
            await self._start(self._folder)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """End it and remove its files."""
        await self._end()

    async def _start(self, folder: Path) -> None:
        command = [*_tied_to_us(), *self._command(folder)]
        with (folder / "broker.log").open("wb") as log:
            self._child = await asyncio.create_subprocess_exec(
                *command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        if not await self._answers_in_time(self._child):
            raise BrokerError(self._what_went_wrong(folder))

    async def _answers_in_time(self, child: asyncio.subprocess.Process) -> bool:
        deadline = time.monotonic() + _START_S
        while child.returncode is None and time.monotonic() < deadline:
            if await _answers(self.port):
                return True
            await asyncio.sleep(_POLL_S)  # a listener that comes up tells nobody
        return False

    def _command(self, folder: Path) -> list[str]:
        settings = folder / "broker.toml"  # iotcore goes by the ending
        if self.kind == "mosquitto":
            settings.write_text(
                _MOSQUITTO.format(
                    port=self.port,
                    persistence="true" if self._persistence else "false",
                    folder=folder,
                    user="user root" if os.geteuid() == 0 else "",
                )
            )
            return [_mosquitto() or "mosquitto", "-c", str(settings)]
        settings.write_text(_IOTCORE.format(port=self.port))
        quiet = "CRITICAL"  # rumqttd logs every packet as an error
        return [sys.executable, "-m", "iotcore", "--config", str(settings), "--log-level", quiet]

    def _what_went_wrong(self, folder: Path) -> str:
        lines = (folder / "broker.log").read_text(errors="replace").splitlines()[-_LOG_TAIL:]
        said = "\n".join(f"    {line}" for line in lines) or "    (nothing)"
        return f"{self.kind} did not start on {_HOST}:{self.port}; its last words:\n{said}"

    async def _end(self) -> None:
        if self._child is not None and self._child.returncode is None:
            await _end_child(self._child)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _available(forced: Kind | None) -> Kind:
    if forced != "iotcore" and _mosquitto() is not None:
        return "mosquitto"
    if forced != "mosquitto" and importlib.util.find_spec("iotcore") is not None:
        return "iotcore"
    raise BrokerError(
        f"there is no {forced or 'MQTT broker'} on this machine: install Mosquitto (apt-get "
        "install mosquitto) or the Python package iotcore (pip install 'candled[broker]'), or "
        "point [mqtt] url at a broker that you have"
    )


def _mosquitto() -> str | None:
    path = os.environ.get("PATH", os.defpath)
    return shutil.which("mosquitto", path=f"{path}:/usr/sbin:/usr/local/sbin")


def _tied_to_us() -> list[str]:
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []


def _free_port(wanted: int) -> int:
    """Return `wanted`, or a free port for 0. What listens there already would answer for us."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # mind no closed connections
        try:
            probe.bind((_HOST, wanted))
        except OSError as error:
            raise BrokerError(
                f"cannot listen on {_HOST}:{wanted}: {error.strerror}; choose another port, or use "
                f"the broker that is there: [mqtt] url = mqtt://{_HOST}:{wanted}"
            ) from error
        port: int = probe.getsockname()[1]
        return port


async def _answers(port: int) -> bool:
    """Whether an MQTT 5 broker on `port` takes a connection now."""
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(_ASK_S):
            reader, writer = await asyncio.open_connection(_HOST, port)
            try:
                writer.write(_CONNECT)
                answer = await reader.readexactly(4)
                writer.write(_DISCONNECT)
                return answer[0] == _CONNACK and answer[3] == 0
            finally:
                writer.close()
    return False


async def _end_child(child: asyncio.subprocess.Process) -> None:
    """End a child, kindly or not, and do not leave before it is gone."""
    with suppress(ProcessLookupError):
        child.terminate()
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await child.wait()
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
