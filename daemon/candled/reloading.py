"""The reload: models and policies anew from the files, behind the same gate as at the start.

All of it or nothing. Everything is read, checked and compared beside the running daemon; only when
nothing speaks against it do the streams change hands, all between the same two batches. Whatever
goes wrong, the daemon runs on with what it had and says why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import BaseModel

from candled.config import Config, ConfigError, load_config
from candled.core.lane import Lane, Lineup
from candled.core.text import visible
from candled.errors import describe
from candled.notify import notify
from candled.ports import Act, Clock, Hazard, HealthBoard, Incident
from candled.reloaded import Reloaded, leave
from candled.swapping import SwapError
from candled.telling import Tell

PART: Final = "reload"
_SHOWN: Final = 3  # problems in the one line of the status; the log has all
#: What may change while the daemon runs: tables, and keys of [[streams]].
_TABLES: Final = frozenset({"policy", "models", "streams"})
_OF_STREAM: Final = frozenset(
    {"symbols", "bundle", "policy", "any_symbol", "challenger", "challenger_policy"}
)

log = structlog.get_logger("candled.reload")

#: Loads the bundles of a configuration; raises ConfigError with all problems. Takes its file, too.
Load = Callable[[Config, Path], Lineup]
#: Is done after each reload, on the loop; where it takes long it returns what is to be awaited.
After = Callable[[], Awaitable[None] | None]
#: Lets other lanes decide the same streams; raises SwapError.
Swap = Callable[[Sequence[Lane]], Awaitable[None]]


@dataclass(slots=True)
class Present:
    """What is in force."""

    config: Config
    lineup: Lineup

    @property
    def lanes(self) -> Sequence[Lane]:
        """The champions."""
        return self.lineup.champions


class Reloader:
    """Reloads whenever it is asked to.

    `source` is the configuration's file. `clocks` give an exchange's clock. `after` is what
    follows a reload that was done.
    """

    def __init__(
        self,
        source: Path,
        present: Present,
        *,
        load: Load,
        swap: Swap,
        board: HealthBoard,
        tell: Tell,
        clocks: Callable[[str], Clock],
        after: Sequence[After] = (),
    ) -> None:
        self._source = source
        self._present = present
        self._load = load
        self._swap = swap
        self._board = board
        self._tell = tell
        self._clocks = clocks
        self._after = after
        self._challenged = bool(present.lineup.challengers)
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Ask for a reload; during one, for another one after it."""
        self._asked.set()

    async def run(self) -> None:
        """Reload for ever, as often as it is asked for."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            began_ns = time.monotonic_ns()
            notify(f"RELOADING=1\nMONOTONIC_USEC={began_ns // 1_000}")
            said = await self._reload(began_ns)
            notify(f"READY=1\nSTATUS={_in_short(said)}")
            with suppress(OSError):  # a full disk: it is told elsewhere, too
                await asyncio.to_thread(leave, self._present.config.state.path, said)

    async def _reload(self, began_ns: int) -> Reloaded:
        try:
            changes = await self._change()
        except (ConfigError, SwapError) as error:
            return self._refused(began_ns, error.problems)
        except Exception as error:  # noqa: BLE001 - whatever it is: what runs must run on
            return self._refused(began_ns, [describe(error)])
        self._board.remark(PART, None)
        log.info("reloaded", changed=len(changes))
        return Reloaded(began_ns=began_ns, done=True, changed=tuple(changes))

    def _refused(self, began_ns: int, problems: Sequence[str]) -> Reloaded:
        said = Reloaded(began_ns=began_ns, done=False, problems=tuple(problems))
        self._board.remark(PART, _in_short(said))
        log.error("reload_refused", problems=list(problems))
        return said

    async def _change(self) -> list[str]:
        """Do it; return what has changed. Raises when it cannot be done, and nothing is changed."""
        config, lineup = await asyncio.to_thread(self._read)
        changes = changed_lanes(self._present.lanes, lineup.champions)
        beside = changed_challengers(self._present.lineup.challengers, lineup.challengers)
        if changes:
            await self._swap(lineup.champions)
        self._present.config, self._present.lineup = config, lineup
        for do in self._after:
            if (rest := do()) is not None:
                await rest
        for was, now in changes:
            self._tell(self._incident(was, now))
            await asyncio.sleep(0)  # a thousand of them must not hold the loop
        return [f"{now.stream.path}: {_difference(was, now)}" for was, now in changes] + beside

    def _read(self) -> tuple[Config, Lineup]:
        """Read and check everything; raises ConfigError with all problems at once."""
        config = load_config(self._source)
        problems = needs_restart(self._present.config, config)
        lineup = Lineup(())
        try:
            lineup = self._load(config, self._source)
        except ConfigError as error:
            problems += error.problems
        if lineup.challengers and not self._challenged:
            problems.append("streams: no challenger ran so far; restart candled for the first one")
        if problems:
            raise ConfigError(self._source, problems)
        return config, lineup

    def _incident(self, was: Lane, now: Lane) -> Incident:
        stream = now.stream
        at = self._clocks(stream.exchange).now_ms()
        text = _difference(was, now)
        return Incident(stream.exchange, stream, Hazard.MODEL_SWAPPED, Act.SWAP, text, at)


def _in_short(said: Reloaded) -> str:
    if said.done:
        return f"reloaded, {len(said.changed)} stream(s) changed"
    first, more = said.problems[:_SHOWN], len(said.problems) - _SHOWN
    rest = f"; and {more} more" if more > 0 else ""
    return visible(f"refused, nothing changed: {'; '.join(first)}{rest}")


def changed_lanes(old: Sequence[Lane], new: Sequence[Lane]) -> list[tuple[Lane, Lane]]:
    """Return the lanes whose model or policy is another than it was, each as it was and is."""
    before = {lane.stream: lane for lane in old}
    return [
        (before[lane.stream], lane) for lane in new if _means(before[lane.stream]) != _means(lane)
    ]


def changed_challengers(old: Sequence[Lane], new: Sequence[Lane]) -> list[str]:
    """Say which streams have another challenger than they had, none any more, or a first one."""
    before, after = (
        {lane.stream.path: " ".join(_means(lane)) for lane in lanes} for lanes in (old, new)
    )
    both = sorted(before.keys() | after.keys())
    told = [(path, before.get(path, "none"), after.get(path, "none")) for path in both]
    return [f"{path}: challenger {was} -> {now}" for path, was, now in told if was != now]


def _means(lane: Lane) -> tuple[str, str]:
    return lane.model.digest, lane.policy.digest


def _difference(was: Lane, now: Lane) -> str:
    """Say what has changed, by the digests that decisions carry."""
    names = (f"model {now.model.name}", "policy")
    pairs = zip(names, _means(was), _means(now), strict=True)
    return ", ".join(f"{name} {old} -> {new}" for name, old, new in pairs if old != new)


def needs_restart(old: Config, new: Config) -> list[str]:
    """Return what differs between two configurations and cannot change while the daemon runs."""
    problems = [
        f"{key}: is not what the daemon runs with; restart candled to change it"
        for key in _differing(old, new)
        if key.partition(".")[0] not in _TABLES
    ]
    before, after = _streams(old), _streams(new)
    for word, names in (("added", after.keys() - before), ("removed", before.keys() - after)):
        if names:
            problems.append(f"streams: {word} {', '.join(sorted(names))}; restart candled for that")
    problems += [
        f"streams: {key} of {path} is not what the daemon runs with; restart candled to change it"
        for path in sorted(before.keys() & after)
        for key in sorted(before[path].keys() | after[path])
        if before[path].get(key) != after[path].get(key)
    ]
    return problems


def _differing(one: object, other: object, where: str = "") -> Iterator[str]:
    """Yield the keys in which two tables differ, as the file spells them."""
    tables = _keys(one), _keys(other)
    if tables[0] is None or tables[1] is None:
        if one != other:
            yield where
        return
    for key in {**tables[0], **tables[1]}:
        path = f"{where}.{key}" if where else key
        yield from _differing(tables[0].get(key), tables[1].get(key), path)


def _keys(table: object) -> dict[str, object] | None:
    if isinstance(table, BaseModel):
        return dict(table)
    return table if isinstance(table, dict) else None


def _streams(config: Config) -> dict[str, dict[str, Any]]:
    """Return what is said of each stream that cannot change, by its path."""
    return {
        f"{part.exchange}/{symbol}/{part.interval}": part.model_dump(exclude=set(_OF_STREAM))
        for part in config.streams
        for symbol in part.symbols
    }
