"""Every figure of `/metrics`: its name, its labels, what it means, and how it is read.

The one place where they are declared; the documentation's table is made of it. Units are seconds,
bytes and shares, as Prometheus has it. Knows nothing of the text in which they are told.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from candled.core.bar import Stream
from candled.core.decision import Reason, Side
from candled.core.track import Standing, StreamDrift, Track
from candled.figures import Met, Spread, StreamCounts
from candled.ports import Act, Hazard, ServiceState, StreamState
from candled_adapters.web.metrics_facts import Disk, Labels, Moment
from candled_adapters.web.shapes import Card

#: Told from the start, as 0: a rise from nothing is none to Prometheus.
_ALERTED: Final = (
    (Hazard.DRIFT, Act.FLAG),
    (Hazard.CLAIM_BROKEN, Act.FLAG),
    (Hazard.MODEL_EXPIRED, Act.FLAG),
    (Hazard.CLOCK_SKEW, Act.DEGRADE),
)

Rows = Iterable[tuple[Labels, float | Spread]]
_STREAM: Final = ("exchange", "symbol", "interval")
_BY_ROLE: Final = (*_STREAM, "role")


@dataclass(frozen=True, slots=True)
class Kind:
    """One figure."""

    name: str
    type: Literal["gauge", "counter", "histogram"]
    labels: Labels
    help: str
    read: Callable[[Moment], Rows]


# --- how they are read


def _one(value: Callable[[Moment], float | Spread | None]) -> Callable[[Moment], Rows]:
    """Read a figure that there is once, if at all."""

    def rows(moment: Moment) -> Rows:
        found = value(moment)
        return [] if found is None else [((), found)]

    return rows


def _each(value: Callable[[Moment, Stream], float | None]) -> Callable[[Moment], Rows]:
    """Read a figure of each stream that has it."""

    def rows(moment: Moment) -> Iterator[tuple[Labels, float]]:
        for stream, labels in moment.streams:
            found = value(moment, stream)
            if found is not None:
                yield labels, found

    return rows


def _split(
    by: Callable[[StreamCounts], Mapping[Side, int] | Mapping[Reason, int]],
) -> Callable[[Moment], Rows]:
    """Read a figure of each stream that is split by a last label."""

    def rows(moment: Moment) -> Iterator[tuple[Labels, float]]:
        for stream, labels in moment.streams:
            for key, count in by(moment.sources.counted.of(stream)).items():
                yield (*labels, key.value), count

    return rows


def _named(counts: Callable[[Moment], Mapping[str, float]]) -> Callable[[Moment], Rows]:
    """Read a figure of each name."""
    return lambda moment: [((name,), count) for name, count in counts(moment).items()]


def _track(value: Callable[[Track], float | None]) -> Callable[[Moment], Rows]:
    """Read a figure of each record of a stream's signals, the challenger's as well."""

    def rows(moment: Moment) -> Iterator[tuple[Labels, float]]:
        ask = moment.sources
        for stream, labels in moment.streams:
            for role, tracks in (("champion", ask.tracks), ("challenger", ask.challenger_tracks)):
                track = tracks(stream)
                found = None if track is None else value(track)
                if found is not None:
                    yield (*labels, role), found

    return rows


def _drift(value: Callable[[StreamDrift], float | None]) -> Callable[[Moment], Rows]:
    """Read a figure of how each stream's inputs have moved."""

    def read(moment: Moment, stream: Stream) -> float | None:
        drift = moment.sources.drift(stream)
        return None if drift is None else value(drift)

    return _each(read)


def _disk(value: Callable[[Disk], int]) -> Callable[[Moment], Rows]:
    """Read a size; none while the folder cannot be looked at."""
    return _one(lambda moment: None if moment.disk is None else value(moment.disk))


def _card(value_ms: Callable[[Card], int | None]) -> Callable[[Moment], Rows]:
    """Read a point in time of each model, as Unix time in seconds."""

    def rows(moment: Moment) -> Rows:
        times = {card.digest: value_ms(card) for card in moment.sources.cards()}
        return [((digest,), ms / 1000) for digest, ms in times.items() if ms is not None]

    return rows


def _models(moment: Moment) -> Rows:
    for card in moment.sources.cards():
        signed = "yes" if card.signed else "no"
        yield (card.digest, card.name, card.role, card.feature_set, signed), 1


def _build(moment: Moment) -> Rows:
    return [((moment.sources.version, platform.python_version()), 1)]


def _service_states(moment: Moment) -> Rows:
    present = moment.health.state
    return [((state.value,), float(state is present)) for state in ServiceState]


def _states(moment: Moment) -> Iterator[tuple[Stream, Labels, StreamState]]:
    for stream, labels in moment.streams:
        health = moment.sources.state(stream)
        if health is not None:
            yield stream, labels, health.state


def _stream_states(moment: Moment) -> Rows:
    return (((*labels, state.value), 1) for _, labels, state in _states(moment))


