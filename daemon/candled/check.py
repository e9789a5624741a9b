"""The `check` command: everything that `run` will need, tried for real; every problem at once.

Configuration and bundles, the state folder, the broker (a message is published and must be
accepted), and each exchange (its time and the newest bars of every stream).
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import httpx

from candled.compose import load_lanes, mqtt_settings
from candled.config import Config, ConfigError, load_config
from candled.core.bar import Stream, iso
from candled.errors import Exit
from candled.journal import JournalError, JournalLockedError, open_journal
from candled_adapters.exchanges.dialect import Dialect, MalformedFrame, Page, Request
from candled_adapters.exchanges.registry import DIALECTS
from candled_adapters.sinks.mqtt_link import Link, LinkError
from candled_adapters.sinks.mqtt_messages import Message

_LEAST_FREE_BYTES: Final = 200_000_000
_SKEW_MS: Final = 1_000
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried."""

    part: str
    text: str
    code: Exit | None = None
    """How `run` would suffer from it; None when it is well."""


def check_all(path: Path) -> int:
    """Print what was found, problems last; return 0 or the exit code of the worst problem."""
    findings = asyncio.run(_findings(path))
    for finding in sorted(findings, key=lambda f: f.code is not None):
        sys.stdout.write(f"{'problem' if finding.code else 'ok':8}{finding.part}: {finding.text}\n")
    codes = [finding.code for finding in findings if finding.code]
    return max(codes, default=0)


async def _findings(path: Path) -> list[Finding]:
    try:
        config = load_config(path)
    except ConfigError as error:
        return [Finding("configuration", str(error), Exit.CONFIG)]
    found = [Finding("configuration", str(path)), *_bundles(config, path), _state(config)]
    streams = [
        Stream(part.exchange, symbol, part.interval)
        for part in config.streams
        for symbol in part.symbols
        if _can_be_asked(config, part.exchange, symbol, part.interval)
    ]
    names = dict.fromkeys(stream.exchange for stream in streams)
    tried = await asyncio.gather(
        _broker(config),
        *(_exchange(config, name, [s for s in streams if s.exchange == name]) for name in names),
    )
    return found + [finding for part in tried for finding in part]


def _can_be_asked(config: Config, exchange: str, symbol: str, interval: str) -> bool:
    """Whether the venue's own rules allow the stream; if not, its problem is told already."""
    dialect = DIALECTS.get(config.exchanges[exchange].dialect)
    if dialect is None or dialect.symbol_problem(symbol):
        return False
    return interval in dialect.intervals


def _bundles(config: Config, path: Path) -> list[Finding]:
    try:
        lanes = load_lanes(config, path)
    except ConfigError as error:
        return [Finding("bundles", problem, Exit.CONFIG) for problem in error.problems]
    models = {lane.model.digest: lane.model for lane in lanes}
    return [Finding("bundle", f"{m.name}, digest {m.digest[:16]}") for m in models.values()]


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


async def _broker(config: Config) -> list[Finding]:
    """Publish a message under the base topic and wait for the broker's word."""
    try:
        settings = mqtt_settings(config)
    except ConfigError as error:
        return [Finding("mqtt", str(error), Exit.CONFIG)]
    settings = replace(settings, client_id=f"{settings.client_id}-check")
    probe = Message(f"{settings.base_topic}/check/{settings.client_id}", b"{}")
    try:
        async with asyncio.timeout(_TIMEOUT_S), Link(settings, will=probe) as link:
            await (await link.send(probe))
            await link.leave()
    except LinkError as error:
        return [Finding("mqtt", str(error), Exit.TEMPORARY)]
    except TimeoutError:
        return [Finding("mqtt", f"{settings.url} did not answer", Exit.TEMPORARY)]
    return [Finding("mqtt", f"{settings.url} accepts messages under {settings.base_topic}/")]


async def _exchange(config: Config, name: str, streams: Sequence[Stream]) -> list[Finding]:
    part = config.exchanges[name]
    dialect = DIALECTS[part.dialect]
    base = part.rest_url or dialect.rest_base
    where = f"exchanges.{name}"
    try:
        async with httpx.AsyncClient(base_url=base, timeout=_TIMEOUT_S) as client:
            asked = time.time()
            answer = await _ask(client, dialect.time_request())
            server_ms = dialect.parse_time(answer.content)
            skew = server_ms - int((asked + time.time()) * 500)
            newest = [
                await _stream(dialect, client, stream, server_ms, where) for stream in streams
            ]
            return [_skew(where, base, skew), *newest]
    except (httpx.HTTPError, MalformedFrame) as error:
        text = f"{base} cannot be asked: {error or type(error).__name__}; see rest_url"
        return [Finding(where, text, Exit.TEMPORARY)]


async def _ask(client: httpx.AsyncClient, request: Request) -> httpx.Response:
    headers = None if request.body is None else {"Content-Type": "application/json"}
    return await client.request(
        request.method, request.target, content=request.body, headers=headers
    )


def _skew(where: str, base: str, skew_ms: int) -> Finding:
    """Tell the skew; it harms nothing, since the venue's clock rules, but people want to know."""
    note = ", more than a second: is this machine's clock right?" if abs(skew_ms) > _SKEW_MS else ""
    return Finding(where, f"{base} answers; its clock is {skew_ms:+d} ms from ours{note}")


async def _stream(
    dialect: Dialect, client: httpx.AsyncClient, stream: Stream, server_ms: int, where: str
) -> Finding:
    answer = await _ask(client, dialect.history_request(stream, Page(None, None, 2, server_ms)))
    refusal = dialect.parse_error(answer.status_code, answer.headers, answer.content)
    if refusal is not None:
        return Finding(where, f"{stream.symbol} {stream.interval}: {refusal.text}", Exit.CONFIG)
    bars = dialect.parse_history(answer.content, stream).bars
    newest = iso(int(bars.open_time[-1])) if len(bars) else "none"
    return Finding(where, f"{stream.symbol} {stream.interval}: newest bar opens {newest}")
