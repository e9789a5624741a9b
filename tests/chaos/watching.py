"""How long a fault takes to show, and to be gone, where people and machines look.

Three look at a daemon at once, each as it is looked at in earnest: a page in a browser, `candled
status --json` as a process of its own, a scrape of /metrics. Knows no particular fault.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from adapters.web.metrics_world import Values, values
from browser import Page

_SCRAPE_S = 1.0
_EVERY_S = 0.1
_STATUS_S = 30.0
WATCHERS = 3
PATIENCE_S = 20.0
"""After which a sign is taken as never to come."""


@dataclass(frozen=True, slots=True)
class Told:
    """What `candled status --json` said and ended with."""

    code: int
    said: dict[str, Any]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The streams; none where the daemon did not answer."""
        overview = self.said["overview"]
        return overview["lines"] if overview else []

    @property
    def events(self) -> list[dict[str, Any]]:
        """What happened; nothing where the daemon did not answer."""
        overview = self.said["overview"]
        return overview["events"] if overview else []


@dataclass(frozen=True, slots=True)
class Scraped:
    """What /metrics said; nothing when it did not answer."""

    found: Values | None

    def __bool__(self) -> bool:
        """Whether it answered."""
        return self.found is not None

    def total(self, figure: str, /, **labels: str) -> float | None:
        """Return the sum of a figure's samples with these labels; None where there is none."""
        wanted = set(labels.items())
        mine = [
            value
            for (name, key), value in (self.found or {}).items()
            if name == figure and wanted <= set(key)
        ]
        return sum(mine) if mine else None


@dataclass(frozen=True, slots=True)
class Signs:
    """What is to be seen, by who looks."""

    page: str
    """A script that is true once the page shows it."""
    status: Callable[[Told], bool]
    metrics: Callable[[Scraped], bool]


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds until each saw it; infinite where it did not."""

    page: float
    status: float
    metrics: float

    def __str__(self) -> str:
        """As the table has it."""
        return f"{self.page:.1f}; {self.status:.1f}; {self.metrics:.1f}"

    @property
    def most(self) -> float:
        """The last one's."""
        return self.less(0.0)

    def less(self, alone_s: float) -> float:
        """Return the last one's, without what the command itself takes on this machine."""
        return max(self.page, self.status - alone_s, self.metrics)


@dataclass(frozen=True, slots=True)
class Watchers:
    """All who look at one daemon."""

    shown: Page
    config: Path
    url: str
    """Of /metrics."""

    async def beforehand(self) -> float:
        """Return how long `candled status` takes when all is well (s)."""
        began = time.monotonic()
        assert (await self.status()).code == 0
        return time.monotonic() - began

    async def until(self, signs: Signs, patience_s: float = PATIENCE_S) -> Took:
        """Return how long it takes until each sees its sign, and goes on seeing it with the others.

        They do not wait for each other. What one saw and lost again, it has not seen.
        """
        began = time.monotonic()
        took: dict[str, float] = {}

        async def watch(name: str, sees: Callable[[], Awaitable[bool]], pause_s: float) -> None:
            while len(took) < WATCHERS and time.monotonic() - began < patience_s:
                if await sees():
                    took.setdefault(name, time.monotonic() - began)
                else:
                    took.pop(name, None)
                await asyncio.sleep(pause_s)

        await asyncio.gather(
            watch("page", lambda: self._page(signs), 0.02),
            watch("status", lambda: self._status(signs), _EVERY_S),
            watch("metrics", lambda: self._metrics(signs), _EVERY_S),
        )
        return Took(*(took.get(name, float("inf")) for name in ("page", "status", "metrics")))

    async def _page(self, signs: Signs) -> bool:
        return bool(await self.shown.run(signs.page))

    async def _status(self, signs: Signs) -> bool:
        return signs.status(await self.status())

    async def status(self) -> Told:
        """Run the command as people do."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "candled", "status", "--json", "--config", str(self.config),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )  # fmt: skip
        try:
            async with asyncio.timeout(_STATUS_S):
                out, err = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        assert out, err.decode()
        assert child.returncode is not None
        return Told(child.returncode, json.loads(out))

    async def _metrics(self, signs: Signs) -> bool:
        return signs.metrics(await self.scrape())

    async def scrape(self) -> Scraped:
        """Ask as Prometheus does, on a connection of its own."""
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=_SCRAPE_S) as client:
                answer = await client.get(self.url)
        except httpx.TransportError:
            return Scraped(None)
        assert answer.status_code == httpx.codes.OK, answer.text
        return Scraped(values(text_string_to_metric_families(answer.text)))
