"""The configuration is read as it says, or refused with every problem, its key and the mend."""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from candled.config import Config, ConfigError, load_config
from candled.core.bar import Stream
from candled.lineup import venue_problems
from candled.outlets import info_of
from candled_adapters.simulator.venues import VENUES
from models import lane

SHIPPED = Path(__file__).parents[1] / "config.toml"

LEAST = """
[exchanges.binance]
dialect = "binance-spot"

[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "models/BTCUSDT_1h"
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "config.toml"
    file.write_text(textwrap.dedent(text))
    return file


def load(folder: Path, text: str) -> Config:
    return load_config(write(folder, text))


def problems(folder: Path, text: str) -> list[str]:
    """Return what is wrong with a configuration."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert str(caught.value) == f"{folder / 'config.toml'}: {len(caught.value.problems)} " + (
        "problem(s)\n  " + "\n  ".join(caught.value.problems)
    )
    return caught.value.problems


# --- the shipped file


def uncommented() -> str:
    """Return the shipped file with its optional keys and tables switched on."""
    return re.sub(r"^# (?=\w+ = |\[)", "", SHIPPED.read_text(), flags=re.MULTILINE)


def test_the_shipped_file_is_valid():
    """config.toml can be used as it is, and says the defaults."""
    config = load_config(SHIPPED)
    least = Config.model_validate(
        {"exchanges": {"binance": {"dialect": "binance-spot"}}, "streams": [], "state": {}}
        | {"streams": [config.streams[0].model_dump(exclude_defaults=True)]}
    )
    assert config.mqtt == least.mqtt
    assert config.log == least.log
    assert config.policy == least.policy
    assert config.alerts == least.alerts
    assert config.state.path == SHIPPED.parent / least.state.path


def test_the_shipped_file_with_everything_switched_on_is_valid(tmp_path: Path):
    """Each commented-out line of config.toml is a valid one."""
    text = uncommented()
    assert text != SHIPPED.read_text()
    config = load(tmp_path, text)
    assert config.streams[0].policy.threshold == 0.65
    assert config.policy.valid_bars == 1
    assert config.mqtt.password_file == tmp_path / "secrets/mqtt"
    assert config.webhooks[0].secrets == {"token": tmp_path / "secrets/hook_token"}
    assert config.webhooks[0].headers == {"Authorization": tmp_path / "secrets/hook_header"}
    assert config.webhooks[0].ca_file == tmp_path / "ca.pem"
    assert config.alerts.urls_file == tmp_path / "secrets/alerts"


def keys_of(model: type[BaseModel]) -> set[str]:
    """Return every key of the schema, as paths; a name or place that is the user's is left out."""
    keys: set[str] = set()
    for name, field in model.model_fields.items():
        below = {key for part in models_in(field.annotation) for key in keys_of(part)}
        keys |= {f"{name}.{key}" for key in below} or {name}
    return keys


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


#: Tables whose keys are the user's own names.
NAMED_BY_USERS = {"headers", "secrets", "pairs"}


def keys_in(part: dict[str, Any]) -> set[str]:
    """Return every key of a parsed file, in the same words."""
    keys: set[str] = set()
    for name, value in part.items():
        if name in NAMED_BY_USERS:
            keys.add(name)
            continue
        tables = list(value.values()) if name == "exchanges" else value
        tables = tables if isinstance(tables, list) else [tables]
        below = {key for table in tables if isinstance(table, dict) for key in keys_in(table)}
        keys |= {f"{name}.{key}" for key in below} or {name}
    return keys


def test_every_key_is_in_the_shipped_file_and_no_other():
    """What can be configured is shown in config.toml, and what is shown there can be configured."""
    wanted, shown = keys_of(Config), keys_in(tomllib.loads(uncommented()))
    assert {"exchanges.ws_url", "streams.bundle", "policy.threshold"} <= wanted
    own = ("streams.policy.", "streams.challenger_policy.")
    policy = {key for key in wanted if key.startswith(own)}
    assert shown - policy == wanted - policy
    general = {key.removeprefix("policy.") for key in wanted if key.startswith("policy.")}
    assert policy == {prefix + key for prefix in own for key in general}


# --- what is read


