"""The ledger in the journal: each signal's outcome once, as the backtest has it, come what may."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.decision import Probabilities, Side, Target
from candled.journal import Journal, JournalUnavailableError
from candled.journal.outcomes import Outcomes
from ledger.worlds import World, bar_at, decision
from tapes import jumpy

#: A file system in memory: thousands of commits wait for no disk. None: the usual place.
FAST = next((place for place in ("/dev/shm",) if Path(place).is_dir()), None)  # noqa: S108
PRICES = jumpy(200, 3)


class Play:
    """A random life of one stream: bars, holes, undecided stretches, revisions, corrections."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.hour = 0
        self.bars: dict[int, object] = {}
        self.entries: dict[int, object] = {}
        self.targets = [
            Target(
                self.random.randint(1, 12),
                self.random.uniform(0.2, 2.0),
                self.random.uniform(0.2, 2.0),
                self.random.choice(["window", "first_touch"]),
            )
            for _ in range(2)
        ]

    def step(self) -> None:
        """Let one thing happen."""
        draw = self.random.random()
        if draw < 0.06:
            self.hour += self.random.randint(1, 3)  # bars that never were
        elif draw < 0.10:
            self._undecided()
        elif draw < 0.22 and self.bars:
            self._revise()
        else:
            self._close()

    def _bar(self, hour: int) -> object:
        return bar_at(hour, PRICES, self.random.randrange(len(PRICES)))

    def _said(self) -> dict[str, object]:
        which = self.random.randrange(2)
        return {
            "regime": self.random.randrange(3),
            "target": self.random.choice([self.targets[which]] * 9 + [None]),
            "model_digest": f"model-{which}",
            "probabilities": Probabilities(0.125, 0.375, 0.5),
        }

    def _side(self) -> Side:
        return self.random.choice([Side.LONG, Side.SHORT, Side.FLAT])

    def _close(self) -> None:
        bar = self.bars[self.hour] = self._bar(self.hour)
        self.entries[self.hour] = self.world.close(bar, self._side(), **self._said())
        self.hour += 1

    def _undecided(self) -> None:
        """The feed begins anew behind a hole, and may now have bars that were left out."""
        first = max(0, self.hour - 4)
        hours = [h for h in range(first, self.hour + self.random.randint(1, 4))]
        made = {h: self.bars.get(h) or self._bar(h) for h in hours}
        self.bars.update(made)
        self.world.history(made.values())
        self.hour = hours[-1] + 1

    def _revise(self) -> None:
        hour = self.random.choice(sorted(self.bars)[-10:])
        bar = self.bars[hour] = self._bar(hour)
        affected = [h for h in self.entries if h >= hour and self.random.random() < 0.4]
        corrected = []
        for at in affected:
            last = self.entries[at].decision
            again = dataclasses.replace(
                last, side=self._side(), price=last.price + 1, supersedes=None, revision=0
            )
            corrected.append((self.entries[at], again))
        for entry in self.world.revise(bar, corrected):
            at = next(
                h for h, e in self.entries.items() if e.decision.bar_open == entry.decision.bar_open
            )
            self.entries[at] = entry


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1_000_000))
def test_outcomes_are_the_backtests_whatever_happens(seed):
    """Holes, revisions, corrections, undecided bars, kills: the final bars' outcomes, once each."""

    async def live() -> None:
        with tempfile.TemporaryDirectory(dir=FAST) as folder:
            world = World(Path(folder))
            play = Play(world, seed)
            for _ in range(60):
                play.step()
                draw = play.random.random()
                if draw < 0.05:
                    await world.kill()
                elif draw < 0.6:
                    world.start()
                    for _ in range(play.random.randrange(12)):
                        await asyncio.sleep(0)
                elif draw < 0.7:
                    await world.settled()
                    assert world.found() == world.expected()
            await world.settled()
            assert world.found() == world.expected()
            await world.end()

    asyncio.run(live())
