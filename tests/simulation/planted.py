"""The defects that `mutants` plants: where, what instead of what, and who must notice.

Each is one that somebody might make. `tests` names the tests that must fail where no schedule
does: those are about what the simulation leaves out (real packets, real sockets), or what makes no
difference to what is delivered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_SERVICE: Final = "daemon/candled/service.py"
_CORRECTING: Final = "daemon/candled/correcting.py"
_SWAPPING: Final = "daemon/candled/swapping.py"
_BOARD: Final = "daemon/candled/board.py"
_INBOX: Final = "daemon/candled/inbox.py"
_JOURNAL: Final = "daemon/candled/journal/journal.py"
_ENGINE: Final = "daemon/candled/core/engine.py"
_LANE: Final = "daemon/candled/core/lane.py"
_SUBSCRIBER: Final = "adapters/candled_adapters/subscriber/"
_MQTT: Final = "adapters/candled_adapters/sinks/mqtt_session.py"
_MESSAGES: Final = "adapters/candled_adapters/sinks/mqtt_messages.py"
_LINK: Final = "adapters/candled_adapters/sinks/mqtt_link.py"
_PAYLOAD: Final = "adapters/candled_adapters/sinks/payload.py"
_LOG: Final = "adapters/candled_adapters/sinks/log.py"
_FEEDS: Final = "adapters/candled_adapters/feeds/"


@dataclass(frozen=True, slots=True)
class Planted:
    """One defect."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()
    """Must fail if no schedule does; empty: a schedule must."""


