"""A training set of many cells against one stackstac call per cell, in one interleaved run: wall, CPU, bytes, memory.

    python benchmarks/dataset.py --cells 100 1000 --rounds 1 --json benchmarks/results/dataset.json

Cells are windows of 256 x 256 pixels strewn over a synthetic region with a fixed seed. Every variant gets the same
windows, reads the same scenes, masks clouds by SCL (no dilation), takes the median of the clear looks, harmonises both
radiometric baselines and writes one GeoTIFF per cell. The rival is written as stackstac's documentation shows it: the
items that meet the cell, `stackstac.stack` with bounds, EPSG code and resolution, a mask, `median("time")`, compute; in
its default float64 and in uint16. It is spared a catalogue search per cell. Each variant runs in a fresh process with a
Dask cluster of the same workers, warm before the clock starts.

Figures count only if cells agree: every pixel of cells that no scene of another zone reaches is equal. (Where one does,
GDAL places pixels to an eighth of a pixel; `idioms.py` and `referee.py` look at that.) The run ends with an error where
one does not. Our variant also runs with each smaller number of cells, to show what memory does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from children import run, tell
from idioms import ASSETS, BANDS, CLEAR_CLASSES, Meter, _median, _offset

SEED = 5


@dataclass(frozen=True)
class Case:
    """What every variant is given."""

    region: str
    cells: int
    size: int
    workers: int
    period: str = ""
    """Of the looks; empty: all of the region's."""


def region_of(case: Case) -> Any:
    from minescale import synthetic

    return synthetic.ensure_region(getattr(synthetic, case.region))


def places(case: Case) -> pd.DataFrame:
    """Middles of the cells, far enough from the region's edge; the first ``n`` of more are the same."""
    west, south, east, north = region_of(case).bbox.as_tuple()
    margin = case.size * 10 / 111_000 * 0.55
    draw = np.random.default_rng(SEED).uniform(size=(case.cells, 2))
    return pd.DataFrame(
        {
            "id": [f"c{i:05d}" for i in range(case.cells)],
            "lon": west + margin + draw[:, 0] * (east - west - 2 * margin),
            "lat": south + margin + draw[:, 1] * (north - south - 2 * margin),
        }
    )


def request(case: Case) -> Any:
    from minescale.labels.imagery.extract_plan import ExtractRequest

    made = region_of(case)
    return ExtractRequest(
        catalog=str(made.catalog),
        datetime=case.period or str(made.period),
        bands=BANDS,
        side_m=case.size * 10.0,
        name="benchmark",
        min_valid=0.0,  # the rival leaves no blank cell out
    )


def settings() -> dict[str, Any]:
    return {"mask.dilate_m": 0}


def windows(case: Case) -> Any:
    """The windows that minescale lays; everyone else is given the same."""
    from minescale.config import load_config
    from minescale.labels.imagery.extract_plan import find_scenes, make_plan

    table, wanted = places(case), request(case)
    return make_plan(table, find_scenes(table, wanted), wanted, load_config(overrides=settings())).windows


def minescale(case: Case, out: str) -> None:
    from distributed import get_client

    from minescale.config import load_config
    from minescale.labels.imagery.extract import extract

    config = load_config(overrides={**settings(), "engine.cluster": get_client().scheduler.address})
    report = extract(places(case), request(case), out, config=config)
    assert report.finished, report.failed


def stackstac_default(case: Case, out: str) -> None:
    _stackstac(case, out)


def stackstac_tuned(case: Case, out: str) -> None:
    _stackstac(case, out, dtype=np.dtype("uint16"), fill_value=np.uint16(0), rescale=False)


