"""What `check` finds of the window's port and of the room for what is kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers import free_port
from candled.config import Config, load_config
from candled.core.bar import HOUR, INTERVALS, Interval, Stream
from candled.core.decision import Side
from candled.operating.checks import DECISION_BYTES, check_room, check_web, needed_bytes
from journals import commit, opened
from operating.test_status import answering, configured, journal_of, overview


def test_a_free_port_is_well(tmp_path: Path):
    """Tried by listening on it, and let go again."""
    config = load_config(configured(tmp_path, f"127.0.0.1:{free_port()}"))
    for _ in range(2):
        (found,) = check_web(config)
        assert found.text.endswith(" is free")
        assert (found.code, found.warning) == (None, False)


@pytest.mark.parametrize("listen", ["", "127.0.0.1:0"])
def test_off_and_any_port_are_well(tmp_path: Path, listen: str):
    """There is nothing to be tried."""
    (found,) = check_web(load_config(configured(tmp_path, listen)))
    assert not found.warning


def test_a_port_of_another_program_is_a_warning(tmp_path: Path):
    """The daemon runs without its window; the mend is another address."""
    with answering(b"<html>") as listen:
        (found,) = check_web(load_config(configured(tmp_path, listen)))
    assert found.warning
    assert "name another address in [web] listen" in found.text


def test_our_own_daemons_port_is_well_and_anothers_is_not(tmp_path: Path):
    """Told by the journal's epoch."""
    with journal_of(tmp_path) as epoch:
        for told, warning in ((epoch, False), ("ffff", True)):
            with answering(msgspec.json.encode(overview(epoch=told))) as listen:
                (found,) = check_web(load_config(configured(tmp_path, listen)))
            assert found.warning is warning, found.text


@given(
    st.sampled_from([i for i in INTERVALS if i.name != "1M"]),
    st.integers(1, 40),
    st.integers(1, 3),
)
def test_what_is_kept_grows_with_days_streams_and_pace(interval: Interval, days: int, count: int):
    """A decision for each bar of each symbol within the days that are kept."""
    symbols = [f"S{number}" for number in range(count)]
    stream = {"exchange": "b", "symbols": symbols, "interval": interval.name, "bundle": "x"}
    config = Config.model_validate(
        {
            "exchanges": {"b": {"dialect": "binance-spot"}},
            "streams": [stream],
            "state": {"keep_days": days},
        }
    )
    bars = days * 24 * HOUR // interval.typical_ms
    assert needed_bytes(config) == count * (bars + 1) * DECISION_BYTES


def test_the_size_of_a_decision_is_as_measured(tmp_path: Path):
    """Within a third: a journal of many streams takes about so much for each."""
    streams = [Stream("binance", f"S{number}USDT", "1h") for number in range(20)]
    with opened(tmp_path) as journal:
        for hour in range(60):
            commit(journal, *((stream, hour, Side.FLAT) for stream in streams))
    with opened(tmp_path):
        pass
    size = (tmp_path / "candled.journal").stat().st_size
    assert 0.66 < size / (60 * len(streams)) / DECISION_BYTES < 1.33


def test_too_little_room_is_a_warning_with_the_mend(tmp_path: Path, monkeypatch):
    """What is there already counts as room; zero days are told as growth in a year."""
    config = load_config(configured(tmp_path, ""))
    (tmp_path / "state").mkdir()
    need = needed_bytes(config)
    for free, warning in ((need, False), (need - 1, True)):
        monkeypatch.setattr("shutil.disk_usage", lambda _, f=free: SimpleNamespace(free=f))
        (found,) = check_room(config)
        assert found.warning is warning, found.text
        assert ("lower [state] keep_days or make room" in found.text) is warning
    (tmp_path / "state/candled.journal").write_bytes(b"x")
    assert not check_room(config)[0].warning
    state = config.state.model_copy(update={"keep_days": 0})
    forever = config.model_copy(update={"state": state})
    assert needed_bytes(forever) == (365 * 24 + 1) * DECISION_BYTES
    (found,) = check_room(forever)
    assert "a year (keep_days = 0 keeps for ever)" in found.text
