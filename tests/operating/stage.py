"""A whole small world for the operator's commands: broker, venue, daemon, each a real process.

    with stage(tmp_path) as world:
        world.until_decided(5)
        world.run("status", "--json")

The venue is the simulator, whose bars close some times a second; the model is a real one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from brokers import Mosquitto, free_port, mosquitto
from candled.journal import JournalError, open_reader
from models import THRESHOLD, bundle

PATIENCE_S = 60.0
ENV = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    """Wait for a condition, looking every few hundredths of a second."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.03)


@dataclass
class World:
    """What runs, and where."""

    folder: Path
    broker: Mosquitto
    web_port: int
    rest_url: str
    daemon: subprocess.Popen[bytes] | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    def start(self) -> None:
        """Start the daemon."""
        log = self._stack.enter_context((self.folder / "daemon.log").open("ab"))
        command = [sys.executable, "-m", "candled", "run"]
        self.daemon = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, env=ENV)
        self._stack.callback(self.kill)

    def kill(self) -> None:
        """End it the hard way, if it runs."""
        if self.daemon and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait(10)

    def stop(self) -> int:
        """Have it drain and end; return its code."""
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGTERM)
        return self.daemon.wait(20)

    def decided(self) -> int:
        """Return how many decisions are in the journal."""
        try:
            with open_reader(self.folder / "state") as reader:
                return reader.last_position()
        except (OSError, JournalError):
            return 0

    def until_decided(self, count: int) -> None:
        """Wait for so many decisions."""
        until(lambda: self._alive() and self.decided() >= count, f"{count} decisions")

    def _alive(self) -> bool:
        assert self.daemon is None or self.daemon.poll() is None, self.log()
        return True

    def log(self) -> str:
        return (self.folder / "daemon.log").read_text()

    def run(self, *words: str, timeout: float = PATIENCE_S) -> tuple[int, str, str]:
        """Run a command beside the daemon; return code, output and errors."""
        done = subprocess.run(
            [sys.executable, "-m", "candled", *words], cwd=self.folder, env=ENV, text=True,
            capture_output=True, timeout=timeout, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr


CONFIG = """
[mqtt]
url = "mqtt://127.0.0.1:{mqtt}"

[web]
listen = "127.0.0.1:{web}"

[log]
decisions = ""
format = "json"

[policy]
threshold = {threshold}

[exchanges.binance]
dialect = "binance-spot"
ws_url = "{ws}"
rest_url = "{rest}"
max_skew_s = inf

[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "models/BTCUSDT_1h"
"""


@contextmanager
def venue(folder: Path, bars_per_second: float) -> Iterator[tuple[str, str]]:
    """Run the simulator; give its websocket and REST addresses."""
    command = [sys.executable, "-m", "candled", "simulate", "--port", "0"]
    command += ["--symbols", "BTCUSDT", "--start-at", "1500"]
    command += ["--speed", str(3600 * bars_per_second)]
    with (folder / "venue.log").open("wb") as log:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert child.stdout is not None
        addresses = (line.split()[1] for line in child.stdout if line.startswith(("web", "rest ")))
        yield next(addresses), next(addresses)
    finally:
        child.kill()
        child.communicate(timeout=10)


@contextmanager
def stage(folder: Path, *, bars_per_second: float = 10.0, start: bool = True) -> Iterator[World]:
    """Set everything up; end all of it at the end."""
    bundle(folder / "models/BTCUSDT_1h")
    web = free_port()
    with ExitStack() as stack:
        broker = stack.enter_context(mosquitto(folder))
        ws, rest = stack.enter_context(venue(folder, bars_per_second))
        text = CONFIG.format(mqtt=broker.port, web=web, threshold=THRESHOLD, ws=ws, rest=rest)
        (folder / "config.toml").write_text(text)
        world = World(folder, broker, web, rest, _stack=stack)
        if start:
            world.start()
        yield world
