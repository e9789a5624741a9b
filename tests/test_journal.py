"""The journal keeps what it was given, numbers it without holes, shows only what is durable.

Through failures in the middle of a batch, full disks, kill -9 and damaged files.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from candled.core.bar import HOUR, Bars, Stream
from candled.core.correction import correction
from candled.core.decision import (
    BarRevised,
    Probabilities,
    Side,
)
from candled.journal import (
    Journal,
    JournalError,
    JournalLockedError,
    JournalUnavailableError,
    open_journal,
)
from candled.ports import Entry
from journals import (
    BTC,
    ETH,
    FILE,
    NAN,
    START,
    bar,
    change,
    closed,
    commit,
    decided,
    opened,
    rows,
    tiny_disk,
)

LATER = ("$.decision.novelty", "$.decision.evidence")


# --- writing and reading


def test_entries_come_back_as_they_were_given(tmp_path: Path):
    """Every field of an entry is the same from memory, from disk and after a restart."""
    with opened(tmp_path) as journal:
        made = commit(
            journal, (BTC, 0, Side.LONG), (ETH, 0, Side.NO_DECISION), (BTC, 1, Side.SHORT)
        )
        assert journal.after(0, 10) == made
    with opened(tmp_path) as journal:
        assert journal.after(0, 10) == made
    first = made[0]
    assert (first.position, first.seq, first.last_seq) == (1, 1, 1)
    assert first.decision.price == 100.0
    assert first.received_ns == (START + HOUR + 12) * 1_000_000 + 345
    assert first.decided_ms == START + HOUR + 15
    assert made[1].seq is None
    assert made[2].decision.probabilities == Probabilities(
        0.10000000149011612, 0.25, 0.6499999761581421
    )


def test_entries_of_before_evidence_and_novelty_are_read(tmp_path: Path):
    """An entry that was written without the two has nothing to say of them."""
    with opened(tmp_path) as journal:
        (made,) = commit(journal, (BTC, 0, Side.LONG))
    change(tmp_path, "UPDATE decisions SET entry = json_remove(entry, ?, ?)", *LATER)
    ((text,),) = rows(tmp_path, "SELECT entry FROM decisions")
    assert not {"novelty", "evidence"} & set(json.loads(text)["decision"])
    decision = dataclasses.replace(made.decision, novelty=None, evidence=None)
    with opened(tmp_path) as journal:
        assert journal.after(0, 10) == [dataclasses.replace(made, decision=decision)]


def test_bars_come_back_to_the_bit_and_absent_columns_as_nan(tmp_path: Path):
    """A bar's columns survive the disk bit for bit; what the venue lacks is NaN again, not 0."""
    odd = 0.1 + 0.2
    event = closed(BTC, 0, close=odd, low=5e-324, volume=NAN)
    with opened(tmp_path) as journal:
        journal.commit([event], [decided(event)], [0])
    with opened(tmp_path) as journal:
        stored = journal.bars(BTC, 10)
    assert len(stored) == 1
    assert repr(stored.row(0)) == repr(event.bar)
    assert stored.taker_buy_base[0] != stored.taker_buy_base[0]


def test_bars_are_the_newest_oldest_first(tmp_path: Path):
    """`bars` returns the last `count` of one stream in time order, history and decided alike."""
    with opened(tmp_path) as journal:
        history = Bars.of([bar(hour) for hour in range(5)])
        journal.store_history(BTC, history, from_listing=True)
        commit(journal, (BTC, 5, Side.FLAT), (ETH, 5, Side.FLAT), (BTC, 6, Side.FLAT))
        hours = (journal.bars(BTC, 4).open_time - START) // HOUR
        assert hours.tolist() == [3, 4, 5, 6]
        assert len(journal.bars(BTC, 100)) == 7
        assert journal.from_listing(BTC)
        assert not journal.from_listing(ETH)
        unknown = Stream("binance", "XRPUSDT", "1h")
        assert len(journal.bars(unknown, 5)) == 0
        assert not journal.from_listing(unknown)


