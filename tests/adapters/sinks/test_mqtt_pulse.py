"""When a broker counts as gone."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from candled_adapters.sinks.mqtt_pulse import Beat, Pulse

SPANS = st.floats(0.1, 600)


@given(st.floats(2, 600), st.floats(0.1, 60), st.integers(0, 50))
def test_a_frozen_broker_is_given_up_in_time(keepalive, patience, answers):
    """Within half a keepalive and the patience and two ticks, wherever it froze."""
    pulse = Pulse(keepalive, patience)
    for _ in range(answers):
        assert pulse.tick() is not Beat.GONE
        pulse.heard()
    ticks = 1
    while pulse.tick() is not Beat.GONE:
        ticks += 1
    bound = keepalive / 2 + patience + 3 * pulse.seconds
    assert ticks * pulse.seconds <= bound * (1 + 1e-9)


@given(st.floats(2, 600), st.floats(0.1, 60), st.data())
def test_a_broker_that_answers_in_time_is_never_given_up(keepalive, patience, data):
    """Whatever it takes up to the patience, counted in ticks."""
    pulse = Pulse(keepalive, patience)
    late = None
    for _ in range(100):
        beat = pulse.tick()
        assert beat is not Beat.GONE
        if late == 0:
            pulse.heard()
            late = None
        elif late is not None:
            late -= 1
        if beat is Beat.ASK and late is None:
            late = data.draw(st.integers(0, math.floor(patience / pulse.seconds) - 1))


@given(st.floats(2, 30), st.floats(0.1, 60))
def test_we_ask_at_least_twice_within_a_keepalive(keepalive, patience):
    """So that the broker hears us in time, even when answers come all the while."""
    pulse = Pulse(keepalive, patience)
    asked = []
    for _ in range(1_200):
        if pulse.tick() is Beat.ASK:
            asked.append(pulse.now)
        pulse.heard()
    gaps = [b - a for a, b in zip([0, *asked], asked, strict=False)]
    assert gaps
    assert max(gaps) * pulse.seconds <= keepalive / 2 * (1 + 1e-9)
