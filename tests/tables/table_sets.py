"""Small labelled images for models of the pixel table: bright dry pits in dark green ground, an image a site."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from minescale.labels.sets.classes import BINARY, IGNORE
from minescale.labels.sets.dataset import ArrayReader, Dataset
from minescale.models.spec import ModelSpec, trained_range

SIX = ("blue", "green", "red", "nir", "swir16", "swir22")
TWELVE = (
    "coastal", "blue", "green", "red", "rededge071", "rededge075", "rededge078", "nir", "nir08", "nir09",
    "swir16", "swir22",
)  # fmt: skip
GROUND, PIT = (400, 700, 600, 3000, 1800, 900), (1200, 1500, 1900, 2500, 3000, 2600)


def make(n: int = 6, *, size: int = 40, seed: int = 0, masked: bool = True, **changes: Any) -> Dataset:
    """``n`` images of 10 m pixels, noisy, of changing brightness; a border of no data and a corner without label."""
    random = np.random.default_rng(seed)
    masks = np.zeros((n, size, size), np.uint8)
    for mask in masks:
        y, x = random.integers(4, size - 18, 2)
        mask[y : y + 14, x : x + 12] = 1
    spectra = np.where(masks[:, None] == 1, np.array(PIT)[:, None, None], np.array(GROUND)[:, None, None])
    light = random.uniform(0.8, 1.2, (n, 1, 1, 1))
    noise = random.normal(0, 250, (n, 6, size, size)) + random.normal(0, 120, (n, 1, size, size))
    images = np.clip(spectra * light + noise, 1, 10000).astype(np.uint16)
    images[:, :, 0, :] = 0
    masks[:, -3:, -3:] = IGNORE
    samples = pd.DataFrame(
        {"id": [f"i{k}" for k in range(n)], "site": [f"place {k}" for k in range(n)], "source": "made"}
    )
    if not masked:
        samples["label"] = (masks[:, size // 2, size // 2] == 1).astype(int)
    values: dict[str, Any] = {
        "name": "pits",
        "samples": samples,
        "bands": SIX,
        "classes": BINARY,
        "reader": ArrayReader(images, masks if masked else None),
        "units": "reflectance x 1e4",
        "nodata": 0,
        "resolution_m": 10.0,
        "licence": "Apache-2.0",
    }
    return Dataset(**{**values, **changes})


def spec_of(bands: tuple[str, ...] = SIX) -> ModelSpec:
    return ModelSpec(
        name="tiny",
        version="0.1.0",
        family="pixel",
        bands=bands,
        resolution=10.0,
        resolutions=trained_range(10.0),
        classes=("background", "mining"),
        target="mining",
        threshold=0.5,
    )


def config(family: str, seed: int = 0, **hyperparameters: Any) -> SimpleNamespace:
    """What a training configuration offers to models of the table."""
    return SimpleNamespace(
        name=f"tiny-{family}",
        family=family,
        seed=seed,
        hyperparameters=hyperparameters,
        target="",
        resolution=None,
        description="",
    )
