"""A reader sees what a journal holds while its daemon goes on, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import journals
from candled.core.bar import HOUR, Stream
from candled.core.correction import correction
from candled.core.decision import BarClosed, BarRevised, Decision, Side, Source
from candled.core.engine import Engine
from candled.errors import Exit, explain
from candled.journal import (
    JournalError,
    JournalUnavailableError,
    Refused,
    open_journal,
    open_reader,
)
from candles import candles, differing
from journals import opened
from models import lane

BTC = Stream("binance", "BTCUSDT", "1h")
ETH = Stream("binance", "ETHUSDT", "1h")
BARS = candles(60, seed=2)
START = int(BARS.open_time[0])
FILE = "candled.journal"


def decided(stream: Stream, first: int = 45) -> tuple[list[BarClosed], list[Decision]]:
    engine = Engine([lane(stream)])
    engine.warm(stream, BARS[:first], from_listing=True)
    events = [BarClosed(stream, bar, Source.WS, 1, 1) for bar in BARS[first:]]
    return events, engine.decide(events)


def fill(journal, stream: Stream = BTC) -> list[Decision]:
    """Store a history and decisions as the service does."""
    journal.store_history(stream, BARS[:45], from_listing=True)
    events, decisions = decided(stream)
    journal.commit(events, decisions, [0] * len(events))
    return decisions


def files(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder; SQLite's shared memory is not of the state."""
    return {
        file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith("-shm")
    }


def test_a_reader_sees_what_a_running_daemon_has_committed(tmp_path: Path):
    """Streams, bars and decisions are there to the bit; the daemon commits on, nothing waits."""
    journal = open_journal(tmp_path)
    try:
        decisions = fill(journal)
        before = files(tmp_path)
        with open_reader(tmp_path) as reader:
            assert reader.streams() == [BTC]
            assert reader.decisions(BTC) == decisions
            assert reader.from_listing(BTC)
            stored = reader.bars(BTC)
            assert differing(stored.close, BARS.close) == 0
            assert stored.open_time.tolist() == BARS.open_time.tolist()
            assert files(tmp_path) == before
            fill(journal, ETH)
            assert reader.streams() == [BTC, ETH]
        assert journal.last_position == 2 * len(decisions)
    finally:
        journal.close()


def test_a_reader_of_a_stopped_daemon_leaves_no_file(tmp_path: Path):
    """Beside a journal that nobody uses, no file appears, not even for a moment."""
    journal = open_journal(tmp_path)
    decisions = fill(journal)
    journal.close()
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    with open_reader(tmp_path) as reader:
        assert reader.decisions(BTC) == decisions
        assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before
    open_journal(tmp_path).close()  # the lock was never taken


def test_a_reader_sees_what_was_given_up(tmp_path: Path):
    """What a sink gave up is there with its reason and time, each once, for the last reason."""
    journal = open_journal(tmp_path, wall_ms=lambda: 17)
    try:
        fill(journal)
        journal.refuse("webhook:b", 2, "HTTP 400: no such pair")
        journal.refuse("webhook:a", 3, "HTTP 500")
        journal.refuse("webhook:a", 3, "not within its time")
        with open_reader(tmp_path) as reader:
            assert reader.refused() == [
                Refused("webhook:a", 3, "not within its time", 17),
                Refused("webhook:b", 2, "HTTP 400: no such pair", 17),
            ]
    finally:
        journal.close()


def test_a_reader_cannot_write(tmp_path: Path):
    """Whatever is asked of it, the file stays as it is."""
    journal = open_journal(tmp_path)
    try:
        fill(journal)
        with (
            open_reader(tmp_path) as reader,
            pytest.raises(JournalUnavailableError, match="readonly"),
        ):
            reader.rows("DELETE FROM decisions")
        assert journal.after(0, 1)
    finally:
        journal.close()


