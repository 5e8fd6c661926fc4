"""How a coarse model would prune: scores of tiles as in a scan, the threshold that keeps a recall, what survives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.evaluation.coarser import blocks_along, whole_blocks
from minescale.evaluation.scored import positive_values, score_image
from minescale.kernels.resample import block_mean
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.units import as_reflectance
from minescale.models.predictor import Predictor
from minescale.planning.calibration import Calibration, area_threshold, steady_threshold
from minescale.store.codes import PROBABILITY_FILL, PROBABILITY_STEPS, encode_probability

TILE_M = 5120.0
"""Edge of a fine tile in metres: 512 pixels of 10 m."""
_WHOLE = 1 - 1e-6
CAP_HA = 20.0
"""Mine area that one site counts at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileScores:
    """What a coarse model says of the fine tiles of a set, and what lies in them."""

    codes: NDArray[np.int64]
    """(tile,) highest probability of the tile as a mosaic stores it, 0-250; tiles without any data are left out."""
    hectares: NDArray[np.float64]
    """(tile,) true mine area."""
    sites: NDArray[np.str_]
    """(tile,) place of the sample that the tile was cut from."""
    part: NDArray[np.float64]
    """(tile,) share of a scan's tile that it covers: 1, or less at an image's edge and for images smaller than that."""
    unseen: int
    """Tiles without any data: the coarse level says nothing about them."""
    whole_labels: bool = False
    """Whether samples are labelled whole: a sample with a mine then counts as mined all over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenThreshold:
    """A calibrated keep-threshold and what it costs."""

    threshold: float
    """Tiles of which any pixel reaches this are refined; 0 refines all."""
    recall: float
    """Of mine area, as asked for."""
    confidence: float | None
    """Share of resamples of the sites in which the recall holds; None: on average only."""
    calibration: Calibration
    """The conformal bound at the threshold that it allows, which the confidence may have lowered."""
    tiles: int
    whole_tiles: int
    """Those as large as a scan's tile; the others are pieces of one."""
    sites: int
    sites_with_mines: int
    unseen: int
    recall_here: float
    """Share of all mine area of the set that lies in tiles that are kept."""
    kept: float
    """Share of the set's tiles and pieces that survive. Trivial beside it: that many random ones hold that share of
    the area."""
    kept_without_mines: float | None
    kept_with_mines: float | None
    expected_survivors: float
    """Share of a scan's tiles that is expected to survive where the model will be used."""
    survivors_from: str
    """``whole tiles``; or ``pieces``, where there are none: a tile survives where any of its pieces does, taken as
    independent of one another, which is the most that they can make of it."""
    whole_labels: bool
    """Whether recall and area are of samples that were labelled whole: those with a mine count as mined all over."""

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "unit": "ha"}


def tile_scores(
    predictor: Predictor,
    dataset: Dataset,
    *,
    mine: Sequence[str] = (),
    tile_m: float = TILE_M,
    factor: float | None = None,
) -> TileScores:
    """Score the tiles of every sample as the coarse level of a scan does.

    Images are brought to the model's resolution by the mean of whole blocks, scored with no context beyond their edge,
    and cut into tiles from their upper left corner. What is left over at the other edges is a tile too: its highest
    score is that of fewer pixels, so that the threshold can only come out lower. How many tiles survive it does not
    tell, so ``part`` says how much of a tile each is.

    Of a sample that is labelled whole it is known that it holds a mine, not how much of one: all of it counts, so that
    a recall is one of such samples.

    Parameters
    ----------
    mine : names of classes that are mines; default: the model's target, else every class of mining.
    tile_m : edge of a fine tile in metres.
    factor : see :func:`minescale.labels.sets.units.as_reflectance`.

    Raises
    ------
    UsageError
        where the set has no labels or no pixel size, or lacks bands.
    ModelError
        where its pixels do not divide the model's.
    """
    spec = predictor.spec
    blocks, cell = _ratio(dataset, spec.resolution, tile_m)
    values = [dataset.classes.value(name) for name in mine] or positive_values(spec, dataset.classes)
    images = as_reflectance(dataset, spec.channels, factor=factor)
    pixel_ha = float(dataset.resolution_m or 0) ** 2 / 1e4
    whole_labels = images.reader.mask(0) is None
    if whole_labels and "label" not in images.samples:
        raise UsageError(f"dataset {dataset.name} has no labels", expected="masks, or a column label")
    codes, hectares, sites, parts, unseen = [], [], [], [], 0
    for row, site in enumerate(images.samples["site"].astype(str)):
        image = whole_blocks(images.reader.image(row), blocks)
        mask = images.reader.mask(row)
        if mask is None:
            mask = np.full(image.shape[1:], _label(images, row), np.uint8)
        mines = whole_blocks(np.isin(mask, values), blocks)
        found = encode_probability(score_image(predictor, block_mean(image, blocks)))
        for y in range(0, found.shape[0], cell):
            for x in range(0, found.shape[1], cell):
                seen = found[y : y + cell, x : x + cell]
                seen = seen[seen != PROBABILITY_FILL]
                if not seen.size:
                    unseen += 1
                    continue
                below = mines[y * blocks : (y + cell) * blocks, x * blocks : (x + cell) * blocks]
                codes.append(int(seen.max()))
                hectares.append(float(below.sum()) * pixel_ha)
                sites.append(site)
                parts.append(below.size / (cell * blocks) ** 2)
    if not codes:
        raise UsageError(f"dataset {dataset.name} holds no pixel with data")
    return TileScores(
        codes=np.array(codes),
        hectares=np.array(hectares),
        sites=np.array(sites),
        part=np.array(parts),
        unseen=unseen,
        whole_labels=whole_labels,
    )


