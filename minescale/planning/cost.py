"""What a plan will read and take, priced from the headers of a few scenes.

Blocks are counted window by window with the arithmetic of the reader; only a block's compressed size is a
sample mean. Blocks that neighbouring tiles share are read once where the worker's store has room for them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyproj
from numpy.typing import NDArray

from minescale.models.predictor import find_family
from minescale.planning.memory import store_bytes
from minescale.planning.plan import LevelSpec, ScanPlan
from minescale.planning.rates import Work
from minescale.planning.tiles import TileIndex, strip_rows
from minescale.sensors import MASK
from minescale.sources.headers import BlockSummary, block_sample
from minescale.sources.inflate import share_read
from minescale.sources.scenes import Scene

SAMPLE_SCENES = 8
MAX_CLOUD = 99.5
"""A scene this cloudy is expected to be dropped once its quality band has been read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelCost:
    level: int
    resolution: float
    tiles: float
    """Tiles of all periods; behind a coarse level the expected survivors and audits."""
    requests: float
    """Blocks read."""
    bytes: float
    """Compressed bytes read."""
    work: Work
    seconds: float
    """Core seconds, by the rates of :mod:`minescale.planning.rates`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    levels: tuple[LevelCost, ...]
    """Finest first."""
    workers: int
    money: float

    @property
    def bytes(self) -> float:
        return sum(level.bytes for level in self.levels)

    @property
    def requests(self) -> float:
        return sum(level.requests for level in self.levels)

    @property
    def seconds(self) -> float:
        """Wall seconds on the plan's workers."""
        return sum(level.seconds for level in self.levels) / self.workers


