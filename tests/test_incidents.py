"""Of many incidents alike a few are told, none is forgotten, and the counts are whole."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from candled.core.bar import Stream
from candled.incidents import PAUSE_S, Limiter, incident_fields, where
from candled.ports import Act, Hazard, Incident
from candled.tally import Tally

BTC = Stream("binance", "BTCUSDT", "1h")
GAP = Incident(
    "binance", BTC, Hazard.GAP, Act.FLAG, "1 bar never was", 1_700_000_000_500, 1_700_000_000_000
)
KINDS = (
    GAP,
    dataclasses.replace(GAP, stream=dataclasses.replace(BTC, interval="1m")),
    dataclasses.replace(GAP, stream=None),
    dataclasses.replace(GAP, stream=None, exchange="okx"),
    dataclasses.replace(GAP, hazard=Hazard.MISSING_BAR),
    dataclasses.replace(GAP, act=Act.HOLD),
)


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(KINDS) - 1),
            st.sampled_from([0.0, 0.25, 1.0, PAUSE_S - 0.25, PAUSE_S, 90.0]),
        )
    )
)
def test_one_of_a_kind_is_told_at_once_and_then_one_a_minute(events: list[tuple[int, float]]):
    """The first of each kind is told, the next a whole minute later, with how many were not."""
    limiter, now = Limiter(), 1000.0
    told: dict[int, float] = {}
    unsaid = dict.fromkeys(range(len(KINDS)), 0)
    for number, (kind, pause) in enumerate(events):
        now += pause
        incident = dataclasses.replace(KINDS[kind], text=f"number {number}", venue_ms=number)
        due = kind not in told or now >= told[kind] + PAUSE_S
        assert limiter.step(incident, now) == (unsaid[kind] if due else None)
        if due:
            told[kind], unsaid[kind] = now, 0
        else:
            unsaid[kind] += 1


def test_an_incidents_line_is_flat():
    """Its fields are texts that a person reads and a query finds, null where there is nothing."""
    assert incident_fields(GAP) == {
        "exchange": "binance",
        "stream": "binance/BTCUSDT/1h",
        "hazard": "gap",
        "act": "flag",
        "text": "1 bar never was",
        "bar_open": "2023-11-14T22:13:20Z",
        "at": "2023-11-14T22:13:20.500Z",
    }
    alone = incident_fields(dataclasses.replace(GAP, stream=None, bar_open=None))
    assert (alone["stream"], alone["bar_open"]) == (None, None)
    assert [where(GAP), where(KINDS[3])] == ["binance/BTCUSDT/1h", "okx"]


def test_incidents_are_counted_by_place_and_hazard():
    """Every one counts, whatever was done about it, also those that were not told."""
    tally = Tally()
    for kind in (*KINDS, GAP):
        tally.met(kind)
    assert tally.summary().incidents == {
        "binance": {"gap": 1},
        "binance/BTCUSDT/1h": {"gap": 3, "missing_bar": 1},
        "binance/BTCUSDT/1m": {"gap": 1},
        "okx": {"gap": 1},
    }
