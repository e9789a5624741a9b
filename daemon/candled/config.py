"""config.toml -> validated settings. Every problem at once, each with its key and the mend.

Values only: nothing is opened, connected or loaded here. Paths in the file are relative to the
file's own folder.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from candled.core.bar import Interval
from candled.core.regime import regime_rule

#: What a place of a secret begins with when it is not a file's path; see `secret`.
_MOST_BYTES: Final = 4 * 2**20
CREDENTIAL: Final = "credential:"


class ConfigError(Exception):
    """A configuration that cannot be used; the text lists every problem."""

    def __init__(self, source: Path, problems: list[str]) -> None:
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{source}: {len(problems)} problem(s)\n{lines}")
        self.problems = problems


def _interval(name: str) -> str:
    return Interval(name).name


def _regime(preset: str) -> str:
    regime_rule(preset)
    return preset


def _no_wildcards(topic: str) -> str:
    if not topic or set(topic) & set("+#\0") or topic.startswith(("/", "$")) or topic.endswith("/"):
        raise ValueError("must be a plain topic such as 'candled', without +, # or outer slashes")
    return topic


def _topic_level(name: str) -> str:
    if not name or set(name) & set("+#/\0 "):
        raise ValueError("must be one word without spaces, slashes, + or #")
    return name


def _secret_place(path: Path) -> Path:
    """Refuse a credential whose name could not be one of systemd's."""
    name = str(path).removeprefix(CREDENTIAL)
    if _is_credential(path) and (name in ("", ".", "..") or set(name) & set("/: \0")):
        raise ValueError(f"must be a file's path or {CREDENTIAL}NAME, with a name as systemd's")
    return path


def _is_credential(path: Path) -> bool:
    return str(path).startswith(CREDENTIAL)


#: A file that holds a secret, or ``credential:NAME``.
SecretPlace = Annotated[Path, Field(strict=False), AfterValidator(_secret_place)]


def _exchange_name(name: str) -> str:
    if name == "check":
        raise ValueError("must not be 'check': its topics would be those of `candled check`")
    return _topic_level(name)


def _mqtt_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise ValueError("must look like mqtt://host:1883 or mqtts://host:8883")
    if parts.username or parts.password:
        raise ValueError("must not hold a name or password; use username and password_file")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must end after the port")
    _ = parts.port  # raises ValueError for a port that is none
    return url


def _pair(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.]+-[A-Za-z0-9.]+", name):
        raise ValueError("must be a pair as Hummingbot names it, e.g. BTC-USDT")
    return name


def _public_key(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9+/]{43}=", text):
        raise ValueError("must be a public key as `candled keys show --key-file FILE` prints it")
    return text


def _order_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must look like https://host/path")
    if parts.username or parts.password:
        raise ValueError("must not hold a name or password; use username and password_file")
    if parts.fragment:
        raise ValueError("must not hold a fragment (#...)")
    _ = parts.port  # raises ValueError for a port that is none
    return url


def _ws_url(url: str) -> str:
    return _base(url, "ws", "wss")


def _http_url(url: str) -> str:
    return _base(url, "http", "https")


def _base(url: str, *schemes: str) -> str:
    """Refuse what is not the beginning of a venue's addresses."""
    parts = urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(f"must look like {schemes[1]}://host or {schemes[0]}://127.0.0.1:8080")
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query or fragment")
    _ = parts.port  # raises ValueError for a port that is none
    return url


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StateConfig(_Part):
    """[state] Where the daemon remembers."""

    path: Path = Field(Path("state"), strict=False)
    """Folder of the journal; made when it is missing."""
    keep_days: Annotated[int, Field(ge=0, le=100_000)] = 400
    """Days until what every sink has delivered may go; 0 for ever."""


class MqttConfig(_Part):
    """[mqtt] The broker that signals are published to."""

    url: Annotated[str, AfterValidator(_mqtt_url)] = "mqtt://127.0.0.1:1883"
    base_topic: Annotated[str, AfterValidator(_no_wildcards)] = "candled"
    client_id: Annotated[str, Field(max_length=128), AfterValidator(_topic_level)] = "candled"
    """Must differ between daemons on one broker; a level of the topics that `check` uses."""
    username: str | None = None
    password_file: SecretPlace | None = None
    """The password is the file's content without the final newline."""
    ca_file: Path | None = Field(None, strict=False)
    """Certificate authorities for mqtts; the system's when absent."""
    cert_file: Path | None = Field(None, strict=False)
    key_file: SecretPlace | None = None
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """Of MQTT; auto: 5, or 3.1.1 with a broker that refuses it."""
    keepalive: Annotated[int, Field(ge=2, le=600)] = 2
    """Seconds; half of it without a sign of life makes us ask the broker for one."""
    max_outstanding: Annotated[int, Field(ge=1, le=100)] = 100
    """Publishes without an acknowledgement at any time."""
    publish_timeout: Annotated[float, Field(ge=0.1, le=60)] = 2.0
    """Seconds without an acknowledgement until the connection is made anew."""
    digest: bool = True
    """Say all decisions of a close in one message, too."""
    replay: bool = True
    """Answer who asks for signals that it missed."""
    signing_key_file: SecretPlace | None = None
    """Private key that every message is signed with; made by `candled keys make`."""


