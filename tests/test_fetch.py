"""`fetch` against a simulated venue over real TCP: what is asked, what is kept, what comes out."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import COLUMNS, HOUR, Bar, Bars, Interval, Stream
from candled.offline.fetch import FetchError, FetchPausedError, fetch
from candled.offline.fetched import Fetched, FetchOptions
from candled.offline.progress import Progress
from candled_adapters.candles.candlefile import CandleFileError, read_candles, write_candles
from candled_adapters.candles.part import PartFile, PartFileError
from candled_adapters.exchanges.binance import SPOT, USDM, Binance
from candled_adapters.feeds.history import HistoryError
from candled_adapters.feeds.patient import Endurance
from candled_adapters.simulator.generator import generate
from candled_adapters.simulator.server import Simulator
from candles import bars_at

H1 = Interval("1h")
START = 1_640_995_200_000
ONCE = Endurance(attempts=1)
QUICK = Endurance(attempts=4, first_retry_s=0.02)


def paged(page: int, dialect: Binance = SPOT) -> Binance:
    """Return the venue with small pages, which may be asked for at any rate."""
    limits = replace(dialect.limits, history_page=page, questions=100_000)
    return replace(dialect, limits=limits)


def options(out: Path, **changes: Any) -> FetchOptions:
    wanted = FetchOptions("binance-spot", "BTCUSDT", H1, START, None, out)
    return replace(wanted, **changes)


class Venue:
    """A simulator and what fetches made of it."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    async def fetch(
        self, wanted: FetchOptions, page: int = 7, endurance: Endurance = ONCE, **more: Any
    ) -> Fetched:
        dialect = more.get("dialect", paged(page))
        with Progress("") as progress:
            url = self.simulator.rest_url
            return await fetch(wanted, dialect, url, progress=progress, endurance=endurance)

    @property
    def asked(self) -> list[dict[str, str]]:
        """What klines were asked for since the start."""
        targets = [urlsplit(request.target) for request in self.simulator.requests]
        return [dict(parse_qsl(url.query)) for url in targets if url.path.endswith("/klines")]

    def asking(self, count: int) -> asyncio.Event:
        """Return an event: klines have been asked for so often from now on."""
        event, left = asyncio.Event(), count
        real = self.simulator._answer

        def answer(target, body, now_ms):
            nonlocal left
            left -= "/klines" in target
            if left == 0:
                event.set()
            return real(target, body, now_ms)

        self.simulator._answer = answer
        return event


def play(bars: Bars, scenario: Callable[[Venue], Any], *, closed: int | None = None) -> Any:
    """Run a scenario against a venue at which the first `closed` bars have closed: all but one."""

    async def run() -> Any:
        start_at = len(bars) - 1 if closed is None else closed
        async with Simulator({"BTCUSDT": bars}, H1, start_at=start_at) as simulator:
            return await scenario(Venue(simulator))

    return asyncio.run(asyncio.wait_for(run(), 30))


def equal(one: Bars, other: Bars) -> bool:
    return all((getattr(one, n) == getattr(other, n)).all() for n in COLUMNS) and len(one) == len(
        other
    )


TABLE = generate(5, H1, START, 60)


@pytest.mark.parametrize("name", ["b.csv", "b.csv.gz", "b.parquet"])
def test_history_is_fetched_to_the_bit(tmp_path, name):
    """The file holds every closed bar of the venue; the open one is not in it."""
    fetched = play(TABLE, lambda venue: venue.fetch(options(tmp_path / name)))
    assert equal(read_candles(tmp_path / name, H1).bars, TABLE[:59])
    assert (len(fetched.bars), fetched.new, fetched.gaps) == (59, 59, [])
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_futures_are_asked_on_their_own_path(tmp_path):
    """The same fetch speaks USD-M's dialect."""

    async def scenario(venue):
        await venue.fetch(options(tmp_path / "b.csv"), dialect=paged(7, USDM))
        return {urlsplit(request.target).path for request in venue.simulator.requests}

    assert play(TABLE, scenario) == {"/fapi/v1/time", "/fapi/v1/klines"}


