"""Alerts: what happens is told to people, digested and by way of apprise's services.

A courtesy, not a record: an alert is said once, and what is late is not said at all. The mark
follows what was taken into a digest, so that a service that fails holds up nothing; a process that
is killed takes at most one digest with it. `alert_digest` has the rules, this file the tasks.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from candled.core.bar import iso
from candled.ports import (
    Act,
    Clock,
    Entry,
    Hazard,
    HealthBoard,
    Incident,
    Notice,
    Outbox,
    ServiceState,
)
from candled_adapters.sinks.alert_digest import Digest, Message
from candled_adapters.sinks.orders import taken_back

ROUND: Final = 1_000
_GOODBYE_S: Final = 1.5
_CORRECTION_AGE_MS: Final = 900_000
_HALTS: Final = frozenset({Hazard.HALTED, Hazard.UNKNOWN_STREAM})

#: Tells people, blocking; returns what went wrong, without secrets, or None.
Tell = Callable[[Message], str | None]


class AlertUrlError(ValueError):
    """An apprise URL that cannot be used; the text shows its line and scheme only."""


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """What is told, and how often."""

    kinds: frozenset[str] = frozenset({"signals", "corrections", "health", "halts"})
    streams: tuple[str, ...] = ("*",)
    """Patterns of ``exchange/symbol/interval``."""
    window_s: float = 10.0
    per_hour: int = 20
    timeout_s: float = 30.0
    """For one message to all services."""

    def stream(self, path: str) -> bool:
        """Whether people want to hear of a stream."""
        return any(fnmatchcase(path, pattern) for pattern in self.streams)


class AlertSink:
    """Tells people of signals, corrections, halts and the service's state."""

    name = "alerts"

    def __init__(self, settings: AlertSettings, tell: Tell, clocks: Callable[[str], Clock]) -> None:
        self._settings = settings
        self._clocks = clocks
        self._teller = _Teller(tell, settings.timeout_s)
        self._digest = Digest(settings.window_s, settings.per_hour)
        self._news = asyncio.Event()

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        """Tell until cancelled; then say what is collected, for a moment."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(board))
                tasks.create_task(self._follow(outbox))
                tasks.create_task(self._watch_health(board))
                tasks.create_task(self._watch_notices(board))
        except asyncio.CancelledError:
            await self._goodbye()
            raise

    async def _follow(self, outbox: Outbox) -> None:
        done = outbox.position(self.name)
        while True:
            entries = outbox.after(done, ROUND)
            for entry in entries:
                self._take(entry)
            if entries:
                done = entries[-1].position
                outbox.mark(self.name, done)
                await asyncio.sleep(0)
            if len(entries) < ROUND:
                await outbox.wait(done)

    def _take(self, entry: Entry) -> None:
        if not self._settings.stream(entry.decision.stream.path):
            return
        now = self._clocks(entry.decision.stream.exchange).now_ms()
        for kind, line in lines_of(entry, now):
            self._add(kind, line)

    async def _watch_health(self, board: HealthBoard) -> None:
        health = board.health
        while True:
            last, health = health, await board.changed(health)
            if health.state is not last.state:
                reasons = "" if health.state is ServiceState.ONLINE else "; ".join(health.reasons)
                self._add("health", f"{health.state.value}{': ' if reasons else ''}{reasons}")

    async def _watch_notices(self, board: HealthBoard) -> None:
        told = 0
        while True:
            for notice in await board.notices(told):
                told = notice.number
                if is_halt(notice.incident) and self._wants(notice.incident):
                    self._add("halts", _halt_line(notice))

    def _wants(self, incident: Incident) -> bool:
        return incident.stream is None or self._settings.stream(incident.stream.path)

    def _add(self, kind: str, line: str) -> None:
        if kind in self._settings.kinds:
            self._digest.add(_PLURALS.get(kind, kind), line, time.monotonic())
            self._news.set()

    async def _send(self, board: HealthBoard) -> None:
        while True:
            await self._due()
            if message := self._digest.take(time.monotonic()):
                problem = await self._teller.tell(message)
                if problem:
                    self._digest.failed(message, time.monotonic())
                board.remark(self.name, problem)

    async def _due(self) -> None:
        """Wait until something is to be said; news may make that sooner."""
        while True:
            self._news.clear()
            due = self._digest.due_s()
            pause = None if due is None else due - time.monotonic()
            if pause is not None and pause <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()

    async def _goodbye(self) -> None:
        if message := self._digest.take(time.monotonic()):
            with suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await self._teller.tell(message)


_PLURALS: Final = {"health": "state changes"}


def lines_of(entry: Entry, now_ms: int) -> list[tuple[str, str]]:
    """Return what people are told of an entry at venue time `now_ms`: kinds and lines.

    A signal that is no more valid is not told, nor a correction of long ago.
    """
    decision, found = entry.decision, []
    path, bar = decision.stream.path, iso(decision.bar_open)
    was = decision.supersedes
    recent = now_ms - entry.decided_ms <= _CORRECTION_AGE_MS
    if was is not None and taken_back(entry) and recent:
        line = f"{was.side.value} taken back: {path}, bar of {bar}, is {decision.side.value} now"
        found.append(("corrections", line))
    if decision.is_signal and now_ms < decision.valid_until:
        odds = decision.probabilities
        share = f", probability {getattr(odds, decision.side.value):.1%}" if odds else ""
        until = iso(decision.valid_until)
        line = f"{decision.side.value.upper()} {path} at {decision.price:g}{share}, until {until}"
        found.append(("signals", line))
    return found


def is_halt(incident: Incident) -> bool:
    """Whether an incident means that somebody's bars do not come any more."""
    return incident.act is Act.STOP or incident.hazard in _HALTS