class ModelsConfig(_Part):
    """[models] What is asked of every bundle."""

    trusted_keys: list[Annotated[str, AfterValidator(_public_key)]] = []
    """Public keys; a bundle must be signed with one of them. None: it need not be signed."""


class HummingbotConfig(_Part):
    """[hummingbot] Words for Hummingbot's ai_livestream controllers; off without pairs."""

    pairs: Annotated[dict[str, Annotated[str, AfterValidator(_pair)]], Field(max_length=100)] = {}
    """By stream, exchange/symbol/interval; a connection to the broker for each."""
    base_topic: Annotated[str, AfterValidator(_no_wildcards)] = "hbot/predictions"
    """The controllers' `topic`."""
    repeat_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 5.0
    """How often each word is said again, for a bot that was away."""
    flat: Literal["probabilities", "neutral"] = "probabilities"
    """What is told of a bar without a signal: what the model said, or to do nothing."""


class HomeAssistantConfig(_Part):
    """[homeassistant] Sensors of every stream, by Home Assistant's MQTT discovery."""

    enabled: bool = False
    prefix: Annotated[str, AfterValidator(_no_wildcards)] = "homeassistant"
    """Home Assistant's discovery prefix."""


class LogConfig(_Part):
    """[log] The decision log, and what the daemon says of itself on standard error."""

    decisions: str = "-"
    """A file, "-" for standard output, or "" for none."""
    max_megabytes: Annotated[int, Field(ge=1)] = 100
    """Size at which a decision file is rotated."""
    backups: Annotated[int, Field(ge=0)] = 5
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """auto: console on a terminal, else JSON."""


class WebhookConfig(_Part):
    """[[webhooks]] A target that orders are POSTed to."""

    name: Annotated[str, AfterValidator(_topic_level)]
    """Where the journal remembers how far this target has come; renamed, it begins anew."""
    url: Annotated[str, AfterValidator(_order_url)] | None = None
    """https, or http on this machine; for freqtrade the address of its REST interface."""
    url_file: SecretPlace | None = None
    """Holds the url instead, where that is a secret itself."""
    allow_http: bool = False
    """Allow http to another machine: everyone between may read and change orders."""
    preset: Literal["json", "tradingview", "freqtrade"] | None = None
    """How orders are worded; absent: json, or the template."""
    template: str | None = None
    """The body of an order to enter, with {{placeholders}}."""
    exit_template: str | None = None
    """The body of an order to leave; absent: no exits are sent."""
    streams: Annotated[list[str], Field(min_length=1)] = ["*"]
    """Patterns of exchange/symbol/interval."""
    sides: Annotated[list[Literal["long", "short"]], Field(min_length=1)] = ["long", "short"]
    exits: bool = True
    """Send an order to leave when a correction takes a signal back."""
    exit_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300
    """It is worth sending for so long after the correction (s)."""
    headers: dict[str, SecretPlace] = {}
    """Request headers, each from a file."""
    secrets: dict[Annotated[str, AfterValidator(_topic_level)], SecretPlace] = {}
    """What templates call {{secret.NAME}}, each from a file."""
    hmac_key_file: SecretPlace | None = None
    """Sign each body with this key."""
    username: str | None = None
    """For HTTP basic authentication."""
    password_file: SecretPlace | None = None
    ca_file: Path | None = Field(None, strict=False)
    """Certificate authorities for https; the usual ones when absent."""
    market: Literal["spot", "futures"] = "spot"
    """How freqtrade calls symbols: BTC/USDT, or BTC/USDT:USDT."""
    pairs: dict[str, str] = {}
    """What the target calls a symbol, where the rule does not fit."""
    connect_timeout: Annotated[float, Field(ge=0.1, le=60)] = 3.0
    """Seconds."""
    timeout: Annotated[float, Field(ge=0.1, le=60)] = 10.0
    """Seconds for one attempt as a whole."""


