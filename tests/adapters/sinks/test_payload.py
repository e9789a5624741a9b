from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from candled.core.bar import MINUTE
from candled.core.decision import Probabilities, Quality, Reason, Side
from candled.ports import (
    Act,
    Entry,
    Hazard,
    Health,
    Incident,
    Notice,
    ServiceState,
    StreamHealth,
    StreamState,
)
from candled_adapters.protocol import shapes
from candled_adapters.sinks import payload
from fakes import BTC, EVENING_MS, Decisions, evidence, float32
from models import model

NOW = EVENING_MS + MINUTE + 42


def said(text: bytes) -> dict[str, object]:
    message: dict[str, object] = json.loads(text)
    return message


def test_a_signal_says_everything_in_flat_json():
    """The payload of a long has these names and values, and no others."""
    entry = Decisions().make(Side.LONG)
    entry = replace(entry, decision=replace(entry.decision, quality=(Quality.GAP,)))
    assert said(payload.signal(entry, "e1", NOW)) == {
        "schema": "candled.signal/1",
        "id": entry.decision.id,
        "seq": 1,
        "epoch": "e1",
        "exchange": "binance",
        "symbol": "BTCUSDT",
        "interval": "1m",
        "bar_open": "2025-01-01T00:00:00Z",
        "bar_close": "2025-01-01T00:01:00Z",
        "bar_open_ms": EVENING_MS,
        "bar_close_ms": EVENING_MS + MINUTE,
        "side": "long",
        "probabilities": {"no_trade": 0.21, "long": 0.6123, "short": 0.1777},
        "threshold": 0.6,
        "price": 93_576.01,
        "regime": 1,
        "regime_name": "Trending Up",
        "raw_regime": 2,
        "target": {"profit_pct": 0.6, "stop_pct": 0.3, "lookahead_bars": 10},
        "quality": ["gap"],
        "model": "ribbon",
        "digest": "model-digest",
        "policy": "policy-digest",
        "decided_at": "2025-01-01T00:01:00.041Z",
        "published_at": "2025-01-01T00:01:00.042Z",
        "valid_until": "2025-01-01T00:02:00Z",
        "valid_until_ms": EVENING_MS + 2 * MINUTE,
        "lateness_ms": 38,
        "source": "ws",
        "live": True,
        "supersedes": None,
        "novelty": 3 / 220,
        "evidence": {
            "above": 0.55,
            "below": None,
            "n": 812,
            "coverage": 0.05,
            "precision": 0.328,
            "low": 0.29,
            "high": 0.366,
            "base_rate": 0.245,
            "gross_pct": 0.17,
        },
    }


def test_what_is_not_known_of_a_signal_is_null():
    """Without ranges and evidence in the bundle, both names are there and say nothing."""
    entry = Decisions().make(Side.SHORT)
    entry = replace(entry, decision=replace(entry.decision, novelty=None, evidence=None))
    message = said(payload.signal(entry, "e1", NOW))
    assert (message["novelty"], message["evidence"]) == (None, None)


def test_a_head_tells_the_novelty_and_leaves_the_evidence_to_the_signal():
    """How unusual the bar is belongs to a sign of life; what speaks for a trade does not."""
    head = said(payload.head(Decisions().make(Side.LONG), "e1", NOW, None))
    assert head["novelty"] == 3 / 220
    assert "evidence" not in head
    untold = payload.head(Decisions().make(Side.NO_DECISION), "e1", NOW, None)
    assert said(untold)["novelty"] is None


def test_a_record_of_a_suppressed_signal_says_why_and_what_was_asked():
    """The log's line of a gated bar is flat, with the reason, the odds, and without evidence."""
    entry = Decisions().make(Side.FLAT)
    entry = replace(entry, decision=replace(entry.decision, reason=Reason.NOVELTY))
    line = said(payload.encode(payload.record(entry, "e1")))
    assert (line["side"], line["reason"], line["novelty"]) == ("flat", "novelty", 3 / 220)
    assert line["probabilities"] is not None
    assert line["evidence"] is None


