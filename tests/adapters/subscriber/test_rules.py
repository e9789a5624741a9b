"""The consumer's rules against a daemon and a broker that do their worst."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.subscriber.world import (
    ANSWERS,
    BAR_MS,
    BEGAN_MS,
    TOPICS,
    World,
    correction,
    encode,
    head,
    on_topic,
    signal,
    status,
)
from candled_adapters.protocol import shapes
from candled_adapters.subscriber.facts import (
    Ask,
    Corrected,
    Fact,
    Go,
    Halt,
    Heard,
    Lost,
    Message,
    Now,
    Refused,
)
from candled_adapters.subscriber.numbers import Numbers
from candled_adapters.subscriber.rules import Limits, Rules

BTC = "x/BTC/1m"
FOREIGN = "of another epoch than the service"


# --- everything that can happen, in any order

CHOICE = st.integers(0, 9)
STREAM = st.sampled_from(["x/S0/1m", "x/S1/1m"])
STEPS = st.one_of(
    st.tuples(st.just("decide"), STREAM, st.sampled_from([0.0, 1.5, 5.0, 60.0])),
    st.tuples(st.just("decide"), STREAM, st.just(60.0)),
    st.tuples(st.just("deliver"), CHOICE),
    st.tuples(st.just("deliver"), CHOICE),
    st.tuples(st.just("deliver"), CHOICE),
    st.tuples(st.just("drop"), CHOICE),
    st.tuples(st.just("double"), CHOICE),
    st.tuples(st.just("answer")),
    st.tuples(st.just("refuse")),
    st.tuples(st.just("pass_time"), st.sampled_from([0.04, 0.6, 1.1, 2.5, 100.0])),
    st.tuples(st.just("connect")),
    st.tuples(st.just("disconnect")),
    st.tuples(st.just("forget")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("prune"), STREAM),
    st.tuples(st.just("correct"), STREAM),
    st.tuples(st.just("say_head"), STREAM),
    st.tuples(st.just("lose_journal")),
    st.tuples(st.just("state"), st.sampled_from(["online", "degraded", "offline"])),
    st.tuples(st.just("stream_state"), STREAM, st.sampled_from(["live", "holding", None])),
)


def any_stream(chance: random.Random) -> str:
    return chance.choice(["x/S0/1m", "x/S1/1m"])


def any_number(chance: random.Random) -> int:
    return chance.randrange(10)


#: What can happen, and how its arguments are drawn.
ARGUMENTS: dict[str, tuple[Callable[[random.Random], object], ...]] = {
    "decide": (any_stream, lambda chance: chance.choice([0.0, 1.5, 5.0, 60.0, 60.0, 60.0])),
    "deliver": (any_number,),
    "drop": (any_number,),
    "double": (any_number,),
    "answer": (),
    "refuse": (),
    "pass_time": (lambda chance: chance.choice([0.04, 0.6, 1.1, 2.5, 30.0, 100.0]),),
    "connect": (),
    "disconnect": (),
    "forget": (),
    "restart": (),
    "prune": (any_stream,),
    "correct": (any_stream,),
    "say_head": (any_stream,),
    "lose_journal": (),
    "state": (lambda chance: chance.choice(["online", "online", "degraded", "offline"]),),
    "stream_state": (any_stream, lambda chance: chance.choice(["live", "live", "holding", None])),
}


def play(world: World, steps: list[tuple[object, ...]]) -> None:
    for name, *arguments in steps:
        match name:
            case "state":
                world.state = str(arguments[0])
                world.say_status()
            case "stream_state":
                world.stream_states[str(arguments[0])] = arguments[1]
                world.say_head(str(arguments[0]))
            case _:
                getattr(world, str(name))(*arguments)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=20, max_size=80))
def test_nothing_is_lost_doubled_or_acted_on_wrongly(steps):
    """Whatever happens, each signal is told once by its id, in order, and acted on only if safe.

    When the faults have ended, all that the journal ever had has been told, or is told as lost
    where the daemon no longer keeps it.
    """
    survive(steps)


@pytest.mark.parametrize("seed", range(60))
def test_long_bad_days_are_survived(seed):
    """The same over hundreds of steps, drawn by a seed."""
    chance = random.Random(seed)
    survive(bad_day(chance, 400))


def bad_day(chance: random.Random, length: int) -> list[tuple[object, ...]]:
    """Draw steps: mostly decisions and deliveries, and of the faults some more than others."""
    usual = ("decide", "deliver", "deliver", "deliver")
    kinds = [*usual * chance.randint(2, 9), *chance.sample(list(ARGUMENTS), k=9), "connect"]
    names = [chance.choice(kinds) for _ in range(length)]
    return [(name, *(draw(chance) for draw in ARGUMENTS[name])) for name in names]


def survive(steps: list[tuple[object, ...]]) -> None:
    """Play steps, end the faults, and judge all that was told."""
    world = World()
    world.connect()
    play(world, steps)
    world.heal()

    ids = Counter(heard.signal.id for heard, _ in world.told)
    assert [name for name, count in ids.items() if count > 1] == []
    for stream, journal in world.journals.items():
        lost = [(lost.first, lost.last) for lost in world.lost if lost.stream == stream]
        for made in journal.signals:
            is_lost = any(first <= made.seq <= last for first, last in lost)
            assert made.id in ids or (is_lost and made.seq < journal.kept_from), made.seq
    for heard, _ in world.told:
        if heard.why_not not in ("out of order", FOREIGN):
            assert heard.replayed or follows_all_before(heard, world)
    for numbers in world.rules.remember().values():
        assert (numbers.holes, numbers.waiting) == ([], {})


def follows_all_before(heard: Heard, world: World) -> bool:
    """Whether a signal was told after all of its stream and epoch with lower numbers that were."""
    key = (heard.stream, heard.signal.epoch)
    before = [other for other, _ in world.told[: index_of(heard, world)]]
    return all(
        other.signal.seq < heard.signal.seq
        for other in before
        if (other.stream, other.signal.epoch) == key and other.why_not != FOREIGN
    )


def index_of(heard: Heard, world: World) -> int:
    return next(i for i, (other, _) in enumerate(world.told) if other is heard)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, max_size=40))
def test_without_faults_everything_is_told_in_order_at_once(steps):
    """What is only decided and delivered is told in order, acted on, and never asked about."""
    world = World()
    world.connect()
    while any(world.queues.values()):
        world.deliver(0)
    for stream in world.streams:
        world.say_head(stream)
    while any(world.queues.values()):
        world.deliver(0)
    for name, *arguments in steps:
        if name == "decide":
            world.decide(arguments[0], 60.0)
            while any(world.queues.values()):
                world.deliver(0)
    assert [heard.why_not for heard, _ in world.told] == [None] * len(world.told)
    assert len(world.told) == sum(journal.last for journal in world.journals.values())
    assert not world.asks


# --- one consumer, step by step


class Bot:
    """Rules and a clock, and what they said."""

    def __init__(self, rules: Rules | None = None, *, ready: bool = True, last: int = 0) -> None:
        self.rules = rules or Rules("candled", "bot")
        self.at = 50.0
        self.venue_ms = BEGAN_MS
        self.rules.connected()
        if ready:
            self.hear(status())
            self.hear(head(last))

    @property
    def now(self) -> Now:
        return Now(self.at, self.venue_ms)

    def hear(self, said: object, *, retained: bool = False) -> list[Fact]:
        return self.rules.take(on_topic(said, retained=retained), self.now)

    def wait(self, seconds: float) -> list[Fact]:
        facts = []
        end = self.at + seconds
        while self.at < end - 1e-9:
            step = min(self.rules.next_wake, end - self.at)
            self.at += step
            self.venue_ms += round(step * 1000)
            facts += self.rules.wake(self.now)
        return facts


def told(facts: list[Fact]) -> list[tuple[int, str | None]]:
    return [(fact.signal.seq, fact.why_not) for fact in facts if isinstance(fact, Heard)]


def replay(
    *signals: shapes.Signal, since: int, last: int, first: int | None = 1, complete: bool = True
) -> shapes.Replay:
    return shapes.Replay(
        stream=BTC, epoch="e1", since_seq=since, last_seq=last, first_kept=first,
        signals=tuple(msgspec.structs.replace(one, live=False) for one in signals),
        complete=complete, correlation=None,
    )  # fmt: skip


def test_a_signal_may_be_acted_on_once():
    """The first copy may be acted on, further ones are not told."""
    bot = Bot()
    assert told(bot.hear(signal(1))) == [(1, None)]
    assert bot.hear(signal(1)) == []
    assert bot.rules.repeats == 1


@pytest.mark.parametrize("left_ms", [0, -1, 1])
def test_valid_until_is_exclusive(left_ms):
    """From valid_until on, on the venue's clock, a signal is only told."""
    bot = Bot()
    ((_, why_not),) = told(bot.hear(signal(1, valid_until_ms=bot.venue_ms + left_ms)))
    assert why_not == (None if left_ms > 0 else "late: valid_until has passed")