def test_history_does_not_replace_what_was_decided_on(tmp_path: Path):
    """A bar that is there already stays as it was when a venue tells its history again."""
    with opened(tmp_path) as journal:
        commit(journal, (BTC, 1, Side.LONG))
        told_again = Bars.of([bar(0), bar(1, close=77.0)])
        journal.store_history(BTC, told_again, from_listing=False)
        stored = journal.bars(BTC, 5)
    assert stored.close.tolist() == [bar(0).close, bar(1).close]
    assert rows(tmp_path, "SELECT source FROM bars ORDER BY open_time") == [("backfill",), ("ws",)]


@pytest.mark.parametrize("listed", [True, False])
def test_a_later_history_does_not_say_where_the_listing_begins(tmp_path: Path, listed: bool):  # noqa: FBT001
    """Only one that begins where the stream does, or before, knows whether anything is earlier."""
    with opened(tmp_path) as journal:
        journal.store_history(BTC, Bars.of([bar(4), bar(5)]), from_listing=listed)
        for later in ([bar(5), bar(8)], []):
            journal.store_history(BTC, Bars.of(later), from_listing=not listed)
            assert journal.from_listing(BTC) is listed
        journal.store_history(BTC, Bars.of([bar(2)]), from_listing=not listed)
        assert journal.from_listing(BTC) is not listed


@pytest.mark.parametrize("price", [NAN, float("inf"), -float("inf")])
def test_a_price_that_is_no_number_is_refused(tmp_path: Path, price: float):
    """A bar or history with a price that is not finite is refused whole, and says so."""
    with opened(tmp_path) as journal:
        event = closed(BTC, 1, close=price)
        with pytest.raises(JournalError, match=r"must not be stored.*(close|finite_prices)"):
            journal.commit(
                [closed(BTC, 0), event], [decided(closed(BTC, 0)), decided(event)], [0, 0]
            )
        with pytest.raises(JournalError, match="must not be stored"):
            journal.store_history(BTC, Bars.of([bar(0), event.bar]), from_listing=False)
        assert len(journal.bars(BTC, 9)) == 0
        assert journal.last_position == 0
    assert rows(tmp_path, "SELECT * FROM streams") == []


# --- numbers

SLOTS = st.lists(
    st.lists(
        st.tuples(st.sampled_from([BTC, ETH]), st.sampled_from(list(Side))), min_size=1, max_size=6
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches=SLOTS, restarts=st.sets(st.integers(0, 11)), tail=st.integers(1, 12))
def test_numbers_have_no_holes_through_restarts(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[tuple[Stream, Side]]],
    restarts: set[int],
    tail: int,
):
    """However batches and restarts fall, each stream's signals are numbered from 1 without a hole.

    And any stretch of entries is the same from memory and from disk.
    """
    folder = tmp_path_factory.mktemp("journal")
    given_entries: list[Entry] = []
    hours = {BTC: 0, ETH: 0}
    journal = open_journal(folder, tail=tail)
    try:
        for index, batch in enumerate(batches):
            if index in restarts:
                journal.close()
                journal = open_journal(folder, tail=tail)
            slots = []
            for stream, side in batch:
                slots.append((stream, hours[stream], side))
                hours[stream] += 1
            given_entries += commit(journal, *slots)
        check_numbers(given_entries)
        for position in range(len(given_entries) + 1):
            for limit in (1, 3, 100):
                later = [e for e in given_entries if e.position > position][:limit]
                assert journal.after(position, limit) == later
        newest = {entry.decision.stream: entry for entry in given_entries}
        assert {entry.decision.stream: entry for entry in journal.latest()} == newest
    finally:
        journal.close()


def check_numbers(entries: Sequence[Entry]) -> None:
    """Positions strictly increase; a stream's signals are 1, 2, 3 ..., and `last_seq` follows."""
    positions = [entry.position for entry in entries]
    assert positions == sorted(set(positions))
    seqs: dict[Stream, int] = {}
    for entry in entries:
        stream = entry.decision.stream
        if entry.decision.side.is_signal:
            seqs[stream] = seqs.get(stream, 0) + 1
            assert entry.seq == seqs[stream]
        else:
            assert entry.seq is None
        assert entry.last_seq == seqs.get(stream, 0)


