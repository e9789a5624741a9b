"""Whose turn it is: what is no decision waits for all that is one, without asking all the time."""

from __future__ import annotations

import asyncio

from candled_adapters.sinks.mqtt_turns import spare_turn


def test_a_spare_turn_waits_for_who_sends_and_then_for_what_is_undelivered():
    """It asks when the turn is free, gives way when something waits, and keeps its own."""

    async def scenario() -> None:
        turn, undelivered, asked = asyncio.Lock(), 2, 0
        entered, leave = asyncio.Event(), asyncio.Event()

        def all_delivered() -> bool:
            nonlocal asked
            asked += 1
            return undelivered == 0

        async def spare() -> None:
            async with spare_turn(turn, all_delivered):
                entered.set()
                await leave.wait()

        async def steps(count: int = 20) -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        async with turn:  # a round of decisions
            waiting = asyncio.create_task(spare())
            await steps()
            assert asked == 0
        while undelivered:  # more came meanwhile: each round gets its turn
            async with turn:
                await steps()
                assert not entered.is_set()
                undelivered -= 1
        await asyncio.wait_for(entered.wait(), 1)
        assert asked <= 3
        next_round = asyncio.create_task(turn.acquire())
        await steps()
        assert not next_round.done()
        leave.set()
        await asyncio.wait_for(next_round, 1)
        await waiting

    asyncio.run(scenario())
