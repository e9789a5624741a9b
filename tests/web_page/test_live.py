"""What the page shows as things happen: decisions, bars, outcomes, events, that it is cut off."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from brokers import free_port
from browser import Page, needs_chromium, page
from candled.core.bar import MINUTE, Stream
from candled.core.correction import correction
from candled.core.decision import Reason, Side, Source, decision_id
from candled.core.track import Standing
from candled.ports import Act, Entry, Hazard, ServiceState, StreamState
from chaos.proxy import FAIR, HOLE, Proxy
from web_page.served import House, needs_chart, served, streams, wall_ms, world
from web_page.world import World, cards, drift, track

pytestmark = [needs_chromium, needs_chart]

DRAWN = "!!document.querySelector('#stream .candles canvas')"
PAST = "!document.querySelector('#past').hidden"


def app(script: str) -> str:
    """Return a script in which `app` is the page's own module."""
    return f"import('/app.js').then((app) => {script})"


def says(place: str, *words: str) -> str:
    """Return the script of whether what is seen at a place has all these words."""
    text = f"(document.querySelector({json.dumps(place)})?.innerText ?? '')"
    return f"{json.dumps(words)}.every((word) => {text}.includes(word))"


def row(stream: Stream, part: str = "") -> str:
    """Return where a stream's row is."""
    return f'#rows .row[data-stream="{stream.path}"] {part}'.strip()


def alike(first: object, second: object) -> bool:
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


def serious(shown: Page) -> list[str]:
    """Return complaints but those that the browser itself makes of a server that is away."""
    return [text for text in shown.complaints if "WebSocket" not in text and "net::ERR" not in text]


def test_a_decision_is_in_its_row_and_its_chart_once_it_is_published(browser):
    """A published decision shows in its row; of a chosen stream, in chart and panel, too."""

    async def run() -> None:
        made = world()
        chosen, other = made.streams[:2]
        async with served(made) as house, page(browser, f"{house.url}#/{chosen.path}") as shown:
            await shown.until(DRAWN)
            for stream in (other, chosen, other, chosen):
                entry = made.step(stream)[0]
                house.outbox.add(entry)
                last = app(f"app.state.lines.get('{stream.path}').decided.id")
                await shown.until(f"{last}.then((id) => id === '{entry.decision.id}')")
                await shown.until(says(row(stream, ".c-side"), entry.decision.side.value))
            newest = app("app.panel.chart.candles.data().at(-1)")
            await shown.until(
                f"{newest}.then((bar) => bar.time * 1000 === {entry.decision.bar_open})"
            )
            assert (await shown.run(newest))["close"] == entry.decision.price
            odds = await shown.run(app("app.panel.chart.odds.long.data().at(-1).value"))
            assert abs(odds - entry.decision.probabilities.long) < 1e-6
            await shown.until(says("#stream .loud", entry.decision.side.value))
            assert shown.complaints == []

    asyncio.run(run())


def test_a_signal_is_said_with_its_evidence_marked_and_told_what_became_of_it(browser):
    """A signal's panel says what was seen of its like; later table and chart say its end."""

    async def run() -> None:
        made = world(1, ahead=120)
        stream = made.streams[0]
        async with served(made) as house, page(browser, f"{house.url}#/{stream.path}") as shown:
            await shown.until(DRAWN)
            house.outbox.add(*(entries := made.step_to(Side.SHORT, stream)))
            signal = entries[-1].decision
            assert signal.evidence is not None
            right = f"{signal.evidence.precision:.0%}".replace("%", " %")
            await shown.until(
                says(
                    "#stream .now",
                    f"Of {signal.evidence.n} like it out of sample",
                    f"{right} were right",
                    "21 %",
                )
            )
            assert await shown.run(says("#stream .now", "short", "valid", "until"))
            await shown.until(says(".past tbody tr:first-child", "short", "pending"))
            marks = f"markers().find((one) => one.time * 1000 === {signal.bar_open})?.text"
            marked = app(f"app.panel.chart.candles.{marks}")
            await shown.until(f"{marked}.then((text) => text === 'S')")
            while not (ended := [one for one in made.outcomes(stream) if one.id == signal.id]):
                house.close(stream)
            wanted = "✓" if ended[0].right else "✗"
            await shown.until(f"{marked}.then((text) => text === 'S {wanted}')")
            key = f'.past [data-key="{signal.id}"]'
            await shown.run(f"document.querySelector('{key}').click()")
            await shown.until(
                says(
                    "#stream .now",
                    "short",
                    wanted,
                    {"target": "target", "stop": "stopped", "time": "time"}[ended[0].ended],
                )
            )
            assert (
                await shown.run(f"document.querySelector('{key}').getAttribute('aria-pressed')")
                == "true"
            )
            assert shown.complaints == []

    asyncio.run(run())


