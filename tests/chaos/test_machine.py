"""A full disk, a damaged journal, a wall clock that jumps: what the machine itself does wrong."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from brokers import needs_mosquitto
from candled.core.bar import iso
from chaos.figures import Figures
from chaos.journals import decided, entries, until_decided
from chaos.plan import only_long
from chaos.programs import until
from chaos.scenes import TITLE, assert_decided_as_a_batch, played, told, verdict_of
from chaos.verdict import judge
from chaos.world import PATIENCE_S, World, settle, until_healthy

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
HOUR_S, DAY_S = 3_600, 86_400
JUMPS_S = (HOUR_S, 0, -HOUR_S, 0, DAY_S, 0, -DAY_S, 0)
TEMPORARY, INVARIANT = 75, 70

pytestmark = [needs_mosquitto, only_long]


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """Mount a small file system; skips where that is not allowed."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted as root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Take all space that is left on a disk; return the file that has it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return ballast


def test_a_full_disk_ends_the_daemon_and_costs_nothing(tmp_path: Path, figures: Figures):
    """No row, no signal: it ends with code 75 and says why; with space again all is made good."""

    async def scenario(disk: Path) -> World:
        async with played(tmp_path, 40) as w:
            for _ in range(2):
                await until_decided(w.state, decided(w.state) + 30, PATIENCE_S)
                ballast = fill(disk)
                assert w.daemon.wait(PATIENCE_S) == TEMPORARY, w.daemon.words()
                assert "full" in w.daemon.words()
                await until(lambda: not online(w), PATIENCE_S)
                assert {one.id for one in w.told()} <= {one.id for one in w.owed()}
                ballast.unlink()
                w.daemon.start()
            await until_decided(w.state, decided(w.state) + 30, PATIENCE_S)
            await settle(w)
            assert_decided_as_a_batch(w.stage, entries(w.state))
            verdict = verdict_of(w)
            figures.add(TITLE, [told("disk full, x 2 (code 75, offline)", verdict)])
            assert verdict.faultless, verdict
            return w

    with small_disk(tmp_path / "state", "6m") as disk:
        asyncio.run(scenario(disk))


def online(w: World) -> bool:
    """Whether the application believes that it may act."""
    said = [line for line in w.diary("bot", "halt", "go") if line["stream"] is None]
    return bool(said) and said[-1]["kind"] == "go"


def test_a_damaged_journal_is_refused_and_a_new_one_begins(tmp_path: Path, figures: Figures):
    """It decides nothing upon what it cannot trust; moved away, all goes on in a new epoch."""

    async def scenario() -> World:
        async with played(tmp_path, 41) as w:
            await until_decided(w.state, 60, PATIENCE_S)
            assert w.daemon.terminate() == 0
            owed = dict.fromkeys(one.id for one in w.owed())
            await until(lambda: owed.keys() <= {one.id for one in w.told()}, PATIENCE_S)
            journal = w.state / "candled.journal"
            spoil(journal)
            w.daemon.start()
            assert w.daemon.wait(PATIENCE_S) == INVARIANT, w.daemon.words()
            assert str(journal) in w.daemon.words()
            assert "move it away" in w.daemon.words()
            assert {one.id for one in w.told()} == owed.keys()
            assert not online(w)
            w.state.rename(tmp_path / "spoilt")
            w.daemon.start()
            await until_decided(w.state, 60, PATIENCE_S)
            await settle(w)
            verdict = judge([*owed, *(one.id for one in w.owed())], w.told())
            figures.add(TITLE, [told("journal damaged (code 70), then a new one", verdict)])
            assert verdict.faultless, verdict
            return w

    asyncio.run(scenario())


def spoil(journal: Path) -> None:
    """Write over all but the first page, as a failing disk does."""
    size = journal.stat().st_size
    with journal.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


def _seen(w: World, ahead_s: int) -> bool:
    """Whether the newest signal's bar was received by a wall clock that is so far ahead."""
    newest_s = w.owed()[-1].received_ns / 1e9
    return abs(newest_s - time.time() - ahead_s) < HOUR_S / 2


@pytest.mark.skipif(not FAKETIME.exists(), reason="no libfaketime here: apt-get install faketime")
def test_jumps_of_the_wall_clock_change_nothing(tmp_path: Path, figures: Figures):
    """By an hour and a day, ahead and back: nothing is late or lost, nothing outlives its time."""
    offset = tmp_path / "offset"
    offset.write_text("+0")
    env = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }

    async def scenario() -> World:
        async with played(tmp_path, 42, env=env) as w:
            await until_healthy(w, PATIENCE_S)
            for seconds in JUMPS_S:
                offset.write_text(f"{seconds:+d}")
                await until(partial(_seen, w, seconds), PATIENCE_S, every_s=0.1)
                await until_decided(w.state, decided(w.state) + 30, PATIENCE_S)
            await settle(w)
            return w

    w = asyncio.run(scenario())
    kept = entries(w.state)
    assert_decided_as_a_batch(w.stage, kept)
    walls = [entry.received_ns for entry in kept]
    jumps = [abs(after - before) / 1e9 for before, after in pairwise(walls)]
    assert sum(jump > HOUR_S / 2 for jump in jumps) == len(JUMPS_S)
    late_ms = [entry.decided_ms - entry.decision.bar_close for entry in kept]
    worst = max(late_ms) / 1000 / w.stage.speed
    assert min(late_ms) >= 0, iso(kept[late_ms.index(min(late_ms))].decision.bar_close)
    verdict = verdict_of(w)
    figures.add(TITLE, [told(f"wall clock jumps by an hour and a day, x {len(JUMPS_S)}", verdict)])
    assert verdict.faultless, verdict
    assert worst < 60.0  # a busy machine is late by seconds, a wall clock by an hour
    assert verdict.acted > 0
