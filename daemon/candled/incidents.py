"""Incidents as they are told to people: as fields of a line, and not too many of a kind.

Pure: time is an argument.
"""

from __future__ import annotations

from typing import Any, Final

from candled.core.bar import iso
from candled.ports import Incident

PAUSE_S: Final = 60.0


class Limiter:
    """Lets the first incident of a kind be told at once, and then one a minute at most."""

    def __init__(self, pause_s: float = PAUSE_S) -> None:
        self._pause_s = pause_s
        self._told: dict[tuple[str, ...], float] = {}
        self._unsaid: dict[tuple[str, ...], int] = {}

    def step(self, incident: Incident, now_s: float) -> int | None:
        """Take the next incident; return None when it must not be told.

        Else how many of its kind (exchange, stream, hazard and act) were not, since the last one
        that was. `now_s` is seconds of any clock that goes steadily.
        """
        kind = (where(incident), incident.hazard, incident.act)
        last = self._told.get(kind)
        if last is not None and now_s - last < self._pause_s:
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return None
        self._told[kind] = now_s
        return self._unsaid.pop(kind, 0)


def where(incident: Incident) -> str:
    """Return the path of the incident's stream, or its exchange's name when it is about no one."""
    return incident.stream.path if incident.stream else incident.exchange


def incident_fields(incident: Incident) -> dict[str, Any]:
    """Return the fields of an incident's line in the log; a name that is not there is null."""
    return {
        "exchange": incident.exchange,
        "stream": incident.stream.path if incident.stream else None,
        "hazard": incident.hazard.value,
        "act": incident.act.value,
        "text": incident.text,
        "bar_open": None if incident.bar_open is None else iso(incident.bar_open),
        "at": iso(incident.venue_ms),
    }
