"""Does the recall that `minescale calibrate` states hold on synthetic regions that had no say in it?

    python benchmarks/recall.py --regions 32 --json benchmarks/results/recall.json

Regions share no seed with those of the demo's models. Each is made, composited through the scan's reader, scored by the
demo's screen tile by tile, and deleted. Then half the regions calibrate and the other half is counted, 200 times over.
One region is one site. Tiles are smaller than a scan's (128 px of 10 m), so that a region of a few km has some.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio

FIRST_SEED = 9300
CAP_HA = 5.0


def region_dataset(seed: int, args: argparse.Namespace, bands: tuple[str, ...], work: Path) -> Any:
    """One region as a dataset of one sample: composite at 10 m, and where mines were on half of the dates."""
    from minescale.cube.compose import compose
    from minescale.grid import MosaicGrid, auto_crs
    from minescale.labels.sets.classes import BINARY
    from minescale.labels.sets.dataset import ArrayReader, Dataset
    from minescale.sensors import SENTINEL2_L2A
    from minescale.sources.catalogs import search
    from minescale.sources.freeze import freeze
    from minescale.sources.reader import Reader
    from minescale.synthetic import RegionSpec, ensure_region
    from minescale.types import physical_bands

    spec = RegionSpec(
        name="recall",
        width_px=args.size,
        height_px=args.size,
        n_dates=args.dates,
        step_days=360 // args.dates // 5 * 5,
        seed=seed,
        mine_share=(0.004, 0.008, 0.016)[seed % 3],
    )
    region = ensure_region(spec, work)
    grid = MosaicGrid.around(region.bbox, crs=auto_crs(region.bbox), resolution=10, tile_size=512, factors=(1, 8))
    with rasterio.open(region.truth_raster) as source:
        truth = source.read(1)
    scenes = freeze(
        search(str(region.catalog), bbox=region.bbox, period=region.period), bands=physical_bands(bands)
    ).scenes
    image = compose(scenes, grid.level_geobox(0), bands, sensor=SENTINEL2_L2A, reader=Reader()).data
    shutil.rmtree(region.path)
    mask = ((truth > 0) & (truth <= (len(region.dates) + 1) // 2)).astype(np.uint8)
    return Dataset(
        name=f"region {seed}",
        samples=pd.DataFrame({"id": [f"r{seed}"], "site": [f"r{seed}"], "source": ["synthetic"]}),
        bands=bands,
        classes=BINARY,
        reader=ArrayReader(image[np.newaxis], mask[np.newaxis]),
        units="reflectance x 1e4",
        nodata=0,
        resolution_m=10.0,
        licence="Apache-2.0",
    )


def measure(args: argparse.Namespace) -> dict[str, Any]:
    from minescale.evaluation.screening import TileScores, calibrate_screen, tile_scores
    from minescale.models.package import load_package
    from minescale.models.predictor import load_predictor

    screen = load_package("demo").screen
    assert screen is not None
    found = []
    with tempfile.TemporaryDirectory() as work:
        for i in range(args.regions):
            dataset = region_dataset(FIRST_SEED + i, args, screen.spec.bands, Path(work))
            found.append(tile_scores(load_predictor(screen, "cpu"), dataset, tile_m=1280.0, mine=("mining",)))
            print(f"region {i + 1} of {args.regions}", flush=True)

    def joined(chosen: list[int]) -> Any:
        columns = {
            name: np.concatenate([getattr(found[i], name) for i in chosen])
            for name in ("codes", "hectares", "sites", "part")
        }
        return TileScores(unseen=sum(found[i].unseen for i in chosen), **columns)

    random, half = np.random.default_rng(0), args.regions // 2
    runs = []
    for _ in range(args.resamples):
        order = random.permutation(args.regions).tolist()
        ours, others = joined(order[:half]), joined(order[half:])
        threshold = calibrate_screen(ours, recall=args.recall, cap_ha=CAP_HA).threshold
        kept = others.codes / 250 >= threshold
        runs.append((float(others.hectares[kept].sum() / others.hectares.sum()), float(kept.mean())))
    recalls, kept_shares = (np.array(column) for column in zip(*runs, strict=True))
    return {
        "regions": args.regions,
        "tiles": sum(len(one.codes) for one in found),
        "recall_stated": args.recall,
        "cap_ha": CAP_HA,
        "resamples": args.resamples,
        "held": int((recalls >= args.recall).sum()),
        "recall_lowest": float(recalls.min()),
        "recall_mean": float(recalls.mean()),
        "kept_mean": float(kept_shares.mean()),
        "label": "synthetic, no evidence of skill",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=32)
    parser.add_argument("--size", type=int, default=512, help="pixels of 10 m along the edge of a region")
    parser.add_argument("--dates", type=int, default=6)
    parser.add_argument("--recall", type=float, default=0.9)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--json", type=Path, help="where to keep the figures")
    args = parser.parse_args()
    results = measure(args)
    print(
        f"recall {results['recall_stated']:g} of mine area held in {results['held']} of {results['resamples']}"
        f" resamples (lowest {results['recall_lowest']:.3f}, mean {results['recall_mean']:.3f}),"
        f" {results['kept_mean']:.0%} of tiles kept"
    )
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