def correct(journal: Journal, hour: int, last: Entry, side: Side) -> Entry:
    """Revise the bar of one hour so that its decision alone becomes `side`."""
    told = BarRevised(BTC, bar(hour, close=99.9 + last.position / 100), 5, 6)
    affected = journal.affected(told, 3)
    assert affected is not None
    assert affected.entries[last.decision.bar_open] == last
    made = correction(decided(closed(BTC, hour), side), last.decision, last.seq)
    assert made is not None
    (entry,) = journal.revise(told, affected.bar, [made], 7)
    return entry


def test_the_latest_are_the_newest_entry_and_the_newest_bars(tmp_path: Path):
    """A correction of an older bar is the newest entry, and not that of the newest bar."""
    with opened(tmp_path) as journal:
        first, second = commit(journal, (BTC, 0, Side.LONG), (BTC, 1, Side.FLAT))
        (other,) = commit(journal, (ETH, 0, Side.LONG))
        assert journal.latest() == [second, other]
        turned = correct(journal, 0, first, Side.SHORT)
        assert (turned.position, turned.seq, turned.last_seq) == (4, 2, 2)
        assert journal.latest() == [second, other, turned]
    with opened(tmp_path) as journal:
        assert journal.latest() == [second, other, turned]
        again = correct(journal, 1, second, Side.LONG)
        assert journal.latest() == [other, again]
        flat = correct(journal, 0, turned, Side.FLAT)
        assert (flat.seq, flat.last_seq) == (None, 3)
        assert journal.latest() == [other, again, flat]
        (newest,) = commit(journal, (BTC, 2, Side.LONG))
        assert newest.seq == 4
        assert journal.latest() == [other, newest]
        assert [e.position for e in journal.after(0, 99)] == [1, 2, 3, 4, 5, 6, 7]
    with opened(tmp_path) as journal:
        assert journal.latest() == [other, newest]


# --- all or nothing


def test_a_batch_is_stored_whole_or_not_at_all(tmp_path: Path):
    """A slot that is decided twice in the middle of a batch leaves nothing of the batch.

    No bar, decision, new stream or number; the next one goes on as if it had never been.
    """
    new = Stream("binance", "NEWUSDT", "1h")
    with opened(tmp_path) as journal:
        before = commit(journal, (BTC, 0, Side.LONG), (ETH, 0, Side.SHORT))
        with pytest.raises(JournalError, match=r"candled\.journal.*UNIQUE constraint"):
            commit(
                journal,
                (BTC, 1, Side.LONG),
                (new, 1, Side.LONG),
                (ETH, 0, Side.LONG),
                (BTC, 2, Side.LONG),
            )
        assert journal.after(0, 99) == before
        assert journal.latest() == before
        assert journal.last_position == 2
        assert rows(tmp_path, "SELECT count(*) FROM bars") == [(2,)]
        assert rows(tmp_path, "SELECT symbol, last_seq FROM streams") == [
            ("BTCUSDT", 1),
            ("ETHUSDT", 1),
        ]
        after = commit(journal, (new, 1, Side.LONG), (BTC, 1, Side.LONG))
        assert [(e.position, e.seq) for e in after] == [(3, 1), (4, 2)]
    with opened(tmp_path) as journal:
        assert journal.after(0, 99) == before + after
        assert len(journal.bars(new, 9)) == 1
        assert commit(journal, (new, 2, Side.LONG))[0].seq == 2


def test_a_bar_that_history_holds_is_not_decided(tmp_path: Path):
    """Deciding a slot whose bar came as history is refused: it would be decided out of turn."""
    with opened(tmp_path) as journal:
        journal.store_history(BTC, Bars.of([bar(0), bar(1)]), from_listing=False)
        with pytest.raises(JournalError, match="UNIQUE constraint failed: bars"):
            commit(journal, (BTC, 1, Side.LONG))
        assert journal.last_position == 0
        assert rows(tmp_path, "SELECT count(*) FROM decisions") == [(0,)]


def test_a_batch_without_its_decisions_stores_nothing(tmp_path: Path):
    """Bars and decisions that do not pair up are refused before anything is written."""
    with opened(tmp_path) as journal:
        event = closed(BTC, 0)
        with pytest.raises(ValueError, match="shorter"):
            journal.commit([event, closed(BTC, 1)], [decided(event)], [0])
        assert rows(tmp_path, "SELECT count(*) FROM bars") == [(0,)]
        assert commit(journal, (BTC, 0, Side.LONG))[0].position == 1


