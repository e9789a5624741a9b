"""The `log` command: decisions out of the journal, newest last, and as they come.

Reads beside a daemon that writes; it never waits for us. Following asks a few times a second for
the newest position, and reads only when that has moved.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.text import Text

from candled.config import load_config
from candled.core.bar import Stream, iso
from candled.core.text import visible
from candled.journal import JournalReader, JournalUnavailableError, Refused, Sought, open_reader
from candled.operating.words import line
from candled.ports import Entry
from candled_adapters.sinks.log import decision_fields

POLL_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What to show of which journal, and how."""

    config: Path
    patterns: tuple[str, ...]
    """Of exchange/symbol/interval, with * and ?; none: all."""
    sought: Sought
    refused: bool
    """Show what sinks gave up instead."""
    follow: bool
    as_json: bool


def run_log(options: LogOptions) -> int:
    """Print what is sought, and follow if asked until Ctrl+C; return 0.

    Raises ConfigError, FileNotFoundError without a journal, JournalError.
    """
    folder = load_config(options.config).state.path
    out = _Out(as_json=options.as_json)
    try:
        if options.refused:
            _tell_refused(folder, options, out)
        else:
            _tell_decisions(folder, options, out)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def matching(streams: Iterable[Stream], patterns: tuple[str, ...]) -> list[Stream]:
    """Return the streams whose path fits one of the patterns; all when there are none."""
    return [one for one in streams if not patterns or _fits(one.path, patterns)]


def _fits(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _tell_decisions(folder: Path, options: LogOptions, out: _Out) -> None:
    told = 0
    with open_reader(folder) as reader:
        epoch, last = reader.epoch(), reader.last_position()
        for entry in _found(reader, options, options.sought, 0):
            told += 1
            out.decision(entry, epoch)
    if not told and not options.follow:
        sys.stderr.write("no decision is like that\n")
    if options.follow:
        for entry, of in follow(folder, last, epoch, finder(options), out.note):
            out.decision(entry, of)


Find = Callable[[JournalReader, int], list[Entry]]


def finder(options: LogOptions) -> Find:
    """Return what finds the entries after a position that are sought, however many."""
    sought = replace(options.sought, limit=None)
    return lambda reader, after: _found(reader, options, sought, after)


def _found(reader: JournalReader, options: LogOptions, sought: Sought, after: int) -> list[Entry]:
    streams = matching(reader.streams(), options.patterns)
    return reader.found(sought, streams, after)


def follow(
    folder: Path, after: int, epoch: str, find: Find, note: Callable[[str], None]
) -> Iterator[tuple[Entry, str]]:
    """Yield entries after a position as they become durable, for ever, each with its epoch.

    A daemon that starts, stops or begins a new journal meanwhile is no end of it.
    """
    while True:
        try:
            with open_reader(folder) as reader:
                while reader.is_current():
                    if (now := reader.epoch()) != epoch:
                        note(f"a new journal, epoch {now}")
                        epoch, after = now, 0
                    last = reader.last_position()
                    if last > after:
                        some = find(reader, after)  # may be newer than `last` already
                        yield from ((entry, epoch) for entry in some)
                        after = max(last, *(entry.position for entry in some), 0)
                    time.sleep(POLL_S)
        except (JournalUnavailableError, FileNotFoundError):
            time.sleep(POLL_S)


def _tell_refused(folder: Path, options: LogOptions, out: _Out) -> None:
    with open_reader(folder) as reader:
        epoch = reader.epoch()
        found = [(one, reader.entry(one.position)) for one in reader.refused()]
    limit = options.sought.limit
    found = [pair for pair in found if _wanted(*pair, options)]
    for refused, entry in found[-limit:] if limit else found:
        out.refused(refused, entry, epoch)
    if not found:
        sys.stderr.write("nothing was refused\n")


def _wanted(refused: Refused, entry: Entry | None, options: LogOptions) -> bool:
    sought = options.sought
    if sought.since is not None and refused.at_ms < sought.since:
        return False
    if sought.until is not None and refused.at_ms >= sought.until:
        return False
    if entry is None:
        return not options.patterns
    decision = entry.decision
    return decision.side in sought.sides and (
        not options.patterns or _fits(decision.stream.path, options.patterns)
    )


class _Out:
    """Where lines go: a terminal, a pipe, or somebody's JSON parser."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(soft_wrap=True, highlight=False)

    def decision(self, entry: Entry, epoch: str) -> None:
        """Say one decision."""
        if self._as_json:
            self._json(decision_fields(entry, epoch))
        else:
            self._line(line(entry))

    def refused(self, refused: Refused, entry: Entry | None, epoch: str) -> None:
        """Say what a sink gave up, and which decision it was where that is still known."""
        if self._as_json:
            said = decision_fields(entry, epoch) if entry else None
            self._json({**msgspec.to_builtins(refused), "decision": said})
            return
        text = Text(f"{iso(refused.at_ms)}  {visible(refused.sink):20}  ")
        text.append(visible(refused.reason), "red")
        self._line(text)
        if entry:
            self._line(Text("    ").append_text(line(entry)))

    def note(self, text: str) -> None:
        """Say what is no decision."""
        sys.stderr.write(f"-- {text} --\n")

    def _json(self, said: dict[str, Any]) -> None:
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
        sys.stdout.flush()

    def _line(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)
        sys.stdout.flush()
