"""The `tail` command: what a bot would be told, as it comes, for people and for pipes.

It listens as bots do, by the same rules and under a name of its own, and acts on nothing. A table
on a terminal, plain lines elsewhere, JSON lines when asked.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from candled_adapters.subscriber import (
    Broker,
    Corrected,
    Event,
    Go,
    Halt,
    Heard,
    Lost,
    Refused,
    Signals,
    VenueClock,
)
from candled_adapters.subscriber.clock import wall_ms

_MOST_ROWS: Final = 500
_NAMES: Final[dict[type, str]] = {
    Heard: "signal", Corrected: "correction", Halt: "halt", Go: "go", Lost: "lost",
    Refused: "refused",
}  # fmt: skip
_COLOURS: Final = {"long": "green", "short": "red", "halt": "yellow", "lost": "red"}


class TailError(Exception):
    """Options that name no broker that can be listened to."""


@dataclass(frozen=True, slots=True)
class TailOptions:
    """Where to listen, to what, and how to show it."""

    config: Path
    url: str | None
    """Instead of the configuration's broker."""
    base_topic: str | None
    username: str | None
    password_file: Path | None
    ca_file: Path | None
    streams: tuple[str, ...]
    """exchange/symbol/interval; none: all."""
    since: int | None
    venue_clock: bool
    """Learn the venue's time from the messages, instead of believing this machine's."""
    as_json: bool


def run_tail(options: TailOptions) -> int:
    """Show what comes until Ctrl+C or SIGTERM; return 0. Raises BrokerError when there is none."""
    broker, base = _broker(options)
    signals = Signals(
        broker,
        client_id=f"candled-tail-{secrets.token_hex(4)}",
        base_topic=base,
        streams=options.streams or ("#",),
        since=options.since,
        clock=VenueClock() if options.venue_clock else wall_ms,
        durable=False,
        patient=False,
    )
    try:
        asyncio.run(_tail(signals, options))
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _broker(options: TailOptions) -> tuple[Broker, str]:
    """Return the broker and the base topic; raises TailError and ConfigError."""
    if options.url is None:
        from candled.config import load_config  # noqa: PLC0415 - a second, for nothing with a URL
        from candled.outlets import mqtt_settings  # noqa: PLC0415

        settings = mqtt_settings(load_config(options.config))
        broker = Broker(
            settings.host, settings.port, settings.username, settings.password, settings.tls,
            settings.ca_file, settings.cert_file, settings.key_file,
        )  # fmt: skip
        base = settings.base_topic
    else:
        try:
            broker, base = Broker.at(options.url), "candled"
        except ValueError as error:
            raise TailError(f"--url: {error}") from error
    if options.username:
        broker = replace(broker, username=options.username)
    if options.password_file:
        broker = replace(broker, password=_secret(options.password_file))
    if options.ca_file:
        broker = replace(broker, ca_file=str(options.ca_file))
    return broker, options.base_topic or base


def _secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TailError(f"--password-file {path}: cannot be read: {error}") from error


async def _tail(signals: Signals, options: TailOptions) -> None:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - we run in one
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with _screen(options) as show, suppress(asyncio.CancelledError):
        async for event in signals:
            show(event)


@contextmanager
def _screen(options: TailOptions) -> Iterator[Callable[[Event], None]]:
    """Open what events are shown on."""
    if options.as_json or not sys.stdout.isatty():
        yield _print_json if options.as_json else _print_line
        return
    board = Board()
    with Live(get_renderable=board.render, refresh_per_second=4, screen=False):
        yield board.add


def _print_json(event: Event) -> None:
    sys.stdout.write(msgspec.json.encode(fields(event)).decode() + "\n")
    sys.stdout.flush()


def _print_line(event: Event) -> None:
    what, about, text = line(event)
    sys.stdout.write(_plain(f"{_clock()}  {what:10} {about:28} {text}".rstrip()) + "\n")
    sys.stdout.flush()


def fields(event: Event) -> dict[str, Any]:
    """Return what an event says as plain data: `event` is its kind, the rest are its fields."""
    said = msgspec.to_builtins(event)
    if isinstance(event, Heard):
        said["act"] = event.act
    if isinstance(event, Corrected):
        said["calls_off"] = event.calls_off
    return {"event": _NAMES[type(event)], **said}


def line(event: Event) -> tuple[str, str, str]:
    """Return what an event says for people: what it is, about what, and the rest."""
    match event:
        case Heard(stream, said):
            odds = getattr(said.probabilities, said.side)
            what = f"p={odds:.3f} at {said.price:g} ({said.regime_name}), bar {said.bar_close}"
            return said.side, stream, f"#{said.seq} {what}: {event.why_not or 'may be acted on'}"
        case Corrected(stream, said):
            was = said.supersedes
            off = f", calls off #{was.seq}" if event.calls_off else ""
            return "correction", stream, f"bar {said.bar_close}: {was.side} is {said.side}{off}"
        case Halt(stream, why):
            return "halt", stream or "all", why
        case Go(stream):
            return "go", stream or "all", ""
        case Lost(stream, first, last):
            return "lost", stream, f"#{first} to #{last} are no longer kept"
        case Refused(topic, why):
            return "refused", topic, why


def _clock() -> str:
    return time.strftime("%H:%M:%S")


class Board:
    """The table on a terminal: how things are, and what came last."""

    def __init__(self) -> None:
        self._rows: deque[tuple[str, str, str, str]] = deque(maxlen=_MOST_ROWS)
        self._halted: dict[str | None, str] = {None: "connecting"}
        self._live: dict[str, None] = {}

    def add(self, event: Event) -> None:
        """Take an event in."""
        if isinstance(event, Halt):
            self._halted[event.stream] = event.why
            self._live.pop(event.stream or "", None)
        if isinstance(event, Go):
            self._halted.pop(event.stream, None)
            if event.stream:
                self._live[event.stream] = None
        self._rows.append((_clock(), *line(event)))

    def render(self) -> Group:
        """Return what is to be seen now, as much as the terminal has room for."""
        table = Table(expand=True, box=None, padding=(0, 1))
        for name in ("time", "what", "about"):
            table.add_column(name, no_wrap=True)
        table.add_column("", ratio=1, no_wrap=True, overflow="ellipsis")
        room = max(3, os.get_terminal_size().lines - 4 if sys.stdout.isatty() else 20)
        for at, what, about, text in list(self._rows)[-room:]:
            # Text, not markup: what a stranger publishes must not style the screen.
            style = _COLOURS.get(what, "")
            table.add_row(at, Text(what, style=style), Text(_plain(about)), Text(_plain(text)))
        return Group(self._head(), table)

    def _head(self) -> Text:
        why = self._halted.get(None)
        state = Text("halted: " + _plain(why), "bold red") if why else Text("online", "bold green")
        halted = len([stream for stream in self._halted if stream])
        return Text.assemble(state, f"   {len(self._live)} streams live, {halted} halted")


def _plain(text: str) -> str:
    """Leave out what moves a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
