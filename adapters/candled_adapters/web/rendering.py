"""How facts of the service become the shapes of the window. Pure; knows no server and no state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from candled.core import regime
from candled.core.bar import Bars
from candled.core.decision import Evidence, Probabilities, Side
from candled.core.single import shortest
from candled.core.track import Outcome, StreamDrift, Track
from candled.ports import Entry, Health, Notice
from candled_adapters.web import shapes

BarRow = tuple[int, float, float, float, float, float | None]


def decided(entry: Entry) -> shapes.Decided:
    """Return what is shown of one decision."""
    decision = entry.decision
    return shapes.Decided(
        id=decision.id,
        bar_open=decision.bar_open,
        bar_close=decision.bar_close,
        revision=decision.revision,
        side=decision.side.value,
        reason=decision.reason.value if decision.reason else None,
        seq=entry.seq,
        probabilities=_odds(decision.probabilities) if decision.probabilities else None,
        threshold=decision.threshold,
        price=decision.price,
        regime=decision.regime,
        regime_name=regime.NAMES[decision.regime],
        quality=tuple(flag.value for flag in decision.quality),
        novelty=decision.novelty,
        source=entry.source.value,
        lag_ms=entry.decided_ms - decision.bar_close,
        valid_until=decision.valid_until,
        claim=claim(decision.evidence) if decision.evidence else None,
        model=decision.model_digest,
    )


def _odds(probabilities: Probabilities) -> shapes.Odds:
    return shapes.Odds(
        shortest(probabilities.no_trade),
        shortest(probabilities.long),
        shortest(probabilities.short),
    )


def claim(band: Evidence) -> shapes.Claim:
    """Return what is shown of a band of a model's evidence."""
    return shapes.Claim(
        side="long" if band.side is Side.LONG else "short",
        above=shortest(band.above),
        below=None if band.below is None else shortest(band.below),
        n=band.n,
        precision=band.precision,
        low=band.low,
        high=band.high,
        base_rate=band.base_rate,
        gross_pct=band.gross_pct,
    )


def record(track: Track | None) -> shapes.Record | None:
    """Return what is shown of what became of a stream's signals."""
    if track is None:
        return None
    return shapes.Record(
        n=track.n,
        pending=track.pending,
        hit_rate=track.hit_rate,
        low=track.low,
        high=track.high,
        claimed=track.claimed,
        expectancy_pct=track.expectancy_pct,
        claimed_pct=track.claimed_pct,
        calibration=track.calibration,
        standing=track.standing.value,
    )


def drifting(drift: StreamDrift | None) -> shapes.Drifting | None:
    """Return what is shown of how a stream's inputs differ from training."""
    if drift is None:
        return None
    return shapes.Drifting(
        rows=drift.rows,
        psi_median=drift.psi_median,
        moved_share=drift.moved_share,
        outside_share=drift.outside_share,
        psi_answers=drift.psi_answers,
        worst=tuple((moved.name, moved.psi) for moved in drift.worst),
        flagged=drift.flagged,
    )


def resolved(outcome: Outcome) -> shapes.Resolved:
    """Return what is shown of what became of a signal."""
    return shapes.Resolved(
        id=outcome.id,
        right=outcome.right,
        ended=outcome.ended,
        gross_pct=outcome.gross_pct,
        resolved_bar=outcome.resolved_bar,
    )


def happened(notice: Notice) -> shapes.Happened:
    """Return what is shown of an incident."""
    incident = notice.incident
    return shapes.Happened(
        number=notice.number,
        at=incident.venue_ms,
        exchange=incident.exchange,
        stream=incident.stream.path if incident.stream else None,
        hazard=incident.hazard.value,
        act=incident.act.value,
        text=incident.text,
        unsaid=notice.unsaid,
    )


def service(health: Health, failure: str | None, sinks: Sequence[shapes.Sink]) -> shapes.Service:
    """Return what is shown of the whole; one that ends is offline, and says why first."""
    return shapes.Service(
        state="offline" if failure else health.state.value,
        reasons=((failure,) if failure else ()) + health.reasons,
        since=health.since_ms,
        sinks=tuple(sinks),
    )


def bar_rows(bars: Bars) -> tuple[BarRow, ...]:
    """Return bars as rows; a volume that the venue does not tell is None."""
    columns = (bars.open_time, bars.open, bars.high, bars.low, bars.close, bars.volume)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return tuple((*row[:5], None if row[5] != row[5] else row[5]) for row in rows)


def newest(entries: Iterable[Entry]) -> tuple[shapes.Decided, ...]:
    """Return the newest decision of each bar, of entries by bar and revision."""
    last = {entry.decision.bar_open: entry for entry in entries}
    return tuple(decided(entry) for entry in last.values())
