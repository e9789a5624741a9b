"""What goes wrong during a run, as data: entries of a TOML file, checked, played and printed.

One `[[fault]]` a misbehaviour, with its `kind`, which symbol it hits (all when absent), from when
and for how long, and what the kind takes besides. Knows no socket and no clock.
"""

from __future__ import annotations

import difflib
import inspect
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Final, Self, get_args, get_origin, get_type_hints

from candled_adapters.simulator import misbehaviour as candles
from candled_adapters.simulator import trouble
from candled_adapters.simulator.fault import EVER, Fault, Hooks, Span
from candled_adapters.simulator.market import Market

#: What can go wrong, by the name that a scenario gives to it.
KINDS: Final[Mapping[str, Callable[..., Hooks]]] = {
    make.__name__: make
    for make in (
        candles.double, candles.hide, candles.late, candles.again, candles.swap, candles.partial,
        candles.mute, candles.stall, candles.alter, candles.revise, candles.outage, candles.halt,
        candles.lag, candles.other_symbol, candles.delist,
        trouble.damage, trouble.control_frame, trouble.delay_rest, trouble.refuse_rest,
        trouble.refuse_handshake, trouble.refuse_subscribe, trouble.drop, trouble.shutdown,
        trouble.max_age, trouble.clock,
    )
}  # fmt: skip
#: Kinds that hit whole connections or the whole venue: a symbol makes no sense.
VENUE_WIDE: Final = frozenset({"refuse_handshake", "drop", "shutdown", "max_age", "clock"})
_NONE: Final = type(None)
_WORDS: Final[Mapping[Any, str]] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
}
_BOUNDS: Final[Mapping[str, type]] = {
    "kind": str,
    "symbol": str,
    "after_bars": int,
    "for_bars": int,
    "after_s": float,
    "for_s": float,
    "times": int,
}


class ScenarioError(ValueError):
    """A scenario that cannot be played: it names the entry, the key and the mend."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One misbehaviour; its bounds count from the beginning of the played stretch."""

    kind: str
    """A name of `KINDS`."""
    symbol: str | None = None
    after_bars: int | None = None
    """From this played slot on, from 0."""
    for_bars: int | None = None
    """For so many slots; None: to the end."""
    after_s: float | None = None
    """From so many real seconds after the clock's start on."""
    for_s: float | None = None
    times: int | None = None
    """So often at most, where answers, handshakes or subscriptions are spoilt."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What the kind's function takes."""

    def hooks(self) -> Hooks:
        """Make the kind's hooks, anew each time: some remember what they have seen."""
        return KINDS[self.kind](**self.parameters)

    def fault(self, market: Market, began_s: float) -> Fault:
        """Bind to a market and to the monotonic time at which its clock started."""
        start = began_s + (self.after_s or 0.0)
        stop = float("inf") if self.for_s is None else start + self.for_s
        return Fault(
            hooks=self.hooks(),
            symbol=self.symbol,
            bars=self._bars(market),
            seconds=Span(start, stop),
            times=self.times,
        )

    def _bars(self, market: Market) -> Span:
        if self.after_bars is None and self.for_bars is None:
            return EVER
        first, slots = self.after_bars or 0, market.slots
        stop = len(slots) if self.for_bars is None else first + self.for_bars
        return Span(slots[first], slots[stop] if stop < len(slots) else float("inf"))

    def items(self) -> dict[str, Any]:
        """Return what a file says of it."""
        bounds = {key: getattr(self, key) for key in _BOUNDS}
        return {k: v for k, v in bounds.items() if v is not None} | dict(self.parameters)


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that goes wrong."""

    entries: tuple[Entry, ...]
    source: str = "scenario"
    """Where it comes from, for messages."""

    @classmethod
    def of(cls, entries: Iterable[Mapping[str, Any]], source: str = "scenario") -> Self:
        """Check entries as a file has them. Raises `ScenarioError`."""
        return cls(
            tuple(_entry(entry, f"{source}: fault {n}") for n, entry in enumerate(entries, 1)),
            source,
        )

    def check(self, market: Market) -> None:
        """Raise `ScenarioError` for what does not fit a market."""
        for number, entry in enumerate(self.entries, 1):
            where = f"{self.source}: fault {number} ({entry.kind})"
            for key, symbol in (
                ("symbol", entry.symbol), ("other", entry.parameters.get("other")),
            ):  # fmt: skip
                if symbol is not None and symbol not in market.tapes:
                    raise ScenarioError(
                        f"{where}: {key} {symbol!r} is not played{_near(symbol, market.tapes)}"
                    )
            if entry.after_bars is not None and entry.after_bars >= len(market.slots):
                raise ScenarioError(
                    f"{where}: after_bars is {entry.after_bars}, but only {len(market.slots)} "
                    "bars are played; choose a lower number, or play more"
                )

    def faults(self, market: Market, began_s: float) -> list[Fault]:
        """Bind all entries to a market and to the monotonic time at which its clock started."""
        return [entry.fault(market, began_s) for entry in self.entries]

    def toml(self) -> str:
        """Print it as the file that gives it back."""
        return "\n".join(_table(entry.items()) for entry in self.entries)


def load_scenario(path: Path) -> Scenario:
    """Read a TOML file of `[[fault]]` entries. Raises `ScenarioError`."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}; give a scenario file") from error
    except ValueError as error:
        raise ScenarioError(f"{path}: {error}; mend the TOML") from error
    entries, strange = content.get("fault", []), sorted(content.keys() - {"fault"})
    if strange:
        raise ScenarioError(f"{path}: unknown key {strange[0]!r}; entries are tables [[fault]]")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ScenarioError(f"{path}: fault is not a list; write each entry as [[fault]]")
    return Scenario.of(entries, str(path))


