"""A Hummingbot controller that hears us holds on to nothing that may not be held on to.

The controller here is written from what Hummingbot's own does with a message, and knows nothing of
candled: `controllers/directional_trading/ai_livestream.py` and `hummingbot/remote_iface/mqtt.py` of
https://github.com/hummingbot/hummingbot: QoS 0, no session, JSON, three numbers in an order of its
own, thresholds that must be exceeded, and a signal that stays until the next message.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiomqtt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers import free_port, mosquitto, needs_mosquitto
from candled.core.bar import MINUTE, Stream
from candled.core.decision import Probabilities, Reason, Side, Target, signals
from candled.ports import Entry, ServiceState, StreamHealth, StreamState
from candled_adapters.sinks import hummingbot
from candled_adapters.sinks.hummingbot import HummingbotSettings, HummingbotSink
from candled_adapters.sinks.hummingbot_words import Circumstances, Pair, message, word
from candled_adapters.sinks.mqtt_messages import MqttSettings
from fakes import BTC, EVENING_MS, Board, Decisions, FixedClock, MemoryOutbox, ended, until

ETH = Stream("binance", "ETHUSDT", "1m")
TARGET = Target(lookahead_bars=10, profit_pct=0.6, stop_pct=0.3)
PAIR = Pair(BTC, "BTC-USDT", TARGET)


class Controller:
    """Does with a message what the consumer does with it, errors included."""

    def __init__(self, trading_pair: str, threshold: float = 0.6) -> None:
        self.topic = f"hbot/predictions/{trading_pair.replace('-', '_').lower()}/ML_SIGNALS"
        self.threshold = threshold
        self.signal = 0
        self.features: dict[str, Any] = {}

    def hear(self, payload: bytes) -> None:
        said = json.loads(payload)
        short, _neutral, long = said["probabilities"]
        self.signal = -1 if short > self.threshold else 1 if long > self.threshold else 0
        self.features = said

    @property
    def volatility_factor(self) -> float:
        return self.features.get("target_pct", 0.01)


# --- what is said, without a broker

AT = Decisions().make(Side.LONG)
WELL = Circumstances(
    ServiceState.ONLINE,
    StreamHealth(BTC, StreamState.LIVE, ""),
    now_ms=AT.decision.bar_close + 40,
    flat_is_neutral=False,
)

single = st.floats(0, 1, width=32)


def deciding(odds: Probabilities | None, threshold: float, reason: Reason | None) -> Entry:
    """Return an entry as the daemon decides it: by the threshold, unless there is a reason."""
    if odds is None:
        side = Side.NO_DECISION
    elif reason is not None:
        side = Side.FLAT
    else:
        row = np.array([[odds.no_trade, odds.long, odds.short]], np.float32)
        side = (Side.FLAT, Side.LONG, Side.SHORT)[signals(row, threshold)[0]]
    decision = replace(
        AT.decision, side=side, reason=reason, probabilities=odds, threshold=threshold
    )
    return replace(AT, decision=decision)


def held(entry: Entry | None, around: Circumstances, threshold: float) -> int:
    """Return the signal that a controller with our threshold holds after the word."""
    bot = Controller("BTC-USDT", threshold)
    clock = FixedClock(around.now_ms)
    bot.hear(message(PAIR, "hbot/predictions", word(entry, around), clock, None).payload)
    return bot.signal


END = AT.decision.valid_until
answers = st.none() | st.builds(Probabilities, single, single, single)
percents = st.integers(1, 99).map(lambda percent: percent / 100)
circumstances = st.just(WELL) | st.builds(
    Circumstances,
    st.just(ServiceState.ONLINE) | st.sampled_from(ServiceState),
    st.just(WELL.stream)
    | st.none()
    | st.sampled_from(StreamState).map(lambda state: StreamHealth(BTC, state, "")),
    st.integers(END - 2 * MINUTE, END + 2 * MINUTE) | st.sampled_from([END - 1, END]),
    flat_is_neutral=st.just(False),
)


@given(answers, percents, st.none() | st.sampled_from(Reason), circumstances)
def test_a_controller_with_our_threshold_holds_our_side_while_all_is_well_and_else_nothing(
    odds: Probabilities | None, threshold: float, reason: Reason | None, around: Circumstances
):
    """For any probabilities the same side, whatever the order of the classes and the last bit.

    No side when a gate suppressed it, the stream or the service is unwell, or its time is over.
    """
    entry = deciding(odds, threshold, reason)
    live = around.stream is not None and around.stream.state is StreamState.LIVE
    well = live and around.service is ServiceState.ONLINE and around.now_ms < END
    expected = {Side.LONG: 1, Side.SHORT: -1}.get(entry.decision.side, 0) if well else 0
    assert held(entry, around, threshold) == expected
    assert held(None, around, threshold) == 0


@given(st.builds(Probabilities, single, single, single), st.floats(0, 1))
def test_flat_can_be_told_as_neutral_to_a_controller_with_a_lower_threshold(
    odds: Probabilities, lower: float
):
    """With flat = "neutral" no threshold of the controller makes more signals than ours."""
    entry = deciding(odds, 0.6, None)
    around = replace(WELL, flat_is_neutral=True)
    if entry.decision.side is Side.FLAT:
        assert held(entry, around, lower) == 0
        assert word(entry, WELL).long == pytest.approx(odds.long, abs=1e-6)


def test_the_target_is_a_fraction_and_left_out_where_none_is_known():
    """0.6 percent is 0.006; the controller's own default stands in for what is not there."""
    bot, clock = Controller("BTC-USDT"), FixedClock(WELL.now_ms)
    bot.hear(message(PAIR, "b", word(AT, WELL), clock, None).payload)
    assert bot.volatility_factor == 0.006
    aimless = replace(AT, decision=replace(AT.decision, target=None))
    nothing = replace(PAIR, target=None)
    bot.hear(message(nothing, "b", word(aimless, WELL), clock, None).payload)
    assert bot.volatility_factor == 0.01