def test_a_signal_that_waited_in_the_application_is_judged_again():
    """What could be acted on when it came must not be when it is handed over too late."""
    bot = Bot()
    (heard,) = bot.hear(signal(1, valid_until_ms=bot.venue_ms + 1000))
    assert isinstance(heard, Heard)
    assert bot.rules.why_not(heard, bot.now) is None
    assert "late" in str(bot.rules.why_not(heard, Now(bot.at, bot.venue_ms + 1000)))
    bot.hear(status("degraded"))
    assert "degraded" in str(bot.rules.why_not(heard, bot.now))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda bot: bot.hear(status("degraded")), "the service is degraded"),
        (lambda bot: bot.hear(status("offline")), "the service is offline"),
        (lambda bot: bot.hear(status("online", "e2")), "of another epoch than the service"),
        (lambda bot: bot.hear(head(0, state="holding")), "the stream is holding"),
        (lambda bot: bot.hear(head(0, state=None)), "the stream is not served"),
        (lambda bot: bot.wait(91), "no sign of life for 90 s"),
        (lambda bot: bot.rules.disconnected("gone"), "gone"),
        (lambda bot: bot.rules.connected(), "nothing has been heard of the service yet"),
    ],
)
def test_nothing_is_acted_on_while_something_is_wrong(spoil, why):
    """Each thing that takes away the ground of a signal is said as the reason not to act."""
    bot = Bot()
    spoil(bot)
    assert told(bot.hear(signal(1))) == [(1, why)]


