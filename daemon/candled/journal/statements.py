"""What is asked of the journal's tables, in SQL. Knows tables; Python's facts are in `rows`."""

from __future__ import annotations

from typing import Final

INSERT_BAR: Final = "INSERT INTO bars VALUES (?, ?,?,?,?,?,?,?,?,?,?,?, ?, ?)"
INSERT_NEW_BAR: Final = f"{INSERT_BAR} ON CONFLICT (stream, open_time) DO NOTHING"
#: The row that is there becomes one of `revisions`; replacing it is the next statement.
KEEP_BAR: Final = (
    "INSERT INTO revisions SELECT stream, open_time,"
    " (SELECT count(*) FROM revisions AS kept"
    " WHERE kept.stream = bars.stream AND kept.open_time = bars.open_time),"
    " open, high, low, close, volume, close_time, quote_volume, trades,"
    " taker_buy_base, taker_buy_quote, source, ? FROM bars WHERE stream = ? AND open_time = ?"
)
REPLACE_BAR: Final = (
    f"{INSERT_BAR} ON CONFLICT (stream, open_time) DO UPDATE SET open = excluded.open,"
    " high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume,"
    " close_time = excluded.close_time, quote_volume = excluded.quote_volume,"
    " trades = excluded.trades, taker_buy_base = excluded.taker_buy_base,"
    " taker_buy_quote = excluded.taker_buy_quote, source = excluded.source, sum = excluded.sum"
)

#: Bars and decisions are asked for with their checksums, which a reader of earlier versions lacks.
SUM: Final = ", sum FROM "
NO_SUM: Final = ", NULL FROM "

_BARS: Final = (
    "SELECT open_time, open, high, low, close, volume, close_time, quote_volume, trades,"
    f" taker_buy_base, taker_buy_quote{SUM}bars WHERE stream = ?"
)
BAR: Final = f"{_BARS} AND open_time = ?"
FIRST_BAR: Final = "SELECT min(open_time) FROM bars WHERE stream = ?"
NEWEST_BARS: Final = f"{_BARS} ORDER BY open_time DESC LIMIT ?"
NEWEST_BARS_BEFORE: Final = f"{_BARS} AND open_time < ? ORDER BY open_time DESC LIMIT ?"
BARS_FROM: Final = f"{_BARS} AND open_time >= ? ORDER BY open_time"

INSERT_DECISION: Final = "INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ENTRIES: Final = (
    f"SELECT position, stream, bar_open, revision, id, side, seq, entry{SUM}decisions WHERE"
)
ENTRIES_AFTER: Final = f"{_ENTRIES} position > ? ORDER BY position LIMIT ?"
SIGNALS_AFTER: Final = f"{_ENTRIES} stream = ? AND seq > ? ORDER BY seq LIMIT ?"
#: Two questions, since SQLite finds one end of an index at once, but not both.
SIGNALS_KEPT: Final = (
    "SELECT (SELECT min(seq) FROM decisions WHERE stream = ?1 AND seq IS NOT NULL),"
    " (SELECT max(seq) FROM decisions WHERE stream = ?1 AND seq IS NOT NULL)"
)
#: Of each stream the newest entry and that of the newest bar, which may be one.
LATEST_ENTRIES: Final = (
    f"{_ENTRIES} position IN (SELECT max(position) FROM decisions GROUP BY stream)"  # noqa: S608
    " OR position IN (SELECT (SELECT position FROM decisions WHERE stream = streams.id"
    " ORDER BY bar_open DESC, revision DESC LIMIT 1) FROM streams) ORDER BY position"
)
DECIDED_BARS: Final = "SELECT bar_open FROM decisions WHERE stream = ? AND bar_open >= ?"
#: Without the answers: those are in the JSON, and only where there was no decision are there none.
NEWEST_ANSWERED: Final = (
    "SELECT DISTINCT bar_open FROM decisions WHERE stream = ? AND side <> 'no_decision'"
    " ORDER BY bar_open DESC LIMIT ?"
)
COUNT_BARS: Final = "SELECT count(*) FROM bars WHERE stream = ? AND open_time >= ?"
FIRST_DECIDED: Final = "SELECT min(bar_open) FROM decisions WHERE stream = ? AND bar_open >= ?"
#: Of each slot the newest comes last.
ENTRIES_FROM_BAR: Final = f"{_ENTRIES} stream = ? AND bar_open >= ? ORDER BY bar_open, revision"
ENTRIES_OF_BAR: Final = f"{_ENTRIES} stream = ? AND bar_open = ? ORDER BY revision"
NEWEST_SIGNAL: Final = f"{_ENTRIES} stream = ? AND seq IS NOT NULL ORDER BY seq DESC LIMIT 1"
ENTRIES_OF_STREAM: Final = f"{_ENTRIES} stream = ? ORDER BY bar_open, revision"
#: What a reader looks for; `{}` is for conditions. Newest first, so that a limit is soon met.
NEWEST_ENTRIES: Final = f"{_ENTRIES} position > ?{{}} ORDER BY position DESC LIMIT ?"
NEWEST_POSITION: Final = "SELECT coalesce(max(position), 0) FROM decisions"
NEWEST_OPENS: Final = (
    "SELECT exchange, symbol, interval, (SELECT max(open_time) FROM bars WHERE stream = streams.id)"
    " FROM streams ORDER BY exchange, symbol, interval"
)

