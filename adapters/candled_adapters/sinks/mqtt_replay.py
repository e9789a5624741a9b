"""The MQTT sink's ear: requests for replay, heard and answered between deliveries.

It must never cost a live signal. An answer goes out only when all that is decided has been
delivered, and the next one only when the broker has taken the last. Where a broker will not let us
listen, or cuts the connection over an answer, delivery goes on without; what has gone wrong is
tried again after ever longer pauses. What is answered is in `replay`.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from candled.ports import HealthBoard
from candled_adapters.sinks.caution import Caution
from candled_adapters.sinks.mqtt_link import LinkError, Wire
from candled_adapters.sinks.mqtt_messages import Heard
from candled_adapters.sinks.mqtt_turns import SpareTurn
from candled_adapters.sinks.replay import Desk, NowhereError

_LOG_PAUSE_S: Final = 60.0

log = structlog.get_logger("candled.mqtt")


class Ear:
    """Listens on each connection and answers; remembers over all of them what went wrong.

    `part` is the name under which the board is told.
    """

    def __init__(self, desk: Desk, topic: str, board: HealthBoard, part: str) -> None:
        self._desk = desk
        self._topic = topic
        self._board = board
        self._part = part
        self._listening = Caution()
        self._answering = Caution()
        self._problem: str | None = None
        self._unsaid = 0
        self._said_s = float("-inf")

    async def serve(self, link: Wire, spare: SpareTurn) -> None:
        """Listen and answer until the connection ends; raises its LinkError."""
        while not await self._listens(link):
            pass
        async for heard in link.heard():
            await self._answer(link, heard, spare)

    async def _listens(self, link: Wire) -> bool:
        await self._pause()
        self._listening.begin(_now_s())
        try:
            await link.listen(self._topic)
        except LinkError as problem:
            self._tell(f"nobody is answered: {problem}; or set mqtt.replay = false")
            return False
        self._listening.well()
        self._tell(None)
        return True

    async def _pause(self) -> None:
        """Do not listen for a while after what did not go well."""
        if self._answering.tries > 1:
            pause_s = self._answering.pause_s
            self._tell(
                f"nobody is answered for {pause_s:g} s: the last answers cost the connection"
            )
        now_s = _now_s()
        await asyncio.sleep(max(self._listening.wait_s(now_s), self._answering.wait_s(now_s)))

    async def _answer(self, link: Wire, heard: Heard, spare: SpareTurn) -> None:
        now_s = _now_s()
        try:
            asked = self._desk.take(heard, now_s)
        except NowhereError as why:
            self._log_refusal(str(why), now_s)
            return
        if asked is None:
            return
        async with spare():
            answer = self._desk.begin(asked)
        for _ in iter(answer.more, False):
            await asyncio.sleep(0)
        async with spare():
            message = answer.message()
            self._answering.begin(_now_s())
            ack = await link.send(message)
        await ack
        self._answering.well()

    def _tell(self, problem: str | None) -> None:
        if problem != self._problem:
            self._problem = problem
            self._board.report(self._part, problem)

    def _log_refusal(self, why: str, now_s: float) -> None:
        """Tell of a request without an answer; of many, one a minute."""
        if now_s - self._said_s < _LOG_PAUSE_S:
            self._unsaid += 1
            return
        log.warning("replay request refused", why=why, unsaid=self._unsaid)
        self._said_s, self._unsaid = now_s, 0


def _now_s() -> float:
    return asyncio.get_running_loop().time()