def test_the_target_is_that_of_the_model_that_decided():
    """After a reload it is the new one's; before anything is decided, that of the start."""
    clock, other = FixedClock(WELL.now_ms), Target(lookahead_bars=5, profit_pct=1.2, stop_pct=0.4)
    later = replace(AT, decision=replace(AT.decision, target=other))
    for entry, circumstances, wanted in (
        (later, WELL, 0.012),
        (later, replace(WELL, stream=None), 0.012),
        (None, WELL, 0.006),
    ):
        said = json.loads(message(PAIR, "b", word(entry, circumstances), clock, None).payload)
        assert said["target_pct"] == wanted


def test_a_word_is_kept_for_who_is_away_until_its_time_is_over():
    """Never retained; neutral is kept without end, but its repetitions are not."""
    clock, said = FixedClock(WELL.now_ms), word(AT, WELL)
    first, again = (message(PAIR, "b", said, clock, pause) for pause in (None, 5.0))
    assert (first.retain, first.expiry) == (False, 60)
    assert again.expiry == 10
    nothing = word(None, WELL)
    assert message(PAIR, "b", nothing, clock, None).expiry is None
    assert message(PAIR, "b", nothing, clock, 5.0).expiry == 10


def test_topics_are_spelled_as_the_controller_spells_them():
    """Lower case, with an underscore for the dash."""
    assert PAIR.topic("hbot/predictions") == Controller("BTC-USDT").topic


# --- with a real broker


class Bots:
    """Controllers on a real broker, as Hummingbot's bridge connects them."""

    def __init__(self) -> None:
        self.by_topic = {bot.topic: bot for bot in (Controller("BTC-USDT"), Controller("ETH-USDT"))}
        self.btc, self.eth = self.by_topic.values()
        self.heard: list[aiomqtt.Message] = []
        self.connected = False

    async def run(self, port: int) -> None:
        """Listen for ever; come back soon after each loss."""
        while True:
            with suppress(aiomqtt.MqttError):
                version = aiomqtt.ProtocolVersion.V5
                async with aiomqtt.Client("127.0.0.1", port, protocol=version) as client:
                    for topic in self.by_topic:
                        await client.subscribe(topic, qos=0)
                    self.connected = True
                    async for said in client.messages:
                        self.heard.append(said)
                        self.by_topic[str(said.topic)].hear(said.payload)
            self.connected = False
            await asyncio.sleep(0.05)


