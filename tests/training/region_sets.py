"""Small sets that are cut out of a synthetic region as real ones are, labelled by its mines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import shapely

from minescale.config import load_config
from minescale.labels.imagery.extract import extract
from minescale.labels.imagery.extract_plan import ExtractRequest
from minescale.labels.sets.classes import ClassMap
from minescale.labels.sets.dataset import ArrayReader, Dataset
from minescale.labels.sets.folder import open_folder
from minescale.labels.shapes.vectors import read_polygons
from minescale.synthetic import Region

SIDE = 64
"""Pixels of 10 m along a window."""
STRIPS = 6
"""Places, from west to east; windows of one are never in two parts."""
CELLS = 12


def extracted(region: Region, folder: Path, period: str) -> Dataset:
    """Windows with mines, and as many without, with masks, from the clear looks of a period."""
    mines = read_polygons(region.truth_polygons, epoch=region.dates[-1].year)
    request = ExtractRequest(
        catalog=str(region.catalog),
        datetime=period,
        bands=region.spec.bands,
        side_m=SIDE * 10.0,
        label_epoch=mines.epoch,
        max_epoch_gap=0,
        name=f"windows of the region {region.spec.name}",
        licence="CC0-1.0",
    )
    config = load_config(overrides={"engine.cluster": "inline"})
    shapes = mines.frame.geometry.to_numpy()
    assert extract(_places(region, shapes), request, folder, polygons=mines, config=config).finished
    return _in_memory(open_folder(folder))


def chips(windows: Dataset) -> Dataset:
    """The same images, each labelled as a whole."""
    return replace(windows, reader=replace(windows.reader, masks=None))  # type: ignore[type-var]


def pairs(before: Dataset, after: Dataset) -> Dataset:
    """Both looks at each place that was seen twice, as one image of twice the bands."""
    ids = [set(looks.samples["id"]) for looks in (before, after)]
    before, after = (
        _in_memory(looks.subset(np.flatnonzero(looks.samples["id"].isin(ids[0] & ids[1])))) for looks in (before, after)
    )
    images = np.concatenate([before.reader.images, after.reader.images], axis=1)  # type: ignore[attr-defined]
    bands = tuple(f"t{date}_{band}" for date in (0, 1) for band in after.bands)
    return replace(after, bands=bands, reader=replace(after.reader, images=images))  # type: ignore[type-var]


def three_classes(windows: Dataset) -> Dataset:
    """Mining as class 2; of the rest, the haziest hundredth of each image (its brightest blue) as class 1, cloud."""
    masks = windows.reader.masks.copy()  # type: ignore[attr-defined]
    blue = windows.reader.images[:, windows.bands.index("blue")]  # type: ignore[attr-defined]
    masks[masks == 1] = 2
    masks[(masks == 0) & (blue >= np.quantile(blue, 0.99, axis=(1, 2), keepdims=True))] = 1
    reader = replace(windows.reader, masks=masks)  # type: ignore[type-var]
    return replace(windows, classes=ClassMap(("background", "cloud", "mining")), reader=reader)


def called(windows: Dataset, target: str) -> Dataset:
    """The same classes, mining by another name."""
    return replace(windows, classes=ClassMap(("background", target)))


def _places(region: Region, mines: np.ndarray) -> pd.DataFrame:
    """Cells of a grid that lie clear of each other: all that hold a fair piece of a mine, and as many without any."""
    west, south, east, north = region.bbox.as_tuple()
    x, y = (np.linspace(low, high, CELLS + 2)[1:-1] for low, high in ((west, east), (south, north)))
    lon, lat = (values.ravel() for values in np.meshgrid(x, y))
    half = SIDE * 10 / 2 / 111_000
    ground = shapely.box(lon - half, lat - half, lon + half, lat + half)
    share = shapely.area(shapely.intersection(ground, shapely.union_all(mines))) / shapely.area(ground)
    mined, clear = np.flatnonzero(share > 0.02), np.flatnonzero(share == 0)
    drawn = np.random.default_rng(0).permutation(clear)[: len(mined)]
    chosen = np.sort(np.concatenate([mined, drawn]))
    strip = ((lon[chosen] - west) / (east - west) * STRIPS).astype(int)
    return pd.DataFrame(
        {
            "id": [f"w{cell:03d}" for cell in chosen],
            "site": [f"strip {i}" for i in strip],
            "source": "synthetic region",
            "label": (share[chosen] > 0).astype(int),
            "lon": lon[chosen],
            "lat": lat[chosen],
        }
    )


def _in_memory(dataset: Dataset) -> Dataset:
    rows = range(len(dataset))
    masks = [dataset.reader.mask(row) for row in rows]
    images = np.stack([dataset.reader.image(row) for row in rows])
    return replace(dataset, reader=ArrayReader(images, np.stack([mask for mask in masks if mask is not None])))
