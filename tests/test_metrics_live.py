"""A daemon of its own process is scraped over HTTP while it works, and while its broker is away."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from adapters.web.metrics_world import OPENMETRICS, Values, own, values
from brokers import Mosquitto, free_port, mosquitto, needs_mosquitto
from candled.core.bar import Interval, Stream
from candled.core.decision import Side, Source
from candled.journal import open_journal
from candled.ports import Entry
from candled.simulate import synthetic_start
from candled_adapters.artifacts.bundle import load_bundle
from candled_adapters.simulator.generator import generate_many
from candled_adapters.simulator.server import Simulator
from candled_adapters.web.metrics_kinds import KINDS
from chaos.programs import Program
from models import bundle

SYMBOLS = ["AAAUSDT", "BBBUSDT"]
STREAMS = [Stream("demo", symbol, "1h") for symbol in SYMBOLS]
HOURLY = Interval("1h")
HISTORY, BARS, BARS_A_SECOND = 1_200, 30, 25
LAST_CLOSE_S = (synthetic_start(HOURLY) + (HISTORY + BARS) * HOURLY.typical_ms) / 1000
PATIENCE_S = 60.0
NOTICED_S = 5.0

pytestmark = needs_mosquitto

BUILT = """
import sys
from pathlib import Path
from candled.compose import build
from candled.lineup import load_lineup
from candled.config import load_config

path = Path(sys.argv[1])
config = load_config(path)
daemon = build(config, load_lineup(config, path))
daemon.journal.close()
print("prometheus_client" in sys.modules, daemon.tally.summary().decisions)
"""


@dataclass(frozen=True, slots=True)
class Lived:
    """What was seen of one life."""

    plain: str
    """Its text once all bars were decided and delivered."""
    opened: str
    """The same in the other format, a moment later."""
    away: Values
    """Its figures while the broker was away."""
    back: Values
    noticed_s: float
    """How long it took until the broker's death was told."""
    ready: tuple[bool, bool]
    """What /readyz said before the venue was there, and at the end."""
    ready_told: tuple[float | None, float | None]
    """What the figures said then."""
    entries: list[Entry]
    """What the journal holds."""
    journal_bytes: int
    digest: str


def config(folder: Path, venue: Simulator, broker: Mosquitto, port: int) -> Path:
    path = folder / "config.toml"
    path.write_text(f"""
[mqtt]
url = "mqtt://127.0.0.1:{broker.port}"
[log]
decisions = "decisions.jsonl"
format = "json"
[web]
listen = "127.0.0.1:{port}"
[exchanges.demo]
dialect = "binance-spot"
ws_url = "{venue.ws_url}"
rest_url = "{venue.rest_url}"
max_skew_s = inf
[[streams]]
exchange = "demo"
symbols = {json.dumps(SYMBOLS)}
interval = "1h"
bundle = "bundle"
any_symbol = true
""")
    return path


