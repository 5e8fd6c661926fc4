"""The figures of one set of counts, or of many resamples at once, and their 95 % intervals by site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from minescale.errors import UsageError
from minescale.evaluation.tally import Counts, Tally
from minescale.kernels.ranking import (
    area_under_roc,
    average_precision,
    divide,
    ratios,
    reached,
    sensitivity_at,
)

SPECIFICITIES = (0.95, 0.98, 0.99)
_CURVE_POINTS = 200
_CHUNK_CELLS = 4_000_000
"""Numbers that one piece of a bootstrap holds at once."""


def headline(levels: Counts, positives: ArrayLike, negatives: ArrayLike, cut: int) -> dict[str, Counts]:
    """Ranking, probability and decision figures by name, each of shape (...); NaN where a class is missing.

    Parameters
    ----------
    levels : (level,) scores, rising.
    positives, negatives : (..., level) counts.
    cut : first level that is called positive.
    """
    pos, neg = np.asarray(positives, np.float64), np.asarray(negatives, np.float64)
    p, n = pos.sum(axis=-1), neg.sum(axis=-1)
    tp, fp = pos[..., cut:].sum(axis=-1), neg[..., cut:].sum(axis=-1)
    squares = (pos * (1 - levels) ** 2 + neg * levels**2).sum(axis=-1)
    found = {
        "auc": area_under_roc(pos, neg),
        "auprc": average_precision(pos, neg),
        "prevalence": divide(p, p + n),
        "brier": divide(squares, p + n),
        **{f"sensitivity_at_specificity_{s:.2f}": sensitivity_at(pos, neg, s) for s in SPECIFICITIES},
        **ratios(tp, fp, p - tp, n - fp),
    }
    # Of one class alone most ratios are 0 or 1 by definition, which says nothing about a model.
    both = (p > 0) & (n > 0)
    needs = {"recall": p > 0, "specificity": n > 0, "accuracy": p + n > 0, "prevalence": p + n > 0, "brier": p + n > 0}
    return {name: np.where(needs.get(name, both), value, np.nan) for name, value in found.items()}


def draws_by_site(sites: pd.Series, resamples: int, seed: int) -> Counts | None:
    """(resample, sample) how often each sample counts where sites are drawn with replacement; None below two sites.

    Raises
    ------
    UsageError
        for a number of resamples below 0.
    """
    if resamples < 0:
        raise UsageError("number of resamples", got=resamples, expected="0 or more")
    code, names = pd.factorize(sites)
    if len(names) < 2 or resamples == 0:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return drawn[:, code].astype(np.float64)


def bootstrap(tally: Tally, threshold: float, draws: Counts) -> dict[str, tuple[float, float] | None]:
    """95 % percentile interval of each figure over resamples; None where half of them or more lack a class."""
    cut = tally.level(threshold)
    step = max(1, _CHUNK_CELLS // max(len(tally.levels), 1))
    parts = [
        headline(tally.levels, *tally.weighted(draws[start : start + step]), cut)
        for start in range(0, len(draws), step)
    ]
    return {name: interval(np.concatenate([part[name] for part in parts])) for name in parts[0]}


def interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """95 % percentile interval of resampled values; None where half of them or more are NaN."""
    usable = values[~np.isnan(values)]
    if 2 * len(usable) <= len(values):
        return None
    low, high = np.percentile(usable, [2.5, 97.5])
    return float(low), float(high)


def curves(levels: Counts, positives: Counts, negatives: Counts) -> dict[str, list[dict[str, float | None]]]:
    """``roc`` and ``pr`` as up to 200 points each, from the highest threshold down; empty where a class is missing.

    The first point of ``roc`` calls nothing and has no threshold.
    """
    true, false = reached(positives)[::-1], reached(negatives)[::-1]
    if not true[-1] or not false[-1]:
        return {"roc": [], "pr": []}
    thresholds = np.append(levels, np.nan)[::-1]
    tpr, fpr = true / true[-1], false / false[-1]
    roc = _thin(fpr, tpr)
    recall, precision = tpr[1:], true[1:] / np.maximum(true[1:] + false[1:], 1e-12)
    some = np.flatnonzero(true[1:] + false[1:] > 0)
    pr = some[_thin(recall[some], precision[some])]
    return {
        "roc": [
            {
                "threshold": None if i == 0 else float(thresholds[i]),
                "false_positive_rate": float(fpr[i]),
                "sensitivity": float(tpr[i]),
            }
            for i in roc
        ],
        "pr": [
            {"threshold": float(thresholds[i + 1]), "recall": float(recall[i]), "precision": float(precision[i])}
            for i in pr
        ],
    }


def _thin(x: Counts, y: Counts) -> NDArray[np.intp]:
    """Points evenly along a curve's length, ends included, so that steep parts keep their shape."""
    if len(x) <= _CURVE_POINTS:
        return np.arange(len(x))
    way = np.append(0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    at = np.searchsorted(way, np.linspace(0, way[-1], _CURVE_POINTS))
    return np.unique(np.clip(np.append(at, [0, len(x) - 1]), 0, len(x) - 1))


def histogram(levels: Counts, positives: Counts, negatives: Counts, bins: int = 25) -> dict[str, list[float]]:
    """Units by score: ``edges`` (bin + 1), ``positive`` and ``negative`` counts."""
    at = np.minimum((levels * bins).astype(int), bins - 1)
    return {
        "edges": np.linspace(0, 1, bins + 1).tolist(),
        "positive": np.bincount(at, positives, bins).tolist(),
        "negative": np.bincount(at, negatives, bins).tolist(),
    }


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as JSON takes them, at any depth: Python's, with None where a figure is not defined."""
    return {str(name): _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic) and np.ndim(value) == 0:
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
