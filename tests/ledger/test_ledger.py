"""The ledger in the journal: each signal's outcome once, as the backtest has it, come what may."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import HOUR, Stream
from candled.core.decision import Probabilities, Side, Target
from candled.core.track import Standing
from candled.journal import JournalError, JournalUnavailableError, open_reader
from candled.journal.outcomes import Outcomes
from candled.ledger import TrackSettings
from candled.ports import Act, Hazard
from journals import BTC, START
from ledger.worlds import FAST, NOW, PRICES, World, bar_at, flat_bar, soon


class Play:
    """A random life of one stream: bars, holes, undecided stretches, revisions, corrections."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.hour = 0
        self.bars: dict[int, object] = {}
        self.entries: dict[int, object] = {}
        self.targets = [
            Target(
                self.random.randint(1, 12),
                self.random.uniform(0.2, 2.0),
                self.random.uniform(0.2, 2.0),
                self.random.choice(["window", "first_touch"]),
            )
            for _ in range(2)
        ]

    def step(self) -> None:
        """Let one thing happen."""
        draw = self.random.random()
        if draw < 0.06:
            self.hour += self.random.randint(1, 3)  # bars that never were
        elif draw < 0.10:
            self._undecided()
        elif draw < 0.22 and self.bars:
            self._revise()
        else:
            self._close()

    def _bar(self, hour: int) -> object:
        return bar_at(hour, PRICES, self.random.randrange(len(PRICES)))

    def _said(self) -> dict[str, object]:
        which = self.random.randrange(2)
        return {
            "regime": self.random.randrange(3),
            "target": self.random.choice([self.targets[which]] * 9 + [None]),
            "model_digest": f"model-{which}",
            "probabilities": Probabilities(0.125, 0.375, 0.5),
        }

    def _side(self) -> Side:
        return self.random.choice([Side.LONG, Side.SHORT, Side.FLAT])

    def _close(self) -> None:
        bar = self.bars[self.hour] = self._bar(self.hour)
        self.entries[self.hour] = self.world.close(bar, self._side(), **self._said())
        self.hour += 1

    def _undecided(self) -> None:
        """Begin anew behind a hole, as a feed does that may now have bars that were left out."""
        first = max(0, self.hour - 4)
        hours = list(range(first, self.hour + self.random.randint(1, 4)))
        made = {h: self.bars.get(h) or self._bar(h) for h in hours}
        self.bars.update(made)
        self.world.history(made.values())
        self.hour = hours[-1] + 1

    def _revise(self) -> None:
        hour = self.random.choice(sorted(self.bars)[-10:])
        bar = self.bars[hour] = self._bar(hour)
        affected = [h for h in self.entries if h >= hour and self.random.random() < 0.4]
        corrected = []
        for at in affected:
            last = self.entries[at].decision
            again = dataclasses.replace(
                last, side=self._side(), price=last.price + 1, supersedes=None, revision=0
            )
            corrected.append((self.entries[at], again))
        for entry in self.world.revise(bar, corrected):
            at = next(
                h for h, e in self.entries.items() if e.decision.bar_open == entry.decision.bar_open
            )
            self.entries[at] = entry


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1_000_000))
def test_outcomes_are_the_backtests_whatever_happens(seed):
    """Holes, revisions, corrections, undecided bars, kills: the final bars' outcomes, once each."""

    async def live() -> None:
        with tempfile.TemporaryDirectory(dir=FAST) as folder:
            world = World(Path(folder))
            play = Play(world, seed)
            for _ in range(60):
                play.step()
                draw = play.random.random()
                if draw < 0.05:
                    await world.kill()
                elif draw < 0.6:
                    world.start()
                    for _ in range(play.random.randrange(12)):
                        await asyncio.sleep(0)
                elif draw < 0.7:
                    await world.settled()
                    assert world.found() == world.expected()
            await world.settled()
            assert world.found() == world.expected()
            await world.end()

    asyncio.run(live())


def lived(life, **settings):
    """Let a world live as `life` says, in a folder of its own."""

    async def live() -> None:
        with tempfile.TemporaryDirectory(dir=FAST) as folder:
            world = World(Path(folder), TrackSettings(**settings))
            try:
                await life(world)
            finally:
                await world.end()

    asyncio.run(live())


async def _wrong(world, count, first=0):
    """Give so many longs, one a bar, of which each is wrong."""
    for hour in range(first, first + count):
        world.close(flat_bar(hour), Side.LONG, **soon())
        await world.settled()


