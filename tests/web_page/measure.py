"""How fast the page is: `python tests/web_page/measure.py [STREAMS ...]` prints a table.

The view and the server run in this process, the page in headless Chromium on the same machine:
their clocks are one. Latency is from when a decision is put into the outbox to the end of the frame
in which its row shows it; most of it is the server's, which tells lines a few times a second.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import sys
import tempfile
import time
from pathlib import Path

import structlog

sys.path[:0] = [str(Path(__file__).parents[2] / part) for part in ("tests", "daemon", "adapters")]

from browser import Page, chromium, page  # noqa: E402 - the path comes first
from candled_adapters.web.files import PAGE, chart_script  # noqa: E402 - the path comes first
from web_page.served import House, served, world  # noqa: E402 - the path comes first
from web_page.test_live import DRAWN  # noqa: E402 - the path comes first

SECONDS = 10
TRIALS = 20
EYES = (Path(__file__).parent / "eyes.js").read_text()


async def latencies(house: House, shown: Page, each: int) -> list[float]:
    """Return after how many ms decisions about `each` streams at once were seen, sorted."""
    took = []
    for trial in range(TRIALS):
        streams = [house.world.streams[(trial + n) % len(house.world.streams)] for n in range(each)]
        made = house.world.step(*streams)
        await asyncio.sleep(0.3 + 0.017 * (trial % 13))
        await shown.run("eyes.drawn.length = 0")
        began = time.time() * 1000
        house.outbox.add(*made)
        last = made[-1].decision
        name = f"app.state.lines.get({last.stream.path!r}).decided.id === {last.id!r}"
        await shown.until(f"import('/app.js').then((app) => {name})")
        await shown.until("eyes.drawn.length > 0")
        await asyncio.sleep(0.3)
        took.append((await shown.run("eyes.drawn.at(-1)")) - began)
    return sorted(took)


async def frames(house: House, shown: Page) -> dict[str, list[float]]:
    """Return gaps between frames and long tasks (ms) while every stream closes each second."""

    async def close() -> None:
        for _ in range(SECONDS):
            house.outbox.add(*house.world.step(*house.world.streams))
            await asyncio.sleep(1)

    closing = asyncio.create_task(close())
    found: dict[str, list[float]] = await shown.run(f"eyes.frames({SECONDS - 1})")
    await closing
    return found


async def measure(address: str, count: int) -> None:
    """Print the figures for so many streams."""
    made = world(count, shown=60, ahead=TRIALS * 3 + 4 * SECONDS)
    async with served(made) as house, page(address, house.url) as shown:
        await shown.until(f"document.querySelectorAll('#rows .row').length === {count}", 60)
        loaded = await shown.run("performance.now()")
        await shown.run(EYES + "eyes.watching()")
        say(f"{count} streams: all rows there after, ms", f"{loaded:.0f}")
        for each in (1, count):
            took = await latencies(house, shown, each)
            text = f"{took[len(took) // 2]:.0f} {took[int(len(took) * 0.95)]:.0f} {took[-1]:.0f}"
            say(f"  decision to frame, {each} at once: p50, p95, most, ms", text)
        for where, ready in (("", "true"), (f"#/{made.streams[0].path}", DRAWN)):
            await shown.run(f"location.hash = {where!r}")
            await shown.until(ready)
            tell_frames("with a chart" if where else "list alone", await frames(house, shown))
        heap = await shown.run("performance.memory.usedJSHeapSize / 2**20")
        say("  JavaScript heap, MiB", f"{heap:.1f}")
        assert shown.complaints == [], shown.complaints


def tell_frames(what: str, found: dict[str, list[float]]) -> None:
    """Print the figures of some seconds."""
    gaps, tasks = sorted(found["gaps"]), found["tasks"]
    rate = 1000 * len(gaps) / sum(gaps)
    say(f"  all close every second, {what}: frames per second", f"{rate:.0f}")
    late = f"{gaps[int(len(gaps) * 0.99)]:.0f} {gaps[-1]:.0f}"
    say("    gap between frames p99, most, ms", late)
    say("    tasks above 50 ms: number, most, ms", f"{len(tasks)} {max(tasks, default=0):.0f}")


def weigh() -> None:
    """Print what the page weighs."""
    chart = chart_script()
    assert chart is not None
    for name, files in (("page", sorted(PAGE.iterdir())), ("chart library", [chart])):
        raw = [file.read_bytes() for file in files]
        zipped = sum(len(gzip.compress(body, 9)) for body in raw)
        say(f"{name}: kB, zipped", f"{sum(map(len, raw)) / 1000:.1f} {zipped / 1000:.1f}")


def say(name: str, value: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{name:64} {value}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure for each number of streams that is named."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    weigh()
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder)) as address:
        for count in [int(text) for text in sys.argv[1:]] or [200]:
            asyncio.run(measure(address, count))


if __name__ == "__main__":
    main()