def test_info_holds_the_bands_of_each_side():
    """A model's evidence is told by side; of a model without any, nothing is."""
    short = evidence(Side.SHORT)
    lower = replace(short, above=float32(0.5), below=short.above)
    knowing = replace(model(), evidence=(evidence(Side.LONG), lower, short))
    info = said(payload.encode(payload.model_info(knowing)))
    assert (info["name"], info["digest"]) == (knowing.name, knowing.digest)
    assert {
        side: [(band["above"], band["below"]) for band in bands]
        for side, bands in info["evidence"].items()
    } == {"long": [(0.55, None)], "short": [(0.5, 0.55), (0.55, None)]}
    assert said(payload.encode(payload.model_info(model())))["evidence"] == {}


@pytest.mark.parametrize(("after_ms", "live"), [(-1, True), (0, False), (1, False)])
def test_a_signal_is_live_until_it_is_no_longer_valid(after_ms, live):
    """At valid_until itself it is too late."""
    entry = Decisions().make()
    now = entry.decision.valid_until + after_ms
    assert said(payload.signal(entry, "e1", now))["live"] is live


@pytest.mark.parametrize("side", [Side.FLAT, Side.NO_DECISION])
def test_only_a_long_or_short_can_be_said_as_a_signal(side):
    """Anything else is a programming error, and named."""
    with pytest.raises(ValueError, match="is not a signal"):
        payload.signal(Decisions().make(side), "e1", NOW)


def test_a_head_tells_of_a_decision_that_was_not_taken():
    """It says why, and which signal was the last, so that a loss shows."""
    decisions = Decisions()
    decisions.some(3)
    head = said(payload.head(decisions.make(Side.NO_DECISION), "e1", NOW, None))
    assert head["schema"] == "candled.head/1"
    assert (head["side"], head["reason"]) == ("no_decision", "warmup")
    assert head["probabilities"] is None
    assert head["last_signal_seq"] == 3
    assert head["updated_at"] == "2025-01-01T00:01:00.042Z"
    assert (head["stream_state"], head["stream_reason"]) == (None, "")


@pytest.mark.parametrize("state", list(StreamState))
def test_a_head_says_how_its_stream_is_doing(state: StreamState):
    """So that whoever looks at one stream need not look for it in the status."""
    health = StreamHealth(BTC, state, "bar 12:00 is missing")
    text = payload.head(Decisions().make(Side.LONG), "e1", NOW, health)
    read = msgspec.json.decode(text, type=shapes.Head)
    assert (read.stream_state, read.stream_reason) == (state.value, "bar 12:00 is missing")


def test_a_correction_is_a_record_that_says_what_it_replaces():
    """It has all that the log says of a decision, its revision, and whose place it takes."""
    decisions = Decisions()
    first = decisions.make(Side.LONG)
    kept = decisions.correct(first, Side.LONG)
    turned = decisions.correct(kept, Side.SHORT)
    message = said(payload.encode(payload.correction(turned, "e1")))
    assert message.pop("schema") == "candled.correction/1"
    assert message.pop("revision") == 2
    assert message.pop("supersedes") == {
        "id": kept.decision.id, "side": "long", "signal": first.decision.id, "seq": 1,
    }  # fmt: skip
    assert message == said(payload.encode(payload.record(turned, "e1")))
    assert (message["id"], message["seq"], message["side"]) == (turned.decision.id, 2, "short")
    assert said(payload.encode(payload.correction(kept, "e1")))["seq"] is None
    with pytest.raises(ValueError, match="corrects nothing"):
        payload.correction(first, "e1")


def test_a_signal_names_the_signal_that_it_takes_the_place_of():
    """It is the bar's signal before that a bot has seen, not a correction that was no signal."""
    decisions = Decisions()
    first = decisions.make(Side.LONG)
    for between in (Side.LONG, Side.FLAT):
        turned = decisions.correct(decisions.correct(first, between), Side.SHORT)
        assert said(payload.signal(turned, "e1", NOW))["supersedes"] == first.decision.id
    new = decisions.correct(decisions.make(Side.FLAT), Side.SHORT)
    assert said(payload.signal(new, "e1", NOW))["supersedes"] is None
    with pytest.raises(ValueError, match="not a signal with a number"):
        payload.signal(decisions.correct(first, Side.LONG), "e1", NOW)


