"""The watchdog: tells systemd that the service lives, only as long as it does its work.

https://www.freedesktop.org/software/systemd/man/latest/sd_watchdog_enabled.html

A beat needs a loop that turns, and a decider that gets on: bars that wait while none is taken mean
that something hangs. A commit holds the loop, so one that hangs is seen by the same. What is away
outside, a venue or a broker, is waited for by design; a restart would mend nothing of it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from candled.inbox import Work
from candled.notify import mention

_US: Final = 1_000_000

log = structlog.get_logger("candled.watchdog")


def period_s(environ: Mapping[str, str], process: int) -> float | None:
    """Return within how many seconds systemd wants to hear from `process`; None: not at all."""
    said, meant = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not said.isdecimal() or int(said) == 0 or (meant and meant != str(process)):
        return None
    return int(said) / _US


class Pulse:
    """Whether the service does its work; pure, time is an argument.

    Work that waits and is not taken for longer than `patience_s` is stuck.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._taken = -1
        self._since_s = 0.0

    def step(self, work: Work, now_s: float) -> bool:
        """Take the next look; return whether all is well. `now_s` is of a steady clock."""
        if work.taken != self._taken or not work.waits:
            self._taken, self._since_s = work.taken, now_s
        return now_s - self._since_s <= self._patience_s


async def keep_alive(work: Callable[[], Work], say: Callable[[str], None] = mention) -> None:
    """Beat until cancelled, twice in the period that systemd asks for; return if it does not."""
    period = period_s(os.environ, os.getpid())
    if period is None:
        return
    pulse, well = Pulse(period), True
    while True:
        was, well = well, pulse.step(work(), time.monotonic())
        if well:
            say("WATCHDOG=1")
        elif was:
            log.error("decider_stuck", seconds=period)
        await asyncio.sleep(period / 2)
