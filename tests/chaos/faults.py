"""What is done to a world: kill -9 at moments that a seed chooses, and freezes; all on record."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from chaos.world import World

_SOON, _LATER = (0.0, 0.3), (0.3, 3.5)  # s
_SOON_SHARE = 0.35
_DOWN = (0.0, 0.8)  # s
#: Of the broker's ends, so many are proper ones: it saves, and comes back with what it knew then.
_PROPER_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Blow:
    """One kill to come."""

    victim: str
    """`daemon`, `broker` or `bot`."""
    wait_s: float
    """After the blow before; often so short that it meets a start-up or a recovery."""
    down_s: float
    """Before it is started again."""
    proper: bool = False
    """Ended by SIGTERM instead."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault as it happened; wall clock (ns)."""

    victim: str
    kind: str
    """`kill`, `stop` or `freeze`."""
    began_ns: int
    ended_ns: int
    """When the victim had been started again, a broker: when it listened again."""


def blows(seed: int, **counts: int) -> list[Blow]:
    """Draw so many kills of each victim, in any order; proper ends of the broker come on top."""
    chance = random.Random(seed)
    victims = [(name, False) for name, count in counts.items() for _ in range(count)]
    victims += [("broker", True)] * int(counts.get("broker", 0) * _PROPER_SHARE)
    chance.shuffle(victims)
    return [_blow(chance, name, proper) for name, proper in victims]


def _blow(chance: random.Random, victim: str, proper: bool) -> Blow:  # noqa: FBT001 - as drawn
    wait_s = chance.uniform(*(_SOON if chance.random() < _SOON_SHARE else _LATER))
    return Blow(victim, wait_s, chance.uniform(*_DOWN), proper)


@dataclass(slots=True)
class Storm:
    """Kills and revivals; what is down when a storm ends is started before it returns."""

    world: World
    faults: list[Fault] = field(default_factory=list)
    _reviving: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def rage(self, plan: Sequence[Blow]) -> None:
        for blow in plan:
            await asyncio.sleep(blow.wait_s)
            await self._settle(blow.victim)
            self._reviving[blow.victim] = asyncio.create_task(self._strike(blow))
        for victim in list(self._reviving):
            await self._settle(victim)

    async def _settle(self, victim: str) -> None:
        """Wait until a victim has been started again after the blow before."""
        if victim in self._reviving:
            await self._reviving.pop(victim)

    async def _strike(self, blow: Blow) -> None:
        began = time.time_ns()
        revive = self._broker(blow) if blow.victim == "broker" else self._program(blow)
        await asyncio.sleep(blow.down_s)
        await revive()
        kind = "stop" if blow.proper else "kill"
        self.faults.append(Fault(blow.victim, kind, began, time.time_ns()))

    def _broker(self, blow: Blow) -> Callable[[], Awaitable[None]]:
        broker = self.world.broker
        if blow.proper:
            broker.stop()
        else:
            broker.kill()
        return lambda: asyncio.to_thread(broker.start)

    def _program(self, blow: Blow) -> Callable[[], Awaitable[None]]:
        world = self.world
        programs = [getattr(world, blow.victim)]
        programs += [world.twins[blow.victim]] if blow.victim in world.twins else []
        for program in programs:
            program.kill()

        async def revive() -> None:
            for program in programs:
                program.start()

        return revive


async def freeze_broker(world: World, seconds: float) -> Fault:
    """Stop the broker for a while, with its connections open."""
    began = time.time_ns()
    world.broker.freeze()
    try:
        await asyncio.sleep(seconds)
    finally:
        world.broker.thaw()
    return Fault("broker", "freeze", began, time.time_ns())
