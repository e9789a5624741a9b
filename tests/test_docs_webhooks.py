"""The page of webhooks says what is so: its signature check, its configurations, its example."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import sys
import tomllib
import types
from pathlib import Path

import aiomqtt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers import mosquitto, needs_mosquitto
from candled.config import AlertsConfig, WebhookConfig
from candled.core.decision import Side
from candled.ports import Health, ServiceState
from candled_adapters.protocol.topics import Topics
from candled_adapters.sinks import payload
from candled_adapters.sinks.orders import NAMES
from candled_adapters.sinks.webhook_wire import signature
from fakes import EVENING_MS, Decisions, until

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "webhooks.md").read_text()
NOW = 1_735_689_600


def documented_check():
    """Return the function that the page shows."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(code.strip().splitlines()) <= 12
    names: dict[str, object] = {}
    exec(code, names)  # noqa: S102 - what is documented is run
    return names["is_from_candled"]


is_from_candled = documented_check()


@given(st.binary(max_size=50), st.text(min_size=1, max_size=20), st.integers(-400, 400))
def test_the_documented_check_takes_what_is_signed_and_fresh(body, key, late):
    """And whatever is older or newer than five minutes it does not."""
    header = signature(key, body, NOW)
    assert is_from_candled(header, body, key, NOW + late) is (abs(late) <= 300)


@given(st.binary(max_size=20), st.binary(max_size=20), st.integers(0, 90), st.characters())
def test_the_documented_check_refuses_what_is_changed(body, other, place, char):
    """The body, the time, the proof, the key: any of them."""
    header = signature("key", body, NOW)
    assert is_from_candled(header, other, "key", NOW) is (other == body)
    assert not is_from_candled(header, body, "other", NOW)
    assert not is_from_candled(header.replace(str(NOW), str(NOW + 1)), body, "key", NOW)
    changed = header[:place] + char + header[place + 1 :]
    assert is_from_candled(changed, body, "key", NOW) is (changed == header)


def configurations() -> list[dict]:
    """Return the page's indented pieces that are configuration."""
    pieces = re.findall(r"(?:^    .*\n|^\n)+", PAGE, flags=re.MULTILINE)
    return [
        tomllib.loads(re.sub("^    ", "", piece, flags=re.MULTILINE))
        for piece in pieces
        if piece.lstrip().startswith(("[[webhooks]]", "[alerts]", "template"))
    ]


def test_what_the_page_configures_is_valid():
    """Each piece has known keys and good values."""
    pieces = configurations()
    assert len(pieces) == 5
    for piece in pieces:
        for part in piece.get("webhooks", []):
            WebhookConfig.model_validate(part)
        if "alerts" in piece:
            AlertsConfig.model_validate(piece["alerts"])
        if "template" in piece:
            WebhookConfig.model_validate({"name": "x", "url": "https://x.org", **piece})


def test_the_page_names_every_name_of_its_own():
    """What templates may say beside the fields of a log line is in its tables."""
    lines = payload.record(Decisions().make(), "e").__struct_fields__
    own = {name for name in NAMES if "." not in name and name not in lines}
    named = set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE))
    assert own <= named


# --- the example strategy, with as much of freqtrade as it touches