def test_why_there_is_no_signal_is_said(browser):
    """Of flat and of no decision the panel says why: the threshold, the gate, what is missing."""

    async def run() -> None:
        made = world(1)
        stream = made.streams[0]
        async with served(made) as house, page(browser, f"{house.url}#/{stream.path}") as shown:
            entry = made.step_to(Side.FLAT, stream)[-1]
            reasons = {
                None: "threshold of .680",
                "novelty": "too unlike",
                "warmup": "too few bars",
                "regime_gate": "against the regime",
            }
            for number, (reason, words) in enumerate(reasons.items()):
                house.outbox.add(changed(entry, number, reason))
                await shown.until(says("#stream .now", words))
            await shown.until(says(row(stream), "against the regime"))

    asyncio.run(run())


def changed(entry: Entry, number: int, reason: str | None) -> Entry:
    """Return a later entry about the same bar with another reason."""
    asked = reason != "warmup"
    decision = replace(
        entry.decision,
        reason=Reason(reason) if reason else None,
        revision=number,
        id=f"{number:032x}",
        side=Side.FLAT if asked else Side.NO_DECISION,
        probabilities=entry.decision.probabilities if asked else None,
        evidence=None,
    )
    return replace(entry, position=entry.position + 1000 + number, decision=decision, seq=None)


def test_a_correction_takes_the_place_of_what_it_corrects(browser):
    """A bar decided anew shows its new side everywhere, and no second marker."""

    async def run() -> None:
        made = world(1)
        stream = made.streams[0]
        async with served(made) as house, page(browser, f"{house.url}#/{stream.path}") as shown:
            await shown.until(DRAWN)
            first = made.step_to(Side.SHORT, stream)[-1]
            house.outbox.add(first)
            await shown.until(says("#stream .loud", "short"))
            old = first.decision
            other = replace(
                old,
                side=Side.FLAT,
                price=old.price * 1.001,
                evidence=None,
                id=decision_id(stream, "m", "p", old.bar_open, 1),
            )
            corrected = correction(other, old, first.seq)
            assert corrected is not None
            entry = replace(
                first, position=first.position + 1, decision=corrected, seq=None, source=Source.REST
            )
            made.entries[stream].append(entry)
            house.outbox.add(entry)
            await shown.until(says("#stream .loud", "flat"))
            found = f"markers().filter((one) => one.time * 1000 === {old.bar_open})"
            marks = app(f"app.panel.chart.candles.{found}.length")
            await shown.until(f"{marks}.then((count) => count === 0)")
            await shown.until(says(row(stream, ".c-side"), "flat"))

    asyncio.run(run())


def test_trouble_is_said_with_its_reason_and_cleared(browser):
    """A degraded service, a stopped stream, an incident and a late sink are said, and cleared."""

    async def run() -> None:
        made = world()
        stream = made.streams[3]
        async with served(made) as house, page(browser, house.url) as shown:
            await shown.until(says("#state", "online"))
            house.board.set(ServiceState.DEGRADED, "the broker is away")
            house.note(stream, StreamState.STOPPED, "the venue does not know it")
            house.tell("nothing for 40 s", stream, Hazard.HALTED, Act.STOP)
            house.outbox.mark("mqtt", house.outbox.entries[-1].position - 7)
            house.close(made.streams[0])
            await shown.until(says("#state", "degraded"))
            await shown.until(says("#reasons", "the broker is away"))
            await shown.until(says(row(stream, ".c-state"), "stopped"))
            await shown.until(says("#count-problems", "1"))
            await shown.until(
                says("#events li:first-child", "halted", "stop", stream.path, "nothing for 40 s")
            )
            await shown.until(says("#sinks", "mqtt", "8 behind"))
            house.board.set(ServiceState.ONLINE)
            house.note(stream, StreamState.LIVE)
            house.outbox.mark("mqtt", house.outbox.entries[-1].position)
            await shown.until(says("#state", "online"))
            await shown.until("document.querySelector('#reasons').hidden")
            await shown.until(says("#count-problems", "0"))
            await shown.until(says("#sinks", "all delivered"))

    asyncio.run(run())


