"""`candled log`: what is sought is found, no more and no less, and what comes is followed."""

from __future__ import annotations

import io
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from candled.core.bar import HOUR, INTERVALS, Interval, Stream, iso
from candled.core.correction import correction
from candled.core.decision import BarRevised, Reason, Side
from candled.journal import Journal, Sought, open_journal, open_reader
from candled.journal.asking import first_open
from candled.operating import log as log_module
from candled.operating.log import LogOptions, finder, follow, matching, run_log
from candled.operating.words import REASONS, duration, line, reason_words
from candled.ports import Entry
from journals import BTC, ETH, START, bar, closed, commit, decided, opened

SIDES = (Side.LONG, Side.SHORT, Side.FLAT, Side.NO_DECISION)
LEAST = """
[log]
decisions = ""
[exchanges.binance]
dialect = "binance-spot"
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "bundle"
"""


def correct(journal: Journal, hour: int, last: Entry, side: Side) -> Entry:
    """Revise the bar of one hour so that its decision alone becomes `side`."""
    told = BarRevised(BTC, bar(hour, close=99.9 + last.position / 100), 5, 6)
    affected = journal.affected(told, 3)
    assert affected is not None
    made = correction(decided(closed(BTC, hour), side), last.decision, last.seq)
    assert made is not None
    (entry,) = journal.revise(told, affected.bar, [made], 7)
    return entry


@contextmanager
def filled(folder: Path) -> Iterator[tuple[Path, list[Entry]]]:
    """Give a configuration and what is in its journal: two streams, a correction, a refusal."""
    (folder / "config.toml").write_text(LEAST)
    with opened(folder / "state") as journal:
        entries = [
            entry
            for hour in range(6)
            for entry in commit(journal, (BTC, hour, SIDES[hour % 4]), (ETH, hour, Side.FLAT))
        ]
        entries.append(correct(journal, 4, entries[8], Side.SHORT))
        journal.refuse("web\x1b[31mhook", entries[0].position, "410 gone\nforged line")
        yield folder / "config.toml", entries


def options(config: Path, **fields: object) -> LogOptions:
    usual = {
        "config": config, "patterns": (), "sought": Sought(), "refused": False, "follow": False,
        "as_json": True,
    }  # fmt: skip
    return LogOptions(**{**usual, **fields})


# --- what is found


@given(st.sampled_from(INTERVALS), st.integers(1_600_000_000_000, 1_900_000_000_000))
def test_bars_are_found_by_when_they_close(interval: Interval, close: int):
    """A bar of any interval opens at the border or later just if it closes at `close` or later."""
    border = first_open(interval, close)
    around = interval.typical_ms
    first = next(
        at for at in range(close - close % 86_400_000 - 40 * 86_400_000, close, 86_400_000)
        if interval.on_grid(at)
    )  # fmt: skip
    at = first
    while interval.end(at) < close - 2 * around and around >= 86_400_000:
        at = interval.end(at)
    if around < 86_400_000:
        at = close - close % around - 2 * around
    for _ in range(5):
        assert (at >= border) == (interval.end(at) >= close), (interval, iso(at), iso(close))
        at = interval.end(at)


_JOURNAL: dict[str, tuple[Path, list[Entry]]] = {}


@pytest.fixture(scope="module")
def journal_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Entry]]:
    """Fill a journal once."""
    folder = tmp_path_factory.mktemp("log")
    with filled(folder) as (_, entries):
        pass
    return folder / "state", entries


