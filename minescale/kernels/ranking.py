"""How well scores order and split two classes, from counts per score level: one set of counts, or many resamples.

``positives`` and ``negatives`` are counts (..., level) of units at each distinct score, lowest first. Units of one
score enter together, so ties are handled exactly. A figure that needs a class which is not there is NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.float64]


def area_under_roc(positives: ArrayLike, negatives: ArrayLike) -> Counts:
    """Probability that a positive outscores a negative, ties counted half (Mann and Whitney 1947). Shape (...)."""
    pos, neg = np.asarray(positives, np.float64), np.asarray(negatives, np.float64)
    below = np.cumsum(neg, axis=-1) - neg
    wins = (pos * (below + neg / 2)).sum(axis=-1)
    return divide(wins, pos.sum(axis=-1) * neg.sum(axis=-1))


def average_precision(positives: ArrayLike, negatives: ArrayLike) -> Counts:
    """Sum of precision x step in recall, highest score first, as scikit-learn's ``average_precision_score``."""
    pos, neg = (np.asarray(a, np.float64)[..., ::-1] for a in (positives, negatives))
    hits = np.cumsum(pos, axis=-1)
    calls = hits + np.cumsum(neg, axis=-1)
    precision = np.divide(hits, calls, out=np.zeros_like(hits), where=calls > 0)
    return divide((precision * pos).sum(axis=-1), hits[..., -1])


def reached(counts: ArrayLike) -> Counts:
    """(..., level + 1): units at or above each level; last, above all: none."""
    values = np.asarray(counts, np.float64)
    ends = np.zeros((*values.shape[:-1], 1))
    return np.concatenate([np.cumsum(values[..., ::-1], axis=-1)[..., ::-1], ends], axis=-1)


def sensitivity_at(positives: ArrayLike, negatives: ArrayLike, specificity: float) -> Counts:
    """Largest sensitivity of a rule "score at least t" whose specificity is at least the one given. Shape (...)."""
    true, false = reached(positives), reached(negatives)
    level = lowest_level_at(negatives, specificity)
    found = np.take_along_axis(true, level[..., np.newaxis], axis=-1)[..., 0]
    return np.where(false[..., 0] > 0, divide(found, true[..., 0]), np.nan)


def lowest_level_at(negatives: ArrayLike, specificity: float) -> NDArray[np.intp]:
    """First level from which on calling everything positive keeps the specificity; the number of levels for none."""
    false = reached(negatives)
    # Counts are whole, so half of one separates "equal" from rounding.
    allowed = false[..., :1] * (1 - specificity) + 1e-9 * np.maximum(false[..., :1], 1)
    return np.argmax(false <= allowed, axis=-1)


def ratios(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike) -> dict[str, Counts]:
    """Figures of yes/no calls by name, each of the inputs' shape; NaN where a denominator is 0.

    Matthews correlation (Matthews 1975, doi:10.1016/0005-2795(75)90109-9) is 0 where one side of its product is: a map
    that calls everything, or nothing, says nothing.
    """
    tp, fp, fn, tn = (np.asarray(a, np.float64) for a in (tp, fp, fn, tn))
    root = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    recall, specificity = divide(tp, tp + fn), divide(tn, tn + fp)
    return {
        "precision": divide(tp, tp + fp),
        "recall": recall,
        "specificity": specificity,
        "f1": divide(2 * tp, 2 * tp + fp + fn),
        "iou": divide(tp, tp + fp + fn),
        "mcc": np.where(root > 0, divide(tp * tn - fp * fn, root), 0.0),
        "accuracy": divide(tp + tn, tp + fp + fn + tn),
        "balanced_accuracy": (recall + specificity) / 2,
    }


def divide(part: ArrayLike, whole: ArrayLike) -> Counts:
    """``part / whole``, NaN where ``whole`` is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)
