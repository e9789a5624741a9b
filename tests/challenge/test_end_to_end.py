"""The daemon with a challenger, for real: venue, broker, bot, the commands, and a promotion."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiomqtt
from typer.testing import CliRunner

from brokers import mosquitto, needs_mosquitto
from candled.cli import app
from candled.config import load_config
from candled.core.decision import Decision
from candled.journal import open_reader
from candled.lineup import load_lineup
from candled.ports import Kind
from candled_adapters.subscriber import Heard, Signals
from chaos.programs import Program, until
from chaos.world import Stage, daemon, ending, simulator, stage, urls_of, write_config
from fakes import ended
from models import bundle

BARS = 1_000
PATIENCE_S = 60.0
MORE = """\
policy = { threshold = 0.42 }   # what we trade by
challenger = "new"
challenger_policy = { threshold = 0.38 }
"""
pytestmark = needs_mosquitto


class Ear:
    """Everything that is said on signal and shadow topics, and what a bot makes of it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.said: dict[str, list[dict[str, object]]] = {"signal": [], "shadow": []}
        self.told: list[str] = []

    async def listen(self) -> None:
        async with aiomqtt.Client("127.0.0.1", self.port) as client:
            await client.subscribe("candled/#", qos=1)
            async for message in client.messages:
                branch = str(message.topic).split("/")[1]
                if branch in self.said:
                    self.said[branch].append(json.loads(message.payload))

    async def trade(self, folder: Path) -> None:
        bot = Signals(
            f"mqtt://127.0.0.1:{self.port}", client_id="bot", state=folder / "bot", since=0
        )
        async for fact in bot:
            if isinstance(fact, Heard):
                self.told.append(fact.signal.id)

    def ids(self, branch: str) -> list[object]:
        return [one["id"] for one in self.said[branch]]


def command(folder: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--config", str(folder / "config.toml")])
    assert done.exit_code == 0, done.output
    return done.output


def journaled(folder: Path) -> tuple[list[Decision], list[Decision]]:
    """Return the champion's decisions and the challenger's, of all streams."""
    ours, theirs = list[Decision](), list[Decision]()
    with open_reader(folder / "state") as reader:
        for stream in reader.streams():
            theirs += [entry.decision for entry in reader.shadows(stream)]
            ours += reader.decisions(stream)
    return ours, theirs


def resolved(folder: Path) -> set[str]:
    """Return the ids of shadows whose outcome is known."""
    _, theirs = journaled(folder)
    with open_reader(folder / "state") as reader:
        found = {one.id for stream in reader.streams() for one in reader.outcomes(stream)}
    return found & {one.id for one in theirs}


def test_a_challenger_lives_beside_the_champion_and_takes_its_place(tmp_path: Path):
    """Each bar is decided by both; bots are told the champion's; then the other is champion."""
    bundle(tmp_path / "new", seed=2)
    played = stage(tmp_path, seed=7, bars=BARS, bars_per_second=30)
    asyncio.run(live(played))
    config = tmp_path / "config.toml"
    before = load_lineup(load_config(config), config)
    told = command(tmp_path, "challenge")
    assert told.count("no difference can be said yet") >= 3
    assert "made champion" in command(tmp_path, "promote", "--all", "--yes")
    after = load_lineup(load_config(config), config)
    assert after.challengers == []
    assert [one.model.digest for one in after.champions] == [
        one.model.digest for one in before.challengers
    ]
    assert [one.policy for one in after.champions] == [one.policy for one in before.challengers]
    assert "# what we trade by" not in config.read_text()


async def live(played: Stage) -> None:
    with mosquitto(played.folder) as broker:
        venue = simulator(played)
        with ending(venue):
            venue.start()
            config = write_config(played, broker.port, await urls_of(venue))
            config.write_text(config.read_text() + MORE)
            ear = Ear(broker.port)
            tasks = [asyncio.create_task(work) for work in (ear.listen(), ear.trade(played.folder))]
            candled = daemon(played, config, {})
            try:
                with ending(candled):
                    await run(played.folder, candled, ear)
            finally:
                for task in tasks:
                    await ended(task)
    compare_journal(played.folder, config, ear)


async def run(folder: Path, candled: Program, ear: Ear) -> None:
    """Let some bars come, kill the daemon, and let more come."""
    candled.start()
    await until(lambda: len(ear.said["shadow"]) > 3, PATIENCE_S, candled.words)
    candled.kill()
    said = len(ear.said["shadow"])
    candled.start()
    await until(lambda: len(ear.said["shadow"]) > said + 10 and ear.told, PATIENCE_S, candled.words)
    await until(lambda: resolved(folder), PATIENCE_S, candled.words, every_s=0.2)
    assert candled.terminate() == 0, candled.words()


def compare_journal(folder: Path, config: Path, ear: Ear) -> None:
    lineup = load_lineup(load_config(config), config)
    ours, theirs = journaled(folder)
    assert {Kind.of(one).model_digest for one in ours} == {lineup.champions[0].model.digest}
    assert {Kind.of(one).model_digest for one in theirs} == {lineup.challengers[0].model.digest}
    decided = {(one.stream, one.bar_open) for one in ours}
    shadowed = [(one.stream, one.bar_open) for one in theirs]
    assert len(set(shadowed)) == len(shadowed)
    for stream in {one.stream for one in ours}:  # nothing is missing between; the last may wait
        mine = [at for other, at in shadowed if other == stream]
        between = {at for other, at in decided if other == stream and mine[0] <= at <= mine[-1]}
        assert set(mine) == between
    signals = {one.id for one in ours if one.is_signal}
    shadows = {one.id for one in theirs if one.is_signal}
    assert ear.told
    for heard, decided_ids in (
        (ear.ids("signal"), signals), (ear.ids("shadow"), shadows), (ear.told, signals),
    ):  # fmt: skip
        assert set(heard) <= decided_ids  # the last may wait for the next start
    assert shadows
    assert not signals & shadows
    assert {one["schema"] for one in ear.said["shadow"]} == {"candled.shadow/1"}
    assert {one["schema"] for one in ear.said["signal"]} == {"candled.signal/1"}
