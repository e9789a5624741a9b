"""Runs schedules: `python tests/simulation/run.py --seeds 10000`, or one with `--seed 7`.

Prints counts, and for each schedule that fails its seed and the smallest part of it that does. Some
are run once more in another process, under another hash seed: all bytes must be the same.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / part) for part in ("tests", "daemon", "adapters")]

from simulation.faults import KINDS, Fault, Plan, plan_of  # noqa: E402
from simulation.loop import Endless  # noqa: E402
from simulation.playing import Outcome, play, quiet  # noqa: E402
from simulation.shrink import smallest  # noqa: E402

_MOST_CPU_S = 15.0  # a schedule takes a tenth of a second


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def read_plan(text: str) -> Plan:
    """Return the schedule that `written` made a text of."""
    said = json.loads(text)
    faults = tuple(Fault(**fault) for fault in said.pop("faults"))
    return Plan(**{**said, "faults": faults})


def written(plan: Plan) -> str:
    """Return a schedule as one line of JSON."""
    return json.dumps(asdict(plan))


def run_seed(seed: int) -> Outcome:
    """Play a seed's schedule."""
    return run_plan(plan_of(seed))


def run_plan(plan: Plan) -> Outcome:
    """Play a schedule; what the simulation itself cannot bear is a violation too."""
    quiet()
    signal.signal(signal.SIGVTALRM, _goes_round)
    signal.setitimer(signal.ITIMER_VIRTUAL, _MOST_CPU_S)
    try:
        return play(plan)
    except Endless:
        return Outcome(plan, ["the daemon goes round and round without a step"], "")
    except Exception as error:  # noqa: BLE001 - told with the seed
        return Outcome(plan, [f"the simulation failed: {type(error).__name__}: {error}"], "")
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _goes_round(_number: int, _frame: object) -> None:
    """End what never comes back to the loop."""
    raise Endless


def shrunk(outcome: Outcome) -> Outcome:
    """Return the outcome of the smallest part of a failing schedule that fails alike."""
    kind = outcome.violations[0].split(":")[0][:20]

    def fails(plan: Plan) -> bool:
        return any(text.startswith(kind) for text in run_plan(plan).violations)

    return run_plan(smallest(outcome.plan, fails))


def outcomes(seeds: Sequence[int], jobs: int) -> Iterable[Outcome]:
    """Yield the outcomes of seeds as they come, from so many processes."""
    if jobs == 1:
        yield from map(run_seed, seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(run_seed, seeds, chunksize=16)


def _report(counts: Counter[str], recoveries: list[float], seconds: float, runs: int) -> None:
    faults = {kind: counts.pop(f"fault {kind}", 0) for kind in KINDS}
    _say(f"{runs} schedules in {seconds:.0f} s, {sum(faults.values())} faults:")
    _say("  " + ", ".join(f"{kind} {count}" for kind, count in faults.items()))
    _say("  " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    if recoveries:
        ordered = sorted(recoveries)
        shares = {share: ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.95, 0.99, 1)}
        _say("  whole again after the last fault: " + ", ".join(
            f"{share:.0%} within {value:.1f} s" for share, value in shares.items()
        ))  # fmt: skip


def _run_many(args: argparse.Namespace) -> int:
    began, counts, recoveries, failed = time.perf_counter(), Counter[str](), [], []
    seeds = range(args.first, args.first + args.seeds)
    digests: dict[int, str] = {}
    for outcome in outcomes(seeds, args.jobs):
        counts += outcome.counts
        digests[outcome.plan.seed] = outcome.digest
        if outcome.recovery_s is not None and not _jumps(outcome.plan):
            recoveries.append(outcome.recovery_s)
        if outcome.violations:
            failed.append(outcome)
            _say(f"seed {outcome.plan.seed}: " + "; ".join(outcome.violations))
    _report(counts, recoveries, time.perf_counter() - began, len(seeds))
    for outcome in failed[:5]:
        small = shrunk(outcome)
        _say(f"smallest of seed {outcome.plan.seed}: {written(small.plan)}")
        _say("\n".join(f"    {text}" for text in small.violations))
    again = seeds[: args.again]
    differing = [seed for seed, digest in _digests(again, args.jobs) if digests[seed] != digest]
    _say(f"{len(again)} schedules run again under another hash seed, {len(differing)} differ")
    if differing:
        _say(f"not the same bytes: seeds {differing[:20]}")
    _say(f"violations: {len(failed)}")
    return 1 if failed or differing else 0


def _run_until_one(seeds: Sequence[int]) -> int:
    """Run seeds until one fails."""
    for seed in seeds:
        if violations := run_seed(seed).violations:
            _say(f"seed {seed}: " + "; ".join(violations))
            return 1
    return 0


def _jumps(plan: Plan) -> bool:
    """Whether its recovery is that of a clock, which takes a minute by design."""
    return any(fault.kind == "clock_jump" for fault in plan.faults)


def _digests(seeds: Sequence[int], jobs: int) -> list[tuple[int, str]]:
    """Run seeds in other processes, whose sets are in another order."""
    if not seeds:
        return []
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    command = [sys.executable, __file__, "--first", str(seeds[0]), "--seeds", str(len(seeds))]
    command += ["--jobs", str(jobs), "--digests"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    pairs = (line.split() for line in done.stdout.splitlines())
    return [(int(seed), digest) for seed, digest in pairs]


def _run_one(plan: Plan) -> int:
    quiet()
    outcome = play(plan, verbose=True)
    _say(written(plan))
    _say("\n".join(outcome.trace))
    _say(f"digest {outcome.digest}, {len(outcome.violations)} violations")
    _say("\n".join(f"    {text}" for text in outcome.violations))
    return 1 if outcome.violations else 0


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments ask for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--again", type=int, default=0, help="how many of them to run twice")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--seed", type=int, help="run one seed, and tell what happens")
    parser.add_argument("--schedule", type=Path, help="run a schedule from a file, and tell")
    parser.add_argument("--until-one", action="store_true", help="end at the first that fails")
    parser.add_argument("--digests", action="store_true", help="print checksums and nothing else")
    args = parser.parse_args(arguments)
    if args.seed is not None:
        return _run_one(plan_of(args.seed))
    if args.schedule is not None:
        return _run_one(read_plan(args.schedule.read_text()))
    if args.until_one:
        return _run_until_one(range(args.first, args.first + args.seeds))
    if args.digests:
        for outcome in outcomes(range(args.first, args.first + args.seeds), args.jobs):
            _say(outcome.plan.seed, outcome.digest)
        return 0
    return _run_many(args)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
