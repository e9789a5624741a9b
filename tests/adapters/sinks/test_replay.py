"""Requests for replay: which are answered where, and with what. No broker is needed here."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from candled.core.bar import MINUTE, Stream
from candled.core.decision import Side
from candled.ports import Entry
from candled_adapters.protocol.topics import Topics
from candled_adapters.sinks.mqtt_messages import Heard, Message
from candled_adapters.sinks.replay import (
    MOST_BYTES,
    MOST_SIGNALS,
    Desk,
    NowhereError,
    Question,
    question,
)
from fakes import BTC, EVENING_MS, Decisions, FixedClock, MemoryOutbox

TOPICS = Topics("candled")
BOT = "candled/replay/response/bot"
NOW = EVENING_MS + 10 * MINUTE
Said = dict[str, object]


def request(
    payload: bytes | None = None,
    *,
    topic: str | None = BOT,
    data: bytes | None = None,
    retained: bool = False,
    **fields: object,
) -> Heard:
    """Return a request as it is heard, with correlation `data`; `fields` are its payload's."""
    said = {"stream": BTC.path, "since_seq": 0} | fields
    body = json.dumps(said).encode() if payload is None else payload
    return Heard(TOPICS.replay_request, body, retained, topic, data)


def desk(entries: list[Entry], *served: Stream) -> Desk:
    return Desk(TOPICS, MemoryOutbox(entries), served or (BTC,), lambda _: FixedClock(NOW))


def made(desk: Desk, asked: Question) -> Message:
    answer = desk.begin(asked)
    while answer.more():
        pass
    return answer.message()


def answered(desk: Desk, heard: Heard, now_s: float = 0.0) -> tuple[Message, Said]:
    """Return the answer as a message, and its payload."""
    asked = desk.take(heard, now_s)
    assert asked is not None
    message = made(desk, asked)
    said: Said = json.loads(message.payload)
    return message, said


def seqs(said: Said) -> list[int]:
    signals = said["signals"]
    assert isinstance(signals, list)
    return [signal["seq"] for signal in signals]


def mixed(count: int, stream: Stream = BTC) -> list[Entry]:
    """Return `count` entries of which every second is a signal."""
    decisions = Decisions()
    return [decisions.make(Side.LONG if i % 2 else Side.FLAT, stream) for i in range(count)]


def test_the_answer_holds_what_was_missed_for_the_record():
    """Signals above the number in order, as published but never live, and nothing else."""
    message, said = answered(desk(mixed(20)), request(since_seq=7))
    assert (message.topic, message.retain, message.expiry) == (BOT, False, None)
    signals = said.pop("signals")
    assert said == {
        "schema": "candled.replay/1",
        "stream": BTC.path,
        "epoch": "epoch-1",
        "since_seq": 7,
        "last_seq": 10,
        "first_kept": 1,
        "complete": True,
        "correlation": None,
        "error": None,
        "retry_after_s": None,
    }
    assert isinstance(signals, list)
    assert [signal["seq"] for signal in signals] == [8, 9, 10]
    for signal, entry in zip(signals, [e for e in mixed(20) if e.seq and e.seq > 7], strict=True):
        assert signal["id"] == entry.decision.id
        assert signal["schema"] == "candled.signal/1"
        assert signal["live"] is False
        assert signal["published_at"] == "2025-01-01T00:10:00Z"
        assert signal["valid_until_ms"] == entry.decision.valid_until
    assert any(signal["valid_until_ms"] > NOW for signal in signals)  # not even then


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 107, 1_200])
def test_who_asks_on_gets_each_signal_once(count: int):
    """Page after page from the last number, to `complete`; none is larger than a broker takes."""
    clerk, since, got = desk(Decisions().some(count)), 0, []
    for page in range(100):
        message, said = answered(clerk, request(since_seq=since), now_s=page)
        assert len(message.payload) <= MOST_BYTES + 2_000
        assert len(seqs(said)) <= MOST_SIGNALS
        got += seqs(said)
        if said["complete"]:
            break
        assert seqs(said)
        since = got[-1]
    assert got == list(range(1, count + 1))
    assert said["last_seq"] == count


