"""Who looks at the daemon sees what befalls it, within seconds, and sees when it is over.

The daemon, its broker and the browser are processes; the venue is in this one, behind a proxy that
can be away or swallow everything.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from brokers import Mosquitto, free_port, mosquitto, needs_mosquitto
from browser import chromium, needs_chromium, page
from candled.core.bar import Interval, Stream
from candled.simulate import synthetic_start
from candled_adapters.simulator.generator import generate_many
from candled_adapters.simulator.server import Simulator
from chaos.figures import Figures, Row
from chaos.plan import LONG, SEED
from chaos.programs import Program
from chaos.proxy import FAIR, HOLE, Proxy, Weather
from chaos.watching import Signs, Told, Took, Watchers
from chaos.world import PATIENCE_S, ending
from web_page.served import needs_chart
from web_page.test_daemon import SYMBOLS, config
from web_page.test_live import DRAWN, PAST, row, says, serious

pytestmark = [needs_mosquitto, needs_chromium, needs_chart]

TITLE = "seen after, then over after, s: on the page; by `candled status`; at /metrics"
HOURLY = Interval("1h")
HISTORY, BARS, BARS_PER_SECOND = 2_000, 2_000, 2.0
FIRST, SECOND = (Stream("demo", symbol, "1h") for symbol in SYMBOLS)
WIDE = (1900, 1000)
"""Room for list, stream and events beside each other."""
SEEN_WITHIN_S = 5.0
TRIED_AGAIN_S = 10.0
"""Pauses between attempts grow while something is away; a broker gives a frozen daemon up, too."""
STARTED_S = 20.0
"""A program's start comes on top, on whatever machine this is."""
PICTURES = os.environ.get("CANDLED_CHAOS_PICTURES", "")
"""Folder for a picture of the page in each fault; none when empty."""


def state(wanted: str) -> str:
    """Return the script of whether the page calls the service so, and the daemon is heard."""
    return f"!({PAST}) && {says('#state', wanted)}"


def by(source: str, told: Told) -> bool:
    """Whether the newest bar of each stream came so."""
    return bool(told.lines) and all(line["decided"]["source"] == source for line in told.lines)


def states(told: Told) -> list[str]:
    """Return how the streams are said to do, by their names."""
    return [line["state"] for line in told.lines]


WELL = Signs(
    page=f"{state('online')} && {says('#count-live', '2')} && {says('#stream .now', 'by ws')}"
    " && document.querySelector('#reasons').hidden",
    status=lambda told: told.code == 0 and states(told) == ["live", "live"] and by("ws", told),
    metrics=lambda told: (
        told.total("candled_service_state", state="online") == 1
        and told.total("candled_mqtt_connected") == 1
        and told.total("candled_stream_live") == 2
    ),
)

NO_BROKER = Signs(
    page=f"{state('degraded')} && {says('#reasons', 'mqtt: ')}",
    status=lambda told: (
        told.code == 1 and any(why.startswith("mqtt: ") for why in told.said["why"])
    ),
    metrics=lambda told: (
        told.total("candled_mqtt_connected") == 0
        and told.total("candled_service_state", state="degraded") == 1
    ),
)

NO_VENUE = Signs(
    page=f"{state('degraded')} && {says('#count-live', '0')} && {says('#count-problems', '2')}"
    f" && {says('#reasons', FIRST.path, SECOND.path)}",
    status=lambda told: told.code == 1 and set(states(told)) <= {"holding", "degraded"},
    metrics=lambda told: (
        told.total("candled_stream_live") == 0
        and told.total("candled_service_state", state="degraded") == 1
    ),
)

BAR_MISSING = Signs(
    page=f"{state('degraded')} && {says(row(SECOND, '.c-state'), 'holding')}"
    f" && {says('#count-live', '1')} && {says('#stream .top', 'live')}"
    f" && {says('#reasons', SECOND.path, 'holding')}",
    status=lambda told: told.code == 1 and states(told) == ["live", "holding"],
    metrics=lambda told: (
        told.total("candled_stream_state", symbol=SECOND.symbol, state="holding") == 1
        and told.total("candled_stream_live", symbol=FIRST.symbol) == 1
    ),
)

NOT_PUSHED = Signs(
    page=f"{says('#events', 'missing bar', 'not pushed in time')}"
    f" && {says('#stream .now', 'by rest')}",
    status=lambda told: (
        by("rest", told) and any(event["hazard"] == "missing_bar" for event in told.events)
    ),
    metrics=lambda told: (told.total("candled_incidents_total", hazard="missing_bar") or 0) > 0,
)

SILENT = Signs(
    page=f"{PAST} && {says('#past', 'Connection lost, showing')}",
    status=lambda told: told.code == 4 and told.said["verdict"] == "unknown",
    metrics=lambda told: not told,
)

DEAD = Signs(
    page=SILENT.page,
    status=lambda told: told.code == 3 and told.said["verdict"] == "stopped",
    metrics=lambda told: not told,
)