def test_a_withdrawn_signal_is_not_live():
    """What is known to be wrong when it is published is for the record only."""
    text = payload.signal(Decisions().make(), "e1", NOW, withdrawn=True)
    assert said(text)["live"] is False


INCIDENT = Incident("binance", BTC, Hazard.GAP, Act.FLAG, "3 bars never were", NOW, EVENING_MS)


def test_an_event_says_what_was_met_and_what_was_done():
    """Of one stream's bar, or of an exchange alone; nothing is left out."""
    assert said(payload.event(Notice(1, INCIDENT, 4))) == {
        "schema": "candled.event/1",
        "exchange": "binance",
        "symbol": "BTCUSDT",
        "interval": "1m",
        "hazard": "gap",
        "act": "flag",
        "text": "3 bars never were",
        "bar_open": "2025-01-01T00:00:00Z",
        "at": "2025-01-01T00:01:00.042Z",
        "unsaid": 4,
    }
    alone = said(payload.event(Notice(2, replace(INCIDENT, stream=None, bar_open=None), 0)))
    assert [alone[name] for name in ("symbol", "interval", "bar_open")] == [None, None, None]


def test_the_log_and_the_wire_use_the_same_names():
    """A log line is a signal without what only publishing knows, and with the reason."""
    logged = set(shapes.Record.__struct_fields__)
    published = set(shapes.Signal.__struct_fields__)
    assert logged - published == {"reason"}
    assert published - logged == {"published_at", "live", "supersedes"}


def test_status_and_will_have_one_form():
    """The will says offline; when that was, only the broker knows."""
    health = Health(ServiceState.DEGRADED, ("binance is down",), EVENING_MS)
    assert said(payload.status(health, "i1", "e1")) == {
        "schema": "candled.status/1",
        "state": "degraded",
        "reasons": ["binance is down"],
        "since": "2025-01-01T00:00:00Z",
        "instance": "i1",
        "epoch": "e1",
        "beat_s": None,
    }
    will = msgspec.json.decode(payload.will("i1", "e1"), type=shapes.Status)
    assert (will.state, will.since) == ("offline", None)


@given(st.floats(0, 1, width=32))
@example(float32(0.6123))
@example(float32(1e-45))
@example(float32(0.1))
def test_probabilities_come_back_to_the_bit(value):
    """Read as a double and cast to float32, the text on the wire gives the model's own bits."""
    text = payload.encode(payload.shortest(value)).decode()
    assert np.float32(json.loads(text)).tobytes() == np.float32(value).tobytes()
    assert len(text) <= len(repr(float(value)))


def test_probabilities_are_written_short():
    """A person reads 0.6123, not 0.6122999787330627; a double is left as it is."""
    assert payload.shortest(float32(0.6123)) == 0.6123
    assert payload.shortest(0.1) == 0.1


@given(st.floats(1e-9, 1e9))
def test_prices_come_back_to_the_bit(price):
    """A price is a double, and so is its text."""
    entry = Decisions().make()
    entry = replace(entry, decision=replace(entry.decision, price=price))
    assert said(payload.signal(entry, "e1", NOW))["price"] == price


@given(st.tuples(*[st.floats(0, 1, width=32)] * 3), st.sampled_from([Side.LONG, Side.SHORT]))
def test_a_signal_reads_back_as_its_type(values, side):
    """The types are the schema: what is said decodes strictly, and encodes to the same bytes."""
    entry: Entry = Decisions().make(side)
    probabilities = Probabilities(*values)
    entry = replace(entry, decision=replace(entry.decision, probabilities=probabilities))
    text = payload.signal(entry, "e1", NOW)
    read = msgspec.json.decode(text, type=shapes.Signal)
    assert read.side == side.value
    assert payload.encode(read) == text


def test_a_schema_can_be_made_of_every_message():
    """Every message's type is a JSON Schema with its name in it."""
    kinds = (
        shapes.Signal, shapes.Correction, shapes.Head, shapes.Event, shapes.Status, shapes.Info,
    )  # fmt: skip
    _, schemas = msgspec.json.schema_components(kinds)
    tags = {schemas[kind.__name__]["properties"]["schema"]["enum"][0] for kind in kinds}
    names = ("signal", "correction", "head", "event", "status", "info")
    assert tags == {f"candled.{name}/1" for name in names}
