"""What the daemon says of itself, as data."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from chaos.programs import Program


def lines(program: Program) -> list[dict[str, Any]]:
    """Return all whole lines of JSON that it has said in all its lives."""
    text = program.said_in.read_text(errors="replace")
    whole = text[: text.rfind("\n") + 1].splitlines()
    return [json.loads(line) for line in whole if line.startswith("{")]


def moment_ns(line: dict[str, Any]) -> int:
    """Return when a line was said (wall clock, ns)."""
    at = dt.datetime.fromisoformat(line["timestamp"])
    return int(at.timestamp() * 1e6) * 1000


def since(program: Program, began_ns: int, event: str) -> list[dict[str, Any]]:
    """Return the lines of one event since a moment."""
    found = (line for line in lines(program) if line["event"] == event)
    return [line for line in found if moment_ns(line) >= began_ns]


def summary(program: Program) -> dict[str, Any]:
    """Return what it summed up at its proper end."""
    return [line for line in lines(program) if line["event"] == "summary"][-1]