def test_a_stream_whose_next_bar_is_overdue_is_late_until_it_comes(browser):
    """A bar that is due and not there is said in row, panel and counts, until it is there."""

    async def run() -> None:
        made = World(streams(3), wall_ms() - 3 * MINUTE, shown=60)
        first, second = made.streams[:2]
        async with (
            served(made) as house,
            page(browser, f"{house.url}#/{first.path}") as shown,
        ):
            await shown.until(says(row(second, ".c-state"), "late"))
            await shown.until(says("#stream .top", "the next one is late"))
            await shown.until(says("#count-problems", "3"))
            house.close(first, first, first)
            await shown.until(says(row(first, ".c-state"), "live"))
            await shown.until(says("#count-problems", "2"))
            await shown.until(f"!({says('#stream .top', 'late')})")

    asyncio.run(run())


def test_a_model_that_does_not_do_what_it_claims_and_drift_are_said(browser):
    """A broken claim and moved features are problems of the row, with figures in the panel."""

    async def run() -> None:
        made = world()
        broken, moved = made.streams[:2]
        made.tracks[broken] = track(broken, made.outcomes(broken) * 9, 3, Standing.BROKEN)
        made.drifts[moved] = drift(moved, 0.41)
        async with served(made) as house, page(browser, f"{house.url}#/{broken.path}") as shown:
            await shown.until(says(row(broken, ".c-state"), "claim broken"))
            await shown.until(says(row(moved, ".c-state"), "drift"))
            await shown.until(says("#stream", "worse than claimed", "40 % were claimed"))
            await shown.run(f"location.hash = '#/{moved.path}'")
            await shown.until(says("#stream", "0.41", "rsi_14", "1.31", "41 %"))
            del made.drifts[moved], made.tracks[broken]
            await shown.until(says(row(moved, ".c-state"), "live"))

    asyncio.run(run())


def test_the_models_in_use_are_shown_with_what_they_claim(browser):
    """A card has role, signature, expiry, label rule and claims; another model takes its place."""

    async def run() -> None:
        made, now = world(1), wall_ms()
        shown_cards = list(cards(now))
        async with (
            served(made, models=lambda: tuple(shown_cards)) as house,
            page(browser, house.url) as shown,
        ):
            await shown.until(
                says(
                    "#models",
                    "champion",
                    "challenger",
                    "signed",
                    "not signed",
                    "within 24 bars",
                    ".68\N{EN DASH}.76",
                    "412",
                    "38 % (33\N{EN DASH}43)",
                )
            )
            late = {
                name: getattr(shown_cards[0], name) for name in shown_cards[0].__struct_fields__
            }
            shown_cards[:] = [
                type(shown_cards[0])(**{**late, "name": "the-next", "expires_at": now - 1})
            ]
            await shown.until(says("#models", "the-next", "expired"))
            assert not await shown.run(says("#models", "challenger"))

    asyncio.run(run())


def test_a_page_that_was_cut_off_says_so_and_catches_up_by_itself(browser):
    """While the server is away the page shows the past and says so; then all it missed is there."""

    async def run() -> None:
        made, port = world(3), free_port()
        stream = made.streams[0]
        where = f"http://127.0.0.1:{port}/#/{stream.path}"
        async with served(made, port) as house, page(browser, where) as shown:
            await shown.until(DRAWN)
            await missed(house, shown, made.step(stream, stream, stream)[-1], port)
            assert serious(shown) == []

    async def missed(house: House, shown: Page, newest: Entry, port: int) -> None:
        house.stop()
        await shown.until(PAST)
        assert await shown.run(says("#past", "Connection lost, showing", "old"))
        assert await shown.run(says("#state", "connection lost"))
        wait_ms = app("(app.link.tries = 30, app.link.closed(), app.link.next - Date.now())")
        assert 1_000 < await shown.run(wait_ms) < 4_000  # however long it has been away
        async with served(house.world, port):
            await shown.until(f"!({PAST})")
            await shown.until(says("#state", "online"))
            last = app("app.panel.chart.candles.data().at(-1).time")
            await shown.until(f"{last}.then((time) => time * 1000 === {newest.decision.bar_open})")
            times = app("app.panel.chart.candles.data().map((bar) => bar.time)")
            await shown.until(
                f"{times}.then((all) => all.every((at, n) => at === all[0] + 60 * n))"
            )

    asyncio.run(run())