def calibrate_screen(
    tiles: TileScores,
    *,
    recall: float,
    cap_ha: float = CAP_HA,
    confidence: float | None = 0.95,
    by_site: bool = True,
    mine_tiles: float | None = None,
    seed: int = 0,
) -> ScreenThreshold:
    """The highest keep-threshold that promises a recall of mine area, on sites that the model has never seen.

    Two conditions, both of :mod:`minescale.planning.calibration`: the conformal bound on the average, and, with a
    ``confidence``, that the recall holds in that share of resamples of the sites.

    Parameters
    ----------
    recall : of mine area, in (0, 1).
    cap_ha : mine area that one site (or tile) counts at most.
    by_site : sites are what the next survey draws anew; off: tiles, where every one is a place of its own.
    mine_tiles : share of tiles with mines where the model will be used; default: as in the set, which has too many.

    Raises
    ------
    UsageError
        where sites hold too little mine area for the recall.
    """
    if not 0 < recall < 1:
        raise UsageError("recall", got=recall, expected="between 0 and 1, such as 0.99")
    for name, value in (("confidence", confidence), ("share of tiles with mines", mine_tiles)):
        if value is not None and not 0 <= value < 1:
            raise UsageError(name, got=value, expected="from 0 to below 1")
    alpha, units = 1 - recall, tiles.sites if by_site else np.arange(len(tiles.codes)).astype(str)
    found = area_threshold(tiles.codes, tiles.hectares, alpha=alpha, cap=cap_ha, groups=units)
    code = found.threshold
    if confidence is not None:
        steady = steady_threshold(
            tiles.codes, tiles.hectares, units, alpha=alpha, cap=cap_ha, confidence=confidence, seed=seed
        )
        code = min(code, steady)
    # Half a code lower, so that no rounding moves a tile across. At code 0 every tile is kept, unseen ones too.
    threshold = (code - 0.5) / PROBABILITY_STEPS if code >= 1 else 0.0
    kept, mines = tiles.codes >= code, tiles.hectares > 0
    survivors, source = _survivors(kept, mines, tiles.part, mine_tiles)
    return ScreenThreshold(
        threshold=threshold,
        recall=recall,
        confidence=confidence,
        calibration=found,
        tiles=len(kept),
        whole_tiles=int((tiles.part >= _WHOLE).sum()),
        sites=len(np.unique(tiles.sites)),
        sites_with_mines=len(np.unique(tiles.sites[mines])),
        unseen=tiles.unseen,
        recall_here=float(tiles.hectares[kept].sum() / tiles.hectares.sum()),
        kept=float(kept.mean()),
        kept_without_mines=_mean(kept[~mines]),
        kept_with_mines=_mean(kept[mines]),
        expected_survivors=survivors,
        survivors_from=source,
        whole_labels=tiles.whole_labels,
    )


def _survivors(
    kept: NDArray[np.bool_], mines: NDArray[np.bool_], part: NDArray[np.float64], mine_tiles: float | None
) -> tuple[float, str]:
    """Share of a scan's tiles that is expected to survive, and what that was counted on."""
    whole = part >= _WHOLE
    if whole.any():
        kept, mines, source = kept[whole], mines[whole], "whole tiles"
        with_mines, without = _mean(kept[mines]), _mean(kept[~mines])
        everywhere = float(kept.mean())
    else:
        pieces, source = 1 / float(part.mean()), "pieces"
        hit, other = _mean(kept[mines]), _mean(kept[~mines])
        without = None if other is None else 1 - (1 - other) ** pieces
        with_mines = None if hit is None or other is None else 1 - (1 - hit) * (1 - other) ** (pieces - 1)
        everywhere = 1 - (1 - float(kept.mean())) ** pieces
    if mine_tiles is None or with_mines is None or without is None:
        return everywhere, source
    return mine_tiles * with_mines + (1 - mine_tiles) * without, source


def _label(images: Dataset, row: int) -> int:
    label = images.samples["label"].iloc[row]
    if label is None or label != label:  # noqa: PLR0124  (NaN)
        raise UsageError(f"sample {images.samples['id'].iloc[row]} has no label", fix="leave it out of the split")
    return int(label)


def _mean(kept: NDArray[np.bool_]) -> float | None:
    return float(kept.mean()) if kept.size else None


def _ratio(dataset: Dataset, resolution: float, tile_m: float) -> tuple[int, int]:
    """Pixels of the set along a pixel of the model, and pixels of the model along a tile."""
    fine = dataset.resolution_m
    if fine is None:
        raise UsageError(f"how large is a pixel of {dataset.name}?", expected="a set with one pixel size in metres")
    blocks = blocks_along(fine, resolution)
    cell = round(tile_m / resolution)
    if cell < 1:
        raise UsageError(
            "tiles are smaller than a pixel of the model", got=tile_m, expected=f"{resolution:g} m or more"
        )
    return blocks, cell
