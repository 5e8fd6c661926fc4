"""Whole countries without a pixel: what planning and driving them costs.

    python benchmarks/scale.py --json benchmarks/results/scale.json

Real are the planner (both levels priced, the pyramid weighed, memory checked, the plan written), the agenda, the
ledger with its flushes, and the driver's loop. Simulated are the catalogue's answer (granules of one degree, twelve
dates, their headers made up) and the cluster: a tile is a moment of virtual time and a made-up result, and the
ledger is flushed by the virtual clock. Areas are bounding boxes, which hold more ground than the countries; the tiles
of a country's own area stand beside. Each row is a process of its own: CPU seconds to plan, CPU milliseconds of the
driver per tile, what a flush costs, and the highest memory. A row flushes less often than a real run, so that it ends
in minutes; ``ms_flush_per_tile`` is the measured flush at the configured interval.

``--dask`` measures what the simulation leaves out: the driver process, with Dask's client and scheduler in it, on a
real cluster whose tiles do nothing, once with one tile per task and once with batches.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import heapq
import itertools
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from children import run, tell
from fake_tiles import fake_batch, fake_result, fake_tile
from shapely import box

AREAS = {
    "Ghana": (-3.26, 4.74, 1.19, 11.17),
    "Peru": (-81.33, -18.35, -68.65, -0.04),
    "Brazil": (-73.99, -33.75, -34.79, 5.27),
    "South America": (-81.41, -55.98, -34.79, 12.46),
}
"""Bounding boxes (west, south, east, north)."""
AREA_KM2 = {"Ghana": 238_533, "Peru": 1_285_216, "Brazil": 8_515_767, "South America": 17_840_000}
DASK_CORNER = (-2.26, 5.74)
"""West and south of a piece of Ghana."""
WORKERS = (1, 16, 256, 1000)
DATES = 12
GRANULE_DEG = 1.0
GRANULE_M = 109_800
FINE_BANDS = ("blue", "green", "red", "nir")
BANDS = (*FINE_BANDS, "swir16", "swir22", "mask")
TILE_SECONDS = 2.0
"""Virtual seconds of one tile on one worker."""
FLUSHES = 40
"""Flushes of one row, at most about."""


@dataclass
class Future:
    key: str
    value: Any
    status: str = "finished"

    def release(self) -> None:
        pass


class SimulatedCluster:
    """Stands in for ``distributed.Client`` and ``as_completed``: every worker takes its tasks one after the other."""

    def __init__(self, workers: int, result_of: Callable[[Any], Any]) -> None:
        self.addresses = [f"sim://{i}" for i in range(workers)]
        self.free = dict.fromkeys(self.addresses, 0.0)
        self.now = 0.0
        self.result_of = result_of
        self.queue: list[tuple[float, int, Future]] = []
        self.count = itertools.count()
        self.dashboard_link = ""

    def scheduler_info(self, n_workers: int = -1) -> dict[str, Any]:  # noqa: ARG002 (distributed's signature)
        return {"workers": {address: {"nthreads": 1, "resources": {}} for address in self.addresses}}

    def submit(self, _: Any, job: Any, *, key: str, workers: list[str], **options: Any) -> Future:  # noqa: ARG002
        worker = workers[0]
        jobs = job if isinstance(job, tuple) else (job,)
        end = max(self.free[worker], self.now) + TILE_SECONDS * len(jobs)
        self.free[worker] = end
        results = tuple(self.result_of(each) for each in jobs)
        future = Future(key, results if isinstance(job, tuple) else results[0])
        heapq.heappush(self.queue, (end, next(self.count), future))
        return future

    def as_completed(self, **_: bool) -> SimulatedCluster:
        return self

    def add(self, future: Future) -> None:
        pass

    def __next__(self) -> tuple[Future, Any]:
        self.now, _, future = heapq.heappop(self.queue)
        return future, future.value


def scenes_over(bbox: tuple[float, float, float, float], dates: int) -> tuple[Any, ...]:
    """Granules on a lattice of one degree, each a little larger and in its UTM zone, on every date."""
    import pyproj

    from minescale.sources.scenes import BandAsset, Scene

    west, south, east, north = bbox
    corners = [(x, y) for x in np.arange(np.floor(west), east) for y in np.arange(np.floor(south), north)]
    zones = {(lon, lat): (32600 if lat >= 0 else 32700) + int((lon + 180) // 6) + 1 for lon, lat in corners}
    to_utm = {code: pyproj.Transformer.from_crs(4326, code, always_xy=True) for code in set(zones.values())}
    scenes = []
    for day, (lon, lat) in itertools.product(range(dates), corners):
        code = zones[lon, lat]
        left, top = (round(v, -1) for v in to_utm[code].transform(lon, lat + GRANULE_DEG))
        name = f"{lon:+04.0f}{lat:+03.0f}-{day:02d}"
        bands = {}
        for band in BANDS:
            size = 10.0 if band in FINE_BANDS else 20.0
            side = int(GRANULE_M / size)
            bands[band] = BandAsset(
                href=f"https://example.org/{name}/{band}.tif",
                transform=(size, 0.0, left, 0.0, -size, top),
                shape=(side, side),
            )
        scenes.append(
            Scene(
                id=name,
                collection="sentinel-2-l2a",
                provider="other",
                sensor="sentinel-2-l2a",
                platform="sentinel-2a",
                datetime=dt.datetime(2024, 1, 5, tzinfo=dt.UTC) + dt.timedelta(days=30 * day),
                crs=f"EPSG:{code}",
                footprint=box(lon - 0.05, lat - 0.05, lon + 1.05, lat + 1.05),
                bands=bands,
                cloud_cover=30.0,
            )
        )
    return tuple(scenes)


def made_up_header(scene: Any, band: str, resolution: float) -> Any:
    """Blocks of 512 pixels with overviews, as Planetary Computer's files have them."""
    from minescale.sources.headers import BlockSummary

    asset = scene.bands[band]
    factor = max(f for f in (1, 2, 4, 8, 16) if f * asset.transform[0] <= resolution or f == 1)
    return BlockSummary(
        factor=factor,
        block=(512, 512),
        block_bytes=250_000.0,
        decoded_bytes=512 * 512 * 2,
        overviews=(2, 4, 8, 16),
        transform=asset.transform,
        shape=asset.shape,
    )


