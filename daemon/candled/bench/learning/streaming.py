"""A long table streamed into a file: in a process of its own, whose memory is its own too.

The process makes synthetic one-minute bars, writes their table to parquet block by block, and says
how long that took and how much memory it ever had. The end of the file must be the table of only
the newest bars: whatever came before has left no trace.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from candled.bench.children import Message, child, peak_mib, resident_mib, say
from candled.bench.learning.facts import Part, same, same_bits
from candled.bench.learning.timing import timed_alone
from candled.core.bar import Bars, Interval
from candled.core.features.mar import MAR
from candled.core.labels import LabelParams
from candled.simulate import synthetic_start
from candled_adapters.simulator.generator import generate, label

_INTERVAL: Final = Interval("1m")
_SEED: Final = 17
_PATIENCE_S: Final = 120.0
_LEAST_RATE: Final = 2_000  # rows a second, or it is taken for dead
_TAIL: Final = 1_000


def streaming_part(rows: int, folder: Path) -> Part:
    """Stream a table of so many one-minute bars into a file in `folder`."""
    return asyncio.run(_ask(rows, folder))


async def _ask(rows: int, folder: Path) -> Part:
    async with child("learning.streaming") as runner:
        await runner.say({"rows": rows, "path": str(folder / "table.parquet")})
        told = await runner.hear(_PATIENCE_S + rows / _LEAST_RATE)
    return Part(
        f"table of 1m bars into parquet, {told['columns']} columns",
        rows,
        label(_SEED),
        {"candled": [told["seconds"]]},
        (
            same("rows in the file", rows, abs(rows - told["rows"])),
            same("cells of the newest rows", told["cells"], told["differing"]),
        ),
        {name: told[name] for name in ("CPU s", "peak MiB", "MiB before", "MiB of file")},
    )


# --- the process


def _stream(settings: Message) -> Message:
    from candled.lab.tablefile import write_blocks  # noqa: PLC0415 - the bench need not have it
    from candled.lab.tables import table_blocks  # noqa: PLC0415 - as above

    path = Path(settings["path"])
    bars = generate(_SEED, _INTERVAL, synthetic_start(_INTERVAL), settings["rows"])
    before = resident_mib(os.getpid())
    blocks = table_blocks(bars, _INTERVAL, labels=LabelParams())
    (_, columns), seconds, cpu_s = timed_alone(lambda: write_blocks(blocks, path))
    peak = peak_mib(os.getpid())
    return {
        "columns": columns, "seconds": seconds, "CPU s": cpu_s,
        "peak MiB": peak, "MiB before": before, "MiB of file": path.stat().st_size / 2**20,
        **_compared(path, bars),
    }  # fmt: skip


def _compared(path: Path, bars: Bars) -> dict[str, Any]:
    """Count the file's rows, and compare the last ones with the table of the newest bars alone."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - an extra

    file = pq.ParquetFile(path)
    last = file.read_row_group(file.num_row_groups - 1, columns=list(MAR.columns)).to_pandas()
    newest = MAR.table(bars[-(MAR.history + _TAIL) :], _INTERVAL)
    complete = max(0, len(bars) - MAR.window + 1)  # of the first rows a file holds what pandas has
    count = min(_TAIL, len(last), complete)
    written = last.to_numpy(dtype="float64")[len(last) - count :]
    newest = newest[len(newest) - count :]
    agreed = same_bits("", [(newest, written)])
    return {
        "rows": file.metadata.num_rows,
        "cells": agreed.compared,
        "differing": agreed.differing,
    }


if __name__ == "__main__":
    line = sys.stdin.readline()
    if line:  # else the bench has ended
        say(_stream(json.loads(line)))
