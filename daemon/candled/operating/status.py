"""The `status` command: how the daemon is, in its own words, or as its state folder tells.

0  online
1  degraded: it runs, and something is wrong
3  not running, or just stopping
4  cannot be told: something runs, but does not answer, or another daemon answers
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console, RenderableType
from rich.live import Live

from candled.config import Config, load_config
from candled.core.bar import Stream
from candled.journal import JournalError, JournalReader, holder, open_reader
from candled.operating.asking import NoAnswerError, ask, outdated, stranger
from candled.operating.facts import VERDICTS, Status, Stored, Verdict
from candled.operating.status_view import sections
from candled.operating.tables import drawn, on_terminal, plain
from candled.ports import Entry

_EVERY_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class StatusOptions:
    """Whose status, and how it is shown."""

    config: Path
    patterns: tuple[str, ...]
    """Streams that are shown; none: all."""
    watch: bool
    as_json: bool


def run_status(options: StatusOptions) -> int:
    """Show how the daemon is, once or until Ctrl+C; return the code of what was seen last.

    Raises ConfigError.
    """
    config = load_config(options.config)
    status = find_out(config)
    if not options.watch:
        with _shown(options) as show:
            show(status)
        return status.verdict
    with suppress(KeyboardInterrupt), _shown(options) as show:
        while True:
            show(status)
            time.sleep(_EVERY_S)
            status = find_out(config)
    return status.verdict


def find_out(config: Config) -> Status:
    """Ask the daemon, and look into its state folder where it cannot be asked."""
    now, folder = time.time_ns() // 1_000_000, config.state.path
    epoch, unread = _epoch(folder)
    try:
        said = ask(config.web.listen)
    except NoAnswerError as error:
        return _without_answer(folder, (str(error), *unread), now)
    if strange := stranger(said, config, epoch):
        return _without_answer(folder, (strange, *unread), now)
    known = outdated(said, config)
    why = (*said.service.reasons, *([known] if known else []))
    return Status(VERDICTS[said.service.state], why, now, said, None, holder(folder))


def _epoch(folder: Path) -> tuple[str | None, tuple[str, ...]]:
    """Return the journal's epoch, or None and why it cannot be read."""
    try:
        with open_reader(folder) as reader:
            return reader.epoch(), ()
    except (OSError, JournalError) as error:
        return None, (str(error),)


def _without_answer(folder: Path, why: tuple[str, ...], now: int) -> Status:
    process = holder(folder)
    stored = None
    with suppress(OSError, JournalError), open_reader(folder) as reader:
        stored = _stored(reader)
    if process is None:
        text = f"no process uses {folder}: the daemon is not running"
        return Status(Verdict.STOPPED, (text, *why), now, None, stored, None)
    who = f"process {process}" if process else "a process"
    text = f"{who} uses {folder}, but the daemon cannot be asked"
    return Status(Verdict.UNKNOWN, (text, *why), now, None, stored, process)


def _stored(reader: JournalReader) -> Stored:
    refused: dict[str, int] = {}
    for one in reader.refused():
        refused[one.sink] = refused.get(one.sink, 0) + 1
    return Stored(
        epoch=reader.epoch(),
        latest=tuple(_newest(reader)),
        newest_opens=reader.newest_opens(),
        marks=reader.marks(),
        last_position=reader.last_position(),
        refused=refused,
    )


def _newest(reader: JournalReader) -> Iterator[Entry]:
    """Yield the decision about each stream's newest bar, in order of their names."""
    newest: dict[Stream, Entry] = {}
    for entry in reader.latest():
        other = newest.get(entry.decision.stream)
        if other is None or entry.decision.bar_open >= other.decision.bar_open:
            newest[entry.decision.stream] = entry
    yield from (newest[stream] for stream in sorted(newest))


Show = Callable[[Status], None]


@contextmanager
def _shown(options: StatusOptions) -> Iterator[Show]:
    """Open what a status is shown on."""
    if options.as_json:
        yield lambda status: _print(msgspec.json.encode(as_plain(status)).decode())
    elif not on_terminal():
        yield lambda status: _print(plain(sections(status, options.patterns)))
    elif options.watch:
        with Live(auto_refresh=False, vertical_overflow="crop") as screen:
            yield lambda status: screen.update(_drawn(status, options), refresh=True)
    else:
        yield lambda status: Console().print(_drawn(status, options))


def _drawn(status: Status, options: StatusOptions) -> RenderableType:
    return drawn(sections(status, options.patterns))


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def as_plain(status: Status) -> dict[str, Any]:
    """Return everything as plain data."""
    stored = status.stored
    return {
        "verdict": status.verdict.name.lower(),
        "code": int(status.verdict),
        "why": status.why,
        "now": status.now_ms,
        "process": status.holder,
        "overview": status.overview,
        "journal": stored
        and {
            "epoch": stored.epoch,
            "last_position": stored.last_position,
            "marks": stored.marks,
            "refused": stored.refused,
            "newest_bars": {s.path: at for s, at in stored.newest_opens.items()},
            "decisions": stored.latest,
        },
    }
