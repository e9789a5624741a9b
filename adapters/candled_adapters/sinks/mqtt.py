"""The MQTT sink: the journal's decisions to the broker, in order, none lost, none late unsaid.

One connection after the other; what is delivered over one is `mqtt_session`'s. The outbox is the
only queue: whatever happens, a new connection begins again at the first entry that is not done.
Consumers drop what they have seen by its id. Nothing is known here of MQTT's packets (see
`mqtt_link`), of topics (see `mqtt_messages`), or of where decisions come from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from candled.core.bar import Stream
from candled.ports import Clock, HealthBoard, Outbox
from candled_adapters.protocol.topics import Topics
from candled_adapters.sinks.digest import Digests
from candled_adapters.sinks.mqtt_digest import Teller
from candled_adapters.sinks.mqtt_link import Dial, LinkError
from candled_adapters.sinks.mqtt_messages import InfoPayload, MqttSettings, Voice
from candled_adapters.sinks.mqtt_replay import Ear
from candled_adapters.sinks.mqtt_retry import Retry
from candled_adapters.sinks.mqtt_session import Connect, OnAcked, Session
from candled_adapters.sinks.replay import Desk

__all__ = ["MqttSettings", "MqttSink"]


class MqttSink:
    """Publishes signals, heads, the status and the info to one broker, for ever.

    `clocks` gives the clock of every exchange that the journal has entries of. `info` is asked at
    each connection. `streams` are those that are served now: a close is whole when all of them have
    decided. `instance` names this process in the status; the client id by default.
    `on_acked` is told the signals that the broker has accepted and when (`time.time_ns`). `connect`
    makes each connection.
    """

    name = "mqtt"

    def __init__(
        self,
        settings: MqttSettings,
        clocks: Callable[[str], Clock],
        info: Callable[[], InfoPayload],
        *,
        streams: Collection[Stream] = (),
        instance: str | None = None,
        on_acked: OnAcked | None = None,
        connect: Connect | None = None,
    ) -> None:
        self._settings = settings
        self._connect = connect or Dial(settings)
        self._clocks = clocks
        self._info = info
        self._streams = streams
        self._instance = instance or settings.client_id
        self._on_acked = on_acked

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        """Deliver until cancelled, over any number of connections."""
        board.report(self.name, f"not yet connected to {self._settings.url}")
        say = Voice(self._settings, self._clocks, self._info, self._instance, outbox.epoch)
        teller = Teller(self._digests(), say)
        ear = self._ear(outbox, board) if self._settings.replay else None
        retry = Retry(self._settings.backoff_min, self._settings.backoff_max)
        told = 0
        while True:
            session = Session(
                self.name, self._settings, say,
                outbox=outbox, board=board, on_acked=self._on_acked, told=told,
                connect=self._connect, teller=teller, ear=ear, doubt=retry.doubt,
            )  # fmt: skip
            pause = self._settings.backoff_min
            try:
                await session.run()
            except LinkError as problem:
                pause, said = retry.after(problem, session.well_for())
                board.report(self.name, said)
            told = session.told
            await asyncio.sleep(pause)

    def _digests(self) -> Digests:
        streams = self._streams if self._settings.digest else ()
        return Digests(streams, lambda exchange: self._clocks(exchange).now_ms())

    def _ear(self, outbox: Outbox, board: HealthBoard) -> Ear:
        topics = Topics(self._settings.base_topic)
        desk = Desk(topics, outbox, self._streams, self._clocks)
        return Ear(desk, topics.replay_request, board, f"{self.name} replay")