async def _right(world, count, first):
    """Give so many longs of which each is right: the price rises by 2 % in each bar."""
    for hour in range(first, first + count):
        bar = flat_bar(hour)
        world.close(dataclasses.replace(bar, high=103.0), Side.LONG, **soon())
        await world.settled()


def test_a_broken_claim_is_told_once_and_its_mending_too():
    """The incident has the numbers, the board a remark, and a restart tells neither again."""

    async def life(world: World) -> None:
        await _wrong(world, 40)
        (incident,) = world.told
        assert (incident.hazard, incident.act) == (Hazard.CLAIM_BROKEN, Act.FLAG)
        assert incident.stream == BTC
        assert incident.text.startswith("signals turn out worse than claimed, beyond chance: of")
        assert "0.0 % were right" in incident.text
        assert "claimed were 32.8 %" in incident.text
        assert incident.venue_ms == NOW
        part, remark = world.board.remarks[-1]
        assert part == f"track {BTC.path}"
        assert remark.startswith("of the newest 39 signals 0.0 % were right")
        await world.kill()
        await world.settled()
        assert len(world.told) == 1
        assert world.board.remarks[-1] == (part, remark)
        await _right(world, 60, 40)
        assert len(world.told) == 2
        assert world.told[1].text.startswith("signals turn out as claimed again: of the newest")
        assert world.board.remarks[-1] == (part, None)
        await world.kill()
        await world.settled()
        assert len(world.told) == 2

    lived(life)


def test_what_was_found_while_nobody_could_be_told_is_told():
    """A process that ends between an outcome and the word of it leaves the word to the next."""

    async def life(world: World) -> None:
        tell, world.ledger._tell = world.ledger._tell, lambda _: (_ for _ in ()).throw(KeyError)
        with pytest.raises(KeyError):
            await _wrong(world, 40)
        world.task = None
        await world.end()
        world.begin()
        assert not world.told
        await world.settled()
        assert len(world.told) == 1
        assert tell is not world.ledger._tell

    lived(life)


def test_a_champions_record_is_of_its_own_model():
    """Another model's signals neither help nor harm; who takes over begins with what it has."""

    async def life(world: World) -> None:
        assert world.ledger.track(BTC) is None
        await _wrong(world, 40)
        assert world.ledger.track(BTC).standing is Standing.BROKEN
        world.close(flat_bar(40), Side.LONG, **soon(model_digest="other"))
        await world.settled()
        made = world.ledger.track(BTC)
        assert (made.model_digest, made.n, made.pending) == ("other", 0, 1)
        assert world.board.remarks[-1][1] is None
        await world.kill()
        await world.settled()
        world.close(flat_bar(41), Side.FLAT, **soon(model_digest="m"))
        await world.settled()
        made = world.ledger.track(BTC)
        assert (made.model_digest, made.n, made.standing) == ("m", 40, Standing.BROKEN)
        assert len(world.told) == 1

    lived(life)


def test_a_signal_that_is_taken_back_waits_for_nothing_that_counts():
    """The record does not wait for it; a challenger's about the same bar is its own."""

    async def life(world: World) -> None:
        target = Target(3, 1.0, 1.0)
        entry = world.close(flat_bar(0), Side.LONG, **soon(target=target))
        world.shadow(flat_bar(0), Side.LONG, 1, **soon(target=target, model_digest="rival"))
        world.close(flat_bar(1))
        await world.settled()
        assert world.ledger.track(BTC).pending == 1
        again = dataclasses.replace(entry.decision, side=Side.FLAT, price=1.0)
        world.revise(dataclasses.replace(flat_bar(0), high=100.5), [(entry, again)])
        await world.settled()
        assert world.ledger.track(BTC).pending == 0
        assert world.ledger.challenger_track(BTC).pending == 1
        for hour in (2, 3):
            world.close(flat_bar(hour))
        await world.settled()
        found = {made.model_digest: made.taken_back for made in world.found()}
        assert found == {"m": True, "rival": False}
        assert (world.ledger.track(BTC).n, world.ledger.challenger_track(BTC).n) == (0, 1)

    lived(life)


