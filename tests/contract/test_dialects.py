"""The contract of every dialect: spelling, asking, reading, and refusing what is no frame."""

from __future__ import annotations

import contextlib
import json
import random
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import HOUR, INTERVALS, Bar, Interval, Stream, broken_rule
from candled_adapters.exchanges.dialect import (
    Closing,
    Control,
    ControlKind,
    Kline,
    MalformedFrame,
    Page,
    RefusalKind,
    Sign,
)
from candled_adapters.exchanges.registry import DIALECTS, dialect_problem, interval_problem
from candled_adapters.feeds.pushed import same
from contract.cases import BAR, CASES, NEXT, OPEN, Case, encoded
from contract.mutation import mutated, wrong_values

case_of = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}:{case.symbol}")
GARBAGE = [
    *(b"", b" ", b"null", b"true", b"0", b'"text"', b"[]", b"[[]]", b"\x00\x01\x02", b"\xff\xfe"),
    *(b"<html><body>502 Bad Gateway</body></html>", b"[" * 100_000, b'{"a":' * 100_000),
]


def test_every_dialect_has_a_case():
    """No name of the registry is without evidence."""
    assert {case.name for case in CASES} == set(DIALECTS)


def test_an_unknown_dialect_is_told_the_nearest():
    """A misspelled name gets all names, and the one that was meant."""
    assert dialect_problem("okx") == ""
    assert "did you mean 'bybit-linear'?" in dialect_problem("bybit-liner")
    assert "hyperliquid" in dialect_problem("zzz")


@case_of
def test_symbols_are_spelled_as_the_venue_does(case: Case):
    """What is right passes; what is wrong is refused, with the right one where that is clear."""
    for symbol in (case.symbol, *case.spelled):
        assert case.dialect.symbol_problem(symbol) == ""
        assert not set(symbol) & set("/ +#")
    for wrong, right in case.wrong.items():
        problem = case.dialect.symbol_problem(wrong)
        assert problem.startswith(f"{wrong!r} is not how {case.dialect.name} spells a symbol")
        assert ("did you mean" in problem) == bool(right)
        assert not right or problem.endswith(f"did you mean {right!r}?")
        assert not right or case.dialect.symbol_problem(right) == ""


@case_of
def test_intervals_are_mapped_or_refused(case: Case):
    """Each that the venue has can be asked for; another is refused with the list of those."""
    assert case.dialect.intervals <= {interval.name for interval in INTERVALS}
    for name in case.dialect.intervals:
        assert interval_problem(case.dialect, name) == ""
        stream = Stream("venue", case.symbol, name)
        case.dialect.history_request(stream, Page(None, None, 2, NEXT))
        case.dialect.history_request(stream, Page(OPEN, NEXT, 2, NEXT))
        assert case.dialect.subscribe([stream], 1)
        assert case.dialect.pushed_interval(name) in case.dialect.intervals
    problem = interval_problem(case.dialect, case.no_interval)
    assert problem.startswith(f"{case.dialect.name} has no {case.no_interval} bars; it has ")
    assert ", 1h, " in problem


@case_of
def test_subscriptions_carry_each_stream_once(case: Case):
    """Frames are JSON text, their ids differ, and no stream is forgotten or asked for twice."""
    symbols = [f"{case.symbol}{number}" for number in range(450)]
    names = sorted(case.dialect.intervals)[:2]
    streams = [Stream("venue", symbol, name) for symbol in symbols for name in names]
    subscriptions = case.dialect.subscribe(streams, 5)
    carried = [stream for subscription in subscriptions for stream in subscription.streams]
    assert sorted(carried) == sorted(streams)
    assert len({subscription.id for subscription in subscriptions}) == len(subscriptions)
    for subscription in subscriptions:
        assert isinstance(json.loads(subscription.frame.decode()), dict)


@case_of
def test_subscriptions_end_by_frames_that_name_the_same_streams(case: Case):
    """One frame more says goodbye to what one frame asked for, and is no question itself."""
    streams = [Stream("venue", f"{case.symbol}{number}", "1h") for number in range(250)]
    ends = case.dialect.unsubscribe(streams, 40)
    assert sorted(stream for end in ends for stream in end.streams) == sorted(streams)
    asked = [s for s in case.dialect.subscribe(streams, 40) if s.streams]
    assert len(ends) == len(asked)
    for end, subscription in zip(ends, asked, strict=True):
        assert end.streams == subscription.streams
        assert b"unsubscribe" in end.frame.lower()
        said = end.frame.lower().replace(b"unsubscribe", b"subscribe")
        asked_for = subscription.frame.lower().replace(b',"snapshot":true', b"")
        assert json.loads(said) == json.loads(asked_for)