def _stackstac(case: Case, out: str, **options: Any) -> None:
    import rioxarray  # noqa: F401
    import stackstac
    import xarray as xr
    from rasterio.enums import Resampling
    from shapely.geometry import box, shape

    items = _items(case)
    footprints = [shape(item.geometry) for item in items]
    laid = windows(case)
    bounds = laid.bounds()
    folder = Path(out) / "images"
    folder.mkdir(parents=True)
    nodata = 0 if options else np.nan
    for i, name in enumerate(laid.ids):
        here = [item for item, outline in zip(items, footprints, strict=True) if outline.intersects(box(*bounds[i]))]
        geobox = laid.geobox(i)
        stack = stackstac.stack(
            [_plain(item) for item in here],
            assets=[*ASSETS.values(), "SCL"],
            epsg=geobox.crs.to_epsg(),
            resolution=laid.pixel,
            bounds=tuple(geobox.boundingbox),
            snap_bounds=False,
            resampling=Resampling.nearest,
            xy_coords="center",
            **options,
        )
        days = xr.DataArray([str(t)[:10] for t in stack.time.to_numpy()], dims="time", coords={"time": stack.time})
        stack = stack.drop_vars([c for c in stack.coords if c not in stack.dims])
        # One look per day: neighbouring tiles of one pass overlap and must not count twice.
        daily = stack.groupby(days.rename("day")).map(lambda part: stackstac.mosaic(part, nodata=nodata))
        daily = daily.rename(day="time")
        offsets = {str(item.datetime.date()): _offset(item) for item in here}
        shift = xr.DataArray([offsets[str(t)] for t in daily.time.to_numpy()], dims="time", coords={"time": daily.time})
        clear = daily.sel(band="SCL").isin(CLEAR_CLASSES).drop_vars("band")
        median = _median(daily.sel(band=list(ASSETS.values())), clear, shift)
        image = np.floor(median + 0.5).fillna(0).astype("uint16").compute()
        image.attrs = {}
        image.rio.write_crs(geobox.crs.to_wkt()).rio.to_raster(folder / f"{name}.tif", compress="deflate")


def _items(case: Case) -> list[Any]:
    import pystac

    from minescale.types import Period

    made = region_of(case)
    span = Period.parse(case.period or str(made.period))
    catalog = pystac.Catalog.from_file(str(made.catalog))
    items = [item for item in catalog.get_items(recursive=True) if span.contains(item.datetime)]
    for item in items:
        item.make_asset_hrefs_absolute()
    return sorted(items, key=lambda item: (item.datetime, item.id))


def _plain(item: Any) -> dict[str, Any]:
    values = item.to_dict()
    code = values["properties"].get("proj:code") or f"EPSG:{values['properties']['proj:epsg']}"
    values["properties"]["proj:epsg"] = int(code.split(":")[1])
    return values


VARIANTS: dict[str, Callable[[Case, str], None]] = {
    "stackstac default": stackstac_default,
    "stackstac uint16": stackstac_tuned,
    "minescale": minescale,
}
OURS = "minescale"


def run_one(variant: str, case: Case, out: str) -> dict[str, float]:
    """Run in this process: warm cluster and JIT on three cells, then measure all."""
    from dataclasses import replace

    import dask
    from distributed import Client, LocalCluster

    with (
        # As in clusters that minescale starts: the profiler's call trees would look like memory of cells.
        dask.config.set({"distributed.worker.profile.enabled": False}),
        LocalCluster(n_workers=case.workers, threads_per_worker=1, dashboard_address=None, silence_logs=40) as cluster,
        Client(cluster),
    ):
        VARIANTS[variant](replace(case, cells=3 * case.workers), out + "-warm")
        with Meter() as meter:
            VARIANTS[variant](case, out)
    return {"wall_s": meter.wall, "cpu_s": meter.cpu, "bytes": float(meter.read), "peak_rss": float(meter.peak)}


