"""What became of signals, in the journal: which have no outcome yet, the bars they wait for, rows.

An outcome rests on bars and on its signal. Where one of these is no longer what it was, the outcome
goes in the same transaction, and its signal is without one again: no row here is ever out of date,
whenever the process ends. Knows nothing of how a signal is resolved.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from candled.core.bar import Bars, Stream
from candled.core.decision import Decision
from candled.core.track import Outcome
from candled.journal import statements
from candled.journal.database import Database, told
from candled.journal.looking import Look
from candled.journal.rows import bars_of, outcome_row
from candled.journal.streams import Streams
from candled.ports import Entry

#: Before the first outcome of any stream; see `Outcomes.after`.
BEGINNING: Final = (-(2**63), "")


class Outcomes:
    """The outcomes of an open journal."""

    def __init__(self, database: Database, streams: Streams, look: Look) -> None:
        self._db = database
        self._streams = streams
        self._look = look
        self._beside: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close what was opened."""
        if self._beside is not None:
            self._beside.close()

    def unresolved(self, stream: Stream, after_seq: int, limit: int) -> list[Entry]:
        """Return at most `limit` signals numbered above `after_seq` that have no outcome."""
        values = (self._streams.of(stream).key, after_seq, limit)
        return self._look.entries(statements.UNRESOLVED_SIGNALS, values)

    def unresolved_shadows(self, stream: Stream, after: int, limit: int) -> list[Entry]:
        """Return at most `limit` shadow signals after a position that have no outcome."""
        values = (self._streams.of(stream).key, after, limit)
        return self._look.shadows(statements.UNRESOLVED_SHADOWS, values)

    def shadows(self, after: int, limit: int) -> list[Entry]:
        """Return at most `limit` shadow signals of all streams after a position."""
        return self._look.shadows(statements.SHADOW_SIGNALS, (after, limit))

    def newest_shadow(self, stream: Stream) -> Entry | None:
        """Return the shadow signal about the newest bar of a stream; None without any."""
        found = self._look.shadows(statements.NEWEST_SHADOW, (self._streams.of(stream).key,))
        return found[0] if found else None

    def last_shadow(self) -> int:
        """Return the position of the newest shadow decision; 0 before the first."""
        ((last,),) = self._db.rows("SELECT coalesce(max(position), 0) FROM shadows")
        return int(last)

    def ahead(self, stream: Stream, bar_open: int, count: int) -> Bars:
        """Return at most `count` bars of a stream from `bar_open` on, oldest first."""
        key = self._streams.of(stream).key
        return bars_of(self._look.table(key, statements.BARS_AHEAD, (bar_open, count)))

    def taken_back(self, stream: Stream, bar_open: int, revision: int, side: str) -> bool:
        """Whether a later decision about the bar than that `revision` says another side."""
        values = (self._streams.of(stream).key, bar_open, revision, side)
        ((found,),) = self._db.rows(statements.TAKEN_BACK, values)
        return bool(found)

    def put(self, outcomes: Iterable[Outcome]) -> None:
        """Store outcomes, all or none; what is stored for a signal is replaced.

        Nothing is waited for: a power failure may take the newest ones, whose signals are then
        without one again.
        """
        rows = [outcome_row(self._streams.of(o.stream).key, o) for o in outcomes]
        self._write(statements.INSERT_OUTCOME, rows)

    def after(self, stream: Stream, place: tuple[int, str], limit: int) -> list[Outcome]:
        """Return at most `limit` outcomes behind a place, which is a bar's open time and an id.

        In the order of places, which is that of their bars.
        """
        values = (self._streams.of(stream).key, *place, limit)
        return self._look.outcomes(statements.OUTCOMES_AFTER, values)

    def since(self, stream: Stream, bar_open: int) -> list[Outcome]:
        """Return the outcomes of the signals about bars from `bar_open` on, oldest first."""
        values = (self._streams.of(stream).key, bar_open)
        return self._look.outcomes(statements.OUTCOMES_SINCE, values)

    # --- what was told of them

    def told(self, stream: Stream, model_digest: str, policy_digest: str) -> str:
        """Return what people were last told of a model's signals; empty when nothing was."""
        key = _told_key(stream, model_digest, policy_digest)
        rows = self._db.rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else ""

    def note_told(self, stream: Stream, model_digest: str, policy_digest: str, what: str) -> None:
        """Note what people have been told of a model's signals."""
        key = _told_key(stream, model_digest, policy_digest)
        self._write(statements.SET_META, [(key, what)])

    def _write(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Write on a connection that waits for no disk, all or nothing, when it is our turn."""
        with self._db.turn, told(self._db.path):
            if self._beside is None:
                self._beside = self._db.beside()
                self._beside.execute("PRAGMA synchronous = NORMAL")
                self._beside.execute("PRAGMA wal_autocheckpoint = 0")
            with self._beside:
                self._beside.execute("BEGIN IMMEDIATE")
                self._beside.executemany(sql, rows)

    # --- inside the transactions of others

    def forget(self, key: int, first: int, last: int) -> None:
        """Forget what rests on the bars that open from `first` to `last`, of a stream's key."""
        self._db.write(statements.FORGET_OUTCOMES, [(key, first, last)])

    def forget_corrected(self, corrections: Sequence[Decision]) -> None:
        """Forget what became of signals that are corrected now."""
        replaced: list[Any] = [made.supersedes and made.supersedes.signal for made in corrections]
        self._db.write(statements.FORGET_OUTCOME, [(name,) for name in replaced if name])


def _told_key(stream: Stream, model_digest: str, policy_digest: str) -> str:
    return f"told {stream.path} {model_digest} {policy_digest}"
