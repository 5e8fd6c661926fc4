"""The unit of distributed work: one tile of one period. Pure and idempotent; pixels never travel to the driver."""

from __future__ import annotations

import resource
import sys
import time as clock
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minescale.cube.compose import Composing, Composite, begin
from minescale.engine.context import WorkerContext, worker_context
from minescale.engine.heap import give_back_gaps
from minescale.models.windows import predict_tile
from minescale.planning.pyramid import child_scores
from minescale.sensors import SENSORS
from minescale.sources.access import Access
from minescale.sources.failures import ReadFailure
from minescale.store.codes import encode_probability
from minescale.store.mosaic import TileArrays
from minescale.types import TileKey


@dataclass(frozen=True, slots=True, kw_only=True)
class TileJob:
    run_dir: str
    run_id: str
    access: Access
    time: int
    """Position of the period."""
    key: TileKey
    scenes: tuple[int, ...]
    """Positions in the run's scene table."""
    ahead: tuple[TileKey, ...] = ()
    """Neighbours that the same worker is to do next."""
    following: TileJob | None = None
    """The worker's next tile: its reads begin while this one is worked on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillJob:
    """Write the coarse result into tiles that were pruned."""

    run_dir: str
    run_id: str
    access: Access
    time: int
    keys: tuple[TileKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedTile:
    """A tile read and composited, on its way to the model."""

    composite: Composite
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TileResult:
    """What the driver learns of a tile: a few hundred bytes."""

    time: int
    key: TileKey
    n_scenes: int
    layers_used: int
    bytes_read: int
    requests: int
    seconds: float
    cpu_seconds: float
    max_probability: float
    clear_share: float
    """Share of the tile's pixels with a probability."""
    seen_px: int
    mine_px: int
    scores: NDArray[np.float32] | None
    """(child_y, child_x) coarse score of each child; None at the finest level."""
    losses: tuple[ReadFailure, ...]
    unmasked: tuple[str, ...]
    doubts: tuple[str, ...]
    """What the pixel probe holds against some scenes' metadata."""
    peak_rss: int
    """Highest resident memory of the worker process so far, in bytes."""

    @property
    def n_failed(self) -> int:
        return len({loss.scene_id for loss in self.losses})


@dataclass(frozen=True, slots=True, kw_only=True)
class FillResult:
    time: int
    rows: tuple[tuple[TileKey, int, int, float], ...]
    """(key, seen pixels, mine pixels, highest probability) of each pruned tile."""
    cpu_seconds: float = 0.0


def process_tile(job: TileJob) -> TileResult:
    """Read, composite, predict and write one tile."""
    return infer_tile(job, compose_tile(job))


def process_batch(jobs: tuple[TileJob | FillJob, ...]) -> tuple[TileResult | FillResult, ...]:
    """Several jobs, one after the other, in one task."""
    return tuple(fill_pruned(job) if isinstance(job, FillJob) else process_tile(job) for job in jobs)


def compose_tile(job: TileJob) -> ComposedTile:
    """The CPU half: read the tile's scenes, halo included, and composite them."""
    started, cpu = clock.perf_counter(), clock.process_time()
    context = worker_context(job.run_dir, job.run_id, job.access)
    composing = context.coming.pop((job.time, job.key), None) or _begin(context, job)
    if job.following is None:
        composite = composing.finish()
    else:
        following = _begin(context, job.following)
        composite = composing.finish(meanwhile=following.advance)
        context.expect(job.following.time, job.following.key, following)
    return ComposedTile(
        composite=composite, seconds=clock.perf_counter() - started, cpu_seconds=clock.process_time() - cpu
    )


def _begin(context: WorkerContext, job: TileJob) -> Composing:
    plan = context.plan
    level = plan.levels[job.key.level]
    return begin(
        [plan.scenes[i] for i in job.scenes],
        plan.grid.tile_geobox(job.key, level.halo),
        level.bands,
        sensor=SENSORS[plan.sensor],
        reader=context.reader,
        mask=plan.config.mask,
        composite=plan.config.composite,
        ahead=[plan.grid.tile_geobox(key, level.halo) for key in job.ahead],
    )


def infer_tile(job: TileJob, composed: ComposedTile) -> TileResult:
    """The model half (CPU or GPU): predict the tile's core and write it as whole chunks."""
    started, cpu = clock.perf_counter(), clock.process_time()
    context = worker_context(job.run_dir, job.run_id, job.access)
    plan, key, composite = context.plan, job.key, composed.composite
    halo = plan.levels[key.level].halo
    probability = encode_probability(predict_tile(context.predictor(key.level), composite.data, halo))
    core = np.s_[halo : composite.data.shape[1] - halo, halo : composite.data.shape[2] - halo]
    tile = TileArrays(
        probability=probability,
        clear_count=composite.clear_count[core],
        reason=composite.reason[core],
        level=np.full(probability.shape, key.level, np.uint8),
    )
    context.mosaic.write_tile(job.time, key, tile)
    give_back_gaps()
    seen, mine, highest = tile_numbers(probability, plan.threshold)
    return TileResult(
        time=job.time,
        key=key,
        n_scenes=composite.n_scenes,
        layers_used=composite.layers_used,
        bytes_read=composite.bytes_read,
        requests=composite.requests,
        seconds=composed.seconds + clock.perf_counter() - started,
        cpu_seconds=composed.cpu_seconds + clock.process_time() - cpu,
        max_probability=highest,
        clear_share=seen / probability.size,
        seen_px=seen,
        mine_px=mine,
        scores=child_scores(plan.grid, key, probability) if key.level > 0 else None,
        losses=composite.losses,
        unmasked=composite.unmasked,
        doubts=tuple(str(verdict) for verdict in composite.doubts),
        peak_rss=peak_rss(),
    )


def fill_pruned(job: FillJob) -> FillResult:
    """Give pruned tiles their coarse score."""
    cpu = clock.process_time()
    context = worker_context(job.run_dir, job.run_id, job.access)
    plan = context.plan
    screens = context.mosaic.write_pruned(job.time, job.keys)
    # Every pixel of the screen stands for as many fine ones: counting those would take as long as a write.
    per_pixel = plan.grid.factors[1] ** 2
    rows = []
    for key, screen in zip(job.keys, screens, strict=True):
        seen, mine, highest = tile_numbers(screen.probability, plan.threshold)
        rows.append((key, seen * per_pixel, mine * per_pixel, highest))
    return FillResult(time=job.time, rows=tuple(rows), cpu_seconds=clock.process_time() - cpu)


def tile_numbers(probability: NDArray[np.uint8], threshold: float) -> tuple[int, int, float]:
    """(seen pixels, pixels at or above the threshold, highest probability or NaN) of uint8 codes."""
    seen = probability != 255
    n_seen = int(np.count_nonzero(seen))
    if n_seen == 0:
        return 0, 0, float("nan")
    n_mine = int(np.count_nonzero(seen & (probability >= round(threshold * 250))))
    return n_seen, n_mine, float(probability[seen].max()) * 0.004


def peak_rss() -> int:
    """Highest resident set of this process, in bytes.

    From the kernel's own high-water mark where there is one: ``getrusage`` hands a process's mark down to the
    programs it starts, so a worker of a large parent would seem large.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
