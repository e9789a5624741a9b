"""`candled replay`: the daemon's decisions again, compared, and published for a rehearsal."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers import free_port, mosquitto, needs_mosquitto
from candled.config import Config, load_config
from candled.core.bar import HOUR, Bars, Stream
from candled.core.decision import BarClosed, Decision, Side, Source
from candled.core.engine import Engine
from candled.errors import Exit, explain
from candled.journal import open_journal
from candled.lineup import load_lanes
from candled.operating.rehearsal import Hands, ReplayError, Stage, staged
from candled.operating.replay import DIFFERS, ReplayOptions, run_replay
from candled_adapters.candles.candlefile import write_candles
from candled_adapters.subscriber import Broker, Heard, Signals, VenueClock
from candles import HOURLY, candles
from models import THRESHOLD, bundle

STREAM = Stream("binance", "BTCUSDT", "1h")
FIRST = 1_460  # more than a decision's history
BARS = candles(FIRST + 120, seed=9)
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Leave a journal as a daemon does that had its history and decided 120 bars."""
    folder = tmp_path_factory.mktemp("live")
    bundle(folder / "bundle")
    bundle(folder / "other", seed=2)
    (folder / "config.toml").write_text(f"""
[exchanges.binance]
dialect = "binance-spot"
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "bundle"
[policy]
threshold = {THRESHOLD}
""")
    decide(folder, BARS)
    return folder


def decide(folder: Path, bars: Bars, first: int = FIRST) -> list[Decision]:
    """Decide bars as the service does, one by one, and keep them in the folder's journal."""
    config = load_config(folder / "config.toml")
    engine = Engine(load_lanes(config, folder / "config.toml"))
    journal = open_journal(config.state.path)
    made = []
    try:
        journal.store_history(STREAM, bars[:first], from_listing=False)
        engine.warm(STREAM, bars[:first], from_listing=False)
        for bar in bars[first:]:
            event = BarClosed(STREAM, bar, Source.WS, 1, bar.close_time + 1)
            made += engine.decide([event])
            journal.commit([event], made[-1:], [event.received_ms])
    finally:
        journal.close()
    return made


def options(folder: Path, **fields: Any) -> ReplayOptions:
    usual: dict[str, Any] = {
        "config": folder / "config.toml", "stream": STREAM.path, "candles": None, "bundle": None,
        "first": None, "last": None, "signals": False, "limit": None, "against_journal": False,
        "stage": None, "as_json": True,
    }  # fmt: skip
    return ReplayOptions(**{**usual, **fields})


def replay(capsys, folder: Path, **fields: Any) -> tuple[int, dict[str, Any]]:
    code = run_replay(options(folder, **fields))
    return code, json.loads(capsys.readouterr().out)


def test_the_journals_bars_give_the_journals_decisions(live: Path, capsys):
    """All of them, from the first decided bar on, with the ids that they have; nothing differs."""
    code, said = replay(capsys, live, against_journal=True)
    assert code == 0
    assert said["bars"] == len(said["decisions"]) == 120
    assert said["against_journal"]["compared"] == 120
    assert said["against_journal"]["differ"] == 0
    assert sum(said["sides"].values()) == 120
    assert said["sides"]["long"] + said["sides"]["short"] > 10
    journal = open_journal(live / "state")
    stored = [msgspec.to_builtins(entry.decision) for entry in journal.after(0, 999)]
    journal.close()
    assert said["decisions"] == json.loads(json.dumps(stored))


@settings(max_examples=30, deadline=None)
@given(st.integers(FIRST, FIRST + 119), st.integers(0, 30))
def test_any_stretch_gives_the_same(live: Path, first: int, count: int):
    """Wherever it begins, there is history enough before it."""
    if not hasattr(test_any_stretch_gives_the_same, "whole"):
        test_any_stretch_gives_the_same.whole = _made(live)
    last = min(first + count, FIRST + 119)
    times = BARS.open_time.tolist()
    made = _made(live, first=times[first], last=times[last])
    whole = test_any_stretch_gives_the_same.whole
    assert made == whole[first - FIRST : last - FIRST + 1]


def _made(folder: Path, **fields: Any) -> list[dict[str, Any]]:
    import contextlib  # noqa: PLC0415
    import io  # noqa: PLC0415

    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert run_replay(options(folder, **fields)) == 0
    return json.loads(out.getvalue())["decisions"]


def test_a_candle_file_that_is_otherwise_is_told_bar_by_bar(live: Path, tmp_path: Path, capsys):
    """Code 1, the first bar that differs, and which field: both what was said and what would be."""
    write_candles(tmp_path / "same.csv", BARS)
    code, said = replay(capsys, live, candles=tmp_path / "same.csv", against_journal=True)
    assert (code, said["against_journal"]["differ"]) == (0, 0)
    assert said["against_journal"]["compared"] == 120
    at = FIRST + 100
    closes = BARS.close.copy()
    closes[at] = BARS.low[at]
    write_candles(tmp_path / "other.csv", dataclasses.replace(BARS, close=closes))
    code, said = replay(capsys, live, candles=tmp_path / "other.csv", against_journal=True)
    assert code == DIFFERS
    first = said["against_journal"]["differences"][0]
    assert first["fields"]["price"] == [BARS.close[at], BARS.low[at]]
    assert said["against_journal"]["compared"] == 120
    assert run_replay(
        options(live, candles=tmp_path / "other.csv", against_journal=True, as_json=False, limit=3)
    )
    text = capsys.readouterr().out
    assert f"price: the journal says {BARS.close[at]}, now {BARS.low[at]}" in text
    assert len([line for line in text.splitlines() if line.startswith("20") or "p(" in line]) == 3


