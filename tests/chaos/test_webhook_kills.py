"""The real daemon before a real target, killed on the way: what was decided is what arrived."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from candled.core.bar import Interval
from candled.journal import open_journal
from candled.journal.reader import open_reader
from candled.simulate import synthetic_start
from candled_adapters.candles.writing import write_candles
from candled_adapters.simulator.generator import generate
from candled_adapters.sinks.orders import Wanted, orders_of
from candled_adapters.sinks.webhook_wire import signature
from hooks import RESET, Reply, Request, receiver
from models import bundle

BARS, START_AT, BARS_PER_SECOND = 24, 400, 3
PATIENCE_S = 40.0


@contextmanager
def program(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a candled command as a child process, and kill it at the end."""
    with (folder / f"{arguments[0]}.log").open("a") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "candled", *arguments],
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        yield child
    finally:
        child.kill()
        child.communicate(timeout=10)


def addresses(simulator: subprocess.Popen[str]) -> tuple[str, str]:
    """Read the addresses that the simulator prints when it is ready."""
    assert simulator.stdout is not None
    found = (line.split()[1] for line in simulator.stdout if line.startswith(("web", "rest ")))
    return next(found), next(found)


def configure(folder: Path, urls: tuple[str, str], hook: str) -> Path:
    (folder / "key").write_text("a key\n")
    config = folder / "config.toml"
    config.write_text(f"""
[mqtt]
url = "mqtt://127.0.0.1:9"
[log]
decisions = ""
[[webhooks]]
name = "bot"
url = "{hook}"
hmac_key_file = "key"
[[webhooks]]
name = "dead"
url = "http://127.0.0.1:9/"
[policy]
valid_bars = 12
[exchanges.binance]
dialect = "binance-spot"
ws_url = "{urls[0]}"
rest_url = "{urls[1]}"
max_skew_s = inf
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "bundle"
""")
    return config


def ending(log: Path) -> str:
    return log.read_text()[-3000:]


async def until(condition: Callable[[], object], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, ending(log)
        await asyncio.sleep(0.02)


def test_what_the_journal_decided_arrived_or_was_given_up(tmp_path):
    """Through kill -9 of the daemon, a target that fails, and one that is dead all the time.

    No broker is there either: nobody holds up anybody.
    """
    interval = Interval("1h")
    bars = generate(7, interval, synthetic_start(interval), START_AT + BARS + 1)
    write_candles(tmp_path / "candles.csv.gz", bars)
    bundle(tmp_path / "bundle")
    seen: list[tuple[Request, bool]] = []

    def script(request: Request) -> Reply | str:
        answer = (Reply(), Reply(), Reply(500), Reply(), RESET)[len(seen) % 5]
        seen.append((request, answer == Reply()))
        return answer

    asyncio.run(play(tmp_path, script, seen))
    judge(tmp_path, seen)


async def play(folder: Path, script, seen: list) -> None:
    simulate = (
        "simulate", "--candles", str(folder / "candles.csv.gz"), "--symbols", "BTCUSDT",
        "--interval", "1h", "--port", "0", "--speed", str(BARS_PER_SECOND * 3600),
        "--start-at", str(START_AT), "--bars", str(BARS),
    )  # fmt: skip
    log = folder / "run.log"
    async with receiver(script) as target:
        with program(folder, *simulate) as simulator:
            run = ("run", "--config", str(configure(folder, addresses(simulator), target.url)))
            with program(folder, *run):
                await until(lambda: len(seen) >= 3, log)
            with program(folder, *run):
                await until(lambda: simulator.poll() is not None, log)
                await until(lambda: settled(folder), log)


def number(folder: Path, sql: str) -> int:
    """Ask the journal beside a running daemon; 0 as long as there is none."""
    file = folder / "state" / "candled.journal"
    if not file.exists():
        return 0
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        try:
            row = db.execute(sql).fetchone()
        except sqlite3.OperationalError:  # not made yet
            return 0
    return int(row[0]) if row else 0


def settled(folder: Path) -> bool:
    """Whether the living target has come to the end."""
    mark = number(folder, "SELECT position FROM marks WHERE sink = 'webhook:bot'")
    return mark >= number(folder, "SELECT max(position) FROM decisions") > 0


def judge(folder: Path, seen: list[tuple[Request, bool]]) -> None:
    """Compare what arrived with what was decided."""
    journal = open_journal(folder / "state")
    entries = journal.after(0, 10_000)
    assert journal.position("webhook:bot") == entries[-1].position
    journal.close()
    with open_reader(folder / "state") as reader:
        refused = {(letter.sink, letter.position) for letter in reader.refused()}
    orders = {order.key: order for entry in entries for order in orders_of(entry, Wanted())}
    taken = {request.key for request, ok in seen if ok}
    assert len(orders) >= 3, "the candles hold signals enough"
    assert len(taken) >= 2, "some came while they were valid"
    for order in orders.values():
        assert order.key in taken or ("webhook:bot", order.entry.position) in refused
    assert {request.key for request, _ in seen} <= orders.keys()
    places = [orders[request.key].entry.position for request, _ in seen]
    assert places == sorted(places)
    bodies = {(request.key, request.body) for request, _ in seen}
    assert len(bodies) == len({request.key for request, _ in seen})
    for request, _ in seen:
        when = int(request.headers["x-candled-signature"][2:].split(",")[0])
        assert request.headers["x-candled-signature"] == signature("a key", request.body, when)
