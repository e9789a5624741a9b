"""People are told of a model's age in time, when it is over, and not again and again."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from candled.ageing import Ageing
from candled.board import Board
from candled.core.bar import DAY, HOUR, Stream
from candled.core.decision import Policy
from candled.core.engine import Lane
from candled.ports import Act, Entry, Hazard, Incident, ServiceState
from fakes import Decisions
from models import model

BTC = Stream("binance", "BTCUSDT", "1h")
ETH = Stream("binance", "ETHUSDT", "1h")
UNTIL = 1_700_000_000_000
AGE = 30
END = UNTIL + AGE * DAY


class House:
    def __init__(self, *lanes: Lane) -> None:
        self.lanes = list(lanes)
        self.board = Board(lambda: 0)
        self.told: list[Incident] = []
        self.ageing = Ageing(lambda: self.lanes, self.board, self.told.append)

    @property
    def remarks(self) -> tuple[str, ...]:
        return self.board.health.reasons


def lane(stream: Stream = BTC, days: int | None = AGE, digest: str = "abcdef0123") -> Lane:
    aged = replace(model(), trained_until=UNTIL, digest=digest)
    return Lane(stream, aged, Policy(max_age_days=days))


def entry(close: int, stream: Stream = BTC) -> Entry:
    made = Decisions().make(stream=stream)
    decision = replace(made.decision, bar_open=close - HOUR, bar_close=close)
    return replace(made, decision=decision, decided_ms=close + 40)


@given(st.lists(st.integers(-20 * 24, 10 * 24), min_size=1, max_size=40))
def test_a_remark_comes_seven_days_before_and_an_incident_once_when_it_is_over(hours):
    """Whatever bars come in whatever batches: by the newest bar's close alone."""
    house, hours = House(lane()), sorted(hours)
    house.ageing.begin([])
    for at in hours:
        house.ageing.look([entry(END + at * HOUR)])
        over, soon = at > 0, at > -7 * 24
        assert len(house.told) == over
        assert len(house.remarks) == (over or soon)
        if over:
            assert "expired at 2023-12-14T22:13:20Z and gives no signals" in house.remarks[0]
        elif soon:
            assert "expires at 2023-12-14T22:13:20Z; train it anew and reload" in house.remarks[0]
    assert house.board.health.state is ServiceState.ONLINE


def test_the_incident_says_which_stream_and_bar_and_each_stream_has_one():
    """One remark for a model that two streams share, two incidents."""
    house = House(lane(), lane(ETH))
    house.ageing.begin([])
    house.ageing.look([entry(END + HOUR), entry(END + HOUR, ETH), entry(END + 2 * HOUR)])
    assert [one.stream for one in house.told] == [BTC, ETH]
    first = house.told[0]
    assert (first.hazard, first.act) == (Hazard.MODEL_EXPIRED, Act.FLAG)
    assert (first.bar_open, first.venue_ms) == (END, END + HOUR + 40)
    assert len(house.remarks) == 1
    assert "abcdef01" in house.remarks[0]


def test_a_start_looks_at_what_the_journal_has():
    """Nobody must wait for the next bar to learn that a model is too old."""
    house = House(lane())
    house.ageing.begin([entry(END + DAY)])
    assert len(house.told) == len(house.remarks) == 1


def test_a_reload_begins_anew():
    """The old model's remark goes with it; the same model under a longer limit is well again."""
    house = House(lane())
    house.ageing.begin([entry(END + DAY)])
    house.lanes = [lane(days=AGE + 30)]
    house.ageing.begin([entry(END + DAY)])
    assert house.remarks == ()
    house.lanes = [lane(digest="other"), lane(ETH, days=None)]
    house.ageing.begin([entry(END + DAY), entry(END + DAY, ETH)])
    assert [one.stream for one in house.told] == [BTC, BTC]
    house.lanes = [lane(days=None)]
    house.ageing.begin([entry(END + DAY)])
    assert house.remarks == ()