class AlertsConfig(_Part):
    """[alerts] Messages to people, by apprise's services; needs the extra `alerts`."""

    urls_file: SecretPlace | None = None
    """One apprise URL a line; absent: no alerts."""
    kinds: list[Literal["signals", "corrections", "health", "halts"]] = [
        "signals", "corrections", "health", "halts",
    ]  # fmt: skip
    streams: Annotated[list[str], Field(min_length=1)] = ["*"]
    """Patterns of exchange/symbol/interval, for all kinds but health."""
    digest_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """What happens within so many seconds is one message."""
    per_hour: Annotated[int, Field(ge=1, le=3600)] = 20
    """Messages at most; what is not told is counted in the next one."""
    timeout: Annotated[float, Field(ge=1, le=300)] = 30.0
    """Seconds for one message to all services."""


class ExchangeConfig(_Part):
    """[exchanges.NAME] A venue; NAME is the first part of its streams' names."""

    dialect: str
    """Whose language it speaks, e.g. binance-spot; which there are is known where they live."""
    ws_url: Annotated[str, AfterValidator(_ws_url)] | None = None
    """Another host than the venue's own, e.g. a regional one or the simulator."""
    rest_url: Annotated[str, AfterValidator(_http_url)] | None = None
    max_skew_s: Annotated[float, Field(ge=0)] = 5.0
    """Seconds by which its clock may differ from this machine's, or inf, as for the simulator."""
    audit: Literal["correct", "flag", "off"] = "correct"
    """What follows when the venue's history shows a bar otherwise than it came: a correction, or
    only a word of it; off: it is not asked."""
    max_jump: Annotated[float, Field(gt=1)] = 50.0
    """A bar whose price or unit of volume is so many times another holds its stream."""


class PolicyConfig(_Part):
    """[policy] How probabilities become signals; a stream may set its own under `policy`."""

    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Absent: the bundle's own."""
    regime: Annotated[str, AfterValidator(_regime)] | None = None
    """Preset of the regime machine; absent: the bundle's own."""
    regime_gate: bool | None = None
    """Long only when trending up, short only when trending down; absent: no gate."""
    valid_bars: Annotated[int, Field(ge=1, le=1000)] | None = None
    """A signal expires this many bars after its own bar closed; absent: 1."""
    novelty_max: Annotated[float, Field(ge=0, le=1)] | None = None
    """No signal where a larger share of features lies outside the training ranges; absent: any."""
    abstain: bool | None = None
    """No signal unless its side is the only class left by the bundle's limits; absent: false."""
    cooldown_bars: Annotated[int, Field(ge=0, le=1000)] | None = None
    """No signal when one of so many bars before would have been one; absent: 0."""
    gap_mute_bars: Annotated[int, Field(ge=0, le=1000)] | None = None
    """No signal at the first so many bars after a gap; absent: 0."""


class StreamConfig(_Part):
    """[[streams]] Symbols of one exchange and interval that one bundle decides."""

    exchange: str
    symbols: Annotated[list[Annotated[str, AfterValidator(_topic_level)]], Field(min_length=1)]
    interval: Annotated[str, AfterValidator(_interval)]
    bundle: Path = Field(strict=False)
    any_symbol: bool = False
    """Allow symbols that the bundle was not trained on."""
    policy: PolicyConfig = PolicyConfig()


class Config(_Part):
    """The whole file."""

    state: StateConfig = StateConfig()
    mqtt: MqttConfig = MqttConfig()
    models: ModelsConfig = ModelsConfig()
    hummingbot: HummingbotConfig = HummingbotConfig()
    homeassistant: HomeAssistantConfig = HomeAssistantConfig()
    log: LogConfig = LogConfig()
    webhooks: list[WebhookConfig] = []
    alerts: AlertsConfig = AlertsConfig()
    exchanges: dict[Annotated[str, AfterValidator(_exchange_name)], ExchangeConfig]
    policy: PolicyConfig = PolicyConfig()
    streams: Annotated[list[StreamConfig], Field(min_length=1)]


