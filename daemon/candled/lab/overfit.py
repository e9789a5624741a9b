"""How much of the best of many trials is luck.

Returns per period and Sharpe ratios per period (never annualised here); knows no models and no
bars. Sources: D. H. Bailey, M. Lopez de Prado, "The Sharpe Ratio Efficient Frontier" (2012), for
the probabilistic Sharpe ratio; the same, "The Deflated Sharpe Ratio" (2014),
https://ssrn.com/abstract=2460551; D. H. Bailey, J. Borwein, M. Lopez de Prado, Q. J. Zhu, "The
Probability of Backtest Overfitting" (2015), https://ssrn.com/abstract=2326253
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PARTS: Final = 16
_NORMAL: Final = NormalDist()
_EULER_MASCHERONI: Final = 0.5772156649015329
_FEWEST: Final = 4
"""Returns below which third and fourth moments say nothing."""
_CHOICES_AT_ONCE: Final = 1_024


@dataclass(frozen=True, slots=True)
class Overfit:
    """What became of the configuration that looked best, over all choices of halves."""

    probability: float
    """Share of the choices in which it ended in the lower half out of sample: 0.5 is pure luck."""
    loss: float
    """Share of the choices in which it lost money out of sample."""
    logits: Floats
    """[choices] ln(w / (1 - w)) of its relative rank w out of sample; 0 is the median."""


def sharpe(returns: Floats) -> float | None:
    """Return mean / sample deviation of returns [n] per period; None where it does not exist."""
    if len(returns) < 2 or np.ptp(returns) == 0:  # noqa: PLR2004 - a deviation needs two
        return None
    return float(np.mean(returns) / np.std(returns, ddof=1))


def probabilistic_sharpe(returns: Floats, benchmark: float = 0.0) -> float | None:
    """Return the probability that the true Sharpe ratio of returns [n] exceeds `benchmark`.

    PSR = Phi((s - b) * sqrt(n - 1) / sqrt(1 - g3 * s + (g4 - 1) / 4 * s**2)), with s the sample's
    ratio per period, g3 its skewness and g4 its kurtosis (3 for the normal). None for fewer than 4
    returns, or returns that are all equal.
    """
    ratio = sharpe(returns)
    if ratio is None or len(returns) < _FEWEST:
        return None
    scaled = (returns - np.mean(returns)) / np.std(returns)
    skewness, kurtosis = float(np.mean(scaled**3)), float(np.mean(scaled**4))
    # Above 0 always, as kurtosis >= skewness**2 + 1.
    spread = 1.0 - skewness * ratio + (kurtosis - 1.0) / 4.0 * ratio**2
    if spread <= 0:  # two values only, at the bound, and rounding
        return 1.0 if ratio > benchmark else 0.0
    return _below((ratio - benchmark) * math.sqrt((len(returns) - 1) / spread))


def expected_best_sharpe(trials: Floats) -> float:
    """Return the Sharpe ratio that the luckiest of these trials [n] has if none has any skill.

    sqrt(V) * ((1 - g) * Z(1 - 1/n) + g * Z(1 - 1/(n * e))), with V the sample variance of the
    trials' ratios, g the Euler-Mascheroni constant and Z the normal quantile; 0 for one trial.

    Raises ValueError without trials, or for a ratio that is not finite.
    """
    n = len(trials)
    if not n or not np.isfinite(trials).all():
        raise ValueError("trials must be the finite Sharpe ratios of all that was tried")
    if n == 1:
        return 0.0
    luck = (1 - _EULER_MASCHERONI) * _NORMAL.inv_cdf(1 - 1 / n)
    luck += _EULER_MASCHERONI * _NORMAL.inv_cdf(1 - 1 / (n * math.e))
    return float(np.std(trials, ddof=1)) * luck


def deflated_sharpe(returns: Floats, trials: Floats) -> float | None:
    """Return the probability that the chosen trial is better than the luckiest of unskilled ones.

    Args:
        returns: [n] of the chosen trial, per period.
        trials: the Sharpe ratios per period of all trials, the chosen one included. Trials left
            out make the result worthless.

    Returns:
        The probabilistic Sharpe ratio against `expected_best_sharpe`; above 0.95 it is hard to
        call luck. None for fewer than 4 returns, or returns that are all equal.

    Raises:
        ValueError: no trials, or one that is not finite.
    """
    return probabilistic_sharpe(returns, expected_best_sharpe(trials))


def backtest_overfitting(returns: Floats, *, parts: int = PARTS) -> Overfit:
    """Return how often the best configuration of one half of the time fails in the other (CSCV).

    Time is cut into `parts` consecutive parts. For every choice of half of them the configuration
    with the highest Sharpe ratio there (the first of equals) is ranked by its ratio in the rest;
    w = rank / (n + 1), equals sharing the middle rank. A ratio that does not exist counts as 0.

    Args:
        returns: [t, n] per period, one column for each configuration tried.
        parts: even; 16 give 12,870 choices.

    Raises:
        ValueError: fewer than 2 configurations, fewer than 2 periods a part, odd parts, or a
            return that is not finite.
    """
    _refuse_bad_returns(returns, parts)
    halves = np.array(list(itertools.combinations(range(parts), parts // 2)))
    inside = np.zeros((len(halves), parts), dtype=np.bool_)
    np.put_along_axis(inside, halves, values=True, axis=1)
    edges = np.arange(parts) * len(returns) // parts
    counts = np.diff(np.append(edges, len(returns)))
    centre = returns.mean(axis=0)  # squares about it lose no digits to it
    sums = np.add.reduceat(returns - centre, edges)
    squares = np.add.reduceat((returns - centre) ** 2, edges)
    logits, losses = [], 0
    for first in range(0, len(inside), _CHOICES_AT_ONCE):
        some = inside[first : first + _CHOICES_AT_ONCE]
        best = np.argmax(_ratios(some, counts, sums, squares, centre), axis=1)
        outside = _ratios(~some, counts, sums, squares, centre)
        own = np.take_along_axis(outside, best[:, np.newaxis], axis=1)
        logits.append(_logits(outside, own))
        losses += int(np.sum(own < 0))
    together = np.concatenate(logits)
    return Overfit(float(np.mean(together <= 0)), losses / len(inside), together)


def _ratios(
    chosen: NDArray[np.bool_],
    counts: NDArray[np.intp],
    sums: Floats,
    squares: Floats,
    centre: Floats,
) -> Floats:
    """Return [choices, n] Sharpe ratios over the chosen parts, from sums about a centre [n]."""
    count = np.sum(chosen * counts, axis=1)[:, np.newaxis]
    mean = _summed(chosen, sums) / count
    variance = (_summed(chosen, squares) - count * mean**2) / (count - 1)
    exists = variance > np.finfo(np.float64).eps * _summed(chosen, squares) / count
    deviation = np.sqrt(np.where(exists, variance, 1.0))
    return np.where(exists, (mean + centre) / deviation, 0.0)


def _summed(chosen: NDArray[np.bool_], parts: Floats) -> Floats:
    """Return [choices, n] the sums of the chosen parts [parts, n], always added in one order."""
    total = np.zeros((len(chosen), parts.shape[1]))
    for number, part in enumerate(parts):
        total += chosen[:, number, np.newaxis] * part
    return total


def _logits(outside: Floats, own: Floats) -> Floats:
    below, equal = np.sum(outside < own, axis=1), np.sum(outside == own, axis=1)
    rank = below + (equal + 1) / 2
    return np.asarray(np.log(rank / (outside.shape[1] + 1 - rank)))


def _below(z: float) -> float:
    return (1.0 + math.erf(z / math.sqrt(2.0))) / 2.0


def _refuse_bad_returns(returns: Floats, parts: int) -> None:
    periods, configurations = returns.shape
    if parts < 2 or parts % 2:  # noqa: PLR2004 - two halves
        raise ValueError(f"parts must be even, 2 or more; it is {parts}")
    if configurations < 2:  # noqa: PLR2004 - one cannot be picked out of fewer
        raise ValueError(f"{configurations} configuration has no rank; give 2 or more")
    if periods < 2 * parts:
        raise ValueError(f"{periods} periods are too few for {parts} parts; give 2 a part or more")
    if not np.isfinite(returns).all():
        row, column = np.argwhere(~np.isfinite(returns))[0].tolist()
        raise ValueError(f"returns[{row}, {column}] is not finite; a period without trades is 0")