def test_an_answer_holds_500_signals_at_most(monkeypatch: pytest.MonkeyPatch):
    """However small they are."""
    monkeypatch.setattr("candled_adapters.sinks.replay.MOST_BYTES", 10**9)
    _, said = answered(desk(Decisions().some(501)), request())
    assert seqs(said) == list(range(1, 501))
    assert said["complete"] is False


def test_one_signal_is_answered_however_large(monkeypatch: pytest.MonkeyPatch):
    """Else who asks would be told to ask on for ever."""
    monkeypatch.setattr("candled_adapters.sinks.replay.MOST_BYTES", 1)
    _, said = answered(desk(Decisions().some(3)), request(since_seq=1))
    assert seqs(said) == [2]
    assert said["complete"] is False


@pytest.mark.parametrize(
    ("fields", "since", "expected"),
    [
        ({"since_seq": 2, "epoch": "epoch-1"}, 2, [3, 4]),
        ({"since_seq": 2, "epoch": None}, 2, [3, 4]),
        ({"since_seq": 2, "epoch": "epoch-0"}, 0, [1, 2, 3, 4]),
        ({"since_seq": 999, "epoch": "epoch-0"}, 0, [1, 2, 3, 4]),
        ({"since_seq": 4}, 4, []),
        ({"since_seq": 5}, 5, []),
        ({"since_seq": 2**53}, 2**53, []),
    ],
)
def test_numbers_of_another_epoch_count_from_the_beginning(fields, since, expected):
    """Numbers of this one are taken as they are; who is up to date, or ahead, gets none."""
    _, said = answered(desk(Decisions().some(4)), request(**fields))
    assert (said["since_seq"], seqs(said), said["complete"]) == (since, expected, True)
    assert (said["epoch"], said["error"]) == ("epoch-1", None)


def test_what_is_decided_while_an_answer_is_made_is_no_part_of_it():
    """It has not been delivered; nor is what is pruned meanwhile waited for."""
    decisions = Decisions()
    outbox = MemoryOutbox(decisions.some(20))
    clerk = Desk(TOPICS, outbox, (BTC,), lambda _: FixedClock(NOW))
    asked = question(request(), TOPICS)
    answer = clerk.begin(asked)
    while answer.more():
        outbox.add(decisions.make(Side.LONG))
    said = json.loads(answer.message().payload)
    assert (seqs(said), said["last_seq"], said["complete"]) == (list(range(1, 21)), 20, True)
    answer = clerk.begin(asked)
    assert answer.more()
    outbox.entries.clear()
    while answer.more():
        pass
    said = json.loads(answer.message().payload)
    assert (len(seqs(said)) < 20, said["complete"]) == (True, False)


def test_what_is_no_longer_kept_shows():
    """`first_kept` tells who asks for more that it is gone."""
    clerk = desk(Decisions().some(10)[5:])
    _, said = answered(clerk, request(since_seq=2))
    assert (said["first_kept"], seqs(said), said["complete"]) == (6, [6, 7, 8, 9, 10], True)


def test_streams_are_known_when_they_are_served_or_have_signals():
    """One without signals has none; one that was served before has what is kept; others err."""
    old = Stream("kraken", "XBTUSD", "1h")
    clerk = desk(Decisions().some(2, stream=old), BTC)
    _, said = answered(clerk, request(stream=old.path))
    assert seqs(said) == [1, 2]
    _, said = answered(clerk, request())
    assert (seqs(said), said["last_seq"], said["first_kept"]) == ([], 0, None)
    assert (said["complete"], said["error"]) == (True, None)
    for stream in ("binance/ETHUSDT/1m", "binance", "", "a/b/c/d", "//", "x" * 3_000, "\0/\n/'"):
        message, said = answered(clerk, request(stream=stream), now_s=1e3 + len(stream))
        assert (said["error"], said["complete"]) == ("there is no such stream here", False)
        assert (message.topic, said["stream"], seqs(said)) == (BOT, stream, [])