def fill_up(journal: Journal) -> None:
    """Let the file grow no further, as on a full disk."""
    db = journal._db.connection
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages + 1}")


def test_a_full_disk_is_an_error_and_nothing_is_shown(tmp_path: Path):
    """When the file cannot grow, a commit fails as temporary trouble, and nothing of it is shown.

    What was there is whole after a restart with room again.
    """
    with opened(tmp_path) as journal:
        before = commit(journal, (BTC, 0, Side.LONG))
        fill_up(journal)
        slots = [(BTC, hour, Side.LONG) for hour in range(1, 400)]
        with pytest.raises(
            JournalUnavailableError, match=r"candled\.journal.*full.*check the disk"
        ):
            commit(journal, *slots)
        assert journal.after(0, 999) == before
        assert journal.last_position == 1
    with opened(tmp_path) as journal:
        assert journal.after(0, 999) == before
        assert [e.seq for e in commit(journal, *slots)] == list(range(2, 401))


def test_a_really_full_disk_keeps_what_was_committed(tmp_path: Path):
    """On a real file system without room, the journal holds exactly the commits that succeeded."""
    with tiny_disk(tmp_path / "disk") as disk:
        kept: list[Entry] = []
        with opened(disk) as journal, suppress(JournalUnavailableError):
            for hour in range(5_000):
                kept += commit(journal, (BTC, hour, Side.LONG), (ETH, hour, Side.FLAT))
        assert len(kept) < 10_000
        assert journal.last_position == len(kept) >= 5
        with opened(disk) as journal:
            assert journal.after(0, 99_999) == kept
            assert len(journal.bars(BTC, 99_999)) == len(kept) // 2


# --- marks and waiting


def test_a_checkpoint_moves_everything_into_the_file(tmp_path: Path):
    """After a checkpoint, made beside an open writer, the file alone holds what was committed."""
    with opened(tmp_path) as journal:
        for hour in range(50):
            commit(journal, (BTC, hour, Side.LONG))
        alone = tmp_path / "alone"
        alone.mkdir()
        (alone / FILE).write_bytes((tmp_path / FILE).read_bytes())
        before = rows(alone, "SELECT name FROM sqlite_schema WHERE name = 'decisions'")
        thread = threading.Thread(target=journal.checkpoint)
        thread.start()
        commit(journal, (ETH, 0, Side.SHORT))
        thread.join()
        journal.checkpoint()
        (alone / FILE).write_bytes((tmp_path / FILE).read_bytes())
        assert before == []
        assert rows(alone, "SELECT count(*) FROM decisions") == [(51,)]


@pytest.mark.parametrize("after", [0, 1, 3, 4, 9])
def test_signals_are_found_by_their_numbers(tmp_path: Path, after: int):
    """Whatever else is in the journal, a stream's signals above a number come in order."""
    sides = [Side.LONG, Side.FLAT, Side.SHORT, Side.NO_DECISION, Side.LONG, Side.LONG]
    with opened(tmp_path) as journal:
        assert journal.signals_kept(BTC) is None
        for hour, side in enumerate(sides):
            commit(journal, (BTC, hour, side), (ETH, hour, Side.LONG))
        wanted = [e for e in journal.after(0, 99) if e.decision.stream == BTC and e.seq]
        assert journal.signals(BTC, after, 2) == wanted[after : after + 2]
        assert journal.signals_kept(BTC) == (1, 4)
        assert journal.signals_kept(Stream("x", "y", "1m")) is None


def test_marks_survive(tmp_path: Path):
    """How far each sink has delivered is known after a restart, each for itself; 0 at first."""
    with opened(tmp_path) as journal:
        commit(journal, (BTC, 0, Side.LONG), (BTC, 1, Side.LONG))
        journal.mark("mqtt", 1)
        journal.mark("mqtt", 2)
        journal.mark("log", 1)
        assert (journal.position("mqtt"), journal.position("log")) == (2, 1)
    with opened(tmp_path) as journal:
        assert (journal.position("mqtt"), journal.position("log")) == (2, 1)
        assert journal.position("new") == 0
        commit(journal, (BTC, 2, Side.LONG))
        assert [e.position for e in journal.after(journal.position("log"), 9)] == [2, 3]


