"""All checks, one after the other; and the gate that a user's own feature set must pass.

Every check is a function from a subject to a `Check`. A call of the set that fails is a finding of
the check that made it: a set must answer for any bars that may enter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final

import numpy as np

from candled.core.bar import Bars, Interval
from candled.core.features import FeatureSet
from candled.core.model import Model
from candled.lab.verify.derived import check_model, check_regimes
from candled.lab.verify.facts import ALL_COLUMNS, Check, Finding, Verification, VerificationError
from candled.lab.verify.future import check_future
from candled.lab.verify.leaks import find_leaks, refuse_denied_columns
from candled.lab.verify.live import check_alone, check_blocks, check_groups
from candled.lab.verify.past import check_cold, check_warm_up
from candled.lab.verify.repeat import check_inputs, check_repeat
from candled.lab.verify.series import (
    FUTURES,
    around_closes,
    gappy,
    patchy,
    seeded_candles,
    untraded,
)
from candled.lab.verify.subject import Regimes, Subject, core_regimes

_SAMPLES: Final = 48
_GATE_SAMPLES: Final = 12
_SHOWN: Final = 5


def _check_leaks(subject: Subject) -> Check:
    return find_leaks(subject.whole, subject.features.columns, subject.bars)


#: Each check by its name, in the order in which they run. `inputs` tells what all others saw.
CHECKS: Final[dict[str, Callable[[Subject], Check]]] = {
    **{f"future {kind}": partial(check_future, kind=kind) for kind in FUTURES},
    "live alone": check_alone,
    "live in groups": check_groups,
    "blocks": check_blocks,
    "cold start": check_cold,
    "warm-up": check_warm_up,
    "repeat": check_repeat,
    "leaks": _check_leaks,
    "regimes": check_regimes,
    "model": check_model,
    "inputs": check_inputs,
}


def verify(
    features: FeatureSet,
    bars: Bars,
    interval: Interval,
    *,
    model: Model | None = None,
    samples: int = _SAMPLES,
    seed: int = 0,
    checks: Collection[str] = tuple(CHECKS),
    regimes: Regimes = core_regimes,
) -> Verification:
    """Prove on these bars that features, regimes and a model are causal and the same everywhere.

    Args:
        features: the set; its table, blocks and live windows are compared with each other.
        bars: [n] closed bars, ascending; more than `features.history` for a full proof.
        interval: of the bars.
        model: asked about the set's rows, when given; it must be a model of this set.
        samples: about how many rows the checks look at that cannot look at all.
        seed: of what is random; the same seed compares the same cells.
        checks: names from `CHECKS`; the others are left out.
        regimes: from preset and inputs [n, 3] to raw and confirmed regimes [n, 2].

    Returns:
        What was compared, and a finding for each column of which a single bit differs.

    Raises:
        ValueError: no bars, or an unknown check.
    """
    if not len(bars):
        raise ValueError("there are no bars to verify on")
    if unknown := [name for name in checks if name not in CHECKS]:
        raise ValueError(f"unknown checks {unknown}; known are {', '.join(CHECKS)}")
    subject = Subject(features, bars, interval, model, regimes, samples, seed)
    done = tuple(_guarded(name, subject) for name in CHECKS if name in checks)
    return Verification(features.name, len(bars), done)


def _guarded(name: str, subject: Subject) -> Check:
    try:
        return CHECKS[name](subject)
    except Exception as error:  # noqa: BLE001 - it is the set's code: whatever it raises, is told
        says = f"cannot be computed: {type(error).__name__}: {error}"
        finding = Finding(name, ALL_COLUMNS, None, None, None, None, says, 0)
        return Check(name, "", 0, 0, (finding,))


def gate(features: FeatureSet, interval: Interval, *, seed: int = 0) -> dict[str, Any]:
    """Let a feature set through, or not: verify it on seeded candles of every kind.

    Plain ones, a flat price, gaps, bars without trades, a venue that lacks columns now and then,
    and tiny and huge prices. Needs no files and no pandas; takes seconds for a history of some
    thousand bars.

    Returns:
        The pass as plain JSON values, for a bundle's provenance: what was compared on which
        candles.

    Raises:
        VerificationError: names the columns, the candles, and what happens there.
    """
    refuse_denied_columns(features.columns)
    passed = {}
    for name, bars in _candles(features, interval, seed).items():
        samples = _SAMPLES if name == "plain" else _GATE_SAMPLES
        done = verify(features, bars, interval, samples=samples, seed=seed)
        if not done.ok:
            raise VerificationError(_refusal(features.name, name, done))
        passed[name] = {"bars": done.bars, "cells": done.cells}
    return {"feature_set": features.name, "seed": seed, "differing_bits": 0, "candles": passed}


def _candles(features: FeatureSet, interval: Interval, seed: int) -> dict[str, Bars]:
    short = features.history + features.window + 200
    rng = np.random.default_rng(seed)
    return {
        "plain": seeded_candles(features.history + short, interval, seed),
        "flat": around_closes(np.full(short, 0.9998), interval, rng),
        "gappy": gappy(seeded_candles(short, interval, seed + 1), seed),
        "untraded": untraded(seeded_candles(short, interval, seed + 2), seed),
        "patchy": patchy(seeded_candles(short, interval, seed + 3), seed),
        "tiny": seeded_candles(short, interval, seed + 4, price=3e-8),
        "huge": seeded_candles(short, interval, seed + 5, price=4e9),
    }


def _refusal(features: str, candles: str, done: Verification) -> str:
    texts = [f"{finding.check}: {finding.text}" for finding in done.findings]
    more = f"\n  and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    lines = "".join(f"\n  {text}" for text in texts[:_SHOWN])
    return (
        f"feature set {features!r} must not go live: on {candles} candles a row depends on more "
        f"than the bars before it{lines}{more}"
    )
