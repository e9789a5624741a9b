"""What a disk does to a journal is noticed, or changes nothing.

Real journals with bits, blocks and pages changed anywhere in the file, or cut off, are opened and
read as the service does. Each must be refused by name, or say exactly what the sound one says.
SQLite itself notices few of these: of a turned bit, one in ten.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from candled.core.bar import Bars, Stream
from candled.core.correction import correction
from candled.core.decision import BarRevised, Side
from candled.errors import Exit, explain
from candled.journal import Journal, JournalError, open_journal, open_reader
from candled.journal.holes import contradiction
from fakes import Decisions
from journals import BTC, ETH, FILE, bar, closed, commit, decided, opened

NEED = 60  # bars of a window, some of which are history
PAGE = 4096
FIRST_SEED = 60  # those that follow were seen to hide rows without a word


def fill(journal: Journal) -> None:
    """Store histories, decisions of all kinds, corrections and marks."""
    chance = random.Random(3)
    for stream in (BTC, ETH):
        history = Bars.of([bar(hour) for hour in range(40)])
        journal.store_history(stream, history, from_listing=stream == BTC)
    for hour in range(40, 90):
        kinds = [chance.choice(list(Side)) for _ in range(2)]
        commit(journal, (BTC, hour, kinds[0]), (ETH, hour, kinds[1]))
    for hour in (80, 85):
        told = BarRevised(BTC, bar(hour, close=55.5 + hour), 5, 6)
        affected = journal.affected(told, 3)
        assert affected is not None
        last = affected.entries[affected.bar.open_time]
        other = Side.SHORT if last.decision.side is Side.LONG else Side.LONG
        made = correction(decided(closed(BTC, hour), other), last.decision, last.seq)
        journal.revise(told, affected.bar, [made] if made else [], 7)
    journal.mark("mqtt", 60)
    journal.mark("log", 50)


def told_by(folder: Path) -> tuple[Any, ...]:
    """Return all that the service, its sinks and a replay would read."""
    with opened(folder, tail=1) as journal:
        return (
            journal.epoch,
            [journal.after(journal.position(sink), 10_000) for sink in ("mqtt", "log")],
            journal.latest(),
            repr([list(window(journal, stream)) for stream in (BTC, ETH)]),
            [journal.from_listing(stream) for stream in (BTC, ETH)],
            [journal.signals(stream, 0, 10_000) for stream in (BTC, ETH)],
        )


def window(journal: Journal, stream: Stream) -> Bars:
    """Read bars as the service does at its start."""
    bars = journal.bars(stream, NEED)
    journal.check_window(stream, bars, NEED)
    return bars


def bit(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def block(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content) - 512)
    content[at : at + 512] = chance.randbytes(512)


def torn(content: bytearray, chance: random.Random) -> None:
    """Half of a page is that of another one."""
    to, source = (chance.randrange(1, len(content) // PAGE) * PAGE for _ in range(2))
    content[to : to + PAGE // 2] = content[source : source + PAGE // 2]


def zeroed(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content) // PAGE) * PAGE
    content[at : at + PAGE] = bytes(PAGE)


def cut(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a journal that was closed."""
    folder = tmp_path_factory.mktemp("sound")
    with opened(folder) as journal:
        fill(journal)
    return folder


def noticed_in(folder: Path, wanted: tuple[Any, ...]) -> bool:
    """Return whether damage was noticed, and with its file; unnoticed it must be harmless."""
    try:
        told = told_by(folder)
    except JournalError as error:
        code = (explain(error) or ("", None))[1]
        return str(folder) in str(error) and code in (Exit.INVARIANT, Exit.TEMPORARY)
    assert told == wanted, folder
    return False


