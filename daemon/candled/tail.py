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

from candled.config import load_config
from candled.secret import read_secret
from candled_adapters.protocol.signing import Verifier
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
from candled_adapters.subscriber.rules import Verify

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
    trust: tuple[str, ...]
    """Public keys, one of which must have signed each message; none: unsigned will do."""
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
        verify=_verify(options.trust),
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
    broker, base = _configured(options.config) if options.url is None else (_at(options.url), None)
    if options.username:
        broker = replace(broker, username=options.username)
    if options.password_file:
        word = read_secret("--password-file", options.password_file)
        broker = replace(broker, password=word)
    if options.ca_file:
        broker = replace(broker, ca_file=str(options.ca_file))
    return broker, options.base_topic or base or "candled"


def _at(url: str) -> Broker:
    try:
        return Broker.at(url)
    except ValueError as error:
        raise TailError(f"--url: {error}") from error


def _configured(path: Path) -> tuple[Broker, str]:
    part = load_config(path).mqtt
    where = part.password_file
    broker = replace(
        Broker.at(part.url),
        username=part.username,
        password=read_secret("mqtt.password_file", where) if where else None,
        ca_file=str(part.ca_file) if part.ca_file else None,
        cert_file=str(part.cert_file) if part.cert_file else None,
        key_file=str(part.key_file) if part.key_file else None,
        mqtt5=part.protocol != "3.1.1",
    )
    return broker, part.base_topic


def _verify(keys: tuple[str, ...]) -> Verify | None:
    """Return what judges signatures; raises SigningError for a key that is none."""
    return Verifier.trusting(keys).problem if keys else None


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