def test_paths_are_from_the_files_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Relative paths begin at the file, wherever the daemon is started; absolute ones stay."""
    elsewhere, here = tmp_path / "elsewhere", tmp_path / "here"
    elsewhere.mkdir()
    here.mkdir()
    text = f"""
    [state]
    path = "st"
    [mqtt]
    password_file = "secret"
    ca_file = "{elsewhere}/ca.pem"
    [log]
    decisions = "decisions.jsonl"
    {LEAST}
    """
    write(here, text.replace("    ", ""))
    monkeypatch.chdir(elsewhere)
    config = load_config(Path("../here/config.toml"))
    assert config.state.path == here / "st"
    assert config.mqtt.password_file == here / "secret"
    assert config.mqtt.ca_file == elsewhere / "ca.pem"
    assert config.mqtt.cert_file is None
    assert config.log.decisions == str(here / "decisions.jsonl")
    assert config.streams[0].bundle == here / "models/BTCUSDT_1h"


@pytest.mark.parametrize("decisions", ["-", ""])
def test_standard_output_and_none_are_no_paths(tmp_path: Path, decisions: str):
    """The decision log's two special words stay as they are."""
    config = load(tmp_path, f'log.decisions = "{decisions}"\n{LEAST}')
    assert config.log.decisions == decisions


def test_a_number_without_a_point_is_a_number(tmp_path: Path):
    """A whole number may stand where a fraction may."""
    assert load(tmp_path, f"mqtt.publish_timeout = 2\n{LEAST}").mqtt.publish_timeout == 2.0


def test_a_byte_order_mark_is_no_problem(tmp_path: Path):
    """A file that an editor has begun with a mark is read like any other."""
    (tmp_path / "config.toml").write_text(LEAST, encoding="utf-8-sig")
    assert load_config(tmp_path / "config.toml").streams[0].symbols == ["BTCUSDT"]


# --- what the venues say against it


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("binance-spot", "okkx"), "exchanges.binance.dialect: 'okkx' is no dialect; known are"),
        (("binance-spot", "okkx"), "did you mean 'okx'?"),
        (("binance-spot", "okx"), "streams.0.symbols.0: 'BTCUSDT' is not how okx spells a symbol"),
        (("binance-spot", "okx"), "did you mean 'BTC-USDT'?"),
        (("binance-spot", "kraken"), "did you mean 'BTC-USDT'?"),
        (("binance-spot", "hyperliquid"), "did you mean 'BTC'?"),
        (("binance-spot", "bybit-inverse"), "did you mean 'BTCUSD'?"),
        (('"1h"', '"8h"', "binance-spot", "coinbase"), "streams.0.interval: coinbase has no 8h"),
        (('"1h"', '"1s"', "binance-spot", "binance-usdm"), "has no 1s bars; it has 1m, 3m"),
    ],
)
def test_what_a_venue_does_not_have_is_told_before_anything_runs(tmp_path: Path, change, said):
    """Unknown dialects, misspelled symbols and missing intervals, each with the mend."""
    text = LEAST
    for old, new in zip(change[::2], change[1::2], strict=True):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "config.toml").write_text(text)
    problems_found = venue_problems(load_config(tmp_path / "config.toml"))
    assert any(said in problem for problem in problems_found), problems_found


@pytest.mark.parametrize(
    ("dialect", "symbol", "interval", "said"),
    [
        ("ccxt:kucoin", "BTC-USDT", "3d", "streams.0.interval: ccxt:kucoin has no 3d bars; it has"),
        ("ccxt:kucoin", "BTCUSDT", "1h", "did you mean 'BTC-USDT'?"),
        ("ccxt:kucoinn", "BTC-USDT", "1h", "no exchange 'kucoinn'; did you mean 'ccxt:kucoin'?"),
        ("ccxt:zaif", "BTC-JPY", "1h", "exchanges.binance.dialect: ccxt has no bars of zaif; take"),
        ("ccxt:kucoin", "BTC-USDT", "1h", ""),
    ],
)
def test_a_venue_of_ccxt_is_held_to_what_ccxt_says(
    tmp_path: Path, dialect: str, symbol: str, interval: str, said: str
):
    """The library's own timeframes and names, before anything is asked."""
    pytest.importorskip("ccxt", reason="ccxt is an optional dependency")
    text = LEAST.replace("binance-spot", dialect).replace("BTCUSDT", symbol, 1)
    (tmp_path / "config.toml").write_text(text.replace('"1h"', f'"{interval}"'))
    problems_found = venue_problems(load_config(tmp_path / "config.toml"))
    assert [said in problem for problem in problems_found] == [True] * bool(said)