def test_halts_and_goes_are_told_when_they_change():
    """A latching consumer is told at once when to stop and when to go on, once each."""
    bot = Bot(ready=False)
    assert bot.hear(status()) == [Go(None)]
    assert bot.hear(status()) == []
    assert bot.hear(head(0)) == [Go(BTC)]
    assert bot.hear(head(0)) == []
    assert bot.hear(status("degraded")) == [Halt(None, "the service is degraded")]
    assert bot.hear(head(0, state="holding")) == [Halt(BTC, "the stream is holding")]
    assert bot.hear(status()) == [Go(None)]
    assert bot.hear(head(0)) == [Go(BTC)]
    assert bot.wait(92) == [Halt(BTC, "no sign of life for 90 s")]
    assert bot.rules.disconnected("gone") == [Halt(None, "gone")]


@pytest.mark.parametrize("retained", [True, False])
def test_an_old_head_is_no_sign_of_life(retained):
    """A head that the broker has kept, or a stranger plays again, counts from when it was said."""
    bot = Bot(ready=False)
    bot.hear(status())
    assert bot.hear(head(0, now_ms=bot.venue_ms - 90_001), retained=retained) == []
    assert bot.hear(head(0, now_ms=bot.venue_ms - 80_000), retained=retained) == [Go(BTC)]
    assert bot.wait(11) == [Halt(BTC, "no sign of life for 90 s")]


def test_a_retained_signal_is_not_acted_on():
    """Whoever retains a signal makes it one of unknown age."""
    assert told(Bot().hear(signal(1), retained=True)) == [(1, "retained: of unknown age")]


def test_a_late_signal_is_told_and_not_acted_on():
    """`live: false` is for the record."""
    ((_, why),) = told(Bot().hear(signal(1, live=False)))
    assert "not live" in str(why)


def test_a_signal_behind_a_hole_waits_for_the_answer():
    """The daemon is asked at once; with its answer everything is told in order and can be acted on.

    Only what came by itself can be.
    """
    bot = Bot()
    bot.hear(signal(1))
    assert bot.hear(signal(4)) == [Ask(BTC, 1, "e1")]
    assert bot.wait(1.9) == []
    answer = bot.hear(replay(signal(2), signal(3), signal(4), since=1, last=4))
    assert told(answer) == [
        (2, "replayed: for the record"),
        (3, "replayed: for the record"),
        (4, None),
    ]
    assert told(bot.hear(signal(5))) == [(5, None)]


def test_a_signal_waits_no_longer_than_it_may():
    """After two seconds it is told all the same; what was missing comes later, for the record."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(4))
    assert told(bot.wait(2.1)) == [(4, None)]
    assert told(bot.hear(signal(5))) == [(5, None)]
    answer = bot.hear(replay(signal(2), signal(3), signal(4), since=1, last=5))
    assert [seq for seq, _ in told(answer)] == [2, 3]
    assert bot.wait(20) == []


def test_a_signal_waits_for_half_of_its_life_at_most():
    """One that is valid for another second is told after half a second."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(3, valid_until_ms=bot.venue_ms + 1000))
    assert told(bot.wait(0.45)) == []
    assert told(bot.wait(0.1)) == [(3, None)]


