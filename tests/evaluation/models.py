"""Small models whose scores are known, and sets to judge them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from minescale.evaluation.scored import Scored
from minescale.labels.sets.dataset import Dataset
from minescale.models.package import ModelPackage, write_package
from minescale.models.spec import ModelSpec, trained_range
from tests.labels.small_sets import make


def rule_package(folder: Path, **changes: Any) -> ModelPackage:
    """Scores 0 at NDVI 1 and 1 at NDVI -1, straight between: ``(1 - NDVI) / 2``."""
    values: dict[str, Any] = {
        "name": "bare-ground",
        "version": "0.1.0",
        "family": "index",
        "bands": ("red", "nir"),
        "resolution": 10.0,
        "resolutions": trained_range(10.0),
        "classes": ("background", "mine"),
        "target": "mine",
        "threshold": 0.5,
        "hyperparameters": {
            "rules": [{"name": "bare", "weight": 1.0, "ramps": [{"index": "NDVI", "from": 1.0, "to": -1.0}]}]
        },
        "licence": "Apache-2.0",
    }
    return write_package(folder, ModelSpec(**{**values, **changes}), None, "# rule", {})


def ndvi_images(ndvi: np.ndarray) -> np.ndarray:
    """uint16 (sample, red and nir, y, x) reflectance x 1e4 with these indices (sample, y, x)."""
    total = 6000.0
    nir = total * (1 + ndvi) / 2
    return np.rint(np.stack([total - nir, nir], axis=1)).astype(np.uint16)


def pixel_set(n: int = 6, edge: int = 32, noise: float = 0.2, seed: int = 0, **changes: Any) -> Dataset:
    """Squares of mining with low NDVI on green ground, two samples a site, mining in all but the last sample."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, edge, edge), np.uint8)
    for k in range(n - 1):
        y, x = rng.integers(0, edge - 12, 2)
        masks[k, y : y + 12, x : x + 12] = 1
    ndvi = np.clip(np.where(masks == 1, -0.2, 0.5) + rng.normal(0, noise, masks.shape), -0.95, 0.95)
    table = pd.DataFrame(
        {
            "site": [f"site{k // 2}" for k in range(n)],
            "country": ["A" if k < n // 2 else "B" for k in range(n)],
            "kind": [None] * (n - 1) + ["sandbar"],
        }
    )
    return make(table, images=ndvi_images(ndvi), masks=masks, **changes)


def chip_set(n: int = 60, spread: float = 0.3, seed: int = 0, **changes: Any) -> Dataset:
    """Chips of one NDVI each, every third mining with a lower one; four samples a site."""
    rng = np.random.default_rng(seed)
    label = (np.arange(n) % 3 == 0).astype(int)
    ndvi = np.clip(np.where(label == 1, 0.0, 0.5) + rng.normal(0, spread, n), -0.9, 0.9)
    images = ndvi_images(np.repeat(ndvi, 64).reshape(n, 8, 8))
    table = pd.DataFrame(
        {
            "label": label,
            "site": [f"site{k // 4}" for k in range(n)],
            "kind": [None if y else ("sandbar", "forest")[k % 2] for k, y in enumerate(label)],
        }
    )
    return make(table, images=images, **changes)


def scored_chips(scores: np.ndarray, labels: np.ndarray, sites: list[str] | None = None) -> Scored:
    """Scores as a model would give them, without one."""
    n = len(scores)
    table = {"label": np.asarray(labels, float), "site": sites or [f"s{k}" for k in range(n)]}
    return Scored(dataset=make(table), chips=np.asarray(scores, np.float32), codes=None)


def scored_maps(codes: np.ndarray, masks: np.ndarray) -> Scored:
    """Maps of codes (sample, y, x) against masks."""
    n, height, width = codes.shape
    images = np.full((n, 2, height, width), 1000, np.uint16)
    dataset = make({"site": [f"s{k}" for k in range(n)]}, images=images, masks=masks.astype(np.uint8))
    return Scored(dataset=dataset, chips=None, codes=tuple(codes.astype(np.uint8)))
