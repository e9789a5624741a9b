"""What is made of a feature row: the regime of a stream, and the model's answer.

Regimes are made of `mar`'s rows whatever set a model reads, answers of the set's own table. That
the tables are causal is proven elsewhere; here, that what is made of them is.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.features.mar import REGIME_INPUTS
from candled.core.model import Model
from candled.core.regime import HISTORY, PRESETS, RegimeMachine, regime_rule
from candled.lab.verify.facts import Check, Ledger
from candled.lab.verify.subject import Floats, Subject

_REGIMES: Final = tuple(
    f"{kind}[{preset}]" for preset in PRESETS for kind in ("raw_regime", "regime")
)
_PROBABILITIES: Final = ("prob_no_trade", "prob_long", "prob_short")
_AHEAD: Final = 64  # bars after a cut
_ASKED_ALONE: Final = 4_096  # rows at most


def check_regimes(subject: Subject) -> Check:
    """Compare the regimes of all presets with a live machine's, with cut and with short tables."""
    ledger = Ledger(
        "regimes",
        "raw and confirmed, all presets: row by row, before cuts, after restarts",
        _REGIMES,
        subject.bars.open_time,
    )
    inputs = REGIME_INPUTS.table(subject.bars, subject.interval)
    whole = _all_presets(subject, inputs)
    ledger.compare(_machines(inputs), whole, slice(None), "is another than the live machine's")
    for row in subject.rows.tolist():
        start, end = max(0, row + 1 - HISTORY), row + 1 + _AHEAD
        says = f"changes when bars come after row {row}: it is repainted"
        cut, later = (_all_presets(subject, inputs[start:to]) for to in (row + 1, end))
        ledger.compare(cut, later[: len(cut)], slice(start, row + 1), says)
        if row >= HISTORY:
            short = REGIME_INPUTS.table(subject.bars[start : row + 1], subject.interval)
            again = _all_presets(subject, short)[-1:]
            says = f"depends on more than {HISTORY} bars"
            ledger.compare(whole[row : row + 1], again, slice(row, row + 1), says)
    return ledger.done()


def _all_presets(subject: Subject, inputs: Floats) -> NDArray[np.int8]:
    made = [subject.regimes(preset, inputs) for preset in PRESETS]
    return np.concatenate(made, axis=1, dtype=np.int8)


def _machines(inputs: Floats) -> NDArray[np.int8]:
    machines = [RegimeMachine(regime_rule(preset)) for preset in PRESETS]
    rows = [[x for one in machines for x in one.step(*row)] for row in inputs.tolist()]
    return np.array(rows, dtype=np.int8).reshape(-1, len(_REGIMES))


def check_model(subject: Subject) -> Check:
    """Ask about all rows at once, about each alone, and ask XGBoost's own package."""
    ledger = Ledger(
        "model",
        "asked about all rows, about each alone, and by XGBoost's own package",
        _PROBABILITIES,
        subject.bars.open_time,
    )
    if subject.model is None:
        return ledger.done("not compared: no model was given")
    rows = np.flatnonzero(np.isfinite(subject.whole).all(axis=1))
    features = subject.whole[rows]
    together = subject.model.probabilities(features)
    alone = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _ASKED_ALONE)).astype(np.intp))
    answers = [subject.model.probabilities(features[at : at + 1]) for at in alone.tolist()]
    ledger.compare(
        together[alone],
        np.concatenate([together[:0], *answers]),
        rows[alone],
        "is another when the row is asked about alone",
    )
    package = _by_the_package(subject.model, features)
    if package is None:
        return ledger.done("XGBoost's own package cannot be imported: it was not asked")
    ledger.compare(package, together, rows, "is another than XGBoost's own package says")
    return ledger.done()


def _by_the_package(model: Model, features: Floats) -> NDArray[np.float32] | None:
    try:
        import xgboost  # noqa: PLC0415 - heavy, and only for this comparison
    except ImportError:
        return None
    booster = xgboost.Booster()
    booster.load_model(bytearray(model.booster.ubjson()))
    matrix = xgboost.DMatrix(((features - model.mean) / model.scale).astype(np.float32))
    return np.asarray(booster.predict(matrix), dtype=np.float32)
