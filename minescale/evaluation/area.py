"""How much ground is mined, with an interval: the area of a class from a map and a sample of reference labels.

Counting mapped pixels is biased by the map's own errors. The stratified estimator of Olofsson et al. 2014
(doi:10.1016/j.rse.2014.02.015, eqs. 4 to 11) corrects it with a sample in which units of each map class were labelled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minescale.errors import UsageError

_Z = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaEstimate:
    """Shares are of the whole mapped area; ``se`` are standard errors; NaN where a class was not sampled twice."""

    share: NDArray[np.float64]
    """(class,) area of each reference class."""
    se: NDArray[np.float64]
    users: NDArray[np.float64]
    """(class,) user's accuracy: share of what is mapped as the class that is it (precision)."""
    users_se: NDArray[np.float64]
    producers: NDArray[np.float64]
    """(class,) producer's accuracy: share of the class's area that is mapped as it (recall)."""
    producers_se: NDArray[np.float64]
    overall: float
    overall_se: float

    def interval(self, value: int) -> tuple[float, float]:
        """95 % confidence interval of a class's share, within 0 and 1."""
        half = _Z * float(self.se[value])
        middle = float(self.share[value])
        return max(0.0, middle - half), min(1.0, middle + half)


def area_estimate(counts: ArrayLike, mapped: ArrayLike) -> AreaEstimate:
    """Estimate the area of each class from a stratified random sample.

    Parameters
    ----------
    counts : (class, class) units of the sample; rows: class of the map, columns: class of the reference.
    mapped : (class,) area, or number of pixels, that the map gives each class; any unit.

    Raises
    ------
    UsageError
        where shapes do not fit, numbers are below 0, or a class that the map has was not sampled.
    """
    n, weight = np.asarray(counts, np.float64), np.asarray(mapped, np.float64)
    if n.ndim != 2 or n.shape[0] != n.shape[1] or weight.shape != n.shape[:1]:
        raise UsageError("counts and areas do not fit", got=f"{n.shape}, {weight.shape}", expected="(k, k) and (k,)")
    if (n < 0).any() or (weight < 0).any() or not weight.sum() > 0:
        raise UsageError("counts and areas", got=f"{n.tolist()}, {weight.tolist()}", expected="0 or more, not all 0")
    rows = n.sum(axis=1)
    lacking = np.flatnonzero((weight > 0) & (rows == 0))
    if lacking.size:
        raise UsageError("mapped classes without a sampled unit", got=lacking.tolist(), fix="sample every map class")
    w = weight / weight.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        within = np.where(rows[:, np.newaxis] > 0, n / rows[:, np.newaxis], 0.0)
        # Variance of a share within each stratum; a stratum of no area adds none, one of a single unit is not known.
        spread = within * (1 - within) / (rows - 1)[:, np.newaxis]
        spread = np.where((w > 0)[:, np.newaxis], np.where(rows[:, np.newaxis] > 1, spread, np.nan), 0.0)
        p = w[:, np.newaxis] * within
        share = p.sum(axis=0)
        hit = np.diag(within)
        users = np.where(rows > 0, hit, np.nan)
        users_se = np.sqrt(np.where(rows > 1, hit * (1 - hit) / (rows - 1), np.nan))
        producers = np.diag(p) / share
        own = weight**2 * (1 - producers) ** 2 * np.diag(spread)
        others = (weight**2)[:, np.newaxis] * spread
        others[np.diag_indices(len(w))] = 0
        producers_se = np.sqrt(own + producers**2 * others.sum(axis=0)) / (share * weight.sum())
    return AreaEstimate(
        share=share,
        se=np.sqrt((w[:, np.newaxis] ** 2 * spread).sum(axis=0)),
        users=users,
        users_se=users_se,
        producers=producers,
        producers_se=producers_se,
        overall=float(np.diag(p).sum()),
        overall_se=float(np.sqrt((w**2 * np.diag(spread)).sum())),
    )
