"""The page on the Python API says what is there, and its code runs."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import candled
from candled.workbench.candles import frame_of
from candled_adapters.candles.candlefile import write_candles
from candles import candles

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "lab.md").read_text()


def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    """All blocks, one after the other, in a folder with a candle file."""
    monkeypatch.chdir(tmp_path)
    write_candles(tmp_path / "BTCUSDT_1h.csv.gz", candles(2600, seed=5))
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "lab.md", "exec"), names)  # noqa: S102 - the page's own code
    assert names["candles"].equals(frame_of(candles(2600, seed=5)))
    assert "was trained on some of these bars" in names["result"].warning


def test_every_function_is_in_the_table():
    """With the arguments that the table shows, and no function that is not there."""
    rows = re.findall(r"^\| `(\w+)\((.*?)\)` \|", PAGE, flags=re.MULTILINE)
    functions = [name for name in candled.__all__ if inspect.isfunction(getattr(candled, name))]
    assert sorted(name for name, _ in rows) == functions
    for name, shown in rows:
        signature = inspect.signature(getattr(candled, name))
        for argument in filter(None, shown.split(", ")):
            given, _, default = argument.partition("=")
            assert given in signature.parameters
            if default:
                assert repr(signature.parameters[given].default) == default.replace('"', "'")