def test_what_every_venue_has_is_no_problem(tmp_path: Path):
    """A stream that is spelled as its venue does passes, for every dialect."""
    for name, venue in VENUES.items():
        text = LEAST.replace("binance-spot", name).replace('"BTCUSDT"', f'"{venue.example}"')
        (tmp_path / "config.toml").write_text(text)
        assert venue_problems(load_config(tmp_path / "config.toml")) == []


@pytest.mark.parametrize(
    ("dialect", "marked"),
    [("binance-spot", "flagged"), ("okx", "flagged"), ("kraken", "inferred")],
)
def test_the_info_says_what_a_venues_bars_are_worth(tmp_path: Path, dialect: str, marked: str):
    """Of each exchange that a stream uses, and of no other."""
    text = LEAST.replace("binance-spot", dialect)
    config = load(tmp_path, f"exchanges.idle = {{ dialect = 'okx' }}\n{text}")
    info = info_of(config, [lane(Stream("binance", "BTCUSDT", "1h"))], "e1")
    (name,) = info.exchanges
    assert (name, info.exchanges[name].dialect) == ("binance", dialect)
    assert info.exchanges[name].close_source == marked


# --- what is refused


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mqtt.ulr = 'x'", "mqtt.ulr: unknown key; did you mean 'url'?"),
        ("mqtt.keep_alive = 5", "mqtt.keep_alive: unknown key; did you mean 'keepalive'?"),
        ("polcy.threshold = 0.5", "polcy: unknown key; did you mean 'policy'?"),
        ("policy.treshold = 0.5", "policy.treshold: unknown key; did you mean 'threshold'?"),
        ("state.zzz = 1", "state.zzz: unknown key; known are path, keep_days"),
        (
            "exchanges.b = {dialect = 'binance-spot', ws = 'x'}",
            "exchanges.b.ws: unknown key; did you mean 'ws_url'?",
        ),
    ],
)
def test_an_unknown_key_is_told_its_neighbour(tmp_path: Path, line: str, said: str):
    """A misspelt key is refused with the one that was probably meant."""
    assert problems(tmp_path, f"{line}\n{LEAST}") == [said]


