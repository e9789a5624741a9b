"""`candled tail`, and the page for bots: real processes, a real broker, the right codes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from adapters.subscriber.daemon import STREAM, daemon, wall_ms
from adapters.subscriber.world import correction
from adapters.subscriber.world import signal as a_signal
from brokers import free_port, mosquitto, needs_mosquitto
from candled.errors import Exit, explain
from candled.tail import Board, TailOptions, run_tail
from candled_adapters.subscriber import Go, Halt, Heard, Refused

PAGE = Path(__file__).resolve().parents[1] / "docs" / "bots.md"
PATIENCE_S = 15.0
OPTIONS = TailOptions(
    config=Path("config.toml"), url="mqtt://127.0.0.1:1", base_topic=None, username=None,
    password_file=None, ca_file=None, trust=(), streams=(), since=None, venue_clock=False,
    as_json=False,
)  # fmt: skip


class Child:
    """A process whose lines are read as they come."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "NO_COLOR": "1"},
        )
        self.lines: list[str] = []

    async def says(self, wanted: Callable[[str], object]) -> str:
        """Read until a line that is wanted; return it."""
        return await asyncio.wait_for(asyncio.to_thread(self._read, wanted), PATIENCE_S)

    def _read(self, wanted: Callable[[str], object]) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline().decode():
            self.lines.append(line)
            if wanted(line):
                return line
        raise AssertionError((self.lines, self._process.stderr.read().decode()))

    def ends(self, how: signal.Signals) -> tuple[int, str]:
        """Send a signal; return the code and what was said on standard error."""
        self._process.send_signal(how)
        return self._process.wait(PATIENCE_S), self._process.stderr.read().decode()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def child(*command: str | Path) -> Iterator[Child]:
    started = Child(*command)
    try:
        yield started
    finally:
        started.close()


def tail(*options: str | Path) -> list[str | Path]:
    return ["-m", "candled", "tail", *options]


def play(tmp_path: Path, scenario: Callable) -> None:
    with mosquitto(tmp_path) as broker:
        asyncio.run(asyncio.wait_for(scenario(broker), 40))


@needs_mosquitto
def test_json_lines_say_everything(tmp_path):
    """Signals, halts and corrections, each a line with its kind; SIGTERM ends it well."""

    async def scenario(broker) -> None:
        url = f"mqtt://127.0.0.1:{broker.port}"
        async with daemon(broker.port) as speaking:
            with child(*tail("--url", url, "--json", "--stream", STREAM)) as shown:
                await shown.says(lambda line: json.loads(line) == {"event": "go", "stream": STREAM})
                await speaking.signals(1)
                said = json.loads(await shown.says(lambda line: '"signal"' in line))
                assert (said["event"], said["act"], said["signal"]["seq"]) == ("signal", True, 1)
                await speaking.say(correction(speaking.journal.signals[0]))
                said = json.loads(await shown.says(lambda line: '"correction"' in line))
                assert said["calls_off"] == speaking.journal.signals[0].id
                await speaking.status("degraded")
                said = json.loads(await shown.says(lambda line: '"halt"' in line))
                assert said == {"event": "halt", "stream": None, "why": "the service is degraded"}
                assert shown.ends(signal.SIGTERM) == (0, "")

    play(tmp_path, scenario)


@needs_mosquitto
def test_plain_lines_are_for_people(tmp_path):
    """With the broker of a configuration, from a number on; Ctrl+C ends it well."""
    config = tmp_path / "config.toml"

    async def scenario(broker) -> None:
        config.write_text(
            f'[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}"\n'
            '[exchanges.x]\ndialect = "binance-spot"\n'
            '[[streams]]\nexchange = "x"\nsymbols = ["BTC"]\ninterval = "1m"\nbundle = "b"\n'
        )
        async with daemon(broker.port) as speaking:
            for _ in range(3):
                speaking.decide()
            await speaking.head()
            with child(*tail("--config", config, "--since", "1")) as shown:
                line = await shown.says(lambda line: "#3" in line)
                assert re.search(r"^\d\d:\d\d:\d\d  long +x/BTC/1m +#3 p=0\.612 at 1\.5", line)
                assert line.endswith("replayed: for the record\n")
                assert "#2" in "".join(shown.lines)
                await speaking.signals(1)
                assert (await shown.says(lambda line: "#4" in line)).endswith("may be acted on\n")
                assert shown.ends(signal.SIGINT) == (0, "")

    play(tmp_path, scenario)


