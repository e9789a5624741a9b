"""Who can use the page: by keyboard, by ear, on a phone, in the dark, with hundreds of streams."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from pathlib import Path

import pytest

from browser import needs_chromium, page
from candled.core.track import Standing
from candled.ports import ServiceState, StreamState
from web_page.served import House, needs_chart, served, world
from web_page.test_live import DRAWN, PAST, app, row, says
from web_page.world import World, drift, track

pytestmark = [needs_chromium, needs_chart]

EYES = (Path(__file__).parent / "eyes.js").read_text()
SHOWN = "eyes.symbols()"
FOCUS = "document.activeElement.dataset?.stream ?? document.activeElement.id"


def troubled(made: World) -> None:
    """Have some streams drift, and one break its claim."""
    made.tracks[made.streams[2]] = track(
        made.streams[2], made.outcomes(made.streams[2]) * 9, 3, Standing.BROKEN
    )
    made.drifts.update(
        {
            stream: drift(stream, 0.05 + 0.4 * (number == 4))
            for number, stream in enumerate(made.streams)
        }
    )


def trouble(house: House) -> None:
    """Have the service degraded for two reasons, and three streams not live."""
    some = house.world.streams
    house.board.set(
        ServiceState.DEGRADED,
        "bybit SOLUSDT 1m: a bar is missing, asking for it",
        "mqtt: the broker is away",
    )
    house.note(some[3], StreamState.DEGRADED, "by REST alone: the websocket is refused")
    house.note(some[1], StreamState.HOLDING, "the bar of 17:31 is missing")
    house.note(some[5], StreamState.STOPPED, "the venue does not know it")
    house.tell("due 3.1 s ago, not pushed", some[1])


def test_everything_can_be_done_by_keyboard(browser):
    """Search, move, open and go back without a pointer; the focus is always seen and never lost."""

    async def run() -> None:
        async with served(world(12)) as house, page(browser, house.url) as shown:
            await shown.run(EYES)
            await shown.until("document.querySelectorAll('#rows .row').length === 12")
            order = [f"/{name}/" for name in await shown.run(SHOWN)]
            await shown.press("j")
            await shown.until(f"({FOCUS}).includes('{order[0]}')")
            await shown.press("j", "ArrowDown", "k")
            await shown.until(f"({FOCUS}).includes('{order[1]}')")
            assert (
                await shown.run("getComputedStyle(document.activeElement, '::after').outlineStyle")
                == "solid"
            )
            await shown.press("Enter")
            await shown.until(DRAWN)
            assert order[1] in await shown.run("location.hash")
            await shown.until(f"({FOCUS}) === 'stream-title'")
            await shown.press("Escape")
            await shown.until(f"({FOCUS}).includes('{order[1]}')")
            await shown.until("document.querySelector('#stream').hidden")
            await shown.press("/")
            await shown.until(f"({FOCUS}) === 'search'")
            await shown.press("x", "r", "p")
            await shown.until(f"{SHOWN}.join() === 'XRPUSDT'")
            await shown.press("ArrowDown", "Enter")
            await shown.until("location.hash.includes('XRPUSDT')")
            await shown.until(f"({FOCUS}) === 'stream-title'")
            await shown.press("/", "Escape")
            await shown.until(f"{SHOWN}.length === 12")
            assert shown.complaints == []

    asyncio.run(run())


def test_tab_reaches_each_thing_once_and_the_list_in_one_stop(browser):
    """Tab goes through header, search, filters, sort, list, service: one stop for all rows."""

    async def run() -> None:
        async with served(world(30)) as house, page(browser, house.url) as shown:
            await shown.run(EYES)
            await shown.until("document.querySelectorAll('#rows .row').length === 30")
            seen = []
            for _ in range(20):
                await shown.press("Tab")
                place = await shown.run(
                    "document.activeElement.id || document.activeElement.textContent.trim()"
                )
                if await shown.run("document.activeElement === document.body"):
                    break
                seen.append(place)
            wanted = [
                "Skip to the streams",
                "theme",
                "search",
                "All",
                "Signals",
                "Problems",
                "sort",
            ]
            assert [place for place in seen if place in wanted] == wanted
            assert sum("1m · " in place for place in seen) == 1

    asyncio.run(run())


def test_what_is_heard_has_names_and_places(browser):
    """The accessibility tree has one h1, landmarks, tables, and no control without a name."""

    async def run() -> None:
        made = world(6)
        troubled(made)
        async with (
            served(made) as house,
            page(browser, f"{house.url}#/{made.streams[0].path}", size=(1920, 1080)) as shown,
        ):
            await shown.run(EYES)
            trouble(house)
            await shown.until(DRAWN)
            await shown.until("document.querySelectorAll('#events li').length > 0")
            tree = await shown.ask("Accessibility.getFullAXTree")
            nodes = [node for node in tree["nodes"] if not node["ignored"]]
            found = [
                (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes
            ]
            roles = [role for role, _ in found]
            controls = (
                "button",
                "link",
                "combobox",
                "searchbox",
                "region",
                "table",
                "columnheader",
                "image",
                "img",
            )
            assert [
                (role, name) for role, name in found if role in controls and not name.strip()
            ] == []
            levels = [
                p["value"]["value"]
                for node in nodes
                if node["role"]["value"] == "heading"
                for p in node["properties"]
                if p["name"] == "level"
            ]
            assert levels.count(1) == 1
            assert {
                "banner",
                "main",
                "complementary",
                "contentinfo",
                "region",
                "table",
                "rowheader",
                "figure",
            } <= set(roles)
            assert roles.count("row") >= 7
            assert not {"canvas", "Canvas"} & set(roles)
            assert any("bars from" in name or "Chart of" in name for _, name in found)

    asyncio.run(run())


def test_new_signals_are_spoken_in_one_sentence_now_and_then(browser):
    """A screen reader hears of the newest signals at once, and not of those at first sight."""

    async def run() -> None:
        made = world(6, ahead=120)
        async with served(made) as house, page(browser, house.url) as shown:
            await shown.run(EYES)
            await shown.until(says("#state", "online"))
            assert await shown.run("document.querySelector('#spoken').textContent") == ""
            await shown.run("eyes.listening()")
            signalled: set[str] = set()
            while len(signalled) < 3:
                for entry in made.step(*made.streams):
                    house.outbox.add(entry)
                    if entry.seq is not None:
                        signalled.add(entry.decision.stream.symbol)
            await shown.until("eyes.heard.length > 0")
            assert "new signals: " in (await shown.run("eyes.heard[0][1]"))
            house.outbox.add(*[entry for _ in range(12) for entry in made.step(*made.streams)])
            await shown.until("eyes.heard.length > 1")
            times = [at for at, _ in await shown.run("eyes.heard")]
            assert min(later - before for before, later in itertools.pairwise(times)) > 4900

    asyncio.run(run())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_stands_out_in_both_themes(browser, scheme):
    """Each visible text has a contrast of 4.5 at least, with trouble shown and when cut off."""

    async def run() -> None:
        made = world(8)
        troubled(made)
        async with (
            served(made) as house,
            page(browser, f"{house.url}#/{made.streams[0].path}", size=(1920, 1400)) as shown,
        ):
            await shown.run(EYES)
            await shown.theme(scheme)
            trouble(house)
            await shown.until(DRAWN)
            await shown.until(says("#reasons", "broker"))
            ground = await shown.run("getComputedStyle(document.documentElement).backgroundColor")
            assert (sum(map(float, ground.strip("rgb()").split(","))) > 382) == (scheme == "light")
            found = await shown.run("eyes.pale()")
            assert found["count"] > 100
            assert found["bad"] == []
            house.stop()
            await shown.until(PAST)
            assert (await shown.run("eyes.pale()"))["bad"] == []

    asyncio.run(run())


def test_a_chosen_theme_is_kept(browser):
    """The toggle goes round system, light and dark; it holds after a reload, and in the chart."""

    async def run() -> None:
        made = world(1)
        async with (
            served(made) as house,
            page(browser, f"{house.url}#/{made.streams[0].path}") as shown,
        ):
            await shown.run(EYES)
            await shown.theme("light")
            await shown.until(DRAWN)
            ink = app("app.panel.chart.colours.ink")
            light = await shown.run(ink)
            await shown.run("document.querySelector('#theme').click()")
            assert await shown.run("document.documentElement.dataset.theme") == "light"
            await shown.run("document.querySelector('#theme').click()")
            dark = await shown.run(ink)
            assert dark != light
            await shown.ask("Page.reload")
            await shown.until("document.documentElement?.dataset.theme === 'dark'")
            await shown.until(DRAWN)
            assert await shown.run(ink) == dark
            assert (
                await shown.run("document.querySelector('#theme').getAttribute('aria-label')")
                == "Theme: dark"
            )
            await shown.run("document.querySelector('#theme').click()")
            assert await shown.run("document.documentElement.dataset.theme") is None
            assert await shown.run("document.cookie") == ""

    asyncio.run(run())


def test_a_phone_shows_the_list_first_and_then_the_stream_and_never_scrolls_sideways(browser):
    """At 360 px each view fits; a tap opens a stream in the list's place, and back leads back."""

    async def run() -> None:
        made = world(8)
        troubled(made)
        async with served(made) as house, page(browser, house.url, phone=True) as shown:
            await shown.run(EYES)
            trouble(house)
            await shown.until(says("#events", "not pushed"))
            await shown.until(says("#reasons", "broker"))
            assert not await shown.run("eyes.sideways()")
            assert await shown.run(
                "eyes.sees('#list') && eyes.sees('#service') && !eyes.sees('#stream')"
            )
            await shown.run(f"document.querySelector('{row(made.streams[2], 'a')}').click()")
            await shown.until(DRAWN)
            assert await shown.run(
                "!eyes.sees('#list') && !eyes.sees('#service') && eyes.sees('#stream')"
            )
            assert not await shown.run("eyes.sideways()")
            await shown.run("document.querySelector('#stream .back').click()")
            await shown.until("eyes.sees('#list') && !eyes.sees('#stream')")
            assert await shown.run("eyes.small()") == 0

    asyncio.run(run())


