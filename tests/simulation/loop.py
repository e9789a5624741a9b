"""Virtual time, an event loop that lives in it, and death at any step of what runs there.

The world outside the daemon (venue, broker, subscriber, disk) is a heap of callbacks in `Timeline`.
The daemon is real asyncio code in a `Loop` that takes one callback a step and asks no kernel for
anything: when nobody can go on, the time is that of whatever comes next. Knows nothing of either.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
import time
from asyncio import events
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_STEP_S: Final = 1e-5  # what one step of the loop takes
_MOST_STEPS: Final = 400_000


class Crash(KeyboardInterrupt):
    """The process is dead. Of this base, so that no task can keep it to itself."""


class Endless(KeyboardInterrupt):
    """Something never comes back to the loop."""


class StuckError(Exception):
    """Nobody will ever do anything again, or nobody ever stops."""


class Timeline:
    """What will happen outside, in order of time (s); what is at the same time, as it was told."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: float, do: Callable[..., None], *args: object) -> None:
        """Do something at a time, or now when that has passed."""
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self._count, do, args))

    def after(self, seconds: float, do: Callable[..., None], *args: object) -> None:
        """Do something so much later."""
        self.at(self.now + seconds, do, *args)

    @property
    def next_time(self) -> float:
        """When something happens next; infinite when nothing will."""
        return self._heap[0][0] if self._heap else float("inf")

    def let_happen(self) -> None:
        """Do all that is due."""
        while self._heap and self._heap[0][0] <= self.now:
            _, _, do, args = heapq.heappop(self._heap)
            do(*args)

    def pass_until(self, when: float) -> None:
        """Let time go on until `when`, with nobody there but the world."""
        while self.next_time <= when:
            self.now = max(self.now, self.next_time)
            self.let_happen()
        self.now = max(self.now, when)


class _Task(asyncio.Task):  # type: ignore[type-arg]
    """One that sets and dictionaries meet in the same order in every run."""

    count = 0

    def __init__(self, *args: Any, **settings: Any) -> None:
        _Task.count += 1
        self._number = _Task.count
        super().__init__(*args, **settings)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class Loop(asyncio.BaseEventLoop):
    """One life's event loop.

    `chance` picks which of several tasks that could go on does; the order of other callbacks, which
    asyncio promises, stays. `tick` is called before each step, and may raise `Crash`.
    """

    def __init__(
        self, timeline: Timeline, chance: random.Random, tick: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._clock_resolution = 1e-6  # beyond 2^24 s a float's own step would make asyncio spin
        self._timeline = timeline
        self._chance = chance
        self._tick = tick
        self._left = _MOST_STEPS
        self.executor_s: Callable[[], float] = lambda: 0.001
        """How long what goes to another thread takes."""
        self.complaints: list[str] = []
        """What asyncio could give to nobody."""
        self.set_exception_handler(self._complain)
        _Task.count = 0
        self.set_task_factory(lambda loop, coro, **more: _Task(coro, loop=loop, **more))

    def time(self) -> float:
        return self._timeline.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """Do at once what another thread would do some time from now, and tell it then."""
        del executor
        future = self.create_future()
        self._timeline.after(self.executor_s(), self._do, future, func, args)
        return future

    def _do(self, future: asyncio.Future[Any], func: Any, args: tuple[Any, ...]) -> None:
        if future.cancelled() or self.is_closed():
            return
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            future.set_exception(error)

    def abandon(self) -> None:
        """Drop everything that still runs, as the end of a process does."""
        self._ready.clear()
        self._scheduled.clear()
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False
            coroutine = task.get_coro()
            for _ in range(50):  # each may await something in its clean-up
                try:
                    coroutine.close()
                except BaseException:  # noqa: BLE001, S112 - it is dead
                    continue
                break
        self._ready.clear()
        self._scheduled.clear()
        self.close()

    # --- what BaseEventLoop asks of a loop

    def _run_once(self) -> None:
        self._wake_timers()
        if not self._ready:
            self._let_time_pass()
            return
        self._left -= 1
        if self._left < 0:
            raise StuckError("it goes round and round")
        self._timeline.now += _STEP_S
        if self._timeline.next_time <= self._timeline.now:
            self._timeline.let_happen()
        handle = self._next_handle()
        if not handle._cancelled:
            self._tick("step")
            handle._run()

    def _wake_timers(self) -> None:
        scheduled, now = self._scheduled, self._timeline.now
        while scheduled and (scheduled[0]._cancelled or scheduled[0]._when <= now):
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                self._ready.append(handle)

    def _let_time_pass(self) -> None:
        timer = self._scheduled[0]._when if self._scheduled else float("inf")
        until = min(timer, self._timeline.next_time)
        if until == float("inf"):
            raise StuckError("everybody waits for somebody else")
        self._timeline.now = max(self._timeline.now, until)
        self._timeline.let_happen()

    def _next_handle(self) -> asyncio.Handle:
        """Take one of the tasks that stand at the front, or the callback that does."""
        ready = self._ready
        count = 0
        for handle in ready:
            if not isinstance(getattr(handle._callback, "__self__", None), asyncio.Task):
                break
            count += 1
        at = self._chance.randrange(count) if count > 1 else 0
        if at == 0:
            return ready.popleft()
        chosen = ready[at]
        del ready[at]
        return chosen

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it where it is: it is passed over when its time comes."""

    def _process_events(self, event_list: object) -> None:
        """Have none: no socket is real."""

    def _write_to_self(self) -> None:
        """Wake nobody: there is no other thread."""

    def _complain(self, _loop: object, context: dict[str, Any]) -> None:
        self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")


@contextmanager
def clocks(timeline: Timeline, wall_ns: Callable[[], int]) -> Iterator[None]:
    """Let the clocks that programs read be the timeline's."""
    kept = time.monotonic, time.time_ns
    time.monotonic = lambda: timeline.now
    time.time_ns = wall_ns
    try:
        yield
    finally:
        time.monotonic, time.time_ns = kept


def run(loop: Loop, main: Any) -> Any:
    """Run a coroutine to its end or to a `Crash`; nothing of it is left afterwards."""
    known = events._get_running_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        asyncio.set_event_loop(None)
        events._set_running_loop(known)
        with contextlib.suppress(RuntimeError):
            loop.abandon()
