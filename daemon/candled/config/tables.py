"""The tables and keys of config.toml, with their defaults and what they mean. Values only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from candled.config.values import (
    SecretPlace,
    exchange_name,
    interval_name,
    mqtt_url,
    no_wildcards,
    order_url,
    pair_name,
    public_key,
    regime_preset,
    rest_base,
    topic_level,
    web_address,
    websocket_base,
)


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

    url: Annotated[str, AfterValidator(mqtt_url)] = "mqtt://127.0.0.1:1883"
    """mqtts://host:8883 for TLS."""
    base_topic: Annotated[str, AfterValidator(no_wildcards)] = "candled"
    """Above all topics: signals come on candled/signal/EXCHANGE/SYMBOL/INTERVAL."""
    client_id: Annotated[str, Field(max_length=128), AfterValidator(topic_level)] = "candled"
    """Must differ between daemons on one broker; a level of the topics that `check` uses."""
    username: str | None = None
    """At the broker."""
    password_file: SecretPlace | None = None
    """The password is the file's content without the final newline."""
    ca_file: Path | None = Field(None, strict=False)
    """Certificate authorities for mqtts; the system's when absent."""
    cert_file: Path | None = Field(None, strict=False)
    """Our own certificate, for brokers that ask for one."""
    key_file: SecretPlace | None = None
    """Its private key."""
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


class WebConfig(_Part):
    """[web] The window on loopback: health, metrics, JSON and the live page."""

    listen: Annotated[str, AfterValidator(web_address)] = "127.0.0.1:8780"
    """Address and port of loopback; port 0 takes any free one, which the log names; "": off."""
    page: bool = False
    """Serve the live page, too; needs the extra `page`."""


class ModelsConfig(_Part):
    """[models] What is asked of every bundle."""

    trusted_keys: list[Annotated[str, AfterValidator(public_key)]] = []
    """Public keys; a bundle must be signed with one of them. None: it need not be signed."""


class TrackConfig(_Part):
    """[track] How models are watched while they decide."""

    signals: Annotated[int, Field(ge=10, le=10_000)] = 200
    """How many of a stream's newest resolved signals its record is about."""
    alarm: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """Chance that a model that does what it claims is ever said not to."""
    drift: Literal["flag", "off"] = "flag"
    """Tell of a stream that no longer looks like its model's training; off: nobody looks."""
    drift_rows: Annotated[int, Field(ge=100, le=10_000)] = 500
    """Newest rows of each stream that are compared with training."""


class HummingbotConfig(_Part):
    """[hummingbot] Words for Hummingbot's ai_livestream controllers; off without pairs."""

    pairs: Annotated[
        dict[str, Annotated[str, AfterValidator(pair_name)]], Field(max_length=100)
    ] = {}
    """By stream, exchange/symbol/interval; a connection to the broker for each."""
    base_topic: Annotated[str, AfterValidator(no_wildcards)] = "hbot/predictions"
    """The controllers' `topic`."""
    repeat_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 5.0
    """How often each word is said again, for a bot that was away."""
    flat: Literal["probabilities", "neutral"] = "probabilities"
    """What is told of a bar without a signal: what the model said, or to do nothing."""


class HomeAssistantConfig(_Part):
    """[homeassistant] Sensors of every stream, by Home Assistant's MQTT discovery."""

    enabled: bool = False
    """Let sensors of every stream appear by themselves."""
    prefix: Annotated[str, AfterValidator(no_wildcards)] = "homeassistant"
    """Home Assistant's discovery prefix."""


class LogConfig(_Part):
    """[log] The decision log, and what the daemon says of itself on standard error."""

    decisions: str = "-"
    """A file, "-" for standard output, or "" for none."""
    max_megabytes: Annotated[int, Field(ge=1)] = 100
    """Size at which a decision file is rotated."""
    backups: Annotated[int, Field(ge=0)] = 5
    """How many rotated files are kept."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Of what the daemon says of itself on standard error."""
    format: Literal["auto", "json", "console"] = "auto"
    """auto: console on a terminal, else JSON."""


class WebhookConfig(_Part):
    """[[webhooks]] A target that orders are POSTed to."""

    name: Annotated[str, AfterValidator(topic_level)]
    """Where the journal remembers how far this target has come; renamed, it begins anew."""
    url: Annotated[str, AfterValidator(order_url)] | None = None
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
    """Whose orders are sent."""
    exits: bool = True
    """Send an order to leave when a correction takes a signal back."""
    exit_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300
    """It is worth sending for so long after the correction (s)."""
    headers: dict[str, SecretPlace] = {}
    """Request headers, each from a file."""
    secrets: dict[Annotated[str, AfterValidator(topic_level)], SecretPlace] = {}
    """What templates call {{secret.NAME}}, each from a file."""
    hmac_key_file: SecretPlace | None = None
    """Sign each body with this key."""
    username: str | None = None
    """For HTTP basic authentication."""
    password_file: SecretPlace | None = None
    """For HTTP basic authentication."""
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
    """What people are told of."""
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
    ws_url: Annotated[str, AfterValidator(websocket_base)] | None = None
    """Another host than the venue's own, e.g. a regional one or the simulator."""
    rest_url: Annotated[str, AfterValidator(rest_base)] | None = None
    """The same for its REST interface."""
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
    regime: Annotated[str, AfterValidator(regime_preset)] | None = None
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
    max_age_days: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """No signal of a model whose training data ended more than so many days before; absent: any."""


class StreamConfig(_Part):
    """[[streams]] Symbols of one exchange and interval that one bundle decides."""

    exchange: str
    """NAME of its [exchanges.NAME]."""
    symbols: Annotated[list[Annotated[str, AfterValidator(topic_level)]], Field(min_length=1)]
    """As the venue spells them."""
    interval: Annotated[str, AfterValidator(interval_name)]
    """1s to 1M, as the bundle was trained on."""
    bundle: Path = Field(strict=False)
    """Folder of the bundle, made by `candled train` or `candled model import`."""
    any_symbol: bool = False
    """Allow symbols that the bundle was not trained on."""
    policy: PolicyConfig = PolicyConfig()
    """What differs from [policy]."""
    challenger: Path | None = Field(None, strict=False)
    """A second bundle that decides the same bars in the shadow: nothing acts upon it."""
    challenger_policy: PolicyConfig | None = None
    """The challenger's own policy; absent: that of the stream."""


class Config(_Part):
    """The whole file."""

    state: StateConfig = StateConfig()
    mqtt: MqttConfig = MqttConfig()
    models: ModelsConfig = ModelsConfig()
    web: WebConfig = WebConfig()
    track: TrackConfig = TrackConfig()
    hummingbot: HummingbotConfig = HummingbotConfig()
    homeassistant: HomeAssistantConfig = HomeAssistantConfig()
    log: LogConfig = LogConfig()
    webhooks: list[WebhookConfig] = []
    alerts: AlertsConfig = AlertsConfig()
    exchanges: dict[Annotated[str, AfterValidator(exchange_name)], ExchangeConfig]
    policy: PolicyConfig = PolicyConfig()
    streams: Annotated[list[StreamConfig], Field(min_length=1)]