def make_plan(
    bounds: tuple[float, float, float, float], tile_size: int, mode: str, flush_s: float | None = None
) -> tuple[Any, dict[str, float]]:
    """The plan of an area as ``minescale plan`` makes it, and what its steps took; ``mode`` as ``pyramid.mode``."""
    from minescale import api
    from minescale.config import load_config
    from minescale.planning import cost, explain, make
    from minescale.sources.freeze import FrozenCatalog
    from minescale.types import BBox

    scenes = scenes_over(bounds, DATES)
    settings: dict[str, Any] = {"grid.tile_size": tile_size, "pyramid.mode": mode}
    if flush_s is not None:
        settings["engine.flush_s"] = flush_s
    config = load_config(overrides=settings)
    wanted = api.request(catalog="none", bbox=BBox(*bounds), datetime="2024", model="demo")
    with (
        mock.patch.object(make, "search"),
        mock.patch.object(make, "freeze", return_value=FrozenCatalog(scenes=scenes, excluded=())),
        mock.patch.object(cost, "block_sample", made_up_header),
    ):
        wall, cpu = time.perf_counter(), time.process_time()
        plan = make.make_plan(wanted, config, catalog="none", memory_limit=4 << 30)
        planned = time.process_time()
        explained = explain.explain_plan(plan, workers=1)
    return plan, {
        "scenes": len(scenes),
        "tiles": sum(len(plan.index(level.level)) for level in plan.levels),
        "plan_cpu_s": planned - cpu,
        "explain_cpu_s": time.process_time() - planned,
        "plan_wall_s": time.perf_counter() - wall,
        "core_hours": sum(level.seconds for level in explained.cost.levels) / 3600,
    }


