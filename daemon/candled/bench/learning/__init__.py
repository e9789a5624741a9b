"""The learning bench: the offline half against the way it would be written in a notebook.

`run` takes one part after the other; each part's file measures it, compares what both ways made,
and knows nothing of the others. `facts` and `timing` are what they share, `report` is the table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def bench_learning(candles: Path | None, rows: int, *, as_json: bool, out: Path | None) -> bool:
    """Measure and print the tables, or JSON; `out` gets the JSON as well.

    Returns whether both ways of every part made the same. `rows` is the length of the table that is
    streamed into a file; 0 leaves it out. Progress goes to standard error.

    Raises BenchError, CandleFileError and TrainingError.
    """
    from rich.console import Console  # noqa: PLC0415 - the streaming process imports this file too

    from candled.bench.learning.report import tables  # noqa: PLC0415 - as above
    from candled.bench.learning.run import LearningPlan, measure_learning  # noqa: PLC0415
    from candled.offline.files import check_place  # noqa: PLC0415

    if out is not None:
        check_place(out)
    result = measure_learning(LearningPlan(candles=candles, streamed_rows=rows))
    text = json.dumps(result, indent=2) + "\n"
    if out is not None:
        out.write_text(text, encoding="utf-8")
    if as_json:
        sys.stdout.write(text)
    else:
        console = Console()
        for table in tables(result):
            console.print(table)
    agree: bool = result["agree"]
    return agree
