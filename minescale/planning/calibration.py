"""How low a coarse score may be before its tile is skipped, for a stated share of mine area that may be missed.

Conformal risk control (Angelopoulos et al. 2024, arXiv:2208.02814) on area. A tile with mine area ``a`` and score ``s``
loses ``m(t) = a`` where ``s < t``, else 0. Its loss ``L(t) = m(t) - alpha * a`` grows with the threshold ``t``, is at
most 0 where nothing is skipped, and at most ``(1 - alpha) * cap`` where no tile counts more than ``cap``. Then, for
exchangeable tiles, the largest ``t`` with ``sum L(t) + (1 - alpha) * cap <= 0`` over n calibration tiles keeps the
expected loss of a new tile at or below 0: ``E[m] <= alpha * E[a]``, the stated recall of mine area.

The cap is what makes this affordable: without one, a single tile full of mines could undo any number of good ones.
A tile's mine area counts up to the cap only. Where tiles with more mines are not skipped more often than those with
fewer, the share of *all* mine area that is missed is no larger than the share of counted area (Chebyshev's inequality
for a falling and a rising function), so that the promise carries over.

It is an average over regions and tiles like those of the calibration, and no more than that. Tiles of one site are
alike, so that sites rather than tiles are exchangeable: with ``groups`` the same is done for sites, each with its tiles
together and the cap on all of them. And an average is no promise for the next survey: `steady_threshold` asks instead
that the recall of all mine area holds in nearly every resample of the sites.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minescale.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A threshold and what it was measured to miss."""

    threshold: float
    """Tiles whose score is at least this are refined."""
    missed: float
    """Share of the counted mine area of the calibration tiles that lies in skipped ones."""
    bound: float
    """``missed`` with the correction for a finite sample; at most ``alpha``."""
    missed_area: float
    """Share of all mine area, beyond the cap too, that lies in skipped tiles."""
    counted_area: float
    """Mine area that was counted, in the unit of the areas given."""
    cap: float
    """Largest mine area that one tile counts."""
    n: int
    """Calibration tiles (with groups: groups) that hold mines; the others have nothing to miss and change nothing."""
    alpha: float


def area_threshold(
    scores: ArrayLike, mine_area: ArrayLike, *, alpha: float, cap: float, groups: ArrayLike | None = None
) -> Calibration:
    """The highest threshold that keeps the expected share of mine area in skipped tiles at or below ``alpha``.

    Parameters
    ----------
    scores : (n,) coarse score of each calibration tile, such as its highest probability; finite.
    mine_area : (n,) true mine area of each tile, any unit, 0 or more.
    alpha : allowed share, in (0, 1); 0.01 for a recall of 0.99.
    cap : largest area that one tile counts, in the unit of ``mine_area``.
    groups : (n,) name of each tile's site; then sites are the units that ``cap`` applies to, and the tiles of a larger
        one are scaled down together. Default: every tile is a unit.

    Raises
    ------
    UsageError
        where numbers are not finite or do not fit, or where the tiles hold too little mine area: then only "keep
        everything" could be promised.
    """
    values, areas = _vector(scores, "scores"), _vector(mine_area, "mine areas")
    if areas.shape != values.shape or (areas < 0).any():
        raise UsageError(
            "calibration: mine areas do not fit the scores", got=areas.shape, expected=f"{values.shape}, none below 0"
        )
    if not 0 < alpha < 1:
        raise UsageError("calibration: alpha", got=alpha, expected="between 0 and 1, such as 0.01")
    if not 0 < cap < np.inf:
        raise UsageError("calibration: cap", got=cap, expected="a positive area")
    units = _units(groups, values)[areas > 0]
    values, areas = values[areas > 0], areas[areas > 0]
    whole = np.bincount(units, areas)[units] if len(units) else areas
    counted = areas * np.minimum(1.0, cap / whole)
    total = float(counted.sum())
    allowed = alpha * total - (1 - alpha) * cap
    if allowed < 0:
        raise UsageError(
            "calibration: too little mine area",
            got=f"{total:g} counted in {len(np.unique(units))} {'tiles' if groups is None else 'sites'}",
            expected=f"at least {(1 - alpha) / alpha * cap:g} for a miss of {alpha:g} with a cap of {cap:g}",
            fix="more tiles, a lower recall, or a lower cap",
        )
    steps, group = np.unique(values, return_inverse=True)
    # What would be lost below each score; tiles that tie with the threshold are kept.
    below = np.r_[0.0, np.cumsum(np.bincount(group, counted))[:-1]]
    threshold = float(steps[np.flatnonzero(below <= allowed * (1 + 1e-12))[-1]])
    skipped = values < threshold
    lost = float(counted[skipped].sum())
    return Calibration(
        threshold=threshold,
        missed=lost / total,
        bound=(lost + (1 - alpha) * cap) / total,
        missed_area=float(areas[skipped].sum() / areas.sum()),
        counted_area=total,
        cap=cap,
        n=len(np.unique(units)),
        alpha=alpha,
    )


