"""A rehearsal: the daemon's own pipeline over stored bars, published below another topic.

Service, journal and MQTT sink are those of the live process; only the feed is another one, which
plays bars at a pace, and the clock that goes with it. The journal is a passing one. Whoever listens
hears what they would have heard, marked as past unless it is meant to look as if it were now.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from candled.board import Board
from candled.config import Config, MqttConfig
from candled.core.bar import Bar, Bars, Interval
from candled.core.decision import BarClosed, Source
from candled.core.engine import Engine, Lane
from candled.journal import Journal, open_journal
from candled.outlets import info_of, mqtt_settings
from candled.ports import Clock, Emit, History, Resume, Sink, StreamHealth, StreamState
from candled.service import Service
from candled.telling import Teller
from candled_adapters.protocol.shapes import Info
from candled_adapters.sinks.log import configure_logging
from candled_adapters.sinks.mqtt import MqttSink
from candled_adapters.sinks.mqtt_link import Dial
from candled_adapters.subscriber import BrokerError

_CONNECT_S: Final = 15.0
_DELIVER_S: Final = 30.0  # without an acknowledgement, at the end
_MOST_ID: Final = 128 - 16  # characters of a client id, room left for what sets it apart


class ReplayError(Exception):
    """A replay that was asked for wrongly; the text says the mend."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where to publish, and how."""

    url: str
    base_topic: str
    bars_per_second: float
    as_live: bool
    """Let signals look as if their bars closed now, by a clock that is the venue's."""
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Played:
    """What was published."""

    decisions: int
    signals: int
    undelivered: int
    """Decisions that the broker did not acknowledge; 0 when all went well."""


