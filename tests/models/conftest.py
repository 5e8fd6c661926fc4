"""Packages and imagery that the model tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_specs import pixel_spec, pixel_weights, unet_spec

from minescale.models.package import ModelPackage, write_package


@pytest.fixture
def unet_package(tmp_path: Path) -> Callable[..., ModelPackage]:
    """Builds a U-Net package with random weights whose output spans 0-1."""

    def build(**changes: Any) -> ModelPackage:
        import torch

        from minescale.models.network import state_arrays
        from minescale.models.unet import build_unet

        spec = unet_spec(**changes)
        torch.manual_seed(5)
        network = build_unet(len(spec.bands), len(spec.classes), **spec.hyperparameters)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                # Norms of a trained network are not the identity.
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.05, 0.3)
        network.head.weight.data *= 3
        return write_package(
            tmp_path / f"unet-{len(list(tmp_path.iterdir()))}", spec, state_arrays(network), "card", {}
        )

    return build


@pytest.fixture
def pixel_package(tmp_path: Path) -> Callable[..., ModelPackage]:
    def build(hidden: int = 0) -> ModelPackage:
        return write_package(tmp_path / f"pixel-{hidden}", pixel_spec(hidden), pixel_weights(hidden), "card", {})

    return build


@pytest.fixture(scope="session")
def landscape() -> np.ndarray:
    """uint16 (6, 768, 768): smooth and rough structure, reflectance x 1e4, valid everywhere."""
    rng = np.random.default_rng(11)
    image = np.full((6, 768, 768), 1500.0, np.float32)
    for step in (4, 16, 64):
        noise = rng.normal(0, 500, (6, 768 // step, 768 // step))
        image += np.repeat(np.repeat(noise, step, axis=1), step, axis=2).astype(np.float32)
    return np.clip(image + rng.normal(0, 150, image.shape), 1, 9000).astype(np.uint16)