@case_of
def test_an_answer_about_one_of_many_streams_names_it(case: Case):
    """Where the venue answers for each symbol, its neighbours are not meant."""
    facts = [fact for frame in case.named for fact in case.dialect.parse(frame)]
    assert [(fact.kind, fact.symbol) for fact in facts if isinstance(fact, Control)] == [
        (kind, symbol) for kind, symbol in case.named.values()
    ]


def test_a_refusal_that_quotes_what_was_asked_is_an_answer_to_it():
    """Hyperliquid numbers nothing, but repeats the subscription that it will not have."""
    dialect, stream = DIALECTS["hyperliquid"], Stream("venue", "NOPE", "1h")
    (subscription,) = dialect.subscribe([stream], 1)
    asked = json.dumps(json.loads(subscription.frame)["subscription"], separators=(",", ":"))
    said = encoded({"channel": "error", "data": f"Invalid subscription {asked}"})
    (control,) = dialect.parse(said)
    assert isinstance(control, Control)
    assert (control.kind, control.id) == (ControlKind.ERROR, subscription.id)


@case_of
def test_limits_and_hosts_are_data(case: Case):
    """Every limit is above zero, addresses are TLS, another host replaces them whole."""
    dialect, limits = case.dialect, case.dialect.limits
    assert min(limits.streams_per_connection, limits.connects, limits.history_page) > 0
    assert min(limits.frames_per_second, limits.connect_window_s, limits.max_age_s) > 0
    assert dialect.websocket_base.startswith("wss://")
    assert dialect.rest_base.startswith("https://")
    url = dialect.websocket_url("ws://127.0.0.1:1/", [case.stream])
    assert url.startswith("ws://127.0.0.1:1/")
    assert "//" not in url.removeprefix("ws://")
    assert dialect.keepalive is None or 0 < dialect.keepalive.every_s <= 30


@case_of
def test_an_open_bar_is_never_read_as_closed(case: Case):
    """It is a sign of life, and says whose; a venue without a flag must report it whole."""
    (kline,) = case.dialect.parse(encoded(case.open))
    if case.dialect.closing is Closing.FLAG:
        assert kline == Sign(case.symbol, case.dialect.pushed_interval("1h"))
    else:
        assert isinstance(kline, Kline)
        assert not kline.closed
        assert kline.symbol == case.symbol
        assert kline.interval == case.dialect.pushed_interval("1h")
        shown = case.shown(BAR)
        end = Interval(kline.interval).end(OPEN) - 1
        assert same(kline.bar, Bar(**{**fields_of(shown), "close_time": end}))
        assert kline.event_ms == 0 or OPEN <= kline.event_ms < NEXT


def fields_of(bar: Bar) -> dict[str, float]:
    return {name: getattr(bar, name) for name in bar.__slots__}


@case_of
def test_a_closed_bar_is_read_with_its_exact_numbers(case: Case):
    """Columns that the venue lacks are NaN, never 0; a venue that says nothing closes nothing."""
    if case.closed is None:
        assert case.dialect.closing is Closing.SUCCESSOR
        return
    (kline,) = case.dialect.parse(encoded(case.closed))
    assert isinstance(kline, Kline)
    assert kline.closed
    assert (kline.symbol, kline.interval) == (case.symbol, "1h")
    assert same(kline.bar, case.shown(BAR))
    assert kline.event_ms == 0 or kline.event_ms >= NEXT
    assert broken_rule(kline.bar, Interval("1h")) is None


@case_of
def test_frames_without_a_candle_are_control(case: Case):
    """Acknowledgements, refusals, pongs, shutdown notices, and what is yet unknown."""
    for frame, kind in case.frames.items():
        (control,) = case.dialect.parse(frame)
        assert isinstance(control, Control)
        assert control.kind is kind, frame


