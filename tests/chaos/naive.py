"""What many write first, as two processes: signals straight from the websocket to MQTT, and a bot.

The publisher follows the venue's websocket. When a closed bar is one that the model calls long or
short (it is given a table, which spares it the model), it awaits `publish` at QoS 1 in the loop
that reads the frames, and connects again when something breaks. The bot keeps a durable session and
takes what comes. Both write down what they do, and are killed and frozen as the daemon and its bot
are.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
import websockets

from chaos.diary import Diary

_PAUSE_S = 0.5
_TOPIC = "naive/signal"


@dataclass(frozen=True, slots=True)
class Settings:
    """What both are told on the command line, as JSON."""

    port: int
    diary: str
    url: str = ""
    """Of the websocket, with its streams."""
    table: str = ""
    """JSON file: symbol -> open time -> side."""


async def publish(settings: Settings) -> None:
    table: dict[str, dict[str, str]] = json.loads(Path(settings.table).read_text())  # noqa: ASYNC240 - once
    diary = Diary(Path(settings.diary))
    while True:
        try:
            async with aiomqtt.Client("127.0.0.1", settings.port, identifier="naive") as client:
                await follow(settings.url, table, client, diary)
        except (aiomqtt.MqttError, OSError, websockets.WebSocketException):
            await asyncio.sleep(_PAUSE_S)


async def follow(
    url: str, table: dict[str, dict[str, str]], client: aiomqtt.Client, diary: Diary
) -> None:
    async with websockets.connect(url) as socket:
        async for symbol, opened in closes(socket):
            side = table[symbol].get(str(opened))
            if side is None:
                continue
            signal = {"id": f"{symbol}-{opened}", "symbol": symbol, "bar": opened, "side": side}
            diary.write({"kind": "decided", "at_ns": time.time_ns(), **signal})
            await client.publish(f"{_TOPIC}/{symbol}", json.dumps(signal), qos=1)


async def closes(socket: websockets.ClientConnection) -> AsyncIterator[tuple[str, int]]:
    """Yield symbol and open time of the bars that close."""
    async for frame in socket:
        kline: dict[str, Any] = json.loads(frame).get("data", {}).get("k", {})
        if kline.get("x"):
            yield kline["s"], kline["t"]


async def listen(settings: Settings) -> None:
    diary = Diary(Path(settings.diary))
    while True:
        try:
            async with aiomqtt.Client(
                "127.0.0.1", settings.port, identifier="naive-bot", clean_session=False
            ) as client:
                await client.subscribe(f"{_TOPIC}/#", qos=1)
                diary.write({"kind": "ready", "at_ns": time.time_ns()})
                async for message in client.messages:
                    note(diary, message)
        except aiomqtt.MqttError:
            await asyncio.sleep(_PAUSE_S)


def note(diary: Diary, message: aiomqtt.Message) -> None:
    assert isinstance(message.payload, bytes)
    signal = json.loads(message.payload)
    diary.write({"kind": "signal", "at_ns": time.time_ns(), **signal})


if __name__ == "__main__":
    job = {"publish": publish, "listen": listen}[sys.argv[1]]
    asyncio.run(job(Settings(**json.loads(sys.argv[2]))))