def test_another_bundle_is_compared_by_its_sides(live: Path, capsys):
    """It has other ids and probabilities; what counts is what it would have said to do."""
    code, said = replay(capsys, live, bundle=live / "other", against_journal=True)
    journal = open_journal(live / "state")
    stored = {entry.decision.bar_open: entry.decision.side for entry in journal.after(0, 999)}
    journal.close()
    differ = [one for one in said["decisions"] if one["side"] != stored[one["bar_open"]]]
    assert differ, "the two models must differ for this to prove anything"
    assert code == DIFFERS
    assert said["against_journal"]["differ"] == len(differ)
    assert said["against_journal"]["by_another_model"] == 120


def test_signals_and_limit_choose_what_is_shown_not_what_is_counted(live: Path, capsys):
    """The newest so many; the counts are of all bars."""
    _, whole = replay(capsys, live)
    _, said = replay(capsys, live, signals=True, limit=4)
    wanted = [one for one in whole["decisions"] if one["side"] in ("long", "short")][-4:]
    assert said["decisions"] == wanted
    assert said["bars"] == 120


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"stream": "binance/ETHUSDT/1h"}, "has no such stream; it has binance/BTCUSDT/1h"),
        ({"first": 1_900_000_000_000}, "no bar of binance/BTCUSDT/1h to decide: it has 1580 bars"),
        ({"stage": Stage("mqtt://h", "candled", 1, as_live=False)}, "bots that trade listen there"),
        ({"stage": Stage("http://h", "x", 1, as_live=False)}, "--publish: must look like mqtt://"),
        ({"stage": Stage("mqtt://h", "a/#", 1, as_live=False)}, "--base-topic: must be a plain"),
    ],
)
def test_what_cannot_be_replayed_is_told_with_the_mend(live: Path, fields, why: str):
    """Code 78, and the option that is to be changed."""
    with pytest.raises(ReplayError, match=why) as told:
        run_replay(options(live, **fields))
    said = explain(told.value)
    assert said is not None
    assert said[1] == Exit.CONFIG


# --- where a rehearsal may speak

LEVELS = st.lists(
    st.sampled_from(["candled", "a", "b", "hbot", "predictions"]), min_size=1, max_size=3
)


def configured(base: str, *, hummingbot: str | None = None) -> Config:
    more: dict[str, Any] = {"mqtt": {"base_topic": base}}
    if hummingbot:
        more["hummingbot"] = {"base_topic": hummingbot, "pairs": {STREAM.path: "BTC-USDT"}}
    stream = {"exchange": "binance", "symbols": ["BTCUSDT"], "interval": "1h", "bundle": "x"}
    return Config.model_validate(
        {"exchanges": {"binance": {"dialect": "binance-spot"}}, "streams": [stream], **more}
    )


@given(LEVELS, LEVELS, st.none() | LEVELS)
def test_nothing_is_rehearsed_where_bots_trade(mine, theirs, hummingbot):
    """A base topic that is the daemon's, lies below it or above it is refused; any other is not."""
    where = Stage("mqtt://127.0.0.1", "/".join(mine), 1.0, as_live=False)
    config = configured("/".join(theirs), hummingbot="/".join(hummingbot) if hummingbot else None)
    near = [other for other in (theirs, hummingbot) if other]
    if any(mine[: len(other)] == other[: len(mine)] for other in near):
        with pytest.raises(ReplayError, match="bots that trade listen there"):
            staged(config, where)
    else:
        part = staged(config, where).mqtt
        assert part.base_topic == "/".join(mine)
        assert part.client_id != config.mqtt.client_id  # or it would take over the daemon's place


def test_what_opens_one_broker_is_not_given_to_another(tmp_path: Path):
    """The configured password goes to the configured broker alone; what is given goes anywhere."""
    config = configured("candled")
    mine = {"username": "me", "password_file": tmp_path / "secret"}
    mqtt = config.mqtt.model_copy(update=mine)
    config = config.model_copy(update={"mqtt": mqtt})
    there = staged(config, Stage(mqtt.url, "x", 1.0, as_live=False)).mqtt
    assert (there.username, there.password_file) == ("me", tmp_path / "secret")
    away = staged(config, Stage("mqtt://127.0.0.2", "x", 1.0, as_live=False)).mqtt
    assert (away.username, away.password_file) == (None, None)
    given_ = Stage("mqtt://127.0.0.2", "x", 1.0, as_live=False, username="you")
    assert staged(config, given_).mqtt.username == "you"


