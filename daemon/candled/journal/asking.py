"""What somebody may look for among the decisions, as conditions in SQL. Pure.

A decision is found by columns of its row; nothing is decoded that is not wanted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from candled.core.bar import Interval, Stream
from candled.core.decision import Side
from candled.journal.statements import NEWEST_ENTRIES

_EACH: tuple[Side, ...] = tuple(Side)


@dataclass(frozen=True, slots=True)
class Sought:
    """Which decisions are looked for."""

    since: int | None = None
    """Of bars that close then or later (UTC ms)."""
    until: int | None = None
    """Of bars that close before (UTC ms)."""
    sides: tuple[Side, ...] = _EACH
    signals: bool = False
    """Only those that are signals, with a number."""
    corrections: bool = False
    """Only corrections."""
    limit: int | None = None
    """At most so many, the newest; None: all."""


def question(
    sought: Sought, streams: Sequence[tuple[int, Stream]], after: int
) -> tuple[str, list[int | str]]:
    """Return a query for entries after a position, and its values; its newest come first.

    `streams` are those to look among, with their keys.
    """
    conditions: list[str] = []
    values: list[int | str] = [after]
    if len(sought.sides) < len(_EACH):
        conditions.append(f"side IN ({_marks(sought.sides)})")
        values += [side.value for side in sought.sides]
    if sought.signals:
        conditions.append("seq IS NOT NULL")
    if sought.corrections:
        conditions.append("revision > 0")
    parts = list(_parts(sought, streams))
    conditions.append(f"({' OR '.join(text for text, _ in parts) or '0'})")
    values += [value for _, some in parts for value in some]
    text = "".join(f" AND {condition}" for condition in conditions)
    return NEWEST_ENTRIES.format(text), [*values, -1 if sought.limit is None else sought.limit]


def _parts(
    sought: Sought, streams: Sequence[tuple[int, Stream]]
) -> Iterator[tuple[str, list[int]]]:
    """Yield a condition and its values for the streams of each interval."""
    for name in dict.fromkeys(stream.interval for _, stream in streams):
        keys = [key for key, stream in streams if stream.interval == name]
        text, values = f"stream IN ({_marks(keys)})", keys
        if sought.since is not None:
            text += " AND bar_open >= ?"
            values = [*values, first_open(Interval(name), sought.since)]
        if sought.until is not None:
            text += " AND bar_open < ?"
            values = [*values, first_open(Interval(name), sought.until)]
        yield f"({text})", values


def first_open(interval: Interval, close: int) -> int:
    """Return since when the bars open that close at `close` or later (UTC ms).

    On any grid: a bar that opens then or later closes at `close` or later, and no other.
    """
    moment = dt.datetime.fromtimestamp((close - 1) / 1000, dt.UTC)
    if interval.name == "1M":  # the bar of the month that the moment before lies in
        first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return int(first.timestamp()) * 1000
    return close - interval.typical_ms


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