class Scraper:
    """Asks a daemon's window, as Prometheus would."""

    def __init__(self, port: int, why: Callable[[], str]) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._client = httpx.AsyncClient(trust_env=False, timeout=5)
        self._why = why

    async def get(self, path: str, accept: str = "text/plain") -> httpx.Response:
        """Ask until somebody answers; it may just have started."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await self._client.get(self._base + path, headers={"Accept": accept})
            except httpx.TransportError:
                assert time.monotonic() < deadline, self._why()
                await asyncio.sleep(0.02)

    async def figures(self) -> Values:
        text = (await self.get("/metrics")).text
        return values(text_string_to_metric_families(text))

    async def until(self, true: Callable[[Values], bool], seconds: float = PATIENCE_S) -> Values:
        deadline = time.monotonic() + seconds
        while True:
            found = await self.figures()
            if true(found):
                return found
            assert time.monotonic() < deadline, self._why()
            await asyncio.sleep(0.05)


def total(found: Values, figure: str, /, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for (n, key), value in found.items() if n == figure and wanted <= set(key))


def connected(found: Values) -> bool:
    return total(found, "candled_mqtt_connected") == 1


def whole(found: Values) -> bool:
    """Whether the last bar of each stream is decided, and all is delivered."""
    closes = [
        total(found, "candled_stream_close_timestamp_seconds", **labels(stream))
        for stream in STREAMS
    ]
    return set(closes) == {LAST_CLOSE_S} and total(found, "candled_outbox_entries") == 0


async def live(folder: Path, broker: Mosquitto) -> Lived:
    markets = generate_many(9, SYMBOLS, HOURLY, synthetic_start(HOURLY), HISTORY + BARS + 1)
    speed = BARS_A_SECOND * HOURLY.typical_ms / 1000
    venue = Simulator(markets, HOURLY, speed=speed, start_at=HISTORY, bars=BARS, linger=60)
    async with venue:
        port = free_port()
        path = config(folder, venue, broker, port)
        daemon = Program("daemon", ["-m", "candled", "run", "--config", str(path)], folder)
        try:
            daemon.start()
            return await look(folder, broker, daemon, Scraper(port, daemon.words))
        finally:
            daemon.kill()


async def look(folder: Path, broker: Mosquitto, daemon: Program, scraper: Scraper) -> Lived:
    early = await scraper.get("/readyz"), await scraper.figures()
    await scraper.until(whole)
    plain = (await scraper.get("/metrics")).text
    opened = (await scraper.get("/metrics", OPENMETRICS)).text
    broker.kill()
    killed = time.monotonic()
    away = await scraper.until(lambda found: not connected(found), NOTICED_S)
    noticed_s = time.monotonic() - killed
    broker.start()
    back = await scraper.until(connected)
    late = await scraper.get("/readyz"), await scraper.figures()
    state = folder / "state"
    journal_bytes = sum(file.stat().st_size for file in state.glob("candled.journal*"))
    assert daemon.terminate() == 0
    journal = open_journal(state)
    try:
        entries = journal.after(0, 10_000)
    finally:
        journal.close()
    return Lived(
        plain, opened, away, back, noticed_s,
        ready=(early[0].status_code == 200, late[0].status_code == 200),
        ready_told=(ready_of(early[1]), ready_of(late[1])),
        entries=entries,
        journal_bytes=journal_bytes,
        digest=load_bundle(folder / "bundle").model.digest,
    )  # fmt: skip


def ready_of(found: Values) -> float | None:
    return found.get(("candled_ready", frozenset()))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    folder = tmp_path_factory.mktemp("lived")
    bundle(folder / "bundle")
    with mosquitto(folder) as broker:
        return asyncio.run(live(folder, broker))


@pytest.fixture
def found(lived: Lived) -> Values:
    return own(values(text_string_to_metric_families(lived.plain)))


def labels(stream: Stream) -> dict[str, str]:
    return {"exchange": stream.exchange, "symbol": stream.symbol, "interval": stream.interval}


def test_the_figures_of_a_life_equal_its_journal(lived: Lived, found: Values):
    """Decisions by side and reason, signals, and what was delivered: all that is on disk."""
    assert len(lived.entries) > BARS  # on a busy machine the first ones are history
    for stream in STREAMS:
        mine = [entry for entry in lived.entries if entry.decision.stream == stream]
        sides = Counter(entry.decision.side for entry in mine)
        for side in Side:
            told = total(found, "candled_decisions_total", **labels(stream), side=side.value)
            assert told == sides[side]
        signals = [entry.seq for entry in mine if entry.seq is not None]
        assert total(found, "candled_signals_total", **labels(stream)) == len(signals)
        suppressed = sum(entry.decision.reason is not None for entry in mine)
        assert total(found, "candled_suppressed_total", **labels(stream)) == suppressed
        last = mine[-1]
        lag = (last.decided_ms - last.decision.bar_close) / 1000
        assert total(found, "candled_stream_lag_seconds", **labels(stream)) == lag
        closed = total(found, "candled_stream_close_timestamp_seconds", **labels(stream))
        assert closed == last.decision.bar_close / 1000
        assert total(found, "candled_stream_live", **labels(stream)) == 1
    signals = [entry for entry in lived.entries if entry.seq is not None]
    assert signals
    assert total(found, "candled_delivered_total") == len(signals)


def test_the_stages_of_a_life_are_in_their_order(lived: Lived, found: Values):
    """Every bar that came live is in each stage once, and no stage is shorter than one before."""
    live = [entry for entry in lived.entries if entry.source is not Source.BACKFILL]
    signals = [entry for entry in live if entry.seq is not None]

    def stage(name: str, what: str) -> float:
        return total(found, f"candled_stage_seconds_{what}", stage=name)

    counts = [stage(name, "count") for name in ("received", "decided", "durable")]
    assert counts == [len(live)] * 3
    assert stage("acked", "count") == len(signals) == total(found, "candled_signal_seconds_count")
    assert 0 < stage("decided", "sum") < stage("durable", "sum")
    received = sum(entry.received_ms - entry.decision.bar_close for entry in live) / 1e3
    assert stage("received", "sum") == pytest.approx(received)
    assert 0 < stage("acked", "sum") <= total(found, "candled_signal_seconds_sum")
    assert total(found, "candled_loop_late_seconds_count") > 10


def test_a_broker_that_dies_is_told_within_five_seconds_and_so_is_its_return(lived: Lived):
    """While it is away the service is degraded and no scrape fails."""
    assert lived.noticed_s < NOTICED_S + 1  # of which a scrape on a busy machine may be a part
    assert not connected(lived.away)
    assert total(lived.away, "candled_service_state", state="degraded") == 1
    assert connected(lived.back)


def test_readiness_is_the_same_on_both_ways(lived: Lived):
    """/readyz and the figures agree, at the start and once all is there."""
    assert lived.ready == (False, True)
    assert lived.ready_told == (0, 1)


def test_model_disk_and_build_are_those_of_this_daemon(lived: Lived, found: Values):
    """What is in use is named by its digest; the journal's size is that of its files."""
    assert total(found, "candled_model_info", digest=lived.digest, role="champion") == 1
    until = total(found, "candled_model_trained_until_timestamp_seconds", digest=lived.digest)
    assert 1e9 < until < 1e10
    assert 0 < total(found, "candled_state_free_bytes") < total(found, "candled_state_size_bytes")
    told = total(found, "candled_journal_bytes")
    assert told == pytest.approx(lived.journal_bytes, rel=0.5)
    assert told > 10_000
    assert {key[1] for key in found if key[0] == "candled_outbox_entries"} == {
        frozenset({("sink", "mqtt")}),
        frozenset({("sink", "log")}),
        frozenset({("sink", "ledger")}),
    }


def test_both_formats_of_a_life_parse_and_hold_every_figure(lived: Lived):
    """No figure that is documented lacks in a real daemon's text, nor is one there unannounced."""
    plain = {family.name for family in text_string_to_metric_families(lived.plain)}
    opened = {family.name for family in openmetrics.text_string_to_metric_families(lived.opened)}
    names = {kind.name.removesuffix("_total") for kind in KINDS}
    assert {name for name in plain if name.startswith("candled_")} == names
    assert {name for name in opened if name.startswith("candled_")} == names


def test_without_a_window_no_figures_are_made(tmp_path: Path):
    """A daemon that shows nothing loads no client library, and counts for its summary alone."""
    bundle(tmp_path / "model")
    config = tmp_path / "config.toml"
    config.write_text("""
web.listen = ""
mqtt.url = "mqtt://127.0.0.1:9"
log.decisions = ""
[exchanges.binance]
dialect = "binance-spot"
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "model"
""")
    command = [sys.executable, "-c", BUILT, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "0"]
