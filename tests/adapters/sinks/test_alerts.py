"""Alerts by apprise to a real HTTP server: what is told, and that nothing is held up by it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from candled.core.bar import Stream
from candled.core.decision import Side
from candled.ports import Act, Hazard, Incident, ServiceState
from candled_adapters.sinks.alert_digest import Message
from candled_adapters.sinks.alerts import (
    AlertSettings,
    AlertSink,
    AlertUrlError,
    apprise_tell,
    is_halt,
    lines_of,
)
from fakes import BTC, EVENING_MS, Board, Decisions, FixedClock, MemoryOutbox, ended, until
from hooks import Receiver, Reply, receiver

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what apprise imports
NOW = EVENING_MS + 60_041
QUICK = AlertSettings(window_s=0.1)


def halt(hazard: Hazard = Hazard.HALTED, act: Act = Act.DEGRADE, stream=BTC) -> Incident:
    return Incident("binance", stream, hazard, act, "no bar for 3 h", NOW)


def play(work, settings=QUICK, tell=None, script=lambda _: Reply()):
    """Run `work(outbox, board, target)` while the sink tells a target of it; return the target."""
    outbox, board, clock = MemoryOutbox(), Board(), FixedClock(NOW)

    async def main() -> Receiver:
        async with receiver(script) as target:
            url = f"json://127.0.0.1:{target.port}/hook?x=y"
            said = tell or apprise_tell(f"# to us\n{url} # here\n")
            sink = AlertSink(settings, said, lambda _: clock)
            task = asyncio.create_task(sink.run(outbox, board))
            try:
                await work(outbox, board, target)
            finally:
                await ended(task)
            return target

    return asyncio.run(asyncio.wait_for(main(), 20))


def test_the_signals_of_one_close_are_one_message():
    """300 of them, by apprise to a real server."""

    async def work(outbox, _board, target) -> None:
        decisions = Decisions()
        streams = [Stream("binance", f"S{n}USDT", "1m") for n in range(300)]
        outbox.add(*(decisions.make(Side.LONG, stream) for stream in streams))
        await until(lambda: target.requests)
        assert outbox.position("alerts") == 300

    (request,) = play(work).requests
    assert request.json["title"] == "candled: 300 signals"
    assert request.json["message"].startswith("LONG binance/S0USDT/1m at 93576")
    assert "probability 61.2%, until 2025-01-01T00:02:00Z" in request.json["message"]
    assert "... and 280 more" in request.json["message"]


def test_all_that_is_asked_for_is_told():
    """Signals, corrections, the service's state and halts, each as one line."""

    async def work(outbox, board, target) -> None:
        decisions = Decisions()
        long = decisions.make(Side.LONG)
        outbox.add(long, decisions.correct(long, Side.FLAT), decisions.make(Side.FLAT))
        board.tell(halt())
        board.tell(halt(Hazard.DUPLICATE_CLOSE, Act.DROP))
        await until(lambda: outbox.position("alerts") == 3)
        board.set(ServiceState.DEGRADED, "mqtt: away")
        await until(lambda: len(target.requests) >= 1)

    (request,) = play(work).requests
    assert sorted(request.json["message"].splitlines()) == sorted([
        "LONG binance/BTCUSDT/1m at 93576, probability 61.2%, until 2025-01-01T00:02:00Z",
        "long taken back: binance/BTCUSDT/1m, bar of 2025-01-01T00:00:00Z, is flat now",
        "binance/BTCUSDT/1m: halted: no bar for 3 h",
        "degraded: mqtt: away",
    ])  # fmt: skip


def test_only_what_is_asked_for_is_told():
    """By kind and by stream."""

    async def work(outbox, board, target) -> None:
        decisions = Decisions()
        outbox.add(decisions.make(Side.LONG), decisions.make(Side.SHORT, Stream("okx", "X", "1m")))
        await until(lambda: outbox.position("alerts") == 2)
        board.set(ServiceState.DEGRADED, "mqtt: away")
        board.tell(halt())
        await until(lambda: target.requests)

    kinds = frozenset({"signals", "halts"})
    settings = AlertSettings(kinds=kinds, streams=("okx/*",), window_s=0.05)
    (request,) = play(work, settings).requests
    assert request.json["title"] == "candled: 1 signal"
    assert "okx/X/1m" in request.json["message"]


