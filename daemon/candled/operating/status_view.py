"""A status as tables for people. Pure; what others have written is made visible by the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from candled.core.bar import Interval, iso
from candled.core.decision import Reason, Side
from candled.operating.facts import Status, Stored, Verdict
from candled.operating.tables import Row, Section
from candled.operating.words import duration, late_words, odds_words, reason_words
from candled.ports import Entry
from candled_adapters.web.shapes import Card, Decided, Drifting, Happened, Line, Overview, Record

_EVENTS: Final = 10
_STYLES: Final = {
    Verdict.ONLINE: "bold green",
    Verdict.DEGRADED: "bold yellow",
    Verdict.STOPPED: "bold red",
    Verdict.UNKNOWN: "bold yellow",
}
_STATES: Final = {"live": "", "warming": "cyan", "stopped": "red"}  # any other is yellow


def sections(status: Status, patterns: Sequence[str] = ()) -> list[Section]:
    """Return what is shown: a head, and tables of what is known. `patterns` choose the streams."""
    head = Section("", lines=_head(status))
    if status.overview:
        return [head, *_answered(status.overview, status.now_ms, patterns)]
    if status.stored:
        return [head, *_from_journal(status.stored, status.now_ms, patterns)]
    return [head]


def _head(status: Status) -> list[Row]:
    said, word = status.overview, status.verdict.name.lower()
    if said is None:
        first = f"candled: {'not running' if status.verdict is Verdict.STOPPED else word}"
    else:
        since = duration(status.now_ms - said.service.since)[1:]
        up = duration(status.now_ms - said.started)[1:]
        ready = "" if said.ready else ", not ready yet"
        first = f"candled {said.version}: {word} for {since}, up for {up}{ready}"
    return [Row((first,), _STYLES[status.verdict]), *(Row((f"- {text}",)) for text in status.why)]


def _wanted(path: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(path, pattern) for pattern in patterns)


# --- what the daemon says


def _answered(said: Overview, now: int, patterns: Sequence[str]) -> Iterable[Section]:
    lines = [line for line in said.lines if _wanted(line.stream, patterns)]
    yield Section(
        "streams",
        ("stream", "state", "last bar closed", "lag", "decision", "last signal", "record", "drift"),
        [Row(_line_cells(line, now), _STATES.get(line.state, "yellow")) for line in lines],
    )
    shadows = [line for line in lines if line.challenger]
    yield Section(
        "challengers",
        ("stream", "model", "record"),
        [
            Row((one.stream, _short(one.challenger), _record(one.challenger_record)))
            for one in shadows
        ],
    )
    yield Section(
        "sinks",
        ("sink", "behind"),
        [Row((s.name, str(s.behind)), "yellow" if s.behind else "") for s in said.service.sinks],
    )
    yield Section(
        "models",
        ("model", "digest", "role", "trained until", "expires", "threshold", "signed"),
        [_card(card, now) for card in said.cards],
    )
    newest = said.events[-_EVENTS:]
    columns = ("at", "about", "what", "done", "")
    yield Section("events", columns, [Row(_event_cells(event)) for event in newest])


def _line_cells(line: Line, now: int) -> tuple[str, ...]:
    decided = line.decided
    state = f"{line.state}: {line.reason}" if line.reason else line.state
    closed = _closed(decided.bar_close, now) if decided else ""
    lag = duration(decided.lag_ms) if decided else ""
    signal = _signal(line.signal, now) if line.signal else ""
    what = _decided(decided) if decided else "none yet"
    return (
        line.stream, state, closed, lag, what, signal, _record(line.record), _drift(line.drift),
    )  # fmt: skip


def _closed(at: int, now: int) -> str:
    return f"{iso(at)} ({ago(now - at)})"


def ago(ms: float) -> str:
    """Return a past span in words."""
    return f"{duration(ms)[1:]} ago" if ms >= 0 else f"in {duration(ms)[1:]}"


def _decided(one: Decided) -> str:
    if one.reason:
        known = {reason.value: reason for reason in Reason}
        why = reason_words(known[one.reason]) if one.reason in known else one.reason
        return f"{_side(one.side)}: {why}"
    if one.probabilities is None:
        return _side(one.side)
    side = one.side
    if side not in ("long", "short"):
        side = "long" if one.probabilities.long >= one.probabilities.short else "short"
    return f"{_side(one.side)}, p({side})={getattr(one.probabilities, side):.3f}"


def _side(side: str) -> str:
    return "none" if side == Side.NO_DECISION.value else side


def _signal(one: Decided, now: int) -> str:
    number = f" #{one.seq}" if one.seq else ""
    return f"{one.side}{number}, {ago(now - one.bar_close)}"


def _record(one: Record | None) -> str:
    """Return what became of signals: hits of how many, the claim, the mean result."""
    if one is None:
        return ""
    if not one.n:
        return f"{one.pending} pending" if one.pending else "none yet"
    claimed = "" if one.claimed is None else f" (claimed {one.claimed:.0%})"
    pays = "" if one.expectancy_pct is None else f", {one.expectancy_pct:+.2f} %"
    standing = {"broken": ", BROKEN", "too_few": ", too few to say"}.get(one.standing, "")
    return f"{one.hit_rate or 0:.0%} of {one.n}{claimed}{pays}{standing}"


def _drift(one: Drifting | None) -> str:
    if one is None or not one.rows:
        return ""
    parts = []
    if one.psi_median is not None:
        parts.append(f"PSI {one.psi_median:.2f}")
    if one.moved_share is not None:
        parts.append(f"{one.moved_share:.0%} moved")
    if one.outside_share is not None:
        parts.append(f"{one.outside_share:.1%} outside")
    flag = "DRIFT: " if one.flagged else ""
    return f"{flag}{', '.join(parts)} in {one.rows} rows" if parts else ""


def _card(card: Card, now: int) -> Row:
    trained = "" if card.trained_until is None else _closed(card.trained_until, now)
    expires, style = "never", ""
    if card.expires_at is not None:
        expires = f"{iso(card.expires_at)} ({ago(now - card.expires_at)})"
        style = "red" if card.expires_at <= now else ""
    cells = (card.name, _short(card.digest), card.role, trained, expires)
    return Row((*cells, f"{card.threshold:g}", "yes" if card.signed else "no"), style)


def _short(digest: str | None) -> str:
    return (digest or "")[:16]


def _event_cells(event: Happened) -> tuple[str, ...]:
    more = f" (and {event.unsaid} like it)" if event.unsaid else ""
    words: Callable[[str], str] = lambda name: name.replace("_", " ")  # noqa: E731 - two uses
    about = event.stream or event.exchange
    return iso(event.at), about, words(event.hazard), words(event.act), event.text + more


# --- what the journal tells


def _from_journal(stored: Stored, now: int, patterns: Sequence[str]) -> Iterable[Section]:
    entries = {entry.decision.stream: entry for entry in stored.latest}
    rows = []
    for stream, opened in stored.newest_opens.items():
        if not _wanted(stream.path, patterns):
            continue
        closed = "" if opened is None else _closed(Interval(stream.interval).end(opened), now)
        entry = entries.get(stream)
        rows.append(Row((stream.path, closed, *_entry_cells(entry))))
    columns = ("stream", "last bar closed", "lag", "decision", "signals")
    yield Section(f"streams, by the journal (epoch {stored.epoch})", columns, rows)
    names = sorted({*stored.marks, *stored.refused})
    yield Section(
        "sinks, by the journal",
        ("sink", "delivered up to", "behind", "given up"),
        [_mark(name, stored) for name in names],
    )


def _entry_cells(entry: Entry | None) -> tuple[str, str, str]:
    if entry is None:
        return "", "none yet", ""
    decision = entry.decision
    why = reason_words(decision.reason) if decision.reason else odds_words(decision)
    said = f"{_side(decision.side.value)}, {why}" if why else _side(decision.side.value)
    return late_words(entry), said, str(entry.last_seq)


def _mark(name: str, stored: Stored) -> Row:
    at = stored.marks.get(name, 0)
    behind, given_up = stored.last_position - at, stored.refused.get(name, 0)
    cells = (name, str(at), str(behind), str(given_up))
    return Row(cells, "yellow" if behind or given_up else "")
