"""Whole countries without a pixel: what planning and driving them costs.

    python benchmarks/scale.py --json benchmarks/results/scale.json

The real planner, agenda, ledger and driver loop run against a simulated cluster: a tile is a moment in virtual time
and a made-up result. Areas are bounding boxes, which hold more ground than the countries; scenes lie on a regular
lattice of 110 km granules. Printed are the seconds to plan, the driver's CPU time per tile, its peak memory and its
share of the run's wall time for several numbers of workers. What Dask adds per task is measured apart, on a real
scheduler in this process with workers that do nothing (``--dask``).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import heapq
import itertools
import json
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from children import run, tell
from shapely import box

AREAS = {
    "Ghana": (-3.26, 4.74, 1.19, 11.17),
    "Peru": (-81.33, -18.35, -68.65, -0.04),
    "Brazil": (-73.99, -33.75, -34.79, 5.27),
}
"""Bounding boxes (west, south, east, north)."""
WORKERS = (1, 16, 256, 1000)
DATES = 12
GRANULE_DEG = 1.0
TILE_SECONDS = 2.0
"""Virtual seconds of one fine tile on one worker."""


@dataclass
class Future:
    key: str
    value: Any

    def exception(self) -> None:
        return None

    def result(self) -> Any:
        return self.value

    def release(self) -> None:
        pass


class SimulatedCluster:
    """Stands in for ``distributed.Client`` and ``as_completed``: every worker takes its tasks one after the other."""

    def __init__(self, workers: int, survivors: float) -> None:
        self.addresses = [f"sim://{i}" for i in range(workers)]
        self.free = dict.fromkeys(self.addresses, 0.0)
        self.now = 0.0
        self.survivors = survivors
        self.rng = np.random.default_rng(0)
        self.queue: list[tuple[float, int, Future]] = []
        self.count = itertools.count()
        self.dashboard_link = ""

    def scheduler_info(self, n_workers: int = -1) -> dict[str, Any]:  # noqa: ARG002 (distributed's signature)
        return {"workers": {address: {"nthreads": 1, "resources": {}} for address in self.addresses}}

    def submit(self, _: Any, job: Any, *, key: str, workers: list[str], **options: Any) -> Future:  # noqa: ARG002
        worker = workers[0]
        end = max(self.free[worker], self.now) + TILE_SECONDS
        self.free[worker] = end
        future = Future(key, self.result_of(job))
        heapq.heappush(self.queue, (end, next(self.count), future))
        return future

    def result_of(self, job: Any) -> Any:
        from minescale.engine.task import FillJob, FillResult, TileResult

        if isinstance(job, FillJob):
            return FillResult(time=job.time, rows=tuple((key, 0, 0, 0.0) for key in job.keys))
        scores = None
        if job.key.level > 0:
            children = self.children(job.key)
            scores = np.where(self.rng.random(children) < self.survivors, 0.9, 0.1).astype(np.float32)
        return TileResult(
            time=job.time,
            key=job.key,
            n_scenes=len(job.scenes),
            layers_used=DATES,
            bytes_read=1,
            requests=1,
            seconds=TILE_SECONDS,
            cpu_seconds=TILE_SECONDS,
            max_probability=0.5,
            clear_share=1.0,
            seen_px=1,
            mine_px=0,
            scores=scores,
            losses=(),
            unmasked=(),
            doubts=(),
            peak_rss=1,
        )

    def children(self, key: Any) -> tuple[int, int]:
        found = self.grid.children(key)
        return (found[-1].y - found[0].y + 1, found[-1].x - found[0].x + 1)

    def as_completed(self) -> SimulatedCluster:
        return self

    def add(self, future: Future) -> None:
        pass

    def __next__(self) -> Future:
        self.now, _, future = heapq.heappop(self.queue)
        return future


def scenes_over(bbox: tuple[float, float, float, float], dates: int) -> tuple[Any, ...]:
    """Granules on a lattice of one degree, each a little larger, on every date."""
    from minescale.sources.scenes import BandAsset, Scene

    west, south, east, north = bbox
    scenes = []
    for lon in np.arange(np.floor(west), east, GRANULE_DEG):
        for lat in np.arange(np.floor(south), north, GRANULE_DEG):
            zone = int((lon + 180) // 6) + 1
            crs = f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"
            footprint = box(lon - 0.05, lat - 0.05, lon + 1.05, lat + 1.05)
            for day in range(dates):
                name = f"{lon:+04.0f}{lat:+03.0f}-{day:02d}"
                bands = {
                    band: BandAsset(href=f"https://example.org/{name}/{band}.tif")
                    for band in ("blue", "red", "nir", "swir16", "swir22", "mask")
                }
                scenes.append(
                    Scene(
                        id=name,
                        collection="sentinel-2-l2a",
                        provider="other",
                        sensor="sentinel-2-l2a",
                        platform="sentinel-2a",
                        datetime=dt.datetime(2024, 1, 5, tzinfo=dt.UTC) + dt.timedelta(days=30 * day),
                        crs=crs,
                        footprint=footprint,
                        bands=bands,
                    )
                )
    return tuple(scenes)


def make_plan(area: str, tile_size: int, pyramid: bool) -> tuple[Any, dict[str, float]]:
    """The plan of a country, and what its steps took."""
    from minescale import api
    from minescale.config import load_config
    from minescale.models.package import load_package
    from minescale.planning.make import plan_scenes
    from minescale.sensors import SENSORS
    from minescale.sources.freeze import FrozenCatalog
    from minescale.types import BBox

    scenes = scenes_over(AREAS[area], DATES)
    frozen = FrozenCatalog(scenes=scenes, excluded=())
    config = load_config(overrides={"grid.tile_size": tile_size})
    wanted = api.request(catalog="none", bbox=BBox(*AREAS[area]), datetime="2024", model="demo")
    began = time.perf_counter()
    plan = plan_scenes(
        wanted, config, load_package("demo"), frozen, SENSORS[scenes[0].sensor], pyramid=pyramid, reason="as asked"
    )
    tiles = {level.level: len(plan.index(level.level)) for level in plan.levels}
    return plan, {"plan_s": time.perf_counter() - began, "scenes": len(scenes), "tiles": sum(tiles.values())}


def drive(area: str, workers: int, tile_size: int, survivors: float | None) -> dict[str, float]:
    """One simulated run; ``survivors`` None is a flat scan."""
    import distributed

    from minescale.engine import run as engine
    from minescale.planning.run_dir import RunDir

    plan, figures = make_plan(area, tile_size, survivors is not None)
    cluster = SimulatedCluster(workers, survivors or 0.0)
    cluster.grid = plan.grid  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        out = RunDir(f"{folder}/scan")
        began = time.perf_counter()
        out.save_plan(plan)
        figures["save_s"] = time.perf_counter() - began
        with (
            mock.patch.object(engine, "connect", return_value=contextlib.nullcontext(cluster)),
            mock.patch.object(distributed, "as_completed", cluster.as_completed),
        ):
            wall, cpu = time.perf_counter(), time.process_time()
            report = engine.run_plan(plan, out)
            figures["drive_s"] = time.perf_counter() - wall
            figures["cpu_s"] = time.process_time() - cpu
    assert report.remaining == report.failed == 0, report
    jobs = next(cluster.count)
    return {
        **figures,
        "workers": workers,
        "done": report.done,
        "jobs": jobs,
        "ms_per_tile": 1000 * figures["cpu_s"] / report.done,
        "simulated_s": cluster.now,
        "driver_share": figures["drive_s"] / cluster.now,
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
    }


def dask_per_task(workers: int, tasks: int) -> dict[str, float]:
    """Milliseconds that a real scheduler, its client and idle workers spend on one empty task, all in one process."""
    from distributed import Client, LocalCluster, as_completed

    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        client.submit(abs, -1).result()
        wall, cpu = time.perf_counter(), time.process_time()
        completed, sent = as_completed(), 0
        for _ in range(min(3 * workers, tasks)):
            completed.add(client.submit(abs, -sent, pure=False))
            sent += 1
        for future in completed:
            future.release()
            if sent < tasks:
                completed.add(client.submit(abs, -sent, pure=False))
                sent += 1
        return {
            "workers": workers,
            "tasks": tasks,
            "ms_per_task_wall": 1000 * (time.perf_counter() - wall) / tasks,
            "ms_per_task_cpu": 1000 * (time.process_time() - cpu) / tasks,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--areas", nargs="*", default=list(AREAS), choices=list(AREAS))
    parser.add_argument("--workers", type=int, nargs="*", default=list(WORKERS))
    parser.add_argument("--tile-size", type=int, default=512)
    parser.add_argument("--survivors", type=float, default=0.01, help="share of children above the threshold")
    parser.add_argument("--flat", action="store_true", help="without a coarse level")
    parser.add_argument("--dask", type=int, nargs="*", default=[1, 16], help="workers of the real scheduler")
    parser.add_argument("--tasks", type=int, default=3000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        tell(drive(**args.child))
        return
    results: dict[str, Any] = {"tile_size": args.tile_size, "runs": [], "dask": []}
    survivors = None if args.flat else args.survivors
    for area in args.areas:
        for workers in args.workers:
            task = {"area": area, "workers": workers, "tile_size": args.tile_size, "survivors": survivors}
            found = {"area": area, **run(__file__, "--child", json.dumps(task))}
            results["runs"].append(found)
            print(
                f"{area:<7} {workers:>5} workers: {found['tiles']:>9,.0f} tiles, {found['jobs']:>9,.0f} tasks,"
                f" plan {found['plan_s']:.1f} s, {found['ms_per_tile']:.3f} ms CPU per tile,"
                f" driver busy {found['driver_share']:.2%} of the run, peak {found['peak_rss'] / 1e6:,.0f} MB",
                flush=True,
            )
    for workers in args.dask:
        found = dask_per_task(workers, args.tasks)
        results["dask"].append(found)
        print(
            f"Dask with {workers} workers in one process: {found['ms_per_task_wall']:.2f} ms a task"
            f" ({found['ms_per_task_cpu']:.2f} ms CPU)"
        )
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