def _entry(said: Mapping[str, Any], where: str) -> Entry:
    kind = said.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ScenarioError(f"{where}: unknown kind {kind!r}{_near(kind, KINDS)}")
    where = f"{where} ({kind})"
    wanted = parameters_of(kind)
    for key, value in said.items():
        if key not in _BOUNDS and key not in wanted:
            known = (*_BOUNDS, *wanted)
            raise ScenarioError(f"{where}: unknown key {key!r}{_near(key, known)}")
        _check_type(where, key, value, _BOUNDS.get(key) or wanted[key][0])
    _check_bounds(where, kind, said)
    missing = [key for key, (_, needed) in wanted.items() if needed and key not in said]
    if missing:
        raise ScenarioError(f"{where}: {missing[0]} is missing; it has no default")
    entry = Entry(
        **{key: said[key] for key in _BOUNDS if key in said},
        parameters={key: said[key] for key in wanted if key in said},
    )
    try:
        entry.hooks()
    except ValueError as error:
        raise ScenarioError(f"{where}: {error}") from error
    return entry


def parameters_of(kind: str) -> dict[str, tuple[Any, bool]]:
    """Return what a kind takes: name -> type, and whether it must be given."""
    make = KINDS[kind]
    hints, given = get_type_hints(make), inspect.signature(make).parameters
    return {name: (hints[name], p.default is p.empty) for name, p in given.items()}


def _check_bounds(where: str, kind: str, said: Mapping[str, Any]) -> None:
    for key, least in (
        ("after_bars", 0), ("for_bars", 1), ("after_s", 0), ("for_s", 0), ("times", 1)
    ):  # fmt: skip
        if said.get(key, least) < least:
            raise ScenarioError(f"{where}: {key} is {said[key]}; give {least} or more")
    if kind in VENUE_WIDE and "symbol" in said:
        raise ScenarioError(f"{where}: symbol is no use, the whole venue is hit; leave it out")
    if kind == "swap" and said.get("for_bars", 2) % 2:
        raise ScenarioError(
            f"{where}: for_bars is {said['for_bars']}; bars go in pairs: give an even number"
        )


def _check_type(where: str, key: str, value: object, wanted: Any) -> None:  # noqa: ANN401 - an annotation
    if not _fits(value, wanted):
        raise ScenarioError(f"{where}: {key} is {value!r}; give {_names(wanted)}")


def _fits(value: object, wanted: Any) -> bool:  # noqa: ANN401 - an annotation
    if isinstance(wanted, UnionType):
        return any(_fits(value, one) for one in get_args(wanted))
    if get_origin(wanted) is not None:
        return isinstance(value, Mapping) and all(_fits(v, float) for v in value.values())
    if isinstance(value, bool):
        return wanted is bool
    return isinstance(value, (int, float) if wanted is float else wanted)


def _names(wanted: Any) -> str:  # noqa: ANN401 - an annotation
    kinds = get_args(wanted) if isinstance(wanted, UnionType) else (wanted,)
    return " or ".join(_WORDS.get(kind, "a table of numbers") for kind in kinds if kind != _NONE)


def _near(name: object, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


def _table(items: Mapping[str, Any]) -> str:
    lines: Sequence[str] = [f"{key} = {_value(value)}" for key, value in items.items()]
    return "\n".join(("[[fault]]", *lines, ""))


def _value(value: Any) -> str:  # noqa: ANN401 - any TOML value
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(v)}" for key, v in value.items()) + " }"
    return json.dumps(value, ensure_ascii=True)
