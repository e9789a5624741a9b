"""Facts are what the arrays say: worked out again here, the slow way or by scikit-learn."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from candled.core.decision import Evidence, Side
from candled.core.labels import LONG, SHORT
from candled.lab.findings import findings
from studies import found, study


def test_losses_are_those_of_scikit_learn():
    """Log-loss and Brier score of the model and of every baseline agree with plain formulas."""
    answers = {"model": study().tested.probabilities, **study().baselines}
    told = {one.name: one for one in found().facts.losses}
    assert next(iter(told)) == "model"
    for name, probabilities in answers.items():
        exact = probabilities.astype(np.float64)
        exact /= exact.sum(axis=1, keepdims=True)
        assert told[name].log_loss == pytest.approx(log_loss(study().truth, exact), abs=1e-6)
        missed = (exact - np.eye(3)[study().truth]) ** 2
        assert told[name].brier == pytest.approx(missed.sum(axis=1).mean(), abs=1e-6)
        assert told[name].rows == len(study().truth)


def test_skill_is_the_difference_to_class_shares():
    """Skill is the class shares' log-loss less the model's, inside its interval."""
    facts = found().facts
    told = {one.name: one for one in facts.losses}
    difference = told["class shares"].log_loss - told["model"].log_loss
    assert facts.skill.estimate == pytest.approx(difference, abs=1e-12)
    assert facts.skill.low <= difference <= facts.skill.high
    assert facts.block >= 2 * study().params.lookahead_bars


def test_the_classification_report_is_that_of_scikit_learn():
    """Precision, recall, F1, support and the confusion matrix agree with scikit-learn."""
    called, truth = study().tested.probabilities.argmax(axis=1), study().truth
    facts = found().facts.classification
    assert [list(row) for row in facts.confusion] == confusion_matrix(truth, called).tolist()
    theirs = np.transpose(precision_recall_fscore_support(truth, called, zero_division=0))
    for score, (precision, recall, f1, rows) in zip(facts.scores.values(), theirs, strict=True):
        ours = (score.precision or 0, score.recall or 0, score.f1 or 0, score.rows)
        assert ours == pytest.approx((precision, recall, f1, rows))
    counts = np.bincount(truth)
    assert facts.majority_accuracy == pytest.approx(counts.max() / len(truth))
    assert facts.accuracy == pytest.approx(np.mean(called == truth))


def test_published_signals_are_those_of_the_threshold_in_effect():
    """Short wins, the comparison is strict, and a fold's threshold is the one of its time."""
    of = study()
    limits = np.full(len(of.limits), np.quantile(of.tested.probabilities[:, LONG], 0.7))
    limits[: len(limits) // 2] = np.quantile(of.tested.probabilities[:, SHORT], 0.9)
    limits = limits.astype(np.float32)
    facts = findings(dataclasses.replace(of, limits=limits)).facts
    count = {"long": 0, "short": 0}
    hits, gross = 0, []
    for row, (_, long, short) in enumerate(of.tested.probabilities):
        side = SHORT if short > limits[row] else LONG if long > limits[row] else 0
        if not side:
            continue
        count["long" if side == LONG else "short"] += 1
        hits += of.truth[row] == side
        outcome = of.outcomes.long if side == LONG else of.outcomes.short
        gross.append(outcome.gross_pct[of.tested_bars[row]])
    long, short, both = facts.published
    assert min(count.values()) > 0
    assert {"long": long.precision.n, "short": short.precision.n} == count
    assert both.precision.n == len(gross)
    assert both.precision.estimate == pytest.approx(hits / len(gross))
    assert both.gross.estimate == pytest.approx(np.mean(gross))
    for cost, net in zip(facts.costs_pct, both.net, strict=True):
        assert net.estimate == pytest.approx(np.mean(gross) - cost)


@pytest.mark.parametrize("side", [LONG, SHORT])
def test_the_surest_rows_are_at_most_the_share_asked_for(side):
    """A coverage picks rows strictly above a threshold, and says their base rate and lift."""
    of, name = study(), ("long", "short")[side - 1]
    said, hit = of.tested.probabilities[:, side], of.truth == side
    for one in (one for one in found().facts.coverages if one.side == name):
        picked = said > np.float32(one.threshold)
        assert one.precision.n == picked.sum()
        assert picked.mean() == one.coverage <= one.asked
        assert one.base_rate == pytest.approx(hit.mean())
        if picked.any():
            assert one.precision.estimate == pytest.approx(hit[picked].mean())
            assert one.lift == pytest.approx(hit[picked].mean() / hit.mean())


def test_the_best_excursion_is_the_extreme_of_the_bars_ahead():
    """What the notebook calls potential return is the best price of the lookahead, no stop."""
    of = study()
    one = next(one for one in found().facts.coverages if one.side == "long" and one.asked == 0.5)
    picked = np.flatnonzero(of.tested.probabilities[:, LONG] > np.float32(one.threshold))
    bars, ahead = of.material.bars, of.params.lookahead_bars
    best = [
        (bars.high[at + 1 : at + 1 + ahead].max() / bars.close[at] - 1) * 100
        for at in of.tested_bars[picked]
    ]
    assert one.best_excursion_pct == pytest.approx(np.mean(best))
    assert one.best_excursion_pct > one.gross.estimate


def test_folds_and_bins_add_up_to_the_tested_rows():
    """No tested row is lost or counted twice on the way into folds, bins and classes."""
    facts, rows = found().facts, len(study().truth)
    assert sum(one.rows for one in facts.folds) == rows
    for side in facts.reliability:
        assert sum(one.happened.n for one in side.bins) == rows
    everything, tested, *of_regimes = facts.balances
    assert tested.rows == facts.rows.tested == rows
    assert sum(one.rows for one in of_regimes) == everything.rows == facts.rows.usable
    assert facts.rows.bars == facts.rows.usable + sum(facts.rows.dropped.values())


def test_drift_is_against_what_each_fold_was_trained_on():
    """The share of values outside the training range is counted fold by fold."""
    table = study().dataset.features
    outside = [
        (table[fold.test] < table[fold.train].min(axis=0))
        | (table[fold.test] > table[fold.train].max(axis=0))
        for fold in study().folds
    ]
    assert found().facts.drift.outside_share == pytest.approx(np.concatenate(outside).mean())


def test_controls_find_nothing_where_nothing_is_and_the_leak_is_seen():
    """Shuffled labels show no skill; a split at random shows far more than one by time."""
    shuffled, _, by_time, at_random = found().facts.controls
    assert shuffled.skill.low <= 0
    assert at_random.skill.estimate > by_time.skill.estimate + 0.1
    assert at_random.log_loss < at_random.share_log_loss


def test_findings_are_plain_json_with_the_verdict_first():
    """What --json prints reads back equal, evidence included, and is the same for equal input."""
    record = Evidence(Side.LONG, 0.0, None, 900, 1.0, 0.3, 0.2, 0.4, 0.25, None)
    told = findings(study(), evidence=(record,)).as_json()
    again = findings(study(), evidence=(record,)).as_json()
    text = json.dumps(told, allow_nan=False)
    assert text == json.dumps(again, allow_nan=False)
    assert next(iter(json.loads(text))) == "verdict"
    assert json.loads(text)["evidence"][0]["side"] == "long"
    assert json.loads(text)["verdict"]["headline"]["text"]
