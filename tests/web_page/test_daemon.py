"""The whole way: a simulated venue, the real daemon, the page; and faults of each on the page."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path

from brokers import free_port, mosquitto, needs_mosquitto
from browser import Page, needs_chromium, page
from candled.core.bar import Bars, Interval
from candled.simulate import synthetic_start
from candled_adapters.simulator.generator import generate_many
from candled_adapters.simulator.server import Simulator
from chaos.programs import Program
from models import bundle
from web_page.served import needs_chart
from web_page.test_live import DRAWN, PAST, app, says, serious

pytestmark = [needs_chromium, needs_chart, needs_mosquitto]

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HISTORY = 2000
BARS = 1000
SHOWN_WITHIN_S = 5.0
PATIENCE_S = 30.0


def config(folder: Path, port: int, broker: int, venue: Simulator) -> Path:
    file = folder / "config.toml"
    file.write_text(f"""
[mqtt]
url = "mqtt://127.0.0.1:{broker}"

[log]
decisions = ""
format = "json"

[web]
listen = "127.0.0.1:{port}"
page = true

[exchanges.demo]
dialect = "binance-spot"
ws_url = "{venue.ws_url}"
rest_url = "{venue.rest_url}"
max_skew_s = inf

[[streams]]
exchange = "demo"
symbols = {json.dumps(SYMBOLS)}
interval = "1h"
bundle = {json.dumps(str(bundle(folder / "bundle")))}
any_symbol = true
""")
    return file


async def settled(shown: Page, market: Bars) -> None:
    """Return once the chart has the venue's bars; what was missed may be on its way."""
    for _ in range(100):
        if await bars_are_the_venues(shown, market):
            return
        await asyncio.sleep(0.05)
    raise AssertionError


async def bars_are_the_venues(shown: Page, market: Bars) -> bool:
    seen = await shown.run(app("app.panel.chart.candles.data()"))
    closes = zip(market.open_time.tolist(), market.close.tolist(), strict=True)
    wanted = {opened // 1000: close for opened, close in closes}
    steps = {after["time"] - before["time"] for before, after in itertools.pairwise(seen)}
    return steps == {3600} and all(abs(wanted[bar["time"]] - bar["close"]) < 1e-9 for bar in seen)


def test_what_the_daemon_decides_and_what_befalls_it_is_on_the_page(browser, tmp_path):
    """A venue's bars reach the chart; a lost broker, a frozen and a killed daemon show."""
    interval, port = Interval("1h"), free_port()
    markets = generate_many(5, SYMBOLS, interval, synthetic_start(interval), HISTORY + BARS + 1)
    venue = Simulator(markets, interval, speed=4 * 3600.0, start_at=HISTORY, bars=BARS)

    async def run() -> None:
        with mosquitto(tmp_path) as broker:
            async with venue:
                file = config(tmp_path, port, broker.port, venue)
                daemon = Program(
                    "daemon", ["-m", "candled", "run", "--config", str(file)], tmp_path
                )
                daemon.start()
                try:
                    await daemon.until_said('"web"', PATIENCE_S)
                    await look(daemon, broker)
                finally:
                    daemon.kill()

    async def look(daemon: Program, broker) -> None:
        first = f"demo/{SYMBOLS[0]}/1h"
        async with page(browser, f"http://127.0.0.1:{port}/#/{first}") as shown:
            await shown.until(says("#state", "online"), PATIENCE_S)
            await shown.until(DRAWN, PATIENCE_S)
            await shown.until(says("#count-live", "2"))
            newest = app("app.panel.chart.candles.data().at(-1)")
            before = await shown.run(newest)
            await shown.until(
                f"{newest}.then((bar) => bar.time >= {before['time'] + 3 * 3600})", SHOWN_WITHIN_S
            )
            await settled(shown, markets[SYMBOLS[0]])
            await shown.until(says("#stream .top", "closed", "ago"))
            assert not await shown.run(says("#stream .top", "late"))
            assert shown.complaints == []
            broker.kill()
            await shown.until(says("#state", "degraded"), SHOWN_WITHIN_S)
            broker.restart()
            await shown.until(says("#state", "online"), PATIENCE_S)
            daemon.freeze()
            await shown.until(PAST, SHOWN_WITHIN_S)
            daemon.thaw()
            await shown.until(f"!({PAST})", SHOWN_WITHIN_S)
            daemon.kill()
            await shown.until(PAST, SHOWN_WITHIN_S)
            daemon.start()
            await shown.until(f"!({PAST})", PATIENCE_S)
            await shown.until(says("#state", "online"), PATIENCE_S)
            await settled(shown, markets[SYMBOLS[0]])
            assert serious(shown) == []

    asyncio.run(run())
