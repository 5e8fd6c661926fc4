"""How far a scan is from the plain decode of what it reads, and what latency costs it.

    python benchmarks/floor.py --rounds 5 --json benchmarks/results/floor.json

One process scans a synthetic region with the cheap model, tile after tile, and notes every window that it decodes.
The floor is the decode of exactly these windows by one process of as many threads: no placement, no composite, no
model, no write (`decoders.py`; ``tifffile`` with imagecodecs where it is installed). Both run alternately, each in a
fresh process, on local files and over HTTP from loopback with and without a delay before every answer; measured is
the second pass of a process, with files closed in between, because a country's worker does thousands of tiles in the
memory that the first ones took. The same scan by a Dask worker per core (*workers*) shows what latency costs a run: a
process of two cores needs twice as much on its way. CPU time is the process's own, or the workers'; stages are CPU
seconds of the threads inside them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blocks_met import BlocksMet
from children import run, tell
from decoders import DECODERS, floor
from serve import Server

DELAYS_MS = (0, 60)


def plan_of(catalog: str, spec_name: str, cluster: str = "local") -> Any:
    from minescale import api, synthetic
    from minescale.config import load_config

    region = synthetic.ensure_region(getattr(synthetic, spec_name))
    wanted = api.request(catalog=catalog, bbox=region.bbox, datetime=region.period, model="baseline")
    return api.plan(wanted, load_config(overrides={"pyramid.mode": "off", "engine.cluster": cluster}))


def process_all(plan: Any, folder: Path) -> dict[str, float]:
    """Every tile in the order in which one worker meets them."""
    from minescale.engine import task
    from minescale.engine.lanes import Lanes
    from minescale.engine.run import layout_of
    from minescale.engine.task import TileJob
    from minescale.planning.plan import MOSAIC_FILE
    from minescale.planning.run_dir import RunDir
    from minescale.planning.tiles import strip_rows
    from minescale.sources.access import Access
    from minescale.store.template import create_mosaic

    out = RunDir(str(folder))
    out.save_plan(plan)
    create_mosaic(out.path(MOSAIC_FILE), layout_of(plan))
    index, lanes = plan.index(0), Lanes[None](strip_rows(plan.grid.tile_size))

    def job(key: Any, ahead: tuple[Any, ...] = (), following: Any = None) -> TileJob:
        return TileJob(
            run_dir=out.root,
            run_id=plan.run_id,
            access=Access.capture(plan.config.read),
            time=0,
            key=key,
            scenes=index.scenes(key, plan.periods[0]),
            ahead=ahead,
            following=following and job(following.key, following.ahead),
        )

    lanes.add_tiles(0, list(index.keys()))
    totals = Counter[str]()
    wall, cpu = time.perf_counter(), time.process_time()
    while lanes:
        turn = lanes.pop("the only one")
        assert turn is not None
        result = task.process_tile(job(turn.key, turn.ahead, turn.following))
        totals["bytes"] += result.bytes_read
        totals["blocks"] += result.requests
        totals["peak_rss"] = max(totals["peak_rss"], result.peak_rss)
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, **totals}


def close_files() -> None:
    """Forget what a scan leaves open, as a worker that moves on does."""
    from minescale.sources import handles

    for _, href in list(handles._idle):
        handles.close_idle(href)


def record(catalog: str, spec: str, folder: Path) -> dict[str, Any]:
    """The windows that a scan decodes, and how many blocks its tiles would touch without reuse."""
    from minescale.sources import handles

    windows: list[list[Any]] = []
    load, of_blocks = handles.Image._load, handles.Image._inflated

    def noting_load(self: Any, window: Any, *room: Any) -> Any:
        windows.append([self.href, self.overview, window.row0, window.row1, window.col0, window.col1])
        return load(self, window, *room)

    def noting_blocks(self: Any, inflater: Any, window: Any, needed: Any, grid: Any, held: Any, *rest: Any) -> Any:
        for part in rectangles([block for block in grid if block not in held]):
            found = self._extent(part)
            windows.append([self.href, self.overview, found.row0, found.row1, found.col0, found.col1])
        return of_blocks(self, inflater, window, needed, grid, held, *rest)

    handles.Image._load, handles.Image._inflated = noting_load, noting_blocks  # type: ignore[method-assign]
    met = BlocksMet()
    totals = process_all(plan_of(catalog, spec), folder)
    return {
        "windows": windows,
        "bytes": totals["bytes"],
        "touched_bytes": met.touched_bytes,
        "unique_bytes": met.distinct_bytes,
    }


def rectangles(grid: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Blocks (row, column) in groups that fill rectangles: one window of GDAL's for each."""
    runs: list[list[tuple[int, int]]] = []
    for row, col in sorted(grid):
        if runs and runs[-1][-1] == (row, col - 1):
            runs[-1].append((row, col))
        else:
            runs.append([(row, col)])
    open_ones: dict[tuple[int, int], list[tuple[int, int]]] = {}
    found = []
    for piece in runs:
        across = (piece[0][1], piece[-1][1])
        above = open_ones.get(across)
        if above is not None and above[-1][0] == piece[0][0] - 1:
            above.extend(piece)
        else:
            open_ones[across] = piece
            found.append(piece)
    return found