def test_what_is_only_for_the_record_waits_longer_and_keeps_the_order():
    """Late signals behind a hole are told after what was missing; they have no hurry."""
    bot = Bot()
    bot.hear(signal(1))
    assert told(bot.hear(signal(3, live=False))) == []
    assert told(bot.hear(signal(4, live=False))) == []
    assert told(bot.wait(29)) == []
    answer = bot.hear(replay(signal(2), signal(3), signal(4), since=1, last=4))
    assert [seq for seq, _ in told(answer)] == [2, 3, 4]


def test_what_is_only_for_the_record_waits_no_longer_than_half_a_minute():
    """An answer that never comes keeps nothing back for ever."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(3, live=False))
    assert [seq for seq, _ in told(bot.wait(30.1))] == [3]


def test_what_may_be_acted_on_does_not_wait_behind_what_is_for_the_record():
    """Its own patience counts; what stands before it is told with it, in order."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(3, live=False))
    bot.hear(signal(4))
    bot.hear(signal(6, live=False))
    found = told(bot.wait(2.1))
    assert [seq for seq, _ in found] == [3, 4]
    assert found[1] == (4, None)
    answer = bot.hear(replay(signal(2), signal(5), signal(6), since=1, last=6))
    assert [seq for seq, _ in told(answer)] == [2, 5, 6]


def test_a_service_that_misses_its_beats_halts_everything():
    """Three beats are waited for, no more; the next one lets all go on, and calm is no silence."""
    bot = Bot()
    assert bot.hear(status(beat_s=1.0)) == []
    for _ in range(10):
        assert bot.wait(2.9) == []
        assert bot.hear(status(beat_s=1.0)) == []
    (halt,) = bot.wait(4.0)
    assert isinstance(halt, Halt)
    assert halt.stream is None
    assert "silent" in halt.why
    ((_, why),) = told(bot.hear(signal(1)))
    assert "silent" in str(why)
    assert bot.hear(status(beat_s=1.0)) == [Go(None)]
    assert told(bot.hear(signal(2))) == [(2, None)]


@pytest.mark.parametrize("beat_s", [None, 0.0, -1.0, 1e-300])
def test_a_service_of_which_no_beats_are_expected_may_be_silent(beat_s: float | None):
    """Without a promise there is none to break, and a foolish one is taken for half a second."""
    bot = Bot()
    bot.hear(status(beat_s=beat_s))
    assert bot.wait(1.4) == []
    assert bool(bot.wait(2.0)) == (beat_s is not None)


def test_a_missing_signal_that_comes_after_a_later_one_is_not_acted_on():
    """Even if it comes by itself: order is part of what a signal means."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(3))
    bot.wait(2.1)
    assert told(bot.hear(signal(2))) == [(2, "out of order")]


def test_a_head_that_names_more_than_was_seen_is_given_a_second():
    """A head overtakes signals that the broker still holds; only then the daemon is asked."""
    bot = Bot()
    assert bot.hear(head(2)) == []
    assert told(bot.hear(signal(1))) == [(1, None)]
    assert bot.wait(0.9) == []
    assert told(bot.hear(signal(2))) == [(2, None)]
    assert bot.wait(30) == []
    bot.hear(head(3))
    assert bot.wait(1.1) == [Ask(BTC, 2, "e1")]


def test_signals_that_are_coming_are_waited_for():
    """While those that a head has named come one by one, nobody asks for the rest."""
    bot = Bot()
    bot.hear(head(6))
    for seq in range(1, 7):
        assert bot.wait(0.7) == []
        assert told(bot.hear(signal(seq))) == [(seq, None)]
    assert bot.wait(30) == []


def test_what_is_newer_than_the_question_is_left_alone():
    """A signal that is on its way can still be acted on although an answer had it first."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(3))
    answer = bot.hear(replay(signal(2), signal(3), signal(4), since=1, last=4))
    assert [seq for seq, _ in told(answer)] == [2, 3]
    assert told(bot.hear(signal(4))) == [(4, None)]


