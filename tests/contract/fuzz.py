"""Broken frames through every parser, as many as you like: ``fuzz.py FRAMES [SEED]``.

Frames are valid ones after accidents (see `mutation`), in turn for each dialect. What is raised
must be `MalformedFrame`; anything else is printed with its frame and ends the run with code 1. A
parser that takes longer than a second for one frame is a hang and ends it too.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from candled_adapters.exchanges.dialect import MalformedFrame
from contract.cases import CASES, Case, encoded
from contract.mutation import mutated

_SLOW_S = 1.0


@dataclass
class Tally:
    """What became of the frames."""

    facts: int = 0
    malformed: int = 0
    defects: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    @property
    def frames(self) -> int:
        return self.facts + self.malformed + len(self.defects)


def targets(case: Case) -> list[tuple[str, Callable[[bytes], object], list[bytes]]]:
    """Return every parser of a dialect with the valid bytes to begin with."""
    dialect, stream = case.dialect, case.stream
    history, refused = encoded(case.history), [body for _, body, _ in case.refused]
    pushes = case.valid_frames()
    return [
        # Most of the run: what arrives unasked, thousands of times a minute.
        *[("parse", dialect.parse, pushes)] * 3,
        ("parse_history", lambda body: dialect.parse_history(body, stream), [history]),
        ("parse_time", dialect.parse_time, [case.time]),
        ("parse_error", lambda body: dialect.parse_error(200, {}, body), [*refused, history]),
    ]


def fuzz(case: Case, frames: int, seed: int) -> Tally:
    """Feed one dialect's parsers; the same seed breaks the same frames."""
    draw, tally = random.Random(f"{seed} {case.name} {case.symbol}"), Tally()
    todo = targets(case)
    for number in range(frames):
        name, parse, sources = todo[number % len(todo)]
        frame = mutated(draw.choice(sources), draw)
        began = time.perf_counter()
        try:
            parse(frame)
            tally.facts += 1
        except MalformedFrame:
            tally.malformed += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            tally.defects.append(f"{case.name} {name}: {error!r} from {frame[:400]!r}")
        took = time.perf_counter() - began
        tally.slowest_s = max(tally.slowest_s, took)
        if took > _SLOW_S:
            tally.defects.append(f"{case.name} {name}: {took:.1f} s for {frame[:400]!r}")
    return tally


def main(frames: int, seed: int) -> int:
    """Share the frames among the dialects, report, and return the exit code."""
    total, began = Counter[str](), time.perf_counter()
    each = -(-frames // len(CASES))
    for case in CASES:
        before = time.perf_counter()
        tally = fuzz(case, each, seed)
        rate = tally.frames / (time.perf_counter() - before)
        total.update(frames=tally.frames, facts=tally.facts, defects=len(tally.defects))
        share, slowest_ms = tally.malformed / tally.frames, tally.slowest_s * 1e3
        print(  # noqa: T201 - it is a script
            f"{case.name:14} {case.symbol:14} {tally.frames:>9,} frames {rate:>9,.0f}/s"
            f" {share:6.1%} malformed, slowest {slowest_ms:.1f} ms, {len(tally.defects)} defects"
        )
        for defect in tally.defects[:5]:
            print(f"  {defect}")  # noqa: T201
    seconds = time.perf_counter() - began
    print(  # noqa: T201
        f"{total['frames']:,} frames in {seconds:.0f} s ({total['frames'] / seconds:,.0f}/s),"
        f" {total['defects']} defects, seed {seed}"
    )
    return int(total["defects"] > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
