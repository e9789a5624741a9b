"""A share of the schedules in the ordinary run, those that once failed, and the machinery."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.faults import KINDS, Fault, Plan, plan_of
from simulation.loop import Crash, Loop, StuckError, Timeline, run
from simulation.mutants import places
from simulation.planted import PLANTED
from simulation.playing import play, quiet
from simulation.run import read_plan, run_plan, run_seed, shrunk, written
from simulation.shrink import smallest
from simulation.watch import Watch

SHARE = 64  # of the ten thousand that `make schedules` runs
REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.json"))


@pytest.mark.parametrize("part", range(4))
def test_whatever_goes_wrong_nothing_is_lost_and_nothing_is_wrong(part):
    """Every rule of `watch` and `verdict` holds in a share of the schedules."""
    failed = [o for seed in range(part, SHARE, 4) if (o := run_seed(seed)).violations]
    assert not failed, "\n".join(
        f"seed {outcome.plan.seed}: {outcome.violations}; smallest: {written(shrunk(outcome).plan)}"
        for outcome in failed
    )


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_once_went_wrong_does_not_again(path):
    """Schedules that showed a defect; what it was is in `regressions/README.md`."""
    assert run_plan(read_plan(path.read_text())).violations == []


def test_a_schedule_is_the_same_to_the_byte_whenever_it_is_run():
    """What is said, logged and stored follows from the plan alone."""
    for seed in (0, 3, 8):
        assert run_seed(seed).digest == run_seed(seed).digest
    assert run_seed(0).digest != run_seed(1).digest


def test_every_kind_of_fault_is_in_the_first_thousand_schedules():
    """No kind is there in name only."""
    met = {fault.kind for seed in range(1_000) for fault in plan_of(seed).faults}
    assert met == set(KINDS)


def test_a_schedule_without_faults_is_whole_at_once():
    """Nothing is sent twice, nobody dies, and two streams have their signals."""
    quiet()
    outcome = play(Plan(1, 2, 10.0, None, ()))
    counts = outcome.counts
    assert outcome.violations == []
    assert (counts["lives"], counts["deaths"]) == (1, 0)
    assert counts["signals"] == counts["signals sent"] > 5


def test_models_are_swapped_whatever_goes_wrong_meanwhile():
    """Each slot is decided once, never by an older model than the one before it."""
    quiet()
    swaps = 0
    for seed in range(8):
        found = plan_of(seed)
        more = [Fault("swap", 4.0 + 9.0 * at + seed / 7, 7.0) for at in range(5)]
        outcome = play(found.without([*found.faults, *more]))
        assert outcome.violations == [], seed
        swaps += outcome.counts["swaps"]
    assert swaps > 20


def test_a_death_at_any_step_of_a_swap_decides_no_slot_twice():
    """The next life goes on with the new model where the old one's decisions end."""
    quiet()
    swap = Fault("swap", 17.3, 20.0)
    plan = Plan(3, 2, 10.0, None, (swap,))
    counts = play(plan).counts
    first, last = counts["swap asked at step"], counts["swapped at step"]
    assert last - first > 50  # bars close meanwhile
    for step in [*range(first, last - 5, 25), *range(last - 5, last + 4)]:
        outcome = play(plan.without([swap, Fault("crash_step", 0.0, 1.0, step)]))
        assert outcome.violations == [], step
        assert outcome.counts["deaths"] == 1


def test_a_failing_schedule_is_told_with_the_part_that_matters(monkeypatch):
    """Of seven faults only the two that it takes are left, the shortest that will do."""
    faults = [
        Fault(kind, 10.0 + at, 2.5) for at, kind in enumerate(("lose", "mute", "lag", "stop"))
    ]
    plan = Plan(5, 1, 10.0, None, (*faults, *(Fault("insane", at, 2.5) for at in (5.0, 6.0, 7.0))))
    real = Watch.verdict

    def verdict(watch: Watch) -> list[str]:
        return [*real(watch), *["odd"] * (watch._world.has("lag") and watch._world.has("lose"))]

    monkeypatch.setattr(Watch, "verdict", verdict)
    kinds = [(fault.kind, fault.length) for fault in shrunk(run_plan(plan)).plan.faults]
    assert kinds == [("lose", 0.05), ("lag", 0.05)]


@given(st.sets(st.integers(0, 11), max_size=12), st.sets(st.integers(0, 11), max_size=4))
def test_the_smallest_part_is_what_fails_and_no_more(have, needed):
    """For any faults, of which any few together make it fail."""
    plan = Plan(1, 1, 10.0, None, tuple(Fault("lose", at, 0.05) for at in sorted(have | needed)))

    def fails(tried: Plan) -> bool:
        return needed <= {int(fault.at) for fault in tried.faults}

    assert {int(fault.at) for fault in smallest(plan, fails).faults} == needed


def test_a_schedule_survives_being_written():
    """What is printed for a failing seed can be run."""
    for seed in range(50):
        assert read_plan(written(plan_of(seed))) == plan_of(seed)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.what)
def test_every_planted_defect_still_has_its_place(planted):
    """A defect whose text is gone would be planted nowhere, and prove nothing."""
    assert places(planted) == 1


# --- the loop -------------------------------------------------------------------------------------


def _loop(seed: int = 1, die_at: int | None = None) -> tuple[Timeline, Loop, list[str]]:
    timeline, ticks = Timeline(), list[str]()

    def tick(what: str) -> None:
        ticks.append(what)
        if len(ticks) == die_at:
            raise Crash

    return timeline, Loop(timeline, random.Random(seed), tick), ticks


def test_hours_pass_at_once_and_in_order():
    """Timers and the world's events come in the order of their times."""
    timeline, loop, _ = _loop()
    seen: list[tuple[str, int]] = []
    timeline.after(1_800.0, lambda: seen.append(("world", round(loop.time()))))

    async def main() -> None:
        for _ in range(2):
            await asyncio.sleep(1_200.0)
            seen.append(("timer", round(loop.time())))
        await asyncio.to_thread(seen.append, ("thread", 0))

    run(loop, main())
    assert seen == [("timer", 2_200), ("world", 2_800), ("timer", 3_400), ("thread", 0)]


async def _three(order: list[int]) -> None:
    async def go(number: int) -> None:
        for _ in range(4):
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*map(go, range(3)))


def test_chance_alone_says_which_task_goes_on():
    """Every seed has its interleaving, and always the same."""
    orders = []
    for seed in (1, 1, 2, 3, 4):
        _, loop, _ = _loop(seed)
        order: list[int] = []
        run(loop, _three(order))
        orders.append(tuple(order))
        assert sorted(order) == sorted([*range(3)] * 4)
    assert orders[0] == orders[1]
    assert len(set(orders)) == 4


def test_a_death_at_any_step_ends_everything_there():
    """Nothing runs afterwards, not even what is there to clean up, and no task keeps it back."""
    _, loop, ticks = _loop()
    run(loop, _three([]))
    for step in range(1, len(ticks) + 1):
        order: list[int] = []
        _, loop, passed = _loop(1, step)
        with pytest.raises(Crash):
            run(loop, _three(order))
        assert len(passed) == step
        assert loop.is_closed()


def test_a_program_that_waits_for_ever_is_found():
    """Instead of hanging, the simulation says so."""
    _, loop, _ = _loop()
    with pytest.raises(StuckError):
        run(loop, asyncio.Event().wait())
