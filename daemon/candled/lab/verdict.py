"""The verdict: what the facts add up to, in words, by rules that cannot flatter.

The rules. All intervals are the facts' (95 %), and an interval that is not known counts as one that
includes 0.

1. *Trust.* If the trial on shuffled labels shows skill, the method leaks: nothing else is said to
   be good. If the trial on planted labels shows none, finding nothing means nothing.
2. *Evidence.* With fewer than `FEWEST_INDEPENDENT` independent rows, skill is unknown.
3. *Skill* is shown when the interval of the nats by which the model beats constant class shares is
   above 0, most folds agree, and, where more than one configuration was tried, overfitting was
   measured and is unlikely. It is worse than nothing when the interval is below 0.
4. *Costs.* A cost is survived when skill is shown, there are `FEWEST_SIGNALS`, and the interval of
   their mean result after it is above 0: of the signals, long and short together, of the threshold
   that was in effect. The best of many thresholds never counts.
5. *Calibration*, *drift* and plain baselines that do as well are named with their figures.
"""

from __future__ import annotations

from typing import Final

from candled.lab.bootstrap import Interval
from candled.lab.facts import Facts, Statement, TrialFact, Verdict
from candled.lab.words import PERCENT, count, number, share, share_interval, signed_interval

FEWEST_INDEPENDENT: Final = 100
FEWEST_SIGNALS: Final = 30
ECE_GOOD: Final = 0.02
ECE_BAD: Final = 0.05
PSI_SHIFTED: Final = 0.25
"""Population stability index above which, by custom, a feature has moved."""
DRIFT_VALUES: Final = 0.10
"""Share of feature values outside the training range from which on the reader is warned."""
LIKELY: Final = 0.95
"""Deflated Sharpe ratio from which on the best of many is believed."""
OVERFITTED: Final = 0.5

SHOWN: Final = "shown"
NOT_SHOWN: Final = "not shown"
WORSE: Final = "worse"
UNKNOWN: Final = "unknown"
BROKEN: Final = "broken"


def verdict(facts: Facts) -> Verdict:
    """Judge by the rules of this module."""
    skill = _skill(facts)
    survives = _survived(facts) if skill == SHOWN else None
    return Verdict(
        skill=skill,
        survives_cost_pct=survives,
        headline=_headline(facts, skill, survives),
        statements=tuple(
            statement
            for statement in (
                _about_skill(facts),
                _about_search(facts),
                *_about_baselines(facts),
                _about_accuracy(facts),
                *_about_costs(facts, skill),
                _about_calibration(facts),
                _about_drift(facts),
                *_about_controls(facts),
                _about_evidence(facts),
            )
            if statement is not None
        ),
    )


def is_above(interval: Interval, zero: float = 0.0) -> bool:
    """Whether the whole interval is known to be above a value."""
    return interval.low is not None and interval.low > zero


def _is_below(interval: Interval) -> bool:
    return interval.high is not None and interval.high < 0


def _skill(facts: Facts) -> str:
    shuffled = _trial(facts, "shuffled labels")
    if shuffled is not None and is_above(shuffled.skill):
        return BROKEN
    if facts.rows.independent < FEWEST_INDEPENDENT or facts.skill.low is None:
        return UNKNOWN
    if _is_below(facts.skill):
        return WORSE
    agree = 2 * _better_folds(facts) > len(facts.folds)
    return SHOWN if is_above(facts.skill) and agree and not _overfitted(facts) else NOT_SHOWN


def _survived(facts: Facts) -> float | None:
    """Return the largest cost that the published signals survive."""
    both = facts.published[-1]
    if both.gross.n < FEWEST_SIGNALS:
        return None
    nets = zip(facts.costs_pct, both.net, strict=True)
    return max((cost for cost, net in nets if is_above(net)), default=None)


