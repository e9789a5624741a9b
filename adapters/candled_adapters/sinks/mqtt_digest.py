"""The MQTT sink's digests: said when they are due and nothing that is decided waits.

For dashboards: what is lost is not told again, and nothing here may cost a signal. The first one on
each connection is sent at QoS 1: where the broker grants no right to write, that shows, and there
are none for a while. Which decisions belong together is in `digest`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import structlog

from candled.ports import Entry
from candled_adapters.sinks.caution import Caution
from candled_adapters.sinks.digest import Digests
from candled_adapters.sinks.mqtt_link import Wire
from candled_adapters.sinks.mqtt_messages import Message, Voice
from candled_adapters.sinks.mqtt_turns import SpareTurn

log = structlog.get_logger("candled.mqtt")


class Teller:
    """Tells digests over any number of connections."""

    def __init__(self, digests: Digests, say: Voice) -> None:
        self._digests = digests
        self._say = say
        self._added = asyncio.Event()
        self._caution = Caution()

    def add(self, entries: Iterable[Entry]) -> None:
        """Take decisions that have been delivered."""
        self._digests.add(entries, _now_s())
        self._added.set()

    async def tell(self, link: Wire, spare: SpareTurn) -> None:
        """Tell each part when it is due, until the connection ends with its LinkError."""
        granted = False
        while True:
            await self._wait()
            for part in self._digests.take(_now_s()):
                if self._caution.wait_s(_now_s()) > 0:
                    continue
                await asyncio.sleep(0)  # a part takes milliseconds, and the loop has more to do
                message = self._say.digest(part)
                if granted:
                    async with spare():
                        link.send_unacked(message)
                else:
                    await self._ask(link, spare, message)
                    granted = True

    async def _wait(self) -> None:
        """Return when something is due, or there is more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._digests.wait_s(_now_s())):
                await self._added.wait()
        self._added.clear()

    async def _ask(self, link: Wire, spare: SpareTurn, message: Message) -> None:
        """Send what shows whether the broker takes digests."""
        if self._caution.tries > 1:
            log.warning(
                "digests are not told",
                seconds=self._caution.pause_s,
                why=f"the last ones cost the connection; grant write rights on {message.topic} "
                "or set mqtt.digest = false",
            )
        async with spare():
            self._caution.begin(_now_s())
            ack = await link.send(message)
        await ack
        self._caution.well()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
