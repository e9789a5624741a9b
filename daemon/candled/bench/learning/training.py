"""Training: how long the walk-forward, the honest training, its findings and the notebook's take.

The walk-forward is made twice, alone and as a part of the honest training: the answers about rows
that were not seen must be the same bits.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from candled.bench.learning.facts import Candles, Part, same_bits
from candled.bench.learning.timing import timed_alone
from candled.core.features import feature_set
from candled.core.model import ModelSpec
from candled.lab.dataset import material
from candled.lab.findings import findings
from candled.lab.honest import HonestlyTrained, train_honest
from candled.lab.notebook import train_notebook
from candled.lab.recipe import Recipe
from candled.lab.study import Study, walk_forward_study

_SYMBOL: Final = "BENCH"
_WAY: Final = "candled"
_CPU: Final = "CPU s"


def honest_parts(candles: Candles, recipe: Recipe) -> list[Part]:
    """Walk a recipe forward, train it honestly, and derive the findings."""
    study, walked_s, walked_cpu_s = timed_alone(lambda: _walk_forward(candles, recipe))
    made, trained_s, trained_cpu_s = timed_alone(lambda: _honest(candles, recipe))
    evidence = made.trained.spec.evidence
    found, found_s, found_cpu_s = timed_alone(lambda: findings(made.study, evidence=evidence))
    skill = found.facts.skill.estimate
    one, other = study.tested.probabilities, made.study.tested.probabilities
    agreed = same_bits("probabilities of the tested rows, walked twice", [(one, other)])
    tested = {
        _CPU: walked_cpu_s,
        "folds": float(recipe.folds),
        "tested rows": float(len(study.truth)),
    }
    judged = {} if skill is None else {"skill (nats)": skill}
    rows, data = len(candles.bars), candles.name
    return [
        Part("walk-forward", rows, data, {_WAY: [walked_s]}, (agreed,), tested),
        Part(
            "honest training, walk-forward included",
            rows,
            data,
            {_WAY: [trained_s]},
            figures={_CPU: trained_cpu_s},
        ),
        Part("findings", rows, data, {_WAY: [found_s]}, figures={_CPU: found_cpu_s, **judged}),
    ]


def _walk_forward(candles: Candles, recipe: Recipe) -> Study:
    of = material(
        candles.bars,
        candles.interval,
        rule=recipe.label_rule,
        params=recipe.labels,
        regime=recipe.regime,
    )
    return walk_forward_study(of, _SYMBOL, feature_set(recipe.feature_set), recipe)


def _honest(candles: Candles, recipe: Recipe) -> HonestlyTrained:
    return train_honest(
        candles.bars,
        _SYMBOL,
        candles.interval.name,
        feature_set(recipe.feature_set),
        recipe,
        created_at=dt.datetime.now(dt.UTC),
    )


def notebook_part(candles: Candles, estimators: int) -> tuple[ModelSpec, Part]:
    """Train as the notebook does; return the model as well, for what needs one."""
    trained, seconds, cpu_s = timed_alone(
        lambda: train_notebook(
            candles.bars,
            _SYMBOL,
            candles.interval.name,
            created_at=dt.datetime.now(dt.UTC),
            estimators=estimators,
        )
    )
    part = Part(
        "notebook training",
        len(candles.bars),
        candles.name,
        {_WAY: [seconds]},
        figures={_CPU: cpu_s, "trees": float(3 * estimators)},
    )
    return trained.spec, part
