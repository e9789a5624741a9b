"""Decisions: the notebook's rule on probabilities, and ids that say what was decided."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled.core.bar import Stream
from candled.core.decision import Policy, Side, decision_id, signals

BTC = Stream("binance", "BTCUSDT", "1h")
ID = "b094971c10a8bbc0a3dce27504b0eabe"


def _signal(no_trade, long, short, threshold=0.6):
    return signals(np.array([[no_trade, long, short]], dtype=np.float32), threshold)[0]


def test_a_probability_on_the_threshold_is_no_signal():
    """float32(0.6), which is above 0.6 as a double, is not above the threshold 0.6."""
    assert float(np.float32(0.6)) > 0.6
    assert _signal(0.2, 0.6, 0.2) == 0
    assert _signal(0.2, 0.2, 0.6) == 0


def test_the_next_float32_is_a_signal():
    """The smallest float32 above the threshold signals its side."""
    above = np.nextafter(np.float32(0.6), np.float32(1))
    assert _signal(0.2, above, 0.2) == 1
    assert _signal(0.2, 0.2, above) == 2


def test_short_wins_where_both_are_above():
    """Below a threshold of one half both sides can qualify, and short is taken."""
    assert _signal(0.1, 0.5, 0.4, threshold=0.3) == 2
    assert _signal(0.1, 0.5, 0.4, threshold=0.45) == 1


@given(
    st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 3), max_size=30),
    st.floats(0.01, 0.99),
)
def test_signals_follow_the_rule_row_by_row(rows, threshold):
    """For any probabilities the table of signals is the rule applied to each row."""
    found = signals(np.array(rows, dtype=np.float32).reshape(-1, 3), threshold)
    limit = np.float32(threshold)
    expected = [2 if short > limit else int(long > limit) for _, long, short in rows]
    assert found.tolist() == expected
    assert found.dtype == np.int8


def test_an_id_is_the_same_on_every_machine():
    """The id of a known decision is this text, today and after any restart."""
    policy = Policy()
    assert decision_id(BTC, "ab", policy.digest, 1_700_000_000_000, 0) == ID
    assert len(ID) == 32


def test_an_id_changes_with_everything_it_is_about():
    """Stream, model, policy, bar and revision each make another id, and no two run together."""
    ids = {
        decision_id(*about)
        for about in [
            (BTC, "ab", "cd", 12, 0),
            (Stream("okx", "BTCUSDT", "1h"), "ab", "cd", 12, 0),
            (Stream("binance", "ETHUSDT", "1h"), "ab", "cd", 12, 0),
            (Stream("binance", "BTCUSDT", "1m"), "ab", "cd", 12, 0),
            (BTC, "abc", "d", 12, 0),
            (BTC, "a", "bcd", 12, 0),
            (BTC, "ab", "cd", 1, 20),
            (BTC, "ab", "cd", 12, 1),
        ]
    }
    assert len(ids) == 8


def test_every_policy_setting_is_in_its_digest():
    """Changing any one setting changes the digest; equal policies share it."""
    policies = [
        Policy(),
        Policy(threshold=0.61),
        Policy(regime="default"),
        Policy(regime_gate=True),
        Policy(valid_bars=2),
        Policy(novelty_max=0.0),
        Policy(novelty_max=0.1),
        Policy(abstain=True),
        Policy(cooldown_bars=1),
        Policy(cooldown_bars=2),
        Policy(gap_mute_bars=1),
        Policy(gap_mute_bars=2),
    ]
    assert len({policy.digest for policy in policies}) == len(policies)
    assert Policy().digest == Policy(threshold=0.6).digest


@pytest.mark.parametrize(
    ("settings", "digest"),
    [
        ({}, "937eed2a6db25e34606d9c8ad70c58df"),
        (
            {"threshold": 0.42, "regime": "default", "regime_gate": True, "valid_bars": 3},
            "7863e8ec8395a192b0cdaa185cb3dca8",
        ),
    ],
)
def test_a_policy_keeps_its_digest_when_new_settings_appear(settings, digest):
    """A policy that uses no later gate has the digest it had before there was one."""
    assert Policy(**settings).digest == digest


def test_only_long_and_short_are_signals():
    """Flat and no decision are decisions, but nothing to act on."""
    assert [side.is_signal for side in Side] == [True, True, False, False]
