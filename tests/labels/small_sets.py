"""Small sets in memory for tests of splits, audits, statistics and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from minescale.labels.sets.classes import BINARY, ClassMap
from minescale.labels.sets.dataset import ArrayReader, ChipReader, Dataset


def make(
    samples: pd.DataFrame | dict[str, Any],
    *,
    images: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    reader: ChipReader | None = None,
    classes: ClassMap = BINARY,
    seed: int = 0,
    **changes: Any,
) -> Dataset:
    """A set whose table is given; random images of two bands where none are."""
    table = pd.DataFrame(samples)
    n = len(table)
    for name, value in (("id", [f"s{i:04d}" for i in range(n)]), ("site", "here"), ("source", "one")):
        if name not in table:
            table[name] = value
    if images is None:
        images = np.random.default_rng(seed).integers(1, 5000, (n, 2, 4, 4)).astype(np.uint16)
    bands = tuple(("red", "nir", "blue", "green", "swir16", "swir22")[: images.shape[1]])
    values: dict[str, Any] = {
        "name": "made",
        "samples": table,
        "bands": bands,
        "classes": classes,
        "reader": reader or ArrayReader(images, masks),
        "units": "reflectance x 1e4",
        "nodata": 0,
        "resolution_m": 10,
        "licence": "CC0-1.0",
    }
    return Dataset(**(values | changes))
