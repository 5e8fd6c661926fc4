"""How low a coarse score may be before its tile is skipped, for a stated share of mines that may be missed.

Conformal risk control (Angelopoulos et al. 2024, arXiv:2208.02814): for exchangeable tiles and a loss between
0 and 1 that grows with the threshold, the expected loss on a new tile is at most ``alpha`` when the threshold is
the largest one with ``n / (n + 1) * R + 1 / (n + 1) <= alpha``, R being the mean loss on n calibration tiles.
The promise is an average over tiles like those of the calibration, and no more than that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minescale.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A threshold and what it was measured to miss."""

    threshold: float
    """Tiles whose score is at least this are refined."""
    empirical_miss: float
    """Mean loss on the calibration tiles at that threshold."""
    bound: float
    """``n / (n + 1) * empirical_miss + 1 / (n + 1)``: bound on the expected loss of a new tile."""
    missed_area: float
    """Share of all mine area of the calibration that lies in skipped tiles; the mean loss where no areas were given."""
    n: int
    """Calibration tiles used: those that hold mines."""
    alpha: float


def conformal_threshold(scores: ArrayLike, alpha: float, mine_area: ArrayLike | None = None) -> Calibration:
    """The highest threshold that keeps the expected share of mine area missed per tile at or below ``alpha``.

    A tile is skipped whole, so it loses all of its mine area (loss 1) or none (loss 0).

    Parameters
    ----------
    scores : (n,) coarse score of each calibration tile, such as its highest probability; finite.
    alpha : allowed expected loss, in (0, 1); 0.01 for a recall of 0.99.
    mine_area : (n,) true mine area of each tile, any unit; tiles without any are left out, because they have
        nothing to miss and would make the threshold look safer than it is. Default: every tile holds mines.

    Raises
    ------
    UsageError
        where numbers are not finite, or there are fewer than ``1 / alpha - 1`` tiles with mines: then only
        "keep everything" could be promised.
    """
    values = _vector(scores, "scores")
    areas = np.ones_like(values) if mine_area is None else _vector(mine_area, "mine areas")
    if areas.shape != values.shape or (areas < 0).any():
        raise UsageError("calibration: mine areas do not fit the scores", got=areas.shape, expected=values.shape)
    values, areas = values[areas > 0], areas[areas > 0]
    n = len(values)
    _check(n, alpha)
    # (r + 1) / (n + 1) <= alpha: at most r tiles may be skipped. Tiles that tie with the threshold are kept.
    allowed = math.floor(alpha * (n + 1) + 1e-9) - 1
    threshold = float(np.sort(values)[allowed])
    skipped = values < threshold
    miss = float(skipped.mean())
    return Calibration(
        threshold=threshold,
        empirical_miss=miss,
        bound=_bound(miss, n),
        missed_area=float(areas[skipped].sum() / areas.sum()),
        n=n,
        alpha=alpha,
    )


def control_risk(thresholds: ArrayLike, losses: ArrayLike, alpha: float) -> Calibration:
    """The same for any loss: the largest threshold whose bound stays at or below ``alpha``.

    Parameters
    ----------
    thresholds : (k,) candidates, ascending.
    losses : (n, k) loss of each tile at each threshold, 0-1, not falling along the thresholds.
    alpha : allowed expected loss, in (0, 1).

    Raises
    ------
    UsageError
        where losses fall or leave 0-1, or where no candidate keeps the bound.
    """
    candidates = _vector(thresholds, "thresholds")
    table = np.asarray(losses, np.float64)
    if table.ndim != 2 or table.shape[1] != len(candidates) or not np.isfinite(table).all():
        raise UsageError("calibration: losses", got=table.shape, expected=f"finite (n, {len(candidates)})")
    if (table < 0).any() or (table > 1).any() or (np.diff(table, axis=1) < 0).any() or (np.diff(candidates) < 0).any():
        raise UsageError("calibration: losses must lie in 0-1 and not fall as the threshold rises")
    n = len(table)
    _check(n, alpha)
    risks = table.mean(axis=0)
    good = np.flatnonzero(np.array([_bound(float(r), n) for r in risks]) <= alpha + 1e-12)
    if not len(good):
        raise UsageError(
            "calibration: every threshold misses too much",
            got=f"bound {_bound(float(risks[0]), n):.4f} at the lowest",
            expected=f"at most {alpha}",
            fix="a lower first threshold, more tiles, or a lower recall",
        )
    best = int(good[-1])
    miss = float(risks[best])
    return Calibration(
        threshold=float(candidates[best]),
        empirical_miss=miss,
        bound=_bound(miss, n),
        missed_area=miss,
        n=n,
        alpha=alpha,
    )


def _bound(miss: float, n: int) -> float:
    return (n * miss + 1) / (n + 1)


def _check(n: int, alpha: float) -> None:
    if not 0 < alpha < 1:
        raise UsageError("calibration: alpha", got=alpha, expected="between 0 and 1, such as 0.01")
    needed = math.ceil(1 / alpha - 1 - 1e-9)
    if n < needed:
        raise UsageError(
            "calibration: too few tiles with mines", got=n, expected=f"at least {needed} for a miss of {alpha:g}"
        )


def _vector(values: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise UsageError(f"calibration: {name}", got=array.shape, expected="finite numbers, one per tile")
    return array