def test_unknown_keys_of_streams_are_told_too(tmp_path: Path):
    """A stream's own keys and those of its policy are held to the same rule."""
    text = f"{LEAST}symbol = 'X'\npolicy = {{ regime_gat = true }}\n"
    assert problems(tmp_path, text) == [
        "streams.0.policy.regime_gat: unknown key; did you mean 'regime_gate'?",
        "streams.0.symbol: unknown key; did you mean 'symbols'?",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mqtt.keepalive = '10'", "mqtt.keepalive: Input should be a valid integer (found '10')"),
        ("mqtt.keepalive = 10.0", "mqtt.keepalive: Input should be a valid integer (found 10.0)"),
        ("mqtt.keepalive = true", "mqtt.keepalive: Input should be a valid integer (found True)"),
        ("mqtt.keepalive = 1", "greater than or equal to 2 (found 1)"),
        ("mqtt.publish_timeout = '2'", "mqtt.publish_timeout: Input should be a valid number"),
        ("mqtt.publish_timeout = true", "mqtt.publish_timeout: Input should be a valid number"),
        ("mqtt.publish_timeout = inf", "mqtt.publish_timeout: "),
        ("mqtt.max_outstanding = 101", "mqtt.max_outstanding: "),
        ("mqtt.client_id = ''", "mqtt.client_id: "),
        ("mqtt.client_id = 'a/b'", "mqtt.client_id: must be one word without"),
        ("mqtt.protocol = '3.1'", "mqtt.protocol: Input should be 'auto', '5' or '3.1.1'"),
        ("mqtt.password_file = 5", "mqtt.password_file: "),
        ("mqtt = 5", "mqtt: "),
        ("policy.threshold = '0.6'", "policy.threshold: Input should be a valid number"),
        ("policy.threshold = 0.0", "policy.threshold: Input should be greater than 0 (found 0.0)"),
        ("policy.threshold = 1", "policy.threshold: Input should be less than 1 (found 1)"),
        ("policy.threshold = nan", "policy.threshold: "),
        ("policy.threshold = true", "policy.threshold: "),
        ("policy.regime_gate = 1", "policy.regime_gate: Input should be a valid boolean (found 1)"),
        (
            "policy.regime = 'bold'",
            "policy.regime: unknown regime preset 'bold'; known are ",
        ),
        ("policy.valid_bars = 0", "policy.valid_bars: "),
        ("policy.novelty_max = 1.5", "Input should be less than or equal to 1 (found 1.5)"),
        ("policy.novelty_max = -0.1", "Input should be greater than or equal to 0 (found -0.1)"),
        ("policy.novelty_max = nan", "policy.novelty_max: "),
        ("policy.abstain = 1", "policy.abstain: Input should be a valid boolean (found 1)"),
        ("policy.cooldown_bars = -1", "policy.cooldown_bars: Input should be greater than or"),
        ("policy.cooldown_bars = 1001", "policy.cooldown_bars: Input should be less than or"),
        ("policy.cooldown_bars = 1.0", "policy.cooldown_bars: Input should be a valid integer"),
        ("policy.gap_mute_bars = -1", "policy.gap_mute_bars: Input should be greater than or"),
        ("policy.gap_mute_bars = 1001", "policy.gap_mute_bars: Input should be less than or"),
        ("state.path = 3", "state.path: "),
        ("log.level = 'loud'", "log.level: Input should be 'debug', 'info', 'warning' or 'error'"),
        ("log.format = 'xml'", "log.format: "),
        ("log.max_megabytes = 0", "log.max_megabytes: "),
        ("log.backups = -1", "log.backups: "),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(tmp_path: Path, line: str, said: str):
    """A value is of its key's type and range, and nothing is guessed from another type."""
    (problem,) = problems(tmp_path, f"{line}\n{LEAST}")
    assert problem.startswith(line.split(" ", maxsplit=1)[0])
    assert said in problem


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:1883",
        "http://broker",
        "mqtt://",
        "mqtt://broker:99999",
        "mqtt://broker:port",
        "mqtt://user:secret@broker",
        "mqtt://broker/path",
        "mqtt://broker?x=1",
        "mqtt://[::1",
        "",
    ],
)
def test_a_broker_is_named_by_an_mqtt_url(tmp_path: Path, url: str):
    """Anything but mqtt://host:port or mqtts://host:port is refused."""
    (problem,) = problems(tmp_path, f"mqtt.url = '{url}'\n{LEAST}")
    assert problem.startswith("mqtt.url: ")


@pytest.mark.parametrize("url", ["mqtt://broker", "mqtts://broker:8883/", "mqtt://[::1]:1883"])
def test_good_broker_urls_are_taken(tmp_path: Path, url: str):
    """Names, addresses of both kinds, with or without a port."""
    assert load(tmp_path, f"mqtt.url = '{url}'\n{LEAST}").mqtt.url == url


@pytest.mark.parametrize(
    ("key", "bad", "good"),
    [
        ("ws_url", "https://x", "wss://data-stream.binance.vision"),
        ("ws_url", "data-stream.binance.vision", "ws://127.0.0.1:9000"),
        ("ws_url", "wss://", "ws://127.0.0.1:9000/base"),
        ("ws_url", "wss://host:0x50", "wss://host:9443"),
        ("rest_url", "wss://x", "https://api.binance.com"),
        ("rest_url", "http:/x", "http://127.0.0.1:9000"),
        ("rest_url", "https://x?limit=5", "http://[::1]:9000"),
    ],
)
def test_hosts_of_a_venue_are_urls(tmp_path: Path, key: str, bad: str, good: str):
    """A venue's own hosts can only be replaced by addresses of the same kind."""
    text = LEAST.replace("[[streams]]", f"{key} = '{{}}'\n[[streams]]")
    (problem,) = problems(tmp_path, text.format(bad))
    assert problem.startswith(f"exchanges.binance.{key}: must ") or "port" in problem.lower()
    config = load(tmp_path, text.format(good))
    assert getattr(config.exchanges["binance"], key) == good


