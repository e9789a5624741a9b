"""Recipes: all that decides a training, there and back, and nothing senseless."""

from __future__ import annotations

import json

import pytest

from candled.core.labels import LabelParams
from candled.lab.recipe import Boosting, Recipe, ThresholdRule


def test_a_recipe_survives_json():
    """What a bundle says of its making makes the same recipe again."""
    recipe = Recipe(
        feature_set="mar",
        label_rule="first_touch",
        labels=LabelParams(10, 1.25, 0.75),
        boosting=Boosting(n_estimators=7, learning_rate=0.1),
        embargo=5,
        balance_classes=True,
        threshold=ThresholdRule("value", 0.1),
    )
    assert Recipe.from_json(json.loads(json.dumps(recipe.as_json()))) == recipe


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"label_rule": "crystal"}, "unknown label rule 'crystal'"),
        ({"regime": "mood"}, "unknown regime preset 'mood'"),
        ({"folds": 1}, "folds must be 2 or more"),
        ({"abstain_alpha": 1.0}, "abstain_alpha must be between 0 and 1"),
        ({"embargo": -1}, "embargo must be 0 bars or more"),
        ({"first_share": 1.0}, "first_share must be between 0 and 1"),
    ],
)
def test_a_senseless_recipe_is_refused(settings, says):
    """Each setting is named with what it may be."""
    with pytest.raises(ValueError, match=says):
        Recipe(**settings)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("fixed", 0.0), ("fixed", 1.0), ("coverage", 0.0), ("coverage", 1.5), ("value", -0.1)],
)
def test_a_threshold_rule_takes_what_it_can_mean(kind, value):
    """A threshold or share of 0 or 1, and negative costs, are refused."""
    with pytest.raises(ValueError, match=r"threshold takes|costs are"):
        ThresholdRule(kind, value)


def test_free_trade_is_a_cost():
    """Costs of nothing are allowed: a maker may have them."""
    assert ThresholdRule("value", 0.0).value == 0.0


def test_the_embargo_is_the_lookahead_unless_given():
    """Labels that look further need more room."""
    assert Recipe(labels=LabelParams(lookahead_bars=30)).embargo_bars == 30
    assert Recipe(embargo=0).embargo_bars == 0


def test_uniqueness_weighs_only_exact_ends():
    """All labels of the window rule overlap alike: there is nothing to weigh."""
    assert not Recipe(label_rule="window").weighs_uniqueness
    assert Recipe(label_rule="first_touch").weighs_uniqueness
    assert not Recipe(label_rule="first_touch", weigh_uniqueness=False).weighs_uniqueness
