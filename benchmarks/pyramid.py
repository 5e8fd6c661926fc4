"""Recall first: what the calibrated screen misses of the true mines, and what it saves, on regions it never saw.

    python benchmarks/pyramid.py --json benchmarks/results/pyramid.json

First, regions of different mine density, one run each with the cheap index model behind the screen of `demo`: the
calibrated threshold, and thresholds that would just reach a stated recall (chosen with the truth, so no scan could),
each beside the flat scan. Recall is the share of true mine area in tiles that ran at 10 m; the regions are synthetic,
so it is no evidence of skill.

Then forced shares of survivors over 82 x 82 km of 256 tiles, made from the last seed: over 81 tiles the opening of
files is a third of a pyramid's time. The area is whole coarse tiles, as nearly all of a country's are. A threshold
forces the share, so that tiles lie where the screen's scores are highest, clustered or scattered as real scores are.
Scores come in steps, so not every share can be had: taken is the step that keeps most tiles and at most the share
asked, rounded up to a whole tile (13 of 256 for 5 %). The small shares run twice, in the same rounds: without an audit
of pruned tiles, which is what survivors cost, and with the audit that a scan has by default. Half of the area is of
another UTM zone and is warped: there a tile of 512 px meets four source blocks instead of one, and what a refined pixel
reads is shown by zone. The flat scan and the small shares run in interleaved rounds; shares above a quarter only in the
first, to show that the plan would turn to the flat scan. *Flat* is what the plan runs without a pyramid, tiles of 1024
px; the blocks it needs are counted once over all workers, so that what several workers read twice can be told. Figures
are wall, CPU and bytes of the run itself, fills included; planning is left out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import blocks_met
import numpy as np
import psutil
import rasterio
from rasterio.warp import Resampling, reproject

SEEDS, SHARES = (7, 101, 102), (0.007, 0.0008, 0.0003)
RECALLS = (0.95, 0.99, 1.0)
FORCED = (0.05, 0.2, 0.5, 1.0)
OFTEN = 0.25
"""Forced shares up to this one run in every round."""
SMALL_SHARE = 0.1
"""Forced shares up to this one run without an audit as well."""
SWEEP_PX = 8192
TRIM = 0.01
"""Degrees left out at the east and south, where the region reaches into further coarse tiles."""
MARGIN = 0.006
"""Degrees left out at the west and north, as first tiles of a model with a halo begin that much inside a block."""
AUDIT = {"pyramid.audit_min": 1}
"""For the regions of 81 tiles: the default of 4 audits would be 5 %, as many as a few survivors; of a country they are
nothing."""
NO_AUDIT = {"pyramid.audit": 0.0, "pyramid.audit_min": 0}


def truth_on(grid: Any, raster: Path, date_index: int) -> np.ndarray:
    """True mines opened by a date, (y, x) on the mosaic's grid."""
    with rasterio.open(raster) as source:
        opened = source.read(1)
        target = np.zeros(grid.shape, np.uint8)
        reproject(
            opened,
            target,
            src_transform=source.transform,
            src_crs=source.crs,
            dst_transform=grid.geobox.affine,
            dst_crs=grid.crs,
            resampling=Resampling.nearest,
        )
    return (target > 0) & (target <= date_index)