def test_the_list_is_searched_filtered_and_sorted(browser):
    """Filters show streams with a signal or a problem; each order is what its column says."""

    async def run() -> None:
        made = world(12)
        async with served(made) as house, page(browser, house.url) as shown:
            await shown.run(EYES)
            trouble(house)
            await shown.until(says("#count-problems", "3"))
            await shown.run("eyes.only('problems')")
            assert set(await shown.run(SHOWN)) == {made.streams[at].symbol for at in (1, 3, 5)}
            await shown.run("eyes.only('signals')")
            signalling = {
                s.symbol for s, told in made.entries.items() if told[-1].decision.side.is_signal
            }
            assert set(await shown.run(SHOWN)) == signalling
            await shown.run("eyes.only('all')")
            await shown.run("eyes.sort('lag')")
            lags = [
                told[-1].decided_ms - told[-1].decision.bar_close for told in made.entries.values()
            ]
            assert await shown.run("eyes.lags()") == sorted(lags, reverse=True)
            await shown.run("eyes.sort('state')")
            assert (await shown.run(SHOWN))[:3] == [made.streams[at].symbol for at in (5, 3, 1)]
            await shown.run("eyes.sort('symbol')")
            assert await shown.run(SHOWN) == sorted(stream.symbol for stream in made.streams)
            await shown.run("eyes.search('no such thing')")
            assert await shown.run(says("#none", "No stream fits"))

    asyncio.run(run())