@pytest.mark.parametrize(("page", "questions"), [(59, 1), (58, 2), (60, 1), (30, 2), (1, 59)])
def test_pages_ascend_and_none_is_asked_in_vain(tmp_path, page, questions):
    """Each page begins right after the last bar; an exact multiple of the page needs no extra."""

    async def scenario(venue):
        fetched = await venue.fetch(options(tmp_path / "b.csv"), page)
        return fetched, venue.asked

    fetched, asked = play(TABLE, scenario)
    starts = [int(question["startTime"]) for question in asked]
    assert starts == [START + i * page * HOUR for i in range(questions)]
    assert len(fetched.bars) == 59


@given(st.integers(-50, 59 * 60), st.integers(1, 59 * 60), st.integers(1, 20))
@settings(deadline=None, max_examples=12)
def test_since_and_until_bound_the_open_times(tmp_path_factory, minutes, span, page):
    """Any two moments, on the grid or off it, give the bars that open from one to before other."""
    out = tmp_path_factory.mktemp("fetch") / "b.csv"
    since = START + minutes * 60_000
    until = since + span * 60_000
    opens = TABLE.open_time[:59]
    wanted = TABLE[:59][int((opens < since).sum()) : int((opens < until).sum())]

    async def scenario(venue):
        return await venue.fetch(options(out, since=since, until=until), page)

    if not len(wanted):
        with pytest.raises(FetchError):
            play(TABLE, scenario)
        assert not list(out.parent.iterdir())
        return
    assert equal(play(TABLE, scenario).bars, wanted)
    assert equal(read_candles(out, H1).bars, wanted)


def test_a_start_before_the_listing_gives_what_there_is(tmp_path):
    """The venue's first bar is where the file begins; no gap is made of what never was."""
    fetched = play(TABLE, lambda venue: venue.fetch(options(tmp_path / "b.csv", since=10**12)))
    assert (len(fetched.bars), fetched.gaps) == (59, [])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"since": START + 70 * HOUR}, "is in the future: the venue has 2022-01-03T11:00:00Z"),
        ({"until": START}, "is not after --since"),
        ({"until": START - 1}, "is not after --since"),
        ({"since": START + 58 * HOUR + 1}, "has no closed 1h bar of BTCUSDT from"),
        ({"symbol": "NOPE"}, "(symbol NOPE, interval 1h); spell the symbol"),
        ({"interval": Interval("4h")}, "Invalid interval."),
    ],
)
def test_what_cannot_be_fetched_is_said(tmp_path, changes, says):
    """Wrong dates, symbols and intervals are told, and no file is left behind."""
    with pytest.raises(FetchError) as caught:
        play(TABLE, lambda venue: venue.fetch(options(tmp_path / "b.csv", **changes), 7, QUICK))
    assert says in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_interval_that_the_venue_lacks_is_refused_unasked(tmp_path):
    """USD-M has no 1s bars."""
    wanted = options(tmp_path / "b.csv", interval=Interval("1s"))
    with pytest.raises(FetchError, match="binance usd-m has no 1s bars"):
        play(TABLE, lambda venue: venue.fetch(wanted, dialect=paged(7, USDM)))


def test_the_open_bar_is_told_by_the_venues_time(tmp_path):
    """A venue that lives in 2022 has an open bar then, whatever the clock here says."""
    fetched = play(TABLE, lambda venue: venue.fetch(options(tmp_path / "b.csv")), closed=20)
    assert equal(fetched.bars, TABLE[:20])
    assert time.time() * 1000 > TABLE.close_time[-1]