def load_config(path: Path) -> Config:
    """Read and validate the file; raises ConfigError with every problem."""
    try:
        content = tomllib.loads(_text_of(path))
    except OSError as error:
        raise ConfigError(path, [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, [f"is not UTF-8 text (byte {error.start})"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, [f"is not valid TOML: {error}"]) from error
    except RecursionError:
        raise ConfigError(path, ["is nested too deeply; no configuration needs that"]) from None
    problems = _misfits(content) + _strange_pairs(content) + _unsignable(content)
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        problems = [_problem(dict(item)) for item in error.errors()] + problems
    if problems:
        raise ConfigError(path, problems)
    return _rooted(config, path.resolve().parent)


def _text_of(path: Path) -> str:
    """Read the file; what is no configuration could be endless, as a device is."""
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ConfigError(path, [f"is larger than {_MOST_BYTES} bytes; that is no configuration"])
    return content.decode("utf-8-sig").replace("\r\n", "\n")


def _misfits(content: dict[str, Any]) -> list[str]:
    """Find streams that do not fit the rest; whatever has the wrong shape is told elsewhere."""
    exchanges, streams = content.get("exchanges"), content.get("streams")
    problems: list[str] = []
    seen: set[tuple[str, str, str]] = set()
    for index, part in enumerate(streams if isinstance(streams, list) else ()):
        if not isinstance(part, dict):
            continue
        exchange, symbols = part.get("exchange"), part.get("symbols")
        if isinstance(exchange, str) and isinstance(exchanges, dict) and exchange not in exchanges:
            problems.append(
                f"streams.{index}.exchange: {exchange!r} is not among the exchanges "
                f"({', '.join(exchanges)}); add [exchanges.{exchange}]"
            )
        for symbol in symbols if isinstance(symbols, list) else ():
            key = (str(exchange), str(symbol), str(part.get("interval")))
            if key in seen:
                problems.append(
                    f"streams.{index}.symbols: {'/'.join(key)} is listed twice; remove one"
                )
            seen.add(key)
    return problems


def _strange_pairs(content: dict[str, Any]) -> list[str]:
    """Find pairs of no stream, and two streams that one controller would hear."""
    part = content.get("hummingbot")
    pairs = part.get("pairs") if isinstance(part, dict) else None
    if not isinstance(pairs, dict):
        return []
    known, problems, streams = set(_stream_paths(content)), [], dict[str, str]()
    for stream, pair in pairs.items():
        where = f"hummingbot.pairs.{stream}"
        if stream not in known:
            near = difflib.get_close_matches(stream, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "name it exchange/symbol/interval"
            problems.append(f"{where}: there is no such stream; {hint}")
        other = streams.setdefault(str(pair).lower(), stream)
        if other != stream:
            problems.append(f"{where}: {pair} is already told of {other}; remove one")
    return problems


def _unsignable(content: dict[str, Any]) -> list[str]:
    part = content.get("mqtt")
    if isinstance(part, dict) and "signing_key_file" in part and part.get("protocol") == "3.1.1":
        return ["mqtt.protocol: MQTT 3.1.1 carries no signatures; remove it or signing_key_file"]
    return []


def _stream_paths(content: dict[str, Any]) -> Iterator[str]:
    streams = content.get("streams")
    for part in streams if isinstance(streams, list) else ():
        symbols = part.get("symbols") if isinstance(part, dict) else None
        for symbol in symbols if isinstance(symbols, list) else ():
            yield f"{part.get('exchange')}/{symbol}/{part.get('interval')}"


def _problem(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key{_did_you_mean(error['loc'])}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{where}: is required"
    found = "" if isinstance(error["input"], dict | list) else f" (found {error['input']!r})"
    return f"{where}: {message}{found}" if where else message


def _did_you_mean(location: tuple[str | int, ...]) -> str:
    """Suggest the known key nearest to an unknown one."""
    known = list(_model_at(location[:-1]).model_fields)
    near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


def _model_at(location: tuple[str | int, ...]) -> type[BaseModel]:
    """Find the model that validates the table at `location`."""
    model: type[BaseModel] = Config
    for part in location:
        field = model.model_fields.get(str(part))
        if field is not None:
            model = next(_models_in(field.annotation), model)
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - any annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


_PATHS: Final = {
    "state": ("path",),
    "mqtt": ("password_file", "ca_file", "cert_file", "key_file", "signing_key_file"),
    "alerts": ("urls_file",),
}
_WEBHOOK_PATHS: Final = ("url_file", "hmac_key_file", "password_file", "ca_file")


def rooted(folder: Path, path: Path) -> Path:
    """Return where `path`, as a file in `folder` spells it, is; a credential stays what it is."""
    return path if _is_credential(path) else folder / path


def _rooted(config: Config, folder: Path) -> Config:
    """Make the file's paths absolute, from its own folder."""
    updates: dict[str, Any] = {}
    for name, keys in _PATHS.items():
        part = getattr(config, name)
        values = {key: rooted(folder, value) for key in keys if (value := getattr(part, key))}
        updates[name] = part.model_copy(update=values)
    updates["webhooks"] = [_rooted_webhook(part, folder) for part in config.webhooks]
    updates["streams"] = [
        part.model_copy(update={"bundle": folder / part.bundle}) for part in config.streams
    ]
    if config.log.decisions not in ("", "-"):
        file = str(folder / config.log.decisions)
        updates["log"] = config.log.model_copy(update={"decisions": file})
    return config.model_copy(update=updates)


def _rooted_webhook(part: WebhookConfig, folder: Path) -> WebhookConfig:
    updates: dict[str, Any] = {
        key: rooted(folder, value) for key in _WEBHOOK_PATHS if (value := getattr(part, key))
    }
    for key in ("headers", "secrets"):
        files = getattr(part, key)
        updates[key] = {name: rooted(folder, value) for name, value in files.items()}
    return part.model_copy(update=updates)