INSERT_OUTCOME: Final = "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?)"
_OUTCOMES: Final = "SELECT id, stream, bar_open, resolved_bar, entry, sum FROM outcomes WHERE"
OUTCOMES_SINCE: Final = f"{_OUTCOMES} stream = ? AND bar_open >= ? ORDER BY bar_open, id"
OUTCOMES_AFTER: Final = (
    f"{_OUTCOMES} stream = ? AND (bar_open, id) > (?, ?) ORDER BY bar_open, id LIMIT ?"
)
#: What rests on bars that are others now is resolved again.
FORGET_OUTCOMES: Final = (
    "DELETE FROM outcomes WHERE stream = ? AND resolved_bar >= ? AND bar_open <= ?"
)
FORGET_OUTCOME: Final = "DELETE FROM outcomes WHERE id = ?"
_UNRESOLVED: Final = "NOT EXISTS (SELECT 1 FROM outcomes WHERE outcomes.id = {0}.id)"
UNRESOLVED_SIGNALS: Final = (
    f"{_ENTRIES} stream = ? AND seq > ? AND {_UNRESOLVED.format('decisions')} ORDER BY seq LIMIT ?"
)
_SHADOWS: Final = "SELECT position, stream, bar_open, id, side, seq, entry, sum FROM shadows WHERE"
SHADOW_SIGNALS: Final = f"{_SHADOWS} position > ? AND seq IS NOT NULL ORDER BY position LIMIT ?"
NEWEST_SHADOW: Final = (
    f"{_SHADOWS} stream = ? AND seq IS NOT NULL ORDER BY bar_open DESC, position DESC LIMIT 1"
)
UNRESOLVED_SHADOWS: Final = (
    f"{_SHADOWS} stream = ? AND position > ? AND seq IS NOT NULL"
    f" AND {_UNRESOLVED.format('shadows')} ORDER BY position LIMIT ?"
)
#: A later decision about the bar says another side.
TAKEN_BACK: Final = (
    "SELECT EXISTS (SELECT 1 FROM decisions"
    " WHERE stream = ? AND bar_open = ? AND revision > ? AND side != ?)"
)
BARS_AHEAD: Final = f"{_BARS} AND open_time >= ? ORDER BY open_time LIMIT ?"

SET_STREAM: Final = (
    "INSERT INTO streams VALUES (?, ?, ?, ?, ?, ?, row_sum(?1, ?2, ?3, ?4, ?5, ?6))"
    " ON CONFLICT (id) DO UPDATE SET from_listing = excluded.from_listing,"
    " last_seq = excluded.last_seq, sum = excluded.sum"
)
SET_META: Final = "INSERT OR REPLACE INTO meta VALUES (?, ?, row_sum(?1, ?2))"
SET_EPOCH: Final = "INSERT OR REPLACE INTO meta VALUES ('epoch', ?, row_sum('epoch', ?1))"

INSERT_SHADOW: Final = "INSERT INTO shadows VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
SHADOWS_AFTER: Final = f"{_SHADOWS} position > ? ORDER BY position LIMIT ?"
SHADOWS_OF_STREAM: Final = f"{_SHADOWS} stream = ? ORDER BY bar_open, position"
SHADOWS_BACK: Final = f"{_SHADOWS} stream = ? AND position > ? ORDER BY bar_open DESC"

#: What pruning asks.
#: The newest one stays: positions go on from there.
FIRST_SHADOWS: Final = (
    "SELECT position FROM shadows WHERE stream = ? AND bar_open < ?"
    " AND position < (SELECT max(position) FROM shadows) ORDER BY bar_open LIMIT ?"
)
SET_PRUNED: Final = "INSERT OR REPLACE INTO meta VALUES ('pruned', ?, row_sum('pruned', ?1))"
NTH_NEWEST_BAR: Final = (
    "SELECT open_time FROM bars WHERE stream = ? ORDER BY open_time DESC LIMIT 1 OFFSET ?"
)
NTH_BAR_BEFORE: Final = (
    "SELECT open_time FROM bars WHERE stream = ? AND open_time < ?"
    " ORDER BY open_time DESC LIMIT 1 OFFSET ?"
)
FIRST_BARS: Final = (
    "SELECT open_time FROM bars WHERE stream = ? AND open_time <= ? ORDER BY open_time LIMIT ?"
)
#: Corrections do not count: they are made at any time after it.
NTH_FIRST_DECISION: Final = (
    "SELECT bar_open FROM decisions WHERE stream = ? AND revision = 0"
    " ORDER BY bar_open LIMIT 1 OFFSET ?"
)
DECISIONS_UP_TO: Final = (
    "SELECT position, bar_open FROM decisions WHERE stream = ? AND bar_open <= ?"
)
