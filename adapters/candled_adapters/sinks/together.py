"""Jobs that live and end together. Knows nothing of what they do."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def together(expected: type[Exception], *jobs: Coroutine[Any, Any, None]) -> None:
    """Run jobs until all have ended, or one fails: the others are cancelled, and it is raised.

    Who is cancelled always learns of it. A TaskGroup forgets a cancellation that comes in the
    moment in which one of its tasks fails (https://github.com/python/cpython/issues/116720), and a
    loop around it that answers failures by trying again then never ends. A failure that is not of
    the `expected` kind goes before one that is, and before a cancellation.
    """
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        failures = [error for task in tasks if (error := _failure(task))]
        for failure in failures:
            if not isinstance(failure, expected):
                raise failure
    if failures:
        raise failures[0]


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()