HELD = """
  window.opened = new Promise((open) => { window.open_gate = open; });
  const real = window.fetch;
  window.fetch = async (...what) => {
    const answer = await real(...what);
    const told = await answer.json();
    window.fetched = true;
    await window.opened;
    return { ok: true, json: async () => told };
  };
"""


def test_what_is_pushed_while_the_past_is_on_its_way_is_not_lost(browser):
    """A bar that closes after the past was read, and comes before it, is in the chart."""

    async def run() -> None:
        made = world(2)
        stream = made.streams[0]
        async with served(made) as house, page(browser, house.url) as shown:
            await shown.until(says("#state", "online"))
            await shown.run(HELD)
            await shown.run(f"location.hash = '#/{stream.path}'")
            await shown.until("window.fetched")
            house.close(stream)
            last = made.entries[stream][-1].decision
            came = app("[...app.panel.coming.bars.keys()].at(-1)")
            await shown.until(f"{came}.then((open) => open === {last.bar_open})")
            await shown.run("window.open_gate()")
            await shown.until(DRAWN)
            newest = app("app.panel.chart.candles.data().at(-1).time")
            await shown.until(f"{newest}.then((time) => time * 1000 === {last.bar_open})")

    asyncio.run(run())


def test_silence_is_told_from_calm(browser):
    """A connection that carries nothing is said to be lost within seconds, and not before."""

    async def run() -> None:
        made = world(1)
        port = free_port()
        async with (
            served(made, port),
            Proxy(port) as proxy,
            page(browser, f"http://127.0.0.1:{proxy.port}/") as shown,
        ):
            await shown.until(says("#state", "online"))
            assert not await shown.run(PAST)
            proxy.weather = HOLE
            began = asyncio.get_running_loop().time()
            await shown.until(PAST)
            assert 1.5 < asyncio.get_running_loop().time() - began < 5.5
            await try_now(shown, proxy)
            proxy.weather = FAIR
            await shown.until(f"!({PAST})")
            assert serious(shown) == []

    async def try_now(shown: Page, proxy: Proxy) -> None:
        """Give up a silent connection for another, which is then waited for."""
        accepted, click = proxy.accepted, "document.querySelector('#past-now').click()"
        await shown.run(click)
        await shown.run(app("{ window.coming = app.link.socket; }"))
        await shown.run(click)
        assert await shown.run(
            app("app.link.socket === window.coming && !window.coming.readyState")
        )
        assert await shown.run(says("#past-next", "Connecting"))
        assert proxy.accepted == accepted + 1

    asyncio.run(run())


def test_hostile_names_and_reasons_are_words(browser):
    """Whatever a venue, a model or an error is called is shown as it is, and nothing of it runs."""
    bomb = "<img src=x onerror=window.hit=1><script>window.hit=2</script>"

    async def run() -> None:
        made = world(3)
        evil = Stream("<b>x", "'\"><svg onload=window.hit=3>USDT", "1m")
        made.streams[2:] = [evil]
        hostile = type(made)([*made.streams[:2], evil], wall_ms(), shown=120)
        shown_cards = [
            replaced(card, name=bomb, label_rule=bomb, feature_set=bomb)
            for card in cards(wall_ms())
        ]
        async with (
            served(hostile, models=lambda: tuple(shown_cards)) as house,
            page(browser, house.url) as shown,
        ):
            await shown.until("document.querySelectorAll('#rows .row').length === 3")
            house.note(evil, StreamState.DEGRADED, bomb)
            house.board.set(ServiceState.DEGRADED, bomb)
            house.tell(bomb, evil)
            await shown.until(says("#events", bomb))
            await shown.until(says("#reasons", bomb))
            assert await shown.run(says("#models", bomb))
            await shown.run("document.querySelector('#rows a[href*=svg]').click()")
            await shown.until(DRAWN)
            assert await shown.run(says("#stream", evil.symbol, evil.exchange, bomb))
            house.close(evil)
            await shown.until(says("#stream .fresh, #stream", evil.symbol))
            assert await shown.run("window.hit") is None
            assert await shown.run("document.querySelectorAll('main img, main script').length") == 0
            assert shown.complaints == []

    asyncio.run(run())


def replaced(card: object, **fields: object) -> object:
    return type(card)(
        **{**{name: getattr(card, name) for name in card.__struct_fields__}, **fields}
    )
