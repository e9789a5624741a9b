"""`candled outcomes`: the records of a journal, as its daemon has them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from candled.cli import app
from candled.core.decision import Side
from candled.errors import Exit, explain
from candled.offline.outcomes import OutcomesError, OutcomesOptions, tell_outcomes
from journals import BTC, ETH
from ledger.worlds import World, flat_bar, soon

CONFIG = """
[state]
path = "{state}"

[track]
signals = 12

[exchanges.binance]
dialect = "binance-spot"

[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "b"
"""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a journal of thirty wrong signals, and one of a challenger."""
    folder = tmp_path_factory.mktemp("state")

    async def life() -> None:
        world = World(folder)
        for hour in range(31):
            side = Side.LONG if hour < 30 else Side.FLAT
            world.close(flat_bar(hour), side, **soon())
            world.close(flat_bar(hour), stream=ETH)
        world.shadow(flat_bar(3), Side.SHORT, 1, **soon(model_digest="rival"))
        await world.settled()
        await world.end()

    asyncio.run(life())
    return folder


def asked(state: Path, **changed: object) -> OutcomesOptions:
    usual = OutcomesOptions(Path("config.toml"), state, (), each=False, as_json=False)
    return dataclasses.replace(usual, **changed)


def test_a_table_says_how_each_model_does(state: Path):
    """A line for each model of each stream that has outcomes: counts, claims and the verdict."""
    lines = tell_outcomes(asked(state)).splitlines()
    assert lines[0].split()[:4] == ["stream", "model", "policy", "signals"]
    assert len(lines) == 3
    mine, rival = lines[1:]
    assert mine.split()[:5] == [BTC.path, "m", "p", "30", "0.0"]
    assert mine.rstrip().endswith("broken")
    assert rival.split()[:4] == [BTC.path, "rival", "p", "1"]
    assert rival.rstrip().endswith("too few")


def test_scripts_are_told_the_same_and_each_outcome(state: Path):
    """JSON has the figures of the records, and with --each what became of every signal."""
    told = json.loads(tell_outcomes(asked(state, as_json=True, each=True)))
    mine, rival = told["records"]
    assert (mine["stream"], mine["model_digest"], mine["n"]) == (BTC.path, "m", 30)
    assert (mine["hits"], mine["hit_rate"], mine["standing"]) == (0, 0.0, "broken")
    assert mine["claimed"] == pytest.approx(0.328)
    assert "pending" not in mine
    assert len(told["outcomes"]) == 31
    assert {one["ended"] for one in told["outcomes"]} == {"time"}
    assert rival["policy_digest"] == "p"
    assert "outcomes" not in json.loads(tell_outcomes(asked(state, as_json=True)))
    text = tell_outcomes(asked(state, each=True)).splitlines()
    assert len(text) == 3 + 1 + 31


def test_streams_can_be_chosen(state: Path):
    """One without outcomes has nothing to show; one that is unknown is refused with what is."""
    text = tell_outcomes(asked(state, streams=(ETH.path,)))
    assert text == "no signal has an outcome yet"
    with pytest.raises(OutcomesError, match="has no stream x/Y/1h; it has") as caught:
        tell_outcomes(asked(state, streams=("x/Y/1h",)))
    assert explain(caught.value)[1] is Exit.CONFIG


def test_the_configuration_says_where_and_how_long(state: Path, tmp_path: Path):
    """Without --state the folder and the length of records are the configuration's."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(state=state))
    told = json.loads(tell_outcomes(asked(None, config=config, as_json=True)))
    assert [one["n"] for one in told["records"]] == [12, 1]
    with pytest.raises(FileNotFoundError, match="there is no journal"):
        tell_outcomes(asked(tmp_path / "nowhere"))


def test_what_the_page_tells_people_to_type_is_understood(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each command of docs/outcomes.md runs; where it names a state folder there is one."""
    text = (Path(__file__).parents[2] / "docs" / "outcomes.md").read_text()
    typed = [line.split("#")[0].split() for line in text.splitlines() if "    candled " in line]
    assert len(typed) == 2
    (tmp_path / "state").symlink_to(state)
    (tmp_path / "config.toml").write_text(CONFIG.format(state="state"))
    monkeypatch.chdir(tmp_path)
    for command in typed:
        ran = CliRunner().invoke(app, command[1:])
        assert ran.exit_code == 0, ran.output
        assert BTC.path in ran.output
