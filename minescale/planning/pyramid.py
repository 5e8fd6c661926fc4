"""The coarse-to-fine rule: which fine tiles a coarse score keeps, and how a sample audits the rest.

A coarse tile yields one score for each of its fine children (the highest coarse probability seen in it). A
child survives where its own score reaches the threshold; that is the rule screens are calibrated under. A
``ring`` lets neighbours of survivors survive too: safer, and with one tile up to nine times as much to read. A random
sample of the others runs at the fine level all the same; how often that finds what pruning would
have missed bounds the miss rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from minescale.config import PyramidConfig
from minescale.errors import UsageError
from minescale.grid import MosaicGrid
from minescale.types import TileKey

UNSEEN = -1.0
"""Score of a child in which the coarse level saw no ground: it cannot survive by itself, only by a neighbour."""


def child_scores(
    grid: MosaicGrid, key: TileKey, probability: NDArray[np.uint8], fill: int = 255
) -> NDArray[np.float32]:
    """Highest coarse probability in each child of a coarse tile.

    Parameters
    ----------
    probability : (y, x) uint8 codes of the coarse tile, ``fill`` where nothing was seen.

    Returns
    -------
    (child_y, child_x) float32 in steps of 0.004, :data:`UNSEEN` where all is ``fill``.
    """
    children = grid.children(key)
    ratio = grid.factors[key.level] // grid.factors[key.level - 1]
    cell = grid.tile_size // ratio
    rows = max(c.y for c in children) - children[0].y + 1
    cols = max(c.x for c in children) - children[0].x + 1
    scores = np.full((rows, cols), UNSEEN, np.float32)
    for child in children:
        y, x = child.y - children[0].y, child.x - children[0].x
        block = probability[y * cell : (y + 1) * cell, x * cell : (x + 1) * cell]
        seen = block[block != fill]
        if seen.size:
            scores[y, x] = seen.max() * 0.004
    return scores


SURVIVORS_UNKNOWN = 0.5
"""Share of tiles expected to survive where neither the settings nor the package know."""
PAYS_BELOW = 0.9
"""Expected share of the flat scan's bytes and time up to which a pyramid is chosen: estimates err."""


class Survivors:
    """Decides, as coarse tiles finish in any order, which fine tiles of one period run.

    The outcome depends on the scores alone, never on the order in which they came.
    """

    def __init__(self, inside: NDArray[np.bool_], threshold: float, ring: int) -> None:
        self.inside = inside
        self.threshold = threshold
        self.ring = ring
        self.score = np.full(inside.shape, np.nan, np.float32)
        """(tile_y, tile_x) coarse score; NaN where the parent has not run."""
        self.kept = np.zeros(inside.shape, bool)

    def add(self, first: TileKey, scores: NDArray[np.float32]) -> list[TileKey]:
        """Take in one parent's child scores; return the tiles that survive since, in row order."""
        rows, cols = scores.shape
        y, x = first.y, first.x
        self.score[y : y + rows, x : x + cols] = scores
        y0, x0 = max(y - self.ring, 0), max(x - self.ring, 0)
        y1, x1 = y + rows + self.ring, x + cols + self.ring
        # The tiles whose fate these scores can change, seen with the neighbours that decide it with them.
        top, left = max(y0 - self.ring, 0), max(x0 - self.ring, 0)
        outer = np.s_[top : y1 + self.ring, left : x1 + self.ring]
        known = self.score[outer]
        # Threshold 0 is the exhaustive scan: it keeps even what the coarse level could not see.
        grown = self._grow(known >= self.threshold if self.threshold > 0 else ~np.isnan(known))
        fresh = grown & self.inside[outer] & ~self.kept[outer]
        self.kept[outer] |= fresh
        return [TileKey(0, top + int(j), left + int(i)) for j, i in np.argwhere(fresh)]

    def _grow(self, hot: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if self.ring == 0:
            return hot
        side = 2 * self.ring + 1
        return np.asarray(binary_dilation(hot, np.ones((side, side), bool)))

    @property
    def pruned(self) -> NDArray[np.bool_]:
        """(tile_y, tile_x) tiles that the coarse level decides; final once every parent has run."""
        return self.inside & ~self.kept


def audit_sample(pruned: NDArray[np.bool_], config: PyramidConfig, time: int) -> list[TileKey]:
    """The pruned tiles that run at the fine level all the same; the same for every run of a plan."""
    keys = np.argwhere(pruned)
    if not len(keys) or config.audit <= 0:
        return []
    n = min(len(keys), max(int(np.ceil(config.audit * len(keys))), config.audit_min))
    rng = np.random.default_rng([config.seed, time])
    picked = np.sort(rng.choice(len(keys), size=n, replace=False))
    return [TileKey(0, int(keys[i][0]), int(keys[i][1])) for i in picked]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditBound:
    """What the audit says about the tiles that were pruned."""

    pruned: int
    """Tiles decided at the coarse level, audited ones included."""
    audited: int
    missed: int
    """Audited tiles in which the fine level found a mine."""
    confidence: float
    missed_share_upper: float
    """Upper confidence bound on the share of pruned tiles that hold a mine the fine level would find."""

    @property
    def missed_tiles_upper(self) -> float:
        """Upper bound on missed tiles among those that were not audited (audited ones carry their fine result)."""
        return self.missed_share_upper * (self.pruned - self.audited)


def audit_bound(pruned: int, audited: int, missed: int, confidence: float = 0.95) -> AuditBound:
    """One-sided Clopper-Pearson bound on the share of pruned tiles that hold a mine (Clopper & Pearson 1934)."""
    if audited == 0:
        upper = 1.0 if pruned else 0.0
    elif missed >= audited:
        upper = 1.0
    else:
        from scipy.stats import beta

        upper = float(beta.ppf(confidence, missed + 1, audited - missed))
    return AuditBound(pruned=pruned, audited=audited, missed=missed, confidence=confidence, missed_share_upper=upper)


def pyramid_pays(n_tiles: int, survivors: float, bytes_share: float, seconds_share: float) -> tuple[bool, str]:
    """Whether a coarse level is worth its reads, and why.

    ``bytes_share`` and ``seconds_share`` are what the pyramid is expected to take at that share of ``survivors``,
    coarse level included, relative to the flat scan that would run instead.
    """
    if n_tiles < 9:
        return False, f"{n_tiles} tiles are too few to prune"
    numbers = (
        f"{survivors:.0%} expected survivors take {bytes_share:.0%} of a flat scan's bytes"
        f" and {seconds_share:.0%} of its time"
    )
    if max(bytes_share, seconds_share) >= PAYS_BELOW:
        return False, f"{numbers}: would not pay"
    return True, numbers


def expected_survivors(config: PyramidConfig, keep_threshold: float, measured: float | None) -> float:
    """Share of tiles to plan with: as set, else as the package ``measured``, else unknown; all at threshold 0.

    Raises
    ------
    UsageError
        where the setting is no share.
    """
    if config.survivors is not None and not 0 <= config.survivors <= 1:
        raise UsageError("pyramid.survivors", got=config.survivors, expected="a share from 0 to 1")
    if keep_threshold == 0:
        return 1.0
    known = (config.survivors, measured, SURVIVORS_UNKNOWN)
    return next(share for share in known if share is not None)
