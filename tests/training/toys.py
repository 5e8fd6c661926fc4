"""Small sets that a small network learns in seconds, and settings to do so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from minescale.labels.sets.classes import BINARY, THREE_CLASS, ClassMap
from minescale.labels.sets.dataset import ArrayReader, Dataset
from minescale.labels.sets.split import Split
from minescale.training.config import TrainConfig
from minescale.training.tables.fit import TABLE_FAMILIES

BANDS = ("blue", "green", "red", "nir")
BRIGHT = {0: 600, 1: 2600, 2: 4600}
"""Reflectance x 1e4 of the red band by class, dark ground first."""


def pixel_set(n: int = 20, size: int = 32, classes: ClassMap = BINARY, seed: int = 0, **changes: Any) -> Dataset:
    """Squares that are brighter in red, one for each class, on noisy ground; labels are the squares."""
    rng = np.random.default_rng(seed)
    images = rng.normal(800, 120, (n, len(BANDS), size, size))
    masks = np.zeros((n, size, size), np.uint8)
    for row in range(n):
        for value in range(1, len(classes.names)):
            y, x = rng.integers(0, size - 12, 2)
            masks[row, y : y + 12, x : x + 12] = value
        for value in range(1, len(classes.names)):
            images[row, 2][masks[row] == value] += BRIGHT[value] - 800
    return _made(images, n, classes, ArrayReader(np.clip(images, 1, 9000).astype(np.uint16), masks), changes)


def chip_set(n: int = 60, size: int = 16, seed: int = 0, **changes: Any) -> Dataset:
    """Chips, every third with a bright spot in red and labelled 1."""
    rng = np.random.default_rng(seed)
    images = rng.normal(800, 120, (n, len(BANDS), size, size))
    labels = (np.arange(n) // 5 % 3 == 0).astype(int)
    for row in np.flatnonzero(labels):
        y, x = rng.integers(2, size - 8, 2)
        images[row, 2, y : y + 6, x : x + 6] += 1500
    reader = ArrayReader(np.clip(images, 1, 9000).astype(np.uint16))
    return _made(images, n, BINARY, reader, {"label": labels, **changes})


def _made(images: np.ndarray, n: int, classes: ClassMap, reader: ArrayReader, changes: dict[str, Any]) -> Dataset:
    columns = {"label": changes.pop("label")} if "label" in changes else {}
    samples = pd.DataFrame(
        {
            "id": [f"s{i:03d}" for i in range(n)],
            "site": [f"place {i % 5}" for i in range(n)],
            "source": "toy",
            **columns,
        }
    )
    values: dict[str, Any] = {
        "name": "toys",
        "samples": samples,
        "bands": BANDS,
        "classes": classes,
        "reader": reader,
        "units": "reflectance x 1e4",
        "nodata": 0,
        "resolution_m": 10.0,
        "licence": "CC0-1.0",
    }
    return Dataset(**{**values, **changes})


def split_of(dataset: Dataset) -> Split:
    """Three sites train, one validates, one tests."""
    part = {f"place {i}": name for i, name in enumerate(("train", "train", "train", "val", "test"))}
    pairs = zip(dataset.samples["id"], dataset.samples["site"], strict=True)
    return Split(parts={i: part[site] for i, site in pairs}, rule="site", settings={"seed": 0, "val_mode": "unseen"})


def settings(family: str = "unet", /, **changes: Any) -> TrainConfig:
    """A tiny network for two epochs; changes by path, such as ``**{"run.epochs": 5}``."""
    sizes = {"unet": {"width": 8, "depth": 2}, "patchcnn": {"width": 8}}
    quick = {"batch": {"size": 6}, "optimiser": {"lr": 0.01}, "run": {"epochs": 2}}
    base = TrainConfig.of(
        {
            "name": f"tiny-{family}",
            "family": family,
            "hyperparameters": sizes.get(family, {}),
            **({} if family in TABLE_FAMILIES else quick),
        }
    )
    return base.replace(changes)


__all__ = ["BANDS", "THREE_CLASS", "chip_set", "pixel_set", "settings", "split_of"]