def steady_threshold(
    scores: ArrayLike,
    mine_area: ArrayLike,
    groups: ArrayLike,
    *,
    alpha: float,
    cap: float,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> float:
    """The highest threshold at which skipped tiles hold at most ``alpha`` of the mine area in nearly every resample.

    Half as many sites as there are are drawn with replacement (Efron 1979, doi:10.1214/aos/1176344552): the recall of
    so many varies as much as the difference between two surveys of all of them does, the one that calibrates and the
    one that comes after. No resample shows a worse site than was seen; the correction for a finite sample,
    ``(1 - alpha) * cap``, is therefore part of each. Without it the recall held in 92 to 97 % of halvings of synthetic
    sites, for a confidence of 95 %.

    Parameters
    ----------
    scores, mine_area, alpha, cap : as for :func:`area_threshold`.
    groups : (n,) name of each tile's site.
    confidence : share of the resamples in which the recall has to hold.

    Returns
    -------
    float
        One of the scores of tiles with mines; the lowest of them where none of those may be skipped.

    Raises
    ------
    UsageError
        where numbers do not fit, mines lie in fewer than two sites, or the sites are too few for the confidence: then
        even a threshold that skips no mines could not be promised.
    """
    values, areas = _vector(scores, "scores"), _vector(mine_area, "mine areas")
    units = _units(groups, values)[areas > 0]
    values, areas = values[areas > 0], areas[areas > 0]
    sites, units = np.unique(units, return_inverse=True)
    if len(sites) < 2:
        raise UsageError("calibration: too few sites with mines", got=len(sites), expected="2 or more, better 50")
    steps, step = np.unique(values, return_inverse=True)
    lost = np.zeros((len(sites), len(steps)))
    np.add.at(lost, (units, step), areas)
    below = np.cumsum(lost, axis=1) - lost  # by site, in tiles that score less than each step
    drawn = np.random.default_rng(seed).multinomial(max(1, len(sites) // 2), np.full(len(sites), 1 / len(sites)), draws)
    allowed = alpha * (drawn @ lost.sum(axis=1)) - (1 - alpha) * cap
    holds = (drawn @ below <= allowed[:, np.newaxis]).mean(axis=0)
    steady = np.flatnonzero(holds >= confidence)
    if not steady.size:
        raise UsageError(
            "calibration: too few sites for this confidence",
            got=f"{len(sites)} sites with {areas.sum():g} of mine area: enough in {holds[0]:.0%} of resamples of half",
            expected=f"at least {(1 - alpha) / alpha * cap:g} of it in {confidence:.0%} of resamples",
            fix="more sites, a lower recall, confidence or cap, or confidence 0 for the average alone (--confidence 0)",
        )
    return float(steps[steady[-1]])


def _units(groups: ArrayLike | None, values: NDArray[np.float64]) -> NDArray[np.intp]:
    """(n,) number of the unit of each tile."""
    if groups is None:
        return np.arange(len(values))
    names = np.asarray(groups).astype(str)
    if names.shape != values.shape:
        raise UsageError("calibration: sites do not fit the scores", got=names.shape, expected=values.shape)
    return np.unique(names, return_inverse=True)[1]


def _vector(values: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise UsageError(f"calibration: {name}", got=array.shape, expected="finite numbers, one per tile")
    return array