def _headline(facts: Facts, skill: str, survives: float | None) -> Statement:
    if skill == BROKEN:
        return Statement(
            "bad",
            "Do not trust this report: the method finds skill in shuffled labels, where there is "
            "none.",
        )
    earns = _earns(facts, survives)
    if skill == SHOWN:
        tone = "good" if survives else "warning"
        return Statement(tone, f"Has skill; {earns}.")
    said = {
        WORSE: "Worse than knowing only how frequent the classes are",
        NOT_SHOWN: "No skill shown",
        UNKNOWN: "Too little evidence to say whether there is skill",
    }
    return Statement("bad", f"{said[skill]}; {earns}.")


def _earns(facts: Facts, survives: float | None) -> str:
    both = facts.published[-1]
    if not both.gross.n:
        return "at the threshold of the time it never signalled, so nothing is known of earnings"
    if survives is None and is_above(both.gross):
        return "that its signals earned something before costs may be luck"
    if survives is None:
        return "its signals are not shown to earn anything, not even without costs"
    if survives == 0:
        return "its signals earn something before costs, but survive none of the costs"
    return f"its signals survive costs of {survives:.2f}{PERCENT} a round trip"


def _about_skill(facts: Facts) -> Statement:
    skill, folds = facts.skill, len(facts.folds)
    text = (
        f"Its skill, against constant class shares, is {signed_interval(skill, 4)} nats a row on "
        f"{count(skill.n)} rows that were not trained on"
    )
    if folds > 1:
        text += f"; it is better in {_better_folds(facts)} of {folds} folds"
    tone = "good" if is_above(skill) else "bad"
    return Statement(tone, f"{text}.")


def _about_search(facts: Facts) -> Statement | None:
    tried = facts.tried
    if tried.configurations == 1:
        return None
    measured = [
        f"{name} {number(value, 2)}"
        for name, value in (
            ("deflated Sharpe ratio", tried.deflated_sharpe),
            ("probability of overfitting", tried.overfitting_probability),
        )
        if value is not None
    ]
    text = f"It is the best of {count(tried.configurations)} configurations that were tried"
    if not measured:
        return Statement("bad", f"{text}, and overfitting was not measured: skill cannot be shown.")
    tone = "bad" if _overfitted(facts) else "plain"
    return Statement(tone, f"{text} ({', '.join(measured)}).")


def _overfitted(facts: Facts) -> bool:
    """Whether the best of many may be nothing but the luckiest."""
    tried = facts.tried
    if tried.configurations == 1:
        return False
    sharpe, overfitting = tried.deflated_sharpe, tried.overfitting_probability
    if sharpe is None and overfitting is None:
        return True
    too_lucky = sharpe is not None and sharpe < LIKELY
    return too_lucky or (overfitting is not None and overfitting >= OVERFITTED)


def _about_baselines(facts: Facts) -> list[Statement]:
    not_beaten = [
        f"{loss.name} ({signed_interval(loss.advantage, 4)} nats)"
        for loss in facts.losses
        if loss.advantage is not None and loss.is_rival and not is_above(loss.advantage)
    ]
    if not not_beaten:
        return []
    return [Statement("warning", f"It is not shown to be better than: {'; '.join(not_beaten)}.")]


def _about_accuracy(facts: Facts) -> Statement:
    found = facts.classification
    beaten = "more" if is_above(found.over_majority) else "not clearly more"
    return Statement(
        "plain",
        f"Its likeliest class is right in {share(found.accuracy)} of rows, {beaten} than the "
        f"{share(found.majority_accuracy)} of always answering the commonest class.",
    )


def _about_costs(facts: Facts, skill: str) -> list[Statement]:
    both = facts.published[-1]
    if not both.gross.n:
        return []
    precision = (
        f"At the threshold of the time it signals {share(both.coverage, 2)} of rows "
        f"({count(both.precision.n)} signals) and is right in {share_interval(both.precision)}; "
        f"naming as many longs and shorts at random is right in {share(both.base_rate)}."
    )
    tone = "plain" if is_above(both.precision, both.base_rate) else "bad"
    statements = [Statement(tone, precision)]
    trusted = skill == SHOWN and both.gross.n >= FEWEST_SIGNALS
    for cost, net in zip(facts.costs_pct, both.net, strict=True):
        statements.append(_about_cost(cost, net, trusted=trusted))
    if both.gross.n < FEWEST_SIGNALS:
        few = f"{both.gross.n} signals are too few to say what they earn."
        statements.append(Statement("warning", few))
    return statements


