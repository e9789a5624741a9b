"""One schedule: a venue, a broker, a disk and a subscriber, and the daemon's lives among them.

The daemon is the real service with the
real engine, journal and sinks; what it meets is simulated, what must hold is `watch`'s to say.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any, Final

from candled.board import Board
from candled.core.engine import Engine
from candled.journal import Journal, open_journal
from candled.journal.database import JournalError, JournalUnavailableError
from candled.service import Service
from candled.telling import Teller
from candled_adapters.sinks.log import LogSettings, LogSink
from candled_adapters.sinks.mqtt import MqttSettings, MqttSink
from candled_adapters.sinks.mqtt_messages import Message
from simulation.broker import Broker
from simulation.consumer import Consumer
from simulation.disk import Disk
from simulation.faults import AIMED, FAULTY_S, SLOWEST_THREAD_S, Fault, Plan, end_of
from simulation.feed import SimFeed
from simulation.loop import Crash, Loop, StuckError, Timeline, run
from simulation.truth import lanes
from simulation.venue import Venue
from simulation.watch import Watch
from simulation.wire import Wire

_SUPERVISOR_S: Final = 1.0  # until a daemon that ended is started again
_TAIL_S: Final = 36.0
_CLOCK_TAIL_S: Final = 125.0  # a clock that jumped is in doubt for a minute
_KEEPALIVE_S: Final = 15.0  # until a broker notices that a machine is gone
_DEATHS: Final = ("crash_swap", "power", "torn")
SETTINGS: Final = MqttSettings(host="broker", client_id="simulated")


class World:
    """See the module."""

    def __init__(self, plan: Plan, folder: Path, *, verbose: bool = False) -> None:
        self.plan = plan
        self.timeline = timeline = Timeline()
        self.start = timeline.now
        self.counts: Counter[str] = Counter()
        self.version = 0
        self.lied = False
        self.verbose = verbose
        self.trace: list[str] = []
        self._by_kind: dict[str, list[Fault]] = {}
        for fault in plan.faults:
            self._by_kind.setdefault(fault.kind, []).append(fault)
        self.chance = random.Random(f"{plan.seed} world")
        self.venue = Venue(timeline, self.hit, plan)
        self.disk = Disk(folder / "state", timeline, self.hit, self.tick)
        self.log_path = folder / "decisions.log"
        self.broker = Broker(timeline, self.hit, random.Random(f"{plan.seed} broker"))
        self.consumer = Consumer(timeline, self.broker, self.venue.true_ms, plan.rate)
        self.feed: SimFeed | None = None
        self.journal: Journal | None = None
        self.alive = False
        self.last_fault_s = 0.0
        self.closed_slot = 0
        """The newest that had closed when the daemon was stopped for good."""
        self.quiet_s = self._quiet_s()
        self.end_s = self.quiet_s + (_CLOCK_TAIL_S if "clock_jump" in self._by_kind else _TAIL_S)
        self._targets = {
            kind: {fault.pick: fault for fault in self._by_kind.get(kind, ())} for kind in AIMED
        }
        self._ticks: Counter[str] = Counter()
        self._next_start = self.start
        self._loop: Loop | None = None
        self._stop: asyncio.Event | None = None
        self._asked: asyncio.Event | None = None
        self._wire: Wire | None = None
        self._death: str = ""
        self.power_is_off = False
        """Whether the machine is gone, and the broker does not know yet."""
        self.watch = Watch(self)
        self._arrange()

    def _quiet_s(self) -> float:
        aimed = any(fault.kind in AIMED for fault in self.plan.faults)
        return max(20.0, end_of(self.plan.faults), FAULTY_S if aimed else 0.0)

    # --- faults

    @property
    def since(self) -> float:
        """Seconds since the daemon's first start."""
        return self.timeline.now - self.start

    def hit(self, kind: str) -> Fault | None:
        """Return the fault of this kind that goes on now, if one does."""
        for fault in self._by_kind.get(kind, ()):
            if fault.covers(self.since):
                return fault
        return None

    def has(self, kind: str) -> bool:
        """Whether the plan has such a fault at any time."""
        return kind in self._by_kind

    @property
    def is_measured(self) -> bool:
        """Whether the daemon knows the venue's time."""
        return self.feed is not None and self.feed.is_measured

    def tell(self, text: str) -> None:
        """Add a line to the trace."""
        if self.verbose:
            self.trace.append(f"{self.since:9.3f}  {text}")

    def tick(self, what: str) -> None:
        """Count a step of the daemon's; one of them may be its last."""
        self._ticks[what] += 1
        fault = self._targets[f"crash_{what}"].get(self._ticks[what])
        if fault is not None and self.alive and self.since < FAULTY_S:
            self._die(fault.kind, fault.length)

    def _arrange(self) -> None:
        broker, consumer = self.broker, self.consumer
        broker.on_accepted = self.watch.accepted
        self.disk.on_committed = self.watch.committed
        does: dict[str, Any] = {
            "stop": self._stop_service,
            "broker_kill": lambda f: broker.die(f.length, amnesia=False),
            "broker_amnesia": lambda f: broker.die(f.length, amnesia=True),
            "retained_amnesia": lambda _: broker.forget_retained(),
            "subscriber_restart": lambda f: consumer.restart(f.length, clean=False),
            "subscriber_away": lambda f: consumer.restart(f.length, clean=f.pick % 2 == 0),
            "subscriber_amnesia": lambda f: consumer.restart(0.1, clean=f.pick >= 0),
            "feed_drop": lambda _: self.venue.drop("the venue cut the connection"),
            "lying_disk": self._begin_to_lie,
            "swap": self._change_files,
            **dict.fromkeys(_DEATHS, lambda f: self._die(f.kind, f.length)),
        }
        for fault in self.plan.faults:
            self.counts[f"fault {fault.kind}"] += 1
            self.timeline.at(self.start + fault.at, self._begin, fault, does.get(fault.kind))
        self.timeline.at(self.start + self.end_s, self._finish)

    def _begin(self, fault: Fault, do: Any) -> None:
        if fault.kind in AIMED:
            return
        self.tell(f"fault {fault.kind} for {fault.length} s ({fault.pick})")
        self._fault_until(fault.at + fault.length)
        if do is not None:
            do(fault)

    def _fault_until(self, since: float) -> None:
        self.last_fault_s = max(self.last_fault_s, since)

    def _begin_to_lie(self, fault: Fault) -> None:
        if not self.alive:
            return
        self.disk.snapshot()
        self.lied = True
        self.timeline.after(fault.length, self._die, "lying_disk", 0.5)

    def _die(self, kind: str, down_s: float) -> None:
        """End the process here and now."""
        if not self.alive:
            return
        self.tell(f"the daemon dies: {kind}")
        self.alive = False
        self.disk.dead = True
        self._death = kind
        self._next_start = self.timeline.now + down_s
        self._fault_until(self.since + down_s)
        self.version += kind == "crash_swap"
        self.counts["deaths"] += 1
        raise Crash

    def _stop_service(self, fault: Fault) -> None:
        if self._stop is not None and self.alive:
            self._next_start = self.timeline.now + fault.length
            self._stop.set()

    def _change_files(self, _: Fault) -> None:
        """Put another model there, and ask the daemon to reload, if there is one."""
        self.version += 1
        self.counts["swap asked at step"] = self._ticks["step"]
        if self._asked is not None and self.alive:
            self._asked.set()

    async def _reload_for_ever(self, service: Service, asked: asyncio.Event) -> None:
        """Swap models whenever it is asked for; what cannot be read now is tried again."""
        while True:
            await asked.wait()
            asked.clear()
            version = self.version
            try:
                await service.swap(lanes(self.venue.streams, version))
            except JournalUnavailableError:
                await asyncio.sleep(_SUPERVISOR_S)
                asked.set()
            else:
                self.counts["swaps"] += 1
                self.counts["swapped at step"] = self._ticks["step"]
                self.tell(f"model {version} decides")

    def _finish(self) -> None:
        self.closed_slot = self.venue.last_slot
        self._next_start = float("inf")
        if self._stop is not None:
            self._stop.set()

    # --- lives

    def live(self) -> None:
        """Run until the plan is over."""
        while self._next_start < float("inf"):
            self.timeline.pass_until(self._next_start)
            if self._next_start == float("inf"):
                return
            self._next_start = self.timeline.now + _SUPERVISOR_S
            self._one_life()

    def _one_life(self) -> None:
        self.counts["lives"] += 1
        self.tell(f"the daemon starts, model {self.version}")
        self._loop = loop = Loop(
            self.timeline, random.Random(f"{self.plan.seed} {self.counts['lives']}"), self.tick
        )
        loop.executor_s = self._other_thread_s
        self.alive = True
        try:
            run(loop, self._serve())
        except Crash:
            if self.journal is not None:
                self.journal._db._lock.close()  # as the system does
            self.disk.death(self._death)
        except StuckError as error:
            self.watch.violation(f"the daemon is stuck: {error}")
            self._next_start = float("inf")
        except Exception as error:  # noqa: BLE001 - judged here
            self._judge_end(error)
        else:
            self.disk.let_go()
            self.watch.stopped()
        self.alive = False
        self._stop = self._asked = None
        if self._wire is not None:
            self._hang_up(self._wire)
        self.watch.complaints(loop.complaints)

    def _other_thread_s(self) -> float:
        """Return how long another thread takes; while files change, so long that bars close."""
        return self.chance.uniform(
            *((0.5, SLOWEST_THREAD_S) if self.hit("swap") else (0.0005, 0.05))
        )

    def _judge_end(self, error: BaseException) -> None:
        """Say whether the daemon may have ended like this, and do what its words demand."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self.tell(f"the daemon ends: {type(error).__name__}: {error}")
        self.disk.let_go()
        if isinstance(error, JournalUnavailableError) and self.disk.was_full:
            self.counts["ended on a full disk"] += 1
            self.disk.was_full = False
            self._fault_until(self.since + _SUPERVISOR_S)
            return
        if isinstance(error, JournalError) and self.disk.is_torn:
            self.counts["damage refused"] += 1
            if str(self.disk.folder) not in str(error):
                self.watch.violation(f"the refusal does not name the file: {error}")
            self.disk.move_away()
            self.watch.journal_lost()
            self._death = ""
            self._fault_until(self.since + _SUPERVISOR_S)
            return
        self.watch.violation(f"the daemon ended: {type(error).__name__}: {error}")

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        streams = self.venue.streams
        chance = random.Random(f"{self.plan.seed} feed {self.counts['lives']}")
        self.feed = feed = SimFeed(self.venue, self.hit, chance)
        self.journal = None
        self.journal = journal = open_journal(self.disk.folder)
        self.watch.began(journal.epoch)
        board = Board(lambda: self.wall_ns() // 1_000_000)
        mqtt = MqttSink(
            SETTINGS,
            lambda _: feed.clock,
            lambda: b"{}",
            streams=streams,
            instance=f"life {self.counts['lives']}",
            connect=self._connect,
        )
        service = Service(
            engine=Engine(lanes(streams, self.version)),
            journal=journal,
            feeds=[feed],
            sinks=[mqtt, LogSink(LogSettings(self.log_path))],
            board=board,
            tell=Teller(board),
        )
        self._asked = asyncio.Event()
        reloading = asyncio.create_task(self._reload_for_ever(service, self._asked))
        try:
            await service.run(self._stop)
            if reloading.done():
                reloading.result()
        finally:
            reloading.cancel()
            if not self.disk.dead:
                journal.close()

    def _connect(self, settings: MqttSettings, will: Message) -> Wire:
        self._wire = Wire(self.broker, settings, will, self.tick, self.watch.sending)
        self.watch.connected(will)
        return self._wire

    def _hang_up(self, wire: Wire) -> None:
        """Let the kernel, or nobody, say that the process is gone."""
        if self._death == "power" and not wire.left:
            wire.cut = self.power_is_off = True
            self.timeline.after(_KEEPALIVE_S, self._is_missed, wire)
        else:
            wire.hang_up()
        self._wire, self._death = None, ""

    def _is_missed(self, wire: Wire) -> None:
        self.power_is_off = False
        self.broker.gone(wire)

    def wall_ns(self) -> int:
        """Return this machine's wall clock (ns), which runs as fast as the venue's."""
        jump = self.hit("wall_jump")
        ahead_s = 0 if jump is None else (-1 if jump.pick % 2 else 1) * 3_600
        return int((self.venue.true_ms() + ahead_s * 1_000.0) * 1e6)