@pytest.mark.parametrize(
    ("spoil", "tries"), [(bit, 150), (block, 60), (torn, 60), (zeroed, 40), (cut, 40)]
)
def test_damage_anywhere_in_the_file_is_noticed_or_harmless(
    sound: Path, tmp_path: Path, spoil: Callable[[bytearray, random.Random], None], tries: int
):
    """No decision, bar, mark or number is ever another one, and none is missing."""
    shutil.copytree(sound, tmp_path / "sound")
    wanted = told_by(tmp_path / "sound")
    noticed = 0
    for number in range(FIRST_SEED, FIRST_SEED + tries):
        folder = tmp_path / str(number)
        shutil.copytree(sound, folder)
        content = bytearray((folder / FILE).read_bytes())
        spoil(content, random.Random(number))
        (folder / FILE).write_bytes(content)
        noticed += noticed_in(folder, wanted)
        shutil.rmtree(folder)
    assert noticed > tries / 3


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder as kill -9 leaves it: the newest is in the write-ahead log alone."""
    folder, copy = tmp_path_factory.mktemp("living"), tmp_path_factory.mktemp("killed")
    with opened(folder) as journal:
        fill(journal)
        journal.checkpoint()
        for hour in range(90, 110):
            commit(journal, (BTC, hour, Side.LONG), (ETH, hour, Side.FLAT))
        for file in folder.iterdir():
            if not file.name.endswith("-shm"):
                shutil.copy(file, copy / file.name)
    return copy


@pytest.mark.parametrize("spoil", [bit, block, cut, None])
def test_a_log_that_is_damaged_or_gone_begins_a_new_epoch(
    killed: Path, tmp_path: Path, spoil: Callable[[bytearray, random.Random], None] | None
):
    """Then the newest commits are gone, and SQLite is silent about it: consumers are told.

    What is left is what it was up to some commit, and how much is gone can be asked for. With
    nothing gone the epoch stays.
    """
    shutil.copytree(killed, tmp_path / "sound")
    with opened(tmp_path / "sound") as journal:
        epoch, entries = journal.epoch, journal.after(0, 10_000)
        assert journal.lost == 0
    lost = 0
    for number in range(20 if spoil else 1):
        folder = tmp_path / str(number)
        shutil.copytree(killed, folder)
        log = folder / f"{FILE}-wal"
        content = bytearray(log.read_bytes())
        if spoil:
            spoil(content, random.Random(number))
            log.write_bytes(content)
        else:
            log.unlink()
        lost += reopened(folder, epoch, entries)
    assert lost > 0


def reopened(folder: Path, epoch: str, entries: list) -> int:
    """Open a journal twice; return how many decisions were lost."""
    with opened(folder) as journal:
        left, lost = journal.after(0, 10_000), journal.lost
        assert left == entries[: len(left)]
        assert len(left) + lost == len(entries)
        is_new = journal.epoch
        assert (is_new != epoch) == (lost > 0)
        seqs = [e.seq for e in journal.signals(BTC, 0, 10_000)]
        assert seqs == list(range(1, len(seqs) + 1))
    with opened(folder) as journal:
        assert (journal.epoch, journal.lost) == (is_new, 0)
    return lost


def test_a_shared_memory_that_is_gone_is_harmless(killed: Path, tmp_path: Path):
    """It is made anew from the log; so is one that is nonsense."""
    for number, content in enumerate([None, b"", b"\xff" * 32_768]):
        folder = tmp_path / str(number)
        shutil.copytree(killed, folder)
        if content is not None:
            (folder / f"{FILE}-shm").write_bytes(content)
        with opened(folder) as journal:
            assert journal.lost == 0
            assert len(journal.after(0, 10_000)) == journal.last_position > 90


@pytest.mark.parametrize("note", [b"", b"nonsense", b"\xff" * 99, b"0 9999", None])
def test_a_note_of_progress_that_is_nonsense_is_harmless(sound: Path, tmp_path: Path, note):
    """It is no reason to begin a new epoch, and is written anew."""
    folder = tmp_path / "state"
    shutil.copytree(sound, folder)
    before = (folder / "progress").read_bytes()
    (folder / "progress").unlink()
    if note is not None:
        (folder / "progress").write_bytes(note)
    with opened(folder) as journal:
        assert journal.lost == 0
    assert (folder / "progress").read_bytes()[: len(before)] == before


def test_a_journal_that_was_put_back_from_a_copy_begins_a_new_epoch(tmp_path: Path):
    """An older copy of the file knows less than was published."""
    with opened(tmp_path) as journal:
        fill(journal)
    copy = (tmp_path / FILE).read_bytes()
    with opened(tmp_path) as journal:
        epoch = journal.epoch
        commit(journal, (BTC, 90, Side.LONG))
    (tmp_path / FILE).write_bytes(copy)
    with opened(tmp_path) as journal:
        assert journal.lost == 1
        assert journal.epoch != epoch


def test_a_reader_notices_what_the_daemon_would(sound: Path, tmp_path: Path):
    """A bar or decision that the disk changed is no finding of `verify`, but an error."""
    folder = tmp_path / "state"
    shutil.copytree(sound, folder)
    content = (folder / FILE).read_bytes()
    at = content.index(b'"raw_regime":')
    (folder / FILE).write_bytes(content[: at + 13] + b"0" + content[at + 14 :])
    why = "not as it was written: its checksum differs; move it"
    with open_reader(folder) as reader, pytest.raises(JournalError, match=why):
        _ = [reader.decisions(stream) for stream in (BTC, ETH)]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE marks SET position = position + 1 WHERE sink = 'mqtt'",
        "UPDATE marks SET sink = 'mqtu' WHERE sink = 'mqtt'",
        "UPDATE meta SET value = 'x' || substr(value, 2) WHERE key = 'epoch'",
        "UPDATE meta SET key = 'epoci' WHERE key = 'epoch'",
        "UPDATE streams SET from_listing = 1 - from_listing",
        "UPDATE streams SET last_seq = last_seq + 1",
        "UPDATE streams SET symbol = 'BTCUSDU' WHERE symbol = 'BTCUSDT'",
        "UPDATE bars SET close = close + 1e-9 WHERE open_time = (SELECT max(open_time) FROM bars)",
        "UPDATE bars SET trades = NULL WHERE open_time = (SELECT max(open_time) FROM bars)",
        "UPDATE bars SET sum = NULL WHERE open_time = (SELECT max(open_time) FROM bars)",
        "UPDATE decisions SET seq = 99 WHERE position = 90",
        "UPDATE decisions SET sum = NULL WHERE position = 90",
        "UPDATE decisions SET entry = replace(entry, '\"raw_regime\":2', '\"raw_regime\":0')",
        "DELETE FROM decisions WHERE position = 90",
        "DELETE FROM decisions WHERE stream = 1 AND seq = 5",
        "DELETE FROM bars WHERE open_time = (SELECT max(open_time) FROM bars WHERE stream = 1)",
    ],
)
def test_no_cell_of_any_table_can_be_another_one(sound: Path, tmp_path: Path, change: str):
    """Whatever is changed behind the daemon's back is refused when it is read."""
    folder = tmp_path / "state"
    shutil.copytree(sound, folder)
    db = sqlite3.connect(folder / FILE)
    with db:
        assert db.execute(change).rowcount > 0
    db.close()
    with pytest.raises(JournalError, match=r"candled\.journal: .*; move it away to begin"):
        told_by(folder)


