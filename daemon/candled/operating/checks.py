"""What `check` tries of the operator's own things: the window's port, and room for what is kept."""

from __future__ import annotations

import shutil
import socket
from contextlib import closing
from pathlib import Path
from typing import Final

from candled.config import Config, split_address
from candled.core.bar import DAY, Interval
from candled.journal import JournalError, open_reader
from candled.journal.database import FILE
from candled.operating.asking import NoAnswerError, ask, stranger
from candled.venuecheck import Finding

#: Of a decision with its bar and what belongs to them in the journal, as measured.
DECISION_BYTES: Final = 1_100
_YEAR_DAYS: Final = 365
_MB: Final = 10**6


def check_web(config: Config) -> list[Finding]:
    """Return whether the window's port can be had, or is ours already. `run` does without it."""
    listen = config.web.listen
    host, port = split_address(listen) if listen else ("", None)
    if not listen or not port:
        said = f"{listen}: any free port" if listen else 'listen is "": off'
        return [Finding("web", said)]
    if (taken := _taken(host, port)) is None:
        return [Finding("web", f"{listen} is free")]
    mend = "name another address in [web] listen"
    try:
        answer = ask(listen)
    except NoAnswerError:
        return [Finding("web", f"{listen}: {taken}; {mend}", warning=True)]
    if strange := stranger(answer, config, _epoch(config.state.path)):
        return [Finding("web", f"{strange}; {mend}", warning=True)]
    return [Finding("web", f"{listen} (this daemon answers there)")]


def _taken(host: str, port: int) -> str | None:
    """Return why a port cannot be had; None when it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with closing(socket.socket(family, socket.SOCK_STREAM)) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
            trial.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _epoch(folder: Path) -> str | None:
    try:
        with open_reader(folder) as reader:
            return reader.epoch()
    except (OSError, JournalError):
        return None


def check_room(config: Config) -> list[Finding]:
    """Return whether what `keep_days` keeps will fit beside what is there."""
    folder, days = config.state.path, config.state.keep_days
    need = needed_bytes(config)
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return []  # that there is no folder is told elsewhere
    file = folder / FILE
    room = free + (file.stat().st_size if file.exists() else 0)
    kept = f"keep_days = {days}" if days else "a year (keep_days = 0 keeps for ever)"
    said = f"{kept} comes to about {_size(need)} of journal, {_size(room)} are there"
    if need <= room:
        return [Finding("state", said)]
    return [Finding("state", f"{said}; lower [state] keep_days or make room", warning=True)]


def needed_bytes(config: Config) -> int:
    """Return how large the journal becomes, about, after `keep_days`, or after a year."""
    span = (config.state.keep_days or _YEAR_DAYS) * DAY
    return sum(
        len(part.symbols) * (span // Interval(part.interval).typical_ms + 1) * DECISION_BYTES
        for part in config.streams
    )


def _size(count: float) -> str:
    return f"{count / 10**9:.1f} GB" if count >= 10**9 else f"{max(1, count // _MB):.0f} MB"
