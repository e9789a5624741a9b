"""The webhook sink: orders to one target, each at least once or refused with a reason.

One sink for each target, with a mark of its own in the journal, so that a dead target holds up
nobody else. Orders go out one after the other. One that fails is tried again until it is too late
for it, and then given up: what is late is never sent as an order. The mark follows each order; a
crash between the two says the order again, with the same key and the same bytes.

How an order becomes a request is in `couriers` and `freqtrade`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import structlog

from candled.ports import Clock, Entry, HealthBoard, Outbox
from candled_adapters.sinks.couriers import Courier
from candled_adapters.sinks.orders import Order, Wanted, orders_of, withdrawn
from candled_adapters.sinks.retrying import Again, Backoff, Outcome, Refused, Taken
from candled_adapters.sinks.webhook_wire import NotReachedError

#: Entries taken from the outbox at once.
ROUND: Final = 200
#: Entries that are looked through for a correction before an order is sent.
AHEAD: Final = 1_000
#: Signals that were never sent and are remembered, so that no exit is sent for them.
REMEMBERED: Final = 10_000
#: How long something must be too late to be no news to a new target (s).
HISTORY_S: Final = 86_400.0
_GLANCE_S: Final = 0.25  # how often a wait looks whether it has become too late

log = structlog.get_logger("candled.webhook")

Clocks = Callable[[str], Clock]
#: Opens the way to the target; the text is the journal's epoch.
Open = Callable[[str], AbstractAsyncContextManager[Courier]]


class WebhookSink:
    """Carries orders to one target, for ever.

    `place` names the target for people, without secrets; `timeout` bounds each attempt (s).
    """

    def __init__(
        self,
        name: str,
        place: str,
        wanted: Wanted,
        open_courier: Open,
        clocks: Clocks,
        *,
        timeout: float = 10.0,
        backoff: Backoff = Backoff(),  # noqa: B008 - it is frozen
    ) -> None:
        self.name = f"webhook:{name}"
        self._place = place
        self._wanted = wanted
        self._open = open_courier
        self._clocks = clocks
        self._timeout = timeout
        self._backoff = backoff

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        """Deliver until cancelled."""
        async with self._open(outbox.epoch) as courier:
            target = _Target(
                self.name,
                self._place,
                courier,
                clocks=self._clocks,
                timeout=self._timeout,
                backoff=self._backoff,
            )
            await _Delivery(self.name, self._wanted, target, outbox, board).run()


class _Target:
    """A target as it is now: how often it failed, and when it may be asked again."""

    def __init__(
        self,
        name: str,
        place: str,
        courier: Courier,
        *,
        clocks: Clocks,
        timeout: float,
        backoff: Backoff,
    ) -> None:
        self.place = place
        self._name = name
        self._courier = courier
        self._clocks = clocks
        self._timeout = timeout
        self._backoff = backoff
        self._failures = 0
        self._closed_until = 0.0

    def left_s(self, order: Order) -> float:
        """Return how long an order may still be sent (s of ours)."""
        clock = self._clocks(order.entry.decision.stream.exchange)
        return clock.local_seconds(order.until_ms - clock.now_ms())

    async def opened(self, order: Order) -> None:
        """Wait until the target may be asked, or it is too late for the order."""
        while (wait := self._closed_until - time.monotonic()) > 0:
            left = self.left_s(order)
            if left <= 0:
                return
            await asyncio.sleep(min(wait, left, _GLANCE_S))

    async def attempt(self, order: Order, *, doubtful: bool) -> Outcome:
        """Try once, and never beyond the order's time."""
        try:
            within_s = min(self._timeout, self.left_s(order))
            async with asyncio.timeout(within_s):
                outcome = await self._courier.carry(order, doubtful=doubtful, within_s=within_s)
        except TimeoutError:
            outcome = Again("no answer in time")
        except NotReachedError as error:
            outcome = Again(str(error))
        except Exception as error:  # noqa: BLE001 - no answer of a stranger may end the daemon
            outcome = Again(f"failed: {type(error).__name__}")
            log.warning("webhook failed", sink=self._name, problem=repr(error))
        self._note(outcome)
        return outcome

    def _note(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Again):
            self._failures = 0
            return
        self._failures += 1
        pause = self._backoff.pause(self._failures, random.random(), outcome.wait_s)
        self._closed_until = time.monotonic() + pause


