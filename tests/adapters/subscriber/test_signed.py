"""A consumer that verifies: it acts on what the daemon signs, and on nothing that others say."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import aiomqtt
import pytest

from brokers import mosquitto, needs_mosquitto
from candled.core.bar import MINUTE
from candled.core.decision import Side
from candled.ports import StreamHealth, StreamState
from candled_adapters.protocol.signing import Signer, Verifier, make_key
from candled_adapters.sinks import payload
from candled_adapters.sinks.mqtt import MqttSettings, MqttSink
from candled_adapters.subscriber import Heard, Refused, Signals
from fakes import BTC, EVENING_MS, Board, Decisions, FixedClock, MemoryOutbox, ended, until

SIGNAL = f"candled/signal/{BTC.path}"


def entries() -> MemoryOutbox:
    """Return a journal with three signals that hold for an hour."""
    made = Decisions().some(3, Side.LONG)
    far = EVENING_MS + 60 * MINUTE
    return MemoryOutbox(replace(e, decision=replace(e.decision, valid_until=far)) for e in made)


@needs_mosquitto
@pytest.mark.parametrize("signer", ["ours", "theirs", "nobody"])
def test_a_bot_acts_on_what_a_trusted_key_has_signed_and_on_nothing_else(
    tmp_path: Path, signer: str
):
    """Signals, heads, status and answers to replay by our key are believed; others never are.

    What an attacker says beside them is refused.
    """
    keys = {name: make_key(tmp_path / name) for name in ("ours", "theirs")}
    verifier = Verifier.trusting([keys["ours"].public_key])
    key: Signer | None = keys.get(signer)
    outbox, clock, board = entries(), FixedClock(EVENING_MS + 3 * MINUTE), Board()
    board.note(StreamHealth(BTC, StreamState.LIVE, ""))
    retained = {"candled/status", f"candled/head/{BTC.path}"}
    heard: list[Heard] = []
    refused: list[Refused] = []

    async def listen(signals: Signals) -> None:
        async for event in signals:
            if isinstance(event, Heard):
                heard.append(event)
            if isinstance(event, Refused):
                refused.append(event)

    async def go(port: int) -> None:
        settings = MqttSettings("127.0.0.1", port, sign=key.properties if key else None)
        sink = MqttSink(settings, lambda _: clock, dict, streams=(BTC,))
        bot = Signals(
            f"mqtt://127.0.0.1:{port}", client_id="bot", clock=lambda: clock.now, since=0,
            verify=verifier.problem,
        )  # fmt: skip
        tasks = [asyncio.create_task(listen(bot))]
        await until(bot.subscribed.is_set)
        forged = payload.signal(outbox.entries[0], outbox.epoch, clock.now)
        async with aiomqtt.Client("127.0.0.1", port) as attacker:
            await attacker.publish(SIGNAL, forged, qos=1)
        await until(lambda: any(r.topic == SIGNAL and "is not signed" in str(r) for r in refused))
        tasks.append(asyncio.create_task(sink.run(outbox, board)))
        try:
            await until(lambda: outbox.position("mqtt") == outbox.entries[-1].position)
            if signer == "ours":
                await until(lambda: len(heard) == len(outbox.entries))
            else:
                await until(lambda: sum(r.topic == SIGNAL for r in refused) == 4)
                await until(lambda: retained <= {r.topic for r in refused})
        finally:
            for task in tasks:
                await ended(task)

    with mosquitto(tmp_path) as broker:
        asyncio.run(asyncio.wait_for(go(broker.port), 20))
    if signer == "ours":
        assert [h.signal.seq for h in heard] == [1, 2, 3]
        assert {r.topic for r in refused} == {SIGNAL}
    else:
        assert heard == []
        assert retained <= {r.topic for r in refused}
