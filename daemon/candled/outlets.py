"""The way out: what of the configuration becomes which sink. Part of the composition root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from candled.challenge.challenger import Challenger, Published
from candled.config import Config, ConfigError, MqttConfig, digest
from candled.core.lane import Lane, Lineup
from candled.core.model import Model
from candled.ports import Clock, Sink
from candled.reloading import Present
from candled.secret import read_secret, secret_file
from candled.tally import Tally
from candled.targets import alert_sinks, webhook_sinks
from candled_adapters.exchanges.registry import live_venue
from candled_adapters.protocol.shapes import ExchangeInfo, Info
from candled_adapters.protocol.signing import Signer, SigningError
from candled_adapters.sinks.homeassistant import Announced, Announcer
from candled_adapters.sinks.homeassistant_words import Household
from candled_adapters.sinks.hummingbot import HummingbotSettings, HummingbotSink
from candled_adapters.sinks.hummingbot_words import Pair
from candled_adapters.sinks.log import LogSettings, LogSink
from candled_adapters.sinks.mqtt import MqttSink
from candled_adapters.sinks.mqtt_link import Dial
from candled_adapters.sinks.mqtt_messages import MqttSettings, Sign
from candled_adapters.sinks.mqtt_versions import Choice
from candled_adapters.sinks.payload import model_info
from candled_adapters.sinks.shadows import ShadowTeller


@dataclass(frozen=True, slots=True)
class Outlook:
    """What sinks need to know beside their own settings."""

    lanes: Sequence[Lane]
    epoch: str
    """Of the journal."""
    clock: Callable[[str], Clock]
    """Finds an exchange's clock."""
    tally: Tally
    challenger: Challenger | None = None
    """Where streams have one."""
    present: Present | None = None
    """What is in force now; None: what the configuration and `lanes` say, for good."""


def sinks_of(config: Config, outlook: Outlook) -> list[Sink]:
    """Return the configured sinks; reads secrets, connects nowhere. Raises ConfigError."""
    present = outlook.present or Present(config, Lineup(outlook.lanes))
    info = PresentInfo(present, outlook.epoch)
    settings = mqtt_settings(config)
    dial = Dial(settings)

    def info_now() -> Info:
        return msgspec.structs.replace(info(), protocol=dial.protocol, losses=dial.losses)

    sinks: list[Sink] = [
        MqttSink(
            settings,
            outlook.clock,
            info_now,
            streams=[lane.stream for lane in outlook.lanes],
            on_acked=outlook.tally.acked,
            connect=dial,
        )
    ]
    if config.homeassistant.enabled:
        sinks[0] = Announced(sinks[0], _announcer(config, settings, outlook.lanes, dial))
    if config.hummingbot.pairs:
        bots = hummingbot_settings(config, outlook.lanes)
        sinks.append(HummingbotSink(bots, outlook.clock, connect=dial.follow))
    if config.log.decisions:
        sinks.append(LogSink(_log_settings(config)))
    sinks += webhook_sinks(config, outlook.clock)
    sinks += alert_sinks(config, outlook.clock)
    if outlook.challenger is not None:
        shadows = ShadowTeller(
            settings,
            outlook.clock,
            connect=dial.follow,
            protocol=lambda: dial.protocol,
            give_way=outlook.challenger.courtesy.give_way,
        )
        sinks.append(Published(outlook.challenger, shadows.run))
    return sinks


def mqtt_settings(config: Config) -> MqttSettings:
    """Turn [mqtt] into the sink's settings; reads the password file."""
    part, url = config.mqtt, urlsplit(config.mqtt.url)
    tls = url.scheme == "mqtts"
    return MqttSettings(
        host=url.hostname or "",
        port=url.port or (8883 if tls else 1883),
        base_topic=part.base_topic,
        client_id=part.client_id,
        username=part.username,
        password=(
            read_secret("mqtt.password_file", part.password_file) if part.password_file else None
        ),
        tls=tls,
        ca_file=_text(part.ca_file),
        cert_file=_text(part.cert_file),
        key_file=_text(part.key_file and secret_file("mqtt.key_file", part.key_file)),
        protocol=_protocol(part),
        keepalive=part.keepalive,
        max_outstanding=part.max_outstanding,
        publish_timeout=part.publish_timeout,
        digest=part.digest,
        replay=part.replay,
        sign=_sign(part.signing_key_file),
    )


def hummingbot_settings(config: Config, lanes: Sequence[Lane]) -> HummingbotSettings:
    """Turn [hummingbot] into the sink's settings; raises ConfigError as [mqtt] may."""
    part = config.hummingbot
    told = [(lane, part.pairs.get(lane.stream.path)) for lane in lanes]
    return HummingbotSettings(
        mqtt=mqtt_settings(config),
        pairs=tuple(Pair(lane.stream, name, lane.model.target) for lane, name in told if name),
        base_topic=part.base_topic,
        repeat_s=part.repeat_seconds,
        flat_is_neutral=part.flat == "neutral",
    )


def _announcer(config: Config, mqtt: MqttSettings, lanes: Sequence[Lane], dial: Dial) -> Announcer:
    home = Household(
        base_topic=mqtt.base_topic,
        version=version("candled"),
        dialects={name: part.dialect for name, part in config.exchanges.items()},
        head_refresh=mqtt.head_refresh,
        prefix=config.homeassistant.prefix,
    )
    streams = [lane.stream for lane in lanes]
    return Announcer(mqtt, home, streams, connect=dial.follow)


def _protocol(part: MqttConfig) -> Choice:
    """Return the MQTT to speak: who wants signatures gets no 3.1.1, which carries none."""
    return "5" if part.signing_key_file and part.protocol == "auto" else part.protocol


def _sign(where: Path | None) -> Sign | None:
    if where is None:
        return None
    path = secret_file("mqtt.signing_key_file", where)
    try:
        return Signer.from_file(path).properties
    except SigningError as error:
        raise ConfigError(path, [f"mqtt.signing_key_file: {error}"]) from error


def _text(path: Path | None) -> str | None:
    return str(path) if path else None


def _log_settings(config: Config) -> LogSettings:
    part = config.log
    return LogSettings(
        path=None if part.decisions == "-" else Path(part.decisions),
        max_bytes=part.max_megabytes * 1_000_000,
        backups=part.backups,
    )


class PresentInfo:
    """Returns what the info topic says of what is in force; made anew when that changes."""

    def __init__(self, present: Present, epoch: str) -> None:
        self._present = present
        self._epoch = epoch
        self._info: tuple[Sequence[Lane], Info] | None = None

    def __call__(self) -> Info:
        """Return it."""
        config, lanes = self._present.config, self._present.lanes
        if self._info is None or self._info[0] is not lanes:  # a reload brings both anew
            self._info = lanes, info_of(config, lanes, self._epoch)
        return self._info[1]


def info_of(config: Config, lanes: Sequence[Lane], epoch: str) -> Info:
    """Return what the info topic says of what runs."""
    models: dict[str, Model] = {lane.model.digest: lane.model for lane in lanes}
    used = dict.fromkeys(lane.stream.exchange for lane in lanes)
    dialects = {name: config.exchanges[name].dialect for name in used}
    return Info(
        version=version("candled"),
        config_digest=digest(config),
        models=tuple(map(model_info, models.values())),
        exchanges={
            name: ExchangeInfo(dialect=dialect, close_source=live_venue(dialect).closing.mark)
            for name, dialect in dialects.items()
        },
        streams=tuple(sorted(lane.stream.path for lane in lanes)),
        epoch=epoch,
    )
