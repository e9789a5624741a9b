"""A scripted world for the page: synthetic candles, a real model's decisions, what became of these.

What the page shows comes from the real view and server, which are fed from here as a journal would
feed them. A few timelines are made, and each stream plays one of them at a price of its own; their
candles are hourly, as the model knows them, and are played as if an hour were a minute.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from candled.core.bar import COLUMNS, HOUR, MINUTE, Bars, Interval, Stream
from candled.core.decision import Decision, Evidence, Side, Source, decision_id
from candled.core.engine import Engine
from candled.core.labels import LabelParams, window_labels
from candled.core.track import Moved, Outcome, Standing, StreamDrift, Track
from candled.ports import Entry
from candled_adapters.simulator.generator import generate
from candled_adapters.web import shapes
from candled_adapters.web.seat import Beginning, Past
from fakes import float32
from models import lane, model

TIMELINES = 4
PHASES = 100
LABEL = LabelParams(lookahead_bars=24, profit_target_pct=1.0, stop_loss_pct=1.0)
_VENUE = Stream("binance", "BTCUSDT", "1h")
_BANDS = (
    (0.68, 0.76, 412, 0.38, 0.33, 0.43),
    (0.76, 0.85, 188, 0.43, 0.36, 0.5),
    (0.85, None, 57, 0.47, 0.35, 0.6),
)


def bands() -> tuple[Evidence, ...]:
    """Return what the model claims, for both sides."""
    return tuple(
        Evidence(
            side,
            above=float32(above),
            below=None if below is None else float32(below),
            n=n,
            coverage=n / 5000,
            precision=right,
            low=low,
            high=high,
            base_rate=0.21,
            gross_pct=0.04,
        )
        for side in (Side.LONG, Side.SHORT)
        for above, below, n, right, low, high in _BANDS
    )


@dataclass(frozen=True)
class Timeline:
    """Candles of one stream, and what the model decided about each ."""

    bars: Bars
    decisions: tuple[Decision, ...]


@functools.cache
def timeline(seed: int, count: int) -> Timeline:
    """Make `count` decided bars."""
    made = replace(
        lane(_VENUE, threshold=0.68, cooldown_bars=5), model=replace(model(), evidence=bands())
    )
    before = made.history
    bars = generate(seed, Interval("1h"), 2**41 // HOUR * HOUR, before + count)
    engine = Engine([made])
    engine.warm(_VENUE, bars[:before], from_listing=False)
    decisions = [one for block in engine.replay(_VENUE, bars[before:]) for one in block]
    return Timeline(bars[before:], tuple(decisions))


class World:
    """Streams as they are at some minute; `step` closes the next bar of some of them."""

    def __init__(
        self, streams: Sequence[Stream], now_ms: int, *, shown: int, ahead: int = 50
    ) -> None:
        self.streams = list(streams)
        self._numbers = {stream: number for number, stream in enumerate(self.streams)}
        self._start = now_ms // MINUTE * MINUTE - shown * MINUTE
        self._count = shown + ahead
        self._at = dict.fromkeys(self.streams, shown)
        self._position = 0
        self.entries: dict[Stream, list[Entry]] = {}
        self.tracks: dict[Stream, Track] = {}
        self.drifts: dict[Stream, StreamDrift] = {}
        for stream in self.streams:
            self.entries[stream] = []
            for bar in range(shown):
                self._enter(stream, bar)

    def _timeline(self, stream: Stream) -> tuple[Timeline, float]:
        number = self._numbers[stream]
        return timeline(number % TIMELINES + 1, self._count + PHASES), (
            1.0,
            0.08,
            0.000021,
            0.0047,
        )[number % 4] * (1 + number / 37)

    def _phase(self, stream: Stream) -> int:
        return self._numbers[stream] * 17 % PHASES

    def _enter(self, stream: Stream, bar: int) -> Entry:
        line, factor = self._timeline(stream)
        made = line.decisions[bar + self._phase(stream)]
        open_ms = self._start + bar * MINUTE
        decision = replace(
            made,
            stream=stream,
            bar_open=open_ms,
            bar_close=open_ms + MINUTE,
            valid_until=open_ms + 2 * MINUTE,
            id=decision_id(stream, made.model_digest, made.policy_digest, open_ms, 0),
            price=_price(made.price * factor),
        )
        self._position += 1
        told = self.entries[stream]
        last = told[-1].last_seq if told else 0
        lag = 23 + (open_ms // MINUTE * 7 + len(stream.symbol) * 13) % 40
        entry = Entry(
            position=self._position,
            decision=decision,
            seq=last + 1 if decision.is_signal else None,
            last_seq=last + decision.is_signal,
            source=Source.WS,
            received_ns=(decision.bar_close + lag - 4) * 1_000_000,
            received_ms=decision.bar_close + lag - 4,
            decided_ms=decision.bar_close + lag,
        )
        told.append(entry)
        return entry

    def step(self, *streams: Stream) -> list[Entry]:
        """Close the next bar of each; return what was decided."""
        made = []
        for stream in streams:
            made.append(self._enter(stream, self._at[stream]))
            self._at[stream] += 1
        return made

    def step_to(self, side: Side, stream: Stream) -> list[Entry]:
        """Close bars of a stream until a decision has this side."""
        made: list[Entry] = []
        while not made or made[-1].decision.side is not side:
            made += self.step(stream)
        return made

    def bars(self, stream: Stream) -> Bars:
        """Return a stream's bars so far."""
        line, factor = self._timeline(stream)
        closed = line.bars[self._phase(stream) :][: self._at[stream]]
        columns = {name: getattr(closed, name) for name in COLUMNS}
        for name in ("open", "high", "low", "close"):
            columns[name] = np.array([_price(value * factor) for value in columns[name].tolist()])
        columns["open_time"] = self._start + MINUTE * np.arange(len(closed), dtype=np.int64)
        columns["close_time"] = columns["open_time"] + MINUTE - 1
        return Bars(**columns)

    def newest(self) -> list[Entry]:
        """Return all entries as a journal holds them, oldest first."""
        return sorted((e for told in self.entries.values() for e in told), key=lambda e: e.position)

    def past(self, stream: Stream, count: int, since: int | None = None) -> Past:
        """Answer as an archive does."""
        bars = self.bars(stream)
        bars = bars[max(0, len(bars) - count) :]
        if since is not None:
            bars = bars[bisect_left(bars.open_time.tolist(), since) :]
        first = int(bars.open_time[0]) if len(bars) else 2**62
        return Past(bars, tuple(e for e in self.entries[stream] if e.decision.bar_open >= first))

    def beginnings(self, streams: Sequence[Stream], count: int) -> dict[Stream, Beginning]:
        """Answer as an archive does."""
        return {stream: self._beginning(stream, count) for stream in streams}

    def _beginning(self, stream: Stream, count: int) -> Beginning:
        told = self.entries[stream]
        signal = next((entry for entry in reversed(told) if entry.seq is not None), None)
        closes = tuple((e.decision.bar_open, e.decision.price) for e in told[-count:])
        return Beginning(closes=closes, signal=signal, verdict=signal)

    def outcomes(self, stream: Stream, since_ms: int = 0) -> list[Outcome]:
        """Return what became of a stream's signals whose horizon has passed."""
        bars = self.bars(stream)
        labels = window_labels(bars, LABEL).signal
        known = len(bars) - LABEL.lookahead_bars
        told = self.entries[stream][:known]
        return [
            _outcome(entry.decision, bars, at, int(labels[at]))
            for at, entry in enumerate(told)
            if entry.decision.is_signal and entry.decision.bar_open >= since_ms
        ]

    def track(self, stream: Stream) -> Track | None:
        """Return a stream's record: as told, or as it is."""
        if stream in self.tracks:
            return self.tracks[stream]
        ended = self.outcomes(stream)
        signals = sum(entry.decision.is_signal for entry in self.entries[stream])
        return track(stream, ended, signals - len(ended))