@pytest.fixture(scope="module")
def example():
    """Return the example as a module; the names that it imports of freqtrade are bare classes."""
    strategy = types.ModuleType("freqtrade.strategy")
    strategy.IStrategy = type("IStrategy", (), {})
    persistence = types.ModuleType("freqtrade.persistence")
    persistence.Trade = type("Trade", (), {})
    parts = {
        "freqtrade": types.ModuleType("freqtrade"),
        "freqtrade.strategy": strategy,
        "freqtrade.persistence": persistence,
    }
    path = DOCS / "examples" / "freqtrade_mqtt.py"
    spec = importlib.util.spec_from_file_location("freqtrade_mqtt", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name, part in parts.items():
            patch.setitem(sys.modules, name, part)
        spec.loader.exec_module(module)
    return module


ONLINE = Health(ServiceState.ONLINE, (), EVENING_MS)
DEGRADED = Health(ServiceState.DEGRADED, ("x",), EVENING_MS)
MOMENT = EVENING_MS + 60_100


def heard(example, *messages: bytes):
    signals = example.Signals()
    for message in messages:
        signals.hear(message)
    return signals


def test_the_example_enters_only_on_a_live_valid_signal_while_online(example):
    """Each of these conditions alone keeps it out."""
    long = Decisions().make(Side.LONG)
    live, late = payload.signal(long, "e", MOMENT), payload.signal(long, "e", EVENING_MS + 10**7)
    online, degraded = (payload.status(health, "i", "e") for health in (ONLINE, DEGRADED))
    end = long.decision.valid_until
    assert heard(example, online, live).wanted("BTCUSDT", end - 1)["side"] == "long"
    assert heard(example, online, live).wanted("BTCUSDT", end) is None
    assert heard(example, online, live).wanted("ETHUSDT", MOMENT) is None
    assert heard(example, online, late).wanted("BTCUSDT", MOMENT) is None
    assert heard(example, live).wanted("BTCUSDT", MOMENT) is None
    assert heard(example, online, live, degraded).wanted("BTCUSDT", MOMENT) is None
    signals = heard(example, online, live)
    signals.lost()
    assert signals.wanted("BTCUSDT", MOMENT) is None


def test_the_example_acts_once_and_leaves_what_is_taken_back(example):
    """A correction that keeps the side changes nothing."""
    decisions = Decisions()
    long = decisions.make(Side.LONG)
    same = decisions.correct(long, Side.LONG)
    flat = decisions.correct(same, Side.FLAT)
    online, id_ = payload.status(ONLINE, "i", "e"), long.decision.id
    signals = heard(example, online, payload.signal(long, "e", MOMENT))
    assert signals.use(id_)
    assert not signals.use(id_)
    assert signals.wanted("BTCUSDT", MOMENT) is None
    signals.hear(payload.encode(payload.correction(same, "e")))
    assert not signals.is_taken_back(id_)
    signals.hear(payload.encode(payload.correction(flat, "e")))
    assert signals.is_taken_back(id_)
    fresh = heard(example, online, payload.signal(long, "e", MOMENT))
    fresh.hear(payload.encode(payload.correction(flat, "e")))
    assert not fresh.use(id_)


LEAVES = st.none() | st.booleans() | st.text(max_size=3) | st.integers()
FIELDS = ("state", "live", "symbol", "side", "id", "supersedes", "valid_until_ms", "signal")
NOISE = st.builds(
    lambda schema, fields: {"schema": schema, **fields},
    st.sampled_from(["candled.status/1", "candled.signal/1", "candled.correction/1"]) | LEAVES,
    st.dictionaries(st.sampled_from(FIELDS), LEAVES | st.lists(LEAVES, max_size=2), max_size=6),
)


@given((NOISE | LEAVES | st.lists(LEAVES)).map(json.dumps).map(str.encode) | st.binary(max_size=40))
def test_the_example_outlives_any_message(example, noise):
    """What is no message of candled's is passed over, and what is one afterwards is not."""
    signals = heard(example, noise, payload.status(ONLINE, "i", "e"))
    signals.wanted("BTCUSDT", MOMENT)
    signals.hear(payload.signal(Decisions().make(Side.LONG), "e", MOMENT))
    assert signals.wanted("BTCUSDT", MOMENT)


@needs_mosquitto
def test_the_example_trades_what_is_published(example, tmp_path, monkeypatch):
    """From the daemon's topics at a real broker to a marked candle, an entry and an exit."""
    decisions, topics = Decisions(), Topics("candled")
    long = decisions.make(Side.LONG)
    flat = payload.encode(payload.correction(decisions.correct(long, Side.FLAT), "e"))
    its_time = types.SimpleNamespace(time_ns=lambda: MOMENT * 1_000_000)
    monkeypatch.setattr(example, "time", its_time)

    async def main(port: int) -> None:
        strategy = example.CandledMqtt()
        strategy.broker = ("127.0.0.1", port)
        strategy.bot_start()
        try:
            async with aiomqtt.Client("127.0.0.1", port) as daemon:
                await daemon.publish(
                    topics.status, payload.status(ONLINE, "i", "e"), 1, retain=True
                )
                await until(lambda: strategy.signals._online)
                said = payload.signal(long, "e", MOMENT)
                await daemon.publish(topics.signal("binance/BTCUSDT/1m"), said, 1)
                await until(lambda: strategy.signals.wanted("BTCUSDT", MOMENT))
                tag = enter(strategy)
                trade = types.SimpleNamespace(enter_tag=tag)
                assert strategy.custom_exit(pair="BTC/USDT:USDT", trade=trade) is None
                await daemon.publish(topics.event("binance/BTCUSDT/1m"), flat, 1)
                await until(lambda: strategy.custom_exit(pair="BTC/USDT:USDT", trade=trade))
        finally:
            strategy.client.loop_stop()
            strategy.client.disconnect()

    with mosquitto(tmp_path) as broker:
        asyncio.run(asyncio.wait_for(main(broker.port), 20))


def enter(strategy) -> str:
    """Let the strategy mark the newest candle and confirm the entry; return its tag."""
    frame = pd.DataFrame({"close": [1.0, 2.0]})
    frame = strategy.populate_entry_trend(frame, {"pair": "BTC/USDT:USDT"})
    assert frame["enter_long"].isna().tolist() == [True, False]
    assert frame["enter_long"].tolist()[1] == 1
    tag = frame["enter_tag"].tolist()[1]
    assert strategy.confirm_trade_entry(pair="BTC/USDT:USDT", entry_tag=tag, side="long")
    return tag