@pytest.mark.parametrize(
    ("in_property", "in_payload", "text"),
    [
        (None, None, None),
        (b"17", None, "17"),
        (b"17", "eighteen", "eighteen"),
        (None, "eighteen", "eighteen"),
        (b"\xff\0", None, None),
        (b"", None, ""),
        (b"\xff", "18", "18"),
    ],
)
def test_correlation_data_comes_back_as_it_came(in_property, in_payload, text):
    """The property as a property, and in the payload what it said, or the property as text."""
    heard = request(data=in_property, correlation=in_payload)
    message, said = answered(desk(Decisions().some(1)), heard)
    assert message.correlation == in_property
    assert said["correlation"] == text


BAD_TOPICS = [
    "candled/signal/binance/BTCUSDT/1m",
    "candled/status",
    "candled/replay/request",
    "candled/replay/response",
    "candled/replay/response/",
    "candled/replay/response/a/b",
    "candled/replay/response/+",
    "candled/replay/response/#",
    "candled/replay/response/a#",
    "candled/replay/response/a\0",
    "candled/replay/response/a\x01",
    "candled/replay/response/\ufffe",
    "candled/replay/response/" + "x" * 129,
    "other/replay/response/a",
    "xcandled/replay/response/a",
    "/candled/replay/response/a",
    "candled/replay/responses/a",
    "$SYS/x",
    " ",
]


@pytest.mark.parametrize("topic", BAD_TOPICS)
@pytest.mark.parametrize("where", ["property", "payload"])
def test_no_request_makes_us_speak_elsewhere(topic: str, where: str):
    """A topic that is not one level below that of answers is refused, wherever it is named."""
    bad = request(topic=topic) if where == "property" else request(topic=None, reply_to=topic)
    with pytest.raises(NowhereError, match="wants the answer on"):
        desk(Decisions().some(1)).take(bad, 0.0)


@given(st.text() | st.text().map(BOT.__add__) | st.text(alphabet="a/+#\0\x85 ").map(BOT.__add__))
@example(BOT)
@example("candled/replay/response/a b")
def test_whatever_the_topic_it_is_safe_or_refused(topic: str):
    """What is accepted has one level more, no wildcard, and nothing that a broker refuses."""
    try:
        found = question(request(topic=None, reply_to=topic), TOPICS).topic
    except NowhereError:
        assert topic != BOT
        return
    *above, client = found.split("/")
    assert above == ["candled", "replay", "response"]
    assert 0 < len(client) <= 128
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in client)
    assert not set(client) & set("+#")


def test_who_names_no_topic_is_not_answered():
    """Neither by a property nor in the payload, or in a payload that nobody can read."""
    clerk = desk(Decisions().some(1))
    with pytest.raises(NowhereError, match="names no topic"):
        clerk.take(request(topic=None), 0.0)
    with pytest.raises(NowhereError, match="not a candled"):
        clerk.take(request(b"hello", topic=None), 0.0)
    found = clerk.take(request(topic=None, reply_to=BOT), 0.0)
    assert found is not None
    assert found.topic == BOT
    assert question(request(topic=BOT + "2", reply_to=BOT), TOPICS).topic == BOT + "2"


MALFORMED = [
    (b"", "truncated"),
    (b"\xff\xfe", "malformed"),
    (b'{"stream":"\xff","since_seq":1}', "utf-8"),
    (b"null", "Expected `object`"),
    (b"[]", "Expected `object`"),
    (b'{"stream":"a/b/1m"}', "missing required field `since_seq`"),
    (b'{"stream":"a/b/1m","since_seq":-1}', ">= 0"),
    (b'{"stream":"a/b/1m","since_seq":"1"}', "Expected `int`"),
    (b'{"stream":"a/b/1m","since_seq":1.5}', "Expected `int`"),
    (b'{"stream":"a/b/1m","since_seq":true}', "Expected `int`"),
    (b'{"stream":"a/b/1m","since_seq":9007199254740993}', "beyond 2^53"),
    (b'{"stream":"a/b/1m","since_seq":' + b"9" * 400 + b"}", ""),
    (b'{"stream":7,"since_seq":1}', "Expected `str`"),
    (b'{"schema":"candled.signal/1","stream":"a/b/1m","since_seq":1}', "schema"),
    (b'{"x":' + b"[" * 4_000, "recursion"),
    (b'{"stream":"a/b/1m","since_seq":1}' + b" " * 4_096, "longer than 4096 bytes"),
]


