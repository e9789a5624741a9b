"""Real brokers for tests: a mosquitto of one's own on loopback, to be killed, frozen and revived.

    with mosquitto(tmp_path) as broker:
        ... connect to 127.0.0.1, broker.port ...
        broker.kill()       # kill -9, nothing is saved
        broker.restart()    # on the same port

Tests that need it skip where there is no mosquitto.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_BINARY = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
_START_S = 5.0

needs_mosquitto = pytest.mark.skipif(
    _BINARY is None, reason="no mosquitto here: apt-get install mosquitto"
)


def free_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Mosquitto:
    """A mosquitto process that listens on `port` of 127.0.0.1."""

    def __init__(self, folder: Path, port: int, conf: str, *, bare: bool = False) -> None:
        self.port = port
        self.log = folder / "mosquitto.log"
        self._conf = folder / "mosquitto.conf"
        self._child: subprocess.Popen[bytes] | None = None
        lines = [f"listener {port} 127.0.0.1", "user root"]
        if "max_queued_messages" not in conf:
            lines.append("max_queued_messages 0")
        lines.append(conf)
        if bare:
            lines = [conf, "user root"]
        elif "allow_anonymous" not in conf and "password_file" not in conf:
            lines.insert(1, "allow_anonymous true")
        self._conf.write_text("\n".join(lines) + "\n")

    @property
    def pid(self) -> int:
        """The running process's id."""
        assert self._child is not None, "mosquitto is not running"
        return self._child.pid

    def start(self) -> None:
        """Start it and wait until it listens."""
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [str(_BINARY), "-c", str(self._conf)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_S
        while not self._listens():
            assert self._child.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.005)

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def kill(self) -> None:
        """Kill it the hard way; it forgets what it had not written."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it properly."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._child is not None:
            self._child.send_signal(how)
            self._child.wait(10)
            self._child = None

    def restart(self) -> None:
        """Start it again on the same port, killing it before if it still runs."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stop it from doing anything, with its connections open (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def reload(self) -> None:
        """Have it read its configuration, passwords and access list again (SIGHUP)."""
        os.kill(self.pid, signal.SIGHUP)


@contextmanager
def mosquitto(
    folder: Path, port: int | None = None, conf: str = "", *, bare: bool = False
) -> Iterator[Mosquitto]:
    """Run a mosquitto with further lines of configuration `conf`; end it at the end.

    Anonymous clients may do anything unless `conf` says otherwise. Its files live in `folder`.
    `bare`: `conf` is the whole configuration, which must listen on `port`.
    """
    broker = Mosquitto(folder, port or free_port(), conf, bare=bare)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()
