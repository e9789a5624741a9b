"""The schemas say what the payloads are: each real one fits, and none that breaks the contract."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from candled.core.bar import MINUTE, Stream
from candled.core.correction import correction
from candled.core.decision import Evidence, Probabilities, Quality, Reason, Side, Source, Target
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
from candled_adapters.protocol import schema, shapes
from candled_adapters.sinks import payload
from fakes import BTC, EVENING_MS, Decisions, float32

DOCS = Path(__file__).parents[2] / "docs" / "protocol"
VALIDATORS = {kind: Draft202012Validator(schema.payload_schema(kind)) for kind in schema.PAYLOADS}

TEXT = st.text(max_size=20)
PRICE = st.floats(1e-12, 1e12, allow_nan=False)
SHARE = st.floats(0, 1, allow_nan=False)
SINGLE = st.floats(0, 1, width=32)
MOMENT = st.integers(EVENING_MS, EVENING_MS * 2)
PERCENT = st.floats(-1e6, 1e6)
NAME = st.text("ABCXYZ-_.0123456789", min_size=1, max_size=12)
STREAM = st.builds(Stream, NAME, NAME, st.sampled_from(["1m", "1h", "1d"]))


@st.composite
def bands(draw: st.DrawFn, side: Side) -> Evidence:
    """Make what was shown of a side."""
    return Evidence(
        side, above=draw(SINGLE), below=draw(st.none() | SINGLE), n=draw(st.integers(0, 10**9)),
        coverage=draw(SHARE), precision=draw(SHARE), low=draw(SHARE), high=draw(SHARE),
        base_rate=draw(SHARE), gross_pct=draw(st.none() | PERCENT),
    )  # fmt: skip


@st.composite
def entries(draw: st.DrawFn, sides: list[Side]) -> Entry:
    """Make an entry with anything in it that a decision may hold."""
    side = draw(st.sampled_from(sides))
    made = Decisions().make(side, draw(STREAM))
    asked = side is not Side.NO_DECISION
    decision = replace(
        made.decision,
        probabilities=Probabilities(*draw(st.tuples(SINGLE, SINGLE, SINGLE))) if asked else None,
        reason=draw(st.none() | st.sampled_from(list(Reason))),
        threshold=draw(SHARE),
        target=draw(st.none() | st.builds(Target, st.integers(1, 500), PERCENT, PERCENT)),
        price=draw(PRICE),
        regime=draw(st.integers(0, 2)),
        raw_regime=draw(st.integers(0, 2)),
        quality=tuple(draw(st.lists(st.sampled_from(list(Quality)), unique=True))),
        model=draw(TEXT),
        novelty=draw(st.none() | SHARE),
        evidence=draw(st.none() | bands(side)) if side.is_signal else None,
    )
    return replace(
        made, decision=decision, source=draw(st.sampled_from(list(Source))),
        received_ms=draw(MOMENT), decided_ms=draw(MOMENT),
    )  # fmt: skip


@st.composite
def corrections(draw: st.DrawFn) -> Entry:
    """Make an entry that takes the place of another one."""
    was = draw(entries(list(Side)))
    becomes = draw(st.sampled_from([side for side in Side if side is not was.decision.side]))
    again = replace(
        was.decision, side=becomes, price=was.decision.price * 2,
        probabilities=Probabilities(*map(float32, (0.1, 0.2, 0.7))), evidence=None,
    )  # fmt: skip
    made = correction(again, was.decision, was.seq)
    assert made is not None
    seq = (was.seq or 0) + 1 if made.is_signal else None
    return replace(was, position=2, decision=made, seq=seq, last_seq=seq or was.last_seq)


HEALTH = st.builds(Health, st.sampled_from(ServiceState), st.lists(TEXT).map(tuple), MOMENT)
STREAM_HEALTH = st.none() | st.builds(StreamHealth, STREAM, st.sampled_from(StreamState), TEXT)
NOTICES = st.builds(
    Notice, st.integers(1), st.builds(
        Incident, NAME, st.none() | STREAM, st.sampled_from(Hazard), st.sampled_from(Act), TEXT,
        MOMENT, st.none() | MOMENT,
    ), st.integers(0),
)  # fmt: skip
SIGNALS = [Side.LONG, Side.SHORT]

SAID = st.one_of(
    st.builds(payload.signal, entries(SIGNALS), TEXT, MOMENT, withdrawn=st.booleans()),
    st.builds(payload.shadow, entries(SIGNALS), TEXT, MOMENT),
    st.builds(payload.head, entries(list(Side)), TEXT, MOMENT, STREAM_HEALTH),
    st.builds(payload.correction, corrections(), TEXT).map(payload.encode),
    st.builds(payload.status, HEALTH, TEXT, TEXT),
    st.builds(payload.will, TEXT, TEXT),
    st.builds(payload.event, NOTICES),
    st.builds(
        shapes.ReplayRequest, stream=TEXT, since_seq=st.integers(0), epoch=st.none() | TEXT,
        reply_to=st.none() | TEXT, correlation=st.none() | TEXT,
    ).map(payload.encode),
)  # fmt: skip


def kind_of(said: bytes) -> type[msgspec.Struct]:
    """Find the type that a payload says it is of."""
    names = {schema.name_of(kind): kind for kind in schema.PAYLOADS}
    return names[json.loads(said)["schema"]]


def complaints(said: Any, kind: type[msgspec.Struct]) -> list[str]:
    return [error.message for error in VALIDATORS[kind].iter_errors(said)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(said=SAID)
def test_whatever_is_said_fits_its_schema_and_reads_back_as_the_same(said: bytes):
    """Every payload is valid, strict JSON, and read by its type it is written the same again."""
    kind = kind_of(said)
    plain = json.loads(said, parse_constant=pytest.fail)
    assert complaints(plain, kind) == []
    assert msgspec.json.encode(msgspec.json.decode(said, type=kind)) == said
    assert json.loads(json.dumps(plain)) == msgspec.json.decode(said)


@given(value=SINGLE)
def test_probabilities_read_back_to_the_bit(value: float):
    """The shortest text of a float32 gives back the same float32."""
    text = msgspec.json.encode(payload.shortest(value))
    assert float32(json.loads(text)) == value


def examples() -> dict[type[msgspec.Struct], Any]:
    """Return a payload of each kind in which as much as possible is told."""
    making = Decisions()
    first, second = making.some(2)
    turned = making.correct(second, Side.SHORT)
    signal = json.loads(payload.signal(turned, "e1", EVENING_MS + 61_000))
    told = Incident("binance", BTC, Hazard.GAP, Act.FLAG, "12:00", EVENING_MS, EVENING_MS)
    live = StreamHealth(BTC, StreamState.LIVE, "")
    showing = signal["evidence"]
    line = {key: signal[key] for key in shapes.DigestLine.__struct_fields__ if key in signal}
    health = Health(ServiceState.DEGRADED, ("x",), 1)
    said: dict[type[msgspec.Struct], Any] = {
        shapes.Signal: signal,
        shapes.Correction: json.loads(payload.encode(payload.correction(turned, "e1"))),
        shapes.Head: json.loads(payload.head(first, "e1", EVENING_MS, live)),
        shapes.Status: json.loads(payload.status(health, "i", "e1")),
        shapes.Event: json.loads(payload.event(Notice(1, told, 0))),
        shapes.Info: {
            "schema": "candled.info/1", "version": "1", "config_digest": "d", "epoch": "e1",
            "models": [{"name": "m", "digest": "d", "evidence": {"long": [showing]}}],
            "exchanges": {"binance": {"dialect": "binance-spot", "close_source": "flagged"}},
            "streams": [BTC.path],
        },
        shapes.Digest: {
            "schema": "candled.digest/1", "epoch": "e1", "exchange": "binance", "interval": "1m",
            "bar_open": "x", "bar_close": "y", "bar_open_ms": 1, "bar_close_ms": MINUTE,
            "part": 1, "decided": 1, "expected": 2, "published_at": "z",
            "decisions": [{**line, "reason": None}],
        },
        shapes.Shadow: json.loads(payload.shadow(first, "e1", EVENING_MS)),
        shapes.ReplayRequest: {"schema": "candled.replay-request/1", "stream": "s", "since_seq": 0},
        shapes.Replay: {
            "schema": "candled.replay/1", "stream": BTC.path, "epoch": "e1", "since_seq": 0,
            "last_seq": 3, "first_kept": 1, "signals": [signal], "complete": True,
            "correlation": None,
        },
    }  # fmt: skip
    return said


EXAMPLES = examples()
MAPS = [("exchanges",), ("models", 0, "evidence")]  # their keys are names, not fields


@pytest.mark.parametrize("kind", schema.PAYLOADS)
def test_an_example_of_each_kind_is_read_by_its_type_and_by_its_schema(kind: type[msgspec.Struct]):
    """Both take it, also with fields that are not known, at every depth."""
    said = EXAMPLES[kind]
    assert complaints(said, kind) == []
    msgspec.convert(said, kind)
    for where in places(said):
        if isinstance(value_at(said, where), dict) and where not in MAPS:
            more = at(said, where, {**value_at(said, where), "of_tomorrow": [1]})
            assert complaints(more, kind) == [], where
            msgspec.convert(more, kind)


def broken(said: Any) -> Iterator[tuple[str, Any]]:
    """Yield copies of a payload, each with one thing that is not as it must be."""
    for where in places(said):
        value = value_at(said, where)
        if where and isinstance(where[-1], str):
            yield f"without {where}", without(said, where)
        wrong = {"a": 1} if isinstance(value, str | bool) or value is None else "text"
        yield f"{where} is {wrong}", at(said, where, wrong)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{where} is true", at(said, where, True)
        if isinstance(value, int) and not isinstance(value, bool):
            yield f"{where} is a fraction", at(said, where, value + 0.5)


@pytest.mark.parametrize("kind", schema.PAYLOADS)
def test_what_breaks_the_contract_is_refused(kind: type[msgspec.Struct]):
    """A missing field, a wrong type or a fraction of a whole, anywhere: schema and type refuse it.

    But for what may be absent, and for numbers that may be fractions. What does not say what it is
    is refused by the schema alone: who asks for a type knows already.
    """
    tried = 0
    for what, said in broken(EXAMPLES[kind]):
        try:
            msgspec.convert(said, kind)
        except msgspec.ValidationError:
            tried += 1
            assert complaints(said, kind), what
        else:
            assert bool(complaints(said, kind)) == (
                what.startswith("without") and "'schema'" in what
            ), what
    assert tried > 2 * len(kind.__struct_fields__) - 8


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (shapes.Signal, "schema", "candled.signal/2"),
        (shapes.Signal, "seq", 0),
        (shapes.Signal, "side", "flat"),
        (shapes.Signal, "source", "carrier pigeon"),
        (shapes.Signal, "regime", 3),
        (shapes.Signal, "novelty", 1.01),
        (shapes.Correction, "revision", 0),
        (shapes.Head, "last_signal_seq", -1),
        (shapes.Head, "stream_state", "lively"),
        (shapes.Status, "state", "maybe"),
        (shapes.Digest, "part", 0),
        (shapes.ReplayRequest, "since_seq", -1),
    ],
)
def test_values_outside_their_limits_are_refused(kind, field: str, value: object):
    """Numbers, names and versions that the contract does not know are no payload."""
    assert complaints({**EXAMPLES[kind], field: value}, kind)


def places(said: Any, where: tuple = ()) -> Iterator[tuple]:
    """Yield the way to every value, the whole first."""
    yield where
    pairs = (
        said.items()
        if isinstance(said, dict)
        else enumerate(said)
        if isinstance(said, list | tuple)
        else ()
    )
    for key, value in pairs:
        yield from places(value, (*where, key))


def value_at(said: Any, where: tuple) -> Any:
    for key in where:
        said = said[key]
    return said


def at(said: Any, where: tuple, value: Any) -> Any:
    """Return a copy with another value somewhere."""
    if not where:
        return value
    copy = dict(said) if isinstance(said, dict) else list(said)
    copy[where[0]] = at(said[where[0]], where[1:], value)
    return copy


def without(said: Any, where: tuple) -> Any:
    copy = dict(said) if isinstance(said, dict) else list(said)
    if len(where) == 1:
        del copy[where[0]]
    else:
        copy[where[0]] = without(said[where[0]], where[1:])
    return copy


# --- the documents


def test_the_documents_are_those_of_the_code(tmp_path: Path):
    """What stands in docs/protocol is what is generated; if not, `make protocol` writes it."""
    command = [sys.executable, "-m", "candled_adapters.protocol.schema", str(tmp_path)]
    subprocess.run(command, check=True, timeout=30)
    made = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert made == {file.name: file.read_text() for file in DOCS.glob("*.json")}
    assert all(f"({name})" in (DOCS / "README.md").read_text() for name in made if "schema" in name)


def test_each_schema_is_one_and_has_a_name_of_its_own():
    """They are valid 2020-12, told apart by `$id`, and closed to no further field."""
    documents = [json.loads(file.read_text()) for file in sorted(DOCS.glob("*.schema.json"))]
    for document in documents:
        Draft202012Validator.check_schema(document)
        assert 'additionalProperties": false' not in json.dumps(document)
    assert len({document["$id"] for document in documents}) == len(documents) == 10


def test_the_asyncapi_document_refers_to_what_it_holds():
    """Every reference leads somewhere, and every channel, message and schema is used."""
    document = json.loads((DOCS / "asyncapi.json").read_text())
    refs = [value_at(document, where) for where in places(document) if where[-1:] == ("$ref",)]
    for ref in refs:
        assert value_at(document, tuple(ref.removeprefix("#/").split("/"))), ref
    for part in ("schemas", "messages", "parameters", "securitySchemes"):
        for name in document["components"][part]:
            assert f"#/components/{part}/{name}" in refs, name
    for name in document["channels"]:
        assert f"#/channels/{name}" in refs, name


def test_the_asyncapi_document_says_where_and_how():
    """Addresses are the topics', a signal is never retained, and what is retained is a state."""
    document = json.loads((DOCS / "asyncapi.json").read_text())
    channels, operations = document["channels"], document["operations"]
    assert channels["signal"]["address"] == "{base}/signal/{exchange}/{symbol}/{interval}"
    for channel in channels.values():
        named = {part for part in (channel["address"] or "").split("/") if part[:1] == "{"}
        assert named == {f"{{{name}}}" for name in channel.get("parameters", {})}
    retained = {key for key, one in operations.items() if one["bindings"]["mqtt"]["retain"]}
    assert retained == {"tellStatus", "tellInfo", "tellHead"}
    assert operations["signal"]["bindings"]["mqtt"]["qos"] == 1
    assert operations["answerReplay"]["action"] == "receive"
    assert operations["answerReplay"]["reply"]["channel"] == {"$ref": "#/channels/replayResponse"}
    sent = {ref["$ref"].rsplit("/", 1)[1] for one in operations.values() for ref in one["messages"]}
    assert sent | {"Replay"} == {kind.__name__ for kind in schema.PAYLOADS}