def test_after_an_outage_nothing_old_is_told():
    """A signal that is no more valid, and a correction of long ago, are passed over."""
    decisions = Decisions()
    long = decisions.make(Side.LONG)
    flat = decisions.correct(long, Side.FLAT)
    end = long.decision.valid_until
    assert [kind for kind, _ in lines_of(long, end - 1)] == ["signals"]
    assert lines_of(long, end) == []
    assert [kind for kind, _ in lines_of(flat, flat.decided_ms + 900_000)] == ["corrections"]
    assert lines_of(flat, flat.decided_ms + 900_001) == []
    turned = decisions.correct(flat, Side.SHORT)
    assert [kind for kind, _ in lines_of(turned, NOW)] == ["signals"]


def test_a_stop_is_a_halt_whatever_the_hazard():
    """And a symbol that is no more; a dropped duplicate is none."""
    assert is_halt(halt(Hazard.INVALID_BAR, Act.STOP))
    assert is_halt(halt(Hazard.UNKNOWN_STREAM, Act.DEGRADE))
    assert not is_halt(halt(Hazard.DUPLICATE_CLOSE, Act.DROP))


def test_a_service_that_hangs_holds_up_nothing_and_has_one_thread():
    """The mark goes on, it is remarked on, and what was not told is counted later."""
    release, told = threading.Event(), []

    def hang(message: Message) -> str | None:
        told.append(message)
        if len(told) == 1:
            release.wait(10)
        return None

    async def work(outbox, board, _target) -> None:
        decisions, threads = Decisions(), threading.active_count()
        for number in range(1, 4):
            outbox.add(decisions.make(Side.LONG))
            await until(lambda n=number: outbox.position("alerts") == n)
            await until(lambda n=number: len(board.remarks) >= n)
            assert threading.active_count() <= threads + 1
        release.set()
        await until(lambda: threading.active_count() == threads)
        outbox.add(decisions.make(Side.LONG))
        await until(lambda: len(told) > 1)

    settings = AlertSettings(window_s=0.0, timeout_s=0.1)
    try:
        play(work, settings, hang)
    finally:
        release.set()
    assert told[1].counts.get("signals", 0) + told[1].unsaid["signals"] == 4


def test_a_service_that_refuses_is_remarked_on_without_its_address():
    """By its line and scheme; the next message tells how many were not told."""

    async def work(outbox, board, target) -> None:
        decisions = Decisions()
        outbox.add(decisions.make(Side.LONG))
        await until(lambda: board.remarks)
        assert board.remarks[0] == ("alerts", "1 of 1 services failed: line 2 (json)")
        target.script = lambda _: Reply()
        outbox.add(decisions.make(Side.LONG))
        await until(lambda: len(board.remarks) >= 2 and board.remarks[-1] == ("alerts", None))

    target = play(work, AlertSettings(window_s=0.0), script=lambda _: Reply(500))
    assert "Not told before: 1 signal" in target.requests[-1].json["message"]


def test_an_error_of_a_service_tells_no_secret():
    """Only of what kind it was."""

    def fail(_message: Message) -> str | None:
        raise ValueError("https://token@host")

    async def work(outbox, board, _target) -> None:
        outbox.add(Decisions().make(Side.LONG))
        await until(lambda: board.remarks)
        assert board.remarks == [("alerts", "failed: ValueError")]

    play(work, AlertSettings(window_s=0.0), fail)


def test_at_the_end_what_is_collected_is_told():
    """A stop does not swallow the last close, and does not wait long for a service either."""
    told = []

    async def work(outbox, _board, _target) -> None:
        outbox.add(Decisions().make(Side.LONG))
        await until(lambda: outbox.position("alerts") == 1)

    play(work, AlertSettings(window_s=60.0), lambda message: told.append(message.title))
    assert told == ["candled: 1 signal"]
    began = time.monotonic()
    release = threading.Event()
    play(work, AlertSettings(window_s=60.0), lambda _: str(release.wait(10)))
    release.set()
    assert time.monotonic() - began < 5


def test_a_bad_url_is_told_by_its_line_without_its_secret():
    """At check and at start; a file without any is told too."""
    with pytest.raises(AlertUrlError, match=r"^line 3 \(nonsense\) is no URL that apprise knows"):
        apprise_tell("# ours\njson://localhost\nnonsense://SECRET/x")
    with pytest.raises(AlertUrlError, match=r"line 1 \(without ://\)"):
        apprise_tell("SECRET")
    with pytest.raises(AlertUrlError, match="holds no URL"):
        apprise_tell("# nothing\n\n")


def test_apprise_is_not_imported_before_it_is_asked_for():
    """Who has no alerts carries nothing of it."""
    code = "import candled.targets, sys; print('apprise' in sys.modules, 'requests' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