def test_the_epoch_belongs_to_the_file(tmp_path: Path):
    """The epoch stays through restarts and is another one when the journal is a new one."""
    epochs = []
    for folder in ("a", "a", "b"):
        with opened(tmp_path / folder) as journal:
            epochs.append(journal.epoch)
    assert epochs[0] == epochs[1] != epochs[2]
    assert len(epochs[0]) == 16


def test_waiters_wake_up(tmp_path: Path):
    """`wait` wakes up for a later entry, `delivered` when every sink is through; neither before."""

    async def body() -> None:
        with opened(tmp_path) as journal:
            first, second = (asyncio.create_task(journal.wait(n)) for n in (0, 1))
            await asyncio.sleep(0)
            commit(journal, (BTC, 0, Side.LONG))
            await asyncio.wait_for(first, 5)
            assert not second.done()
            done = asyncio.create_task(journal.delivered(["mqtt", "log"]))
            journal.mark("mqtt", 1)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not done.done()
            journal.mark("log", 1)
            await asyncio.wait_for(done, 5)
            commit(journal, (BTC, 1, Side.FLAT))
            await asyncio.wait_for(second, 5)
            await asyncio.wait_for(journal.wait(0), 5)
            await asyncio.wait_for(journal.delivered([]), 5)

    asyncio.run(body())


# --- one process, sound files


def test_a_second_daemon_is_refused(tmp_path: Path):
    """While one process has the journal, another one is told so; afterwards it may have it."""
    with opened(tmp_path), pytest.raises(JournalLockedError, match="another candled uses"):
        open_journal(tmp_path)
    with opened(tmp_path) as journal:
        commit(journal, (BTC, 0, Side.LONG))


@pytest.mark.parametrize("kind", ["folder", "file", "dots"])
def test_a_second_daemon_is_refused_by_whatever_name_it_knows_the_state(tmp_path: Path, kind: str):
    """A link to the folder, one to the file, another spelling: it is one journal with one lock.

    Who is refused is told which process has it.
    """
    state, other = tmp_path / "state", tmp_path / "other"
    with opened(state) as journal:
        if kind == "folder":
            other.symlink_to(state)
        elif kind == "file":
            other.mkdir()
            (other / FILE).symlink_to(state / FILE)
        else:
            (state / "below").mkdir()
            other = state / "below" / ".."
        for _ in range(2):
            with pytest.raises(JournalLockedError, match=rf"\(process {os.getpid()}\)"):
                open_journal(other)
        made = commit(journal, (BTC, 0, Side.LONG))
    with opened(other) as journal:
        assert journal.after(0, 9) == made


def test_the_lock_of_a_process_that_was_killed_is_nobodys(tmp_path: Path):
    """What kill -9 leaves behind, number and all, keeps nobody out."""
    run_and_kill(tmp_path, 1)
    assert (tmp_path / "lock").read_text().strip().isdigit()
    with opened(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_the_lock_is_let_go_when_opening_fails(tmp_path: Path):
    """A journal that could not be opened does not stay locked."""
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    for _ in range(2):
        with pytest.raises(JournalError) as caught:
            open_journal(tmp_path)
        assert not isinstance(caught.value, JournalLockedError)


def refused(folder: Path) -> str:
    """Return why the journal is refused; it must leave every file as it was."""
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "lock"}
    with pytest.raises(JournalError) as caught:
        open_journal(folder)
    after = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "lock"}
    assert after == before
    assert str(folder / FILE) in str(caught.value)
    assert not isinstance(caught.value, JournalUnavailableError)
    return str(caught.value)


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path):
    """A file that SQLite cannot read is refused with its name and the mend, and not touched."""
    (tmp_path / FILE).write_bytes(os.urandom(8192))
    assert "file is not a database; move it away to begin a new journal" in refused(tmp_path)


