"""Whatever a target does, and whenever the daemon dies: in order, in time, the same bytes, no loss.

Real sockets in virtual time: minutes of hanging, refusing and coming back take milliseconds.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from candled.core.bar import Stream
from candled.core.decision import Side
from candled_adapters.sinks.couriers import PostCourier, Wording
from candled_adapters.sinks.orders import Order, Wanted, orders_of
from candled_adapters.sinks.webhook import WebhookSink
from candled_adapters.sinks.webhook_wire import WireSettings, open_wire
from fakes import EVENING_MS, Board, Decisions, MemoryOutbox
from hooks import HANG, RESET, Receiver, Reply, Request, receiver
from virtual_time import run

STREAMS = [Stream("binance", symbol, "1m") for symbol in ("AUSDT", "BUSDT", "CUSDT")]
WANTED = Wanted()
ANSWERS = {
    "200": Reply(),
    "200 cut": Reply(body=b"half", cut=True),
    "200 close": Reply(close=True),
    "400": Reply(400, b'{"error":"no"}'),
    "302": Reply(302, headers={"Location": "http://127.0.0.1:9/elsewhere"}),
    "500": Reply(500),
    "503 for 20 s": Reply(503, headers={"Retry-After": "20"}),
    "429 for 70 s": Reply(429, headers={"Retry-After": "70"}),
    HANG: HANG,
    RESET: RESET,
}
#: Whether the target has taken it then.
TAKEN = {"200", "200 cut", "200 close"}
GIVEN_UP = {"400", "302"}


class LoopClock:
    """A venue's clock that goes with the loop's."""

    def __init__(self) -> None:
        self._began = asyncio.get_running_loop().time()

    def now_ms(self) -> int:
        return EVENING_MS + int(1000 * (asyncio.get_running_loop().time() - self._began))

    def local_seconds(self, venue_ms: float) -> float:
        return venue_ms / 1000

    async def measured(self) -> None:
        pass


@dataclass(frozen=True)
class Seen:
    request: Request
    answer: str
    venue_ms: int


class Story:
    """One run: entries that come with time, a target with its script, a daemon that dies."""

    def __init__(self, sides, answers, crashes) -> None:
        self.entries = list(_entries(sides))
        self.orders: dict[str, Order] = {
            order.key: order for entry in self.entries for order in orders_of(entry, WANTED)
        }
        self.outbox = MemoryOutbox()
        self.seen: list[Seen] = []
        self._answers = itertools.chain(answers, itertools.repeat("200"))
        self._crashes = dict(crashes)
        self.crashed = bool(crashes)
        self._sink: asyncio.Task[None] | None = None

    async def play(self) -> None:
        self.clock = LoopClock()
        async with receiver(self._script) as target:
            keeper = asyncio.create_task(self._keep_running(target))
            for entry in self.entries:
                await asyncio.sleep(max(0, entry.decided_ms - self.clock.now_ms()) / 1000)
                self.outbox.add(entry)
            last = self.entries[-1].position
            async with asyncio.timeout(3600):
                while self.outbox.position("webhook:t") < last:  # noqa: ASYNC110 - it is virtual
                    await asyncio.sleep(1)
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    def _script(self, request: Request) -> Reply | str:
        answer = next(self._answers)
        self.seen.append(Seen(request, answer, self.clock.now_ms()))
        delay = self._crashes.get(len(self.seen))
        if delay is not None and self._sink:
            asyncio.get_running_loop().call_later(delay * 1e-5, self._sink.cancel)
        return ANSWERS[answer]

    async def _keep_running(self, target: Receiver) -> None:
        """Start the sink again and again, as systemd does."""
        try:
            while True:
                self._sink = asyncio.create_task(self._new_sink(target).run(self.outbox, Board()))
                with suppress(asyncio.CancelledError):
                    await asyncio.shield(self._sink)
                    continue
                if not self._sink.done():
                    return
                await asyncio.sleep(0.5)
        finally:
            if self._sink:
                self._sink.cancel()
                await asyncio.gather(self._sink, return_exceptions=True)

    def _new_sink(self, target: Receiver) -> WebhookSink:
        return WebhookSink("t", target.url, WANTED, way(target), lambda _: self.clock, timeout=4.0)


def way(target: Receiver):
    from contextlib import asynccontextmanager  # noqa: PLC0415

    @asynccontextmanager
    async def open_courier(epoch: str):
        async with open_wire(WireSettings(url=target.url)) as wire:
            yield PostCourier(wire, Wording(), epoch)

    return open_courier


def _entries(sides):
    """Make the entries of some closes; a side of None is a correction of the last one to flat."""
    decisions = Decisions()
    for row in sides:
        made = [decisions.make(side, stream) for side, stream in zip(row, STREAMS, strict=False)]
        yield from made
        if row[0] is Side.LONG and len(row) == 2:
            yield decisions.correct(made[0], Side.SHORT)
        elif row[0] is Side.SHORT:
            yield decisions.correct(made[0], Side.FLAT)


ROWS = st.lists(
    st.lists(st.sampled_from([Side.LONG, Side.SHORT, Side.FLAT]), min_size=1, max_size=3),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    ROWS,
    st.lists(st.sampled_from(sorted(ANSWERS)), max_size=12),
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 60)), max_size=4),
)
@example([[Side.LONG, Side.LONG, Side.LONG]], ["hang"] * 12, [])
@example([[Side.LONG], [Side.SHORT]], ["200"], [(1, n) for n in range(0, 60, 15)])
@example([[Side.LONG, Side.LONG]], ["200", "500", "500"], [(1, 0), (5, 0)])
@example([[Side.SHORT], [Side.LONG, Side.SHORT]], ["429 for 70 s", "500", "reset"], [(2, 0)])
def test_each_order_arrives_in_order_in_time_and_alike_or_is_refused(sides, answers, crashes):
    """At least once or recorded with a reason; none late; no key with two bodies."""
    story = Story(sides, answers, crashes)
    run(story.play(), wall_ms=EVENING_MS)
    for seen in story.seen:
        note(f"{seen.venue_ms - EVENING_MS} {seen.request.key[-8:]} {seen.answer}")
    _in_time(story)
    _in_order(story)
    _alike(story)
    _none_lost(story)
    _not_too_often(story, crashes)


def _in_time(story: Story) -> None:
    for seen in story.seen:
        order = story.orders[seen.request.key]
        assert order.entry.decided_ms <= seen.venue_ms < order.until_ms + 1


def _in_order(story: Story) -> None:
    """Look that nothing is posted before what it follows, nor again after what follows it."""
    keys = list(story.orders)
    places = [keys.index(seen.request.key) for seen in story.seen]
    entries = [story.orders[seen.request.key].entry.position for seen in story.seen]
    assert entries == sorted(entries)
    if not story.crashed:  # a new process does not know that an exit has nothing to leave
        assert places == sorted(places)


def _alike(story: Story) -> None:
    bodies: dict[str, set[bytes]] = {}
    for seen in story.seen:
        bodies.setdefault(seen.request.key, set()).add(seen.request.body)
    assert all(len(versions) == 1 for versions in bodies.values())


def _none_lost(story: Story) -> None:
    taken = {seen.request.key for seen in story.seen if seen.answer in TAKEN}
    refused = {position: reason for _, position, reason in story.outbox.refused}
    for order in story.orders.values():
        kind = f"{order.kind} {order.side}: "
        given_up = kind in refused.get(order.entry.position, "")
        assert order.key in taken or given_up, order
    for reason in refused.values():
        assert any(
            word in reason for word in ("expired", "answered 400", "answered 302", "taken back")
        )
    posted = {seen.request.key for seen in story.seen}
    for order in story.orders.values():  # what was entered, or may have been, is left as well
        if order.kind == "exit" and order.signal in posted:
            assert "never sent" not in refused.get(order.entry.position, "")
    marks = [position for _, position in story.outbox.marks]
    assert marks == sorted(set(marks))
    assert marks[-1] == story.entries[-1].position


def _not_too_often(story: Story, crashes: list[tuple[int, int]]) -> None:
    """Only what was not taken or not known to be is posted again."""
    posted = Counter(seen.request.key for seen in story.seen)
    again = Counter(seen.request.key for seen in story.seen if seen.answer not in TAKEN | GIVEN_UP)
    for key, times in posted.items():
        assert times <= 1 + again[key] + len(crashes)