class Bench:
    """Runs plans of one region on one warm cluster."""

    def __init__(
        self, region: Any, address: str, folder: Path, bbox: Any = None, audit: dict[str, float] | None = None
    ) -> None:
        self.region, self.address, self.folder, self.audit = region, address, folder, audit or {}
        self.bbox = bbox or region.bbox
        self.runs = 0

    def plan(self, model: str, mode: str, **settings: Any) -> Any:
        from minescale import api
        from minescale.config import load_config

        region = self.region
        wanted = api.request(catalog=str(region.catalog), bbox=self.bbox, datetime=region.period, model=model)
        asked = {"engine.cluster": self.address, "pyramid.mode": mode, **self.audit, **settings}
        return api.plan(wanted, load_config(overrides=asked))

    def run(self, plan: Any) -> tuple[dict[str, float], Any]:
        """Figures of one run, and its ledger."""
        from minescale.engine.run import run_plan
        from minescale.planning.run_dir import RunDir
        from minescale.store.ledger import Ledger

        self.runs += 1
        out = self.folder / f"{self.region.spec.seed}-{self.runs}"
        folder = RunDir(str(out))
        folder.save_plan(plan)
        started = time.perf_counter()
        report = run_plan(plan, folder)
        wall = time.perf_counter() - started
        ledger = Ledger.open(out / "mosaic.zarr", mode="r")
        shutil.rmtree(out)
        coarse = float(np.nansum(ledger.get(1, "bytes_read"))) if plan.is_pyramid else 0.0
        found = {"wall_s": wall, "cpu_s": report.cpu_seconds, "bytes": report.bytes_read, "coarse_bytes": coarse}
        return found, ledger

    def warm(self, model: str) -> None:
        """Compile and load everything once, on every worker."""
        self.run(self.plan(model, "off"))
        self.run(self.plan(model, "on", **{"pyramid.threshold": 1.0}))

    def distinct_bytes(self, plan: Any) -> int:
        """Bytes of the blocks that a plan's tiles need, each counted once, whoever reads it."""
        from distributed import Client

        with Client(self.address) as client:
            client.run(blocks_met.watch)
            self.run(plan)
            met = {block: size for found in client.run(blocks_met.met).values() for block, size in found.items()}
        return sum(met.values())

    def mines(self, plan: Any) -> np.ndarray:
        """True mine pixels per tile, -1 outside the area. A median shows what half of the dates show."""
        truth = truth_on(plan.grid, self.region.truth_raster, (len(self.region.dates) + 1) // 2)
        found = np.full(plan.index(0).inside.shape, -1, np.int64)
        for key in plan.index(0).keys():  # noqa: SIM118 - not a mapping
            found[key.y, key.x] = truth[plan.grid.window(key)].sum()
        return found


def shares(ledger: Any, mines: np.ndarray) -> dict[str, float]:
    from minescale.store.ledger import TileState

    state = ledger.get(0, "state")[0]
    fine = (state == TileState.DONE) | (state == TileState.AUDITED)
    inside = mines >= 0
    return {
        "tiles": int(inside.sum()),
        "survivors": float((state == TileState.DONE)[inside].mean()),
        "refined": float(fine[inside].mean()),
        "tiles_with_mines": float((mines[inside] > 0).mean()),
        "recall_of_mine_area": float(mines[fine & inside].sum() / max(mines[inside].sum(), 1)),
    }


def threshold_for(scores: np.ndarray, weight: np.ndarray, share: float) -> float:
    """The highest threshold that keeps ``share`` of the weight; scores come in steps of 0.004."""
    order = np.argsort(-scores, kind="stable")
    held = np.cumsum(weight[order]) / weight.sum()
    return max(float(scores[order][np.searchsorted(held, share - 1e-9)]) - 0.002, 0.0005)


def one_region(bench: Bench, model: str) -> dict[str, Any]:
    flat, _ = bench.run(bench.plan(model, "off"))
    plan = bench.plan(model, "on")
    calibrated, ledger = bench.run(plan)
    mines = bench.mines(plan)
    calibrated |= {"threshold": plan.keep_threshold, **shares(ledger, mines)}
    scores, inside = ledger.get(0, "score")[0], mines >= 0
    rows = []
    for recall in RECALLS:
        threshold = threshold_for(scores[inside], mines[inside].astype(float), recall)
        figures, other = bench.run(bench.plan(model, "on", **{"pyramid.threshold": threshold}))
        rows.append({"asked": recall, "threshold": threshold, **figures, **shares(other, mines)})
    return {"flat": flat, "calibrated": calibrated, "recall": rows}


def sweep(bench: Bench, model: str, forced: list[float], rounds: int) -> dict[str, Any]:
    """Forced shares of tiles at 10 m beside the flat scan, rounds interleaved.

    The run that shows the scores and the one that counts blocks warm the workers up.
    """
    plan = bench.plan(model, "on", **{"pyramid.threshold": 1.0})
    _, ledger = bench.run(plan)
    inside = plan.index(0).inside
    scores = ledger.get(0, "score")[0][inside]
    plans = {"flat": bench.plan(model, "off")}
    distinct = bench.distinct_bytes(plans["flat"])
    chosen, often = {}, {"flat"}
    for share in forced:
        threshold = {"pyramid.threshold": forcing(scores, share)}
        expected = float((scores >= threshold["pyramid.threshold"]).mean())
        for name, audit in ((f"{share:g} without audit", NO_AUDIT), (f"{share:g}", {})):
            if audit and share > SMALL_SHARE:
                continue
            plans[name] = bench.plan(model, "on", **threshold, **audit)
            auto = bench.plan(model, "auto", **threshold, **audit, **{"pyramid.survivors": expected})
            chosen[name] = {"pyramid": auto.is_pyramid, "reason": auto.pyramid_reason}
            often |= {name} if share <= OFTEN else set()
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in plans}
    for number in range(rounds):
        for name, wanted in plans.items():
            if number and name not in often:
                continue
            figures, other = bench.run(wanted)
            found: dict[str, Any] = {**figures, "zones": zones(wanted, other)}
            if wanted.is_pyramid:
                state = shares(other, np.where(inside, 0, -1))
                found |= {"survivors": state["survivors"], "refined": state["refined"]}
            runs[name].append(found)
    dearer = {name: per_pixel(runs["flat"][0], runs[name][0]) for name in chosen}
    return {
        "tiles": int(inside.sum()),
        "distinct_bytes": distinct,
        "runs": runs,
        "chosen": chosen,
        "bytes_per_pixel": dearer,
    }