@case_of
def test_an_acknowledgement_names_its_subscription(case: Case):
    """Where the answer of the venue repeats our id, or what was asked."""
    known = {subscription.id for subscription in case.dialect.subscribe([case.stream], 7)}
    acks = [frame for frame, kind in case.frames.items() if kind is ControlKind.ACK]
    facts = [fact for frame in acks for fact in case.dialect.parse(frame)]
    named = [fact.id for fact in facts if isinstance(fact, Control) and fact.id is not None]
    assert named
    assert set(named) <= known


@case_of
@pytest.mark.parametrize("frame", GARBAGE, ids=lambda frame: repr(frame[:12]))
def test_garbage_is_malformed_or_control(case: Case, frame: bytes):
    """Binary, HTML, bare values and towers of brackets: one kind of error, with a sample."""
    for read in readers(case):
        with contextlib.suppress(MalformedFrame):
            read(frame)
    with pytest.raises(MalformedFrame, match="found"):
        case.dialect.parse(b"<html><body>502 Bad Gateway</body></html>")


def readers(case: Case) -> list:
    """Return all that reads bytes of the venue."""
    dialect, stream = case.dialect, case.stream
    return [
        dialect.parse,
        dialect.parse_time,
        lambda body: dialect.parse_history(body, stream),
        lambda body: dialect.parse_error(200, {}, body),
        lambda body: dialect.parse_error(500, {"retry-after": body.decode("latin-1")}, body),
        lambda body: dialect.parse_error(429, {"retry-after": body.decode("latin-1")}, body),
    ]


@case_of
def test_every_prefix_of_a_frame_is_survived(case: Case):
    """A frame cut anywhere is malformed or, where that is whole too, something else."""
    for frame in [*case.valid_frames(), encoded(case.history), case.time]:
        for end in range(len(frame)):
            for read in readers(case):
                with contextlib.suppress(MalformedFrame):
                    read(frame[:end])
    for push in (case.open, case.closed):
        cut = encoded(push)[:-1]
        if push is not None and b"false" not in cut:  # an open bar may be passed over undecoded
            with pytest.raises(MalformedFrame, match="found"):
                case.dialect.parse(cut)


@case_of
def test_every_wrong_type_in_every_place_is_survived(case: Case):
    """Nulls, missing keys, huge numbers, wrong units: a fact, or `MalformedFrame`."""
    pushes = [case.open, *([] if case.closed is None else [case.closed])]
    for value in [*pushes, case.history, *map(json.loads, json_frames(case))]:
        for wrong in wrong_values(value):
            for read in readers(case)[:3]:
                with contextlib.suppress(MalformedFrame):
                    read(encoded(wrong))


def json_frames(case: Case) -> list[bytes]:
    return [frame for frame in case.frames if frame.startswith(b"{")]


@case_of
def test_unknown_keys_change_nothing(case: Case):
    """A venue may add a field at any level."""
    for value in (case.open, case.closed):
        if value is not None:
            (fact,), (same_fact,) = (
                case.dialect.parse(encoded(one)) for one in (value, with_more(value))
            )
            if isinstance(fact, Sign):
                assert (same_fact.symbol, same_fact.interval) == fact
                assert not getattr(same_fact, "closed", False)
            else:
                assert repr(same_fact) == repr(fact)
    more = case.dialect.parse_history(encoded(with_more(case.history)), case.stream)
    assert repr(more) == repr(case.dialect.parse_history(encoded(case.history), case.stream))


def with_more(value):
    if isinstance(value, dict):
        held = {key: with_more(inner) for key, inner in value.items()}
        # Kraken's result is keyed by the pair: a new key there would be another pair.
        return held if "last" in value else {**held, "new": {"a": [1]}}
    return [with_more(inner) for inner in value] if isinstance(value, list) else value


@case_of
@pytest.mark.parametrize("factor", [1000, 0.001])
def test_a_wrong_unit_of_time_enters_nowhere(case: Case, factor: float):
    """Seconds or microseconds in place of what is documented never become a bar."""
    closed = case.closed if case.closed is not None else case.open
    for value in (closed, case.history):
        body = encoded(scaled(value, factor))
        bars: list[Bar] = []
        with contextlib.suppress(MalformedFrame):
            bars += [fact.bar for fact in case.dialect.parse(body) if isinstance(fact, Kline)]
        with contextlib.suppress(MalformedFrame):
            bars += case.dialect.parse_history(body, case.stream).bars
        pushed = Interval(case.dialect.pushed_interval("1h"))
        if case.name != "kraken" or value is not closed:  # Kraken's pushes tell time in words
            assert all(broken_rule(bar, pushed) for bar in bars)


