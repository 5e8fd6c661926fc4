"""Two models of one rule each, as stages of a search: bare ground by NDVI, and of that what is bright like a mine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minescale.models.package import ModelPackage, write_package
from minescale.models.spec import ModelSpec, trained_range


def bare_and_bright(folder: Path) -> tuple[ModelPackage, ModelPackage]:
    """A segmenter of barren ground (red and nir) and a classifier of mining (red)."""
    bare = _rule(folder, "bare-ground", ("other", "barren"), ("red", "nir"), {"index": "NDVI", "from": 0.6, "to": 0.2})
    bright = _rule(folder, "bright-ground", ("other", "mining"), ("red",), {"index": "R", "from": 0.1, "to": 0.5})
    return bare, bright


def _rule(
    folder: Path, name: str, classes: tuple[str, str], bands: tuple[str, ...], ramp: Mapping[str, Any]
) -> ModelPackage:
    spec = ModelSpec(
        name=name,
        version="1.0.0",
        family="index",
        bands=bands,
        resolution=10.0,
        resolutions=trained_range(10.0),
        classes=classes,
        target=classes[1],
        threshold=0.5,
        hyperparameters={"rules": [{"name": "rule", "weight": 1.0, "ramps": [dict(ramp)]}]},
        licence="Apache-2.0",
    )
    return write_package(folder / name, spec, None, f"# {name}", {})
