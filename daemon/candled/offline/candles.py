"""`candles import` and `candles check`: files of any known form in, one form or a verdict out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from candled.core.bar import Interval, iso
from candled.core.features import feature_set
from candled.errors import Exit
from candled.offline.files import about, check_out, now_ms, some
from candled_adapters.candles.candlefile import CandleFileError, import_candles, write_candles
from candled_adapters.candles.inspection import Inspection, Weight, inspect_file
from candled_adapters.candles.names import CandleForm

_GAPS_SHOWN: Final = 10


def import_files(
    files: Sequence[Path], out: Path, *, interval: Interval | None, form: CandleForm
) -> str:
    """Join files into one of Binance's form; return what to print."""
    for file in files:
        check_out(out, file)
    found = some(import_candles(files, interval, now_ms=now_ms(), form=form))
    write_candles(out, found.bars)
    lines = [about(found)]
    if found.repeated:
        lines.append(f"{found.repeated} rows were there more than once, equal; kept once")
    lines.append(f"{out}: {len(found.bars)} bars of {found.interval}")
    return "\n".join(lines)


def check_file(
    file: Path, *, interval: Interval | None, form: CandleForm, as_json: bool
) -> tuple[str, int]:
    """Say what is right and wrong with a file; return the text and the exit code."""
    least = feature_set("mar").window
    try:
        found = inspect_file(file, interval, now_ms=now_ms(), form=form, least=least)
    except CandleFileError as error:
        if not as_json:
            raise
        return json.dumps({"file": str(file), "usable": False, "problem": str(error)}), Exit.DATA
    text = json.dumps(_as_json(found), indent=2) if as_json else _as_text(found)
    return text, 0 if found.usable else Exit.DATA


def _as_json(found: Inspection) -> dict[str, Any]:
    longest = max(found.gaps, key=lambda gap: gap[1], default=None)
    return {
        "file": str(found.path),
        "usable": found.usable,
        "problem": found.problem or None,
        "rows": found.rows,
        "interval": found.interval.name if found.interval else None,
        "first": _iso(found.first),
        "last": _iso(found.last),
        "open_last_bar": found.open_last_bar,
        "absent_columns": list(found.absent),
        "gaps": {
            "count": len(found.gaps),
            "bars": sum(count for _, count in found.gaps),
            "longest": _gap(longest) if longest else None,
            "list": [_gap(gap) for gap in found.gaps],
        },
        "findings": [asdict(finding) for finding in found.findings],
    }


def _as_text(found: Inspection) -> str:
    interval = found.interval or "unknown"
    lines = [
        f"{found.path}: {found.rows} rows, interval {interval}",
        f"  from {_iso(found.first)} to {_iso(found.last)}"
        + (", the last bar still open" if found.open_last_bar else ""),
        f"  absent columns: {', '.join(found.absent) or 'none'}",
        *_gap_lines(found.gaps),
    ]
    for finding in found.findings:
        mark = "WRONG" if finding.weight is Weight.FAULT else "note "
        lines.append(f"  {mark}  {finding.count} {finding.what}")
        lines += [f"           {place}" for place in finding.where]
    verdict = (
        f"not usable: {found.problem}"
        if found.problem
        else "usable: nothing in it that a reader refuses"
    )
    return "\n".join([*lines, verdict])


def _gap_lines(gaps: Sequence[tuple[int, int]]) -> list[str]:
    if not gaps:
        return ["  gaps: none"]
    absent = sum(count for _, count in gaps)
    longest = sorted(gaps, key=lambda gap: -gap[1])[:_GAPS_SHOWN]
    head = f"  gaps: {len(gaps)}, {absent} bars absent; the longest:"
    return [head, *(f"           {count} from {iso(first)}" for first, count in longest)]


def _gap(gap: tuple[int, int]) -> dict[str, Any]:
    return {"from": iso(gap[0]), "bars": gap[1]}


def _iso(time_ms: int | None) -> str | None:
    return None if time_ms is None else iso(time_ms)
