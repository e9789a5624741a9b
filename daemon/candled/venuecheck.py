"""What `check` tries of one exchange: what its documents say, then its REST, then its pushes.

What is known without asking is told even when nothing answers. Every question has a time bound.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import httpx
import numpy as np

from candled.config import ExchangeConfig
from candled.core.bar import COLUMNS, Interval, Stream, iso
from candled.core.engine import Lane
from candled.core.model import Model
from candled.errors import Exit
from candled_adapters.exchanges.ccxt_venue import CcxtVenue, open_exchange
from candled_adapters.exchanges.dialect import Dialect
from candled_adapters.exchanges.registry import live_venue
from candled_adapters.feeds.backlog import Read
from candled_adapters.feeds.ccxt_rest import CcxtRest
from candled_adapters.feeds.probe import Heard, probe
from candled_adapters.feeds.questions import NotAnsweredError, Questions
from candled_adapters.feeds.rest import Rest
from candled_adapters.feeds.stats import SourceStats
from candled_adapters.feeds.venuetime import VenueTime
from candled_adapters.simulator.generator import generate

#: What is to be said, and how `run` would suffer from it.
Said = tuple[str, Exit | None]

_SKEW_MS: Final = 1_000  # worth a word
_TIMEOUT_S: Final = 10.0
_AT_ONCE: Final = 8
_QUIET_BARS: Final = 3  # without a bar for so many, a symbol may be halted
_ANY_OPEN_MS: Final = 1_704_067_200_000  # 2024-01-01, a Monday and the first of a month


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried."""

    part: str
    text: str
    code: Exit | None = None
    """How `run` would suffer from it; None when it is well."""
    warning: bool = False
    """`run` would cope, but a person should look."""


@dataclass(frozen=True, slots=True)
class _Talk:
    """A venue that can be asked, whoever speaks its language."""

    rest: Questions
    host: str
    """Of REST, for messages."""
    step_ms: int | None
    """Resolution of its server time; None when it tells none."""
    listen: Callable[[Sequence[Stream]], Awaitable[list[Said]]]
    """Asks for pushes; returns what is to be said of them."""


async def check_exchange(
    name: str, part: ExchangeConfig, streams: Sequence[Stream], lanes: Sequence[Lane]
) -> list[Finding]:
    """Try an exchange with its streams, and with those of their lanes that could be loaded."""
    venue, where = live_venue(part.dialect), f"exchanges.{name}"
    said = _short_histories(venue, lanes)
    async with _talk_to(venue, part) as talk:
        answers = await asyncio.gather(
            _ask(talk, streams, lanes, part.max_skew_s), talk.listen(streams)
        )
    return [Finding(where, text, code) for text, code in [*said, *answers[0], *answers[1]]]


# --- what is known without asking


def _short_histories(venue: Dialect | CcxtVenue, lanes: Iterable[Lane]) -> list[Said]:
    """Tell of streams whose model wants more bars than the venue keeps."""
    reach = None if isinstance(venue, CcxtVenue) else venue.limits.reach
    said: list[Said] = []
    for lane in lanes:
        if reach is not None and lane.history > reach:
            text = (
                f"{lane.stream.symbol} {lane.stream.interval}: {lane.model.name} needs "
                f"{lane.history} bars of history, {venue.name} keeps {reach}: after a first start "
                f"nothing is decided for {lane.history - reach} bars; wait that long, take a "
                "bundle that needs fewer, or another venue"
            )
            said.append((text, Exit.TEMPORARY))
    return said


def _starved(model: Model, interval: Interval, missing: Sequence[str]) -> bool:
    """Whether a model cannot decide where some columns are never there."""
    count = model.features.history + 1
    bars = generate(1, interval, _ANY_OPEN_MS, count)
    bars = replace(bars, **{name: np.full(count, np.nan) for name in missing})
    features = list(model.features.blocks(bars, interval))[-1]
    return not np.isfinite(features[-1]).all()


# --- what is asked


@asynccontextmanager
async def _talk_to(venue: Dialect | CcxtVenue, part: ExchangeConfig) -> AsyncIterator[_Talk]:
    clock, stats = VenueTime(lambda: None), SourceStats()
    if isinstance(venue, CcxtVenue):
        client = open_exchange(venue, part.rest_url, part.ws_url)
        try:
            rest = CcxtRest(venue, client, clock, stats)
            step_ms = 1 if venue.tells_time else None
            host = part.rest_url or venue.name
            yield _Talk(rest, host, step_ms, lambda streams: _watch(venue, rest, streams))
        finally:
            await client.close()
        return
    host, base = part.rest_url or venue.rest_base, part.ws_url or venue.websocket_base
    async with httpx.AsyncClient(base_url=host, timeout=_TIMEOUT_S) as http:
        yield _Talk(
            Rest(venue, http, clock, stats),
            host,
            venue.limits.time_step_ms,
            lambda streams: _listen(venue, base, streams),
        )