@pytest.mark.parametrize(
    "sql",
    ["DROP TABLE meta", "DROP TABLE marks", "DELETE FROM meta", "UPDATE decisions SET entry = '{'"],
)
def test_a_journal_with_parts_missing_is_refused(tmp_path: Path, sql: str):
    """A journal whose tables or rows do not make sense is refused and left as it was."""
    with opened(tmp_path) as journal:
        commit(journal, (BTC, 0, Side.LONG))
    db = sqlite3.connect(tmp_path / FILE)
    db.executescript(f"PRAGMA journal_mode = DELETE; {sql};")
    db.close()
    with pytest.raises(JournalError, match="move it away to begin a new journal"):
        open_journal(tmp_path)
    with pytest.raises(JournalError):
        open_journal(tmp_path)


def test_a_journal_of_another_version_is_left_alone(tmp_path: Path):
    """A journal that a later candled has written is refused and not touched."""
    db = sqlite3.connect(tmp_path / FILE)
    db.executescript("CREATE TABLE other (x); PRAGMA user_version = 7;")
    db.close()
    assert "journal version 7, this candled reads 1 to 4" in refused(tmp_path)


def test_a_commit_waits_for_the_disk(tmp_path: Path):
    """SQLite itself syncs each transaction, so that a machine that loses its power keeps it."""
    full = 2  # https://sqlite.org/pragma.html#pragma_synchronous
    with opened(tmp_path) as journal:
        assert journal._db.rows("PRAGMA synchronous") == [(full,)]
        assert journal._db.rows("PRAGMA journal_mode") == [("wal",)]


