"""What must hold in every schedule while things happen; the end is for `verdict` to judge.

Each rule looks at the world from outside, with nothing but what was published, what is durable and
what is true at the venue. Nothing here is asked of the product but the journal's tables.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from candled.core.bar import MINUTE, Stream
from candled.journal.database import FILE
from candled_adapters.sinks.mqtt_messages import Message
from simulation.faults import SLOWEST_THREAD_S
from simulation.truth import open_of, slot_of
from simulation.verdict import judge
from simulation.wire import Wire

if TYPE_CHECKING:
    from simulation.world import World

_PROBE_S: Final = 1.0
_ONLINE_S: Final = 3.0  # an "online" that is none may last so long (s)
_STALE_S: Final = 12.0  # a closed bar may be undecided so long under "online" (s)
_RECOVERY_S: Final = 30.0
_SETTLING_S: Final = 115.0  # a clock that jumps is found within 30 s and in doubt for 60 more
_MOST: Final = 8  # violations that are kept


class Watch:
    """See the module."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._violations: list[str] = []
        self._epochs: list[str] = []
        self._sent: dict[tuple[Wire, str], int] = {}
        self._most_sent: dict[str, int] = {}
        self._acked: set[str] = set()
        self._marks: dict[str, int] = {}
        self._logged: set[str] = set()
        self._log_read = 0
        self._false_since: float | None = None
        self.recovery_s: float | None = None
        world.timeline.after(_PROBE_S, self._probe)

    def violation(self, text: str) -> None:
        """Note that something does not hold."""
        self._world.tell(f"VIOLATION {text}")
        if len(self._violations) < _MOST and text not in self._violations:
            self._violations.append(text)

    def complaints(self, texts: Iterable[str]) -> None:
        """Note what asyncio could give to nobody."""
        for text in texts:
            self.violation(f"an exception was lost: {text}")

    # --- as things happen

    def began(self, epoch: str) -> None:
        """Take note of a life's journal."""
        if epoch not in self._epochs:
            if self._epochs and not self._world.counts["damage refused"]:
                self.violation("another epoch, although no journal was lost")
            self._epochs.append(epoch)
            self._most_sent, self._marks = {}, {}
        elif epoch != self._epochs[-1]:
            self.violation("an epoch came back")

    def journal_lost(self) -> None:
        """Take note that a new journal will begin."""
        self._marks = {}

    def connected(self, will: Message) -> None:
        """Look at the will of a connection."""
        said = json.loads(will.payload)
        if not will.retain or said["state"] != "offline" or will.expiry is not None:
            self.violation(f"the will is no lasting 'offline': {will}")

    def sending(self, wire: Wire, message: Message) -> None:
        """Look at a message that is handed over to the broker."""
        kind = message.topic.split("/")[1]
        if kind == "signal":
            self._signal(wire, message)
        elif kind == "head":
            self._head(message)
        elif kind in ("status", "info"):
            if not message.retain or message.expiry is not None:
                self.violation(f"{kind} is not retained for good")
        elif message.retain:
            self.violation(f"{message.topic} is retained")
        if kind == "event" and (said := json.loads(message.payload)).get("supersedes"):
            self._durable(said["id"], "a correction")
        if kind == "replay":
            self._replay(message)

    def _signal(self, wire: Wire, message: Message) -> None:
        said = json.loads(message.payload)
        world, stream = self._world, message.topic.removeprefix("candled/signal/")
        world.counts["signals sent"] += 1
        self._durable(said["id"], "a signal")
        if message.retain:
            self.violation("a signal is retained")
        self._not_again(said["id"])
        before = self._sent.get((wire, stream))
        if before is not None and said["seq"] != before + 1 and not world.lied:
            self.violation(f"signal {said['seq']} of {stream} follows {before} on one connection")
        self._sent[wire, stream] = said["seq"]
        self._most_sent[stream] = max(self._most_sent.get(stream, 0), said["seq"])
        # Until the venue has told its time the daemon goes by this machine's: after a restart under
        # a wrong wall clock a late signal may be called live.
        if not world.has("clock_jump") and not (world.has("wall_jump") and not world.is_measured):
            self._validity(said, message)

    def _not_again(self, identity: str) -> None:
        """See that what is marked, and so has been delivered, is not sent once more."""
        sql = "SELECT count(*) FROM decisions WHERE id = ? AND position <= ?"
        marked = self._marks.get("mqtt", 0)
        if self._world.disk.query(sql, (identity, marked))[0][0] and not self._world.lied:
            self.violation(f"a signal is sent again that is marked as delivered: {identity}")

    def _validity(self, said: dict[str, Any], message: Message) -> None:
        world = self._world
        # A loop that a slow disk holds up reads the venue's clock late, and so believes it behind.
        slack_ms = (900.0 if world.has("slow_disk") else 300.0) * world.plan.rate
        left_ms = said["valid_until_ms"] - world.venue.true_ms()
        end_ms = said["bar_close_ms"] + MINUTE
        if said["valid_until_ms"] != end_ms:
            self.violation(f"valid until {said['valid_until_ms']}, one bar is {end_ms}")
        if said["live"] and left_ms < -slack_ms:
            self.violation(f"a signal is live {-left_ms / 1000:.1f} s after valid_until")
        # And one that waits through several writes for the venue's answer, at its start, takes it
        # to be ahead by half of that: then nobody acts, which is the safe side.
        cautious_ms = (2_500.0 if world.has("slow_disk") else 300.0) * world.plan.rate
        if not said["live"] and left_ms > cautious_ms and not self._is_withdrawn(said["id"]):
            self.violation(f"a signal is not live {left_ms / 1000:.1f} s before valid_until")
        if said["live"]:
            left_s = (left_ms + slack_ms) / 1000 / world.plan.rate
            if message.expiry is None or (
                world.is_measured and message.expiry > 2.0 * left_s + 1.0
            ):
                self.violation(f"a live signal expires in {message.expiry} s, not {left_s:.1f}")

    def _is_withdrawn(self, identity: str) -> bool:
        like = f'%"signal":"{identity}"%'
        sql = "SELECT count(*) FROM decisions WHERE entry LIKE ?"
        return self._world.disk.query(sql, (like,))[0][0] > 0

    def _head(self, message: Message) -> None:
        said = json.loads(message.payload)
        self._world.counts["heads sent"] += 1
        if not message.retain or not message.expiry or message.expiry > 3_600:
            self.violation("a head is not retained, or for ever")
        self._durable(said["id"], "a head")
        acked = self._marks.get("mqtt", 0)
        if self._world.lied:
            return
        sql = "SELECT position FROM decisions WHERE id = ?"
        ((position,),) = self._world.disk.query(sql, (said["id"],))
        if position > acked:
            self.violation(f"a head of position {position} before its signals ({acked})")

    def _replay(self, message: Message) -> None:
        said = json.loads(message.payload)
        self._world.counts["replays"] += 1
        for signal in said["signals"]:
            if signal["live"]:
                self.violation("a replayed signal is live")
            self._durable(signal["id"], "a replayed signal")

    def _durable(self, identity: str, what: str) -> None:
        sql = "SELECT 1 FROM decisions WHERE id = ?"
        if not self._world.disk.query(sql, (identity,)):
            self.violation(f"{what} is published that is not durable: {identity}")

    def accepted(self, message: Message) -> None:
        """Take note that the broker has said yes to a message."""
        if message.topic.startswith(("candled/signal/", "candled/event/")):
            said = json.loads(message.payload)
            if "id" in said:
                self._acked.add(said["id"])

    def committed(self) -> None:
        """Look at the sinks' marks after a commit: they are promises."""
        try:
            marks = dict(self._world.disk.query("SELECT sink, position FROM marks"))
        except sqlite3.OperationalError:
            return  # the tables are being made
        for sink, position in marks.items():
            before = self._marks.get(sink, 0)
            if position > before:
                self._marks[sink] = position
                self._promised(sink, before, position)

    def _promised(self, sink: str, before: int, position: int) -> None:
        sql = "SELECT id, seq FROM decisions WHERE position > ? AND position <= ?"
        rows = self._world.disk.query(sql, (before, position))
        if sink == "mqtt":
            for identity, seq in rows:
                if seq is not None and identity not in self._acked:
                    self.violation(f"signal {identity} is marked, but was not accepted")
        if sink == "log":
            self._read_log()
            for identity, _ in rows:
                if identity not in self._logged:
                    self.violation(f"decision {identity} is marked, but is not in the log")

    def _read_log(self) -> None:
        with self._world.log_path.open("rb") as file:
            file.seek(self._log_read)
            new = file.read()
        self._log_read += len(new)
        self._logged |= {json.loads(line)["id"] for line in new.splitlines() if line.strip()}

    def stopped(self) -> None:
        """Look at what a service that was told to stop has left."""
        world = self._world
        world.tell("the daemon has stopped")
        kept = world.broker.retained.get("candled/status")
        if kept is None or not world.broker.up or world.since - world.last_fault_s < 5.0:
            return
        said = json.loads(kept[0])
        if said["state"] != "offline" or said["reasons"] != ["stopped"]:
            self.violation(f"after a clean stop the status is {said['state']} {said['reasons']}")

    # --- now and then

    def _probe(self) -> None:
        world = self._world
        if world.since < world.end_s:
            world.timeline.after(_PROBE_S, self._probe)
        self._look_for_false_online()
        if world.feed is not None and world.feed.rest is not None and world.feed.rest.hurries:
            self.violation("the venue is asked again and again without a pause")
        quiet = world.since > max(world.last_fault_s, world.quiet_s)
        if quiet and world.alive and self.recovery_s is None and self._is_whole():
            self.recovery_s = world.since - max(world.last_fault_s, world.quiet_s)
        bound = _SETTLING_S if world.has("clock_jump") else _RECOVERY_S
        late = world.since > max(world.last_fault_s, world.quiet_s) + bound
        if self.recovery_s is None and late and world.since < world.end_s:
            self.violation(f"not whole {bound:.0f} s after the last fault: {self._what_is_not()}")
            self.recovery_s = bound

    def _look_for_false_online(self) -> None:
        why = self._why_not_online() if self._says_online() else ""
        if not why:
            self._false_since = None
            return
        now = self._world.timeline.now
        if self._false_since is None:
            self._false_since = now
        elif now - self._false_since > _ONLINE_S + self._turn_s():
            self.violation(f"online for {_ONLINE_S:.0f} s although {why}")

    def _turn_s(self) -> float:
        """Return how long a swap may have the decider's turn: here its threads are that slow."""
        return SLOWEST_THREAD_S if self._world.has("swap") else 0.0

    def _says_online(self) -> bool:
        world = self._world
        kept = world.broker.retained.get("candled/status")
        reachable = world.broker.up and not world.broker.is_frozen and not world.hit("slow_broker")
        wire = world.broker.wire
        return bool(reachable and wire and kept and json.loads(kept[0])["state"] == "online")

    def _why_not_online(self) -> str:
        world = self._world
        if world.power_is_off:
            return ""
        if not world.alive or world.feed is None:
            return "the daemon is not there"
        if not world.feed.all_live:
            states = [str(machine.state) for machine in world.feed.machines]
            return f"its streams are {states}"
        if not world.has("clock_jump"):
            return self._stale()
        return ""

    def _stale(self) -> str:
        """Say which bar has been closed for long and is not decided."""
        world = self._world
        late_ms = world.venue.true_ms() - _STALE_S * 1000.0 * world.plan.rate
        slot = slot_of(int(late_ms)) - 1
        for stream in world.venue.streams:
            newest = self._newest_decided(stream)
            closed = world.venue.has_bar(stream, slot)
            if newest is not None and closed and newest < open_of(slot):
                return f"slot {slot} of {stream.path} is undecided"
        return ""

    def _newest_decided(self, stream: Stream) -> int | None:
        sql = (
            "SELECT max(bar_open) FROM decisions"
            " WHERE stream = (SELECT id FROM streams WHERE symbol = ?)"
        )
        found: int | None = self._world.disk.query(sql, (stream.symbol,))[0][0]
        return found

    def _is_whole(self) -> bool:
        return not self._what_is_not()

    def _what_is_not(self) -> str:
        """Say what is not yet as if nothing had ever gone wrong; '' when all is."""
        world = self._world
        if not self._says_online() and not world.has("clock_jump"):
            kept = world.broker.retained.get("candled/status")
            return f"the status is {kept and kept[0]!r}"
        if (why := self._why_not_online()) and not world.has("clock_jump"):
            return why
        (last,) = world.disk.query("SELECT coalesce(max(position), 0) FROM decisions")[0]
        if self._marks.get("mqtt", 0) < last:
            return f"mqtt stands at {self._marks.get('mqtt', 0)} of {last}"
        for stream, seq in self._last_seqs().items():
            if world.consumer.seq(stream) < seq:
                return f"the subscriber has {world.consumer.seq(stream)} of {seq} of {stream}"
        return ""

    def _last_seqs(self) -> dict[str, int]:
        rows = self._world.disk.query(
            "SELECT exchange, symbol, interval, max(seq) FROM decisions JOIN streams"
            " ON streams.id = decisions.stream GROUP BY streams.id HAVING max(seq) IS NOT NULL"
        )
        return {"/".join(names): seq for *names, seq in rows}

    # --- at the end

    def rows(self) -> list[tuple[Any, ...]]:
        """Return what is stored."""
        if not (self._world.disk.folder / FILE).exists():
            return []
        query = self._world.disk.query
        bars = "SELECT * FROM bars ORDER BY stream, open_time"
        return query("SELECT position, entry FROM decisions ORDER BY position") + query(bars)

    def verdict(self) -> list[str]:
        """Judge what is left, and return all that did not hold."""
        world = self._world
        if not self._epochs or not (world.disk.folder / FILE).exists():
            self.violation("there is no journal in the end")
            return self._violations
        self._read_log()
        judge(world, self._epochs[-1], self._logged, self.violation)
        return self._violations
