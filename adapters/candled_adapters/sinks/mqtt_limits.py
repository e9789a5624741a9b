"""What a broker says it allows, and which of it hurts us. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from paho.mqtt.properties import Properties

from candled_adapters.sinks.mqtt_messages import MqttSettings

_ALL: Final = 65_535  # a broker that names no Receive Maximum
_LEAST_WINDOW: Final = 20
_LEAST_PACKET: Final = 16_384


@dataclass(frozen=True, slots=True)
class Limits:
    """The properties of a CONNACK; the defaults are those of a broker that says nothing."""

    receive_maximum: int = _ALL
    """Messages of ours without its acknowledgement."""
    maximum_qos: int = 2
    retain_available: bool = True
    maximum_packet_size: int | None = None
    """Bytes; None: any."""
    server_keepalive: int | None = None
    """Seconds, if it wants others than we asked for; 0: it never looks."""

    @classmethod
    def of(cls, properties: Properties | None) -> Self:
        """Read them from paho's properties; None is MQTT 3.1.1, which has none."""
        return cls(
            receive_maximum=getattr(properties, "ReceiveMaximum", _ALL),
            maximum_qos=getattr(properties, "MaximumQoS", 2),
            retain_available=bool(getattr(properties, "RetainAvailable", 1)),
            maximum_packet_size=getattr(properties, "MaximumPacketSize", None),
            server_keepalive=getattr(properties, "ServerKeepAlive", None),
        )

    def problems(self) -> list[str]:
        """Return what we cannot work with, each with the mend."""
        found = []
        if self.maximum_qos < 1:
            found.append("it takes QoS 0 only: signals could be lost unseen; allow QoS 1")
        if not self.retain_available:
            found.append("it keeps no retained messages: nobody could learn the status; allow them")
        return found

    def warnings(self, settings: MqttSettings) -> list[str]:
        """Return what will hurt, each with the mend."""
        found = []
        if self.receive_maximum < min(_LEAST_WINDOW, settings.max_outstanding):
            found.append(
                f"it takes only {self.receive_maximum} message(s) at once: a close of many streams "
                "is delivered slowly; raise its receive maximum (Mosquitto: max_inflight_messages)"
            )
        size = self.maximum_packet_size
        if size is not None and size < _LEAST_PACKET:
            found.append(
                f"it takes packets up to {size} bytes: info and digests may be larger; raise its "
                "maximum packet size (Mosquitto: max_packet_size)"
            )
        alarm = self.server_keepalive
        if alarm is not None and (alarm == 0 or alarm > settings.keepalive):
            after = f"after {1.5 * alarm:g} s" if alarm else "never"
            found.append(
                f"it insists on a keepalive of {alarm} s: if candled freezes, it says so {after}"
            )
        return found