@settings(max_examples=150, deadline=None)
@given(
    since=st.none() | st.integers(-2, 9),
    until=st.none() | st.integers(-2, 9),
    sides=st.lists(st.sampled_from(SIDES), min_size=1, unique=True),
    signals=st.booleans(),
    corrections=st.booleans(),
    limit=st.none() | st.integers(1, 20),
    after=st.integers(0, 14),
    patterns=st.lists(
        st.sampled_from(["*", "binance/*", "*/ETHUSDT/*", "x*", "binance/?TCUSDT/1h"]), max_size=2
    ),
)
def test_what_is_sought_is_found_and_nothing_else(journal_folder, **q):
    """Every combination equals filtering all entries one by one, in their order, newest kept."""
    folder, entries = journal_folder
    at = {name: None if q[name] is None else START + q[name] * HOUR for name in ("since", "until")}
    sought = Sought(
        **at, sides=tuple(q["sides"]), signals=q["signals"], corrections=q["corrections"],
        limit=q["limit"],
    )  # fmt: skip
    wanted = [
        e
        for e in entries
        if e.position > q["after"]
        and e.decision.side in q["sides"]
        and (at["since"] is None or e.decision.bar_close >= at["since"])
        and (at["until"] is None or e.decision.bar_close < at["until"])
        and (e.seq is not None or not q["signals"])
        and (e.decision.supersedes is not None or not q["corrections"])
        and (
            not q["patterns"]
            or any(fnmatchcase(e.decision.stream.path, pattern) for pattern in q["patterns"])
        )
    ]
    with open_reader(folder) as reader:
        streams = matching(reader.streams(), tuple(q["patterns"]))
        assert reader.found(sought, streams, q["after"]) == wanted[-(q["limit"] or len(wanted)) :]


def test_marks_and_positions_are_those_of_the_journal(tmp_path: Path):
    """What status tells of a daemon that does not answer is what the daemon itself would say."""
    with filled(tmp_path), open_reader(tmp_path / "state") as reader:
        pass
    with opened(tmp_path / "state") as journal:
        journal.mark("mqtt", 7)
        with open_reader(tmp_path / "state") as reader:
            assert reader.marks() == {"mqtt": 7}
            assert reader.epoch() == journal.epoch
            assert reader.last_position() == journal.last_position == 13
            assert reader.latest() == journal.latest()
            assert reader.newest_opens() == {BTC: START + 5 * HOUR, ETH: START + 5 * HOUR}
            assert reader.entry(9) == journal.after(8, 1)[0]
            assert reader.entry(99) is None


# --- what is printed


def test_json_lines_are_those_of_the_decision_log(tmp_path: Path, capsys):
    """One object a line with every field; of a correction also what it supersedes."""
    with filled(tmp_path) as (config, entries):
        assert run_log(options(config)) == 0
    said = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [one["id"] for one in said] == [entry.decision.id for entry in entries]
    assert said[-1]["supersedes"]["side"] == "long"
    assert said[0]["seq"] == 1
    assert said[0]["epoch"]


def test_people_read_reasons_in_words(tmp_path: Path, capsys):
    """A line has the bar's close, the stream, the side, its number, odds, price and lateness."""
    with filled(tmp_path) as (config, _):
        run_log(options(config, as_json=False, patterns=("*/BTC*",)))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == (
        "2025-01-01T01:00:00Z  binance/BTCUSDT/1h            long       #1  "
        "p(long)=0.250 of 0.6, at 100, Trending Up, gap, ws +15 ms"
    )
    assert "none" in said[3]
    assert "too few bars yet" in said[3]
    assert (
        said[-1].endswith(", corrects long #3, rest -14400000 ms") or "corrects long #3" in said[-1]
    )


def test_every_reason_has_words():
    """A new gate needs them; one without is told by its name."""
    assert set(REASONS) == set(Reason)
    new = StrEnum("new", {"SO": "so_and_so"})
    assert reason_words(new.SO) == "so and so"