def forcing(scores: np.ndarray, share: float) -> float:
    """The threshold that keeps most tiles, and no more than ``share`` of them rounded up to a whole tile.

    Scores come in steps, and many tiles share the highest: where those are more already, they are kept.
    """
    most = int(np.ceil(share * scores.size - 1e-9))
    steps = np.unique(scores[scores > 0])
    fitting = [step for step in steps if np.count_nonzero(scores >= step) <= most]
    return float(min(fitting, default=steps[-1])) - 0.002


def zones(plan: Any, ledger: Any) -> dict[str, dict[str, float]]:
    """Tiles that ran at 10 m and their bytes, by the zone of the scenes over them: the mosaic's, another, or both."""
    from minescale.store.ledger import TileState

    index, (state,), (read,) = plan.index(0), ledger.get(0, "state"), ledger.get(0, "bytes_read")
    found: dict[str, dict[str, float]] = {}
    for key in index.keys():  # noqa: SIM118 - not a mapping
        if state[key.y, key.x] not in (TileState.DONE, TileState.AUDITED):
            continue
        own = {plan.scenes[i].crs == plan.grid.crs for i in index.scenes(key, plan.periods[0])}
        name = "both" if len(own) > 1 else "own" if own == {True} else "other"
        entry = found.setdefault(name, {"px": 0.0, "bytes": 0.0})
        entry["px"] += plan.grid.tile_size**2
        entry["bytes"] += float(read[key.y, key.x])
    return found


def per_pixel(flat: dict[str, Any], run: dict[str, Any]) -> dict[str, float]:
    """Bytes for a pixel at 10 m over the flat scan's, by zone."""
    both = [name for name in ("own", "other", "both") if name in run["zones"] and name in flat["zones"]]
    cost = {
        name: [found["zones"][name]["bytes"] / found["zones"][name]["px"] for found in (run, flat)] for name in both
    }
    return {name: ours / theirs for name, (ours, theirs) in cost.items()}


def with_screen(folder: Path) -> str:
    """A package of the index model with the demo's screen: no halo, hardly any model time."""
    from minescale.models.package import BUILTIN

    package = folder / "index-with-screen"
    shutil.copytree(BUILTIN / "baseline", package)
    shutil.copytree(BUILTIN / "demo" / "screen", package / "screen")
    return str(package)


def show_region(found: dict[str, Any]) -> None:
    flat = found["flat"]
    print(f"seed {found['seed']}, mines {found['mine_share']:.2%}:")
    for run in (found["calibrated"], *found["recall"]):
        print(
            f"  threshold {run['threshold']:.3f}: recall {run['recall_of_mine_area']:.4f}, survivors"
            f" {run['survivors']:.0%} (hold a mine: {run['tiles_with_mines']:.0%}), coarse"
            f" {run['coarse_bytes'] / flat['bytes']:.1%} of flat's bytes; flat/pyramid bytes"
            f" {flat['bytes'] / run['bytes']:.2f}, wall {flat['wall_s'] / run['wall_s']:.2f},"
            f" cpu {flat['cpu_s'] / run['cpu_s']:.2f}",
            flush=True,
        )


