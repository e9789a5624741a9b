"""What is said on the wire: the payloads as types.

The one source of truth for the JSON of topics and log lines, and for the schemas generated from
it. How facts become payloads is in `payload`.

A signal, on ``candled/signal/binance/BTCUSDT/1m`` (wrapped here, one line on the wire)::

    {"schema":"candled.signal/1","id":"2c2fdc2ad62d1bbbee0ccbcc0ab3a3b8","epoch":"e1",
     "exchange":"binance","symbol":"BTCUSDT","interval":"1m","bar_open":"2025-01-01T00:00:00Z",
     "bar_close":"2025-01-01T00:01:00Z","bar_open_ms":1735689600000,"bar_close_ms":1735689660000,
     "threshold":0.6,"price":93576.0,"regime":1,"regime_name":"Trending Up","raw_regime":1,
     "quality":[],"model":"ribbon","digest":"f3...","policy":"0a...",
     "decided_at":"2025-01-01T00:01:00.041Z","seq":7,"side":"long",
     "probabilities":{"no_trade":0.21,"long":0.6123,"short":0.1777},
     "target":{"profit_pct":0.6,"stop_pct":0.3,"lookahead_bars":10},
     "published_at":"2025-01-01T00:01:00.042Z","valid_until":"2025-01-01T00:02:00Z",
     "valid_until_ms":1735689720000,"lateness_ms":38,"source":"ws","live":true,"supersedes":null,
     "novelty":0.0136,"evidence":{"above":0.55,"below":null,"n":812,"coverage":0.05,
     "precision":0.328,"low":0.29,"high":0.366,"base_rate":0.245,"gross_pct":0.17}}

Times are UTC; a name ending in ``_ms`` is milliseconds since 1970, the same name without it
ISO-8601 with ``Z``. Numbers are written with the fewest digits that give back the same bits: prices
read as float64, probabilities as float32.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

SignalSide = Literal["long", "short"]
AnySide = Literal["long", "short", "flat", "no_decision"]
Reason = Annotated[str | None, Meta(description="Why it is not what the bare model would say")]
Position = Annotated[int, Meta(ge=0, le=2, description="0 ranging, 1 trending up, 2 trending down")]
Unit = Annotated[float, Meta(ge=0, le=1, description="A float32 in its shortest decimal text")]
Share = Annotated[float, Meta(ge=0, le=1)]
Seq = Annotated[int, Meta(ge=1, description="Contiguous within a stream and an epoch, from 1")]


class Odds(msgspec.Struct, frozen=True):
    """The model's answer."""

    no_trade: Unit
    long: Unit
    short: Unit


MaybeOdds = Annotated[Odds | None, Meta(description="null when the model was not asked")]


class Goal(msgspec.Struct, frozen=True):
    """What the model was trained to foresee."""

    profit_pct: float
    stop_pct: float
    lookahead_bars: int


