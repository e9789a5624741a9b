"""What a decision asks of an order's receiver: to enter, to leave, or nothing. Pure.

A signal is an order to enter its side. A correction that takes a signal back is an order to leave
that side; one that turns a signal round is both, the exit first. Everything that is said of an
order follows from the journal's entry alone, so that saying it again says the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import msgspec

from candled.core.bar import MINUTE, Stream
from candled.core.decision import Decision, Probabilities, Side, Source
from candled.ports import Entry
from candled_adapters.protocol.shapes import Goal, Odds, Record, Showing
from candled_adapters.sinks import payload
from candled_adapters.sinks.templates import Value

SIDES: Final = ("long", "short")
_NESTED: Final[dict[str, type[msgspec.Struct]]] = {
    "probabilities": Odds,
    "target": Goal,
    "evidence": Showing,
}
_OF_RECORD: Final = frozenset(Record.__struct_fields__) - _NESTED.keys()
_OF_PARTS: Final = frozenset(
    f"{name}.{field}" for name, part in _NESTED.items() for field in part.__struct_fields__
)
_OWN: Final = frozenset(
    {"kind", "key", "signal", "action", "order", "position", "ticker", "tv_exchange"}
    | {"expires_ms", "valid_seconds"}
)
#: What a template may name, beside secrets.
NAMES: Final = _OF_RECORD | _OF_PARTS | _OWN


@dataclass(frozen=True, slots=True)
class Order:
    """One thing that a receiver shall do."""

    kind: Literal["enter", "exit"]
    side: str
    """long or short: the side to enter, or to leave."""
    signal: str
    """Id of the signal to act on, or of the one that is taken back."""
    key: str
    """The same whenever this order is said again, and never that of another one."""
    until_ms: int
    """It is not said from then on (UTC ms, venue's clock)."""
    entry: Entry


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which orders a receiver wants."""

    streams: tuple[str, ...] = ("*",)
    """Patterns of ``exchange/symbol/interval``, as of file names."""
    sides: tuple[str, ...] = SIDES
    exits: bool = True
    exit_seconds: int = 300
    """An exit is said for so long after its decision (s), and at least as long as a signal."""

    def stream(self, path: str) -> bool:
        """Whether orders of a stream are wanted."""
        return any(fnmatchcase(path, pattern) for pattern in self.streams)


def orders_of(entry: Entry, wanted: Wanted) -> list[Order]:
    """Return what an entry asks for, in the order in which it is to be done."""
    if not wanted.stream(entry.decision.stream.path):
        return []
    found = [_exit(entry, wanted), _enter(entry)]
    return [order for order in found if order and order.side in wanted.sides]


def _enter(entry: Entry) -> Order | None:
    decision = entry.decision
    if not decision.is_signal:
        return None
    id_ = decision.id
    return Order("enter", decision.side.value, id_, id_, decision.valid_until, entry)


def _exit(entry: Entry, wanted: Wanted) -> Order | None:
    signal = taken_back(entry)
    was = entry.decision.supersedes
    if not wanted.exits or signal is None or was is None:
        return None
    until = max(entry.decision.valid_until, entry.decided_ms + wanted.exit_seconds * 1000)
    return Order("exit", was.side.value, signal, f"{entry.decision.id}-exit", until, entry)


def taken_back(entry: Entry) -> str | None:
    """Return the id of the signal that an entry takes back or turns round; None for none."""
    was = entry.decision.supersedes
    if was is None or not was.side.is_signal or entry.decision.side is was.side:
        return None
    return was.signal


def withdrawn(entries: Iterable[Entry]) -> frozenset[str]:
    """Return the ids of the signals that some of `entries` take back."""
    return frozenset(signal for signal in map(taken_back, entries) if signal)


def body_of(order: Order, epoch: str) -> dict[str, Any]:
    """Return an order as the record of its decision and what it asks for: plain data, nested."""
    record = msgspec.to_builtins(payload.record(order.entry, epoch))
    return {
        "schema": "candled.order/1",
        "kind": order.kind,
        "key": order.key,
        "signal": order.signal,
        "expires_ms": order.until_ms,
        **record,
        "side": order.side,
    }


def fields_of(order: Order, epoch: str, ticker: str) -> dict[str, Value]:
    """Return the values of all `NAMES`; `ticker` is what the receiver calls the symbol."""
    entry, stream = order.entry, order.entry.decision.stream
    body = body_of(order, epoch)
    values: dict[str, Value] = {name: body[name] for name in _OF_RECORD}
    for name in _OF_PARTS:
        part, field = name.split(".")
        values[name] = (body[part] or {}).get(field)
    entering = order.kind == "enter"
    values |= {name: body[name] for name in ("kind", "key", "signal", "expires_ms")}
    values |= {
        "quality": list(body["quality"]),
        "action": f"{order.kind}_{order.side}",
        "order": "buy" if (order.side == Side.LONG.value) is entering else "sell",
        "position": order.side if entering else "flat",
        "ticker": ticker,
        "tv_exchange": stream.exchange.upper(),
        "valid_seconds": max(1, (order.until_ms - entry.decided_ms) // 1000),
    }
    return values


def sample() -> list[Order]:
    """Return an order to enter and one to leave, made up, to try templates with."""
    bar = 1_735_689_600_000
    close = bar + MINUTE
    id_ = "0123456789abcdef" * 2
    decision = Decision(
        id=id_,
        stream=Stream("sample", "BTCUSDT", "1m"),
        bar_open=bar,
        bar_close=close,
        revision=0,
        side=Side.LONG,
        reason=None,
        probabilities=Probabilities(0.25, 0.5, 0.25),
        threshold=0.4,
        target=None,
        price=93_576.01,
        regime=1,
        raw_regime=1,
        quality=(),
        model="sample",
        model_digest=id_,
        policy_digest=id_,
        valid_until=close + MINUTE,
    )
    entry = Entry(1, decision, 1, 1, Source.WS, close * 1_000_000, close, close)
    until = decision.valid_until
    return [
        Order("enter", "long", id_, id_, until, entry),
        Order("exit", "long", id_, f"{id_}-exit", until, entry),
    ]
