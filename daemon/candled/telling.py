"""The one way in which anything of the live process tells people of an incident.

It is counted, and told unless there are too many like it: in the log, and on the board, from where
sinks tell it further. Knows no feed and no sink.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from candled.board import Board
from candled.incidents import Limiter, incident_fields
from candled.ports import Incident

#: Takes an incident, to tell people of it.
Tell = Callable[[Incident], None]

log = structlog.get_logger("candled.incidents")


class Teller:
    """Tells incidents on `board`; `count` is given each of them, told or not."""

    def __init__(self, board: Board, count: Tell = lambda _: None) -> None:
        self._board = board
        self._count = count
        self._limiter = Limiter()

    def __call__(self, incident: Incident) -> None:
        """Count an incident, and tell of it unless there are too many like it."""
        self._count(incident)
        unsaid = self._limiter.step(incident, time.monotonic())
        if unsaid is not None:
            log.warning("incident", **incident_fields(incident), unsaid=unsaid)
            self._board.tell(incident, unsaid)