@dataclass(frozen=True)
class Prices:
    """Mean block sizes by band and level, from the headers of a few scenes spread over the plan."""

    blocks: Mapping[tuple[str, int], tuple[BlockSummary, ...]] = field(repr=False)

    @classmethod
    def sample(cls, plan: ScanPlan) -> Prices:
        """Open ``SAMPLE_SCENES`` scenes' headers; scenes that cannot be opened are skipped."""
        step = max(len(plan.scenes) // SAMPLE_SCENES, 1)
        chosen = plan.scenes[::step][:SAMPLE_SCENES]
        blocks = {}
        for level in plan.levels:
            for band in (*level.physical_bands, MASK):
                found = [block_sample(scene, band, level.resolution) for scene in chosen if band in scene.bands]
                blocks[band, level.level] = tuple(summary for summary in found if summary is not None)
        return cls(blocks)

    def mean_bytes(self, band: str, level: int) -> float:
        """Mean compressed bytes of one block; 0 where no header could be read."""
        sizes = [summary.block_bytes for summary in self.blocks.get((band, level), ())]
        return float(np.mean(sizes)) if sizes else 0.0


def price_plan(plan: ScanPlan, prices: Prices, *, survivors: float, workers: int = 1) -> Cost:
    """Price every level; ``survivors`` is the share of fine tiles expected to run behind a coarse level."""
    audit = plan.config.pyramid.audit
    levels = []
    for level in plan.levels:
        share = 1.0
        if plan.is_pyramid and level.level == 0:
            share = survivors + (1 - survivors) * audit
        levels.append(_price_level(plan, level, prices, share, workers))
    money = sum(c.bytes for c in levels) / 1e9 * plan.config.cost.price_per_gb
    money += sum(c.seconds for c in levels) / 3600 * plan.config.cost.price_per_worker_hour
    return Cost(levels=tuple(levels), workers=workers, money=money)


_PIECES = 2
"""Pieces of strips that a worker does, as a rule, before all are done."""

_Counted = dict[tuple[object, ...], tuple[NDArray[np.float64], ...]]
"""By pixel lattice: blocks under each tile, and what is not read of them; and by run, per tile, how often blocks are
met again, in how many further columns, or rows, of tiles, and what is not read of those at the run's end."""


def _price_level(plan: ScanPlan, level: LevelSpec, prices: Prices, share: float, workers: int) -> LevelCost:
    index = plan.index(level.level)
    layers = index.looks(plan.periods)
    # blocks, compressed and decoded bytes
    touched, shared, spared, ends, kept = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3), 0.0
    pixels, reads = _pixels(index, level), 0.0
    sizes = {band: prices.mean_bytes(band, level.level) for band in (*level.physical_bands, MASK)}
    patches: dict[tuple[str, bytes], tuple[NDArray[np.intp], _Counted]] = {}
    for position, scene in enumerate(plan.scenes):
        tiles = index.tiles_of(position)
        if not len(tiles):
            continue
        # Of more looks than a composite may hold, only the clearest are read.
        period = period_of(plan, scene)
        if period is None:
            continue
        weight = np.minimum(1.0, plan.config.composite.max_scenes / np.maximum(layers[period, tiles], 1))
        if scene.cloud_cover is not None and scene.cloud_cover >= MAX_CLOUD:
            weight = weight * 0.0
        # Scenes of one granule lie over the same tiles on most dates: their blocks are counted once.
        where = (scene.crs, hashlib.blake2b(tiles.tobytes()).digest())
        if where not in patches:
            patches[where] = (_runs(plan, level, index, tiles, workers), {})
        runs, counted = patches[where]
        for band, mean_bytes in sizes.items():
            summaries = prices.blocks.get((band, level.level), ())
            if band not in scene.bands or not summaries or (band == MASK and not plan.config.mask.enabled):
                continue
            asset = scene.bands[band]
            like = next((s for s in summaries if s.matches(asset)), summaries[0])
            use = np.ones(len(tiles)) if band == MASK else weight
            # So are those of bands of one pixel lattice.
            lattice = (asset.transform, asset.shape, like.transform, like.shape, like.block, like.factor, band == MASK)
            if lattice not in counted:
                counted[lattice] = _count(plan, level, index, tiles, runs, scene, band, like)
            counts, unread, again, further, end = counted[lattice]
            reads += float(use.sum())
            size, by_run = np.array([1.0, mean_bytes, like.decoded_bytes]), np.bincount(runs, use)
            touched += size * float(counts @ use)
            spared += size * float(unread @ use)
            shared += size * float(again @ by_run)
            ends += size * float(end @ by_run)
            kept += like.decoded_bytes * float(further @ by_run)
    n_tiles = len(index) * len(plan.periods)
    # A block is kept from the first tile that meets it to the last one: a strip's height for each further column, one
    # tile for each further row. Of a block three quarters are.
    held = 0.75 * (1 + min(strip_rows(plan.grid.tile_size), index.shape[0])) * kept / max(n_tiles, 1)
    room = store_bytes(
        plan.config, tile_px=plan.grid.tile_size, halo=level.halo, n_bands=len(level.bands), layers=int(layers.max())
    )
    saved = shared * min(1.0, room / max(held, 1.0))
    # A survivor's neighbour survives too in ``share`` of the cases if survivors are scattered: the dear case.
    # The last blocks below a tile are read whole where its neighbour runs too and wants the rest.
    unread = spared * (1 - share) + ends * share
    requests, compressed, decoded = (touched - unread - saved * share) * share
    predicted = float(pixels[index.inside.ravel()].sum()) * len(plan.periods) * share * level.work
    alone = not find_family(level.family).torch
    work = Work(
        tiles=n_tiles * share,
        reads=reads * share,
        blocks=requests,
        decoded_bytes=decoded,
        index_pixels=predicted if alone else 0.0,
        unet_pixels=0.0 if alone else predicted,
    )
    return LevelCost(
        level=level.level,
        resolution=level.resolution,
        tiles=work.tiles,
        requests=work.blocks,
        bytes=compressed,
        work=work,
        seconds=work.core_seconds,
    )


def _count(
    plan: ScanPlan,
    level: LevelSpec,
    index: TileIndex,
    tiles: NDArray[np.integer],
    runs: NDArray[np.intp],
    scene: Scene,
    band: str,
    like: BlockSummary,
) -> tuple[NDArray[np.float64], ...]:
    counts, unread = count_blocks(plan, level, [edge[tiles] for edge in index.bounds], scene, band, like)
    once, end = count_blocks(plan, level, _run_bounds(index, tiles, runs), scene, band, like)
    again = np.clip(np.bincount(runs, counts) - once, 0, None)
    further = (np.sqrt(np.maximum(np.bincount(runs, counts) / np.maximum(once, 1), 1)) - 1) * once
    return counts, unread, *(part / np.bincount(runs) for part in (again, further, end))


def _pixels(index: TileIndex, level: LevelSpec) -> NDArray[np.float64]:
    """Pixels of every tile, flat in row order, halo included; those at the mosaic's border are cut."""
    xmin, ymin, xmax, ymax = index.bounds
    height, width = ((high - low) / level.resolution + 2 * level.halo for low, high in ((ymin, ymax), (xmin, xmax)))
    return height * width


