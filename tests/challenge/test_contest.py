"""`candled challenge` and `candled promote`: what people are told, and what becomes of the file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest

from candled.challenge.promoting import PromotionError
from candled.compose import build
from candled.config import ConfigError, load_config
from candled.contest import PromoteOptions, run_promote, show_challenge
from candled.core.decision import Decision
from candled.core.lane import Lineup
from candled.core.track import Outcome
from candled.journal.sums import row_sum
from candled.lineup import load_lineup
from challenge.test_shadowing import Rivals
from models import bundle
from test_revisions import Life
from test_service import BTC

TEXT = """\
# mine
[exchanges.binance]
dialect = "binance-spot"

[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]   # one
interval = "1h"
bundle = "models/old"   # of May
policy = {{ threshold = 0.42 }}
{more}
"""
CHALLENGED = 'challenger = "models/new"\nchallenger_policy = { threshold = 0.4 }'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    bundle(tmp_path / "models" / "old")
    bundle(tmp_path / "models" / "new", seed=2)
    return write(tmp_path, CHALLENGED)


def write(folder: Path, more: str) -> Path:
    path = folder / "config.toml"
    path.write_text(TEXT.format(more=more))
    return path


def lineup(path: Path) -> Lineup:
    return load_lineup(load_config(path), path)


@pytest.fixture
def played(file: Path) -> Iterator[Path]:
    """Yield the file of a daemon that decided a hundred bars, its journal open."""
    both = lineup(file)
    life = Life(file.parent / "state", kind=both.champions[0])
    try:
        rivals = Rivals(life, both.challengers)
        life.tell(life.live(100))
        rivals.work()
        shadows = [entry.decision for entry in rivals.shadows(BTC)]
        store(file.parent / "state", life.decisions(BTC), shadows)
        yield file
    finally:
        life.journal.close()


def store(folder: Path, *said: list[Decision]) -> None:
    """Put an outcome of each signal into the journal, in whatever columns it has for them."""
    random = np.random.default_rng(3)
    with closing(sqlite3.connect(folder / "candled.journal")) as db:
        names = [row[1] for row in db.execute("PRAGMA table_info(outcomes)")]
        ((stream,),) = db.execute("SELECT id FROM streams WHERE symbol = 'BTCUSDT'").fetchall()
        for one in (one for some in said for one in some if one.is_signal):
            assert one.probabilities
            pct = float(random.normal())
            outcome = Outcome(
                one.id, one.stream, one.model_digest, one.bar_open, one.bar_close, one.side,
                one.probabilities.long, pct > 0, "time", pct, one.bar_close, one.evidence,
            )  # fmt: skip
            cells = {
                "id": one.id, "stream": stream, "bar_open": one.bar_open,
                "resolved_bar": one.bar_close, "entry": msgspec.json.encode(outcome).decode(),
            }  # fmt: skip
            row = [cells[name] for name in names if name != "sum"]
            marks = ", ".join("?" * (len(row) + 1))
            db.execute(f"INSERT INTO outcomes VALUES ({marks})", [*row, row_sum(*row)])  # noqa: S608
        db.commit()


# --- what is configured


def test_a_challenger_is_a_lane_of_its_own(file: Path):
    """Same streams, its own bundle and policy; the champions are those without it."""
    both = lineup(file)
    assert [one.stream for one in both.champions] == [one.stream for one in both.challengers]
    (champion,), (challenger,) = both.champions, both.challengers
    assert champion.model.digest != challenger.model.digest
    assert (champion.policy.threshold, challenger.policy.threshold) == (0.42, 0.4)
    alone = lineup(write(file.parent, ""))
    assert alone.champions[0].policy == champion.policy
    assert alone.champions[0].model.digest == champion.model.digest
    assert alone.challengers == []
    usual = lineup(write(file.parent, 'challenger = "models/new"')).challengers
    assert usual[0].policy.threshold == 0.42


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (
            'challenger = "models/old"',
            "streams.0.challenger: {0}/models/old is the champion itself",
        ),
        ('challenger = "models/none"', "bundle {0}/models/none"),
        (
            'challenger = "models/new"\nchallenger_policy = { abstain = true }',
            "streams.0.challenger_policy.abstain: {0}/models/new holds no abstain limits",
        ),
    ],
)
def test_a_challenger_that_does_not_do_is_a_problem_like_any(file: Path, more: str, problem: str):
    """The gate at start is the champion's; who cannot but say the same is refused."""
    with pytest.raises(ConfigError) as caught:
        lineup(write(file.parent, more))
    assert len(caught.value.problems) == 1
    assert problem.format(file.parent) in caught.value.problems[0]


def test_the_same_bundle_under_another_policy_is_a_challenger(file: Path):
    """A policy can be tried as well as a model."""
    both = lineup(
        write(file.parent, 'challenger = "models/old"\nchallenger_policy = { threshold = 0.5 }')
    )
    assert both.challengers[0].policy.threshold == 0.5


def test_a_daemon_has_challengers_only_where_they_are_configured(file: Path):
    """With one, a sink more; without, nothing of it runs."""

    def sinks() -> set[str]:
        both = lineup(file)
        daemon = build(load_config(file), both)
        try:
            assert daemon.challengers() == {one.stream: one for one in both.challengers}
            return {sink.name for sink in daemon.service._sinks}
        finally:
            daemon.journal.close()

    challenged = sinks()
    write(file.parent, "")
    assert challenged - sinks() == {"challenger"}