def _streams_live(moment: Moment) -> Rows:
    return ((labels, float(state is StreamState.LIVE)) for _, labels, state in _states(moment))


def _streams_by_state(moment: Moment) -> Mapping[str, float]:
    found = Counter(state for _, _, state in _states(moment))
    return {state.value: found[state] for state in StreamState}


def _stages(moment: Moment) -> Rows:
    stages = moment.sources.counted.stages
    return [
        (("received",), stages.received.spread()),
        (("decided",), stages.decided.spread()),
        (("durable",), stages.durable.spread()),
        (("acked",), stages.acked.spread()),
    ]


def _incidents(moment: Moment) -> Rows:
    met: dict[Met, int] = {(name, *what): 0 for name in moment.venue_ms for what in _ALERTED}
    met.update(moment.sources.counted.met_so_far())
    return [((exchange, hazard, act), count) for (exchange, hazard, act), count in met.items()]


def _reconnects(moment: Moment) -> Mapping[str, float]:
    counts = dict.fromkeys(moment.venue_ms, 0)
    for (exchange, _, act), count in moment.sources.counted.met_so_far().items():
        if act is Act.RECONNECT:
            counts[exchange] = counts.get(exchange, 0) + count
    return counts


def _clock_offsets(moment: Moment) -> Mapping[str, float]:
    return {name: (ms - moment.wall_ms) / 1000 for name, ms in moment.venue_ms.items()}


def _broken(track: Track) -> float | None:
    known = track.standing in (Standing.AS_CLAIMED, Standing.BROKEN)
    return float(track.standing is Standing.BROKEN) if known else None


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


# --- what there is