def show_sweep(model: str, found: dict[str, Any]) -> None:
    flat = found["runs"]["flat"]
    amplified = np.median([run["bytes"] for run in flat]) / found["distinct_bytes"]
    print(f"{model}: the flat scan reads {amplified:.2f} x its distinct blocks")
    for name, choice in found["chosen"].items():
        runs = found["runs"][name]
        # The large shares run in fewer rounds than the flat scan.
        ratio = {
            key: np.median([f[key] / r[key] for f, r in zip(flat, runs, strict=False)])
            for key in ("bytes", "wall_s", "cpu_s")
        }
        zones = ", ".join(f"{zone} {times:.1f} x" for zone, times in found["bytes_per_pixel"][name].items())
        print(
            f"{model}, {runs[0]['refined']:.1%} at 10 m ({runs[0]['survivors']:.1%} survivors): flat/pyramid bytes"
            f" {ratio['bytes']:.2f}, wall {ratio['wall_s']:.2f}, cpu {ratio['cpu_s']:.2f}; coarse"
            f" {runs[0]['coarse_bytes'] / flat[0]['bytes']:.1%} of flat's bytes; a refined pixel's bytes: {zones};"
            f" the plan would choose {'the pyramid' if choice['pyramid'] else 'flat'} ({choice['reason']})",
            flush=True,
        )


def main() -> None:
    import dask
    from distributed import Client, LocalCluster

    from minescale.engine.cluster import OWN_CLUSTER
    from minescale.synthetic import DEMO, ensure_region

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS), help="regions like DEMO with these seeds")
    parser.add_argument("--mine-share", type=float, nargs="*", default=list(SHARES), help="one share for each seed")
    parser.add_argument("--size", type=int, default=DEMO.width_px, help="edge of the regions, pixels")
    parser.add_argument("--forced", type=float, nargs="*", default=list(FORCED), help="shares of survivors to force")
    parser.add_argument("--sweep-size", type=int, default=SWEEP_PX, help="edge of the region for forced shares, pixels")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of the forced shares")
    parser.add_argument("--unet-rounds", type=int, default=1, help="the same for the U-Net, whose flat scan takes long")
    parser.add_argument("--regions", action=argparse.BooleanOptionalAction, default=True, help="the regions' recall")
    parser.add_argument("--fine", choices=("index", "unet"), nargs="*", default=["index", "unet"])
    parser.add_argument("--json", type=Path, help="where to keep the figures; a part that is not run stays as it is")
    args = parser.parse_args()
    workers = psutil.cpu_count() or 1
    with (
        dask.config.set(OWN_CLUSTER),
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=40) as cluster,
        Client(cluster),
        tempfile.TemporaryDirectory() as folder,
    ):
        models = {"index": with_screen(Path(folder)), "unet": "demo"}

        def place(seed: int, share: float, size: int) -> Any:
            spec = replace(DEMO, seed=seed, mine_share=share, width_px=size, height_px=size)
            if spec != DEMO:
                spec = replace(spec, name=f"demo-{seed}")
            return ensure_region(spec)

        found, places = [], list(zip(args.seeds, args.mine_share, strict=True))
        for number, (seed, share) in enumerate(places if args.regions else ()):
            region = Bench(place(seed, share, args.size), cluster.scheduler_address, Path(folder), audit=AUDIT)
            if number == 0:
                region.warm(models["index"])
            found.append({"seed": seed, "mine_share": share, **one_region(region, models["index"])})
            show_region(found[-1])
        swept = {}
        for name in args.fine:
            rounds = args.rounds if name == "index" else args.unet_rounds
            if rounds:
                region = place(*places[-1], args.sweep_size)
                west, south, east, north = region.bbox.as_tuple()
                whole = replace(
                    region.bbox, west=west + MARGIN, south=south + TRIM, east=east - TRIM, north=north - MARGIN
                )
                large = Bench(region, cluster.scheduler_address, Path(folder), whole)
                swept[name] = sweep(large, models[name], args.forced, rounds)
                show_sweep(name, swept[name])
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        stored = json.loads(args.json.read_text()) if args.json.exists() else {"regions": [], "sweep": {}}
        values = {"workers": workers, "regions": found or stored["regions"], "sweep": stored["sweep"] | swept}
        args.json.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