class Showing(msgspec.Struct, frozen=True):
    """What out-of-sample rows showed when a side's probability was in one band."""

    above: Annotated[Unit, Meta(description="Lower edge of the band, which belongs to it")]
    below: Annotated[Unit | None, Meta(description="Upper edge, which does not; null: none")]
    n: Annotated[int, Meta(ge=0, description="How many rows fell into the band")]
    coverage: Annotated[Share, Meta(description="Their share of all out-of-sample rows")]
    precision: Annotated[Share, Meta(description="The share of them for which the side was right")]
    low: Annotated[Share, Meta(description="Lower end of the precision's 95 % interval")]
    high: Annotated[Share, Meta(description="Its upper end")]
    base_rate: Annotated[Share, Meta(description="Of all out-of-sample rows, right for the side")]
    gross_pct: Annotated[float | None, Meta(description="Mean result before costs; null: unknown")]


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What every message about a decision says first."""

    id: Annotated[str, Meta(description="The same whenever this bar is decided again")]
    epoch: Annotated[str, Meta(description="Changes only if the journal was lost")]
    exchange: str
    symbol: str
    interval: str
    bar_open: str
    bar_close: Annotated[str, Meta(description="Exclusive end of the bar")]
    bar_open_ms: int
    bar_close_ms: int
    threshold: Annotated[float, Meta(description="A side needs a probability strictly above it")]
    price: Annotated[float, Meta(description="Close of the bar")]
    regime: Position
    regime_name: str
    raw_regime: Annotated[Position, Meta(description="The regime before confirmation")]
    quality: Annotated[tuple[str, ...], Meta(description="What is unusual about the bars")]
    model: str
    digest: Annotated[str, Meta(description="Of the model bundle")]
    policy: Annotated[str, Meta(description="Digest of the policy")]
    decided_at: Annotated[str, Meta(description="Venue's clock")]
    novelty: Annotated[
        Share | None, Meta(description="Of the features outside their training ranges; or unknown")
    ]


class Effect(Subject, frozen=True, kw_only=True):
    """And what follows from it."""

    target: Goal | None
    valid_until: Annotated[str, Meta(description="From then on not to be acted on; venue's clock")]
    valid_until_ms: int
    lateness_ms: Annotated[int, Meta(description="From the end of the bar to its arrival here")]
    source: Annotated[Literal["ws", "rest", "backfill"], Meta(description="How the bar arrived")]
    evidence: Annotated[
        Showing | None, Meta(description="At this confidence; null when unknown or no signal")
    ]


class Signal(Effect, frozen=True, kw_only=True, tag_field="schema", tag="candled.signal/1"):
    """A long or a short. To be acted on once, only while live and before valid_until."""

    seq: Seq
    side: SignalSide
    probabilities: Odds
    published_at: Annotated[str, Meta(description="Venue's clock")]
    live: Annotated[bool, Meta(description="False when too late, or already corrected, then")]
    supersedes: Annotated[
        str | None, Meta(description="Id of this bar's signal before, whose place it takes")
    ]


class Shadow(Subject, frozen=True, kw_only=True, tag_field="schema", tag="candled.shadow/1"):
    """What a stream's challenger would signal. For judging it: never a reason to trade.

    So it has no `valid_until` and is not `live`. Its ids and numbers are the challenger's own.
    """

    seq: Annotated[int, Meta(ge=1, description="Contiguous for each digest and policy of a stream")]
    side: SignalSide
    probabilities: Odds
    target: Goal | None
    evidence: Annotated[Showing | None, Meta(description="At this confidence; null when unknown")]
    published_at: Annotated[str, Meta(description="Venue's clock")]


class Record(Effect, frozen=True, kw_only=True):
    """A decision of any kind, as a line of the log says it."""

    seq: Annotated[Seq | None, Meta(description="null unless it is a signal")]
    side: AnySide
    reason: Reason
    probabilities: MaybeOdds


class Replaced(msgspec.Struct, frozen=True):
    """What a correction takes the place of."""

    id: Annotated[str, Meta(description="Of the decision that was made before")]
    side: AnySide
    signal: Annotated[str | None, Meta(description="Id of the bar's newest signal; null: none")]
    seq: Annotated[Seq | None, Meta(description="Its number")]


class Correction(Record, frozen=True, kw_only=True, tag_field="schema", tag="candled.correction/1"):
    """A decision that takes the place of an earlier one, since the venue revised a bar."""

    revision: Annotated[int, Meta(ge=1, description="1, 2, 3 ... of this bar's decision")]
    supersedes: Replaced


class Head(Subject, frozen=True, kw_only=True, tag_field="schema", tag="candled.head/1"):
    """The newest decision of a stream, of any kind. A sign of life, never a reason to trade."""

    last_signal_seq: Annotated[int, Meta(ge=0, description="0 before the first signal")]
    side: AnySide
    reason: Reason
    probabilities: MaybeOdds
    updated_at: Annotated[str, Meta(description="Venue's clock")]
    stream_state: Annotated[
        Literal["warming", "live", "holding", "degraded", "stopped"] | None,
        Meta(description="How the stream is doing; null when it is not served now"),
    ]
    stream_reason: Annotated[str, Meta(description="Why it is not live, for people")]


class Status(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="candled.status/1"):
    """Whether the service can be relied on; retained, and also its will."""

    state: Literal["online", "degraded", "offline"]
    reasons: tuple[str, ...]
    since: Annotated[str | None, Meta(description="Wall clock; null in a will")]
    instance: Annotated[str, Meta(description="Which process says so")]
    epoch: str
    beat_s: Annotated[
        float | None,
        Meta(description="Said again so often while it lives (s): silence is no calm; null: not"),
    ] = None


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model in use and what is known about it."""

    name: str
    digest: str
    evidence: Annotated[
        dict[SignalSide, tuple[Showing, ...]], Meta(description="Bands of each side, where known")
    ]


class ExchangeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A venue in use and what its bars are worth."""

    dialect: str
    close_source: Annotated[
        Literal["flagged", "inferred"],
        Meta(description="The venue says that a bar is closed, or a later bar in its history does"),
    ]


class Info(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="candled.info/1"):
    """What is running; retained."""

    version: str
    config_digest: str
    models: tuple[ModelInfo, ...]
    exchanges: Annotated[dict[str, ExchangeInfo], Meta(description="By their configured names")]
    streams: Annotated[tuple[str, ...], Meta(description="exchange/symbol/interval")]
    epoch: str
    protocol: Annotated[
        Literal["5", "3.1.1"], Meta(description="The MQTT that the broker is spoken to in")
    ] = "5"
    losses: Annotated[
        tuple[str, ...], Meta(description="What consumers must do without in MQTT 3.1.1")
    ] = ()


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="candled.event/1"):
    """A hazard that was met, and what was done about it. For people and monitors."""

    exchange: str
    symbol: Annotated[str | None, Meta(description="null when it is about no one stream")]
    interval: str | None
    hazard: str
    act: str
    text: Annotated[str, Meta(description="What was seen, with numbers")]
    bar_open: Annotated[str | None, Meta(description="Which bar it is about, if about one")]
    at: Annotated[str, Meta(description="Venue's clock")]
    unsaid: Annotated[int, Meta(ge=0, description="How many like it were not told before it")]


class DigestLine(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of a close, in short."""

    id: str
    symbol: str
    side: AnySide
    reason: Reason
    probabilities: MaybeOdds
    seq: Annotated[Seq | None, Meta(description="null unless it is a signal")]
    price: float
    regime: Position


class Digest(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="candled.digest/1"):
    """The decisions of one exchange and interval about bars that opened together.

    For dashboards: never a reason to trade. What is decided later than the first part follows in
    further ones.
    """

    epoch: str
    exchange: str
    interval: str
    bar_open: str
    bar_close: str
    bar_open_ms: int
    bar_close_ms: int
    part: Annotated[int, Meta(ge=1, description="1, 2, 3 ... of this close")]
    decided: Annotated[int, Meta(ge=0, description="How many streams this and earlier parts name")]
    expected: Annotated[int, Meta(ge=0, description="How many streams there are")]
    decisions: tuple[DigestLine, ...]
    published_at: Annotated[str, Meta(description="Venue's clock")]


class ReplayRequest(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="candled.replay-request/1"
):
    """Who missed signals asks for those of one stream that are numbered above `since_seq`.

    The answer goes to the message's response topic with its correlation data (MQTT 5), or to
    `reply_to` with `correlation` in the payload; it must be ``{base}/replay/response/{client}``.
    """

    stream: Annotated[str, Meta(description="exchange/symbol/interval")]
    since_seq: Annotated[int, Meta(ge=0)]
    epoch: Annotated[
        str | None, Meta(description="Of since_seq; another one is replayed from 0")
    ] = None
    reply_to: Annotated[str | None, Meta(description="For MQTT 3.1.1")] = None
    correlation: Annotated[str | None, Meta(description="For MQTT 3.1.1; comes back")] = None


class Replay(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="candled.replay/1"):
    """An answer: signals of the past, for the record. Never a reason to trade."""

    stream: str
    epoch: str
    since_seq: Annotated[int, Meta(ge=0, description="They are numbered above this")]
    last_seq: Annotated[int, Meta(ge=0, description="Number of the stream's newest signal")]
    first_kept: Annotated[
        int | None, Meta(description="Number of the oldest signal still kept; null: none")
    ]
    signals: Annotated[tuple[Signal, ...], Meta(description="Ascending; live is always false")]
    complete: Annotated[bool, Meta(description="False: ask again from the last one's seq")]
    correlation: str | None
    error: Annotated[str | None, Meta(description="Why there are none, for people")] = None
    retry_after_s: Annotated[float | None, Meta(description="When asked too often")] = None