def test_what_was_refused_is_told_with_its_decision_and_forges_no_line(tmp_path: Path, capsys):
    """Sink, reason and the decision; escapes and line ends of others are written out."""
    with filled(tmp_path) as (config, entries):
        run_log(options(config, refused=True, as_json=False))
        said = capsys.readouterr().out
        assert len(said.splitlines()) == 2
        assert "\x1b" not in said
        assert r"web\x1b[31mhook" in said
        assert r"410 gone\nforged line" in said
        assert "#1" in said.splitlines()[1]
        run_log(options(config, refused=True))
        (told,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
        assert (told["reason"], told["decision"]["id"]) == (
            "410 gone\nforged line", entries[0].decision.id,
        )  # fmt: skip
        run_log(options(config, refused=True, patterns=("*/ETH*",)))
        run_log(options(config, refused=True, sought=Sought(until=START)))
        out, err = capsys.readouterr()
        assert (out, err) == ("", "nothing was refused\n" * 2)


def test_nothing_found_is_said(tmp_path: Path, capsys):
    """On standard error, so that a pipe gets nothing."""
    with filled(tmp_path) as (config, _):
        run_log(options(config, patterns=("kraken/*",)))
    assert capsys.readouterr() == ("", "no decision is like that\n")


def test_strange_names_style_no_terminal():
    """A symbol with markup or escapes in it is shown as text."""
    odd = Stream("x", "[red]A\x1b[2J", "1h")
    event = closed(odd, 0)
    entry = Entry(1, decided(event, Side.LONG), 1, 1, event.source, 1, 2, event.received_ms)
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=200).print(line(entry))
    assert r"[red]A\x1b[2J" in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()


@pytest.mark.parametrize(
    ("ms", "said"),
    [(0, "+0 ms"), (-31, "-31 ms"), (1_999, "+1999 ms"), (2_000, "+2 s"), (119_999, "+120 s"),
     (180_000, "+3 min"), (7_200_000, "+2.0 h"), (-90 * 3_600_000, "-3.8 d")],
)  # fmt: skip
def test_a_span_of_time_is_told_in_a_fitting_unit(ms: int, said: str):
    """With its sign: early is as much a fault as late."""
    assert duration(ms) == said


# --- following


def test_following_survives_a_restart_and_a_new_journal(tmp_path: Path, monkeypatch):
    """Each decision once: while a daemon writes, after it stopped and started, in a new epoch."""
    monkeypatch.setattr(log_module, "POLL_S", 0.01)
    (tmp_path / "config.toml").write_text(LEAST)
    folder, notes, got = tmp_path / "state", [], []
    first = open_journal(folder)
    epoch = first.epoch
    commit(first, (BTC, 0, Side.LONG))
    asked = options(tmp_path / "config.toml", sought=Sought(signals=True, limit=1))
    more = threading.Semaphore(0)
    stop = threading.Event()

    def listen() -> None:
        for entry, of in follow(folder, 1, epoch, finder(asked), notes.append):
            got.append((of, entry.position, entry.decision.bar_open))
            more.release()
            if stop.is_set():
                return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    commit(first, (BTC, 1, Side.LONG), (BTC, 2, Side.SHORT), (BTC, 3, Side.FLAT))
    assert more.acquire(timeout=10)
    assert more.acquire(timeout=10)
    first.close()
    again = open_journal(folder)
    for hour in (4, 5, 6):
        commit(again, (BTC, hour, Side.LONG))
        assert more.acquire(timeout=10)
    again.close()
    folder.rename(tmp_path / "old")
    new = open_journal(folder)
    stop.set()
    commit(new, (BTC, 0, Side.SHORT))
    assert more.acquire(timeout=10)
    thread.join(10)
    assert not thread.is_alive()
    assert [one[1] for one in got] == [2, 3, 5, 6, 7, 1]
    assert [one[0] for one in got] == [epoch] * 5 + [new.epoch]
    assert notes == [f"a new journal, epoch {new.epoch}"]
    new.close()
    shutil.rmtree(tmp_path / "old")


def test_what_comes_while_it_is_looked_for_is_told_once(tmp_path: Path, monkeypatch):
    """Decided between asking for the newest position and reading: told with the rest, once."""
    monkeypatch.setattr(log_module, "POLL_S", 0.01)
    with opened(tmp_path) as journal:
        commit(journal, (BTC, 0, Side.LONG))
        late = iter([1, 2])

        def find(reader, after: int) -> list[Entry]:
            hour = next(late, None)
            if hour is not None:
                commit(journal, (BTC, hour, Side.LONG))
            return reader.found(Sought(), None, after)

        told = follow(tmp_path, 0, journal.epoch, find, print)
        positions = [next(told)[0].position for _ in range(2)]
        commit(journal, (BTC, 3, Side.LONG))
        positions += [next(told)[0].position for _ in range(2)]
    assert positions == [1, 2, 3, 4]
