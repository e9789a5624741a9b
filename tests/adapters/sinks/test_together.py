"""Jobs end together, and a cancellation is never lost."""

from __future__ import annotations

import asyncio

import pytest

from candled_adapters.sinks.together import together


class LostError(Exception):
    """What is expected to happen."""


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def fail(error: Exception) -> None:
    raise error


async def fail_at_the_end(error: Exception) -> None:
    try:
        await wait_for_ever()
    finally:
        raise error


def test_the_first_failure_ends_all_and_is_raised():
    """And nothing of the others is left running."""

    async def go() -> int:
        with pytest.raises(LostError):
            await together(LostError, wait_for_ever(), fail(LostError()))
        return len(asyncio.all_tasks())

    assert asyncio.run(go()) == 1


@pytest.mark.parametrize("steps", range(6))
def test_who_is_cancelled_in_the_moment_of_a_failure_learns_of_it(steps: int):
    """A loop that answers each failure by trying again ends when it is cancelled, whenever."""

    async def go() -> None:
        failing = asyncio.Event()

        async def lose() -> None:
            await failing.wait()
            raise LostError

        async def deliver() -> None:
            while True:
                try:
                    await together(LostError, lose(), wait_for_ever())
                except LostError:
                    failing.clear()

        task = asyncio.create_task(deliver())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        failing.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=1)
        assert task.cancelled()

    asyncio.run(go())


def test_what_nobody_expects_goes_before_what_is_expected():
    """A journal that fails while a lost connection is cleared up is not hidden by it."""
    with pytest.raises(ValueError, match="disk"):
        asyncio.run(together(LostError, fail(LostError()), fail_at_the_end(ValueError("disk"))))


def test_what_nobody_expects_goes_before_a_cancellation():
    """Nor by the end of the service."""

    async def go() -> None:
        task = asyncio.create_task(together(LostError, fail_at_the_end(ValueError("disk"))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(ValueError, match="disk"):
        asyncio.run(go())


def test_a_job_that_ends_leaves_the_others_alone():
    """One may be done early; without a failure all are awaited, and nothing is raised."""
    done = []

    async def work() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        done.append(True)

    asyncio.run(together(LostError, asyncio.sleep(0), work()))
    assert done
