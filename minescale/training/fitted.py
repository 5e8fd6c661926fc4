"""What a fit hands over, whatever was fitted: a specification, its weights, and how they came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from minescale.models.package import ModelPackage
from minescale.models.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A fitted model before its threshold and calibration are set."""

    spec: ModelSpec
    weights: Mapping[str, NDArray[Any]]
    """Tensors by name, as :func:`minescale.models.package.write_package` takes them."""
    history: Mapping[str, Any]
    """By epoch, or along a regularisation path. JSON values."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further findings for ``metrics/training.json``. JSON values."""
    members: tuple[ModelPackage, ...] = ()
    """Of an ensemble, whose package holds copies of them."""
