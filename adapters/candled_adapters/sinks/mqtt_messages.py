"""What the MQTT sink says where: its settings, topics, retention and expiry.

Pure functions of facts and of the venue's clock; no connection is known here. The names of the
topics are in `protocol.topics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from candled.core.bar import Interval
from candled.ports import Clock, Entry, Health, Notice, StreamHealth
from candled_adapters.protocol import shapes
from candled_adapters.protocol.topics import Topics
from candled_adapters.sinks import payload
from candled_adapters.sinks.digest import Part
from candled_adapters.sinks.mqtt_versions import Choice

InfoPayload = shapes.Info | Mapping[str, object] | bytes
#: Returns the user properties that prove a message: topic and payload in, pairs of text out.
Sign = Callable[[str, bytes], tuple[tuple[str, str], ...]]
_HEAD_MIN_EXPIRY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Where the broker is and how to deal with it."""

    host: str
    port: int = 1883
    base_topic: str = "candled"
    client_id: str = "candled"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""
    cert_file: str | None = None
    """Our own certificate, for brokers that ask for one."""
    key_file: str | None = None
    protocol: Choice = "auto"
    """Which MQTT to speak; see `mqtt_versions`."""
    keepalive: int = 2
    """Seconds of our silence that the broker shall not be alarmed by; we ask twice as often."""
    max_outstanding: int = 100
    """Messages on their way at once; the broker's Receive Maximum may lower it."""
    publish_timeout: float = 2.0
    """Seconds to wait for the broker before giving up the connection."""
    status_beat: float = 1.0
    """Seconds between repetitions of the status, without which consumers stop trading."""
    head_refresh: float = 30.0
    """Seconds between repetitions of every head."""
    backoff_min: float = 0.2
    """Longest pause before the first new attempt (s); it doubles up to `backoff_max`."""
    backoff_max: float = 10.0
    digest: bool = True
    """Say all decisions of a close in one message, too."""
    replay: bool = True
    """Answer who asks for signals that it missed."""
    sign: Sign | None = field(default=None, repr=False)
    """Signs every message and the will; the signature goes with them as user properties."""

    @property
    def url(self) -> str:
        """The broker's address without secrets, for messages."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Message:
    """What is published."""

    topic: str
    payload: bytes
    retain: bool = False
    expiry: int | None = None
    """Seconds after which the broker shall forget it."""
    correlation: bytes | None = None
    """What tells the asker which question this answers."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A message that others have published."""

    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None
    correlation: bytes | None


class Voice:
    """Renders facts as messages."""

    def __init__(
        self,
        settings: MqttSettings,
        clocks: Callable[[str], Clock],
        info: Callable[[], InfoPayload],
        instance: str,
        epoch: str,
    ) -> None:
        self._topics = Topics(settings.base_topic)
        self._refresh_s = settings.head_refresh
        self._beat_s = settings.status_beat
        self._clocks = clocks
        self._info = info
        self._instance = instance
        self._epoch = epoch

    def will(self) -> Message:
        """Render what the broker shall say when it loses us."""
        said = payload.will(self._instance, self._epoch)
        return Message(self._topics.status, said, retain=True)

    def status(self, health: Health) -> Message:
        """Render the service's state."""
        said = payload.status(health, self._instance, self._epoch, self._beat_s)
        return Message(self._topics.status, said, retain=True)

    def info(self) -> Message:
        """Render what is running, as of now."""
        said = self._info()
        said = said if isinstance(said, bytes) else payload.encode(said)
        return Message(self._topics.info, said, retain=True)

    def decision(self, entry: Entry, withdrawn: Collection[str]) -> list[Message]:
        """Render what an entry is delivered as; most are nothing but a head.

        `withdrawn` are ids of signals that are known to have been corrected.
        """
        said = []
        if entry.decision.supersedes:
            said.append(self._correction(entry))
        if entry.decision.is_signal:
            said.append(self._signal(entry, withdrawn=entry.decision.id in withdrawn))
        return said

    def _correction(self, entry: Entry) -> Message:
        said = payload.encode(payload.correction(entry, self._epoch))
        return Message(self._topics.event(entry.decision.stream.path), said)

    def _signal(self, entry: Entry, *, withdrawn: bool) -> Message:
        """Render a signal; too late, it is still delivered, for the record, and says so."""
        stream = entry.decision.stream
        clock = self._clocks(stream.exchange)
        now = clock.now_ms()
        said = payload.signal(entry, self._epoch, now, withdrawn=withdrawn)
        left = entry.decision.valid_until - now
        expiry = max(1, math.ceil(clock.local_seconds(left))) if left > 0 else None
        return Message(self._topics.signal(stream.path), said, expiry=expiry)

    def event(self, notice: Notice) -> Message:
        """Render an incident."""
        stream = notice.incident.stream
        about = stream.path if stream else notice.incident.exchange
        return Message(self._topics.event(about), payload.event(notice))

    def digest(self, part: Part) -> Message:
        """Render a part of a close's digest."""
        stream = part.entries[0].decision.stream
        clock = self._clocks(stream.exchange)
        said = payload.digest(part, self._epoch, clock.now_ms())
        bar_s = clock.local_seconds(Interval(stream.interval).typical_ms)
        topic = self._topics.digest(stream.exchange, stream.interval)
        return Message(topic, said, expiry=max(1, math.ceil(bar_s)))

    def head(self, entry: Entry, health: StreamHealth | None, why: str = "") -> Message:
        """Render a head, which the broker forgets when nobody says it again.

        Without `health` the stream is not served now; `why` tells people the reason.
        """
        stream = entry.decision.stream
        clock = self._clocks(stream.exchange)
        said = payload.head(entry, self._epoch, clock.now_ms(), health, why)
        bars = clock.local_seconds(2 * Interval(stream.interval).typical_ms)
        expiry = math.ceil(max(_HEAD_MIN_EXPIRY_S, bars + 2 * self._refresh_s))
        return Message(self._topics.head(stream.path), said, retain=True, expiry=expiry)