class StageMeter:
    """CPU seconds of functions, each without those it calls that are watched as well."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._local = threading.local()

    def watch(self, owner: Any, name: str, stage: str) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            inner = self._local.__dict__.setdefault("inner", [])
            inner.append(0.0)
            before = time.thread_time()
            try:
                return original(*args, **options)
            finally:
                whole = time.thread_time() - before
                own = whole - inner.pop()
                if inner:
                    inner[-1] += whole
                with self._lock:
                    self.seconds[stage] += own

        setattr(owner, name, call)


def scan(catalog: str, spec: str, folder: Path) -> dict[str, Any]:
    """A timed scan, with the CPU seconds of its stages, after another one in the same process."""
    from minescale.cube import compose
    from minescale.engine import task
    from minescale.engine.context import settle
    from minescale.kernels import masking
    from minescale.sources import handles, inflate, placement
    from minescale.sources.reader import Reader
    from minescale.store.mosaic import Mosaic

    plan = plan_of(catalog, spec)
    first = process_all(plan, folder / "first")
    close_files()
    settle()  # as a worker process does when it has loaded a run
    meter = StageMeter()
    meter.watch(handles.Image, "_load", "decode")
    meter.watch(inflate.Inflater, "fetch", "decode")
    meter.watch(inflate.Inflater, "inflate", "decode")
    meter.watch(handles.Image, "read", "reuse")
    meter.watch(handles, "_open", "open")
    meter.watch(placement.Placement, "put", "place")
    meter.watch(placement.Geometry, "_once", "geometry")
    meter.watch(Reader, "_read_layer", "read, rest")
    meter.watch(Reader, "start", "read, rest")
    for name in ("median", "geomedian", "medoid"):
        meter.watch(compose.kernels, name, "composite")
    for name in ("clear_count", "observed", "dilate", "clear_per_layer"):
        meter.watch(masking, name, "mask")
    meter.watch(task, "begin", "composite, rest")
    meter.watch(task.Composing, "finish", "composite, rest")
    meter.watch(task, "predict_tile", "model")
    meter.watch(Mosaic, "write_tile", "write")
    meter.watch(task, "process_tile", "tile, rest")

    totals: dict[str, Any] = process_all(plan, folder / "second")
    stages = dict(meter.seconds)
    stages["other"] = totals["cpu_s"] - sum(stages.values())
    return {**totals, "stages": stages, "first_cpu_s": first["cpu_s"], "first_wall_s": first["wall_s"]}


def scan_on_workers(catalog: str, spec: str, folder: Path) -> dict[str, float]:
    """A timed scan by a Dask worker process per core, after another one on the same workers."""
    import dask
    from distributed import Client, LocalCluster

    from minescale.engine.cluster import OWN_CLUSTER
    from minescale.engine.run import run_plan
    from minescale.planning.run_dir import RunDir

    workers = os.cpu_count() or 1
    with (
        dask.config.set(OWN_CLUSTER),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=40,
            preload=["minescale.engine.worker_setup"],
        ) as cluster,
        Client(cluster) as client,
    ):
        plan = plan_of(catalog, spec, cluster.scheduler_address)
        for name in ("first", "second"):
            client.run(close_files)
            out = RunDir(str(folder / name))
            out.save_plan(plan)
            wall = time.perf_counter()
            report = run_plan(plan, out)
            wall = time.perf_counter() - wall
    return {"wall_s": wall, "cpu_s": report.cpu_seconds, "bytes": report.bytes_read, "workers": workers}


@contextmanager
def transports(region: Any) -> Iterator[dict[str, str]]:
    """Catalogue address by transport."""
    folder = Path(region.catalog).parent
    with Server(folder, DELAYS_MS[0] / 1000) as near, Server(folder, DELAYS_MS[1] / 1000) as far:
        name = Path(region.catalog).name
        yield {
            "file": str(region.catalog),
            f"http {DELAYS_MS[0]} ms": near.url(name),
            f"http {DELAYS_MS[1]} ms": far.url(name),
        }


def child(task: dict[str, Any]) -> dict[str, Any]:
    if task["what"] in DECODERS:
        from minescale.config import ReadConfig
        from minescale.sources.handles import is_local

        threads = (os.cpu_count() or 1) + 1 if is_local(task["catalog"]) else ReadConfig().threads
        return floor(task["what"], json.loads(Path(task["windows"]).read_text()), threads)
    with tempfile.TemporaryDirectory() as folder:
        work = {"record": record, "scan": scan, "workers": scan_on_workers}[task["what"]]
        return work(task["catalog"], task["region"], Path(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--region", default="DEMO", help="DEMO or SMALL")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to keep the raw figures")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        tell(child(args.child))
        return
    from minescale import synthetic

    decoders = [name for name in DECODERS if name != "tifffile" or _installed("tifffile", "imagecodecs")]
    region = synthetic.ensure_region(getattr(synthetic, args.region))
    results: dict[str, Any] = {"region": args.region, "runs": defaultdict(list)}
    with transports(region) as catalogs, tempfile.TemporaryDirectory() as folder:
        for transport, catalog in catalogs.items():
            task = {"what": "record", "catalog": catalog, "region": args.region}
            noted = run(__file__, "--child", json.dumps(task))
            file = Path(folder) / f"{transport}.json"
            file.write_text(json.dumps(noted.pop("windows")))
            results.setdefault("amplification", noted)
        for number in range(args.rounds):
            for transport, catalog in catalogs.items():
                for what in ("scan", "workers", *decoders):
                    if what == "tifffile" and transport != "file":
                        continue
                    task = {"what": what, "catalog": catalog, "region": args.region}
                    task["windows"] = str(Path(folder) / f"{transport}.json")
                    results["runs"][f"{what} {transport}"].append(run(__file__, "--child", json.dumps(task)))
            print(f"round {number + 1} done", file=sys.stderr, flush=True)
            if args.json:
                args.json.parent.mkdir(parents=True, exist_ok=True)
                args.json.write_text(json.dumps(results, indent=1) + "\n")
    report(results)


def _installed(*names: str) -> bool:
    from importlib.util import find_spec

    return all(find_spec(name) for name in names)


def report(results: dict[str, Any]) -> None:
    noted, runs = results["amplification"], results["runs"]
    print(
        f"read {noted['bytes'] / 1e6:.0f} MB: {noted['bytes'] / noted['unique_bytes']:.2f} x its distinct blocks"
        f" ({noted['touched_bytes'] / noted['unique_bytes']:.2f} x without reuse)"
    )
    for name, values in runs.items():
        print(f"{name:<22} wall {_spread(values, 'wall_s')} s, cpu {_spread(values, 'cpu_s')} s")
    scans = runs["scan file"]
    outside = [run["cpu_s"] - run["stages"]["model"] for run in scans]
    for decoder in DECODERS:
        if base := [run["cpu_s"] for run in runs.get(f"{decoder} file", ())]:
            ratios = sorted(value / other for value, other in zip(outside, base, strict=True))
            found = f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"
            print(f"CPU outside the model / decode by {decoder}: {found}")
    whole = statistics.median(run["cpu_s"] for run in scans)
    shares = {name: statistics.median(run["stages"].get(name, 0.0) for run in scans) for name in scans[0]["stages"]}
    print("stages: " + ", ".join(f"{name} {value / whole:.1%}" for name, value in sorted(shares.items(), key=_largest)))
    for name, who in (("scan", "one process"), ("workers", "a Dask worker per core")):
        far, near = (runs[f"{name} http {ms} ms"] for ms in reversed(DELAYS_MS))
        ratio = sorted(a["wall_s"] / b["wall_s"] for a, b in zip(far, near, strict=True))
        found = f"{statistics.median(ratio):.2f} [{ratio[0]:.2f}, {ratio[-1]:.2f}]"
        print(f"{DELAYS_MS[1]} ms before every answer, {who}: wall x {found}")
    read = [run["bytes"] / noted["unique_bytes"] for run in runs["workers file"]]
    print(f"workers read {statistics.median(read):.2f} x the distinct blocks")


def _largest(item: tuple[str, float]) -> float:
    return -item[1]


def _spread(values: list[dict[str, Any]], key: str) -> str:
    found = [value[key] for value in values]
    return f"{statistics.median(found):.1f} [{min(found):.1f}, {max(found):.1f}]"


if __name__ == "__main__":
    main()
