"""Which streams of a shard have gone quiet, and what is to be done about it.

Pure: no asyncio, no network, no clock; time is an argument. Silence proves nothing by itself: a
thin pair may be calm. So it is answered by subscribing anew, ever more rarely, which costs one
message now and then. That bars were due and had to be had by REST is a proof: then the line is
handed over, and at last the stream is called mute, and still asked for again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from candled.core.bar import Stream

_MISSED: Final = 2  # bars that were due and not pushed, until that is no accident
_TRIES: Final = 2  # subscriptions anew before the line is handed over
_SETTLE_S: Final = 10.0  # what comes so soon after a subscription was made by it


class Watched(Protocol):
    """What is known of a stream that is subscribed to."""

    @property
    def stream(self) -> Stream:
        """Which one it is."""
        ...

    @property
    def silent_since(self) -> float:
        """Local time (s) of the last frame about it, or of its subscription."""
        ...

    @property
    def missed(self) -> int:
        """How many due bars in a row were not pushed."""
        ...


@dataclass(slots=True)
class _Case:
    """A stream that went quiet."""

    asked_s: float = float("-inf")
    """When something was done about it last."""
    tries: int = 0
    """How often that was."""
    missed: int = 0
    """How many bars had been missed by then."""
    handed: bool = False
    """Whether another line was tried."""
    mute: bool = False
    """Whether it was called so."""


_NO_CASE: Final = _Case()


@dataclass(slots=True)
class Orders:
    """What is to be done."""

    anew: dict[Stream, str] = field(default_factory=dict)
    """Streams to be subscribed to anew, alone, and why; '' when that is no news."""
    over: str = ""
    """Why the line is to be handed over; empty when it is not."""
    all_mute: bool = False
    """Whether that is because all of its streams are silent."""
    mute: list[Stream] = field(default_factory=list)
    """Streams that push nothing whatever is done."""
    well: list[Stream] = field(default_factory=list)
    """Streams that were mute and push again."""


class Watch:
    """Looks after the streams that share a line."""

    def __init__(self, silence_s: float, last_silence_s: float) -> None:
        """Bear silence for `silence_s` at first; doubled at each try up to `last_silence_s`."""
        self._silence_s = silence_s
        self._last_silence_s = max(silence_s, last_silence_s)
        self._settle_s = min(_SETTLE_S, silence_s / 4.0)
        self._cases: dict[Stream, _Case] = {}

    def look(self, streams: Sequence[Watched], now_s: float) -> Orders:
        """Judge all streams that are subscribed to."""
        orders = Orders()
        for one in streams:
            if one.stream in self._cases:
                self._follow(one, self._cases[one.stream], orders)
        quiet = [one for one in streams if self._is_quiet(one, now_s)]
        silent = [one for one in quiet if now_s - one.silent_since >= self._silence_s]
        if silent and len(silent) == len(streams):
            self._all_mute(silent, now_s, orders)
        else:
            for one in quiet:
                self._one_mute(one, len(streams) - len(quiet), now_s, orders)
        return orders

    def handed_over(self, now_s: float) -> None:
        """Take note that all streams have just been subscribed to on another line."""
        for case in self._cases.values():
            case.asked_s = now_s

    def _follow(self, one: Watched, case: _Case, orders: Orders) -> None:
        """Look whether a case has been heard since, and whether of its own accord."""
        case.missed = min(case.missed, one.missed)
        spoke = one.silent_since > case.asked_s and not one.missed
        if spoke and case.mute:
            case.mute = False
            orders.well.append(one.stream)
        if spoke and one.silent_since > case.asked_s + self._settle_s:
            del self._cases[one.stream]

    def _is_quiet(self, one: Watched, now_s: float) -> bool:
        case = self._cases.get(one.stream, _NO_CASE)
        patience_s = min(self._silence_s * 2.0 ** min(case.tries, 30), self._last_silence_s)
        if one.missed - case.missed >= _MISSED:
            return now_s - case.asked_s >= self._settle_s
        return now_s - max(one.silent_since, case.asked_s) >= patience_s

    def _all_mute(self, quiet: Sequence[Watched], now_s: float, orders: Orders) -> None:
        """Order another line; nothing else on this one says that it is the streams' fault."""
        silent_s = now_s - max(one.silent_since for one in quiet)
        orders.over = f"none of {len(quiet)} streams pushed anything for {silent_s:.0f} s"
        orders.all_mute = True
        for one in quiet:
            case = self._try(one, now_s)
            if case.handed:
                self._give_up(one, case, orders)
            case.handed = True

    def _one_mute(self, one: Watched, others: int, now_s: float, orders: Orders) -> None:
        why = (
            f"silent for {now_s - one.silent_since:.0f} s while {others} others are not; "
            f"{one.missed} due bars were not pushed"
        )
        case = self._try(one, now_s)
        if case.handed:
            self._give_up(one, case, orders)
        elif case.tries > _TRIES and one.missed:
            case.handed = True
            orders.over = orders.over or f"{one.stream.path}: {why}"
            return
        orders.anew[one.stream] = why if one.missed or case.tries <= _TRIES else ""

    def _try(self, one: Watched, now_s: float) -> _Case:
        case = self._cases.setdefault(one.stream, _Case())
        case.asked_s, case.missed = now_s, one.missed
        case.tries += 1
        return case

    def _give_up(self, one: Watched, case: _Case, orders: Orders) -> None:
        """Call a stream mute if it has been proven that it is not just calm."""
        if one.missed and not case.mute:
            case.mute = True
            orders.mute.append(one.stream)