def simulated_result(grid: Any, survivors: float) -> Callable[[Any], Any]:
    """What a tile's worker would answer: coarse scores of which a share is above every threshold."""
    from minescale.engine.task import FillJob

    rng = np.random.default_rng(0)

    def result_of(job: Any) -> Any:
        scores = None
        if not isinstance(job, FillJob) and job.key.level > 0:
            found = grid.children(job.key)
            shape = (found[-1].y - found[0].y + 1, found[-1].x - found[0].x + 1)
            scores = np.where(rng.random(shape) < survivors, 0.9, 0.0).astype(np.float32)
        return fake_result(job, TILE_SECONDS, scores)

    return result_of


@contextlib.contextmanager
def timed(owner: Any, name: str) -> Iterator[list[float]]:
    """CPU seconds of each call of a method."""
    spent: list[float] = []
    original = getattr(owner, name)

    def wrapper(*args: Any, **options: Any) -> Any:
        began = time.process_time()
        try:
            return original(*args, **options)
        finally:
            spent.append(time.process_time() - began)

    with mock.patch.object(owner, name, wrapper):
        yield spent


def drive(area: str, workers: int, tile_size: int, survivors: float | None) -> dict[str, float]:
    """One simulated run; ``survivors`` None is a flat scan."""
    import distributed

    from minescale.config import load_config
    from minescale.engine import run as engine
    from minescale.planning.run_dir import RunDir
    from minescale.store.ledger import Ledger

    flush_s = load_config().engine.flush_s
    tile_km = tile_size / 100
    rough = AREA_KM2[area] * 1.7 / tile_km**2 * (1 if survivors is None else 0.15)
    virtual = rough * TILE_SECONDS / workers
    mode = "off" if survivors is None else "on"
    plan, figures = make_plan(AREAS[area], tile_size, mode, max(flush_s, virtual / FLUSHES))
    planned_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    cluster = SimulatedCluster(workers, simulated_result(plan.grid, survivors or 0.0))
    with tempfile.TemporaryDirectory() as folder:
        out = RunDir(f"{folder}/scan")
        began = time.process_time()
        out.save_plan(plan)
        figures["save_cpu_s"] = time.process_time() - began
        with (
            mock.patch.object(engine, "connect", return_value=contextlib.nullcontext(cluster)),
            mock.patch.object(engine, "clock", SimpleNamespace(monotonic=lambda: cluster.now)),
            mock.patch.object(distributed, "as_completed", cluster.as_completed),
            timed(Ledger, "flush") as flushes,
            timed(engine._Execution, "_drain") as drained,
        ):
            cpu = time.process_time()
            report = engine.run_plan(plan, out)
            spent = time.process_time() - cpu
    assert report.remaining == report.failed == 0, report
    per_flush = float(np.mean(flushes))
    return {
        **figures,
        "country_tiles": AREA_KM2[area] / tile_km**2,
        "workers": workers,
        "done": report.done,
        "jobs": next(cluster.count),
        "simulated_s": cluster.now,
        "start_cpu_s": spent - drained[0],
        "ms_per_tile": 1000 * (spent - sum(flushes)) / report.done,
        "flushes": len(flushes),
        "ms_per_flush": 1000 * per_flush,
        "ms_flush_per_tile": 1000 * per_flush * cluster.now / flush_s / report.done,
        "driver_share": (spent - sum(flushes) + per_flush * cluster.now / flush_s) / cluster.now,
        "planned_rss": planned_rss,
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
    }


