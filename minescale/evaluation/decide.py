"""What is set on validation data: the decision threshold, and the correction that makes scores probabilities."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.optimize import isotonic_regression, minimize_scalar

from minescale.errors import UsageError
from minescale.evaluation.scored import Scored
from minescale.evaluation.tally import Counts, Tally, tally
from minescale.kernels.ranking import lowest_level_at, ratios, reached
from minescale.models.recalibration import check_calibration
from minescale.store.codes import PROBABILITY_STEPS

_RANGE = (0.05, 20.0)
"""Temperatures that are tried: beyond them a model is broken, not over- or underconfident."""


def best_threshold(
    scored: Scored, *, by: Literal["f1", "mcc", "sensitivity"] = "f1", specificity: float = 0.98
) -> float:
    """Decision threshold for "score at least the threshold".

    Parameters
    ----------
    by : ``f1``: highest F1, the higher threshold where several reach it; ``mcc``: highest Matthews correlation, for
        sets of which most is mining, where F1 is highest near calling everything; ``sensitivity``: the lowest threshold
        that keeps ``specificity``.

    Returns
    -------
    0-1. Between two scores of the set for chips, so that rounding does not move a chip across; a code's own
    probability for pixels.

    Raises
    ------
    UsageError
        where a class is missing, the rule is unknown, or the specificity is no share or cannot be kept.
    """
    counted = tally(scored)
    positives, negatives = _both(counted, "a threshold")
    if by in {"f1", "mcc"}:
        true, false = reached(positives), reached(negatives)
        found = ratios(true, false, true[0] - true, false[0] - false)[by]
        level = len(found) - 1 - int(np.argmax(found[::-1]))
    elif by == "sensitivity":
        if not 0 <= specificity <= 1:
            raise UsageError("specificity", got=specificity, expected="0 to 1")
        level = int(lowest_level_at(negatives, specificity))
    else:
        raise UsageError("rule for the threshold", got=by, expected="f1, mcc or sensitivity")
    levels = counted.levels
    if level == len(levels):
        # The top score, 1, is called at a threshold of 1: nothing would keep the specificity.
        if by == "sensitivity" and levels[-1] >= 1:
            raise UsageError(
                "no threshold keeps the specificity",
                got=f"{negatives[-1]:.0f} of {negatives.sum():.0f} negative {counted.unit}s score 1, the highest",
                expected=f"at most {1 - specificity:g} of them, for a specificity of {specificity:g}",
                fix="a lower specificity, or a model that is less often sure and wrong",
            )
        return 1.0
    if counted.unit == "pixel" or level == 0:
        return float(levels[level])
    return float((levels[level - 1] + levels[level]) / 2)


def mostly_positive(scored: Scored) -> bool:
    """Whether more than half of the samples, or pixels, are the target."""
    positives, negatives = _both(tally(scored), "a threshold")
    return float(positives.sum()) > float(negatives.sum())


def fit_calibration(scored: Scored, method: Literal["temperature", "isotonic"] = "temperature") -> dict[str, Any]:
    """The correction that a specification's ``calibration`` takes, fitted on scores as they were before any.

    ``temperature`` maximises the likelihood of the labels (Guo et al. 2017, arXiv:1706.04599). ``isotonic`` is the
    monotone step function of least squares (Zadrozny and Elkan 2002, doi:10.1145/775047.775151), kept as both ends of
    each step.

    Raises
    ------
    UsageError
        where a class is missing, or the method is unknown.
    """
    counted = tally(scored, raw=True)
    positives, negatives = _both(counted, "a calibration")
    if method == "temperature":
        made = {"method": "temperature", "temperature": _temperature(counted, positives, negatives)}
    elif method == "isotonic":
        made = _isotonic(counted.levels, positives, negatives)
    else:
        raise UsageError("method of calibration", got=method, expected="temperature or isotonic")
    check_calibration(made)
    return made


def _temperature(counted: Tally, positives: Counts, negatives: Counts) -> float:
    # A pixel's code stands for half a step to either side, so that 0 and 1 are no certainties.
    edge = 0.25 / PROBABILITY_STEPS if counted.unit == "pixel" else 1e-7
    p = np.clip(counted.levels, edge, 1 - edge)
    odds = np.log(p / (1 - p))
    total = positives.sum() + negatives.sum()

    def loss(log_temperature: float) -> float:
        scaled = odds / np.exp(log_temperature)
        return float((positives * np.logaddexp(0, -scaled) + negatives * np.logaddexp(0, scaled)).sum() / total)

    found = minimize_scalar(loss, bounds=np.log(_RANGE), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def _isotonic(levels: Counts, positives: Counts, negatives: Counts) -> dict[str, Any]:
    total = positives + negatives
    held = total > 0
    levels, share, weight = levels[held], positives[held] / total[held], total[held]
    fitted = isotonic_regression(share, weights=weight)
    starts = np.asarray(fitted.blocks[:-1])
    knots = np.unique(np.concatenate([starts, np.asarray(fitted.blocks[1:]) - 1]))
    score, probability = levels[knots], np.clip(np.asarray(fitted.x)[knots], 0, 1)
    if len(score) == 1:
        score, probability = np.array([0.0, 1.0]), np.repeat(probability, 2)
    return {"method": "isotonic", "score": score.tolist(), "probability": probability.tolist()}


def _both(counted: Tally, what: str) -> tuple[Counts, Counts]:
    positives, negatives = counted.totals()
    if not positives.sum() or not negatives.sum():
        raise UsageError(
            f"{what} needs both classes",
            got=f"{positives.sum():.0f} positive and {negatives.sum():.0f} negative {counted.unit}s",
            fix="another split, whose val part holds both",
        )
    return positives, negatives
