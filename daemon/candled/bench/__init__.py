"""The benchmark: candled against the notebook's way, side by side, up to a real broker.

Nothing here is part of the live process. `measure` runs it, `report` does the sums and the table;
`venue`, `candled_way`, `notebook_way` and `baselines` are processes of their own.
`learning` is a bench of its own, of the offline half.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path


def run_bench(streams: list[int], rounds: int, *, as_json: bool, out: Path | None) -> None:
    """Measure each number of streams and print the table, or JSON; `out` gets the JSON as well.

    Progress goes to standard error. Takes some minutes: the notebook's way is slow. Raises
    BenchError.
    """
    from rich.console import Console  # noqa: PLC0415 - the children import this file as well

    from candled.bench.measure import Plan, measure  # noqa: PLC0415 - as above
    from candled.bench.report import tables  # noqa: PLC0415 - as above

    result = asyncio.run(measure(Plan(tuple(streams), rounds)))
    text = json.dumps(result, indent=2) + "\n"
    if out is not None:
        out.write_text(text, encoding="utf-8")
    if as_json:
        sys.stdout.write(text)
        return
    console = Console()
    for table in tables(result):
        console.print(table)