def track(
    stream: Stream, ended: Sequence[Outcome], pending: int, standing: Standing = Standing.AS_CLAIMED
) -> Track:
    """Return the record of these outcomes."""
    n, hits = len(ended), sum(outcome.right for outcome in ended)
    share = hits / n if n else 0.0
    reach = 1.96 * (share * (1 - share) / n) ** 0.5 if n else 0.0
    return Track(
        stream=stream,
        model_digest=model().digest,
        n=n,
        pending=pending,
        hits=hits,
        low=max(0.0, share - reach) if n else None,
        high=min(1.0, share + reach) if n else None,
        claimed=0.4 if n else None,
        expectancy_pct=float(np.mean([o.gross_pct for o in ended])) if n else None,
        claimed_pct=0.04 if n else None,
        calibration=float(np.mean([o.probability for o in ended])) - share if n else None,
        standing=standing if n >= 10 else Standing.TOO_FEW,
    )


def drift(stream: Stream, psi: float) -> StreamDrift:
    """Return a drift of about this size."""
    names = ("rsi_14", "atr_pct_24", "volume_z_48", "ema_gap_21", "taker_share_12")
    worst = tuple(Moved(name, psi * (3.2 - place * 0.5)) for place, name in enumerate(names))
    return StreamDrift(
        stream=stream,
        model_digest=model().digest,
        rows=480,
        psi_median=psi,
        moved_share=min(1.0, psi),
        outside_share=psi / 9,
        psi_answers=psi * 0.8,
        worst=worst,
        flagged=psi > 0.25,
    )