def future() -> Bars:
    start = (int(time.time() * 1000) // HOUR + 500) * HOUR
    return generate(5, H1, start, 20)


def test_the_open_bar_is_told_by_a_venue_that_is_ahead(tmp_path):
    """A venue whose clock is weeks ahead of ours has bars closed that we would call future."""
    ahead = future()
    wanted = options(tmp_path / "b.csv", since=int(ahead.open_time[0]))
    fetched = play(ahead, lambda venue: venue.fetch(wanted))
    assert equal(fetched.bars, ahead[:19])


# --- gaps


def test_absent_bars_are_asked_for_twice_and_listed(tmp_path):
    """A hole within a page and one between two pages: both are confirmed, and the rest is whole."""
    rows = [i for i in range(60) if i not in {3, 7, 8, 30}]
    absent = bars_at(TABLE, rows)

    async def scenario(venue):
        return await venue.fetch(options(tmp_path / "b.csv")), venue.asked

    fetched, asked = play(absent, scenario)
    assert fetched.gaps == [
        {"from": "2022-01-01T03:00:00Z", "bars": 1, "confirmed": True},
        {"from": "2022-01-01T07:00:00Z", "bars": 2, "confirmed": True},
        {"from": "2022-01-02T06:00:00Z", "bars": 1, "confirmed": True},
    ]
    again = [(q["startTime"], q["endTime"]) for q in asked]
    for first, count in ((3, 1), (7, 2), (30, 1)):
        opened = START + first * HOUR
        assert (str(opened), str(opened + count * HOUR - 1)) in again
    assert equal(fetched.bars, absent[:-1])


def test_a_bar_that_comes_at_the_second_asking_is_no_gap(tmp_path):
    """What REST hides once is asked for again and put in its place."""

    async def scenario(venue):
        hidden = [START + i * HOUR for i in (0, 10, 11, 12, 13, 40)]
        for opened in hidden:
            venue.simulator.faults.hide("BTCUSDT", opened, rest=True)
        real, ends = venue.simulator._answer, set()

        def answer(target, body, now_ms):
            question = dict(parse_qsl(urlsplit(target).query))
            start, end = int(question.get("startTime", 0)), int(question.get("endTime", 0))
            if "klines" in target and ends and end not in ends:  # a second look at a hole
                for opened in hidden:
                    if start <= opened <= end:
                        venue.simulator.faults.show("BTCUSDT", opened)
            elif "klines" in target:
                ends.add(end)
            return real(target, body, now_ms)

        venue.simulator._answer = answer
        return await venue.fetch(options(tmp_path / "b.csv"), 3)

    fetched = play(TABLE, scenario)
    assert fetched.gaps == []
    assert equal(fetched.bars, TABLE[:59])


def test_history_that_ends_early_says_so(tmp_path):
    """Bars that are absent up to the end are no gap but an end, asked for twice."""

    async def scenario(venue):
        for i in range(50, 60):
            venue.simulator.faults.hide("BTCUSDT", START + i * HOUR, rest=True)
        return await venue.fetch(options(tmp_path / "b.csv"), 7), venue.asked

    fetched, asked = play(TABLE, scenario)
    assert (len(fetched.bars), fetched.ends_early, fetched.gaps) == (50, True, [])
    assert [int(q["startTime"]) for q in asked[-2:]] == [START + 50 * HOUR] * 2


# --- interruptions


def torn(path: Path, chance: random.Random) -> None:
    """Cut a few bytes off a file, as a kill in the middle of a write would."""
    data = path.read_bytes()
    path.write_bytes(data[: max(0, len(data) - chance.randrange(90))])


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=12)
def test_any_interruptions_end_in_the_same_bytes(tmp_path_factory, lives, chance):
    """However often it dies, and wherever its last write tore, the file is the uninterrupted one's.

    Nothing that was kept is asked for again.
    """
    folder = tmp_path_factory.mktemp("fetch")
    absent = bars_at(TABLE, [i for i in range(60) if i not in {6, 20, 21}])
    plain, mended = options(folder / "a.csv.gz"), options(folder / "b.csv.gz")

    async def scenario(venue):
        await venue.fetch(plain)
        real = venue.simulator._answer
        for life in lives:
            left = life

            def answer(target, body, now_ms):
                nonlocal left
                left -= 1
                venue.simulator.faults.refuse_rest(500) if left < 0 else None
                return real(target, body, now_ms)

            venue.simulator._answer = answer
            with suppress(FetchPausedError):
                await venue.fetch(mended)
            venue.simulator.faults.accept_rest()
            if mended.part.exists():
                torn(mended.part, chance)
        venue.simulator._answer = real
        venue.simulator.requests.clear()
        kept = 0
        if mended.part.exists():
            kept = max(0, mended.part.read_bytes().count(b"\n") - 2)
        await venue.fetch(mended)
        return kept, venue.asked

    kept, asked = play(absent, scenario)
    assert plain.out.read_bytes() == mended.out.read_bytes()
    assert not mended.part.exists()
    if kept:
        assert min(int(q["startTime"]) for q in asked) > int(absent.open_time[kept - 1])


