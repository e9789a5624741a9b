"""What the daemon tells of itself over HTTP, as JSON: for the page, `status`, scripts.

    GET /api/overview             `Overview`
    GET /api/stream/STREAM?bars=N `History` of one stream: bars, decisions, outcomes
    websocket /live               an `Overview` first, then `Lines`, `Service`, `Events` and `Bars`
                                  as they come, `Beat` every second; a client may send `Watch`

STREAM is ``exchange/symbol/interval``. Times are UTC milliseconds. Shares are from 0 to 1. Further
fields may be added; a reader ignores what it does not know.
"""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["warming", "live", "holding", "degraded", "stopped"]
Role = Literal["champion", "challenger"]
AnySide = Literal["long", "short", "flat", "no_decision"]


class Odds(msgspec.Struct, frozen=True):
    """The model's answer."""

    no_trade: float
    long: float
    short: float


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What out-of-sample rows showed of its like; see `candled.core.decision.Evidence`."""

    side: Literal["long", "short"]
    above: float
    below: float | None
    n: int
    precision: float
    low: float
    high: float
    base_rate: float
    gross_pct: float | None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a stream's signals; see `candled.core.track.Track`."""

    n: int
    pending: int
    hit_rate: float | None
    low: float | None
    high: float | None
    claimed: float | None
    expectancy_pct: float | None
    claimed_pct: float | None
    calibration: float | None
    standing: Literal["unknown", "too_few", "as_claimed", "broken"]


class Drifting(msgspec.Struct, frozen=True, kw_only=True):
    """How a stream's inputs differ from training; see `candled.core.track.StreamDrift`."""

    rows: int
    psi_median: float | None
    moved_share: float | None
    outside_share: float | None
    psi_answers: float | None
    worst: tuple[tuple[str, float], ...]
    """Feature and its PSI."""
    flagged: bool = False
    """Whether it is further from training than is usual; few rows alone are far from it."""


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """One decision."""

    id: str
    bar_open: int
    bar_close: int
    revision: int
    side: AnySide
    reason: str | None
    seq: int | None
    """Set when it is a signal."""
    probabilities: Odds | None
    threshold: float
    price: float
    regime: int
    regime_name: str
    quality: tuple[str, ...]
    novelty: float | None
    source: Literal["ws", "rest", "backfill"]
    lag_ms: int
    """From the end of the bar to the decision, on the venue's clock."""
    valid_until: int
    claim: Claim | None
    model: str
    """Digest."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One stream in the list of all."""

    stream: str
    exchange: str
    symbol: str
    interval: str
    state: State
    reason: str
    model: str
    """Digest of the model that decides it now."""
    decided: Decided | None
    """The decision about its newest bar; None before the first."""
    signal: Decided | None
    """Its newest signal; None before the first."""
    next_close: int | None
    """When the bar after the newest one ends: later than that and it is late. None before one."""
    closes: tuple[float, ...]
    """The newest closes, oldest first, at most 60."""
    record: Record | None
    drift: Drifting | None
    challenger: str | None = None
    """Digest of the model that runs beside it in the shadow."""
    challenger_record: Record | None = None
    signal_taken_back: bool = False
    """Whether a correction has taken the newest signal back."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A model in use."""

    digest: str
    name: str
    role: Role
    feature_set: str
    features: int
    created_at: str | None
    trained_until: int | None
    """End of its training data (UTC ms), where known."""
    expires_at: int | None
    """When it is too old to decide (UTC ms); None: never."""
    lookahead_bars: int | None
    profit_pct: float | None
    stop_pct: float | None
    label_rule: str | None
    threshold: float
    regime: str
    claims: tuple[Claim, ...]
    signed: bool


class Sink(msgspec.Struct, frozen=True, kw_only=True):
    """One way out."""

    name: str
    behind: int
    """Journal positions that it has not delivered."""


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """Something that people were told; see `candled.ports.Incident`."""

    number: int
    at: int
    exchange: str
    stream: str | None
    hazard: str
    act: str
    text: str
    unsaid: int


class Service(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="service"):
    """Whether it can be relied on, and how far its ways out are."""

    state: Literal["online", "degraded", "offline"]
    reasons: tuple[str, ...]
    since: int
    sinks: tuple[Sink, ...]


class Overview(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="overview"):
    """Everything that the first look shows."""

    version: str
    epoch: str
    config_digest: str
    started: int
    now: int
    """Wall clock."""
    ready: bool
    service: Service
    lines: tuple[Line, ...]
    cards: tuple[Card, ...]
    events: tuple[Happened, ...]
    """Newest last, at most 100."""


class Lines(msgspec.Struct, frozen=True, tag_field="type", tag="lines"):
    """Streams of which something changed; a few times a second at most."""

    lines: tuple[Line, ...]


class Cards(msgspec.Struct, frozen=True, tag_field="type", tag="cards"):
    """The models in use, when they changed."""

    cards: tuple[Card, ...]


class Events(msgspec.Struct, frozen=True, tag_field="type", tag="events"):
    """What happened since the last one."""

    events: tuple[Happened, ...]


class Beat(msgspec.Struct, frozen=True, tag_field="type", tag="beat"):
    """A sign of life, every second: a page that misses three says that it shows the past."""

    now: int


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a signal; see `candled.core.track.Outcome`."""

    id: str
    right: bool
    ended: str
    gross_pct: float
    resolved_bar: int


class Bars(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="bars"):
    """New or revised bars of the watched stream, its new decisions, and its new outcomes."""

    stream: str
    bars: tuple[tuple[int, float, float, float, float, float | None], ...]
    """Open time, open, high, low, close, volume."""
    decisions: tuple[Decided, ...]
    outcomes: tuple[Resolved, ...]


class History(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="history"):
    """The newest bars of one stream, and what was decided about them; oldest first."""

    stream: str
    bars: tuple[tuple[int, float, float, float, float, float | None], ...]
    decisions: tuple[Decided, ...]
    """The newest one of each bar."""
    outcomes: tuple[Resolved, ...]


class Watch(msgspec.Struct, frozen=True):
    """What a client sends: tell me the bars of this stream, and no other's; null: of none.

    Its newest bar is told at once, so that nothing is missed by who asks for the history then.
    """

    watch: str | None
