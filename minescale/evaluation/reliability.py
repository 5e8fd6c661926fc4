"""Do probabilities mean what they say, and what would a detection be worth where mines are rare?"""

from __future__ import annotations

from typing import Any

import numpy as np

from minescale.evaluation.tally import Counts
from minescale.kernels.ranking import divide

BINS = 15
PREVALENCES = (0.05, 0.01, 0.001)
"""Shares of mining ground at which positive predictive values are given: a mining district, a region, a country."""


def reliability(levels: Counts, positives: Counts, negatives: Counts, bins: int = BINS) -> dict[str, Any]:
    """Expected calibration error over bins of equal width (Guo et al. 2017, arXiv:1706.04599), and the bins.

    Returns
    -------
    ``ece``: mean over units of the distance between a bin's mean score and its share of positives; ``worst``: the
    largest distance of a bin with at least 1 % of the units; ``bins``: those that hold units, each with ``low``,
    ``high``, ``n``, ``score``, ``share``.
    """
    place = np.minimum((levels * bins).astype(int), bins - 1)
    total = positives + negatives
    n, hits, scores = (np.bincount(place, w, bins) for w in (total, positives, total * levels))
    mean, share = divide(scores, n), divide(hits, n)
    distance = np.abs(mean - share)
    held = n > 0
    weighty = held & (n >= 0.01 * n.sum())
    return {
        "ece": float((n * distance)[held].sum() / n.sum()),
        "worst": float(distance[weighty].max()),
        "bins": [
            {
                "low": k / bins,
                "high": (k + 1) / bins,
                "n": float(n[k]),
                "score": float(mean[k]),
                "share": float(share[k]),
            }
            for k in np.flatnonzero(held).tolist()
        ],
    }


def predictive_values(sensitivity: float, specificity: float) -> dict[str, float | None]:
    """Share of detections that are right at each of :data:`PREVALENCES`, by Bayes' rule.

    ``ppv = se pi / (se pi + (1 - sp) (1 - pi))``. Holds as far as the negatives of the set are like those of the
    country. None where nothing would be called.
    """
    found: dict[str, float | None] = {}
    for prevalence in PREVALENCES:
        hits = sensitivity * prevalence
        calls = hits + (1 - specificity) * (1 - prevalence)
        found[f"{prevalence:g}"] = hits / calls if calls > 0 else None
    return found