@asynccontextmanager
async def bots(port: int) -> AsyncIterator[Bots]:
    """Run the controllers for the length of the block."""
    found = Bots()
    task = asyncio.create_task(found.run(port))
    await until(lambda: found.connected)
    try:
        yield found
    finally:
        await ended(task)


class World:
    """A sink and what is around it."""

    def __init__(self, port: int, *pairs: Pair, **settings: object) -> None:
        self.clock = FixedClock(EVENING_MS)
        self.outbox, self.board = MemoryOutbox(), HonestBoard()
        for stream in (BTC, ETH):
            self.board.streams[stream] = StreamHealth(stream, StreamState.LIVE, "")
        mqtt = MqttSettings("127.0.0.1", port, keepalive=2, backoff_max=0.2)
        told = HummingbotSettings(
            mqtt, pairs or (PAIR, Pair(ETH, "ETH-USDT", None)), **{"repeat_s": 60.0, **settings}
        )
        self.sink = HummingbotSink(told, lambda _exchange: self.clock)

    def say(self, *entries: Entry) -> None:
        """Add entries, and let it be shortly after the last one's close."""
        self.clock.now = max(e.decision.bar_close for e in entries) + 40
        self.outbox.add(*entries)


class HonestBoard(Board):
    """A board whose state follows from what the pairs report, as the real one's does."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: dict[str, str] = {}

    def report(self, part: str, problem: str | None) -> None:
        super().report(part, problem)
        before = dict(self.bad)
        self.bad.pop(part, None)
        if problem is not None:
            self.bad[part] = problem
        if self.bad != before:
            state = ServiceState.DEGRADED if self.bad else ServiceState.ONLINE
            self.set(state, *self.bad.values())


Scenario = Callable[[World, Bots, Any], Any]


def play(folder: Path, scenario: Scenario, *pairs: Pair, **settings: object) -> World:
    """Run a sink and bots on a broker of their own, and the scenario beside them."""

    async def go(broker: Any) -> World:
        world = World(broker.port, *pairs, **settings)
        async with bots(broker.port) as listening:
            task = asyncio.create_task(world.sink.run(world.outbox, world.board))
            try:
                await until(lambda: world.board.reports and not world.board.bad)
                await scenario(world, listening, broker)
            finally:
                await ended(task)
            await until(lambda: listening.btc.signal == listening.eth.signal == 0)
        return world

    with mosquitto(folder) as broker:
        return asyncio.run(asyncio.wait_for(go(broker), 20))


@needs_mosquitto
def test_every_closed_bar_is_told_and_the_pair_goes_back_to_neutral_at_the_end(tmp_path: Path):
    """Signal or not, of each pair its own, not retained; a proper stop says neutral."""
    made = Decisions()
    closes = [made.make(side) for side in (Side.LONG, Side.FLAT, Side.LONG, Side.NO_DECISION)]
    other = made.make(Side.LONG, ETH)

    async def scenario(world: World, bot: Bots, _broker: Any) -> None:
        for entry in closes:
            world.say(entry)
            close = entry.decision.bar_close
            await until(lambda close=close: bot.btc.features.get("timestamp") == close)
            assert bot.btc.signal == (entry.decision.side is not Side.NO_DECISION)
            assert bot.eth.signal == 0
        world.say(other)
        world.clock.now = other.decision.bar_close + 40
        await until(lambda: bot.eth.signal == 1)
        await until(lambda: world.outbox.position("hummingbot") == other.position)
        assert not any(said.retain for said in bot.heard)

    play(tmp_path, scenario)


@needs_mosquitto
@pytest.mark.parametrize("trouble", ["service", "stream", "gate", "correction", "time"])
def test_a_signal_is_let_go_when_it_no_longer_holds(tmp_path: Path, trouble: str):
    """And told at once; a next good bar is told again.

    What ends it: a degraded service, a stream that holds, a newer bar that a gate suppressed, a
    correction, or the end of its time without a newer bar.
    """
    made = Decisions()
    first, second, third = made.some(3)
    gated = replace(second, decision=replace(second.decision, side=Side.FLAT, reason=Reason.REGIME))
    odds = Probabilities(no_trade=0.5, long=0.25, short=0.25)
    corrected = replace(made.correct(first, Side.FLAT), position=second.position)
    corrected = replace(corrected, decision=replace(corrected.decision, probabilities=odds))

    async def scenario(world: World, bot: Bots, _broker: Any) -> None:
        world.say(first)
        await until(lambda: bot.btc.signal == 1)
        match trouble:
            case "service":
                world.board.set(ServiceState.DEGRADED, "the log cannot be written")
            case "stream":
                world.board.streams[BTC] = StreamHealth(BTC, StreamState.HOLDING, "a bar")
                world.board.set(ServiceState.ONLINE, "news")
            case "gate":
                world.say(gated)
            case "correction":
                world.say(corrected)
            case "time":
                world.clock.now = first.decision.valid_until - 1
                heard = len(bot.heard)
                world.board.set(ServiceState.ONLINE, "its timer is set anew")
                await until(lambda: len(bot.heard) > heard + 2)
                world.clock.now = first.decision.valid_until
        await until(lambda: bot.btc.signal == 0)
        world.board.streams[BTC] = StreamHealth(BTC, StreamState.LIVE, "")
        world.board.set(ServiceState.ONLINE)
        world.say(third)
        await until(lambda: bot.btc.signal == 1)

    play(tmp_path, scenario)


@needs_mosquitto
def test_the_correction_of_an_older_bar_changes_nothing_that_is_held(tmp_path: Path):
    """What is told is about the newest bar, whatever became of those before it."""
    made = Decisions()
    first, second = made.some(2)
    corrected = made.correct(first, Side.SHORT)
    corrected = replace(
        corrected, decision=replace(corrected.decision, probabilities=Probabilities(0.1, 0.1, 0.8))
    )

    async def scenario(world: World, bot: Bots, _broker: Any) -> None:
        world.say(first, second)
        await until(lambda: bot.btc.features.get("timestamp") == second.decision.bar_close)
        world.outbox.add(corrected)
        await until(lambda: world.outbox.position("hummingbot") == corrected.position)
        world.board.set(ServiceState.ONLINE, "what is held is said again")
        heard = len(bot.heard)
        await until(lambda: len(bot.heard) > heard)
        assert bot.btc.signal == 1
        assert bot.btc.features["timestamp"] == second.decision.bar_close

    play(tmp_path, scenario)


@needs_mosquitto
@pytest.mark.parametrize("round_", [1, 1_000])
def test_of_a_backlog_only_the_newest_is_told_and_only_while_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, round_: int
):
    """2,500 signals waited, all of which still hold: nothing but the newest is ever said."""
    monkeypatch.setattr(hummingbot, "ROUND", round_)  # 1: reading takes longer than connecting
    made = Decisions()
    far = EVENING_MS + 10_000 * MINUTE
    waiting = [
        replace(entry, decision=replace(entry.decision, valid_until=far))
        for entry in made.some(2_500)
    ]
    old = made.make(Side.LONG, ETH)
    last = replace(made.make(Side.LONG), position=9_000)

    async def go(port: int) -> Bots:
        world = World(port)
        world.say(*waiting, old, last)  # the other pair's only one is long over
        async with bots(port) as bot:
            task = asyncio.create_task(world.sink.run(world.outbox, world.board))
            try:
                await until(lambda: bot.btc.signal == 1)
                await until(lambda: world.outbox.position("hummingbot") == last.position)
                assert len(bot.heard) < 12
                told = {json.loads(said.payload)["timestamp"] for said in bot.heard}
                closes = {last.decision.bar_close, old.decision.bar_close}
                assert told <= closes | {0}
                assert bot.eth.signal == 0
            finally:
                await ended(task)
        return bot

    with mosquitto(tmp_path) as broker:
        asyncio.run(asyncio.wait_for(go(broker.port), 15))


@needs_mosquitto
def test_after_a_restart_the_newest_is_told_again_while_it_holds(tmp_path: Path):
    """What was marked by the process before is no reason to be silent about it."""
    entry = Decisions().make()

    async def go(port: int) -> None:
        world = World(port)
        world.say(entry)
        world.outbox.mark("hummingbot", entry.position)
        async with bots(port) as bot:
            task = asyncio.create_task(world.sink.run(world.outbox, world.board))
            try:
                await until(lambda: bot.btc.signal == 1)
            finally:
                await ended(task)

    with mosquitto(tmp_path) as broker:
        asyncio.run(asyncio.wait_for(go(broker.port), 10))


@needs_mosquitto
def test_a_bot_that_was_away_learns_soon_what_holds(tmp_path: Path):
    """Broker killed and back: the bot comes last, and a repetition tells it; none was retained."""
    first = Decisions().make()

    async def scenario(world: World, bot: Bots, broker: Any) -> None:
        world.say(first)
        await until(lambda: bot.btc.signal == 1)
        broker.restart()
        await until(lambda: not world.board.bad and bot.connected)
        bot.btc.signal = 0  # as after a start of its own
        await until(lambda: bot.btc.signal == 1)
        world.clock.now = first.decision.valid_until
        await until(lambda: bot.btc.signal == 0)

    play(tmp_path, scenario, repeat_s=0.1)


@needs_mosquitto
def test_what_no_broker_has_accepted_is_not_marked(tmp_path: Path):
    """A frozen broker: nothing is marked until it is back; and a stolen client id is told."""
    made = Decisions()
    first, other, second = made.make(), made.make(Side.LONG, ETH), made.make()

    async def scenario(world: World, bot: Bots, broker: Any) -> None:
        world.say(first, other)
        await until(lambda: bot.btc.signal == bot.eth.signal == 1)
        await until(lambda: world.outbox.position("hummingbot") == other.position)
        version = aiomqtt.ProtocolVersion.V5
        broker.freeze()  # so that nobody comes back before we have looked
        world.say(second)
        await until(lambda: "has not answered" in str(world.board.bad.get("hummingbot BTC-USDT")))
        assert world.outbox.position("hummingbot") == other.position
        broker.thaw()
        await until(lambda: world.outbox.position("hummingbot") == second.position)
        thief = aiomqtt.Client(
            "127.0.0.1", broker.port, protocol=version, identifier="candled-hbot-btc_usdt"
        )
        async with thief:
            await until(lambda: any("lost" in str(text) for _, text in world.board.reports))

    play(tmp_path, scenario)


CHILD = """
import asyncio, sys
sys.path[:0] = {path!r}
from test_hummingbot import World, Decisions, Side, ETH
async def main():
    world = World({port})
    made = Decisions()
    world.say(made.make(), made.make(Side.LONG, ETH))
    await world.sink.run(world.outbox, world.board)