def test_shadow_signals_have_outcomes_and_a_record_of_their_own():
    """A challenger's are resolved alike, judged apart, and never an incident."""

    async def life(world: World) -> None:
        for hour in range(45):
            bar = flat_bar(hour)
            world.close(bar, Side.LONG, **soon(evidence=None))
            world.shadow(bar, Side.SHORT, hour + 1, **soon(model_digest="rival"))
            if hour == 20:
                await world.kill()
            await world.settled()
        mine, rival = world.ledger.track(BTC), world.ledger.challenger_track(BTC)
        assert (mine.model_digest, mine.n, mine.pending) == ("m", 44, 1)
        assert (rival.model_digest, rival.n) == ("rival", 44)
        assert rival.standing is Standing.BROKEN
        assert mine.standing is Standing.UNKNOWN
        assert not world.told
        assert len(world.ledger.outcomes(BTC, START + 40 * HOUR)) == 8
        await world.kill()
        await world.settled()
        assert world.ledger.challenger_track(BTC) == rival

    lived(life)


def test_a_hole_that_is_filled_moves_the_horizon():
    """A bar that appears between others makes what rested on them be resolved again."""

    async def life(world: World) -> None:
        up = dataclasses.replace(flat_bar(2), high=103.0)
        world.close(flat_bar(0), Side.LONG, **soon())
        world.close(up)  # the bar of hour 1 never was
        await world.settled()
        (before,) = world.found()
        assert (before.right, before.resolved_bar) == (True, START + 2 * HOUR)
        world.history([flat_bar(1)])
        await world.settled()
        (after,) = world.found()
        assert (after.right, after.resolved_bar) == (False, START + HOUR)
        assert world.found() == world.expected()

    lived(life)


def test_bars_that_come_undecided_count_at_once():
    """What the feed begins anew with may complete a horizon; nothing waits for the next bar."""

    async def life(world: World) -> None:
        world.close(flat_bar(0), Side.LONG, **soon(target=Target(3, 1.0, 1.0)))
        world.close(flat_bar(1))
        await world.settled()
        assert not world.found()
        world.history([flat_bar(4), flat_bar(5)])
        await world.settled()
        (made,) = world.found()
        assert made.resolved_bar == START + 5 * HOUR

    lived(life)


def test_only_signals_of_challengers_wait():
    """A shadow that says nothing has no outcome, and its challenger no record."""

    async def life(world: World) -> None:
        for hour in range(4):
            world.close(flat_bar(hour), **soon())
            side = Side.SHORT if hour == 1 else Side.FLAT
            world.shadow(flat_bar(hour), side, hour + 1, **soon(model_digest="rival"))
            await world.settled()
            assert (world.ledger.challenger_track(BTC) is None) == (hour < 1)
        assert [made.side for made in world.found()] == [Side.SHORT]

    lived(life)


def test_one_model_with_two_policies_has_two_records():
    """What it says in the shadow, gated otherwise, is no part of what it is told to say."""

    async def life(world: World) -> None:
        for hour in range(6):
            side = Side.LONG if hour % 2 else Side.FLAT
            world.close(flat_bar(hour), side, **soon())
            world.shadow(flat_bar(hour), Side.LONG, hour + 1, **soon(policy_digest="looser"))
            await world.settled()
        mine, shadow = world.ledger.track(BTC), world.ledger.challenger_track(BTC)
        assert mine.model_digest == shadow.model_digest
        assert (mine.n, shadow.n) == (2, 5)

    lived(life)


def test_a_challenger_that_took_over_is_none_any_more():
    """Promoted, its shadow record goes on as the champion's."""

    async def life(world: World) -> None:
        for hour in range(5):
            world.close(flat_bar(hour), Side.FLAT, **soon())
            world.shadow(flat_bar(hour), Side.SHORT, hour + 1, **soon(model_digest="rival"))
            await world.settled()
        world.close(flat_bar(5), Side.FLAT, **soon(model_digest="rival"))
        await world.settled()
        assert world.ledger.challenger_track(BTC) is None
        assert world.ledger.track(BTC).n == 5

    lived(life)


def test_a_model_in_use_knows_its_rule_where_the_decision_does_not():
    """A signal of a version that did not name the rule is resolved by its model's."""

    async def life(world: World) -> None:
        world.targets["m"] = Target(3, 1.0, 1.0, "first_touch")
        # 2 % up in the next bar, then 2 % down: by the window that is no long, by first touch it is
        world.close(flat_bar(0), Side.LONG, target=Target(3, 1.0, 1.0))
        world.close(dataclasses.replace(flat_bar(1), high=102.0))
        world.close(dataclasses.replace(flat_bar(2), low=98.0))
        world.close(flat_bar(3))
        await world.settled()
        (made,) = world.found()
        assert made.right
        assert made.ended == "target"

    lived(life)