def test_an_answer_does_not_take_the_place_of_what_waits():
    """A signal that came by itself can be acted on, although the answer holds it too."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(4))
    answer = bot.hear(replay(signal(4), since=1, last=4, first=4))
    assert answer[0] == Lost(BTC, 2, 3)
    assert told(answer) == [(4, None)]


def test_an_answer_speaks_of_one_stream_and_epoch():
    """What it holds of others is passed over."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(4))
    answer = replay(signal(2, stream="x/ETH/1m"), signal(2, epoch="e0"), signal(3), since=1, last=4)
    assert told(bot.hear(answer)) == [(3, "replayed: for the record"), (4, None)]


def test_what_is_no_longer_kept_is_told_as_lost():
    """Numbers before the first one that is kept will not come, and nobody waits for them."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(9))
    answer = bot.hear(replay(signal(7), signal(8), signal(9), since=1, last=9, first=7))
    assert [fact for fact in answer if isinstance(fact, Lost)] == [Lost(BTC, 2, 6)]
    assert [seq for seq, _ in told(answer)] == [7, 8, 9]
    bot.hear(head(20))
    bot.wait(1.1)
    assert bot.hear(replay(since=9, last=20, first=None)) == [Lost(BTC, 10, 20)]
    assert bot.wait(20) == []


def test_what_was_lost_and_comes_after_all_is_told():
    """For the record, and once."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(4))
    bot.hear(replay(signal(4), since=1, last=4, first=4))
    assert told(bot.hear(signal(3))) == [(3, "out of order")]
    assert bot.hear(signal(3)) == []


def test_a_hole_of_which_nothing_is_kept_is_lost():
    """When the daemon has no signal of the stream any more, nobody waits for one."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(4))
    bot.wait(2.1)
    assert bot.hear(replay(since=1, last=0, first=None)) == [Lost(BTC, 2, 3)]
    assert bot.wait(20) == []


def test_an_answer_in_pages_is_asked_on():
    """`complete: false` is followed by the next question at once."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(6))
    page = bot.hear(replay(signal(2), signal(3), since=1, last=6, complete=False))
    assert [seq for seq, _ in told(page)] == [2, 3]
    assert page[-1] == Ask(BTC, 3, "e1")
    page = bot.hear(replay(signal(4), signal(5), since=3, last=6))
    assert [seq for seq, _ in told(page)] == [4, 5, 6]


def test_an_answer_that_never_comes_is_asked_for_again():
    """Every five seconds, and after `retry_after_s` when the daemon wants to be left alone."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(3))
    asks = [fact for fact in bot.wait(11) if isinstance(fact, Ask)]
    assert asks == [Ask(BTC, 1, "e1")] * 2
    refusal = shapes.Replay(
        stream=BTC, epoch="e1", since_seq=1, last_seq=0, first_kept=None, signals=(),
        complete=False, correlation=None, error="too often", retry_after_s=3.0,
    )  # fmt: skip
    assert bot.hear(refusal) == []
    bot.hear(signal(1, stream="x/ETH/1m"))
    bot.hear(signal(3, stream="x/ETH/1m"))
    assert [fact for fact in bot.wait(2.9) if isinstance(fact, Ask)] == []
    assert {fact.stream for fact in bot.wait(0.2) if isinstance(fact, Ask)} == {BTC, "x/ETH/1m"}


@pytest.mark.parametrize("since", [0, 1])
def test_an_answer_that_helps_nothing_does_not_make_us_ask_at_once(since):
    """An empty page, or a number that no journal has, is asked about every five seconds."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(7, name="from nowhere"))
    assert bot.hear(replay(since=since, last=1, complete=since == 0)) == []
    assert [f for f in bot.wait(4.8) if isinstance(f, Ask)] == []
    assert [f for f in bot.wait(0.3) if isinstance(f, Ask)] == [Ask(BTC, 1, "e1")]


def test_few_streams_are_asked_about_at_a_time():
    """After a broker's amnesia a thousand streams do not flood the daemon with questions."""
    bot = Bot()
    names = [f"x/S{number}/1m" for number in range(50)]
    for name in names:
        bot.hear(head(0, stream=name))
        bot.hear(head(3, stream=name))
    asked = [fact for fact in bot.wait(1.2) if isinstance(fact, Ask)]
    assert len(asked) == 4
    asked += [fact for fact in bot.wait(80) if isinstance(fact, Ask)]
    assert {ask.stream for ask in asked} == set(names)