def test_hundreds_of_streams_are_all_there_and_only_what_changed_is_drawn(browser):
    """Of 300 streams each has its row; a decision about one touches no other row's cells."""

    async def run() -> None:
        made = world(300, shown=3)
        async with served(made) as house, page(browser, house.url) as shown:
            await shown.run(EYES)
            await shown.until("document.querySelectorAll('#rows .row').length === 300")
            await shown.until(says("#count-streams", "300"))
            await shown.run("eyes.touching()")
            await shown.run("window.card = document.querySelector('#models .card')")
            stream = made.streams[0]
            house.outbox.add(entry := made.step(stream)[0])
            await shown.until(
                app(f"app.state.lines.get('{stream.path}').decided.id === '{entry.decision.id}'")
            )
            await shown.until("eyes.touched().length > 0")
            assert set(await shown.run("eyes.touched()")) == {stream.path}
            assert await shown.run("window.card.isConnected")

    asyncio.run(run())


def test_whatever_the_order_of_pushes_the_story_is_the_same(browser):
    """Bars and decisions in any order, some twice, end in each bar's newest decision."""
    draw = random.Random(7)
    cases = []
    for _ in range(300):
        pushes = [[bar, revision] for bar in range(8) for revision in range(draw.randint(1, 4))]
        pushes += draw.choices(pushes, k=4)
        draw.shuffle(pushes)
        cases.append(pushes)

    async def run() -> None:
        async with served(world(1)) as house, page(browser, house.url) as shown:
            await shown.run(EYES)
            told = await shown.run(f"eyes.stories({json.dumps(cases)})")
            for pushes, found in zip(cases, told, strict=True):
                newest = [max(r for bar, r in pushes if bar == which) for which in range(8)]
                ids = [f"{bar}-{revision}" for bar, revision in enumerate(newest)]
                assert found == [list(range(8)), ids, 8], pushes

    asyncio.run(run())