def agreement(case: Case, ours: str, other: str) -> dict[str, float]:
    """Shares of equal pixels: of cells on the scenes' own grid, and of those that a scene of another zone reaches.

    ``near``: of the latter, what lies within our values of the pixel and its eight neighbours.
    """
    import rasterio
    from scipy.ndimage import maximum_filter, minimum_filter
    from shapely.geometry import box, shape

    laid = windows(case)
    items = [(shape(item.geometry), _plain(item)["properties"]["proj:epsg"]) for item in _items(case)]
    bounds = laid.bounds()
    same, total = {True: 0, False: 0}, {True: 0, False: 0}
    cells = {True: 0, False: 0}
    near = 0
    for i, name in enumerate(laid.ids):
        epsg = laid.geobox(i).crs.to_epsg()
        own = all(code == epsg for outline, code in items if outline.intersects(box(*bounds[i])))
        with rasterio.open(f"{ours}/images/{name}.tif") as a, rasterio.open(f"{other}/images/{name}.tif") as b:
            assert a.transform == b.transform
            mine, theirs = a.read(range(1, len(BANDS) + 1)), b.read()
        equal = mine == theirs
        if not own:
            around = (1, 3, 3)
            near += int(((theirs >= minimum_filter(mine, around)) & (theirs <= maximum_filter(mine, around))).sum())
        same[own] += int(equal.sum())
        total[own] += equal.size
        cells[own] += 1
    return {
        "own_grid": same[True] / total[True] if total[True] else 1.0,
        "own_cells": cells[True],
        "warped": same[False] / total[False] if total[False] else 1.0,
        "near": near / total[False] if total[False] else 1.0,
        "warped_cells": cells[False],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--region", default="DEMO", help="DEMO or SMALL")
    parser.add_argument("--cells", type=int, nargs="+", default=[100, 1000], help="the last number is everybody's")
    parser.add_argument("--size", type=int, default=256, help="pixels along a cell's edge")
    parser.add_argument("--datetime", default="", help="A/B; default: all dates of the region")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=psutil.cpu_count() or 1)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--quick", action="store_true", help="a few cells of the small region")
    parser.add_argument("--json", type=Path, help="where to keep the raw figures")
    parser.add_argument("--child", nargs=3, metavar=("VARIANT", "CASE", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        variant, values, out = args.child
        tell(run_one(variant, Case(**json.loads(values)), out))
        return
    if args.quick:
        args.region, args.cells, args.size, args.workers = "SMALL", [4, 8], 128, 1
        args.variants = ["stackstac uint16", OURS]
    case = Case(args.region, args.cells[-1], args.size, args.workers, args.datetime)
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in args.variants}
    fewer: dict[str, list[dict[str, float]]] = {str(n): [] for n in args.cells[:-1]}
    shares: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds):
            for variant in args.variants:
                out = f"{folder}/{variant.replace(' ', '-')}-{number}"
                figures[variant].append(run(__file__, "--child", variant, json.dumps(asdict(case)), out))
                print(f"round {number + 1} {variant}: {figures[variant][-1]}", flush=True)
            for n in args.cells[:-1]:
                small = json.dumps({**asdict(case), "cells": n})
                fewer[str(n)].append(run(__file__, "--child", OURS, small, f"{folder}/{n}-{number}"))
                print(f"round {number + 1} minescale, {n} cells: {fewer[str(n)][-1]}", flush=True)
        if OURS in args.variants:
            ours = f"{folder}/{OURS}-0"
            for variant in args.variants:
                if variant != OURS:
                    shares[variant] = agreement(case, ours, f"{folder}/{variant.replace(' ', '-')}-0")
    report(case, figures, fewer, shares, args.json)


def report(
    case: Case,
    figures: dict[str, list[dict[str, float]]],
    fewer: dict[str, list[dict[str, float]]],
    shares: dict[str, dict[str, float]],
    file: Path | None,
) -> None:
    def middle(runs: list[dict[str, float]], name: str) -> float:
        return statistics.median(one[name] for one in runs)

    print(f"\n{case.cells} cells of {case.size} x {case.size} px, {case.workers} workers, median of rounds")
    print(f"{'variant':<19}{'wall s':>9}{'cpu s':>9}{'MB read':>9}{'peak MB':>9}", end="")
    print(f"{'wall x':>8}{'own grid':>10}{'warped':>9}{'near':>9}")
    for name, runs in figures.items():
        ratio = middle(runs, "wall_s") / middle(figures[OURS], "wall_s") if OURS in figures else float("nan")
        share = shares.get(name, {})
        print(
            f"{name:<19}{middle(runs, 'wall_s'):>9.1f}{middle(runs, 'cpu_s'):>9.1f}{middle(runs, 'bytes') / 1e6:>9.0f}"
            f"{middle(runs, 'peak_rss') / 1e6:>9.0f}{ratio:>8.1f}"
            f"{share.get('own_grid', 1):>10.6f}{share.get('warped', 1):>9.5f}{share.get('near', 1):>9.5f}"
        )
    for n, runs in fewer.items():
        print(f"minescale, {n} cells: {middle(runs, 'wall_s'):.1f} s, peak {middle(runs, 'peak_rss') / 1e6:.0f} MB")
    if file:
        values = {"case": asdict(case), "runs": figures, "fewer": fewer, "agreement": shares}
        file.write_text(json.dumps(values, indent=1))
    wrong = {name: share for name, share in shares.items() if share["own_grid"] < 1}
    if wrong:
        raise SystemExit(f"pixels differ where nothing is warped: {wrong}")


if __name__ == "__main__":
    main()
