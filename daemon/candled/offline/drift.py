"""`drift`: what the daemon's watch would know of each stream, out of its journal."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from candled.core.drift import Levels
from candled.core.track import StreamDrift

_COLUMNS: Final = (
    "stream", "rows", "median PSI", "usual", "moved", "outside", "answers", "", "moved most"
)  # fmt: skip
_WIDTH: Final = 140
_NAMED: Final = 3


def drift_of(config: Path, state: Path | None, *, as_json: bool) -> str:
    """Compare the newest rows of each configured stream with training, for people or as JSON.

    `state` is the journal's folder, instead of the configured one.

    Raises:
        ConfigError, FileNotFoundError, JournalError: what cannot be read.
    """
    from candled.config import load_config
    from candled.driftwatch import Drifts, newest_rows
    from candled.journal import open_reader
    from candled.lineup import load_lanes

    loaded = load_config(config)
    lanes = load_lanes(loaded, config)
    drifts = Drifts(lanes, loaded.track.drift_rows)
    found = []
    with open_reader(state or loaded.state.path) as reader:
        for lane in lanes:
            drifts.fill(lane.stream, newest_rows(reader, lane.stream, lane.model, drifts.wanted))
            found.append(drifts.of(lane.stream))
    known = [one for one in found if one]
    if as_json:
        return json.dumps([plain(one) for one in known], indent=2)
    return _table(known)


def plain(found: StreamDrift) -> dict[str, Any]:
    """Return what is known of a stream as plain JSON values."""
    return {**asdict(found), "stream": found.stream.path}


def _table(found: Sequence[StreamDrift]) -> str:
    table = Table(box=None)
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in ("stream", "", "moved most") else "right")
    for one in found:
        table.add_row(*map(Text, _cells(one)))
    buffer = io.StringIO()
    Console(file=buffer, width=_WIDTH, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def _cells(one: StreamDrift) -> tuple[str, ...]:
    most = one.usual.most if one.usual else Levels(None, None, None)
    return (
        one.stream.path,
        str(one.rows),
        _number(one.psi_median),
        "-" if one.usual is None else f"to {_number(most.psi_median)}",
        _share(one.moved_share),
        _share(one.outside_share),
        _number(one.psi_answers),
        _verdict(one),
        ", ".join(f"{moved.name} {moved.psi:.2f}" for moved in one.worst[:_NAMED]) or "-",
    )


def _verdict(one: StreamDrift) -> str:
    if one.flagged:
        return "DRIFTED"
    return "as usual" if one.usual else "not known"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