def test_the_first_contact_asks_for_nothing_older():
    """Numbering stands where the head says; signals that the broker kept are told, though."""
    bot = Bot(ready=False)
    bot.hear(status())
    bot.hear(head(7), retained=True)
    assert bot.wait(5) == []
    assert told(bot.hear(signal(6))) == [(6, None)]
    assert told(bot.hear(signal(7))) == [(7, None)]
    assert told(bot.hear(signal(8))) == [(8, None)]
    assert bot.wait(5) == []


def test_what_is_wanted_from_before_is_asked_for():
    """With `since`, what was published before the first contact is told for the record."""
    bot = Bot(Rules("candled", "bot", since={BTC: 5}), last=7)
    assert bot.wait(1.1) == [Ask(BTC, 5, "e1")]
    answer = bot.hear(replay(signal(6), signal(7), since=5, last=7))
    assert [seq for seq, _ in told(answer)] == [6, 7]


def test_a_lost_journal_begins_anew():
    """A new epoch begins at number 1, and what had the same id before is not told again."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(2))
    bot.hear(status(epoch="e2"))
    assert told(bot.hear(signal(3))) == [(3, "of another epoch than the service")]
    assert bot.hear(signal(1, epoch="e2", name=signal(2).id)) == []
    assert bot.hear(head(2, epoch="e2")) == []
    assert bot.wait(1.1) == [Ask(BTC, 0, "e2")]
    answer = shapes.Replay(
        stream=BTC, epoch="e2", since_seq=0, last_seq=2, first_kept=1, complete=True,
        signals=(signal(1, epoch="e2", name=signal(2).id), signal(2, epoch="e2")), correlation=None,
    )  # fmt: skip
    assert told(bot.hear(answer)) == [(2, "replayed: for the record")]
    assert told(bot.hear(signal(3, epoch="e2"))) == [(3, None)]


def test_an_epoch_that_the_service_does_not_have_changes_nothing():
    """Who is not in the status cannot make numbering begin anew."""
    bot = Bot()
    bot.hear(signal(1))
    assert bot.hear(head(9, epoch="evil", state="stopped")) == []
    assert told(bot.hear(signal(1, epoch="evil"))) == [(1, "of another epoch than the service")]
    assert told(bot.hear(signal(2))) == [(2, None)]


def test_a_journal_that_comes_back_is_remembered():
    """Restoring the old journal does not tell its signals again."""
    bot = Bot()
    for seq in range(1, 200):
        bot.hear(signal(seq))
    bot.hear(status(epoch="e2"))
    bot.hear(signal(1, epoch="e2"))
    bot.hear(status(epoch="e1"))
    assert [fact for seq in range(1, 200) for fact in bot.hear(signal(seq))] == []
    assert told(bot.hear(signal(200))) == [(200, None)]


def test_a_corrected_signal_is_not_acted_on():
    """A correction that came first calls off the signal; one of the same side does not."""
    bot = Bot()
    one, two = signal(1), signal(2)
    (fact,) = bot.hear(correction(one))
    assert isinstance(fact, Corrected)
    assert fact.calls_off == one.id
    assert bot.hear(correction(one)) == []
    assert told(bot.hear(one)) == [(1, "corrected")]
    (fact,) = bot.hear(correction(two, "long", name="kept"))
    assert isinstance(fact, Corrected)
    assert fact.calls_off is None
    assert told(bot.hear(two)) == [(2, None)]


def test_a_signal_and_its_correction_of_one_id_are_both_told():
    """A correction that is a signal too is said twice under one id, once as each."""
    bot = Bot()
    old, new = signal(1), signal(2, name="turned", supersedes=signal(1).id)
    bot.hear(old)
    assert [type(f) for f in bot.hear(correction(old, "short", name="turned"))] == [Corrected]
    assert told(bot.hear(new)) == [(2, None)]


def test_memory_survives_a_restart():
    """With what it has kept, the next process asks for what it missed and doubles nothing."""
    bot = Bot()
    for seq in (1, 2, 3):
        bot.hear(signal(seq))
    kept = msgspec.json.decode(encode(bot.rules.remember()), type=dict[str, Numbers])
    rules = Rules("candled", "bot")
    rules.recall(kept)
    bot = Bot(rules, last=5)
    assert bot.hear(signal(2)) == []
    assert bot.wait(1.1) == [Ask(BTC, 3, "e1")]


def test_a_hole_is_asked_about_after_a_restart_and_a_reconnection():
    """At once: an answer that was on its way is lost, and nobody waits for it."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(signal(3))
    bot.wait(2.1)
    bot.rules.disconnected("gone")
    bot.rules.connected()
    assert bot.rules.wake(bot.now) == [Ask(BTC, 1, "e1")]
    rules = Rules("candled", "bot")
    rules.recall(bot.rules.remember())
    rules.connected()
    assert rules.wake(bot.now) == [Ask(BTC, 1, "e1")]