def test_the_newest_entries_must_fit_each_other():
    """A newest entry that is not of the newest bar must correct; the newest number is its own."""
    making = Decisions()
    first, second, third = making.some(3)
    turned = making.correct(first, Side.SHORT)
    assert contradiction(third, third, 3) is None
    assert contradiction(turned, third, 4) is None
    for newest, of_newest_bar, last_seq in [
        (third, third, 2), (third, third, 4), (third, second, 3), (second, third, 2),
        (turned, third, 3), (turned, first, 4),
    ]:  # fmt: skip
        assert contradiction(newest, of_newest_bar, last_seq)


@pytest.mark.parametrize("which", ["max(position)", "min(position)"])
def test_a_newest_signal_that_is_gone_is_missed_when_the_journal_is_opened(
    tmp_path: Path, which: str
):
    """Though everything is delivered and nobody would read it: its number must not come again."""
    with opened(tmp_path) as journal:
        commit(journal, (ETH, 0, Side.LONG), (BTC, 0, Side.FLAT))
        if which.startswith("max"):
            commit(journal, (ETH, 1, Side.LONG), (BTC, 1, Side.FLAT))
        journal.mark("mqtt", journal.last_position)
    signal = f"SELECT {which} FROM decisions WHERE seq"  # noqa: S608 - ours
    db = sqlite3.connect(tmp_path / FILE)
    with db:
        db.execute(f"DELETE FROM decisions WHERE position = ({signal})")  # noqa: S608 - ours
    db.close()
    with pytest.raises(JournalError, match=r"binance/ETHUSDT/1h: its newest .*; move it away"):
        open_journal(tmp_path)