def test_a_venue_that_dies_midway_is_told_with_what_is_kept(tmp_path):
    """Fetched pages stay in the part file, and the same command completes them elsewhere."""
    wanted = options(tmp_path / "b.csv")

    async def scenario(venue):
        real = venue.simulator._answer

        def answer(target, body, now_ms):
            if len(venue.asked) >= 4:
                venue.simulator._server.close()
                raise OSError("the venue is gone")
            return real(target, body, now_ms)

        venue.simulator._answer = answer
        with pytest.raises(FetchPausedError) as caught:
            await venue.fetch(wanted)
        return str(caught.value)

    said = play(TABLE, scenario)
    assert f"what was fetched is in {wanted.part}: the same command goes on from there" in said
    assert not wanted.out.exists()
    fetched = play(TABLE, lambda venue: venue.fetch(wanted))
    assert equal(fetched.bars, TABLE[:59])


@pytest.mark.parametrize("after", [None, START + 99 * HOUR])
def test_a_part_gives_only_what_is_asked_for_now(tmp_path, after):
    """Bars beyond an earlier --until stay out; a part that follows on another bar is no use."""
    wanted = options(tmp_path / "b.csv", until=START + 12 * HOUR)
    about = {
        "exchange": wanted.exchange, "symbol": wanted.symbol, "interval": "1h",
        "since": wanted.since,
    }  # fmt: skip
    with PartFile.open(wanted.part, about, after) as part:
        part.append(TABLE[5:20] if after else TABLE[:20])
    assert equal(play(TABLE, lambda venue: venue.fetch(wanted)).bars, TABLE[:12])
    assert equal(read_candles(wanted.out, H1).bars, TABLE[:12])
    assert not wanted.part.exists()


def test_a_kill_between_the_file_and_the_end_of_its_part_is_harmless(tmp_path):
    """The part of a file that is there already is not added to it again."""
    wanted = options(tmp_path / "b.csv")
    about = {
        "exchange": wanted.exchange, "symbol": wanted.symbol, "interval": "1h",
        "since": wanted.since,
    }  # fmt: skip
    write_candles(wanted.out, TABLE[:20])
    with PartFile.open(wanted.part, about, None) as part:
        part.append(TABLE[:20])
    assert equal(play(TABLE, lambda venue: venue.fetch(wanted)).bars, TABLE[:59])
    assert not wanted.part.exists()


def test_a_venue_that_is_not_there(tmp_path):
    """Nothing is left behind when nothing was fetched."""
    wanted = options(tmp_path / "b.csv")
    with Progress("") as progress, pytest.raises(FetchPausedError, match="nothing had been"):
        asyncio.run(fetch(wanted, SPOT, "http://127.0.0.1:9", progress=progress, endurance=ONCE))
    assert not list(tmp_path.iterdir())


