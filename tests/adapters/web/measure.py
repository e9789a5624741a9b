"""What onlookers cost while a thousand streams close: how long the loop is held, when all know.

    python tests/adapters/web/measure.py [STREAMS]     # from the repository's root

Onlookers are a process of their own. A turn is what the loop does between two looks at its
sockets' readiness, one callback; it is measured in processor time, so that a busy machine changes
little. Nothing here is a test.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "daemon"), str(ROOT / "adapters")]

import numpy as np  # noqa: E402 - after the path is set
import structlog  # noqa: E402
from websockets.asyncio.client import connect  # noqa: E402

from adapters.web.rig import Archive, Outbox, Window, window  # noqa: E402
from candled.core.bar import Stream  # noqa: E402
from candled.core.decision import Side  # noqa: E402
from candled_adapters.web.seat import Beginning  # noqa: E402
from fakes import Decisions  # noqa: E402

ROUNDS = 5


async def looking(port: int, count: int) -> None:
    """Look on `count` times and say when each round has been told to all."""

    async def one() -> int:
        told = 0
        url = f"ws://127.0.0.1:{port}/live"
        async with connect(url, max_size=None, compression=None) as socket:
            print("in", flush=True)  # noqa: T201
            async for message in socket:
                if message.startswith('{"type":"lines"'):
                    told += message.count('"next_close"')
                    print(f"told {message.count(chr(34) + 'next_close' + chr(34))}", flush=True)  # noqa: T201
        return told

    await asyncio.gather(*(one() for _ in range(count)))


class Turns:
    """Measures each callback of the loop (s of processor time)."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self._run = asyncio.Handle._run

    def __enter__(self) -> list[float]:
        """Begin to measure."""
        run, taken = self._run, self.taken

        def timed(handle: asyncio.Handle) -> None:
            began = time.thread_time()
            run(handle)
            taken.append(time.thread_time() - began)

        asyncio.Handle._run = timed
        return taken

    def __exit__(self, *_: object) -> None:
        """End it."""
        asyncio.Handle._run = self._run


class Stored(Archive):
    """Sixty closes of each stream, found at once."""

    def beginnings(self, streams, count):
        closes = tuple((60_000 * at, 93_576.01 + at / 7) for at in range(count))
        return {stream: Beginning(closes, None, None) for stream in streams}


async def measured(streams: list[Stream], onlookers: int) -> dict[str, Any]:
    decisions = Decisions()
    outbox = Outbox(decisions.make(Side.LONG, stream) for stream in streams)
    async with window(streams, outbox=outbox, archive=Stored(outbox)) as shown:
        child = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "look", str(shown.port), str(onlookers),
            stdout=asyncio.subprocess.PIPE, limit=1 << 20,
        )  # fmt: skip
        try:
            return await rounds(shown, child, decisions, streams, onlookers)
        finally:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()


async def rounds(
    shown: Window, child: Any, decisions: Decisions, streams: list[Stream], onlookers: int
) -> dict[str, Any]:
    for _ in range(onlookers):
        assert await child.stdout.readline() == b"in\n"
    await asyncio.sleep(2)  # all that is stored has been read
    longest, cpu, spans = [], [], []
    for _ in range(ROUNDS):
        batch = [decisions.make(Side.SHORT, stream) for stream in streams]
        with Turns() as turns:
            used, began = time.process_time(), time.monotonic()
            shown.outbox.add(*batch)
            left = len(streams) * onlookers
            while left > 0:
                word = (await child.stdout.readline()).split()
                left -= int(word[1]) if word[0] == b"told" else 0
            spans.append(time.monotonic() - began)
            await asyncio.sleep(0.3)
            cpu.append(time.process_time() - used)
        longest.append(max(turns))
    return {
        "onlookers": onlookers,
        "longest turn ms, median and max of rounds": (
            round(float(np.median(longest)) * 1e3, 1),
            round(max(longest) * 1e3, 1),
        ),
        "all told after ms": round(float(np.median(spans)) * 1e3),
        "cpu ms a close": round(float(np.median(cpu)) * 1e3),
    }


def main() -> None:
    if sys.argv[1:2] == ["look"]:
        asyncio.run(looking(int(sys.argv[2]), int(sys.argv[3])))
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    streams = [Stream("binance", f"S{number:04}USDT", "1m") for number in range(count)]
    for onlookers in (0, 1, 8, 64):
        print(count, "streams:", asyncio.run(measured(streams, onlookers)))  # noqa: T201


if __name__ == "__main__":
    main()