@pytest.mark.parametrize("topic", ["", "/candled", "candled/", "a/+/b", "#", "$SYS/x"])
def test_a_base_topic_is_a_plain_topic(tmp_path: Path, topic: str):
    """Wildcards, outer slashes and the broker's own topics are refused."""
    (problem,) = problems(tmp_path, f"mqtt.base_topic = '{topic}'\n{LEAST}")
    assert problem.startswith("mqtt.base_topic: must be a plain topic")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('BTCUSDT"]', 'BTC/USDT"]'), "streams.0.symbols.0: must be one word"),
        (('["BTCUSDT"]', "[]"), "streams.0.symbols: List should have at least 1 item"),
        (('["BTCUSDT"]', '"BTCUSDT"'), "streams.0.symbols: Input should be a valid list"),
        (('"1h"', '"1H"'), "streams.0.interval: unknown interval '1H'; known are 1s, 1m"),
        (('interval = "1h"', ""), "streams.0.interval: is required"),
        (('bundle = "models/BTCUSDT_1h"', ""), "streams.0.bundle: is required"),
        (('"binance-spot"', "7"), "exchanges.binance.dialect: Input should be a valid string"),
        (('dialect = "binance-spot"', ""), "exchanges.binance.dialect: is required"),
        (("[[streams]]", "[streams]"), "streams: Input should be a valid list"),
        (
            ('exchange = "binance"', 'exchange = "binanse"'),
            "'binanse' is not among the exchanges (binance); add [exchanges.binanse]",
        ),
        (
            ('["BTCUSDT"]', '["BTCUSDT", "ETHUSDT", "BTCUSDT"]'),
            "streams.0.symbols: binance/BTCUSDT/1h is listed twice; remove one",
        ),
    ],
)
def test_a_stream_that_makes_no_sense_is_refused(
    tmp_path: Path, change: tuple[str, str], said: str
):
    """Streams name an exchange that is there, symbols, an interval and a bundle, each slot once."""
    text = LEAST.replace(*change)
    assert text != LEAST
    assert said in problems(tmp_path, text)[0]
    assert len(problems(tmp_path, text)) == 1


def test_the_same_stream_in_two_tables_is_found(tmp_path: Path):
    """A symbol may be listed again with another interval, and only then."""
    second = LEAST[LEAST.index("[[streams]]") :]
    assert problems(tmp_path, LEAST + second) == [
        "streams.1.symbols: binance/BTCUSDT/1h is listed twice; remove one"
    ]
    assert len(load(tmp_path, LEAST + second.replace("1h", "4h")).streams) == 2


def test_all_problems_come_at_once(tmp_path: Path):
    """Wrong keys, wrong values and streams that do not fit are told together, each by its path."""
    text = """
    [mqtt]
    ulr = "mqtt://x"
    keepalive = "10"
    [policy]
    threshold = 2
    [exchanges.binance]
    dialect = "binance-spot"
    [[streams]]
    exchange = "binance"
    symbols = ["A", "A"]
    interval = "7m"
    bundle = "b"
    [[streams]]
    exchange = "kraken"
    symbols = ["B", 5]
    interval = "1h"
    """
    found = problems(tmp_path, text)
    assert {problem.split(":")[0] for problem in found} == {
        "mqtt.ulr",
        "mqtt.keepalive",
        "policy.threshold",
        "streams.0.interval",
        "streams.0.symbols",
        "streams.1.bundle",
        "streams.1.exchange",
        "streams.1.symbols.1",
    }
    assert len(found) == 8


def test_an_empty_file_is_told_what_it_needs(tmp_path: Path):
    """Exchanges and streams have no default."""
    assert problems(tmp_path, "") == ["exchanges: is required", "streams: is required"]