def test_a_daemon_that_starts_meanwhile_is_noticed(tmp_path: Path):
    """What was opened as a file at rest is not trusted once a daemon uses it."""
    open_journal(tmp_path).close()
    with open_reader(tmp_path) as reader:
        journal = open_journal(tmp_path)
        try:
            fill(journal)
            with pytest.raises(JournalUnavailableError, match="a daemon began to use it") as told:
                reader.streams()
        finally:
            journal.close()
    assert explain(told.value) == (str(told.value), Exit.TEMPORARY)


def test_a_folder_without_a_journal_is_an_error_and_stays_empty(tmp_path: Path):
    """Nothing is made where nothing is; the error names the file and the mend."""
    with pytest.raises(FileNotFoundError, match=r"candled\.journal: there is no journal") as told:
        open_reader(tmp_path)
    assert explain(told.value) == (str(told.value), Exit.DATA)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_of_another_version_is_refused(tmp_path: Path):
    """As the daemon would, before anything is read from it."""
    db = sqlite3.connect(tmp_path / FILE)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(JournalError, match="journal version 99, this candled reads 1 to 4"):
        open_reader(tmp_path)


def test_a_journal_of_the_first_version_can_be_read(tmp_path: Path):
    """A reader changes nothing, and what it reads was there from the first."""
    journal = open_journal(tmp_path)
    decisions = fill(journal)
    journal.close()
    db = sqlite3.connect(tmp_path / FILE)
    db.executescript("DROP TABLE revisions; PRAGMA user_version = 1;")
    db.close()
    with open_reader(tmp_path) as reader:
        assert reader.decisions(BTC) == decisions
        assert reader.rows("PRAGMA user_version") == [(1,)]


def test_damage_is_told_with_the_file(tmp_path: Path):
    """A file that is no database, and an entry that is no decision, are errors that name it."""
    (tmp_path / FILE).write_bytes(b"nothing" * 999)
    with pytest.raises(JournalError, match="file is not a database"):
        open_reader(tmp_path)
    (tmp_path / FILE).unlink()
    journal = open_journal(tmp_path)
    fill(journal)
    journal.close()
    db = sqlite3.connect(tmp_path / FILE)
    db.execute("UPDATE decisions SET entry = '{}'")
    db.commit()
    db.close()
    for extra in tmp_path.glob("*-wal"):
        extra.unlink()
    with open_reader(tmp_path) as reader, pytest.raises(JournalError, match="move it away"):
        reader.decisions(BTC)


def test_an_unknown_stream_has_nothing(tmp_path: Path):
    """No bars and no decisions; no error."""
    open_journal(tmp_path).close()
    with open_reader(tmp_path) as reader:
        assert reader.decisions(ETH) == []
        assert len(reader.bars(ETH)) == 0
        assert not reader.from_listing(ETH)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 80), st.none() | st.integers(-2, 62))
def test_the_past_is_the_newest_of_what_is_there(filled: Path, count: int, back: int | None):
    """At most so many bars, from some moment on, and all that was decided about these."""
    since = None if back is None else START + back * HOUR
    with open_reader(filled) as reader:
        bars, entries = reader.past(BTC, count, since)
        every, decisions = reader.bars(BTC), reader.decisions(BTC)
    kept = [at for at in every.open_time.tolist()[-count:] if since is None or at >= since]
    assert bars.open_time.tolist() == kept
    assert differing(bars.close, every.close[len(every) - len(bars) :] if kept else bars.close) == 0
    newest = {entry.decision.bar_open: entry.decision for entry in entries}
    assert list(newest.values()) == [d for d in decisions if d.bar_open in set(kept)]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a stopped daemon's journal: a history, decisions of all kinds, and corrections."""
    folder = tmp_path_factory.mktemp("filled")
    with opened(folder) as journal:
        journal.store_history(BTC, BARS[:20], from_listing=True)
        for hour in range(20, 60):
            side = (Side.FLAT, Side.LONG, Side.NO_DECISION, Side.SHORT)[hour % 4]
            event = BarClosed(BTC, BARS.row(hour), Source.WS, 1, 1)
            journal.commit([event], [journals.decided(event, side)], [0])
        for hour in (59, 57, 40):
            bar = dataclasses.replace(BARS.row(hour), close=BARS.row(hour).open)
            event = BarRevised(BTC, bar, 1, 1)
            affected = journal.affected(event, 1)
            last = affected.entries[bar.open_time]
            again = dataclasses.replace(last.decision, side=Side.FLAT, price=bar.close)
            corrected = correction(again, last.decision, last.seq)
            journal.revise(event, affected.bar, [corrected] if corrected else [], 0)
    return folder


