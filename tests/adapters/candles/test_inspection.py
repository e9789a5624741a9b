"""What `candles check` finds: everything that is planted, nothing that is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import HOUR, RULES, Bar, Bars, Interval
from candled_adapters.candles.candlefile import CandleFileError, read_candles, write_candles
from candled_adapters.candles.inspection import Inspection, Weight, inspect_file
from candled_adapters.candles.names import CandleForm
from candled_adapters.candles.writing import HEADER, csv_rows
from candles import candles as synthetic
from real import REAL, needs_real_data

H1 = Interval("1h")
BARS = list(synthetic(300, seed=9))
NOW = BARS[-1].close_time + 1


def look(path: Path, bars: list[Bar], interval: Interval | None = H1, least: int = 1) -> Inspection:
    write_candles(path, Bars.of(bars))
    return inspect_file(path, interval, now_ms=NOW, form=CandleForm(), least=least)


def kinds(found: Inspection) -> dict[str, int]:
    return {finding.kind: finding.count for finding in found.findings}


def test_a_good_file_has_no_findings(tmp_path):
    """Nothing is made up."""
    found = look(tmp_path / "x.csv", BARS)
    assert found.findings == ()
    assert found.usable
    assert (found.rows, found.interval, found.gaps, found.absent) == (300, H1, (), ())
    assert (found.first, found.last) == (BARS[0].open_time, BARS[-1].open_time)


def test_everything_is_told_at_once(tmp_path):
    """Many different faults in one file: each is found, counted and placed."""
    rows = list(BARS)
    rows[10] = replace(rows[10], high=rows[10].low * 0.9)
    rows[20] = replace(rows[20], close=-1.0)
    rows[30] = replace(rows[30], open_time=rows[30].open_time + 60_000)
    rows[40] = rows[39]
    rows[50], rows[51] = rows[51], rows[50]
    rows[60] = replace(rows[60], close_time=rows[60].close_time + HOUR)
    rows[70] = replace(rows[70], close_time=rows[70].close_time - 60_000)
    del rows[200:205]
    del rows[100]
    found = look(tmp_path / "x.csv", rows)
    assert kinds(found) == {
        "order": 1, "duplicate": 1, "grid": 1, "long": 1, "short": 2, "rule:close": 1,
        "rule:high": 1, "rule:low": 1,
    }  # fmt: skip
    assert not found.usable
    assert sum(count for _, count in found.gaps) == 1 + 5 + 1 + 1
    assert max(found.gaps, key=lambda gap: gap[1])[1] == 5
    where = {finding.kind: finding.where for finding in found.findings}
    assert where["rule:high"] == ("row 12 (2023-11-15T08:00:00Z)",)
    assert where["order"][0].startswith("row 53 ")
    assert where["duplicate"][0].startswith("row 42 ")


def flat(bar: Bar) -> Bar:
    price = bar.open
    return replace(
        bar, high=price, low=price, close=price, volume=0.0, quote_volume=0.0, trades=0.0,
        taker_buy_base=0.0, taker_buy_quote=0.0,
    )  # fmt: skip


def test_runs_without_trades_are_told_longest_first(tmp_path):
    """Flat bars of an outage, and bars without volume that moved and came back."""
    rows = [flat(bar) if i in {5, 6, 7, 8, 50} else bar for i, bar in enumerate(BARS)]
    rows[90] = replace(flat(rows[90]), high=rows[90].open * 1.001)
    found = look(tmp_path / "x.csv", rows)
    assert kinds(found) == {"flat": 5, "zero_volume": 1}
    assert found.usable
    flats = found.findings[1]
    assert "in 2 runs, 1 of them of 3 or more" in flats.what
    assert [place.split(" ", 1)[0] for place in flats.where] == ["4", "1"]


def scaled(bar: Bar, price: float = 1.0, volume: float = 1.0) -> Bar:
    return replace(
        bar, open=bar.open * price, high=bar.high * price, low=bar.low * price,
        close=bar.close * price, volume=bar.volume * volume,
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "change"), [("price_unit", {"price": 10.0}),
                                              ("volume_unit", {"volume": 1000.0})])  # fmt: skip
def test_a_change_of_unit_is_suspected(tmp_path, kind, change):
    """Prices ten times, or volumes a thousand times as large from some bar on."""
    found = look(tmp_path / "x.csv", [*BARS[:150], *(scaled(bar, **change) for bar in BARS[150:])])
    assert kinds(found)[kind] == 1
    assert found.usable
    assert {finding.weight for finding in found.findings} == {Weight.NOTICE}


@pytest.mark.parametrize("side", ["high", "low"])
def test_a_spike_of_one_bar_is_flagged(tmp_path, side):
    """A wick far beyond both neighbours, and only that bar."""
    rows = list(BARS)
    rows[77] = replace(
        rows[77], **{side: getattr(rows[77], side) * (2.0 if side == "high" else 0.5)}
    )
    found = look(tmp_path / "x.csv", rows)
    assert kinds(found) == {"spike": 1}
    assert found.findings[0].where[0].startswith("row 79 ")


def test_units_of_time_that_change_are_told(tmp_path):
    """A file that goes over to microseconds is read, and that is said."""
    lines = csv_rows(Bars.of(BARS)).decode().splitlines()
    for i in range(100, 300):
        cells = lines[i].split(",")
        cells[0], cells[6] = f"{cells[0]}000", f"{cells[6]}999"
        lines[i] = ",".join(cells)
    path = tmp_path / "x.csv"
    path.write_bytes(HEADER + "\n".join(lines).encode())
    found = inspect_file(path, H1, now_ms=NOW, form=CandleForm(), least=1)
    assert kinds(found) == {"units": 2}
    assert "milliseconds, microseconds" in found.findings[0].what
    assert found.usable


def test_cells_that_cannot_be_read_are_all_told(tmp_path):
    """Each with its row; the rest of the file is looked at as well."""
    lines = csv_rows(Bars.of(BARS)).decode().splitlines()
    lines[3] = "rubbish"
    lines[5] = lines[5].replace(",", ",x", 1)
    lines[7] = "soon" + lines[7][13:]
    path = tmp_path / "x.csv"
    path.write_bytes(HEADER + "\n".join(lines).encode())
    found = inspect_file(path, H1, now_ms=NOW, form=CandleForm(), least=1)
    assert kinds(found)["unreadable"] == 3
    assert found.rows == 300
    assert [place.split(":")[0] for place in found.findings[0].where] == ["row 5", "row 7", "row 9"]
    assert not found.usable


def test_columns_and_bars_that_are_missing(tmp_path):
    """Absent columns, too few bars and a last bar that is open are told."""
    path = tmp_path / "x.csv"
    path.write_text(
        "time,open,high,low,close,volume\n"
        + "".join(f"{b.open_time},{b.open},{b.high},{b.low},{b.close},1\n" for b in BARS[:41])
    )
    now = BARS[40].open_time + 1
    found = inspect_file(path, None, now_ms=now, form=CandleForm(), least=41)
    assert found.absent == (
        "close_time", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote",
    )  # fmt: skip
    assert found.open_last_bar
    assert found.problem == f"{path}: 40 closed bars, 41 are needed; give more"
    assert inspect_file(path, None, now_ms=now, form=CandleForm(), least=40).usable


def spoil(rows: list[Bar], kind: str, at: int) -> None:
    """Do one thing to one row that a reader may or may not mind."""
    bar = rows[at]
    if kind == "drop":
        del rows[at]
    elif kind == "double":
        rows.insert(at, bar)
    elif kind == "swap":
        rows[at], rows[at - 1] = rows[at - 1], rows[at]
    elif kind == "shift":
        rows[at] = replace(bar, open_time=bar.open_time + 1)
    elif kind == "flat":
        rows[at] = flat(bar)
    elif kind == "long":
        rows[at] = replace(bar, close_time=bar.close_time + 1)
    else:
        rows[at] = replace(bar, **{kind: float("inf")})


NUMBERS = sorted({rule.field for rule in RULES if "time" not in rule.field})
KINDS = ["drop", "double", "swap", "shift", "flat", "long", *NUMBERS]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 25)), max_size=4))
@settings(deadline=None, max_examples=60)
def test_the_verdict_is_the_readers_and_is_explained(tmp_path_factory, spoils):
    """A file is called useless exactly when a reader refuses it, and then some fault is listed."""
    rows = BARS[:30]
    for kind, at in spoils:
        spoil(rows, kind, at)
    path = tmp_path_factory.mktemp("check") / "x.csv"
    found = look(path, rows)
    try:
        read_candles(path, H1, now_ms=NOW)
        refused = ""
    except CandleFileError as error:
        refused = str(error)
    assert found.problem == refused
    faults = [finding for finding in found.findings if finding.weight is Weight.FAULT]
    assert bool(faults) is bool(refused)


@needs_real_data
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_real_files_are_sound(symbol):
    """The recorded history has one gap, after a bar that an outage ended; nothing worse."""
    path = REAL / "candles" / f"{symbol}_1h.csv.gz"
    found = inspect_file(path, None, now_ms=2 * 10**12, form=CandleForm(), least=41)
    assert found.usable
    assert found.gaps == ((1_679_662_800_000, 1),)
    assert set(kinds(found)) <= {"short", "flat", "spike"}
    assert np.sum([finding.count for finding in found.findings]) < 10