KINDS: Final = (
    Kind("candled_build_info", "gauge", ("version", "python"), "Always 1.", _build),
    Kind("candled_service_state", "gauge", ("state",),
        "1 for the state that the service is in: online, degraded or offline.", _service_states),
    Kind("candled_ready", "gauge", (), "Whether the service is ready, as /readyz says.",
        _one(lambda at: at.sources.ready())),
    Kind("candled_watchdog_beats_total", "counter", (),
        "How often systemd's watchdog was told that the pipeline works; absent without one.",
        _one(lambda at: at.sources.watchdog_beats())),
    Kind("candled_loop_late_seconds", "histogram", (),
        "How late the event loop was, fifty times a second.",
        _one(lambda at: at.sources.beats.spread())),
    Kind("candled_loop_late_max_seconds", "gauge", (), "The longest of these since the start.",
        _one(lambda at: at.sources.latest_beat_s())),

    Kind("candled_streams", "gauge", ("state",), "How many streams are in a state.",
        _named(_streams_by_state)),
    Kind("candled_stream_live", "gauge", _STREAM,
        "Whether a stream's bars come as they should.", _streams_live),
    Kind("candled_stream_state", "gauge", (*_STREAM, "state"),
        "1 for the state that a stream is in: warming, live, holding, degraded or stopped. "
        "The other states are absent.", _stream_states),
    Kind("candled_stream_close_timestamp_seconds", "gauge", _STREAM,
        "When the newest bar that was decided ended, Unix time.", _each(Moment.close_s)),
    Kind("candled_stream_lag_seconds", "gauge", _STREAM,
        "From the end of the newest bar to its decision, on the venue's clock.",
        _each(Moment.lag_s)),
    Kind("candled_stream_late_seconds", "gauge", _STREAM,
        "For how long the next bar has been over without a decision; 0 while it is not.",
        _each(Moment.late_s)),
    Kind("candled_decisions_total", "counter", (*_STREAM, "side"),
        "Decisions by side (long, short, flat, no_decision), without corrections.",
        _split(lambda counts: counts.decisions)),
    Kind("candled_suppressed_total", "counter", (*_STREAM, "reason"),
        "Decisions that are not what the bare model would say, by reason.",
        _split(lambda counts: counts.reasons)),
    Kind("candled_signals_total", "counter", (*_STREAM, "side"),
        "Signals that were given a number, with those that corrections made.",
        _split(lambda counts: counts.signals)),
    Kind("candled_corrections_total", "counter", _STREAM,
        "Decisions that took the place of earlier ones, because the venue revised a bar.",
        _each(lambda at, stream: at.sources.counted.of(stream).corrections)),
    Kind("candled_gaps_total", "counter", _STREAM,
        "Gaps: bars that never were, as the venue's own history confirms.",
        _each(lambda at, stream: at.sources.counted.of(stream).gaps)),

    Kind("candled_stage_seconds", "histogram", ("stage",),
        "How long what came live took: from the end of a bar to its receipt (received), and from "
        "its receipt to its decision (decided), to that being on disk (durable), and to the "
        "broker's acknowledgement of its signal (acked).", _stages),
    Kind("candled_signal_seconds", "histogram", (),
        "From the end of a bar to the broker's acknowledgement of its signal.",
        _one(lambda at: at.sources.counted.stages.whole.spread())),
    Kind("candled_delivered_total", "counter", (), "Signals that the MQTT broker has accepted.",
        _one(lambda at: at.sources.counted.delivered)),
    Kind("candled_mqtt_connected", "gauge", (),
        "Whether the MQTT broker is there and takes what is published.",
        _one(lambda at: at.broker_problem is None)),
    Kind("candled_outbox_entries", "gauge", ("sink",),
        "Decisions that a sink has not delivered yet.", _named(lambda at: at.sources.backlog())),
    Kind("candled_refused_total", "counter", ("sink",),
        "Decisions that a sink gave up for good.", _named(lambda at: at.sources.refused())),

    Kind("candled_incidents_total", "counter", ("exchange", "hazard", "act"),
        "What the outside world did wrong and what was done about it, told or not.", _incidents),
    Kind("candled_feed_reconnects_total", "counter", ("exchange",),
        "Connections to a venue that were made anew.", _named(_reconnects)),
    Kind("candled_venue_clock_offset_seconds", "gauge", ("exchange",),
        "How far the venue's clock, as measured, is ahead of this machine's.",
        _named(_clock_offsets)),

    Kind("candled_model_info", "gauge", ("digest", "name", "role", "feature_set", "signed"),
        "1 for each model in use, as champion or as challenger.", _models),
    Kind("candled_model_trained_until_timestamp_seconds", "gauge", ("digest",),
        "End of a model's training data, Unix time; its age is counted from there.",
        _card(lambda card: card.trained_until)),
    Kind("candled_model_expires_timestamp_seconds", "gauge", ("digest",),
        "When a model becomes too old to decide, Unix time; absent when never.",
        _card(lambda card: card.expires_at)),
    Kind("candled_track_signals", "gauge", _BY_ROLE,
        "Resolved signals in the rolling record of a stream.", _track(lambda track: track.n)),
    Kind("candled_track_pending", "gauge", _BY_ROLE,
        "Signals whose horizon has not passed.", _track(lambda track: track.pending)),
    Kind("candled_track_hit_ratio", "gauge", _BY_ROLE,
        "Share of the resolved signals that was right.", _track(lambda track: track.hit_rate)),
    Kind("candled_track_hit_low_ratio", "gauge", _BY_ROLE,
        "Lower end of that share's 95 % interval.", _track(lambda track: track.low)),
    Kind("candled_track_hit_high_ratio", "gauge", _BY_ROLE,
        "Upper end of that share's 95 % interval.", _track(lambda track: track.high)),
    Kind("candled_track_claimed_ratio", "gauge", _BY_ROLE,
        "The share that the evidence of the same signals claimed.",
        _track(lambda track: track.claimed)),
    Kind("candled_track_expectancy_ratio", "gauge", _BY_ROLE,
        "Mean result of the resolved signals before costs, as a share of the entry.",
        _track(lambda track: _share(track.expectancy_pct))),
    Kind("candled_track_claimed_expectancy_ratio", "gauge", _BY_ROLE,
        "The mean result that the evidence of the same signals claimed.",
        _track(lambda track: _share(track.claimed_pct))),
    Kind("candled_track_calibration_ratio", "gauge", _BY_ROLE,
        "Mean probability of the resolved signals, less the share that was right.",
        _track(lambda track: track.calibration)),
    Kind("candled_track_claim_broken", "gauge", _BY_ROLE,
        "Whether signals turn out worse than claimed, beyond chance; absent while nothing can "
        "be said.", _track(_broken)),
    Kind("candled_drift_rows", "gauge", _STREAM,
        "Newest rows of a stream that are compared with training.", _drift(lambda d: d.rows)),
    Kind("candled_drift_psi_median", "gauge", _STREAM,
        "Median over the features of the population stability index.",
        _drift(lambda drift: drift.psi_median)),
    Kind("candled_drift_moved_ratio", "gauge", _STREAM,
        "Share of the features whose index is above 0.25.",
        _drift(lambda drift: drift.moved_share)),
    Kind("candled_drift_outside_ratio", "gauge", _STREAM,
        "Mean share of a row's features outside their training ranges.",
        _drift(lambda drift: drift.outside_share)),
    Kind("candled_drift_answers_psi", "gauge", _STREAM,
        "Population stability index of the model's own answers.",
        _drift(lambda drift: drift.psi_answers)),

    Kind("candled_state_free_bytes", "gauge", (),
        "What may still be written on the disk of the state folder.",
        _disk(lambda disk: disk.free)),
    Kind("candled_state_size_bytes", "gauge", (), "Size of that disk.",
        _disk(lambda disk: disk.size)),
    Kind("candled_journal_bytes", "gauge", (), "Size of the journal.",
        _disk(lambda disk: disk.journal)),
)  # fmt: skip
