"""Synthetic regions as composites and labels, through the same search, reader and compositor as a scan."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from minescale.cube.compose import compose
from minescale.grid import MosaicGrid, auto_crs
from minescale.sensors import SENTINEL2_L2A
from minescale.sources.catalogs import search
from minescale.sources.freeze import freeze
from minescale.sources.reader import Reader
from minescale.synthetic import Region, RegionSpec, ensure_region
from minescale.types import physical_bands

FACTOR = 8
TILE = 512
BACKGROUND, MINE, IGNORE = 0, 1, 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One region: composites at 10 m and 80 m, and what is there."""

    name: str
    bbox: tuple[float, float, float, float]
    fine: np.ndarray | None
    """uint16 (band, y, x) at 10 m."""
    coarse: np.ndarray
    """uint16 (channel, y/8, x/8) at 80 m."""
    label: np.ndarray
    """uint8 (y, x) at 10 m: BACKGROUND, MINE (mined on at least half of the dates), IGNORE (mined later)."""

    def mine_share(self, *labels: int) -> np.ndarray:
        """float32 (y/8, x/8): share of each 80 m pixel that has one of ``labels``; default: MINE."""
        rows, cols = self.coarse.shape[1:]
        wanted = np.isin(self.label, labels or (MINE,))
        return wanted.reshape(rows, FACTOR, cols, FACTOR).mean(axis=(1, 3), dtype=np.float32)


def specs(role: str, config: Mapping[str, Any]) -> list[RegionSpec]:
    """The regions of one role, such as ``train`` or ``screen_calibrate``."""
    shared, own = config["regions"], config["regions"][role]
    mine_share = own.get("mine_share", shared["mine_share"])
    out = []
    for i in range(own["count"]):
        # Shares in turn; dates and clouds move on by one after each round of them, so that all of them meet.
        turn = i // len(mine_share)
        dates = own["dates"][(turn if len(mine_share) > 1 else i) % len(own["dates"])]
        out.append(
            RegionSpec(
                name=f"demo-{role}",
                width_px=shared["size_px"],
                height_px=shared["size_px"],
                n_dates=dates,
                step_days=360 // dates // 5 * 5,
                seed=own["first"] + i,
                mine_share=mine_share[i % len(mine_share)],
                cloudiness=shared["cloudiness"][(turn + i if len(mine_share) > 1 else i) % len(shared["cloudiness"])],
            )
        )
    return out


def samples(role: str, config: Mapping[str, Any], bands: Sequence[str], work: Path) -> Iterator[Sample]:
    """Composites of every region of a role, made once and kept in ``work``. The scenes are deleted again."""
    for spec in specs(role, config):
        yield _load(spec, bands, work, fine=not role.startswith("screen"))


def _load(spec: RegionSpec, bands: Sequence[str], work: Path, *, fine: bool) -> Sample:
    channels = hashlib.sha256(" ".join(bands).encode()).hexdigest()[:8]
    path = work / f"{spec.name}-{spec.digest}-{channels}.npz"
    if not path.exists():
        region = ensure_region(spec, work / "scenes")
        sample = _composite(region, bands, fine=fine)
        values = {k: v for k, v in dataclasses.asdict(sample).items() if v is not None}
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **values)
        partial.rename(path)
        shutil.rmtree(region.path)
    with np.load(path) as stored:
        return Sample(
            name=str(stored["name"]),
            bbox=tuple(float(v) for v in stored["bbox"]),
            fine=stored.get("fine"),
            coarse=stored["coarse"],
            label=stored["label"],
        )


def _composite(region: Region, bands: Sequence[str], *, fine: bool) -> Sample:
    grid = MosaicGrid.around(region.bbox, crs=auto_crs(region.bbox), resolution=10, tile_size=TILE, factors=(1, FACTOR))
    with rasterio.open(region.truth_raster) as source:
        truth = source.read(1)
    if truth.shape != grid.shape:
        raise SystemExit(f"truth {truth.shape} does not lie on the grid {grid.shape}")
    found = search(str(region.catalog), bbox=region.bbox, period=region.period)
    scenes = freeze(found, bands=physical_bands(bands)).scenes
    half = (len(region.dates) + 1) // 2
    label = np.where(truth == 0, BACKGROUND, np.where(truth <= half, MINE, IGNORE)).astype(np.uint8)
    reader = Reader()

    def image(level: int) -> np.ndarray:
        return compose(scenes, grid.level_geobox(level), bands, sensor=SENTINEL2_L2A, reader=reader).data

    return Sample(
        name=f"{region.spec.name}-{region.spec.seed}",
        bbox=region.bbox.as_tuple(),
        fine=image(0) if fine else None,
        coarse=image(1),
        label=label,
    )


def provenance(train: Sequence[Sample]) -> dict[str, Any]:
    boxes = np.array([s.bbox for s in train])
    bbox = [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]
    return {
        "data": "minescale.synthetic",
        "split": "by region: training, validation, calibration and test regions share no seed",
        "prevalence": round(float(np.mean([(s.label == MINE).mean() for s in train])), 5),
        "region": "synthetic; no real place",
        "bbox": [round(float(v), 4) for v in bbox],
        "start": "2024-01-01T00:00:00Z",
        "end": "2024-12-31T23:59:59Z",
        "seeds": [int(s.name.rpartition("-")[2]) for s in train],
    }