class _Delivery:
    """The way of the journal's entries to one target."""

    def __init__(
        self, name: str, wanted: Wanted, target: _Target, outbox: Outbox, board: HealthBoard
    ) -> None:
        self._name = name
        self._wanted = wanted
        self._target = target
        self._outbox = outbox
        self._board = board
        self._done = self._marked = outbox.position(name)
        self._first_start = self._done == 0
        self._doubtful = True  # what we carried when the process ended may have arrived
        self._never_sent: deque[str] = deque(maxlen=REMEMBERED)

    async def run(self) -> None:
        while True:
            entries = self._outbox.after(self._done, ROUND)
            for entry in entries:
                if orders := orders_of(entry, self._wanted):
                    await self._carry_all(entry, orders)
                    self._mark(entry.position)
                    self._doubtful = False
                self._done = entry.position
            self._mark(self._done)
            if len(entries) < ROUND:
                await self._outbox.wait(self._done)
            else:
                await asyncio.sleep(0)

    def _mark(self, position: int) -> None:
        if position > self._marked:
            self._outbox.mark(self._name, position)
            self._marked = position

    async def _carry_all(self, entry: Entry, orders: list[Order]) -> None:
        """Do what an entry asks for, in order; record once what was refused of it."""
        reasons = []
        for order in orders:
            reason = await self._carry(order)
            if reason is not None and not self._is_history(order):
                reasons.append(f"{order.kind} {order.side}: {reason}")
        if not reasons:
            return
        reason = "; ".join(reasons)
        self._outbox.refuse(self._name, entry.position, reason)
        log.warning("refused", sink=self._name, id=entry.decision.id, reason=reason)

    async def _carry(self, order: Order) -> str | None:
        """Bring an order to the target; return why not, when it is given up."""
        last, sent = "", False
        while True:
            await self._target.opened(order)
            doubtful = sent or self._doubtful
            if (reason := self._pointless(order, last, sent=sent)) is not None:
                if not doubtful and order.kind == "enter":
                    self._never_sent.append(order.signal)
                return reason
            outcome = await self._target.attempt(order, doubtful=doubtful)
            sent = True
            match outcome:
                case Taken():
                    self._board.remark(self._name, None)
                    return None
                case Refused(reason):
                    self._board.remark(self._name, f"{self._target.place} refuses: {reason}")
                    return reason
                case Again(last):
                    self._board.remark(self._name, f"{self._target.place}: {last}; tried again")

    def _pointless(self, order: Order, last: str, *, sent: bool) -> str | None:
        """Return why an order must not be sent, or not any more; None when it must."""
        if order.kind == "exit" and order.signal in self._never_sent:
            return "the signal that is taken back was never sent"
        if self._target.left_s(order) <= 0:
            return "expired" + (f", tried until then: {last}" if sent else "")
        if order.kind == "enter" and order.signal in self._taken_back(order):
            doubtful = sent or self._doubtful
            return f"taken back before it was {'known to have arrived' if doubtful else 'sent'}"
        return None

    def _taken_back(self, order: Order) -> frozenset[str]:
        return withdrawn(self._outbox.after(order.entry.position, AHEAD))

    def _is_history(self, order: Order) -> bool:
        """Whether an order is of the long time before this target was first configured.

        Nothing was ever marked then, nor in a process that died over its first order: so only what
        is a day too late is passed over without a word.
        """
        return self._first_start and self._target.left_s(order) < -HISTORY_S
