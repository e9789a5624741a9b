"""The receiving end: what a bot imports to trade on signals safely (docs/bots.md).

    from candled_adapters.subscriber import Heard, Signals

    async for event in Signals("mqtt://127.0.0.1:1883", client_id="my-bot"):
        if isinstance(event, Heard) and event.act:
            ...

Knows the signal contract and MQTT; no daemon, no numpy and no database comes with it.
"""

from candled_adapters.subscriber.client import Signals
from candled_adapters.subscriber.clock import VenueClock
from candled_adapters.subscriber.facts import (
    Corrected,
    Event,
    Go,
    Halt,
    Heard,
    Lost,
    Refused,
)
from candled_adapters.subscriber.memory import MemoryFileError
from candled_adapters.subscriber.rules import Limits, Rules
from candled_adapters.subscriber.transport import Broker, BrokerError

__all__ = [
    "Broker",
    "BrokerError",
    "Corrected",
    "Event",
    "Go",
    "Halt",
    "Heard",
    "Limits",
    "Lost",
    "MemoryFileError",
    "Refused",
    "Rules",
    "Signals",
    "VenueClock",
]
