"""The journal's tables, and how those of an earlier version become these. SQL, and no rows.

Each version adds to the one before, so a new journal is made by going through all of them. What is
in a journal of an earlier version stays where it is: bringing it up to date takes a moment however
large it is, but for the index.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = 4
REFUSED_SINCE: Final = 3
SUMMED_SINCE: Final = 3
OUTCOMES_SINCE: Final = 4
SHADOWS_SINCE: Final = 4

_FIRST: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL, symbol TEXT NOT NULL, interval TEXT NOT NULL,
    from_listing INTEGER NOT NULL,  -- 1: the venue has no bar before the first one here
    last_seq INTEGER NOT NULL,      -- number of the stream's newest signal, 0 before the first
    UNIQUE (exchange, symbol, interval)
) STRICT;
CREATE TABLE bars (
    stream INTEGER NOT NULL REFERENCES streams (id),
    open_time INTEGER NOT NULL,
    open REAL NOT NULL, high REAL NOT NULL, low REAL NOT NULL, close REAL NOT NULL,
    volume REAL, close_time INTEGER NOT NULL, quote_volume REAL, trades REAL,
    taker_buy_base REAL, taker_buy_quote REAL,  -- NULL: the venue has no such column
    source TEXT NOT NULL,
    PRIMARY KEY (stream, open_time),
    CONSTRAINT finite_prices CHECK (max(abs(open), abs(high), abs(low), abs(close)) < 9e999)
) STRICT, WITHOUT ROWID;
CREATE TABLE decisions (
    position INTEGER PRIMARY KEY,   -- one order for all streams
    stream INTEGER NOT NULL REFERENCES streams (id),
    bar_open INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    id TEXT NOT NULL,
    side TEXT NOT NULL,
    seq INTEGER,                    -- contiguous for each stream's signals, else NULL
    entry TEXT NOT NULL,            -- the whole entry as JSON
    UNIQUE (stream, bar_open, revision)
) STRICT;
CREATE TABLE marks (sink TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT;
"""

_SECOND: Final = """
CREATE TABLE revisions (            -- what bars were before the venue revised them
    stream INTEGER NOT NULL,
    open_time INTEGER NOT NULL,
    revision INTEGER NOT NULL,      -- 0: as the bar came first, 1: as it was revised then, ...
    open REAL NOT NULL, high REAL NOT NULL, low REAL NOT NULL, close REAL NOT NULL,
    volume REAL, close_time INTEGER NOT NULL, quote_volume REAL, trades REAL,
    taker_buy_base REAL, taker_buy_quote REAL,
    source TEXT NOT NULL,
    revised_at INTEGER NOT NULL,    -- when it was no longer so, on the venue's clock (UTC ms)
    PRIMARY KEY (stream, open_time, revision),
    FOREIGN KEY (stream, open_time) REFERENCES bars (stream, open_time)
) STRICT, WITHOUT ROWID;
"""

#: `sum` is a checksum of the rest of the row, so that a bit that the disk turned is noticed. Rows
#: of an earlier version have none.
_THIRD: Final = """
CREATE TABLE refused (              -- what a sink gave up for good
    sink TEXT NOT NULL,
    position INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,            -- wall clock (UTC ms)
    PRIMARY KEY (sink, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX signals ON decisions (stream, seq) WHERE seq IS NOT NULL;
ALTER TABLE meta ADD COLUMN sum INTEGER;
ALTER TABLE streams ADD COLUMN sum INTEGER;
ALTER TABLE bars ADD COLUMN sum INTEGER;
ALTER TABLE decisions ADD COLUMN sum INTEGER;
ALTER TABLE marks ADD COLUMN sum INTEGER;
"""

#: What follows from decisions afterwards; `entry` is the whole record as JSON.
_FOURTH: Final = """
CREATE TABLE outcomes (             -- what became of signals, champion's and challengers'
    id TEXT PRIMARY KEY,            -- of the decision
    stream INTEGER NOT NULL REFERENCES streams (id),
    bar_open INTEGER NOT NULL,
    resolved_bar INTEGER NOT NULL,  -- open time of the last bar that it rests on
    entry TEXT NOT NULL,
    sum INTEGER
) STRICT;
CREATE INDEX outcomes_of_stream ON outcomes (stream, bar_open);
CREATE INDEX outcomes_by_end ON outcomes (stream, resolved_bar);
CREATE TABLE shadows (              -- what challengers decided; never acted upon
    position INTEGER PRIMARY KEY,   -- one order for all of them
    stream INTEGER NOT NULL REFERENCES streams (id),
    bar_open INTEGER NOT NULL,
    id TEXT NOT NULL UNIQUE,
    side TEXT NOT NULL,
    seq INTEGER,                    -- contiguous for each challenger's signals of a stream
    entry TEXT NOT NULL,
    sum INTEGER
) STRICT;
CREATE INDEX shadows_of_stream ON shadows (stream, bar_open);
"""

_VERSIONS: Final = (_FIRST, _SECOND, _THIRD, _FOURTH)


def tables_since(version: int) -> str:
    """Return the statements that make a journal of `version` one of this one; 0 is a new file."""
    return " ".join((*_VERSIONS[version:], f"PRAGMA user_version = {VERSION};"))
