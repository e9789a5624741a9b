"""Plays all cells of the matrix and prints them as a table: python tests/contract/print_matrix.py.

Arguments are words that the names of rows must contain. Writes nothing.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from contract.matrix import Result, Row, result_of
from contract.matrix_rows import ROWS
from contract.matrix_world import BY_NAME, VENUE_NAMES

_NUMBERS = {row.name: number for number, row in enumerate(ROWS)}


def play(venue: str, number: int) -> Result | None:
    """Play a cell in a process of a pool; None where it makes no sense."""
    row = ROWS[number]
    return None if row.absent(BY_NAME[venue]) else result_of(BY_NAME[venue], row)


def cell(result: Result | None) -> str:
    if result is None:
        return "n/a"
    if result.complaints or result.recovery_s is None:
        return "**fails**"
    return f"{result.recovery_s:.1f}"


def line(cells: list[str]) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def main(words: list[str]) -> int:
    """Print the table; return 1 if any cell fails."""
    rows: list[Row] = [row for row in ROWS if all(word in row.name for word in words)]
    failures: list[str] = []
    played = 0
    line(["misbehaviour", *VENUE_NAMES])
    line(["---", *["--:"] * len(VENUE_NAMES)])
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        jobs = [
            [pool.submit(play, venue, _NUMBERS[row.name]) for venue in VENUE_NAMES] for row in rows
        ]
        for row, some in zip(rows, jobs, strict=True):
            results = [job.result() for job in some]
            line([row.name, *map(cell, results)])
            played += sum(result is not None for result in results)
            for venue, result in zip(VENUE_NAMES, results, strict=True):
                told = result.complaints if result else []
                failures += [f"{venue}, {row.name}: {text}" for text in told]
    failed = "all pass" if not failures else "\n".join(["some fail:", *failures])
    sys.stdout.write(f"\n{len(rows)} misbehaviours, {played} cells: {failed}\n")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