def _unit(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/{name}.py" for name in names)


PLANTED: Final = (
    # --- the service
    Planted(
        "a restart decides the last bar again",
        _SERVICE,
        "after=int(bars.open_time[-1]) if len(bars) else None",
        "after=int(bars.open_time[-2]) if len(bars) > 1 else None",
    ),
    Planted(
        "a restart leaves the windows empty",
        _SERVICE,
        "            if whole:\n                self._engine.warm(",
        "            if False:\n                self._engine.warm(",
    ),
    Planted(
        "a history from the listing counts as cut off",
        _SERVICE,
        "        self._engine.warm(stream, bars, from_listing=from_listing)\n        if self._news",
        "        self._engine.warm(stream, bars, from_listing=not from_listing)\n"
        "        if self._news",
    ),
    Planted(
        "a revision corrects nothing",
        _CORRECTING,
        "            found.append(corrected)",
        "            pass",
    ),
    Planted(
        "a revision leaves the windows as they were",
        _CORRECTING,
        "    engine.warm(event.stream, affected.past, from_listing=from_listing)\n",
        "    return [], None\n",
    ),
    Planted(
        "a swap misses the bars that close meanwhile",
        _SERVICE,
        "            self._news.closed(batch)",
        "            pass",
        _unit("test_swapping"),
    ),
    Planted(
        "a swap misses that a bar was revised or a stream began anew meanwhile",
        _SWAPPING,
        "        self._anew[stream] = None",
        "        pass",
        _unit("test_swapping"),
    ),
    Planted(
        "a bar that closes at the last step of a swap is decided by the old model and forgotten",
        _SERVICE,
        "                await successor.catch_up()\n",
        "",
        _unit("test_swapping"),
    ),
    Planted(
        "bars go on being decided while a swap sees the last of them",
        _SERVICE,
        "            async with self._turn:\n                await successor",
        "            if True:\n                await successor",
        _unit("test_swapping"),
    ),
    Planted(
        "a swap decides bars again that it has read already",
        _SWAPPING,
        "    return newest is None or opened > newest",
        "    return True",
        _unit("test_swapping"),
    ),
    Planted(
        "another model corrects what the one before has decided",
        "daemon/candled/core/correction.py",
        "    if not by_same_means(again, last) or not differing(again, last):",
        "    if not differing(again, last):",
        _unit("test_swapping", "test_revisions"),
    ),
    Planted(
        "bars before a change of state are decided after it, or never",
        _SERVICE,
        "            self._decide(batch)\n            batch = []\n            match",
        "            batch = []\n            match",
    ),
    Planted(
        "the service stops before what has arrived is delivered",
        _SERVICE,
        "            await self._drain()\n",
        "",
        _unit("test_service"),
    ),
    Planted(
        "the windows advance although nothing could be stored",
        _SERVICE,
        "        entries = self._journal.commit(batch, decisions, self._decided_ms(decisions))",
        "        at = self._decided_ms(decisions)\n"
        "        try:\n            entries = self._journal.commit(batch, decisions, at)\n"
        "        except Exception:\n            return",
    ),
    Planted(
        "online while a stream is held",
        _BOARD,
        "live = stream.state is StreamState.LIVE",
        "live = stream.state in (StreamState.LIVE, StreamState.HOLDING)",
    ),
    Planted(
        "online whatever is wrong",
        _BOARD,
        "state = ServiceState.DEGRADED if self._problems else ServiceState.ONLINE",
        "state = ServiceState.ONLINE",
    ),
    Planted("the newest event first", _INBOX, "self._events.popleft()", "self._events.pop()"),
    # --- the journal
    Planted(
        "sinks see a decision before it is durable",
        _JOURNAL,
        "        entries = self._numbered(batch, decisions, decided_ms)\n        with",
        "        entries = self._numbered(batch, decisions, decided_ms)\n"
        "        self._publish(entries)\n        with",
        _unit("test_journal", "test_disk_full"),
    ),
    Planted(
        "a commit is not synced",
        "daemon/candled/journal/database.py",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = NORMAL",
        _unit("test_journal"),
    ),
    Planted(
        "a bar is stored, its decision is not",
        _JOURNAL,
        "            self._db.write(statements.INSERT_BAR, self._bar_rows(batch))\n"
        "            self._write_entries(entries)",
        "            self._db.write(statements.INSERT_BAR, self._bar_rows(batch))\n"
        "        with self._streams.transaction():\n"
        "            self._write_entries(entries)",
    ),
    Planted(
        "two signals of one batch have the same number",
        _JOURNAL,
        "last = seqs.get(stream, self._streams.of(stream).last_seq)",
        "last = self._streams.of(stream).last_seq",
    ),
    Planted(
        "numbers begin again after a restart",
        "daemon/candled/journal/streams.py",
        "Known(key, bool(listed), last_seq)",
        "Known(key, bool(listed), 0)",
    ),
    Planted(
        "the tail begins one too late",
        _JOURNAL,
        "first = position + 1 - self._tail[0].position",
        "first = position + 2 - self._tail[0].position",
    ),
    Planted(
        "a revised bar is not stored",
        _JOURNAL,
        "            self._db.write(statements.REPLACE_BAR, bar_rows(key, [bar], [Source.REST]))\n",
        "",
    ),
    Planted(
        "columns are swapped on the way back from the disk",
        "daemon/candled/journal/rows.py",
        "        for at, name in enumerate(COLUMNS)\n    }\n    return Bars(**columns)",
        "        for at, name in enumerate(COLUMNS)\n    }\n"
        '    columns["high"], columns["close"] = columns["close"], columns["high"]\n'
        "    return Bars(**columns)",
    ),
    Planted(
        "marks are never written",
        "daemon/candled/journal/delivery.py",
        "        if not marks and not self._refusals:",
        "        if not self._refusals:",
    ),
    Planted(
        "every start is another epoch",
        _JOURNAL,
        "        self._tail: deque[Entry] = deque(maxlen=tail)",
        "        import secrets\n        self.epoch = secrets.token_hex(8)\n"
        "        self._tail: deque[Entry] = deque(maxlen=tail)",
    ),
    # --- the MQTT sink
    Planted(
        "marked before the broker has accepted",
        _MQTT,
        "accepted = sum(1 for _ in takewhile(_accepted, acks))",
        "accepted = len(acks)",
    ),
    Planted(
        "one more is marked than was accepted",
        _MQTT,
        "self._settle(entries[:accepted])",
        "self._settle(entries[: accepted + 1])",
    ),
    Planted(
        "a connection begins at the first signal there ever was",
        _MQTT,
        "self._done = outbox.position(name)",
        "self._done = 0",
    ),
    Planted(
        "only the newest is delivered",
        _MQTT,
        "            for entry in entries:\n                said = self._say.decision",
        "            for entry in entries[-1:]:\n                said = self._say.decision",
    ),
    Planted(
        "the newest is delivered first",
        _MQTT,
        "            for entry in entries:\n                said = self._say.decision",
        "            for entry in entries[::-1]:\n                said = self._say.decision",
    ),
    Planted(
        "heads before their signals",
        _MQTT,
        "(e for e in self._outbox.latest() if e.position <= self._done)\n        while True:",
        "(self._outbox.latest())\n        while True:",
    ),
    Planted(
        "heads are said once",
        _MQTT,
        "            self._heads.repeat()\n",
        "            pass\n",
        _unit("adapters/sinks/test_mqtt"),
    ),
    Planted(
        "a change of the status is not told",
        _MQTT,
        "                    health = await self._board.changed(health)\n",
        "                    await asyncio.sleep(3_600)\n",
    ),
    Planted(
        "no goodbye",
        _MQTT,
        "                await _in_peace(partial(self._goodbye, link))\n                raise",
        "                raise",
    ),
    Planted(
        "a signal that is known to be wrong is live",
        _MQTT,
        "withdrawn = _withdrawn(entries)",
        "withdrawn = frozenset()",
        _unit("adapters/sinks/test_mqtt"),
    ),
    Planted(
        "a lost connection is the end",
        "adapters/candled_adapters/sinks/mqtt.py",
        "                board.report(self.name, said)\n",
        "                board.report(self.name, said)\n                return\n",
    ),
    Planted(
        "a signal is retained",
        _MESSAGES,
        "return Message(self._topics.signal(stream.path), said, expiry=expiry)",
        "return Message(self._topics.signal(stream.path), said, retain=True, expiry=expiry)",
    ),
    Planted(
        "a signal does not expire",
        _MESSAGES,
        "return Message(self._topics.signal(stream.path), said, expiry=expiry)",
        "return Message(self._topics.signal(stream.path), said)",
    ),
    Planted(
        "a head is kept for ever",
        _MESSAGES,
        "said, retain=True, expiry=expiry)",
        "said, retain=True)",
    ),
    Planted(
        "the status is forgotten",
        _MESSAGES,
        "        said = payload.status(health, self._instance, self._epoch, self._beat_s)\n"
        "        return Message(self._topics.status, said, retain=True)",
        "        said = payload.status(health, self._instance, self._epoch, self._beat_s)\n"
        "        return Message(self._topics.status, said)",
    ),
    Planted(
        "the will is not retained",
        _MESSAGES,
        "        said = payload.will(self._instance, self._epoch)\n"
        "        return Message(self._topics.status, said, retain=True)",
        "        said = payload.will(self._instance, self._epoch)\n"
        "        return Message(self._topics.status, said)",
    ),
    Planted("the will says online", _PAYLOAD, 'Status(state="offline"', 'Status(state="online"'),
    Planted(
        "valid_until is ignored",
        _PAYLOAD,
        "live = now_ms < entry.decision.valid_until and not withdrawn",
        "live = not withdrawn",
    ),
    Planted(
        "live is turned round",
        _PAYLOAD,
        "live = now_ms < entry.decision.valid_until and not withdrawn",
        "live = now_ms >= entry.decision.valid_until and not withdrawn",
    ),
    Planted(
        "what is replayed is live",
        _PAYLOAD,
        "return _signal(entry, epoch, now_ms, live=False)",
        "return _signal(entry, epoch, now_ms, live=now_ms < entry.decision.valid_until)",
    ),
    Planted(
        "a replay begins one too late",
        "adapters/candled_adapters/sinks/replay.py",
        "self._page(stream, said.since_seq, last)",
        "self._page(stream, said.since_seq + 1, last)",
    ),
    Planted(
        "nobody listens to requests for replay",
        "adapters/candled_adapters/sinks/mqtt_replay.py",
        "        async for heard in link.heard():\n            await",
        "        async for heard in link.heard():\n            continue\n            await",
    ),
    Planted(
        "the reason code of a refusal is ignored",
        _LINK,
        "if code >= FIRST_REFUSAL:",
        "if code < 0:",
        _unit("adapters/sinks/test_mqtt_link", "adapters/sinks/test_mqtt"),
    ),
    Planted(
        "messages in flight never hear of the connection's end",
        _LINK,
        "            _break(flight.ack, error)\n        self._flying.clear()",
        "            pass\n        self._flying.clear()",
        _unit("adapters/sinks/test_mqtt_link", "adapters/sinks/test_mqtt"),
    ),
    Planted(
        "a silent broker is waited for",
        _LINK,
        "if beat is Beat.GONE or (self._flying and self._pulse.overdue(self._oldest().since)):",
        "if False:",
        _unit("adapters/sinks/test_mqtt_link", "adapters/sinks/test_mqtt"),
    ),
    # --- the log
    Planted("the log leaves one out", _LOG, "for entry in entries:", "for entry in entries[1:]:"),
    Planted(
        "a log line is marked before it is written",
        _LOG,
        "            stream.flush()\n",
        "",
    ),
    # --- the engine and what is decided
    Planted(
        "a threshold that is met is enough",
        "daemon/candled/core/decision.py",
        "result[probabilities[:, 1] > limit] = 1",
        "result[probabilities[:, 1] >= limit] = 1",
    ),
    Planted(
        "long and short are swapped",
        "daemon/candled/core/decision.py",
        "SIDES: Final = (Side.FLAT, Side.LONG, Side.SHORT)",
        "SIDES: Final = (Side.FLAT, Side.SHORT, Side.LONG)",
    ),
    Planted(
        "the model is asked of what is no number",
        _ENGINE,
        "finite = np.asarray(np.isfinite(features).all(axis=1)).tolist()",
        "finite = [True] * len(features)",
    ),
    Planted(
        "a signal is decided one bar too early",
        _LANE,
        "warm=self.bars >= (window if",
        "warm=self.bars >= (window - 1 if",
        _unit("core/test_engine", "core/test_golden"),
    ),
    Planted(
        "a signal is decided one bar too late",
        _LANE,
        "warm=self.bars >= (window if",
        "warm=self.bars > (window if",
    ),
    Planted(
        "a signal is valid for one bar more",
        _LANE,
        "for _ in range(bars):",
        "for _ in range(bars + 1):",
    ),
    Planted(
        "a correction has the id of what it corrects",
        "daemon/candled/core/correction.py",
        "        decision.bar_open,\n        revision,\n",
        "        decision.bar_open,\n        0,\n",
    ),
    Planted(
        "a window ends one bar too early",
        "daemon/candled/core/features/windows.py",
        "self._windows[:, rows, at]",
        "self._windows[:, rows, at - 1]",
        _unit("core/test_windows", "core/test_mar"),
    ),
    # --- the feed
    Planted(
        "a hole is passed over unconfirmed",
        _FEEDS + "order.py",
        "        if not self._sightings.confirmed((self.next, bar.open_time), moment.local_s):\n"
        "            return False\n",
        "",
        _unit("adapters/feeds/test_continuity"),
    ),
    Planted(
        "a pushed bar goes out although others are missing",
        _FEEDS + "order.py",
        "while self.next is not None and (held := self._held.pop(self.next)) is not None:",
        "while self._held._bars and (held := self._held.pop(min(self._held._bars))) is not None:",
    ),
    Planted(
        "an open bar is taken as closed",
        _FEEDS + "backlog.py",
        "count = int(np.searchsorted(bars.close_time, server_ms))",
        "count = len(bars)",
    ),
    Planted(
        "a bar that is pushed as closed too early is believed",
        _FEEDS + "line.py",
        "return told_ms < kline.bar.close_time - _EARLY_MS",
        "return told_ms < 0",
    ),
    Planted(
        "a bar that breaks the rules is believed",
        _FEEDS + "order.py",
        "        if wrong:\n            return [self._quarantined",
        "        if False:\n            return [self._quarantined",
    ),
    Planted(
        "what went out is never compared",
        _FEEDS + "audit.py",
        "        if self.due_s is None or moment.local_s < self.due_s or not self._bars:",
        "        if True:",
    ),
    Planted(
        "one answer is enough to revise a bar",
        _FEEDS + "audit.py",
        "if self._said_before(at, row)}",
        "if True}",
        _unit("adapters/feeds/test_audit"),
    ),
    Planted(
        "what is missing is asked for once and then waited for, for ever",
        _FEEDS + "continuity.py",
        "            self._asking.again(moment.local_s)\n        warming",
        "            pass\n        warming",
    ),
    Planted(
        "a bar that is due and not pushed is not asked for",
        _FEEDS + "continuity.py",
        "        return max(due_s, self._asking.not_before_s)",
        "        return None",
    ),
    Planted(
        "a connection that comes back asks for nothing that it missed",
        _FEEDS + "continuity.py",
        "        self._order.crossing.over()\n        self._asking.at(moment.local_s)\n"
        "        if self.state is None:",
        "        self._order.crossing.over()\n        self._caught_up = True\n"
        "        if self.state is None:",
        _unit("adapters/feeds/test_continuity"),
    ),
    Planted(
        "events leave in another order",
        _FEEDS + "session.py",
        "                await self._emit(batch)",
        "                await self._emit(batch[::-1])",
    ),
    Planted(
        "history is not compared with what the venue says later",
        _FEEDS + "continuity.py",
        "        self.audit.began(bars)\n",
        "",
    ),
    Planted(
        "two questions in quick succession make the clock fly",
        "daemon/candled/core/clock.py",
        "max(elapsed / (shortest + longest) / 500.0, 1e-9)",
        "max((low + high) / 2.0, 1e-9)",
    ),
    Planted(
        "a bot acts on what was replayed",
        _SUBSCRIBER + "stream.py",
        '        if heard.replayed:\n            return "replayed: for the record"\n',
        "",
        _unit("adapters/subscriber/test_rules"),
    ),
    Planted(
        "a bot acts on what says that it is not live",
        _SUBSCRIBER + "stream.py",
        "        if not signal.live:\n"
        '            return "not live: late or corrected when it was published"\n',
        "",
        _unit("adapters/subscriber/test_rules"),
    ),
    Planted(
        "a bot acts in the instant in which a signal has ended",
        _SUBSCRIBER + "stream.py",
        "now.venue_ms >= signal.valid_until_ms",
        "now.venue_ms > signal.valid_until_ms",
        _unit("adapters/subscriber/test_rules"),
    ),
    Planted(
        "a bot acts on what was called off",
        _SUBSCRIBER + "stream.py",
        '        if signal.id in self.called_off:\n            return "corrected"\n',
        "",
        _unit("adapters/subscriber/test_rules"),
    ),
    Planted(
        "a bot is told again of what came again",
        _SUBSCRIBER + "stream.py",
        "        if signal.id in numbers.ids or signal.seq in numbers.waiting:\n"
        "            self.repeats += 1\n"
        "            return\n",
        "",
        _unit("adapters/subscriber/test_rules"),
    ),
    Planted(
        "a bot takes a head of long ago for a sign of life",
        _SUBSCRIBER + "stream.py",
        "self.seen = max(self.seen, now.local - age_s)",
        "self.seen = now.local",
        _unit("adapters/subscriber/test_rules"),
    ),
    Planted(
        "what waits behind a hole waits for ever",
        _SUBSCRIBER + "stream.py",
        "            if not (is_due or numbers.is_crowded()):\n                return\n",
        "            return\n",
        _unit("adapters/subscriber/test_rules"),
    ),
    Planted(
        "a head's word of a missed signal is not heeded",
        _SUBSCRIBER + "stream.py",
        "            self.named, self.named_at = head.last_signal_seq, now.local\n",
        "            pass\n",
        _unit("adapters/subscriber/test_rules"),
    ),
    Planted(
        "a bot goes on while the service is degraded",
        _SUBSCRIBER + "rules.py",
        '        online = status.state == "online"\n',
        '        online = status.state != "offline"\n',
        _unit("adapters/subscriber/test_rules"),
    ),
    Planted(
        "a bot does not mind the silence of the service",
        _SUBSCRIBER + "rules.py",
        "            if silent_s > _BEATS_MISSED",
        "            if silent_s > 1e9 * _BEATS_MISSED",
        _unit("adapters/subscriber/test_rules"),
    ),
    Planted(
        "a lost journal's numbers go on in the new one",
        _SUBSCRIBER + "stream.py",
        "            numbers.begin(epoch)\n            self.named = 0\n",
        "            numbers.epoch = epoch\n",
        _unit("adapters/subscriber/test_rules"),
    ),
    Planted(
        "a bot forgets at a restart what it was told",
        _SUBSCRIBER + "rules.py",
        "            self._add(name, numbers)\n            self._keep_open(self._streams[name])\n",
        "            pass\n",
        _unit("adapters/subscriber/test_rules"),
    ),
)
