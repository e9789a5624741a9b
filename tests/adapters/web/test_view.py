"""The view shows what the whole journal says, however it came to know it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.web.rig import NOW, beginning, latest, next_close
from candled.core.bar import Stream
from candled.core.decision import Side
from candled.core.track import Standing, StreamDrift, Track
from candled.ports import Entry, StreamHealth, StreamState
from candled_adapters.web import rendering, shapes
from candled_adapters.web.seat import Sources
from candled_adapters.web.view import CLOSES, View
from fakes import BTC, Decisions

ETH = Stream("binance", "ETHUSDT", "1h")
STREAMS = (BTC, ETH)
SIDES = (Side.LONG, Side.SHORT, Side.FLAT, Side.NO_DECISION)


def sources(**more: object) -> Sources:
    had = {"archive": None, "wall_ms": lambda: NOW, "model": lambda stream: f"m-{stream.symbol}"}
    return Sources(**{**had, **more})


def view(**more: object) -> View:
    return View(STREAMS, sources(**more), lambda _: None)


def line(shown: View, stream: Stream) -> shapes.Line:
    return msgspec.json.decode(shown.line(stream), type=shapes.Line)


Step = tuple[Stream, Side, int | None]  # of which stream, what, and how many bars back


def long_script(seed: int, length: int) -> list[Step]:
    """Return a script in which signals are often taken back, and windows are full."""
    chance = random.Random(seed)
    return [
        (chance.choice(STREAMS), chance.choice(SIDES), chance.choice([None, None, None, 0, 0, 5]))
        for _ in range(length)
    ]


step = st.tuples(st.sampled_from(STREAMS), st.sampled_from(SIDES), st.none() | st.integers(0, 6))
steps = st.one_of(
    st.lists(step, max_size=12),
    st.builds(long_script, st.integers(0, 2**32), st.sampled_from((20, 80, 300))),
)


def journal(script: list[Step]) -> list[Entry]:
    """Return the entries of a script: new bars, and corrections of one of the newest bars."""
    decisions, entries = Decisions(), []
    newest: dict[Stream, dict[int, Entry]] = {stream: {} for stream in STREAMS}
    for count, (stream, side, back) in enumerate(script):
        bars = newest[stream]
        corrected = (
            list(bars.values())[-1 - back] if back is not None and back < len(bars) else None
        )
        entry = decisions.correct(corrected, side) if corrected else decisions.make(side, stream)
        entry = replace(entry, decision=replace(entry.decision, price=100.0 + count))
        bars[entry.decision.bar_open] = entry
        entries.append(entry)
    return entries


def expected(entries: list[Entry], stream: Stream) -> dict[str, object]:
    """Say what a line shows, from the whole journal and in the plainest way."""
    mine = [entry for entry in entries if entry.decision.stream == stream]
    of_bar = {entry.decision.bar_open: entry for entry in mine}
    signals = [entry for entry in mine if entry.seq is not None]
    head = of_bar[max(of_bar)] if of_bar else None
    signal = signals[-1] if signals else None
    verdict = of_bar[signal.decision.bar_open] if signal else None
    return {
        "decided": rendering.decided(head) if head else None,
        "signal": rendering.decided(signal) if signal else None,
        "signal_taken_back": bool(verdict) and verdict.decision.side is not signal.decision.side,
        "next_close": next_close(head) if head else None,
        "closes": tuple(of_bar[bar].decision.price for bar in sorted(of_bar)[-CLOSES:]),
    }


@settings(max_examples=100, deadline=None)
@given(steps, st.data())
def test_a_view_that_began_anywhere_shows_what_one_that_saw_all_would(script, data: st.DataObject):
    """Whatever it began from, was filled with late, or rendered in between, the end is the same."""
    entries = journal(script)
    began = data.draw(st.integers(0, len(entries)), "began")
    stored = data.draw(st.integers(began, len(entries)), "stored")
    filled = data.draw(st.integers(began, len(entries)), "filled")
    shown = view()
    shown.apply(latest(entries[:began]))
    at = began
    while True:
        if at >= filled:
            known = [[e for e in entries[:stored] if e.decision.stream == s] for s in STREAMS]
            shown.fill({s: beginning(k, CLOSES) for s, k in zip(STREAMS, known, strict=True)})
            filled = len(entries) + 1
        if at == len(entries):
            break
        size = data.draw(st.integers(1, 30), "size")
        changed = shown.apply(entries[at : at + size])
        assert changed == {entry.decision.stream for entry in entries[at : at + size]}
        at += size
        at = min(at, len(entries))
        if data.draw(st.booleans(), "looked"):
            line(shown, BTC)
    for stream in STREAMS:
        said = line(shown, stream)
        want = expected(entries, stream)
        assert {name: getattr(said, name) for name in want} == round_trip(want)


def round_trip(want: dict[str, object]) -> dict[str, object]:
    """Return values as they are after they were JSON."""
    kinds = {"decided": shapes.Decided | None, "signal": shapes.Decided | None}
    encoded = {name: msgspec.json.encode(value) for name, value in want.items()}
    plain = {"signal_taken_back": bool, "next_close": int | None, "closes": tuple[float, ...]}
    return {
        name: msgspec.json.decode(text, type={**kinds, **plain}[name])
        for name, text in encoded.items()
    }


def test_entries_of_streams_that_are_not_served_move_only_the_position():
    """A journal may hold what another configuration had."""
    shown, decisions = view(), Decisions()
    entry = decisions.make(Side.LONG, Stream("gone", "X", "1m"))
    assert shown.apply([entry]) == set()
    assert shown.position == entry.position
    assert [line(shown, stream).decided for stream in STREAMS] == [None, None]


@given(st.lists(st.sampled_from(StreamState), min_size=1, max_size=5))
def test_a_line_shows_how_its_stream_is_doing_now(states: list[StreamState]):
    """Once it is touched; and before the service says anything, that it is warming."""
    told: dict[Stream, StreamHealth] = {}
    shown = View(STREAMS, sources(), told.get)
    assert line(shown, BTC).state == "warming"
    for state in states:
        told[BTC] = StreamHealth(BTC, state, f"because {state}")
        assert shown.touch([BTC, Stream("gone", "X", "1m")]) == {BTC}
        said = line(shown, BTC)
        assert (said.state, said.reason) == (state.value, f"because {state}")
        assert line(shown, ETH).state == "warming"


def track(stream: Stream, n: int = 3, model: str = "m") -> Track:
    return Track(stream, model, n, 1, 2, 0.1, 0.9, 0.4, 0.2, 0.17, 0.05, Standing.AS_CLAIMED)


def test_what_nobody_tells_of_is_found_by_looking_aside():
    """Outcomes, drift and a model's change are seen without a decision, once each."""
    facts: dict[str, object] = {"tracks": None, "challenger_tracks": None, "drift": None}
    of_btc: Callable[[str], Callable[[Stream], object]] = lambda name: (  # noqa: E731
        lambda stream: facts[name] if stream == BTC else None
    )
    shown = view(**{name: of_btc(name) for name in facts})
    assert [line(shown, stream).record for stream in STREAMS] == [None, None]
    assert shown.look_aside() == set()
    for name, fact in (
        ("tracks", track(BTC)),
        ("challenger_tracks", track(BTC, model="other")),
        ("drift", StreamDrift(BTC, "m", 50, 0.1, 0.2, 0.3, None, ())),
    ):
        facts[name] = fact
        assert shown.look_aside() == {BTC}
        assert shown.is_stale(BTC)
        line(shown, BTC)
        assert shown.look_aside() == set()
    said = line(shown, BTC)
    assert said.record is not None
    assert said.record.hit_rate == 2 / 3
    assert said.record.standing == "as_claimed"
    assert (said.challenger, said.drift and said.drift.rows) == ("other", 50)