def test_the_newest_signal_comes_with_what_became_of_it(filled: Path):
    """The last one that was numbered, and the newest decision about its bar."""
    with open_reader(filled) as reader:
        signal, verdict = reader.newest_signal(BTC)
        entries = reader.past(BTC, 80, None)[1]
        assert signal == max((e for e in entries if e.seq), key=lambda e: e.seq)
        assert signal.decision.side is Side.SHORT
        assert (verdict.decision.revision, verdict.decision.side) == (1, Side.FLAT)
        assert verdict.decision.bar_open == signal.decision.bar_open
        assert reader.newest_signal(ETH) is None


def test_closes_are_those_of_the_newest_bars(filled: Path):
    """With their times, oldest first; a stream that is not there has none."""
    with open_reader(filled) as reader:
        bars = reader.bars(BTC)
        told = list(zip(bars.open_time.tolist(), bars.close.tolist(), strict=True))
        assert reader.closes(BTC, 7) == told[-7:]
        assert reader.closes(BTC, 99) == told
        assert reader.closes(ETH, 7) == []


def test_a_damaged_row_is_no_past(filled: Path, tmp_path: Path):
    """What is shown is what was written, or an error."""
    for file in filled.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute(
            "UPDATE bars SET close = close + 1 WHERE open_time = ?", (int(BARS.open_time[50]),)
        )
    db.close()
    with open_reader(tmp_path) as reader:
        assert len(reader.past(BTC, 9, None)[0]) == 9
        with pytest.raises(JournalError):
            reader.past(BTC, 10, None)
        with pytest.raises(JournalError):
            reader.closes(BTC, 10)


def test_a_journal_in_the_making_is_not_yet_there(tmp_path: Path):
    """Who looks in the moment between the file and its tables is told to look again."""
    sqlite3.connect(tmp_path / FILE).close()
    (tmp_path / FILE).touch()
    with pytest.raises(JournalUnavailableError, match="about to make it; look again"):
        open_reader(tmp_path)


def test_a_reader_knows_when_its_file_is_no_longer_the_journal(tmp_path: Path):
    """It was moved away and another is in its place, or a daemon began to use it."""
    open_journal(tmp_path / "a").close()
    with open_reader(tmp_path / "a") as reader:
        assert reader.is_current()
        journal = open_journal(tmp_path / "a")
        assert not reader.is_current()  # it stood still when it was opened
        journal.close()
    with open_reader(tmp_path / "a") as reader:
        (tmp_path / "a").rename(tmp_path / "b")
        assert not reader.is_current()
        open_journal(tmp_path / "a").close()
        assert not reader.is_current()


@pytest.mark.parametrize("count", [None, 7])
def test_a_daemon_that_decides_while_it_is_read_is_no_damage(tmp_path: Path, count: int | None):
    """Between two questions of a reader a bar may be stored and decided; each answer is whole."""
    journal = open_journal(tmp_path)
    try:
        journal.store_history(BTC, BARS[:45], from_listing=True)
        events, decisions = decided(BTC)
        waiting = list(zip(events, decisions, strict=True))
        with open_reader(tmp_path) as reader:
            asked = reader.rows

            def rows(sql: str, values=()) -> list[tuple]:
                found = asked(sql, values)
                if waiting:
                    event, decision = waiting.pop(0)
                    journal.commit([event], [decision], [0])
                return found

            reader.rows = rows
            while waiting:
                if count is None:
                    reader.bars(BTC)
                else:
                    reader.closes(BTC, count)
            assert len(reader.bars(BTC)) == len(BARS)
    finally:
        journal.close()
