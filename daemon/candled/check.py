"""The `check` command: everything that `run` will need, tried for real; every problem at once.

Configuration and bundles, the state folder, the broker (see `brokercheck`), each exchange (see
`venuecheck`), and the operator's own things (see `operating.checks`).
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from candled.brokercheck import check_broker
from candled.config import Config, ConfigError, load_config
from candled.core.bar import Stream
from candled.core.engine import Lane
from candled.core.text import visible
from candled.errors import Exit
from candled.journal import JournalError, JournalLockedError, open_journal
from candled.lineup import load_lanes
from candled.operating.checks import check_room, check_web
from candled.operating.tables import Row, Section, drawn, on_terminal
from candled.targetcheck import check_targets
from candled.venuecheck import Finding, check_exchange
from candled_adapters.exchanges.registry import live_venue

_LEAST_FREE_BYTES: Final = 200_000_000
_LINES: Final = "\n"


def check_all(path: Path, *, as_json: bool = False) -> int:
    """Print what was found, problems last; return 0 or the exit code of the worst problem."""
    found = asyncio.run(_findings(path))
    findings = sorted(found, key=lambda f: (f.code is not None, f.warning))
    code = max((finding.code for finding in findings if finding.code), default=0)
    if as_json:
        sys.stdout.write(json.dumps(_plain(findings, code), indent=2) + "\n")
    elif on_terminal():
        Console().print(drawn([_table(findings)]))
    else:
        for one in findings:
            sys.stdout.write(f"{_word(one):8}{one.part}: {visible(one.text, _LINES)}\n")
    return code


def _word(finding: Finding) -> str:
    return "problem" if finding.code else "warning" if finding.warning else "ok"


def _table(findings: Sequence[Finding]) -> Section:
    styles = {"problem": "red", "warning": "yellow", "ok": ""}
    rows = [Row((_word(f), f.part, f.text), styles[_word(f)]) for f in findings]
    return Section("candled check", ("", "part", "found"), rows, kept=_LINES)


def _plain(findings: Sequence[Finding], code: int) -> dict[str, Any]:
    told = [
        {"level": _word(f), "part": f.part, "text": f.text, "code": f.code and int(f.code)}
        for f in findings
    ]
    return {"ok": code == 0, "code": int(code), "findings": told}


async def _findings(path: Path) -> list[Finding]:
    try:
        config = load_config(path)
    except ConfigError as error:
        return [Finding("configuration", str(error), Exit.CONFIG)]
    bundles, lanes = _bundles(config, path)
    found = [Finding("configuration", str(path)), *bundles, _state(config)]
    found += check_room(config) + check_web(config)
    streams = [
        Stream(part.exchange, symbol, part.interval)
        for part in config.streams
        for symbol in part.symbols
        if _can_be_asked(config, part.exchange, symbol, part.interval)
    ]
    names = dict.fromkeys(stream.exchange for stream in streams)
    tried = await asyncio.gather(
        check_broker(config),
        check_targets(config),
        *(
            check_exchange(
                name,
                config.exchanges[name],
                [stream for stream in streams if stream.exchange == name],
                [lane for lane in lanes if lane.stream.exchange == name],
            )
            for name in names
        ),
    )
    return found + [finding for part in tried for finding in part]


def _can_be_asked(config: Config, exchange: str, symbol: str, interval: str) -> bool:
    """Whether the venue's own rules allow the stream; if not, its problem is told already."""
    try:
        venue = live_venue(config.exchanges[exchange].dialect)
    except ValueError:
        return False
    return not venue.symbol_problem(symbol) and interval in venue.intervals


def _bundles(config: Config, path: Path) -> tuple[list[Finding], list[Lane]]:
    try:
        lanes = load_lanes(config, path)
    except ConfigError as error:
        return [Finding("bundles", problem, Exit.CONFIG) for problem in error.problems], []
    models = {lane.model.digest: lane.model for lane in lanes}
    found = [Finding("bundle", f"{m.name}, digest {m.digest[:16]}") for m in models.values()]
    return found, lanes


def _state(config: Config) -> Finding:
    folder = config.state.path
    try:
        open_journal(folder).close()
    except JournalLockedError:
        return Finding("state", f"{folder} (a daemon is running on it)")
    except JournalError as error:
        return Finding("state", str(error), Exit.CONFIG)
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE_BYTES:
        return Finding("state", f"{folder}: only {free // 10**6} MB free", Exit.TEMPORARY)
    return Finding("state", f"{folder}, {free // 10**9} GB free")