class Hands:
    """The rehearsal's clock. As live it stands where the newest bar has closed.

    Else it is this machine's, but never before the last of the bars is past acting upon.
    """

    def __init__(self, stage: Stage, interval: Interval, past_ms: int) -> None:
        self._as_live = stage.as_live
        self._pace = stage.bars_per_second * interval.typical_ms  # venue ms in one of our seconds
        self._now = past_ms

    def turn(self, bar_close: int) -> None:
        """Stand at the close of a bar, where that is what is played."""
        if self._as_live:
            self._now = bar_close

    def now_ms(self) -> int:
        """Return the time that decisions and messages carry (UTC ms)."""
        return self._now if self._as_live else max(self._now, time.time_ns() // 1_000_000)

    def local_seconds(self, venue_ms: float) -> float:
        """Return how long a span of the venue's lasts here (s)."""
        return venue_ms / (self._pace if self._as_live else 1000.0)

    async def measured(self) -> None:
        """Return at once: nothing need be asked."""


class Player:
    """A feed that plays bars at a pace, once the broker is there."""

    def __init__(self, lane: Lane, past: History, bars: Bars, hands: Hands, pause_s: float) -> None:
        self.exchange = lane.stream.exchange
        self.clock: Clock = hands
        self.finished = asyncio.Event()
        self.begin = asyncio.Event()
        self._past = past
        self._bars = bars
        self._hands = hands
        self._pause_s = pause_s

    async def run(self, _resume: Sequence[Resume], emit: Emit) -> None:
        """Play all bars, then be silent until cancelled."""
        await self.begin.wait()
        stream = self._past.stream
        await emit([self._past, StreamHealth(stream, StreamState.LIVE, "")])
        for bar in self._bars:
            await emit([self._closed(bar)])
            await asyncio.sleep(self._pause_s)
        self.finished.set()
        await asyncio.Event().wait()

    def _closed(self, bar: Bar) -> BarClosed:
        stream = self._past.stream
        self._hands.turn(Interval(stream.interval).end(bar.open_time))
        now = self._hands.now_ms()
        return BarClosed(stream, bar, Source.BACKFILL, time.time_ns(), now)


def staged(config: Config, stage: Stage) -> Config:
    """Return the configuration with the rehearsal's [mqtt]; raises ReplayError.

    Never with a topic where those who trade listen.
    """
    used = {"[mqtt] base_topic": config.mqtt.base_topic}
    if config.hummingbot.pairs:
        used["[hummingbot] base_topic"] = config.hummingbot.base_topic
    for key, topic in used.items():
        if _overlap(stage.base_topic, topic):
            raise ReplayError(
                f"--base-topic {stage.base_topic}: bots that trade listen there ({key} = {topic}); "
                "name another one, such as candled-replay"
            )
    fields: dict[str, Any] = config.mqtt.model_dump()
    if stage.url != config.mqtt.url:  # what opens one broker is not another's business
        fields |= dict.fromkeys(("username", "password_file", "ca_file", "cert_file", "key_file"))
    given = {"username": stage.username, "password_file": stage.password_file}
    given["ca_file"] = stage.ca_file
    fields |= {key: value for key, value in given.items() if value is not None}
    own = f"{config.mqtt.client_id[:_MOST_ID]}-replay-{secrets.token_hex(4)}"
    fields |= {"url": stage.url, "base_topic": stage.base_topic, "client_id": own}
    try:
        part = MqttConfig.model_validate(fields)
    except ValidationError as error:
        names = {"url": "--publish", "base_topic": "--base-topic"}
        said = [(str(e["loc"][0]), str(e["msg"])) for e in error.errors()]
        texts = [f"{names.get(k, k)}: {text.removeprefix('Value error, ')}" for k, text in said]
        raise ReplayError("; ".join(texts)) from error
    return config.model_copy(update={"mqtt": part})


def _overlap(one: str, other: str) -> bool:
    """Whether one topic is the other or lies below it."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def play(config: Config, lane: Lane, past: History, bars: Bars, stage: Stage) -> Played:
    """Publish what is decided about `bars`; return what became of it.

    `config` is of `staged`. Ends early, and properly, at Ctrl+C or SIGTERM. Raises BrokerError when
    the broker cannot be had, ConfigError for a secret that cannot be read.
    """
    configure_logging(sys.stderr, "console", "error")  # what matters is said at the end
    with tempfile.TemporaryDirectory(prefix="candled-replay-") as folder:
        journal = open_journal(Path(folder))
        try:
            return asyncio.run(_play(config, lane, past, bars, (stage, journal)))
        finally:
            journal.close()


async def _play(
    config: Config, lane: Lane, past: History, bars: Bars, of: tuple[Stage, Journal]
) -> Played:
    stage, journal = of
    interval = Interval(lane.stream.interval)
    ends = interval.back(int(bars.open_time[-1]), -lane.policy.valid_bars - 1)
    hands = Hands(stage, interval, ends)
    player = Player(lane, past, bars, hands, 1 / stage.bars_per_second)
    board = Board(lambda: time.time_ns() // 1_000_000)
    sink = _sink(config, lane, journal.epoch, hands)
    board.report(sink.name, "not yet connected")
    service = Service(
        engine=Engine([lane]), journal=journal, feeds=[player], sinks=[sink], board=board,
        tell=Teller(board),
    )  # fmt: skip
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        group.create_task(service.run(stop))
        leading = group.create_task(_lead(player, board, journal, sink.name, stop))
        await stop.wait()
        leading.cancel()
    entries = journal.after(0, sys.maxsize)
    left = sum(entry.position > journal.position(sink.name) for entry in entries)
    return Played(len(entries), sum(entry.seq is not None for entry in entries), left)


async def _lead(
    player: Player, board: Board, journal: Journal, sink: str, stop: asyncio.Event
) -> None:
    """Begin when the broker is there, and stop when it has all of it."""
    try:
        async with asyncio.timeout(_CONNECT_S):
            await _connected(board, sink)
    except TimeoutError:
        stop.set()
        why = "; ".join(board.health.reasons)
        raise BrokerError(f"no broker to rehearse with: {why}") from None
    player.begin.set()
    await player.finished.wait()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DELIVER_S):
            await journal.delivered([sink])
    stop.set()


async def _connected(board: Board, sink: str) -> None:
    health = board.health
    while any(reason.startswith(f"{sink}: ") for reason in health.reasons):
        health = await board.changed(health)


def _sink(config: Config, lane: Lane, epoch: str, clock: Clock) -> Sink:
    settings = replace(mqtt_settings(config), replay=True)
    dial, info = Dial(settings), info_of(config, [lane], epoch)

    def info_now() -> Info:
        return msgspec.structs.replace(info, protocol=dial.protocol, losses=dial.losses)

    return MqttSink(settings, lambda _: clock, info_now, streams=[lane.stream], connect=dial)