def test_a_line_is_rendered_once_until_something_changes():
    """A thousand onlookers cost one rendering."""
    shown, decisions = view(), Decisions()
    first = shown.line(BTC)
    assert shown.line(BTC) is first
    shown.apply([decisions.make(Side.FLAT, ETH)])
    assert shown.line(BTC) is first
    shown.apply([decisions.make(Side.FLAT, BTC)])
    assert shown.is_stale(BTC)
    assert shown.line(BTC) is not first


def test_a_signal_that_a_correction_takes_back_is_shown_as_such():
    """Until another one comes; a correction that keeps the side takes nothing back."""
    shown, decisions = view(), Decisions()
    first = decisions.make(Side.LONG, BTC)
    shown.apply([first, decisions.make(Side.FLAT, BTC)])
    assert not line(shown, BTC).signal_taken_back
    kept = decisions.correct(first, Side.LONG)
    shown.apply([kept])
    assert not line(shown, BTC).signal_taken_back
    taken = decisions.correct(kept, Side.FLAT)
    shown.apply([taken])
    said = line(shown, BTC)
    assert said.signal_taken_back
    assert said.signal is not None
    assert (said.signal.id, said.decided and said.decided.side) == (first.decision.id, "flat")
    again = decisions.correct(taken, Side.SHORT)
    shown.apply([again])
    said = line(shown, BTC)
    assert not said.signal_taken_back
    assert said.signal is not None
    assert (said.signal.side, said.signal.seq) == ("short", 2)


def test_sixty_closes_are_shown_and_a_revised_one_in_its_place():
    """The oldest go; one that was revised keeps its place."""
    shown, decisions = view(), Decisions()
    entries = decisions.some(100, Side.FLAT, BTC)
    priced = [
        replace(e, decision=replace(e.decision, price=float(n))) for n, e in enumerate(entries)
    ]
    shown.apply(priced)
    assert line(shown, BTC).closes == tuple(map(float, range(40, 100)))
    shown.apply([decisions.correct(priced[70], Side.LONG)])
    assert line(shown, BTC).closes == (
        *map(float, range(40, 70)),
        71.0,
        *map(float, range(71, 100)),
    )
