"""The cadence bench: many streams on one venue that pushes each open bar once a second.

No other way runs beside it: what is measured is what listening costs, how late closed bars are
decided, and that the venue's real limits are kept. `run` measures it; `venue` and `daemon` are
processes of their own; `report` does the sums.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path


def bench_cadence(
    streams: int, minutes: int, per_connection: int, *, as_json: bool, out: Path | None
) -> bool:
    """Measure and print the table, or JSON; `out` gets the JSON as well.

    Returns whether every bar was decided and no limit of the venue was exceeded. Takes `minutes`
    of one-minute bars and what all histories need before. Raises BenchError.
    """
    from rich.console import Console  # noqa: PLC0415 - the children import this file as well

    from candled.bench.cadence.report import table  # noqa: PLC0415 - as above
    from candled.bench.cadence.run import CadencePlan, measure_cadence  # noqa: PLC0415 - as above

    result = asyncio.run(measure_cadence(CadencePlan(streams, minutes, per_connection)))
    text = json.dumps(result, indent=2) + "\n"
    if out is not None:
        out.write_text(text, encoding="utf-8")
    if as_json:
        sys.stdout.write(text)
    else:
        Console().print(table(result))
    return not result["breaches"] and not result["missing"]
