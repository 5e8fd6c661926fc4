"""Specifications and weights that the model tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from minescale.models.package import ModelPackage, write_package
from minescale.models.spec import ModelSpec, trained_range

SIX = ("blue", "green", "red", "nir", "swir16", "swir22")
FEATURES = ["red", "swir16", "NDVI", "NBR2", "ND_nir_red", "ND_green_swir16"]


def unet_spec(**changes: Any) -> ModelSpec:
    values: dict[str, Any] = {
        "name": "tiny-unet",
        "version": "0.1.0",
        "family": "unet",
        "bands": SIX,
        "resolution": 10.0,
        "resolutions": trained_range(10.0),
        "classes": ("background", "mine"),
        "target": "mine",
        "threshold": 0.5,
        "patch": 256,
        "halo": 48,
        "mean": (0.06, 0.08, 0.09, 0.25, 0.22, 0.13),
        "std": (0.03, 0.03, 0.05, 0.08, 0.08, 0.07),
        "hyperparameters": {"width": 8, "depth": 3},
        "licence": "Apache-2.0",
    }
    return ModelSpec(**{**values, **changes})


def random_unet(folder: Path, seed: int = 0, **changes: Any) -> ModelPackage:
    """A package of the family in ``changes``, or a U-Net, with random weights whose norms have seen noise."""
    import torch

    from minescale.models.network import build_network, state_arrays

    spec = unet_spec(**changes)
    torch.manual_seed(seed)
    network = build_network(spec)
    with torch.no_grad():
        for _ in range(5):
            network(torch.randn(2, len(spec.channels), 64, 64))
    return write_package(folder, spec, state_arrays(network), "card", {})


def pixel_spec(hidden: int = 0, **changes: Any) -> ModelSpec:
    values: dict[str, Any] = {
        "name": "tiny-pixel",
        "version": "0.1.0",
        "family": "pixel",
        "bands": SIX,
        "resolution": 80.0,
        "resolutions": trained_range(80.0),
        "classes": ("background", "mine"),
        "target": "mine",
        "threshold": 0.5,
        "keep_threshold": 0.12,
        "expected_survivors": 0.2,
        "hyperparameters": {"features": FEATURES, "hidden": hidden},
        "licence": "Apache-2.0",
    }
    return ModelSpec(**{**values, **changes})


def pixel_weights(hidden: int = 0, features: int = len(FEATURES), seed: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.7, shape).astype(np.float32)

    weights = {"mean": draw(features) * 0.1, "std": np.abs(draw(features)) + 0.1, "bias": draw(1)}
    if hidden:
        return {
            **weights,
            "weight": draw(1, hidden),
            "hidden.weight": draw(hidden, features),
            "hidden.bias": draw(hidden),
        }
    return {**weights, "weight": draw(1, features)}