VERSION_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL, symbol TEXT NOT NULL, interval TEXT NOT NULL,
    from_listing INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    UNIQUE (exchange, symbol, interval)
) STRICT;
CREATE TABLE bars (
    stream INTEGER NOT NULL REFERENCES streams (id),
    open_time INTEGER NOT NULL,
    open REAL NOT NULL, high REAL NOT NULL, low REAL NOT NULL, close REAL NOT NULL,
    volume REAL, close_time INTEGER NOT NULL, quote_volume REAL, trades REAL,
    taker_buy_base REAL, taker_buy_quote REAL,
    source TEXT NOT NULL,
    PRIMARY KEY (stream, open_time),
    CONSTRAINT finite_prices CHECK (max(abs(open), abs(high), abs(low), abs(close)) < 9e999)
) STRICT, WITHOUT ROWID;
CREATE TABLE decisions (
    position INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES streams (id),
    bar_open INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    id TEXT NOT NULL,
    side TEXT NOT NULL,
    seq INTEGER,
    entry TEXT NOT NULL,
    UNIQUE (stream, bar_open, revision)
) STRICT;
CREATE TABLE marks (sink TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT;
PRAGMA user_version = 1;
"""
TABLES = ("meta", "streams", "bars", "decisions", "marks")


def first_version(folder: Path) -> list[Entry]:
    """Make a journal as the first version did, with entries that know no corrections."""
    with opened(folder / "now") as journal:
        made = commit(journal, (BTC, 0, Side.LONG), (ETH, 0, Side.FLAT), (BTC, 1, Side.SHORT))
        journal.mark("mqtt", 2)
    with sqlite3.connect(folder / FILE) as db:
        db.executescript(VERSION_1)
        db.execute("ATTACH ? AS now", (str(folder / "now" / FILE),))
        for table in TABLES:
            names = [name for _, name, *_ in db.execute(f"PRAGMA main.table_info({table})")]
            columns = ", ".join(names)
            db.execute(f"INSERT INTO {table} SELECT {columns} FROM now.{table}")  # noqa: S608
        db.execute("UPDATE decisions SET entry = json_remove(entry, '$.decision.supersedes')")
    db.close()
    return made


def test_a_journal_of_the_first_version_is_brought_up_to_date(tmp_path: Path):
    """All that was in it is there, it goes on where it was, and its bars can be revised."""
    made = first_version(tmp_path)
    epoch = rows(tmp_path, "SELECT value FROM meta")
    with opened(tmp_path) as journal:
        assert journal.after(0, 99) == made
        assert [(journal.epoch,)] == epoch
        assert journal.position("mqtt") == 2
        told = BarRevised(BTC, bar(0, close=99.9), 5, 6)
        affected = journal.affected(told, 1)
        assert affected is not None
        assert journal.revise(told, affected.bar, [], 7) == []
        assert commit(journal, (BTC, 2, Side.LONG))[0].seq == 3
    assert rows(tmp_path, "PRAGMA user_version") == [(4,)]
    assert rows(tmp_path, "SELECT revision, close, revised_at FROM revisions") == [
        (0, bar(0).close, 6)
    ]
    with opened(tmp_path / "now") as journal, opened(tmp_path / "new"):
        assert journal.after(0, 99) == made
    schema = "SELECT type, name, tbl_name FROM sqlite_schema ORDER BY 1, 2"
    assert rows(tmp_path, schema) == rows(tmp_path / "new", schema)


def test_an_old_journal_that_is_damaged_is_not_changed(tmp_path: Path):
    """Where the new table cannot be made the version stays what it was."""
    first_version(tmp_path)
    db = sqlite3.connect(tmp_path / FILE)
    db.executescript("CREATE TABLE revisions (x);")
    db.close()
    with pytest.raises(JournalError, match="table revisions already exists"):
        open_journal(tmp_path)
    assert rows(tmp_path, "PRAGMA user_version") == [(1,)]


def test_a_damaged_page_is_an_error_when_it_is_read(tmp_path: Path):
    """Damage inside the file is a journal's error with its name, not the library's."""
    with opened(tmp_path) as journal:
        commit(journal, *((BTC, hour, Side.LONG) for hour in range(200)))
    content = bytearray((tmp_path / FILE).read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 64] = b"\xff" * 64
    (tmp_path / FILE).write_bytes(bytes(content))
    with pytest.raises(JournalError, match=r"candled\.journal: .*malformed; move it away"):
        open_journal(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    """A file in the place of the state folder is an error that names it."""
    (tmp_path / "state").write_text("a file")
    with pytest.raises(JournalError, match=r"state: cannot be used for state: .*name a folder"):
        open_journal(tmp_path / "state")
    with pytest.raises(JournalError, match="below: cannot be used for state: Not a directory"):
        open_journal(tmp_path / "state" / "below")


def test_a_disk_that_will_not_be_opened_is_no_reason_to_throw_the_journal_away(tmp_path: Path):
    """A file that cannot be opened is temporary trouble, and nobody is told to move it away."""
    (tmp_path / FILE).mkdir()
    with pytest.raises(JournalUnavailableError) as caught:
        open_journal(tmp_path)
    assert "move it away" not in str(caught.value)


# --- kill -9

CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_journal import BTC, ETH, Side, commit, open_journal
journal = open_journal(Path(sys.argv[1]))
hour = len(journal.bars(BTC, 10**9))
sides = list(Side)
while True:
    entries = commit(journal, *(
        (stream, hour + n, sides[(hour + n) % 4]) for n in range(5) for stream in (BTC, ETH)
    ))
    hour += 5
    print(entries[-1].position, flush=True)
"""


def run_and_kill(folder: Path, commits: int) -> int:
    """Let a process commit, kill it at some moment after `commits`; return what it last said."""
    command = [sys.executable, "-c", CHILD, str(folder), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            said = [int(child.stdout.readline()) for _ in range(commits)]
            time.sleep(commits % 7 / 3000)  # not a wait: the kill falls anywhere in a commit
        finally:
            child.send_signal(signal.SIGKILL)
        said += [int(line) for line in child.stdout.read().split()]
        child.wait(10)
    return said[-1]


def test_kill_leaves_bars_and_decisions_in_step(tmp_path: Path):
    """However a process dies, every decision has its bar, every bar its decision, no number a hole.

    And what it said was committed is there.
    """
    for commits in (1, 3, 5, 11):
        said = run_and_kill(tmp_path, commits)
        with opened(tmp_path) as journal:
            entries = journal.after(0, 10**9)
            assert journal.last_position >= said
        check_numbers(entries)
        assert len(entries) % 10 == 0
        decisions = "SELECT stream, bar_open FROM decisions ORDER BY 1, 2"
        assert rows(tmp_path, decisions) == rows(
            tmp_path, "SELECT stream, open_time FROM bars ORDER BY 1, 2"
        )
        last_seqs = rows(tmp_path, "SELECT symbol, last_seq FROM streams ORDER BY symbol")
        assert last_seqs == [
            (symbol, max(e.last_seq for e in entries if e.decision.stream.symbol == symbol))
            for symbol in ("BTCUSDT", "ETHUSDT")
        ]
