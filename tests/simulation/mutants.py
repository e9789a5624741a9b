"""Plants defects, one at a time, and sees whether anybody notices: `python .../mutants.py`.

Each is planted in a copy of the tree. Schedules are run first; where none fails, the tests that are
named must. Ends with code 1 when a defect survives, or its place is no longer found.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from simulation.planted import PLANTED, Planted  # noqa: E402 - the path comes first

SEEDS = 160
_SEEDS_BEFORE_TESTS = 40
_LONGEST_S = 120.0


@dataclass(frozen=True)
class Found:
    """Who noticed a defect."""

    planted: Planted
    who: str
    """What failed; empty: nothing did."""
    seconds: float


def places(planted: Planted, root: Path = ROOT) -> int:
    """Return how often the text that is to be replaced occurs; it must be once."""
    return (root / planted.file).read_text(encoding="utf-8").count(planted.old)


@contextmanager
def _copy() -> Iterator[Path]:
    """Copy what schedules and tests need into a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="candled-mutants-") as folder:
        for name in ("daemon", "adapters", "tests", "docs"):
            leave_out = shutil.ignore_patterns("__pycache__", ".hypothesis")
            shutil.copytree(ROOT / name, Path(folder) / name, ignore=leave_out)
        for name in ("pyproject.toml", "config.toml"):
            shutil.copy(ROOT / name, folder)
        yield Path(folder)


@contextmanager
def _planted(planted: Planted, tree: Path) -> Iterator[None]:
    path = tree / planted.file
    sound = path.read_text(encoding="utf-8")
    path.write_text(sound.replace(planted.old, planted.new), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(sound, encoding="utf-8")


def try_one(planted: Planted, tree: Path) -> Found:
    """Plant a defect in a copy of the tree and see who notices."""
    began = time.perf_counter()
    with _planted(planted, tree):
        seeds = _SEEDS_BEFORE_TESTS if planted.tests else SEEDS
        simulate = ["tests/simulation/run.py", "--jobs", "1", "--seeds", str(seeds), "--until-one"]
        who = _fails(tree, simulate)
        if not who and planted.tests:
            who = _fails(
                tree, ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *planted.tests]
            )
    return Found(planted, who, time.perf_counter() - began)


def _fails(tree: Path, arguments: Sequence[str]) -> str:
    """Run Python in a tree; return what is said of the first failure, or '' when there is none."""
    paths = os.pathsep.join(str(tree / part) for part in ("daemon", "adapters"))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tree, env=environment, capture_output=True, text=True, timeout=_LONGEST_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"it does not end within {_LONGEST_S:.0f} s"
    if done.returncode == 0:
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    told = [line for line in lines if line.startswith(("seed ", "FAILED ", "ERROR "))]
    return (told or lines or ["no word"])[0]


def _work(waiting: SimpleQueue[Planted], found: list[Found], total: int) -> None:
    with _copy() as tree:
        while True:
            try:
                planted = waiting.get_nowait()
            except Empty:
                return
            found.append(one := try_one(planted, tree))
            who = one.who or "SURVIVES"
            _say(f"{len(found):3}/{total} {one.seconds:5.1f} s  {planted.what}: {who[:150]}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Try all defects, or those whose description holds a text; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of a description")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once")
    args = parser.parse_args(arguments)
    chosen = [planted for planted in PLANTED if args.only in planted.what]
    lost = [planted for planted in chosen if places(planted) != 1]
    for planted in lost:
        _say(f"NOT FOUND  {planted.what}: its text is not in {planted.file}, or more than once")
    began, waiting, found = time.perf_counter(), SimpleQueue[Planted](), list[Found]()
    for planted in chosen:
        if planted not in lost:
            waiting.put(planted)
    workers = [
        threading.Thread(target=_work, args=(waiting, found, len(chosen))) for _ in range(args.jobs)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    survivors = [one for one in found if not one.who]
    by_schedule = sum(one.who.startswith(("seed ", "it does")) for one in found)
    _say(
        f"{len(chosen)} defects, {by_schedule} found by schedules, "
        f"{len(found) - by_schedule - len(survivors)} by named tests, {len(survivors)} survive, "
        f"{len(lost)} not found in the source, {time.perf_counter() - began:.0f} s"
    )
    return 1 if survivors or lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
