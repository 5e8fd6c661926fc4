"""Small sets to write and read: pixels that tell their sample, masks with holes and pieces, places in a UTM zone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from affine import Affine
from odc.geo.geobox import GeoBox

from minescale.labels.sets.chips import geo_columns
from minescale.labels.sets.classes import BINARY, ClassMap
from minescale.labels.sets.dataset import ArrayReader, Dataset
from minescale.labels.sets.split import Split

BANDS = ("red", "green", "blue", "nir")
PARTS = {"train": ("a", "b"), "val": ("c",), "test": ("d",)}
"""Sites of each part of :func:`split_of`."""


def place_of(row: int, size: int = 24) -> GeoBox:
    """10 m pixels side by side in UTM zone 32 N, near 9 E 45 N."""
    return GeoBox((size, size), Affine(10, 0, 500_000 + row * size * 10, 0, -10, 5_000_000), "EPSG:32632")


def make(
    n: int = 8,
    *,
    size: int = 24,
    bands: tuple[str, ...] = BANDS,
    classes: ClassMap = BINARY,
    placed: bool = True,
    masked: bool = True,
    dtype: str = "uint16",
    nodata: float | None = 0,
    seed: int = 0,
    **columns: Any,
) -> Dataset:
    """``n`` samples of four sites a to d, taken in turn; every class value occurs in the masks but those of row 0."""
    random = np.random.default_rng(seed)
    images = random.integers(1, 255, (n, len(bands), size, size)).astype(dtype)
    if nodata is not None:
        images[:, :, 0, 0] = nodata
    values = [*range(len(classes.names))]
    masks = np.zeros((n, size, size), np.uint8)
    for row in range(1, n):
        for value in values[1:]:
            y, x = random.integers(1, size - 8, 2)
            masks[row, y : y + 7, x : x + 6] = value
            masks[row, y + 2 : y + 4, x + 2 : x + 4] = 0
    table = pd.DataFrame(
        {
            "id": [f"s{i:03d}" for i in range(n)],
            "site": ["abcd"[i % 4] for i in range(n)],
            "source": "synthetic",
            "image_date": [f"2024-0{1 + i % 9}-15" for i in range(n)],
            **columns,
        }
    )
    if placed:
        places = pd.DataFrame([geo_columns(place_of(i, size)) for i in range(n)])
        table = pd.concat([table, places], axis=1)
    if not masked and "label" not in columns:
        table["label"] = [int(bool((m == 1).any())) for m in masks]
    return Dataset(
        name="small set",
        samples=table,
        bands=bands,
        classes=classes,
        reader=ArrayReader(images, masks if masked else None),
        units="reflectance x 1e4",
        nodata=nodata,
        resolution_m=10,
        licence="CC0-1.0",
        provenance={"made by": "tests"},
    )


def split_of(dataset: Dataset) -> Split:
    """By site, as :data:`PARTS` says."""
    part = {site: name for name, sites in PARTS.items() for site in sites}
    samples = dataset.samples
    parts = {i: part[s] for i, s in zip(samples["id"], samples["site"], strict=True)}
    return Split(parts=parts, rule="site", settings={"seed": 0})


def assert_same(found: Dataset, expected: Dataset, *, images: bool = True) -> None:
    """Equal samples under equal ids: pixels, masks, what they mean, and every column that was there."""
    assert found.classes == expected.classes
    assert found.bands == expected.bands
    assert (found.name, found.units, found.licence) == (expected.name, expected.units, expected.licence)
    assert (found.nodata, found.resolution_m) == (expected.nodata, expected.resolution_m)
    assert found.provenance == expected.provenance
    rows = {name: row for row, name in enumerate(found.samples["id"])}
    assert set(rows) == set(expected.samples["id"])
    columns = list(expected.samples.columns)
    order = [rows[name] for name in expected.samples["id"]]
    pd.testing.assert_frame_equal(found.samples.iloc[order].reset_index(drop=True)[columns], expected.samples)
    for row, name in enumerate(expected.samples["id"]):
        if images:
            image = found.reader.image(rows[name])
            assert image.dtype == expected.reader.image(row).dtype
            np.testing.assert_array_equal(image, expected.reader.image(row))
        mask = expected.reader.mask(row)
        if mask is None:
            assert found.reader.mask(rows[name]) is None
        else:
            np.testing.assert_array_equal(found.reader.mask(rows[name]), mask)


def files_of(root: Path) -> dict[str, bytes]:
    """All files below a folder by relative path."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