def _about_cost(cost: float, net: Interval, *, trusted: bool) -> Statement:
    text = f"At {cost:.2f}{PERCENT} a round trip a signal brings {signed_interval(net)}{PERCENT}"
    if is_above(net) and trusted:
        return Statement("good", f"{text}: above 0.")
    if is_above(net):
        return Statement("warning", f"{text}: above 0, but it may be luck.")
    if (net.estimate or 0.0) > 0:
        return Statement("warning", f"{text}: above 0 on paper, but not distinguishable from 0.")
    if net.high is not None and net.high < 0:
        return Statement("bad", f"{text}: a loss.")
    return Statement("bad", f"{text}: no gain, not even on paper.")


def _about_calibration(facts: Facts) -> Statement | None:
    errors = {one.side: one.ece for one in facts.reliability if one.ece is not None}
    if not errors:
        return None
    worst = max(errors.values())
    said = " and ".join(f"{number(error)} ({side})" for side, error in errors.items())
    if worst <= ECE_GOOD:
        return Statement("good", f"Its probabilities mean what they say: off by {said} on average.")
    if worst <= ECE_BAD:
        return Statement("plain", f"Its probabilities are roughly right: off by {said} on average.")
    return Statement(
        "bad", f"Its probabilities do not mean what they say: off by {said} on average."
    )


def _about_drift(facts: Facts) -> Statement:
    drift = facts.drift
    text = (
        f"{share(drift.outside_share)} of the tested feature values lie outside what the model was "
        f"trained on, and {drift.shifted} of {drift.features} features have shifted (PSI above "
        f"{PSI_SHIFTED:g})"
    )
    if drift.outside_share > DRIFT_VALUES or 2 * drift.shifted > drift.features:
        return Statement("warning", f"{text}: it is asked about a market it has not seen.")
    return Statement("plain", f"{text}.")


def _about_controls(facts: Facts) -> list[Statement]:
    shuffled, planted = _trial(facts, "shuffled labels"), _trial(facts, "planted signal")
    if shuffled is None or planted is None:
        return [Statement("warning", "The method itself was not put on trial (no controls).")]
    nothing = f"On shuffled labels the method's skill is {signed_interval(shuffled.skill, 4)} nats"
    something = f"on planted ones, where something is, {signed_interval(planted.skill, 4)}"
    if is_above(shuffled.skill):
        return [Statement("bad", f"{nothing}, where nothing may be found: something leaks.")]
    if not is_above(planted.skill):
        return [
            Statement(
                "warning",
                f"A planted signal is not found ({signed_interval(planted.skill, 4)} nats): that "
                "nothing is found here means little.",
            )
        ]
    return [Statement("good", f"{nothing}, not above 0, as it must be; {something}.")]


def _about_evidence(facts: Facts) -> Statement:
    rows = facts.rows
    text = (
        f"Labels of neighbouring rows overlap: {count(rows.tested)} tested rows are worth about "
        f"{count(rows.independent)} independent ones"
    )
    if rows.independent < FEWEST_INDEPENDENT:
        return Statement("bad", f"{text}, fewer than the {FEWEST_INDEPENDENT} that are needed.")
    return Statement("plain", f"{text}.")


def _better_folds(facts: Facts) -> int:
    return sum(1 for fold in facts.folds if (fold.skill.estimate or 0.0) > 0)


def _trial(facts: Facts, name: str) -> TrialFact | None:
    return next((one for one in facts.controls if one.name == name), None)