def test_what_cannot_be_resolved_is_not_guessed():
    """Without a target, with a rule of tomorrow, or with its bar gone, a signal has no outcome."""

    async def life(world: World) -> None:
        world.close(flat_bar(0), Side.LONG, target=None)
        world.close(flat_bar(1), Side.LONG, target=Target(1, 1.0, 1.0, "of tomorrow"))
        world.close(flat_bar(2), Side.LONG, **soon())
        world.journal._db.connection.execute(
            "DELETE FROM bars WHERE open_time = ?", (START + 2 * HOUR,)
        )
        world.close(flat_bar(3), Side.LONG, **soon())
        world.close(flat_bar(4))
        await world.settled()
        assert [made.bar_open for made in world.found()] == [START + 3 * HOUR]
        assert world.ledger.track(BTC).pending == 0

    lived(life)


@pytest.mark.parametrize("where", ["put", "note_told"])
def test_a_full_disk_delays_outcomes_and_loses_none(monkeypatch, where):
    """The board says so meanwhile; with room again all are there, each once."""
    real, left = getattr(Outcomes, where), [3]

    def full(self, *values):
        if left[0]:
            left[0] -= 1
            raise JournalUnavailableError("the disk is full")
        return real(self, *values)

    monkeypatch.setattr(Outcomes, where, full)
    monkeypatch.setattr("candled.ledger.ledger._RETRY_S", 0.0)

    async def life(world: World) -> None:
        await _wrong(world, 40)
        assert ("ledger", "the disk is full") in world.board.reports
        assert world.board.problem is None
        assert world.found() == world.expected()
        assert len(world.told) == 1
        assert not left[0]
        await world.kill()
        await world.settled()
        assert len(world.told) == 1

    lived(life)


def test_many_streams_wait_for_nothing_but_their_own_bars():
    """Bars are read only for signals whose horizon has passed, and only of their streams."""

    async def life(world: World) -> None:
        streams = [Stream("binance", f"S{n}USDT", "1h") for n in range(40)]
        for stream in streams:
            side = Side.LONG if stream is streams[0] else Side.FLAT
            world.close(flat_bar(0), side, stream=stream, target=Target(5, 1.0, 1.0))
        await world.settled()
        asked: list[Stream] = []
        read = world.journal.outcomes.ahead
        world.journal.outcomes.ahead = lambda *of: (asked.append(of[0]), read(*of))[1]
        for hour in range(1, 8):
            for stream in streams:
                world.close(flat_bar(hour), stream=stream)
            await world.settled()
        assert asked in ([streams[0]], [streams[0]] * 2)  # once more after the start
        assert len(world.found(streams[0])) == 1

    lived(life)


def test_the_ledger_works_in_slices():
    """However much is due at once, others go on in between, and four signals are one step."""

    async def life(world: World) -> None:
        for hour in range(200):
            world.close(flat_bar(hour), Side.LONG, **soon())
        put, sizes, turns = world.journal.outcomes.put, [], [0]

        def counted(made):
            sizes.append((len(made), turns[0]))
            put(made)

        world.journal.outcomes.put = counted
        world.start()
        while len(world.found()) < 199:
            turns[0] += 1
            await asyncio.sleep(0)
        assert max(size for size, _ in sizes) <= 4
        assert len({turn for _, turn in sizes}) == len(sizes) >= 199 // 4

    lived(life)


def test_an_outcome_that_the_disk_changed_is_not_believed():
    """One other letter in a row of the table, and the journal is refused by name."""

    async def life(world: World) -> None:
        await _wrong(world, 3)
        world.journal._db.connection.execute(
            "UPDATE outcomes SET entry = replace(entry, 'false', 'true')"
        )
        with pytest.raises(JournalError, match=r"outcome .* is not as it was written"):
            world.found()

    lived(life)


def test_who_only_looks_reads_outcomes_too():
    """A reader beside the daemon finds what is durable, oldest first."""

    async def life(world: World) -> None:
        await _wrong(world, 6)
        with open_reader(world.folder) as reader:
            assert reader.outcomes(BTC) == world.found() == world.expected()
            assert len(reader.outcomes(BTC)) == 5

    lived(life)
