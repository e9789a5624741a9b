"""A challenger's words are no signals: the subscriber never hands one over."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.subscriber.test_rules import Bot
from adapters.subscriber.world import (
    BEGAN_MS,
    ODDS,
    TOPICS,
    encode,
    iso,
    on_topic,
    signal,
    subject,
)
from candled_adapters.protocol import shapes
from candled_adapters.subscriber import Signals
from candled_adapters.subscriber.facts import Heard, Message, Refused

BTC = "x/BTC/1m"


def shadow(seq: int, epoch: str = "e1") -> shapes.Shadow:
    return shapes.Shadow(
        **subject(BTC, epoch, f"shadow-{seq}", seq), seq=seq, side="long", probabilities=ODDS,
        target=None, evidence=None, published_at=iso(BEGAN_MS),
    )  # fmt: skip


def take(bot: Bot, message: Message) -> list[object]:
    return list(bot.rules.take(message, bot.now))


@pytest.mark.parametrize("seq", [1, 2, 9])
def test_a_shadow_on_its_own_topic_says_nothing_to_a_bot(seq: int):
    """Even if a broker hands one out that nobody asked for: nothing is heard, nothing is missed."""
    bot = Bot()
    bot.hear(signal(1))
    found = take(bot, Message(TOPICS.shadow(BTC), encode(shadow(seq)), retained=False))
    assert not any(isinstance(fact, Heard) for fact in found)
    assert [fact.signal.seq for fact in bot.hear(signal(2)) if isinstance(fact, Heard)] == [2]


def test_a_shadow_on_a_signals_topic_is_refused():
    """Who publishes one there has not made a signal of it."""
    bot = Bot()
    bot.hear(signal(1))
    (fact,) = take(bot, Message(TOPICS.signal(BTC), encode(shadow(2)), retained=False))
    assert isinstance(fact, Refused)
    assert [fact.signal.seq for fact in bot.hear(signal(2)) if isinstance(fact, Heard)] == [2]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=20))
def test_shadows_between_signals_change_nothing(turns: list[tuple[bool, bool]]):
    """Whatever comes between on either topic, each signal is told, and none but signals."""
    bot, heard, told = Bot(), list[str](), 0
    for number, (is_signal, misplaced) in enumerate(turns):
        if is_signal:
            told += 1
            said = on_topic(signal(told))
        else:
            topic = (TOPICS.signal if misplaced else TOPICS.shadow)(BTC)
            said = Message(topic, encode(shadow(number + 1)), retained=False)
        heard += [fact.signal.id for fact in take(bot, said) if isinstance(fact, Heard)]
    assert heard == [signal(seq).id for seq in range(1, told + 1)]


def test_a_bot_does_not_listen_to_shadows(tmp_path):
    """Not even one that listens to all streams."""
    bot = Signals("mqtt://127.0.0.1:1", client_id="bot", state=tmp_path / "bot.state")
    branches = {wish.topic.split("/")[1] for wish in bot._wishes()}
    assert "signal" in branches
    assert not branches & {"shadow", "#", "+"}
