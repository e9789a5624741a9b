"""The pauses between connections."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from candled_adapters.sinks.mqtt_retry import Retry
from candled_adapters.sinks.mqtt_wire import LinkError, TakenOverError

LIVES = st.lists(st.one_of(st.none(), st.floats(0, 30)), max_size=60)


@given(LIVES)
def test_pauses_stay_within_the_doubling_limit(lives):
    """Whatever happened, no pause is longer than the limit that the attempt allows, or 10 s."""
    retry, attempt = Retry(0.2, 10.0), 0
    for well_for in lives:
        attempt = 0 if well_for is not None and well_for >= 10 else attempt + 1
        pause, _ = retry.after(LinkError("lost"), well_for)
        assert 0 <= pause <= min(10.0, 0.2 * 2**attempt)
        assert not retry.doubt


def test_a_broker_that_drops_at_once_is_asked_ever_less_often():
    """Over many tries the mean pause comes to half the longest."""
    pauses = []
    for _ in range(300):
        retry = Retry(0.2, 10.0)
        pauses.append([retry.after(LinkError("lost"), None)[0] for _ in range(12)])
    means = [sum(column) / 300 for column in zip(*pauses, strict=True)]
    assert means[0] < 0.4
    assert 4 < means[-1] < 6


@given(st.one_of(st.none(), st.floats(0, 100)))
def test_who_was_taken_over_stays_away_for_long(well_for):
    """At least half the longest pause, and the next connection must prove itself."""
    retry = Retry(0.2, 10.0)
    pause, text = retry.after(TakenOverError("taken"), well_for)
    assert 5 <= pause <= 10
    assert retry.doubt
    assert text == "taken"
    retry.after(LinkError("lost"), 20.0)
    assert not retry.doubt


@given(st.lists(st.floats(0, 9.9), min_size=4, max_size=4))
def test_ends_soon_after_all_was_well_tell_of_a_twin(lives):
    """Four in a row without a reason: another client may use the id."""
    retry = Retry(0.2, 10.0)
    texts = [retry.after(LinkError("lost"), well_for)[1] for well_for in lives]
    assert texts[:3] == ["lost"] * 3
    assert "4 times in a row" in texts[3]
    assert "choose another mqtt.client_id" in texts[3]
    assert retry.after(LinkError("nobody"), None)[1] == "nobody"
    assert retry.after(LinkError("lost"), 1.0)[1] == "lost"
