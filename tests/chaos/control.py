"""A process that does nothing but beat and wait for the disk, as often as the daemon does.

What the machine and its disk hold up shows here, too, and is not the daemon's doing.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from candled.loopwatch import LoopWatch

_PAGE = b"\0" * 4096
_WRITES = 3
"""Of each bar: its decisions, and how far two sinks have come."""


async def live(folder: Path, bars_per_second: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    watch = LoopWatch()
    tasks = [asyncio.create_task(watch.run()), asyncio.create_task(store(folder, bars_per_second))]
    await stop.wait()
    for task in tasks:
        task.cancel()
    (folder / "idle.json").write_text(json.dumps(asdict(watch.lateness())))


async def store(folder: Path, bars_per_second: float) -> None:
    """Write to the disk and wait for it, in the loop, as the journal does."""
    file = os.open(folder / "idle.data", os.O_WRONLY | os.O_CREAT, 0o600)
    while True:
        await asyncio.sleep(1 / bars_per_second)
        for _ in range(_WRITES):
            os.pwrite(file, _PAGE, 0)
            os.fsync(file)
            await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(live(Path(sys.argv[1]), float(sys.argv[2])))
