"""The application at the far end, by the rules of the protocol: each signal once, in order.

What it must remember over a restart is one JSON text. A hole is asked for, and what lies behind it
waits; a head that knows of more signals than were seen is a hole too, after a moment's grace.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, Final

from simulation.broker import Broker
from simulation.loop import Timeline

_GRACE_S: Final = 1.0
_AGAIN_S: Final = 2.0
_PAUSE_S: Final = 0.2
RESPONSE: Final = "candled/replay/response/app"
REQUEST: Final = "candled/replay/request"


class Consumer:
    """See the module. `ask` is the way to a replay where the daemon has none of its own."""

    def __init__(
        self,
        timeline: Timeline,
        broker: Broker,
        chance: random.Random,
        venue_ms: Callable[[], float],
    ) -> None:
        self._timeline, self._broker, self._chance = timeline, broker, chance
        self._venue_ms = venue_ms
        self.got: dict[str, list[dict[str, Any]]] = {}
        """The signals of each stream, as the application got them."""
        self.acted: list[dict[str, Any]] = []
        """Those among them that it traded on."""
        self.epochs: dict[str, str] = {}
        self.status: str | None = None
        self.fallback: Callable[[str, int], None] = lambda *_: None
        self._seqs: dict[str, int] = {}
        self._waiting: dict[str, dict[int, dict[str, Any]]] = {}
        self._asked: dict[str, float] = {}
        self._connected = False
        self._alive = True
        broker.on_gone = self._lost
        self.connect()

    # --- its life

    def connect(self, *, clean: bool = False) -> None:
        """Come to the broker, now or as soon as it is there."""
        if self._connected or not self._alive:
            return
        if not self._broker.up:
            self._timeline.after(_PAUSE_S, self.connect)
            return
        self._connected = True
        self._broker.subscribe(self._take, clean=clean)

    def restart(self, down_s: float, *, clean: bool) -> None:
        """End the process; begin it anew with what it remembers."""
        self._alive = self._connected = False
        self._broker.unsubscribe()
        kept = json.dumps([self.got, self.epochs, self._seqs])
        self._waiting, self._asked, self.status = {}, {}, None
        self.got, self.epochs, self._seqs = json.loads(kept)
        self._timeline.after(down_s, self._again, clean)

    def _again(self, clean: bool) -> None:  # noqa: FBT001
        self._alive = True
        self.connect(clean=clean)

    def _lost(self) -> None:
        self._connected = False
        self.status = None
        self._timeline.after(_PAUSE_S, self.connect)

    # --- what it hears

    def _take(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001
        if topic.startswith("candled/signal/") and not retained:
            self._signal(json.loads(payload), live=True)
        elif topic.startswith("candled/head/"):
            self._head(json.loads(payload))
        elif topic == "candled/status":
            self.status = json.loads(payload)["state"]
        elif topic == RESPONSE:
            self.replayed(json.loads(payload))

    def replayed(self, answer: dict[str, Any]) -> None:
        """Take an answer."""
        self._asked.pop(answer["stream"], None)
        for signal in answer["signals"]:
            self._signal(signal, live=False)
        if not answer["complete"]:
            self._ask(answer["stream"])

    def _signal(self, signal: dict[str, Any], *, live: bool) -> None:
        stream = "/".join((signal["exchange"], signal["symbol"], signal["interval"]))
        self._belongs(stream, signal["epoch"])
        if signal["seq"] <= self.seq(stream):
            return
        waiting = self._waiting.setdefault(stream, {})
        waiting.setdefault(signal["seq"], {**signal, "now": live and signal["live"]})
        while self.seq(stream) + 1 in waiting:
            self._deliver(stream, waiting.pop(self.seq(stream) + 1))
        if waiting:
            self._ask(stream)

    def _head(self, head: dict[str, Any]) -> None:
        stream = "/".join((head["exchange"], head["symbol"], head["interval"]))
        self._belongs(stream, head["epoch"])
        if head["last_signal_seq"] > self.seq(stream):
            self._timeline.after(
                _GRACE_S, self._ask_if_behind, stream, head["last_signal_seq"], head["epoch"]
            )

    def _ask_if_behind(self, stream: str, known: int, epoch: str) -> None:
        if self.epochs.get(stream) == epoch and self.seq(stream) < known:
            self._ask(stream)

    def _belongs(self, stream: str, epoch: str) -> None:
        """Begin to count anew when the journal was lost."""
        if self.epochs.get(stream) != epoch:
            self.epochs[stream] = epoch
            self._waiting.pop(stream, None)

    def seq(self, stream: str) -> int:
        """Return the number up to which the application has all signals, in this epoch."""
        return self._seqs.get(f"{stream} {self.epochs.get(stream)}", 0)

    def _deliver(self, stream: str, signal: dict[str, Any]) -> None:
        self._seqs[f"{stream} {signal['epoch']}"] = signal["seq"]
        got = self.got.setdefault(stream, [])
        if any(one["id"] == signal["id"] for one in got):
            return
        got.append(signal)
        in_time = self._venue_ms() < signal["valid_until_ms"]
        if signal["now"] and in_time and self.status == "online":
            self.acted.append(signal)

    def _ask(self, stream: str) -> None:
        if stream in self._asked or not self._connected:
            return
        self._asked[stream] = self._timeline.now
        said = {
            "schema": "candled.replay-request/1",
            "stream": stream,
            "since_seq": self.seq(stream),
            "epoch": self.epochs.get(stream),
        }
        self._timeline.after(_AGAIN_S, self._forget, stream, self._timeline.now)
        if self._broker.wire is not None and REQUEST in self._broker.wire.subscribed:
            self._broker.request(REQUEST, json.dumps(said).encode(), RESPONSE)
        else:
            self.fallback(stream, self.seq(stream))

    def _forget(self, stream: str, asked: float) -> None:
        """Ask once more when nothing came, if there is still a hole."""
        if self._asked.get(stream) == asked:
            del self._asked[stream]
            if self._waiting.get(stream):
                self._ask(stream)