@dataclass(frozen=True, slots=True)
class Scene:
    """All who play."""

    daemon: Program
    broker: Mosquitto
    venue: Simulator
    way: Proxy
    """Between daemon and venue."""
    watchers: Watchers

    def leave(self) -> None:
        """Have the venue be away: its connections end, and nobody answers."""
        self.way.weather = Weather(refuse=True)
        self.way.reset()

    def swallow(self) -> None:
        """Let nothing through any more, and nobody know."""
        self.way.weather = HOLE

    def come_back(self) -> None:
        """Let everything through."""
        self.way.weather = FAIR

    def lose_a_bar(self) -> None:
        """Have the second stream's open bar never be pushed, while REST is out of order."""
        length = HOURLY.typical_ms
        self.venue.faults.hide(SECOND.symbol, self.venue.now_ms() // length * length)
        self.venue.faults.refuse_rest(503)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done, what is to be seen of it, and what mends it."""

    name: str
    strike: Callable[[], object]
    mend: Callable[[], object]
    seen: Signs
    over_within_s: float
    short: bool = False
    """Whether the short share has it, too."""


def faults(scene: Scene) -> list[Fault]:
    """Return all faults, in the order in which they come."""
    daemon, broker, venue = scene.daemon, scene.broker, scene.venue
    return [
        Fault("venue pushes nothing", venue.faults.mute, venue.faults.clear, NOT_PUSHED, 5.0),
        Fault("a bar is missing, REST out of order", scene.lose_a_bar, venue.faults.clear,
              BAR_MISSING, 5.0),
        Fault("venue away", scene.leave, scene.come_back, NO_VENUE, TRIED_AGAIN_S),
        Fault("venue half open", scene.swallow, scene.come_back, NO_VENUE, 5.0, short=True),
        Fault("broker killed", broker.kill, broker.start, NO_BROKER, TRIED_AGAIN_S),
        Fault("broker frozen", broker.freeze, broker.thaw, NO_BROKER, TRIED_AGAIN_S),
        Fault("daemon frozen", daemon.freeze, daemon.thaw, SILENT, TRIED_AGAIN_S, short=True),
        Fault("daemon killed", daemon.kill, daemon.start, DEAD, STARTED_S),
    ]  # fmt: skip


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Scene]:
    """Start everything; yield it when all is well."""
    markets = generate_many(SEED, SYMBOLS, HOURLY, synthetic_start(HOURLY), HISTORY + BARS + 1)
    venue = Simulator(
        markets, HOURLY, speed=BARS_PER_SECOND * 3600, start_at=HISTORY, bars=BARS
    )  # fmt: skip
    port = free_port()
    with mosquitto(folder) as broker, chromium(folder) as browser:
        async with venue, Proxy(venue.port) as way:
            file = config(folder, port, broker.port, Between(way.port))
            daemon = Program("daemon", ["-m", "candled", "run", "--config", str(file)], folder)
            with ending(daemon):
                daemon.start()
                await daemon.until_said('"web"', PATIENCE_S)
                url = f"http://127.0.0.1:{port}"
                async with page(browser, f"{url}/#/{FIRST.path}", size=WIDE) as shown:
                    await shown.until(DRAWN, PATIENCE_S)
                    watchers = Watchers(shown, file, f"{url}/metrics")
                    yield Scene(daemon, broker, venue, way, watchers)


@dataclass(frozen=True, slots=True)
class Between:
    """Where the daemon finds the venue: at the proxy."""

    port: int

    @property
    def ws_url(self) -> str:
        """Of the websocket."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def rest_url(self) -> str:
        """Of REST."""
        return f"http://127.0.0.1:{self.port}"


async def suffer(fault: Fault, watchers: Watchers) -> tuple[Took, Took]:
    """Return how long the fault took to be seen, and its end after that."""
    fault.strike()
    try:
        seen = await watchers.until(fault.seen)
        if PICTURES:
            name = fault.name.replace(" ", "-").replace(",", "")
            (Path(PICTURES) / f"{name}.png").write_bytes(await watchers.shown.picture())
    finally:
        fault.mend()
    return seen, await watchers.until(WELL, PATIENCE_S)


def test_whatever_befalls_it_is_seen_within_seconds_and_so_is_its_end(
    tmp_path: Path, figures: Figures
):
    """Kill, freeze and feed faults show on page, in status and metrics within 5 s, and clear."""

    async def scenes() -> tuple[float, list[tuple[Fault, Took, Took]]]:
        async with stage(tmp_path) as scene:
            watchers = scene.watchers
            assert (await watchers.until(WELL, PATIENCE_S)).most < PATIENCE_S
            alone_s = await watchers.beforehand()
            chosen = [fault for fault in faults(scene) if LONG or fault.short]
            found = [(fault, *await suffer(fault, watchers)) for fault in chosen]
            assert serious(watchers.shown) == []
            return alone_s, found

    alone_s, found = asyncio.run(scenes())
    figures.add(TITLE, rows(alone_s, found))
    for fault, seen, over in found:
        assert seen.less(alone_s) < SEEN_WITHIN_S, f"{fault.name}: seen after {seen}"
        assert over.less(alone_s) < fault.over_within_s, f"{fault.name}: over after {over}"


def rows(alone_s: float, found: list[tuple[Fault, Took, Took]]) -> list[Row]:
    """Return the table's rows."""
    wanted = f"< {SEEN_WITHIN_S:g}"
    told = [
        Row(fault.name, f"{seen}, then {over}", "", f"{wanted}, then < {fault.over_within_s:g}")
        for fault, seen, over in found
    ]
    return [*told, Row("`candled status` itself, which is in its figures", f"{alone_s:.1f}")]