def test_what_is_older_than_the_first_contact_is_not_told():
    """Numbering begins with the first signal where there is no head."""
    bot = Bot(ready=False)
    assert [seq for seq, _ in told(bot.hear(signal(7)))] == [7]
    assert bot.hear(signal(5)) == []
    assert [seq for seq, _ in told(bot.hear(signal(8)))] == [8]


def test_memory_is_bounded():
    """Thousands of signals, holes among them, leave a few kilobytes."""
    bot = Bot()
    bot.rules.disconnected("no daemon answers")
    for seq in range(1, 8_000):
        if seq % 7:
            bot.hear(signal(seq, name=f"{seq:032}"))
        if not seq % 500:
            bot.wait(2.1)
    assert len(encode(bot.rules.remember())) < 16_000


def test_a_hole_too_many_is_told_as_lost():
    """Of more holes than are remembered the oldest is given up, and that is said."""
    bot = Bot()
    bot.rules.disconnected("no daemon answers")
    lost = []
    for seq in range(1, 141, 2):
        bot.hear(signal(seq))
        lost += [fact for fact in bot.wait(2.1) if isinstance(fact, Lost)]
    assert lost == [Lost(BTC, number, number) for number in range(2, 12, 2)]


# --- who means ill


def hostile() -> st.SearchStrategy[Message]:
    """Return messages on any topic of ours: fuzzed JSON, other shapes, and slightly wrong ones."""
    topics = st.sampled_from(
        [TOPICS.status, TOPICS.signal(BTC), TOPICS.head(BTC), TOPICS.event(BTC), ANSWERS,
         "candled/signal/x/ETH/1m", "candled/signal", "candled", "other/signal/x/BTC/1m",
         "candled/replay/response/another", "candled/signal/x/BTC/1m/more"],
    )  # fmt: skip
    words = st.text(max_size=9)
    values = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | words,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
        max_leaves=6,
    )
    fine = [signal(1), signal(2), head(3), status(), status("degraded"), correction(signal(1)),
            replay(signal(2), since=1, last=3)]  # fmt: skip

    def spoil(said: object, key: int, value: object) -> bytes:
        fields = json.loads(encode(said))
        fields[list(fields)[key % len(fields)]] = value
        return json.dumps(fields).encode()

    payloads = (
        st.binary(max_size=40)
        | values.map(lambda value: json.dumps(value).encode())
        | st.builds(spoil, st.sampled_from(fine), st.integers(0, 40), values)
        | st.sampled_from([b"[" * 100_000, b'{"a":' * 50_000, b"0" * 2_000_000, b"\xff\xfe", b""])
    )
    return st.builds(Message, topics, payloads, st.booleans())


@settings(max_examples=150, deadline=None)
@given(messages=st.lists(hostile(), max_size=12))
def test_hostile_messages_raise_nothing_and_unlock_nothing(messages):
    """While the service is offline, no stranger's bytes make a true signal one to act on.

    Only a status that is right in every field could, and none is among them.
    """
    bot = Bot()
    bot.hear(status("offline"))
    for message in messages:
        if message.topic != TOPICS.status:
            for fact in bot.rules.take(message, bot.now):
                assert not isinstance(fact, Heard) or not fact.act
    assert all(not fact.act for fact in bot.hear(signal(5)) if isinstance(fact, Heard))


@settings(max_examples=80, deadline=None)
@given(messages=st.lists(hostile(), max_size=8))
def test_fuzzed_status_messages_raise_nothing(messages):
    """A status that is not one is refused, and says so; a fair one counts."""
    bot = Bot(ready=False)
    bot.hear(head(0))
    for message in messages:
        bot.rules.take(Message(TOPICS.status, message.payload), bot.now)


def test_forged_numbers_do_not_deafen():
    """A head or a signal with an absurd number changes nothing for those that are true."""
    bot = Bot()
    bot.hear(signal(1))
    bot.hear(head(2**62))
    assert bot.wait(1.1) == [Ask(BTC, 1, "e1")]
    assert told(bot.hear(signal(2))) == [(2, None)]
    assert bot.hear(replay(signal(2), since=1, last=2)) == []
    assert [type(f) for f in bot.hear(signal(2**62))] == [Refused]
    assert told(bot.hear(signal(3))) == [(3, None)]
    assert bot.wait(60) == []