@given(st.booleans(), st.integers(1, 10), st.integers(1_700_000_000_000, 1_999_000_000_000))
def test_what_is_past_is_past(as_live, bars, close):
    """Not as live, no signal is valid any more, whenever its bar was; as live each is."""
    stage = Stage("mqtt://h", "x", 4.0, as_live=as_live)
    ends = close + (bars + 2) * HOUR
    hands = Hands(stage, HOURLY, ends)
    for at in range(bars):
        hands.turn(close + at * HOUR)
        valid_until = close + at * HOUR + HOUR
        assert (hands.now_ms() < valid_until) == as_live
    assert hands.local_seconds(HOUR) == (0.25 if as_live else 3600)


# --- published


def command(folder: Path, *more: str | Path) -> list[str]:
    return [
        sys.executable, "-m", "candled", "replay", "--config", str(folder / "config.toml"),
        "--stream", STREAM.path, *map(str, more),
    ]  # fmt: skip


async def listen(port: int, heard: list[aiomqtt.Message], ready: asyncio.Event) -> None:
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe("#", qos=1)
        ready.set()
        async for message in client.messages:
            heard += [message]


async def published(port: int, *words: str) -> tuple[dict[str, Any], list[aiomqtt.Message]]:
    """Run the command and hear all that is published meanwhile; return its JSON and that."""
    heard: list[aiomqtt.Message] = []
    ready = asyncio.Event()
    listening = asyncio.create_task(listen(port, heard, ready))
    await asyncio.wait_for(ready.wait(), PATIENCE_S)
    child = await asyncio.create_subprocess_exec(
        *words, "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(child.communicate(), PATIENCE_S)
    finally:
        if child.returncode is None:
            child.kill()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert child.returncode == 0, err.decode()
    assert err == b""
    return json.loads(out), heard


@needs_mosquitto
def test_a_rehearsal_says_what_was_decided_marked_as_past(live: Path, tmp_path: Path):
    """Every signal once, in order, with its id, below the other topic only, and live is false."""
    with mosquitto(tmp_path) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        words = command(live, "--publish", url, "--speed", "1000", "--limit", "0")
        said, heard = asyncio.run(published(broker.port, *words))
    signals = [json.loads(m.payload) for m in heard if "/signal/" in str(m.topic)]
    wanted = [one["id"] for one in said["decisions"] if one["side"] in ("long", "short")]
    assert [one["id"] for one in signals] == wanted
    assert [one["seq"] for one in signals] == list(range(1, len(wanted) + 1))
    assert {one["live"] for one in signals} == {False}
    assert all(str(m.topic).startswith("candled-replay/") for m in heard)
    assert said["published"] == {"decisions": 120, "signals": len(wanted), "undelivered": 0}
    states = [json.loads(m.payload)["state"] for m in heard if str(m.topic).endswith("/status")]
    assert (states[-1], "online" in states) == ("offline", True)


@needs_mosquitto
def test_a_bot_acts_in_a_rehearsal_as_live(live: Path, tmp_path: Path):
    """With the venue's clock the reference bot may act on each signal, just once and in order."""
    acted: list[str] = []

    async def bot(port: int) -> None:
        broker = Broker.at(f"mqtt://127.0.0.1:{port}")
        signals = Signals(
            broker, client_id="bot", base_topic="rehearsal/one", streams=("#",), since=0,
            durable=False, clock=VenueClock(),
        )  # fmt: skip
        async for event in signals:
            if isinstance(event, Heard) and event.act:
                acted.extend([event.signal.id])

    async def scene(port: int) -> dict[str, Any]:
        acting = asyncio.create_task(bot(port))
        words = command(
            live, "--publish", f"mqtt://127.0.0.1:{port}", "--speed", "60", "--as-live",
            "--base-topic", "rehearsal/one", "--limit", "0",
        )  # fmt: skip
        try:
            said, _ = await published(port, *words)
        finally:
            acting.cancel()
            await asyncio.gather(acting, return_exceptions=True)
        return said

    with mosquitto(tmp_path) as broker:
        said = asyncio.run(scene(broker.port))
    wanted = [one["id"] for one in said["decisions"] if Side(one["side"]).is_signal]
    assert [one for one in wanted if one in acted] == acted
    assert len(acted) > len(wanted) // 2, (len(acted), len(wanted))


def test_without_a_broker_it_ends_with_75(live: Path, monkeypatch):
    """Nobody hears a rehearsal at a broker that is away; that is said, with where."""
    monkeypatch.setattr("candled.operating.rehearsal._CONNECT_S", 0.5)
    where = Stage(f"mqtt://127.0.0.1:{free_port()}", "x", 1.0, as_live=False)
    with pytest.raises(BaseException) as told:  # noqa: PT011 - a group, as the daemon's
        run_replay(options(live, stage=where))
    said = explain(told.value)
    assert said is not None
    assert said[1] == Exit.TEMPORARY
    assert "no broker to rehearse with" in said[0]
