"""Recall first: what the calibrated screen misses of the true mines, and what it saves, on regions it never saw.

    python benchmarks/pyramid.py --json benchmarks/results/pyramid.json

For each region the flat scan and the pyramid scan of the `demo` package run on one warm cluster. Printed are the
share of the true mine area that lies in pruned tiles (what no fine model can find any more), the share of tiles that
survived beside the share that truly holds a mine, and bytes, wall and CPU against the flat scan. The regions are
synthetic: the recall is no evidence of skill on real ground.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rasterio
from rasterio.warp import Resampling, reproject

TILE = 512


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


def run_mode(region: Any, address: str, mode: str, out: Path) -> dict[str, Any]:
    from minescale import api
    from minescale.config import load_config
    from minescale.engine.run import run_plan
    from minescale.planning.run_dir import RunDir
    from minescale.store.ledger import Ledger, TileState

    settings = {"engine.cluster": address, "pyramid.mode": mode, "grid.tile_size": TILE}
    wanted = api.request(catalog=str(region.catalog), bbox=region.bbox, datetime=region.period, model="demo")
    plan = api.plan(wanted, load_config(overrides=settings))
    folder = RunDir(str(out))
    folder.save_plan(plan)
    started = time.perf_counter()
    report = run_plan(plan, folder)
    wall = time.perf_counter() - started
    state = Ledger.open(out / "mosaic.zarr", mode="r").get(0, "state")[0]
    grid = plan.grid
    mines = truth_on(grid, region.truth_raster, (len(region.dates) + 1) // 2)
    per_tile = np.zeros(state.shape)
    for key in grid.tiles(0):
        per_tile[key.y, key.x] = mines[grid.window(key)].sum()
    inside = state != TileState.OUTSIDE
    fine = (state == TileState.DONE) | (state == TileState.AUDITED)
    kept = state == TileState.DONE
    return {
        "tiles": int(inside.sum()),
        "survivors": float(kept.sum() / inside.sum()),
        "tiles_with_mines": float((per_tile > 0).sum() / inside.sum()),
        "recall_of_mine_area": float(per_tile[fine].sum() / max(per_tile.sum(), 1)),
        "bytes": report.bytes_read,
        "wall_s": wall,
        "cpu_s": report.cpu_seconds,
        "keep_threshold": plan.keep_threshold,
    }


def main() -> None:
    from distributed import Client, LocalCluster

    from minescale.synthetic import DEMO, ensure_region

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[DEMO.seed], help="regions like DEMO with these seeds")
    parser.add_argument("--mine-share", type=float, nargs="*", help="one share for each seed; default: DEMO's")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    shares = args.mine_share or [DEMO.mine_share] * len(args.seeds)
    results = []
    workers = psutil.cpu_count() or 1
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=40) as cluster,
        Client(cluster),
        tempfile.TemporaryDirectory() as folder,
    ):
        for seed, share in zip(args.seeds, shares, strict=True):
            same = seed == DEMO.seed and share == DEMO.mine_share
            spec = DEMO if same else replace(DEMO, name=f"demo-{seed}", seed=seed, mine_share=share)
            region = ensure_region(spec)
            runs = {
                mode: run_mode(region, cluster.scheduler_address, mode, Path(folder) / f"{seed}-{share}-{name}")
                for name, mode in (("warm", "on"), ("flat", "off"), ("pyramid", "on"))
            }
            flat, pyramid = runs["off"], runs["on"]
            results.append({"seed": seed, "mine_share": share, "flat": flat, "pyramid": pyramid})
            print(
                f"seed {seed}, mines {share:.1%}: recall {pyramid['recall_of_mine_area']:.4f} at"
                f" {pyramid['survivors']:.0%} survivors ({pyramid['tiles_with_mines']:.0%} of tiles hold a mine);"
                f" flat/pyramid: bytes {flat['bytes'] / pyramid['bytes']:.2f}x,"
                f" wall {flat['wall_s'] / pyramid['wall_s']:.2f}x, cpu {flat['cpu_s'] / pyramid['cpu_s']:.2f}x",
                flush=True,
            )
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"tile_px": TILE, "workers": workers, "runs": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