def test_a_forged_first_head_does_not_deafen():
    """At the first contact a head is only believed until a signal says otherwise."""
    bot = Bot(ready=False)
    bot.hear(status())
    bot.hear(head(2**62))
    assert told(bot.hear(signal(7))) == [(7, None)]
    assert told(bot.hear(signal(8))) == [(8, None)]


def test_an_answer_that_nobody_asked_for_is_refused():
    """Nothing is lost or told by it."""
    bot = Bot()
    bot.hear(signal(1))
    (fact,) = bot.hear(replay(signal(2), since=1, last=2**60))
    assert isinstance(fact, Refused)
    assert told(bot.hear(signal(2))) == [(2, None)]


def test_a_message_about_another_stream_than_its_topic_is_refused():
    """A topic is what a broker can guard; a payload must not speak for another one."""
    bot = Bot()
    (fact,) = bot.rules.take(Message("candled/signal/x/ETH/1m", encode(signal(1))), bot.now)
    assert isinstance(fact, Refused)
    assert told(bot.hear(signal(1))) == [(1, None)]


def test_another_base_is_not_ours():
    """Another daemon's topics are passed over, not refused."""
    bot = Bot()
    assert bot.rules.take(Message("candled2/signal/x/BTC/1m", encode(signal(1))), bot.now) == []
    assert bot.rules.take(Message("candled/info", b"{}"), bot.now) == []


def test_a_message_that_is_too_large_is_refused_unread():
    """Beyond a megabyte nothing is parsed, however right it is."""
    payload = encode(signal(1)) + b" " * 1_048_576
    (fact,) = Bot().rules.take(Message(TOPICS.signal(BTC), payload), Now(50, BEGAN_MS))
    assert isinstance(fact, Refused)
    assert "more than 1048576" in fact.why


def test_an_unknown_schema_is_refused():
    """What a later protocol says is told as not understood, and not acted on."""
    payload = encode(signal(1)).replace(b"candled.signal/1", b"candled.signal/2")
    (fact,) = Bot().rules.take(Message(TOPICS.signal(BTC), payload), Now(50, BEGAN_MS))
    assert isinstance(fact, Refused)
    assert "candled.signal/2" in fact.why


def test_streams_are_bounded():
    """Made-up streams are refused beyond ten thousand."""
    rules = Rules("candled", "bot")
    now = Now(1, BEGAN_MS)
    template = encode(head(0)).replace(b"BTC", b"%d")
    facts: list[Fact] = []
    for number in range(10_001):
        payload = template.replace(b"%d", b"S%d" % number)
        facts = rules.take(Message(f"candled/head/x/S{number}/1m", payload), now)
    assert [type(fact) for fact in facts] == [Refused]


def test_a_message_with_a_bad_signature_is_told_and_nothing_follows():
    """Nor from a head or a status; but a forged stop stops."""
    bad: set[bytes] = set()
    rules = Rules(
        "candled", "bot", verify=lambda _topic, payload, _p: "forged" if payload in bad else None
    )
    bot = Bot(rules)
    for said in (signal(1), head(9, state="stopped"), status("degraded"), correction(signal(1))):
        bad.add(encode(said))
        (fact,) = bot.hear(said)
        assert fact == Refused(on_topic(said).topic, "forged")
    bad.clear()
    assert told(bot.hear(signal(1))) == [(1, None)]
    bad.add(encode(status("offline")))
    assert [type(fact) for fact in bot.hear(status("offline"))] == [Refused, Halt]


def test_a_simulated_venues_head_is_as_old_as_its_speed_says():
    """An hour of a venue that runs 3,600 times as fast is a second of ours."""
    rules = Rules("candled", "bot")
    said = on_topic(head(0, now_ms=BEGAN_MS))
    assert rules.take(said, Now(50, BEGAN_MS + 91 * 3_600_000, 3600)) == []
    assert rules.take(said, Now(50, BEGAN_MS + 89 * 3_600_000, 3600)) == [Go(BTC)]


def test_limits_are_the_callers():
    """Another patience is obeyed."""
    bot = Bot(Rules("candled", "bot", limits=Limits(hold_s=0.2, stale_s=10)))
    bot.hear(signal(1))
    bot.hear(signal(3, valid_until_ms=BEGAN_MS + BAR_MS))
    assert told(bot.wait(0.3)) == [(3, None)]
    assert Halt(BTC, "no sign of life for 10 s") in bot.wait(12)