def scaled(value, factor: float):
    """Multiply whatever looks like a time in s or ms."""
    if isinstance(value, dict):
        return {key: scaled(inner, factor) for key, inner in value.items()}
    if isinstance(value, list):
        return [scaled(inner, factor) for inner in value]
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 10**9:
        return value
    return type(value)(int(number * factor))


@case_of
def test_history_is_ascending_whatever_the_venue_sends(case: Case):
    """Descending pages are reversed, seconds become ms, rows equal the pushed bar to the bit."""
    rows = case.dialect.parse_history(encoded(case.history), case.stream)
    assert rows.bars.open_time.tolist() == [OPEN, NEXT]
    assert rows.bars.close_time.tolist() == [NEXT - 1, NEXT + HOUR - 1]
    assert same(rows.bars.row(0), case.shown(BAR))
    assert rows.closed in (None, 1)


@case_of
def test_history_out_of_order_is_refused(case: Case):
    """A row twice is no history: the stream is named."""
    twice = json.loads(json.dumps(case.history).replace(str(NEXT)[:10], str(OPEN)[:10]))
    with pytest.raises(MalformedFrame, match=f"history of venue/{case.symbol}/1h: rows are not"):
        case.dialect.parse_history(encoded(twice), case.stream)


@case_of
def test_server_time_is_read(case: Case):
    """In ms, to the resolution that the dialect states."""
    assert case.dialect.parse_time(case.time) == 1_700_000_000_000
    with pytest.raises(MalformedFrame, match="server time"):
        case.dialect.parse_time(b"{}")


@case_of
def test_refusals_say_what_to_do(case: Case):
    """Rate limits pause, unknown streams stop, also where HTTP says that all is well."""
    for status, body, kind in case.refused:
        refusal = case.dialect.parse_error(status, {"retry-after": "7"}, body)
        assert refusal is not None
        assert refusal.kind == RefusalKind(kind), body
        limited = refusal.kind in (RefusalKind.RATE_LIMIT, RefusalKind.BANNED)
        assert refusal.retry_after_s == (7.0 if limited else 0.0)
    limits = [s for s in case.refused if s[2] == "rate limit"]
    for status, body, _ in limits:
        refusal = case.dialect.parse_error(status, {}, body)
        assert refusal is not None
        assert refusal.retry_after_s == 30.0
    assert case.dialect.parse_error(200, {}, encoded(case.history)) is None


@case_of
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), frame=st.binary(max_size=60))
def test_no_bytes_raise_anything_but_malformed_frame(case: Case, seed: int, frame: bytes):
    """Arbitrary bytes, and frames after accidents."""
    draw = random.Random(seed)
    sources = [*case.valid_frames(), encoded(case.history), case.time]
    for found in (frame, *(mutated(source, draw) for source in sources)):
        for read in readers(case):
            with contextlib.suppress(MalformedFrame):
                read(found)


@case_of
@given(st.decimals(1, 10**7, places=8, allow_nan=False))
@settings(max_examples=40, deadline=None)
def test_decimals_are_read_as_python_reads_them(case: Case, price):
    """To the bit, pushed and in history, strings and JSON numbers alike."""
    text = f"{price:.8f}"
    pushed = encoded(case.closed or case.open).replace(b"37000.1", text.encode())
    (kline,) = case.dialect.parse(pushed)
    assert isinstance(kline, Kline)
    assert kline.bar.open == float(text)
    body = encoded(case.history).replace(b"37000.1", text.encode())
    bars = case.dialect.parse_history(body, case.stream).bars
    assert bars.open.tolist() == [float(text)] * 2


def test_mutations_are_many_and_most_are_no_frames():
    """The accidents happen: what they make differs from what they had."""
    frame = CASES[0].valid_frames()[0]
    draw = random.Random(1)
    made = {mutated(frame, draw) for _ in range(500)}
    assert len(made) > 400
    assert len(list(islice(wrong_values(json.loads(frame)), 1000))) > 500