def _runs(
    plan: ScanPlan, level: LevelSpec, index: TileIndex, tiles: NDArray[np.integer], workers: int
) -> NDArray[np.intp]:
    """Number of the run that each of ``tiles`` belongs to: a strip, or the part of it below one coarse tile, or what
    one of many workers has of it."""
    rows, cols = np.divmod(tiles, index.shape[1])
    strip = strip_rows(plan.grid.tile_size)
    strips = -(-index.shape[0] // strip)
    span = index.shape[1]
    if plan.is_pyramid and level.level == 0:
        span = plan.grid.factors[1] // plan.grid.factors[0]
    elif level.level == 0 and workers > 1:
        # Strips are cut in halves until each worker has a piece, and once or twice more as they end.
        span = max(1, min(span, index.shape[1] * strips // (_PIECES * workers)))
    _, runs = np.unique(rows // strip * index.shape[1] + cols // span, return_inverse=True)
    return np.asarray(runs, np.intp)


def _run_bounds(
    index: TileIndex, tiles: NDArray[np.integer], runs: NDArray[np.intp]
) -> tuple[NDArray[np.float64], ...]:
    """xmin, ymin, xmax, ymax of each run's tiles together."""
    count = int(runs.max()) + 1
    low = [np.full(count, np.inf) for _ in range(2)]
    high = [np.full(count, -np.inf) for _ in range(2)]
    for found, edge in zip(low, index.bounds[:2], strict=True):
        np.minimum.at(found, runs, edge[tiles])
    for found, edge in zip(high, index.bounds[2:], strict=True):
        np.maximum.at(found, runs, edge[tiles])
    return (*low, *high)


def period_of(plan: ScanPlan, scene: Scene) -> int | None:
    """Position of the period that a scene falls into."""
    return next((t for t, p in enumerate(plan.periods) if p.contains(scene.datetime)), None)


def count_blocks(
    plan: ScanPlan,
    level: LevelSpec,
    bounds: Sequence[NDArray[np.float64]],
    scene: Scene,
    band: str,
    like: BlockSummary,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Blocks of one band of one scene under each of some boxes (xmin, ymin, xmax, ymax), halo and mask growth
    included; and how much of them nobody need read, because the box ends in a block's first rows."""
    asset = scene.bands[band]
    transform, shape = asset.transform or like.transform, asset.shape or like.shape
    pad = level.halo * level.resolution
    if band == MASK and plan.config.mask.enabled:
        pad += plan.config.mask.dilate_m
    xmin, ymin, xmax, ymax = bounds
    xmin, ymin, xmax, ymax = xmin - pad, ymin - pad, xmax + pad, ymax + pad
    if scene.crs != plan.grid.crs:
        xmin, ymin, xmax, ymax = _project_boxes(plan.grid.crs, scene.crs, xmin, ymin, xmax, ymax)
    width, _, left, _, height, top = transform
    rows = -(-shape[0] // like.factor)
    cols = -(-shape[1] // like.factor)
    step_y, step_x = -height * like.factor * like.block[0], width * like.factor * like.block[1]
    tiny = 1e-6
    y0 = np.clip(np.floor((top - ymax) / step_y + tiny), 0, None)
    end = (top - ymin) / step_y - tiny
    y1 = np.clip(np.ceil(end), 0, math.ceil(rows / like.block[0]))
    x0 = np.clip(np.floor((xmin - left) / step_x + tiny), 0, None)
    x1 = np.clip(np.ceil((xmax - left) / step_x - tiny), 0, math.ceil(cols / like.block[1]))
    down, across = np.clip(y1 - y0, 0, None), np.clip(x1 - x0, 0, None)
    # GDAL reads overviews, block by block.
    ends = (down > 0) & (np.ceil(end) == y1) & (like.factor == 1)
    return down * across, np.where(ends, 1 - share_read(end - np.ceil(end) + 1), 0.0) * across


def _project_boxes(
    source: str, target: str, *bounds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Bounds of boxes seen in another CRS, from their corners."""
    xmin, ymin, xmax, ymax = bounds
    corners = np.stack([xmin, xmin, xmax, xmax]), np.stack([ymin, ymax, ymin, ymax])
    xs, ys = _transformer(source, target).transform(*corners)
    return xs.min(axis=0), ys.min(axis=0), xs.max(axis=0), ys.max(axis=0)


@lru_cache(maxsize=128)
def _transformer(source: str, target: str) -> pyproj.Transformer:
    """Making one takes longer than its use on the tiles of a scene."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)