def drive_dask(workers: int, tile_size: int, batch: int, tiles: int) -> dict[str, float]:
    """The driver's loop over a piece of Ghana, flat, on a real cluster whose tiles do nothing."""
    from minescale.engine import batches
    from minescale.engine import run as engine
    from minescale.planning.run_dir import RunDir

    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    degrees = (tiles * (tile_size / 100) ** 2) ** 0.5 / 111
    west, south = DASK_CORNER
    plan, _ = make_plan((west, south, west + degrees, south + degrees), tile_size, "off")
    changes = {"engine.workers": workers, "engine.memory_limit_gb": 4.0, "engine.flush_s": 1e9}
    plan = plan.with_runtime(plan.config.replace(changes))
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(engine, "process_tile", fake_tile),
        mock.patch.object(engine, "process_batch", fake_batch),
        mock.patch.object(batches.Pace, "batch", return_value=batch),
        timed(engine._Execution, "_drain") as drained,
    ):
        out = RunDir(f"{folder}/scan")
        out.save_plan(plan)
        report = engine.run_plan(plan, out)
    return {
        "workers": workers,
        "batch": batch,
        "tiles": report.done,
        "ms_per_tile": 1000 * drained[0] / report.done,
        "ms_per_task": 1000 * drained[0] * batch / report.done,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--areas", nargs="*", default=list(AREAS), choices=list(AREAS))
    parser.add_argument("--workers", type=int, nargs="*", default=list(WORKERS))
    parser.add_argument("--tile-size", type=int, default=512)
    parser.add_argument("--survivors", type=float, default=0.01, help="share of children above the threshold")
    parser.add_argument("--flat", nargs="*", default=["South America"], help="areas scanned without a coarse level too")
    parser.add_argument("--flat-workers", type=int, nargs="*", default=[1000])
    parser.add_argument("--dask", type=int, nargs="*", default=[1, 4, 16], help="worker processes of a real cluster")
    parser.add_argument("--dask-tiles", type=int, default=1800)
    parser.add_argument("--json", type=Path, help="where to keep the figures; rows that are not run stay as they are")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        tell(drive_dask(**args.child) if "batch" in args.child else drive(**args.child))
        return
    results: dict[str, Any] = {"tile_size": args.tile_size, "runs": [], "dask": []}
    cases = [(area, workers, args.survivors) for area in args.areas for workers in args.workers]
    cases += [(area, workers, None) for area in args.flat for workers in args.flat_workers]

    def measured(case: tuple[str, int, float | None]) -> dict[str, Any]:
        area, workers, survivors = case
        task = {"area": area, "workers": workers, "tile_size": args.tile_size, "survivors": survivors}
        return {"area": area, "pyramid": survivors is not None, **run(__file__, "--child", json.dumps(task))}

    # Two rows at a time: CPU seconds and memory are each process's own.
    for (area, workers, survivors), found in zip(cases, ThreadPoolExecutor(2).map(measured, cases), strict=True):
        results["runs"].append(found)
        print(
            f"{area:<13} {'pyramid' if survivors else 'flat':<7} {workers:>5} workers: {found['tiles']:>9,.0f} tiles,"
            f" {found['jobs']:>9,.0f} tasks, plan {found['plan_cpu_s']:.1f} CPU s, {found['ms_per_tile']:.3f} ms per"
            f" tile + {found['ms_flush_per_tile']:.3f} ms flushes of {found['ms_per_flush']:.0f} ms,"
            f" driver busy {found['driver_share']:.2%}, peak {found['peak_rss'] / 1e6:,.0f} MB",
            flush=True,
        )
    for workers, batch in itertools.product(args.dask, (1, 8)):
        task = {"workers": workers, "tile_size": args.tile_size, "batch": batch, "tiles": args.dask_tiles}
        found = run(__file__, "--child", json.dumps(task))
        results["dask"].append(found)
        print(
            f"Dask, {workers} worker processes, {batch} tiles a task: {found['ms_per_tile']:.2f} ms driver CPU per tile"
            f" ({found['ms_per_task']:.2f} per task)",
            flush=True,
        )
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(merged(args.json, results), indent=1) + "\n")


def merged(file: Path, results: dict[str, Any]) -> dict[str, Any]:
    """Results in place of the same rows of a file."""
    if not file.exists():
        return results
    stored = json.loads(file.read_text())
    if stored["tile_size"] != results["tile_size"]:
        return results
    for part, names in (("runs", ("area", "pyramid", "workers")), ("dask", ("workers", "batch"))):
        rows = {tuple(row[name] for name in names): row for row in (*stored[part], *results[part])}
        results[part] = list(rows.values())
    return results


if __name__ == "__main__":
    main()
