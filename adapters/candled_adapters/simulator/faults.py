"""What the simulated venue does wrong on command: the register of its faults.

Time comes from a monotonic clock that is handed in; what is done about a fault is the business of
the server and the pusher, which ask here what is in force. What goes wrong is made in
`misbehaviour` and `trouble`; what tests want most has a method here. Durations are real seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from candled.core.bar import Bar
from candled_adapters.simulator import misbehaviour, trouble
from candled_adapters.simulator.fault import EVER, Fault, Hooks, Span

_FOREVER: Final = float("inf")


def _nothing() -> None:
    pass


@dataclass(slots=True)
class Faults:
    """The faults in force; none at first."""

    clock: Callable[[], float]
    """Monotonic seconds."""
    stirred: Callable[[], None] = _nothing
    """Called when a fault has been added."""
    _faults: list[Fault] = field(default_factory=list)
    _spent: dict[Fault, int] = field(default_factory=dict)

    def strike(
        self,
        hooks: Hooks,
        symbol: str | None = None,
        *,
        at: int | None = None,
        bars: Span = EVER,
        seconds: float = _FOREVER,
        times: int | None = None,
    ) -> Fault:
        """Put hooks in force from now on and return the fault, for `end`.

        `symbol` None means all; `at` is the open time (UTC ms) of the one bar that is meant, and
        `bars` a span of them. It is over after so many real `seconds`, or `times`.
        """
        now = self.clock()
        fault = Fault(
            hooks=hooks,
            symbol=symbol,
            bars=bars if at is None else Span(at, at + 1),
            seconds=Span(now, now + seconds),
            times=times,
        )
        return self.add(fault)

    def add(self, fault: Fault) -> Fault:
        """Register a fault and return it."""
        self._faults.append(fault)
        self.stirred()
        return fault

    def end(self, *faults: Fault) -> None:
        """Take faults away; those that are gone already are no error."""
        self._faults = [fault for fault in self._faults if fault not in faults]

    def stop(self, *kinds: str) -> None:
        """Take all faults of some kinds away."""
        self.end(*(fault for fault in self._faults if fault.hooks.kind in kinds))

    def clear(self) -> None:
        """Tell the truth again in everything."""
        self._faults.clear()

    def spend(self, fault: Fault) -> None:
        """Count one use of a fault; it is over after its last one."""
        self._spent[fault] = self._spent.get(fault, 0) + 1
        if self._spent[fault] == fault.times:
            self.end(fault)

    @property
    def busy(self) -> bool:
        """Whether there are faults, now or to come, that somebody must look after."""
        return any(fault.hooks.acts or fault.hooks.ages_s for fault in self._faults)

    def in_force(self, *places: str, symbol: str | None = None) -> tuple[Fault, ...]:
        """Return the faults that take hold at one of `places` now, in the order they came.

        `places` are names of `Hooks`' fields. With `symbol`, only those that concern it.
        """
        if not self._faults:
            return ()
        now = self.clock()
        return tuple(
            fault
            for fault in self._faults
            if now in fault.seconds
            and any(getattr(fault.hooks, place) for place in places)
            and (symbol is None or fault.concerns(symbol))
        )

    def mute(
        self,
        seconds: float = _FOREVER,
        *,
        symbol: str | None = None,
        share: float = 1.0,
    ) -> Fault:
        """Push nothing for a while, or until `unmute`; pings and acks go on. Nothing is made up.

        A `share` of the connections is meant: 0.5 is every second one, by number.
        """
        return self.strike(misbehaviour.mute(share=share), symbol, seconds=seconds)

    def mute_stream(
        self,
        symbol: str,
        *,
        connection: int | None = None,
        heals: bool = False,
        seconds: float = _FOREVER,
    ) -> Fault:
        """Acknowledge a stream and never send it, on one connection or all.

        If it `heals`, a fresh SUBSCRIBE ends it, on its connection, and a new connection is mute
        anew; else it lasts until `unmute`.
        """
        hooks = misbehaviour.mute(connection=connection, heals=heals)
        return self.strike(hooks, symbol, seconds=seconds)

    def unmute(self) -> None:
        """Push again."""
        self.stop("mute", "stall")

    def hide(
        self,
        symbol: str,
        open_time: int,
        *,
        ws: bool = True,
        rest: bool = False,
        seconds: float = _FOREVER,
    ) -> Fault:
        """Withhold a bar's closing frame and/or its klines row for a while, or until `show`."""
        return self.strike(
            misbehaviour.hide(ws=ws, rest=rest), symbol, at=open_time, seconds=seconds
        )

    def show(self, symbol: str, open_time: int) -> None:
        """Undo all that was done to one bar; a push whose moment has passed is not sent any more.

        Faults that concern a span of bars, or all symbols, stay.
        """
        bar = Span(open_time, open_time + 1)
        self.end(*(f for f in self._faults if (f.symbol, f.bars) == (symbol, bar)))

    def double(
        self, symbol: str, open_time: int, *, changed: Bar | Callable[[Bar], Bar] | None = None
    ) -> Fault:
        """Push a bar's closing frame twice; the second time as `changed`, a bar or a function."""
        change = (lambda _: changed) if isinstance(changed, Bar) else changed
        return self.strike(misbehaviour.doubled(change), symbol, at=open_time)

    def alter(
        self,
        symbol: str,
        open_time: int,
        change: Callable[[Bar], Bar],
        *,
        ws: bool = True,
        rest: bool = True,
        seconds: float = _FOREVER,
    ) -> Fault:
        """Show a bar changed, on the websocket, in REST, or both, from now on.

        With `rest` alone, or when it has been pushed already, the two disagree: a revision.
        """
        hooks = misbehaviour.altered(change, ws=ws, rest=rest)
        return self.strike(hooks, symbol, at=open_time, seconds=seconds)

    def revise(
        self, symbol: str, open_time: int, change: Callable[[Bar], Bar], *, wait_bars: float = 0.0
    ) -> Fault:
        """Change a bar in REST for good, so many bars after it closed; it was pushed unchanged."""
        return self.strike(misbehaviour.revised(change, wait_bars), symbol, at=open_time)

    def delay_rest(self, seconds: float) -> None:
        """Hold every REST answer back so long; 0 ends it."""
        self.stop("delay_rest")
        if seconds > 0:
            self.strike(trouble.delay_rest(seconds))

    def refuse_rest(
        self,
        status: int,
        *,
        seconds: float = _FOREVER,
        retry_after_s: int | None = None,
        times: int | None = None,
    ) -> Fault:
        """Answer every REST request with an HTTP error, e.g. 429 or 500, until `accept_rest`."""
        self.accept_rest()
        hooks = trouble.refuse_rest(status, retry_after_s)
        return self.strike(hooks, seconds=seconds, times=times)

    def accept_rest(self) -> None:
        """Undo `refuse_rest`."""
        self.stop("refuse_rest")