@needs_mosquitto
def test_a_terminal_gets_a_table(tmp_path):
    """On a terminal there is a state and a table, redrawn in place."""

    async def scenario(broker) -> None:
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, *tail("--url", f"mqtt://127.0.0.1:{broker.port}"),
            stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
        )  # fmt: skip
        try:
            async with daemon(broker.port) as speaking:
                await asyncio.to_thread(seen, ours, "1 streams live")
                await speaking.signals(1)
                await asyncio.to_thread(seen, ours, "may be acted on")
            process.send_signal(signal.SIGINT)
            await asyncio.to_thread(seen, ours, None)
            assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            os.close(ours)
            os.close(theirs)

    play(tmp_path, scenario)


def seen(terminal: int, text: str | None) -> None:
    """Read a terminal until a text was on it, or for a moment."""
    found, end = "", time.monotonic() + (PATIENCE_S if text else 0.2)
    while text is None or text not in found:
        if time.monotonic() > end:
            assert text is None, found
            return
        if select.select([terminal], [], [], 0.1)[0]:
            found += os.read(terminal, 65_536).decode(errors="replace")


def test_a_broker_that_is_not_there_ends_it_with_75():
    """Try again later, says the code; what to look at, says the line."""
    run = subprocess.run(
        [sys.executable, *tail("--url", f"mqtt://127.0.0.1:{free_port()}")],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (75, "")
    assert re.fullmatch(
        r"error: no connection to mqtt://127\.0\.0\.1:\d+: .*; is the broker running\?\n",
        run.stderr,
    )


def test_options_that_cannot_be_used_are_named(tmp_path):
    """A wrong address, one with a password in it, and a password file that is not there."""
    for changed, text in (
        ({"url": "localhost"}, "--url: 'localhost' must look like mqtt://host:1883"),
        ({"url": "mqtt://me:word@localhost"}, "must not hold a name or password"),
        ({"password_file": tmp_path / "no"}, r"no: .*\n.*--password-file: cannot be read"),
        ({"trust": ("abc",)}, "'abc' is not an ed25519 public key"),
    ):
        with pytest.raises(Exception, match=text) as caught:
            run_tail(dataclasses.replace(OPTIONS, **changed))
        assert "word@" not in str(caught.value)
        assert explain(caught.value) == (str(caught.value), Exit.CONFIG)


def test_a_stranger_cannot_style_the_screen():
    """What comes from outside is shown as text: no control characters, no markup."""
    board = Board()
    board.add(Go(None))
    board.add(Halt("x/\x1b[2J/1m", "[bold]\x1b]0;title\x07"))
    board.add(Refused("topic\n\x1b[1A", "why\r"))
    said = a_signal(1, now_ms=wall_ms())
    board.add(Heard(STREAM, said, None))
    console = Console(width=100, force_terminal=False)
    with console.capture() as capture:
        console.print(board.render())
    assert "[bold]" in capture.get()
    assert not {letter for letter in capture.get() if not letter.isprintable()} - {"\n"}


@needs_mosquitto
def test_the_bot_in_the_page_trades_safely(tmp_path):
    """The example enters once on a live signal, leaves on its correction, ignores the rest."""
    bot = tmp_path / "bot.py"
    bot.write_text(re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1])

    async def scenario(broker) -> None:
        url = f"mqtt://127.0.0.1:{broker.port}"
        async with daemon(broker.port) as speaking:
            with child("-W", "error", bot, url, tmp_path / "bot.state") as trader:
                await trader.says(lambda line: "nothing has been heard" in line)
                await speaking.signals(1)
                first = speaking.journal.signals[0]
                await speaking.say(first)
                await speaking.signals(1, life_ms=-1)
                await trader.says(lambda line: "not long BTC" in line)
                await speaking.say(correction(first))
                await trader.says(lambda line: line.startswith("leave"))
                await speaking.status("offline")
                await trader.says(lambda line: "the service is offline" in line)
                assert [line.split()[0] for line in trader.lines] == [
                    "careful:", "enter", "not", "leave", "careful:",
                ]  # fmt: skip

    play(tmp_path, scenario)


def test_the_bot_in_the_page_is_short():
    """Thirty lines of code are enough."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    lines = [line for line in code.splitlines() if line.strip() and line.strip()[0] not in '#"']
    assert len(lines) <= 30