asyncio.run(main())
"""


@needs_mosquitto
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_daemon_that_is_killed_or_frozen_leaves_no_pair_behind(
    tmp_path: Path, how: signal.Signals
):
    """The broker itself says neutral for every pair.

    At once after a kill -9, and after 1.5 times the keepalive when the process is frozen.
    """

    async def go(port: int) -> None:
        code = CHILD.format(path=[str(Path(__file__).parent), *sys.path], port=port)
        async with bots(port) as bot:
            child = subprocess.Popen([sys.executable, "-c", code])  # noqa: ASYNC220 - quick
            try:
                await until(lambda: bot.btc.signal == bot.eth.signal == 1, 10)
                child.send_signal(how)
                await until(lambda: bot.btc.signal == bot.eth.signal == 0, 12)  # it looks every 5 s
            finally:
                child.kill()
                child.wait(10)

    with mosquitto(tmp_path) as broker:
        asyncio.run(asyncio.wait_for(go(broker.port), 20))


def test_without_a_broker_it_says_so_and_can_be_stopped():
    """Each pair names the address; a stop does not wait for what is not there."""

    async def go() -> dict[str, str]:
        world = World(free_port())
        task = asyncio.create_task(world.sink.run(world.outbox, world.board))
        await until(lambda: "no connection to" in str(world.board.bad.get("hummingbot ETH-USDT")))
        async with asyncio.timeout(2):
            await ended(task)
        return world.board.bad

    assert set(asyncio.run(go())) == {"hummingbot BTC-USDT", "hummingbot ETH-USDT"}
