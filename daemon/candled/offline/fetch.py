"""`fetch`: a venue's history by REST into a candle file, however often it is interrupted.

What has been fetched goes to a part file beside the target, page by page; the target appears, or is
replaced, in one step at the end. What is asked and believed is `candled_adapters.feeds.history`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import httpx

from candled.core.bar import Bars, iso
from candled.offline.fetched import Fetched, FetchOptions
from candled.offline.files import check_place
from candled.offline.progress import Progress
from candled_adapters.candles.candlefile import CandleFile, read_candles, write_candles
from candled_adapters.candles.part import PartFile
from candled_adapters.exchanges.dialect import Closing, Dialect
from candled_adapters.exchanges.registry import DIALECTS, dialect_problem, interval_problem
from candled_adapters.feeds.history import Stretch, difference, joined
from candled_adapters.feeds.patient import Endurance, PatientRest
from candled_adapters.feeds.questions import NotAnsweredError
from candled_adapters.feeds.rest import Rest
from candled_adapters.feeds.stats import SourceStats
from candled_adapters.feeds.venuetime import VenueTime

_TIMEOUT_S: Final = 20.0


class FetchError(Exception):
    """A fetch that cannot be made as it was asked for."""


class FetchPausedError(Exception):
    """A fetch that was cut short; the same command goes on."""


def run_fetch(options: FetchOptions, *, as_json: bool) -> str:
    """Fetch from one of the known exchanges; return what to print."""
    dialect = DIALECTS.get(options.exchange)
    if dialect is None:
        raise FetchError(dialect_problem(options.exchange))
    base = options.rest_url or dialect.rest_base
    with Progress(f"{options.symbol} {options.interval}") as progress:
        try:
            fetched = asyncio.run(fetch(options, dialect, base, progress=progress))
        except KeyboardInterrupt:
            raise FetchPausedError(f"interrupted; {_to_go_on(options)}") from None
    return fetched.as_json() if as_json else fetched.as_text()


async def fetch(
    options: FetchOptions,
    dialect: Dialect,
    rest_base: str,
    *,
    progress: Progress,
    endurance: Endurance | None = None,
) -> Fetched:
    """Fetch into `options.out`, going on where the file and its part end.

    Raises `FetchError`, `FetchPausedError`, `HistoryError` for a bar that breaks a rule,
    `PartFileError`, `CandleFileError` for a file that is no candle file, and `OSError`.
    """
    _check(options, dialect, rest_base)
    stats = SourceStats()
    secure = rest_base.startswith("https://")  # else no certificates are loaded: it takes a while
    async with httpx.AsyncClient(base_url=rest_base, timeout=_TIMEOUT_S, verify=secure) as client:
        rest = PatientRest(
            Rest(dialect, client, VenueTime(lambda: None), stats),
            endurance or Endurance(),
            told=progress.waiting,
        )
        fetching = _Fetching(options, rest, stats, dialect.limits.history_page, progress)
        try:
            return await fetching.run()
        except NotAnsweredError as error:
            if error.unknown:
                what = f"{error} (symbol {options.symbol}, interval {options.interval})"
                raise FetchError(f"{what}; spell the symbol as the venue does") from error
            if error.final:
                raise FetchError(
                    f"{error}; check the symbol, --rest-url and the venue's terms"
                ) from error
            raise FetchPausedError(f"{error}; {_to_go_on(options)}") from error


def _check(options: FetchOptions, dialect: Dialect, rest_base: str) -> None:
    """Refuse what could not end well, before anything is asked."""
    if problem := interval_problem(dialect, options.interval.name):
        raise FetchError(problem)
    if problem := dialect.symbol_problem(options.symbol):
        raise FetchError(problem)
    if dialect.closing is not Closing.FLAG or dialect.limits.by_span:
        raise FetchError(
            f"{dialect.name} does not say which bars of its history are closed, or tells it by "
            "spans of time: it cannot be fetched; take another venue's"
        )
    if options.until is not None and options.until <= options.since:
        raise FetchError(f"--until {iso(options.until)} is not after --since {iso(options.since)}")
    if not _is_address(rest_base):
        raise FetchError(f"--rest-url {rest_base!r} is no address; give http(s)://HOST")
    check_place(options.out)


def _is_address(text: str) -> bool:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return url.scheme in ("http", "https") and bool(url.host)


@dataclass(slots=True)
class _Fetching:
    """One fetch under way."""

    options: FetchOptions
    rest: PatientRest
    stats: SourceStats
    page: int
    progress: Progress
    stretch: Stretch = field(init=False)

    async def run(self) -> Fetched:
        options = self.options
        stored = read_candles(options.out, options.interval) if options.out.exists() else None
        server_ms = await self.rest.server_time()
        until = min(options.until or server_ms, server_ms)
        if options.since >= until:
            raise FetchError(
                f"--since {iso(options.since)} is in the future: the venue has {iso(server_ms)}"
            )
        self.stretch = Stretch(options.interval, options.since, until, server_ms)
        if stored is not None:
            await self._check_stored(stored)
        return await self._complete(stored)

    async def _complete(self, stored: CandleFile | None) -> Fetched:
        """Fetch what is missing at the end, and put the file in its place."""
        options, stretch = self.options, self.stretch
        before = Bars.of([]) if stored is None else stored.bars
        about: dict[str, str | int] = {
            "exchange": options.exchange,
            "symbol": options.symbol,
            "interval": options.interval.name,
            "since": options.since,
        }
        with PartFile.open(options.part, about, _last(before)) as part:
            parts = [part.bars]
            self.progress.begin(stretch.since, stretch.until)
            try:
                async for rows in self._pages(_last(joined([before, part.bars]))):
                    part.append(rows)
                    parts.append(rows)
                    self.progress.reached(int(rows.open_time[-1]), len(rows))
            finally:
                if not any(map(len, parts)):
                    part.remove()
            fresh = joined(parts)
            fresh = fresh[: int(fresh.open_time.searchsorted(stretch.until))]
            bars = joined([before, fresh])
            if not len(bars):
                raise FetchError(self._nothing())
            if len(fresh):
                write_candles(options.out, bars)
            if any(map(len, parts)):
                part.remove()
        return Fetched(
            options=options,
            bars=bars,
            new=len(fresh),
            stored=len(before),
            until=stretch.until,
            ends_early=stretch.question(_last(bars), self.page) is not None,
            requests=self.stats.rest_requests,
        )

    async def _pages(self, last: int | None) -> AsyncIterator[Bars]:
        """Yield what follows on `last`, page by page; what is absent was asked for twice."""
        empty = False
        while (read := self.stretch.question(last, self.page)) is not None:
            answer = await self.rest.rows(self.options.stream, read)
            rows = self.stretch.take(answer, read)
            if not len(rows):
                if empty or len(answer.bars):  # nothing, twice; or the open bar alone
                    return
                empty = True
                continue
            empty = False
            found = [rows]
            for hole in self.stretch.holes(last, rows):
                found += await self._again(hole)
            last = int(rows.open_time[-1])
            yield joined(found)

    async def _again(self, hole: tuple[int, int]) -> list[Bars]:
        """Ask for a hole once more; return what is there after all."""
        inner, last = self.stretch.within(hole), None
        found: list[Bars] = []
        while (read := inner.question(last, self.page)) is not None:
            rows = inner.take(await self.rest.rows(self.options.stream, read), read)
            if not len(rows):
                break
            found.append(rows)
            last = int(rows.open_time[-1])
        return found

    async def _check_stored(self, stored: CandleFile) -> None:
        """See to it that the file begins where it should, and that its last bar is still true."""
        first, final = int(stored.bars.open_time[0]), stored.bars.row(-1)
        out, stretch = self.options.out, self.stretch
        older = await self._again((stretch.since, first)) if stretch.since < first else []
        if older:
            raise FetchError(
                f"{out} begins at {iso(first)}, but the venue has bars from "
                f"{iso(int(older[0].open_time[0]))} on; a file is only extended at its end: "
                "give a later --since, or another --out"
            )
        now = await self._again((final.open_time, final.open_time + 1))
        revised = difference(final, now[0].row(0)) if now else "the venue has it no more"
        if revised:
            raise FetchError(
                f"{out}: its last bar, of {iso(final.open_time)}, is not what the venue says now: "
                f"{revised}; the venue revised it, or the file is of another symbol: check it, "
                "and fetch to another file"
            )

    def _nothing(self) -> str:
        options, stretch = self.options, self.stretch
        return (
            f"the venue has no closed {options.interval} bar of {options.symbol} from "
            f"{iso(stretch.since)} to {iso(stretch.until)}; give other dates"
        )


def _last(bars: Bars) -> int | None:
    return int(bars.open_time[-1]) if len(bars) else None


def _to_go_on(options: FetchOptions) -> str:
    if not options.part.exists():
        return "nothing had been fetched yet"
    return f"what was fetched is in {options.part}: the same command goes on from there"