async def _ask(
    talk: _Talk, streams: Sequence[Stream], lanes: Sequence[Lane], max_skew_s: float
) -> list[Said]:
    """Ask for the time, then for the newest bars of every stream."""
    asked_ms = time.time_ns() // 1_000_000
    try:
        server_ms = await talk.rest.server_time(time.monotonic())
    except NotAnsweredError as error:
        return [(f"{talk.host} cannot be asked: {error}; see rest_url", Exit.TEMPORARY)]
    answered_ms = time.time_ns() // 1_000_000
    differs_ms = server_ms - (asked_ms + answered_ms) // 2
    said = [skew(talk.host, differs_ms, talk.step_ms, max_skew_s=max_skew_s)]
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(stream: Stream) -> list[Said]:
        async with slots:
            return await _newest(talk.rest, stream, server_ms, lanes)

    return said + [text for part in await asyncio.gather(*map(one, streams)) for text in part]


def skew(host: str, skew_ms: int, step_ms: int | None, *, max_skew_s: float) -> Said:
    """Judge a venue's time less ours; `step_ms` is its resolution, None when it tells no time."""
    if step_ms is None:
        return f"{host} tells no time: this machine's is taken", None
    beyond_ms = max(skew_ms, -skew_ms - step_ms + 1)  # what it told may be late by less than a step
    text = f"{host} answers; its clock is {skew_ms:+d} ms from ours"
    if beyond_ms > max_skew_s * 1000:
        mend = "set this machine's clock (NTP), or max_skew_s where the venue's is meant to differ"
        return f"{text}, more than max_skew_s = {max_skew_s:g} allows; {mend}", Exit.TEMPORARY
    note = ", more than a second: is this machine's clock right?" if beyond_ms > _SKEW_MS else ""
    return text + note, None


async def _newest(
    rest: Questions, stream: Stream, server_ms: int, lanes: Iterable[Lane]
) -> list[Said]:
    """Ask for a stream's newest bars: whether it exists, and whether its columns are enough."""
    what = f"{stream.symbol} {stream.interval}"
    try:
        rows = await rest.rows(stream, Read(None, None, _QUIET_BARS, server_ms, 0))
    except NotAnsweredError as error:
        if error.unknown:
            return [(f"{what}: {error}; spell the symbol as the venue does", Exit.CONFIG)]
        return [(f"{what}: {error}; see rest_url", Exit.TEMPORARY)]
    bars = rows.bars
    if not len(bars):
        quiet = f"{what}: no bar in the last {_QUIET_BARS}: is it still traded, or new?"
        return [(quiet, None)]
    said: list[Said] = [(f"{what}: newest bar opens {iso(int(bars.open_time[-1]))}", None)]
    missing = [name for name in COLUMNS if np.isnan(getattr(bars, name)).all()]
    models = {lane.model.digest: lane.model for lane in lanes if lane.stream == stream}
    for model in models.values() if missing else ():
        if _starved(model, Interval(stream.interval), missing):
            text = (
                f"{what}: the venue has no {', '.join(missing)}, and {model.name} cannot decide "
                "without; train on what it has, or take another venue"
            )
            said.append((text, Exit.CONFIG))
    return said


# --- what is pushed


async def _listen(dialect: Dialect, base: str, streams: Sequence[Stream]) -> list[Said]:
    return [text for heard in await probe(dialect, base, streams) for text in _said(base, heard)]


def _said(base: str, heard: Heard) -> list[Said]:
    """Tell what one connection came to."""
    if heard.lost:
        return [(f"{base} cannot be listened to: {heard.lost}; see ws_url", Exit.TEMPORARY)]
    said: list[Said] = [
        (
            f"{one.symbol} {one.interval}: {base} refuses to push it: {text}; check the symbol",
            Exit.CONFIG,
        )
        for one, text in heard.refused.items()
    ]
    said += [
        (f"{base} complains: {text}; check the symbols and ws_url", Exit.CONFIG)
        for text in dict.fromkeys(heard.complaints)
    ]
    if heard.silent:
        names = ", ".join(f"{one.symbol} {one.interval}" for one in heard.silent)
        said.append((f"{base} says nothing of {names}; see ws_url", Exit.TEMPORARY))
    if heard.answered:
        pushes = "pushes bars" if heard.bars else "has pushed no bar yet: it may be quiet"
        said.append((f"{base} takes {len(heard.answered)} subscription(s) and {pushes}", None))
    return said


async def _watch(venue: CcxtVenue, rest: CcxtRest, streams: Sequence[Stream]) -> list[Said]:
    """Wait for a push of each stream; a venue without has its bars asked for when they are due."""
    if not venue.watches:
        return [(f"{venue.name} pushes no bars: they are asked for when due", None)]

    async def one(stream: Stream) -> str:
        """Return why nothing was pushed; '' when something was."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await rest.next_begun(stream)
        except TimeoutError:
            return "none yet"
        except NotAnsweredError as error:
            return str(error)
        return ""

    heard = await asyncio.gather(*map(one, streams))
    said: list[Said] = [
        (f"{stream.symbol} {stream.interval}: no push ({why}); it is asked for when due", None)
        for stream, why in zip(streams, heard, strict=True)
        if why
    ]
    pushed = f"{venue.name} pushes {heard.count('')} of {len(streams)} stream(s)"
    return [*said, (pushed, None)]