def test_wrong_toml_is_told_by_its_line(tmp_path: Path):
    """Text that is no TOML is refused with line and column."""
    (problem,) = problems(tmp_path, "[state]\npath = \n")
    assert problem.startswith("is not valid TOML: Invalid value (at line 2, column ")
    (problem,) = problems(tmp_path, f"{LEAST}\n[state]\npath = 'a'\n[state]\n")
    assert "Cannot declare ('state',) twice (at line 13" in problem


def test_what_cannot_be_read_is_named(tmp_path: Path):
    """A missing file, a folder and text in another encoding are refused by name."""
    for name, said in (("nowhere.toml", "No such file or directory"), ("", "Is a directory")):
        with pytest.raises(ConfigError, match=f"cannot be read: {said}") as caught:
            load_config(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))
    (tmp_path / "config.toml").write_bytes("# ä".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"is not UTF-8 text \(byte 2\)"):
        load_config(tmp_path / "config.toml")


def test_pairs_of_streams_that_are_not_there_are_told_their_neighbours(tmp_path: Path):
    """Each pair is a stream's, spelled as Hummingbot does, and no two streams share one."""
    pairs = """
    [hummingbot.pairs]
    "binance/BTCUSD/1h" = "BTC-USDT"
    "binance/BTCUSDT/1h" = "btc-usdt"
    "kraken" = "ETH-USDT"
    """
    said = problems(tmp_path, textwrap.dedent(pairs) + LEAST)
    assert "hummingbot.pairs.binance/BTCUSD/1h: there is no such stream; did you mean " in said[0]
    assert "is already told of binance/BTCUSD/1h; remove one" in said[1]
    assert "hummingbot.pairs.kraken: there is no such stream; name it exchange" in said[2]
    wrong = '[hummingbot]\npairs = { "binance/BTCUSDT/1h" = "BTCUSDT" }\n'
    assert "as Hummingbot names it, e.g. BTC-USDT (found 'BTCUSDT')" in problems(
        tmp_path, wrong + LEAST
    )[0]  # fmt: skip
    good = '[hummingbot]\npairs = { "binance/BTCUSDT/1h" = "BTC-USDT" }\n'
    assert load(tmp_path, good + LEAST).hummingbot.pairs == {"binance/BTCUSDT/1h": "BTC-USDT"}


def test_an_exchange_is_not_named_as_the_checks_topics_are(tmp_path: Path):
    """Else its signals would come where messages are to be ignored."""
    (text,) = problems(
        tmp_path, LEAST.replace("binance", "check", 1).replace('"binance"', '"check"')
    )
    assert "must not be 'check': its topics would be those of `candled check`" in text


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8780", "127.0.0.9:0", "localhost:1", "[::1]:65535", ""]
)
def test_a_window_may_be_anywhere_on_loopback(tmp_path: Path, address: str):
    """Any port, 0 for a free one; or nowhere."""
    assert load(tmp_path, f"web.listen = '{address}'\n{LEAST}").web.listen == address


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:8780", "[::]:80", ":8780", "192.168.1.2:8780", "candled.example:8780", "127.0.0.1",
     "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:x", "::1:80", "8780",
     "localhost:٣", "http://127.0.0.1:80"],
)  # fmt: skip
def test_a_window_that_others_could_reach_is_refused(tmp_path: Path, address: str):
    """With the ways in which one looks from elsewhere."""
    (problem,) = problems(tmp_path, f"web.listen = '{address}'\n{LEAST}")
    assert problem.startswith("web.listen: must be a port on this machine's loopback")
    assert "ssh -L" in problem
    assert "reverse proxy" in problem


# --- challengers


def test_a_policy_without_its_challenger_is_a_problem(tmp_path: Path):
    """`challenger_policy` alone is refused, with the mend."""
    text = LEAST + "\nchallenger_policy = { threshold = 0.5 }\n"
    assert problems(tmp_path, text) == [
        "streams.0.challenger_policy: there is no challenger; name its bundle or remove it"
    ]


def test_a_challengers_path_is_relative_to_the_file(tmp_path: Path):
    """Like the bundle's, whatever the working directory is."""
    file = tmp_path / "config.toml"
    file.write_text(LEAST + '\nchallenger = "models/new"\n')
    assert load_config(file).streams[0].challenger == tmp_path / "models/new"