# --- comparing


def test_the_comparison_names_both_and_what_can_be_said(played: Path):
    """A table for people, with the figures; the same as JSON."""
    both = lineup(played)
    told = show_challenge(played, costs_pct=0.0, as_json=False)
    assert told.startswith("binance/BTCUSDT/1h: ")
    assert both.champions[0].model.digest[:8] in told
    assert both.challengers[0].model.digest[:8] in told
    (one,) = json.loads(show_challenge(played, costs_pct=0.1, as_json=True))["streams"]
    assert one["name"] == BTC.path
    assert one["bars"] == 100
    assert one["challenger"]["model_digest"] == both.challengers[0].model.digest
    assert one["challenger"]["policy_digest"] == both.challengers[0].policy.digest
    assert one["champion"]["resolved"] == one["champion"]["signals"] > 0
    assert one["challenger"]["resolved"] == one["challenger"]["signals"] > 0
    assert one["words"].startswith("no difference can be said yet")


def test_only_what_the_present_two_decided_is_compared(played: Path):
    """Another threshold is another challenger: nothing of the last one's speaks for it."""
    more = CHALLENGED.replace("0.4", "0.41")
    (one,) = json.loads(show_challenge(write(played.parent, more), costs_pct=0.0, as_json=True))[
        "streams"
    ]
    assert one["bars"] == 0


def test_without_a_journal_or_a_challenger_it_says_so(file: Path):
    """Neither is an error."""
    assert "they differ on 0 resolved bars" in show_challenge(file, costs_pct=0.0, as_json=False)
    told = show_challenge(write(file.parent, ""), costs_pct=0.0, as_json=False)
    assert "no stream has a challenger" in told


# --- promoting


def options(
    path: Path, *streams: str, dry_run: bool = False, insist: bool = False
) -> PromoteOptions:
    return PromoteOptions(path, streams, dry_run=dry_run, insist=insist)


def test_a_promotion_needs_evidence_or_insisting(file: Path):
    """Without outcomes it is refused with the evidence and the mend, and nothing changes."""
    before = file.read_bytes()
    with pytest.raises(PromotionError) as caught:
        run_promote(options(file, BTC.path))
    told = str(caught.value)
    assert "the outcomes of 0 of the challenger's signals are known, 30 are the least" in told
    assert "they differ on 0 resolved bars" in told
    assert "--yes" in told
    assert file.read_bytes() == before
    assert "made champion" in run_promote(options(file, BTC.path, insist=True))
    assert file.read_bytes() != before


def test_what_did_worse_is_not_promoted(played: Path, monkeypatch: pytest.MonkeyPatch):
    """However many outcomes there are."""
    monkeypatch.setattr("candled.contest.FEWEST_OUTCOMES", 1)
    from candled.challenge.comparing import Comparison  # noqa: PLC0415 - to be changed

    monkeypatch.setattr(Comparison, "champion_is_better", property(lambda _: True))
    with pytest.raises(PromotionError, match="BTCUSDT/1h: the champion did better"):
        run_promote(options(played))


def test_after_a_promotion_the_challenger_is_the_champion(
    played: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its bundle and policy decide; what was there is kept; comments stay; it says to reload."""
    monkeypatch.setattr("candled.contest.FEWEST_OUTCOMES", 1)
    both, before = lineup(played), played.read_bytes()
    told = run_promote(options(played))
    after = lineup(played)
    assert after.challengers == []
    assert after.champions[0].model.digest == both.challengers[0].model.digest
    assert after.champions[0].policy == both.challengers[0].policy
    assert played.with_name("config.toml.before-1").read_bytes() == before
    assert all(word in played.read_text() for word in ("# mine", "# one", "# of May"))
    assert "reload" in told
    assert "SIGHUP" in told
    assert BTC.path in told
    with pytest.raises(PromotionError, match="no stream has a challenger"):
        run_promote(options(played))


def test_a_dry_run_shows_what_would_change_and_changes_nothing(file: Path):
    """The evidence, the lines, and what stands against it."""
    before = file.read_bytes()
    told = run_promote(options(file, dry_run=True))
    assert '-bundle = "models/old"   # of May' in told
    assert '+bundle = "models/new"   # of May' in told
    assert "stands against it: " in told
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir() if path.is_file()] == ["config.toml"]


def test_a_part_is_promoted_as_a_whole(file: Path):
    """One of its streams alone is refused with the mend; all of them together are not."""
    text = file.read_text().replace('["BTCUSDT"]', '["BTCUSDT", "ETHUSDT"]\nany_symbol = true')
    file.write_text(text)
    with pytest.raises(PromotionError, match=r"streams\.0 decides binance/ETHUSDT/1h by the same"):
        run_promote(options(file, BTC.path, insist=True))
    assert file.read_text() == text
    run_promote(options(file, BTC.path, "binance/ETHUSDT/1h", insist=True))
    assert len(lineup(file).champions) == 2


def test_a_stream_without_a_challenger_is_told(file: Path):
    """With those that have one."""
    with pytest.raises(PromotionError, match="XRP/1h has no challenger; there are binance/BTCUSDT"):
        run_promote(options(file, "binance/XRP/1h"))
