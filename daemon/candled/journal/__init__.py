"""The journal: what the daemon knows for certain. One SQLite file.

Bars, decisions and how far each sink has delivered. A batch of closed bars and its decisions are
one transaction, on disk before anything leaves the process. The decisions table is the outbox: it
has one order for all decisions, and a mark for each sink says up to where it has delivered. Nothing
is removed when it is delivered, so a lost broker can be served again. A bar that the venue revises
is replaced, what it was is kept, and the decisions that change get a correction each: a new row of
the same slot with the next revision.

The journal knows nothing of feeds, models or brokers.
"""

from candled.journal.asking import Sought
from candled.journal.database import JournalError, JournalLockedError, JournalUnavailableError
from candled.journal.holder import holder
from candled.journal.housekeeping import Housekeeper
from candled.journal.journal import Journal, open_journal
from candled.journal.reader import JournalReader, Refused, open_reader
from candled.journal.revising import Affected
from candled.journal.shadowing import Course, ShadowBook

__all__ = [
    "Affected",
    "Course",
    "Housekeeper",
    "Journal",
    "JournalError",
    "JournalLockedError",
    "JournalReader",
    "JournalUnavailableError",
    "Refused",
    "ShadowBook",
    "Sought",
    "holder",
    "open_journal",
    "open_reader",
]
