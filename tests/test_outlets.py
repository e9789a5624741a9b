"""What is configured is what goes out, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from candled.config import ConfigError, load_config
from candled.core.bar import Stream
from candled.outlets import Outlook, hummingbot_settings, mqtt_settings, sinks_of
from candled.tally import Tally
from candled_adapters.protocol.signing import make_key
from candled_adapters.sinks.homeassistant import Announced
from candled_adapters.sinks.hummingbot import HummingbotSink
from fakes import FixedClock
from models import lane

LANES = [lane(Stream("binance", symbol, "1h")) for symbol in ("BTCUSDT", "ETHUSDT")]
LEAST = """
[exchanges.binance]
dialect = "binance-spot"
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT", "ETHUSDT"]
interval = "1h"
bundle = "b"
"""
PROFILES = """
[homeassistant]
enabled = true
[hummingbot]
base_topic = "bots/ml"
repeat_seconds = 2.5
flat = "neutral"
[hummingbot.pairs]
"binance/ETHUSDT/1h" = "ETH-USDT"
"""


def sinks(folder: Path, text: str) -> list[object]:
    (folder / "config.toml").write_text(text + LEAST)
    config = load_config(folder / "config.toml")
    return list(sinks_of(config, Outlook(LANES, "e1", lambda _name: FixedClock(0), Tally())))


def test_profiles_are_off_unless_they_are_configured(tmp_path: Path):
    """Without a word of them there are MQTT and the log."""
    assert [sink.name for sink in sinks(tmp_path, "")] == ["mqtt", "log"]


def test_profiles_that_are_configured_are_sinks(tmp_path: Path):
    """Home Assistant goes with MQTT and has no mark of its own; Hummingbot has one."""
    mqtt, bots, log = sinks(tmp_path, PROFILES)
    assert isinstance(mqtt, Announced)
    assert isinstance(bots, HummingbotSink)
    assert [mqtt.name, bots.name, log.name] == ["mqtt", "hummingbot", "log"]


def test_hummingbot_hears_of_the_pairs_that_are_named_with_their_models_target(tmp_path: Path):
    """Each key of the section arrives where it is used."""
    sinks(tmp_path, PROFILES)
    told = hummingbot_settings(load_config(tmp_path / "config.toml"), LANES)
    assert [(pair.stream.symbol, pair.name) for pair in told.pairs] == [("ETHUSDT", "ETH-USDT")]
    assert told.pairs[0].target == LANES[1].model.target
    assert told.pairs[0].target is not None
    assert (told.base_topic, told.repeat_s, told.flat_is_neutral) == ("bots/ml", 2.5, True)


def test_who_signs_speaks_no_mqtt_that_carries_no_signatures(tmp_path: Path):
    """Nothing falls back to it, and asking for both is a problem of the configuration."""
    make_key(tmp_path / "key")
    signing = '[mqtt]\nsigning_key_file = "key"\n'
    sinks(tmp_path, signing)
    assert mqtt_settings(load_config(tmp_path / "config.toml")).protocol == "5"
    with pytest.raises(ConfigError, match=r"mqtt.protocol: MQTT 3.1.1 carries no signatures"):
        sinks(tmp_path, signing + 'protocol = "3.1.1"\n')


def test_a_signing_key_may_be_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As systemd hands it over."""
    key = make_key(tmp_path / "key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    sinks(tmp_path, '[mqtt]\nsigning_key_file = "credential:key"\n')
    sign = mqtt_settings(load_config(tmp_path / "config.toml")).sign
    assert sign is not None
    assert dict(sign("t", b""))["key"] == key.id


def test_a_signing_key_that_cannot_be_read_stops_the_start(tmp_path: Path):
    """No daemon speaks unsigned because its key is away."""
    with pytest.raises(ConfigError, match=r"mqtt.signing_key_file: .* cannot be read"):
        sinks(tmp_path, '[mqtt]\nsigning_key_file = "none"\n')