def _halt_line(notice: Notice) -> str:
    incident = notice.incident
    about = incident.stream.path if incident.stream else incident.exchange
    more = f" (and {notice.unsaid} like it)" if notice.unsaid else ""
    return f"{about}: {incident.hazard.value}: {incident.text}{more}"


class _Teller:
    """Runs `tell` in a thread of its own, one at a time and for a bounded time.

    The thread is a daemon: one that hangs must not keep the process from ending.
    """

    def __init__(self, tell: Tell, timeout_s: float) -> None:
        self._tell = tell
        self._timeout_s = timeout_s
        self._thread: threading.Thread | None = None

    async def tell(self, message: Message) -> str | None:
        """Return what went wrong, or None."""
        if self._thread is not None and self._thread.is_alive():
            return "the message before is still on its way"
        loop = asyncio.get_running_loop()
        done: asyncio.Future[str | None] = loop.create_future()
        work = threading.Thread(target=self._work, args=(message, loop, done), daemon=True)
        self._thread = work
        work.start()
        try:
            return await asyncio.wait_for(done, self._timeout_s)
        except TimeoutError:
            return f"no answer within {self._timeout_s:g} s"

    def _work(
        self,
        message: Message,
        loop: asyncio.AbstractEventLoop,
        done: asyncio.Future[str | None],
    ) -> None:
        try:
            problem = self._tell(message)
        except Exception as error:  # noqa: BLE001 - a service's failure is not ours; its text may tell secrets
            problem = f"failed: {type(error).__name__}"
        with suppress(RuntimeError):  # the loop is gone
            loop.call_soon_threadsafe(_settle, done, problem)


def _settle(done: asyncio.Future[str | None], problem: str | None) -> None:
    if not done.done():
        done.set_result(problem)


def apprise_tell(urls: str) -> Tell:
    """Return a way to tell people by the services of `urls`: one a line, # begins a comment.

    Raises AlertUrlError for a line that apprise does not know, ModuleNotFoundError without apprise.
    """
    import apprise  # noqa: PLC0415 - an extra, and half a second

    for name in ("apprise", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # they may show addresses
    asset = apprise.AppriseAsset(app_id="candled", secure_logging=True, async_mode=False)
    services = []
    for number, line in enumerate(urls.splitlines(), start=1):
        url = line.split(" #")[0].strip()
        if not url or url.startswith("#"):
            continue
        services.append((f"line {number} ({url.split(':')[0][:20]})", _service(url, asset, number)))
    if not services:
        raise AlertUrlError("holds no URL; write one a line, such as tgram://TOKEN/CHAT")
    return lambda message: _tell_all(services, message)


def _service(url: str, asset: Any, number: int) -> Any:  # noqa: ANN401 - apprise has no types
    import apprise  # noqa: PLC0415

    service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if service is None:
        scheme = url.split("://", maxsplit=1)[0][:20] if "://" in url else "without ://"
        raise AlertUrlError(
            f"line {number} ({scheme}) is no URL that apprise knows; see its list of services"
        )
    if service.overflow_mode == apprise.OverflowMode.UPSTREAM:
        service.overflow_mode = apprise.OverflowMode.SPLIT  # rather two messages than none
    return service


def _tell_all(services: Sequence[tuple[str, Any]], message: Message) -> str | None:
    failed = [
        name
        for name, service in services
        if not service.notify(body=message.body or message.title, title=message.title)
    ]
    if not failed:
        return None
    return f"{len(failed)} of {len(services)} services failed: {', '.join(failed)}"