def test_killed_processes_lose_nothing(tmp_path):
    """The command itself, killed -9 and interrupted at any page, ends in the same bytes."""
    table = generate(5, H1, START, 5_500)
    arguments = [
        sys.executable, "-m", "candled", "fetch", "--exchange", "binance-spot", "--symbol",
        "BTCUSDT", "--interval", "1h", "--since", "2022-01-01",
    ]  # fmt: skip

    async def run(venue, out, number=None, at=0):
        """Run the command; send it a signal once it has asked for `at` pages."""
        asked = venue.asking(at)
        child = await asyncio.create_subprocess_exec(
            *arguments, "--out", str(out), "--rest-url", venue.simulator.rest_url,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            if number:
                await asyncio.wait_for(asked.wait(), 20)
                child.send_signal(number)
            _, said = await asyncio.wait_for(child.communicate(), 20)
        finally:
            with suppress(ProcessLookupError):
                child.kill()
        return child.returncode, said.decode()

    async def scenario(venue):
        out = tmp_path / "b.csv.gz"
        assert (await run(venue, tmp_path / "a.csv.gz"))[0] == 0
        venue.simulator.faults.delay_rest(0.02)
        code, said = await run(venue, out, signal.SIGINT, at=2)
        assert code == 75
        assert said.startswith("error: interrupted; what was fetched is in")
        assert (await run(venue, out, signal.SIGKILL, at=4))[0] == -signal.SIGKILL
        assert not out.exists()
        assert (await run(venue, out))[0] == 0
        assert out.read_bytes() == (tmp_path / "a.csv.gz").read_bytes()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv.gz", "b.csv.gz"]

    play(table, scenario)


def test_two_fetches_do_not_write_one_part(tmp_path):
    """The second is told that the first is at it."""
    wanted = options(tmp_path / "b.csv")
    about = {
        "exchange": "binance-spot", "symbol": "BTCUSDT", "interval": "1h", "since": START,
    }  # fmt: skip
    with (
        PartFile.open(wanted.part, about, None),
        pytest.raises(PartFileError, match="another process is writing it"),
    ):
        play(TABLE, lambda venue: venue.fetch(wanted))


@pytest.mark.parametrize(
    "changes", [{"symbol": "ETHUSDT"}, {"since": START + HOUR}, {"exchange": "binance-usdm"}]
)
def test_a_part_of_another_fetch_is_refused(tmp_path, changes):
    """Bars of two symbols, or of two beginnings, never come into one file."""
    wanted = options(tmp_path / "b.csv")
    about = {
        "exchange": wanted.exchange, "symbol": wanted.symbol, "interval": "1h",
        "since": wanted.since,
    }  # fmt: skip
    with PartFile.open(wanted.part, about, None) as part:
        part.append(TABLE[:3])
    before = wanted.part.read_bytes()
    with pytest.raises(PartFileError, match="the part of another fetch"):
        play(TABLE, lambda venue: venue.fetch(replace(wanted, **changes)))
    assert wanted.part.read_bytes() == before
    wanted.part.write_text("my notes\n")
    with pytest.raises(PartFileError, match="my notes"):
        play(TABLE, lambda venue: venue.fetch(wanted))


# --- extending


@given(st.integers(1, 58), st.integers(1, 58), st.integers(1, 9))
@settings(deadline=None, max_examples=8)
def test_a_finished_file_is_extended_at_its_end(tmp_path_factory, first, more, page):
    """A later --until asks for what is missing, and gives the bytes of one fetch."""
    folder = tmp_path_factory.mktemp("fetch")
    plain, grown = options(folder / "a.csv"), options(folder / "b.csv")
    until = START + min(first + more, 59) * HOUR

    async def scenario(venue):
        await venue.fetch(replace(plain, until=until))
        await venue.fetch(replace(grown, until=START + first * HOUR))
        venue.simulator.requests.clear()
        fetched = await venue.fetch(replace(grown, until=until), page)
        return fetched, venue.asked

    fetched, asked = play(TABLE, scenario)
    assert grown.out.read_bytes() == plain.out.read_bytes()
    assert fetched.new == min(first + more, 59) - first
    last = START + (first - 1) * HOUR
    assert [int(q["startTime"]) for q in asked[:2]] == [last, last + HOUR][: len(asked)]


def test_a_file_that_is_complete_stays_untouched(tmp_path):
    """Nothing new: the file is not even rewritten."""
    wanted = options(tmp_path / "b.csv")
    play(TABLE, lambda venue: venue.fetch(wanted))
    before = wanted.out.stat().st_mtime_ns
    assert play(TABLE, lambda venue: venue.fetch(wanted)).new == 0
    assert wanted.out.stat().st_mtime_ns == before


def changed(bars: Bars, index: int, **values: float) -> Bars:
    rows = list(bars)
    rows[index] = replace(rows[index], **values)
    return Bars.of(rows)


@pytest.mark.parametrize("field", ["close", "volume", "trades", "taker_buy_quote"])
def test_a_revised_last_bar_is_an_error(tmp_path, field):
    """A file whose last bar the venue has changed is left as it is, and the field is named."""
    value = getattr(TABLE.row(29), field)
    other = TABLE.row(29).open if field == "close" else value + 1.0
    write_candles(tmp_path / "b.csv", changed(TABLE[:30], 29, **{field: other}))
    before = (tmp_path / "b.csv").read_bytes()
    with pytest.raises(FetchError, match=f"{field} was {other} and is now {value}"):
        play(TABLE, lambda venue: venue.fetch(options(tmp_path / "b.csv")))
    assert (tmp_path / "b.csv").read_bytes() == before


def test_older_bars_are_not_put_in_front(tmp_path):
    """A file that begins later than asked, though the venue has more, is not taken for whole."""
    write_candles(tmp_path / "b.csv", TABLE[10:30])
    with pytest.raises(FetchError, match="a file is only extended at its end"):
        play(TABLE, lambda venue: venue.fetch(options(tmp_path / "b.csv")))


def test_gaps_that_were_in_the_file_are_told_from_confirmed_ones(tmp_path):
    """The old gap is listed as not asked again, the new one as confirmed; nothing is filled in."""
    holed = [i for i in range(30) if i != 4]
    write_candles(tmp_path / "b.csv", bars_at(TABLE, holed))
    absent = bars_at(TABLE, [i for i in range(60) if i not in {30, 40}])
    fetched = play(absent, lambda venue: venue.fetch(options(tmp_path / "b.csv")))
    assert [(gap["bars"], gap["confirmed"]) for gap in fetched.gaps] == [
        (1, False),
        (1, True),
        (1, True),
    ]
    assert len(fetched.bars) == 59 - 3


def test_a_file_that_is_no_candle_file_is_not_overwritten(tmp_path):
    """What stands in the target's place is read first."""
    (tmp_path / "b.csv").write_text("dear diary\n")
    with pytest.raises(CandleFileError):
        play(TABLE, lambda venue: venue.fetch(options(tmp_path / "b.csv")))
    assert (tmp_path / "b.csv").read_text() == "dear diary\n"


# --- limits and bad answers


def test_a_limit_is_waited_out_and_said(tmp_path, capsys):
    """After a 429 nothing is asked before its Retry-After has passed; then the fetch goes on."""

    async def scenario(venue):
        real, refused = venue.simulator._answer, []

        def answer(target, body, now_ms):
            if len(venue.asked) == 3 and not refused:
                refused.append(time.monotonic())
                venue.simulator.faults.refuse_rest(429, seconds=0.05, retry_after_s=1)
            return real(target, body, now_ms)

        venue.simulator._answer = answer
        await venue.fetch(options(tmp_path / "b.csv"), 7, QUICK)
        return list(venue.simulator.requests)

    requests = play(TABLE, scenario)
    statuses = [request.status for request in requests]
    assert statuses.count(429) == 1
    at = statuses.index(429)
    assert requests[at + 1].at_s - requests[at].at_s >= 1.0
    assert requests[at + 1].target == requests[at].target
    assert equal(read_candles(tmp_path / "b.csv", H1).bars, TABLE[:59])
    capsys.readouterr()


def test_a_long_wait_is_told(capsys):
    """Whoever waits is told why and for how long; a blink of an eye is not worth a line."""
    with Progress("") as progress:
        progress.waiting("binance spot: HTTP 418", 3600.0)
        progress.waiting("binance spot: HTTP 500", 0.5)
    said = capsys.readouterr().err
    assert said.endswith(" binance spot: HTTP 418; asking again in 3600 s\n")
    assert said.count("\n") == 1


def test_passing_trouble_is_overcome(tmp_path):
    """A few 500s cost a few questions and nothing else."""

    async def scenario(venue):
        venue.simulator.faults.refuse_rest(500, seconds=0.03)
        return await venue.fetch(options(tmp_path / "b.csv"), 7, replace(QUICK, attempts=20))

    assert len(play(TABLE, scenario).bars) == 59


def broken_pages() -> list[tuple[Bar, str]]:
    row = TABLE.row(20)
    return [
        (replace(row, high=row.low / 2), "high must not be below open, low or close"),
        (replace(row, close=-1.0), "close must be a finite number above zero; the venue gives -1"),
        (replace(row, volume=-1.0), "volume must be zero or more"),
    ]


@pytest.mark.parametrize(("bar", "says"), broken_pages())
def test_a_bar_that_breaks_a_rule_is_named(tmp_path, bar, says):
    """The bar and the field are told, and no file appears."""
    rows = list(TABLE)
    rows[20] = bar
    with pytest.raises(HistoryError) as caught:
        play(Bars.of(rows), lambda venue: venue.fetch(options(tmp_path / "b.csv")))
    assert "the bar of 2022-01-01T20:00:00Z breaks a rule" in str(caught.value)
    assert says in str(caught.value)
    assert not (tmp_path / "b.csv").exists()


def test_streams_are_what_was_asked_for():
    """The part file lies beside the target, and the stream is the venue's name of it."""
    wanted = options(Path("x/b.csv.gz"))
    assert wanted.part == Path("x/b.csv.gz.part")
    assert wanted.stream == Stream("binance-spot", "BTCUSDT", "1h")