def _outcome(decision: Decision, bars: Bars, at: int, label: int) -> Outcome:
    sign = 1 if decision.side is Side.LONG else -1
    right = label == (1 if sign > 0 else 2)
    last = at + LABEL.lookahead_bars
    entry, leave = float(bars.open[at + 1]), float(bars.close[last])
    gross = (
        LABEL.profit_target_pct
        if right
        else max(-LABEL.stop_loss_pct, sign * (leave / entry - 1) * 100)
    )
    ended = "target" if right else "stop" if gross == -LABEL.stop_loss_pct else "time"
    odds = decision.probabilities
    assert odds is not None
    return Outcome(
        id=decision.id,
        stream=decision.stream,
        model_digest=decision.model_digest,
        bar_open=decision.bar_open,
        bar_close=decision.bar_close,
        side=decision.side,
        probability=odds.long if sign > 0 else odds.short,
        right=right,
        ended=ended,
        gross_pct=gross,
        resolved_bar=int(bars.open_time[last]),
        evidence=decision.evidence,
    )


def cards(now_ms: int) -> tuple[shapes.Card, ...]:
    """Return a champion and its challenger."""
    made = model()
    claims = tuple(
        shapes.Claim(
            side=band.side.value,
            above=round(band.above, 3),
            below=band.below and round(band.below, 3),
            n=band.n,
            precision=band.precision,
            low=band.low,
            high=band.high,
            base_rate=band.base_rate,
            gross_pct=band.gross_pct,
        )
        for band in bands()
    )
    day = 86_400_000
    champion = shapes.Card(
        digest=made.digest,
        name=made.name,
        role="champion",
        feature_set=made.features.name,
        features=len(made.mean),
        created_at=None,
        trained_until=now_ms - 21 * day,
        expires_at=now_ms + 69 * day,
        lookahead_bars=24,
        profit_pct=1.0,
        stop_pct=1.0,
        label_rule="window",
        threshold=0.68,
        regime="notebook",
        claims=claims,
        signed=True,
    )
    beside = "f3" * 16
    challenger = {
        "digest": beside,
        "name": "ribbon-2",
        "role": "challenger",
        "trained_until": now_ms - 2 * day,
        "claims": (),
        "signed": False,
    }
    fields = {name: getattr(champion, name) for name in champion.__struct_fields__}
    return champion, shapes.Card(**{**fields, **challenger})


def _price(value: float) -> float:
    return float(f"{value:.7g}")
