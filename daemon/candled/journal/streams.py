"""What is known of each stream beside its bars and decisions: its key, its listing, its last seq.

Held in memory and written from there, so that a row that the disk changed is never read back,
changed a little and believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from candled.core.bar import Stream
from candled.journal import statements
from candled.journal.database import Database
from candled.journal.looking import Look

_COLUMNS = "id, exchange, symbol, interval, from_listing, last_seq"
_NO_KEY = -1


@dataclass(frozen=True, slots=True)
class Known:
    """One stream."""

    key: int = _NO_KEY
    from_listing: bool = False
    """Whether the venue has no bar before the first one here."""
    last_seq: int = 0
    """Number of its newest signal; 0 before the first."""


class Streams:
    """All streams of a journal."""

    def __init__(self, database: Database, look: Look) -> None:
        self._db = database
        self._known = {
            Stream(*names): Known(key, bool(listed), last_seq)
            for key, *names, listed, last_seq in look.small("streams", _COLUMNS)
        }

    def __iter__(self) -> Iterator[Stream]:
        """Iterate over those of this moment."""
        return iter(tuple(self._known))

    def of(self, stream: Stream) -> Known:
        """Return what is known of a stream; of a stranger, that nothing is."""
        return self._known.get(stream, Known())

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, on disk and in what we remember of it."""
        with self._db.turn:
            known = dict(self._known)
            try:
                with self._db.transaction():
                    yield
            except BaseException:
                self._known = known
                raise

    def key(self, stream: Stream) -> int:
        """Return the stream's key; call it inside a transaction, it may insert."""
        if stream not in self._known:
            key = 1 + max((known.key for known in self._known.values()), default=0)
            self._write(stream, Known(key))
        return self._known[stream].key

    def note(self, stream: Stream, **changes: Any) -> None:  # noqa: ANN401 - fields of Known
        """Change what is known of a stream; call it inside a transaction."""
        self._write(stream, replace(self._known[stream], **changes))

    def _write(self, stream: Stream, known: Known) -> None:
        self._db.write(statements.SET_STREAM, [stream_row(stream, known)])
        self._known[stream] = known

    def forget_listing(self, stream: Stream) -> tuple[Any, ...]:
        """Note that the stream's first bars are gone, and return its row, to be written."""
        self._known[stream] = replace(self._known[stream], from_listing=False)
        return stream_row(stream, self._known[stream])


def stream_row(stream: Stream, known: Known) -> tuple[Any, ...]:
    """Return the values of `SET_STREAM`."""
    names = (stream.exchange, stream.symbol, stream.interval)
    return (known.key, *names, int(known.from_listing), known.last_seq)