@pytest.mark.parametrize(("payload", "why"), MALFORMED)
def test_a_malformed_request_is_told_why(payload: bytes, why: str):
    """On the topic that its property names, with its correlation data."""
    message, said = answered(desk(Decisions().some(1)), request(payload, data=b"1"))
    assert why in str(said["error"])
    assert (message.topic, message.correlation, said["correlation"]) == (BOT, b"1", "1")
    assert (seqs(said), said["complete"]) == ([], False)


def test_long_correlation_data_is_not_sent_back():
    """A request must not make a longer answer than its question; of 256 bytes it is."""
    clerk = desk(Decisions().some(1))
    for heard in (request(data=b"x" * 257), request(correlation="x" * 257)):
        message, said = answered(clerk, heard)
        assert "longer than 256 bytes" in str(said["error"])
        assert (message.correlation, said["correlation"]) == (None, None)
    message, said = answered(clerk, request(data=b"x" * 256))
    assert (message.correlation, said["error"]) == (b"x" * 256, None)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = ("schema", "stream", "since_seq", "epoch", "reply_to", "correlation")
BODIES = st.binary() | st.dictionaries(st.sampled_from(FIELDS), ANY).map(
    lambda body: json.dumps(body).encode()
)


@given(BODIES, st.none() | st.just(BOT) | st.text(), st.none() | st.binary())
def test_nothing_that_is_heard_is_an_error_here(body, topic, data):
    """Whatever comes, it is answered in its own place, ignored, or refused with a reason."""
    clerk = desk(Decisions().some(3))
    try:
        asked = clerk.take(request(body, topic=topic, data=data), 0.0)
    except NowhereError:
        return
    assert isinstance(asked, Question)
    message = made(clerk, asked)
    assert message.topic.startswith("candled/replay/response/")
    assert not message.retain
    assert json.loads(message.payload)["schema"] == "candled.replay/1"


def test_a_retained_request_is_ignored():
    """It would be asked again at each connection, by nobody."""
    assert desk(Decisions().some(1)).take(request(retained=True), 0.0) is None


def test_who_asks_too_often_is_told_when_to_come_back_but_not_for_ever():
    """Ten at once and two a second; a few refusals are told, then there is silence."""
    clerk = desk(Decisions().some(1))
    for _ in range(10):
        assert answered(clerk, request())[1]["error"] is None
    told = [clerk.take(request(data=b"7"), 0.0) for _ in range(100)]
    assert [one is not None for one in told] == [True] * 5 + [False] * 95
    assert told[0] is not None
    message = made(clerk, told[0])
    said = json.loads(message.payload)
    assert (said["error"], said["retry_after_s"]) == ("asked too often; ask again later", 0.5)
    assert (said["signals"], said["complete"], said["correlation"]) == ([], False, "7")
    assert (message.correlation, said["since_seq"]) == (b"7", 0)
    assert answered(clerk, request(), now_s=0.5)[1]["error"] is None
    other = request(topic="candled/replay/response/other")
    assert answered(clerk, other)[1]["error"] is None


def test_malformed_requests_count_as_well():
    """Errors cannot be had more often than signals."""
    clerk = desk(Decisions().some(1))
    for _ in range(10):
        clerk.take(request(b"x"), 0.0)
    assert answered(clerk, request())[1]["retry_after_s"] == 0.5


def test_all_together_are_limited_whatever_they_call_themselves():
    """A name for each request gets fifty answers and fifty refusals at once, then nothing."""
    clerk = desk(Decisions().some(1))
    asked = [clerk.take(request(topic=f"{BOT}{number}"), 0.0) for number in range(200)]
    answers = [one for one in asked if one is not None and one.error is None]
    assert len(answers) == 50
    assert sum(one is not None for one in asked) == 100
