"""The journal of a search: one JSON object a line, each on the disk before the next trial begins.

The first line says what is searched, and how; then one for each trial as it ended, and one for each
look at the holdout. A line is there when its newline is: what a dying process left half-written is
cut off when the search goes on. Knows no models and no optuna.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal

from candled.lab.bootstrap import Interval
from candled.lab.recipe import Recipe
from candled.lab.tune.space import Space, TuningError, Values, space_of

SCHEMA: Final = "candled.tuning/1"

State = Literal["complete", "repeated", "failed"]


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched: all that decides which trials there are and what comes of them."""

    symbol: str
    interval: str
    data_sha256: str
    """Of all bars, as a bundle's provenance has it."""
    rows_sha256: str
    """Of all that trials see: another version of a feature set makes it another search."""
    base: Recipe
    """The default, which is trial 0."""
    sets: tuple[str, ...]
    """Feature sets that may be used; rows are those that all of them have."""
    space: Space
    seed: int
    holdout: float
    """Share of the rows, the newest, that no trial sees."""
    period_bars: int
    """Bars in a period of `Trial.periods`."""

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "schema": SCHEMA,
            **{name: getattr(self, name) for name in self.__slots__},
            "base": self.base.as_json(),
            "sets": list(self.sets),
            "space": self.space.as_json(),
        }


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration, and what the walk-forward over the rows before the holdout said of it."""

    number: int
    """0 is the default."""
    state: State
    """``repeated``: an earlier trial had the same recipe, and lent its result."""
    recipe: Recipe
    values: Values
    """What was searched, by name."""
    folds: tuple[float, ...]
    """Skill of each fold (nats a row); empty when it failed or was repeated."""
    skill: Interval | None
    """Of all tested rows (nats a row), the objective with its block-bootstrap interval."""
    periods: tuple[float, ...]
    """Skill (nats) summed over the tested rows of each period."""
    repeats: int | None
    """The earlier trial."""
    reason: str | None
    """Why it failed."""
    seconds: float
    data_sha256: str
    versions: dict[str, str]
    """Of what the numbers depend on."""

    @property
    def estimate(self) -> float | None:
        """The objective; None when it failed."""
        return None if self.skill is None else self.skill.estimate

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the holdout: what the chosen recipe and the default do there."""

    trials: int
    """How many there were by then."""
    chosen: int
    """Number of the trial whose recipe was chosen."""
    first_open_time: int
    """UTC ms, of the holdout's rows."""
    last_open_time: int
    tuned: Interval
    """Skill (nats a row)."""
    default: Interval
    """Skill (nats a row) of trial 0."""
    difference: Interval
    """Tuned less default, on the same rows."""


@dataclass(slots=True)
class Journal:
    """What a journal says; `file` takes what comes next."""

    path: Path
    search: Search
    trials: list[Trial]
    looks: list[Look]
    file: IO[bytes] | None = None
    """None when it is only read."""

    def add(self, record: Trial | Look) -> None:
        """Append a record and wait until it is on the disk."""
        if isinstance(record, Trial):
            self.trials.append(record)
            self._write("trial", record.as_json())
        else:
            self.looks.append(record)
            self._write("look", asdict(record))

    def begin(self) -> None:
        """Write the first line."""
        self._write("search", self.search.as_json())

    def _write(self, kind: str, told: dict[str, Any]) -> None:
        if self.file is None:
            raise TypeError("this journal was opened to be read")
        self.file.write(json.dumps({"kind": kind, **told}, allow_nan=False).encode() + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())


def read_journal(path: Path) -> Journal:
    """Read the journal of a search, finished or not; raises TuningError, OSError."""
    journal = _told(path, path.read_bytes())
    if journal is None:
        raise TuningError(f"{path} is empty: the search that should have written it never began")
    return journal


@contextmanager
def open_journal(path: Path, search: Search) -> Iterator[Journal]:
    """Begin a journal or go on with one, alone.

    Raises TuningError: it is of another search, damaged, or another process writes it; OSError.
    """
    with path.open("a+b") as file:
        _lock(file, path)
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        journal = _told(path, content) or Journal(path, search, [], [])
        _refuse_other(path, journal.search, search)
        journal.file = file
        if not content.count(b"\n"):
            journal.begin()
            _settle(path.parent)
        yield journal


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise TuningError(
            f"{path}: another process is searching into it; wait for it, or name another folder"
        ) from error


def _settle(folder: Path) -> None:
    """Let the file's name reach the disk as well."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _told(path: Path, content: bytes) -> Journal | None:
    """Return what the whole lines say; None without any."""
    journal: Journal | None = None
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
            kind = record.pop("kind")
            if journal is None:
                journal = Journal(path, _search(kind, record), [], [])
            elif kind == "trial":
                journal.trials.append(_trial(record))
            else:
                journal.looks.append(_look(record))
        except (ValueError, KeyError, TypeError, AttributeError, TuningError) as error:
            raise TuningError(
                f"{path}: line {number} is no record of a search ({type(error).__name__}: "
                f"{error}); name another folder, or remove the file to begin anew"
            ) from error
    return journal


def _search(kind: str, told: dict[str, Any]) -> Search:
    schema = told.pop("schema", None)
    if kind != "search" or schema != SCHEMA:
        raise ValueError(f"the first line is not of {SCHEMA}")
    parts = {
        "base": Recipe.from_json(told["base"]),
        "sets": tuple(told["sets"]),
        "space": space_of(told["space"]),
    }
    return Search(**{**told, **parts})


def _trial(told: dict[str, Any]) -> Trial:
    parts = {
        "recipe": Recipe.from_json(told["recipe"]),
        "folds": tuple(told["folds"]),
        "periods": tuple(told["periods"]),
        "skill": None if told["skill"] is None else Interval(**told["skill"]),
    }
    return Trial(**{**told, **parts})


def _look(told: dict[str, Any]) -> Look:
    parts = {name: Interval(**told[name]) for name in ("tuned", "default", "difference")}
    return Look(**{**told, **parts})


def _refuse_other(path: Path, found: Search, wanted: Search) -> None:
    was, now = found.as_json(), wanted.as_json()
    other = [name for name in now if was.get(name) != now[name]]
    if other:
        name = other[0]
        raise TuningError(
            f"{path} is the journal of another search: its {', '.join(other)} differ(s) ({name} "
            f"there {_short(was.get(name))}, here {_short(now[name])}); repeat that search's "
            "options and candles to go on with it, or name another folder"
        )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - a line's worth
