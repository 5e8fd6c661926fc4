"""Measure the surface statistics that ``minescale/synthetic/spectra.py`` holds.

Reads two labelled sets of real Sentinel-2 reflectance from the folder that ``MINESCALE_TEST_DATA`` names and
prints, for each surface, the mean of log reflectance, three principal axes of its spread, what is left per band,
and the share of the variance that lies between places. Only these summary numbers enter the package.

    python benchmarks/measure_spectra.py
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy import ndimage

AXES = 3
TEN = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
CORE = (0, 1, 2, 6, 8, 9)
"""Positions of blue, green, red, nir, swir16, swir22 in TEN."""

Array = NDArray[np.float64]


def describe(name: str, pixels: Array, between: float) -> None:
    """Print one table entry for ``pixels`` (n, band) of reflectance x 1e4."""
    pixels = pixels[(pixels > 20).all(1) & (pixels < 9000).all(1)]
    logs = np.log(pixels)
    low, high = np.percentile(logs, [1, 99], axis=0)
    logs = logs[((logs >= low) & (logs <= high)).all(1)]
    mean, cov = logs.mean(0), np.cov(logs.T)
    values, vectors = np.linalg.eigh(cov)
    order = np.argsort(values)[::-1][:AXES]
    loadings = vectors[:, order] * np.sqrt(values[order])
    loadings *= np.sign(loadings.sum(0))
    left = np.sqrt(np.maximum(np.diag(cov) - (loadings**2).sum(1), 1e-5))
    rows = ", ".join("(" + ", ".join(f"{v:.3f}" for v in row) + ")" for row in loadings)
    print(f"    {name}: n={len(logs)} reflectance={np.exp(mean).round().astype(int).tolist()}")
    print(f"        mean=({', '.join(f'{v:.3f}' for v in mean)}),")
    print(f"        axes=({rows}),")
    print(f"        rest=({', '.join(f'{v:.3f}' for v in left)}), between={between:.2f}")


def between_share(mask: NDArray[np.bool_], cube: Array) -> float:
    """Share of the log variance that lies between chips, mean over bands."""
    means, within = [], []
    for m, c in zip(mask, cube, strict=True):
        if m.sum() > 30:
            logs = np.log(np.maximum(c[m], 20))
            means.append(logs.mean(0))
            within.append(logs.var(0))
    b, w = np.var(means, axis=0), np.mean(within, axis=0)
    return float((b / (b + w)).mean())


def ndi(a: Array, b: Array) -> Array:
    return (a - b) / np.maximum(a + b, 1)


def emergence(folder: Path) -> None:
    """Tropical chips (14 S - 10 N): yearly medians before and after mines appeared."""
    data = np.load(folder / "emergence" / "emergence_pairs_48px.npz", allow_pickle=True)
    tropical = (data["lat"] > -14) & (data["lat"] < 10)
    before, after = (data[k][tropical].astype(float) for k in ("t0", "t1"))
    mining = (data["label"][tropical] == 1)[:, None, None]
    valid = (before > 20).all(-1) & (after > 20).all(-1)
    ndvi0, ndvi1 = (ndi(x[..., 3], x[..., 2]) for x in (before, after))
    wet0, wet1 = (ndi(x[..., 1], x[..., 4]) for x in (before, after))
    both = np.minimum(ndvi0, ndvi1), np.maximum(ndvi0, ndvi1)
    lost = valid & (ndvi0 > 0.65) & (ndvi1 < 0.5)
    cloudy = (after[..., 0] > 3300) | (before[..., 0] > 3300)
    water = valid & (wet0 > 0.05) & (wet1 > 0.05) & (both[1] < 0.3) & ~cloudy
    bare = valid & (both[1] < 0.35) & (np.maximum(wet0, wet1) < -0.15) & ~cloudy
    near_water = np.stack([ndimage.binary_dilation(w, iterations=3) for w in water])
    masks = {
        "forest": (valid & (both[0] > 0.75) & (before[..., 4] < 2200), before),
        "regrowth": (valid & (ndvi0 > 0.72) & (ndvi1 > 0.5) & (ndvi1 < 0.68) & mining & ~cloudy, after),
        "grass": (valid & (both[0] > 0.4) & (both[1] < 0.68) & ~mining & ~cloudy, before),
        "bare": (bare & ~mining & ~near_water, before),
        "sandbar": (bare & near_water, before),
        "river": (water & (before[..., 2] > 600), before),
        "blackwater": (water & (before[..., 2] <= 500), before),
        "pit": (lost & mining & (wet1 < 0) & ~cloudy, after),
        "pond": (lost & mining & (wet1 >= 0) & ~cloudy, after),
        "clearing": (lost & ~mining & (wet1 < -0.1) & ~cloudy, after),
    }
    for name, (mask, cube) in masks.items():
        describe(name, cube[mask], between_share(mask, cube))


def strzegom(folder: Path) -> None:
    """Ten bands with pixel labels: built-up ground and crops, and what the other bands follow from."""
    parts: dict[str, list[Array]] = {"built": [], "crop": []}
    every = []
    for label in sorted((folder / "strzegom" / "labels").glob("*.tif")):
        day = label.stem[:8]
        with rasterio.open(label) as src:
            classes = src.read(1)
        bands = []
        for key in TEN:
            with rasterio.open(folder / "strzegom" / "cogs" / day / f"{key}.tif") as src:
                bands.append(src.read(1).astype(float) - (0 if day < "20220125" else 1000))
        cube = np.stack(bands, -1)
        if day[4:6] in {"02", "03"}:
            continue
        parts["built"].append(cube[classes == 3][:, CORE])
        parts["crop"].append(cube[classes == 9][:, CORE])
        every.append(cube[(classes > 0) & (cube.min(-1) > 50)][::3])
    for name, values in parts.items():
        describe(name, np.concatenate(values), 0.5)
    logs = np.log(np.concatenate(every))
    design = np.column_stack([logs[:, CORE], np.ones(len(logs))])
    for key in ("B05", "B06", "B07", "B8A"):
        target = logs[:, TEN.index(key)]
        solution, *_ = np.linalg.lstsq(design, target, rcond=None)
        left = (target - design @ solution).std()
        print(f"    {key}: ({', '.join(f'{v:.3f}' for v in solution)}), rest={left:.3f}")


if __name__ == "__main__":
    root = Path(os.environ["MINESCALE_TEST_DATA"])
    emergence(root)
    strzegom(root)
