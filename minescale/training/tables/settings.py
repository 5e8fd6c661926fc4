"""What a configuration may say about a model of the pixel table, checked before any image is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from minescale.errors import UsageError
from minescale.models.spec import nearest

_LINEAR: Mapping[str, Any] = {"lambdas": 60, "smallest": 1e-3, "folds": 5, "choice": "1se", "bootstrap": 200}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "lasso": _LINEAR,
    "elastic_net": {**_LINEAR, "l1_ratio": 0.5},
    "logistic": {**_LINEAR, "l1_ratio": 1.0},
    "forest": {"trees": 100, "depth": 12, "min_leaf": 5},
    "boosting": {"trees": 100, "depth": 6, "min_leaf": 20, "learning_rate": 0.1},
    "mlp": {"hidden": 32, "epochs": 60, "patience": 8, "batch": 256, "learning_rate": 1e-3, "l2": 1e-4},
    "kmeans": {"clusters": 8, "target_clusters": (), "batch": 2048},
}
"""Hyperparameters of each family and their defaults, beside those of :class:`Sampling`.

``lambdas``: steps of the regularisation path. ``smallest``: last λ as a share of the first. ``choice``: ``min`` (lowest
cross-validated error) or ``1se`` (the largest λ within one standard error of it). ``bootstrap``: draws of images for
intervals. ``target_clusters``: clusters, from 0, that stand for the target where no labels can tell.
"""
_RANGES: Mapping[str, tuple[float, float]] = {
    "lambdas": (3, 1000),
    "smallest": (1e-6, 0.5),
    "folds": (2, 50),
    "bootstrap": (0, 10_000),
    "l1_ratio": (0.01, 1.0),
    "trees": (1, 2000),
    "depth": (1, 30),
    "min_leaf": (1, 100_000),
    "learning_rate": (1e-6, 1.0),
    "hidden": (1, 64),
    "epochs": (1, 10_000),
    "patience": (1, 10_000),
    "batch": (1, 1_000_000),
    "l2": (0.0, 1e3),
    "clusters": (2, 200),
    "samples_per_image": (1, 10**9),
    "percent": (1e-6, 100.0),
    "buffer_m": (0.0, 1e6),
    "clip_m": (1.0, 1e6),
    "patch": (1, 64),
    "centre": (0, 10_000),
}
_CHOICES = ("1se", "min")


class TableConfig(Protocol):
    """What is read of a training configuration."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def hyperparameters(self) -> Mapping[str, Any]: ...
    @property
    def target(self) -> str: ...
    @property
    def resolution(self) -> float | None: ...
    @property
    def description(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Which pixels come into the table, with which columns."""

    features: tuple[str, ...] = ("bands", "pairs")
    """Any of ``bands``, ``indices`` (the named ones that the bands allow), ``pairs`` (all normalised differences), and
    single features as :mod:`minescale.models.features` takes them."""
    samples_per_image: int = 2000
    """At most so many pixels of an image."""
    percent: float = 100.0
    """At most this percentage of an image's usable pixels."""
    balance: bool = False
    """Take as many pixels inside as outside where an image has them."""
    buffer_m: float = 0.0
    """Pixels closer than this to an edge of the target are left out, metres."""
    clip_m: float = 500.0
    """Distances are cut at plus and minus this, metres."""
    patch: int = 1
    """Edge of squares that are averaged before anything else, pixels; the model then runs at that resolution."""
    centre: int = 1
    """Of a sample labelled whole, the square in the middle that its label is of, pixels; 0: all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    sampling: Sampling
    options: Mapping[str, Any]
    """Those of :data:`OPTIONS` for the family, complete."""


def settings_of(config: TableConfig) -> Settings:
    """The settings of a configuration, defaults filled in.

    Raises
    ------
    UsageError
        for a family that is none of the table's, an unknown key (naming the nearest), or a value out of range.
    """
    if config.family not in OPTIONS:
        raise UsageError("no family of the pixel table", got=config.family, expected=nearest(config.family, OPTIONS))
    options = dict(OPTIONS[config.family])
    sampling = {name: getattr(Sampling(), name) for name in Sampling.__dataclass_fields__}
    for key, value in config.hyperparameters.items():
        known = options if key in options else sampling
        if key not in known:
            raise UsageError(
                f"{config.name}: unknown hyperparameter of {config.family}",
                got=key,
                expected=nearest(key, {*options, *sampling}),
            )
        known[key] = _checked(config.name, key, value, known[key])
    return Settings(sampling=Sampling(**sampling), options=options)


def _checked(name: str, key: str, value: Any, default: Any) -> Any:
    if isinstance(default, tuple):
        entries = (value,) if isinstance(value, str) else value
        kind: type = str if key == "features" else int
        if not isinstance(entries, list | tuple) or not all(type(entry) is kind for entry in entries):
            raise UsageError(
                f"{name}: {key}", got=value, expected="a list of " + ("names" if kind is str else "numbers")
            )
        return tuple(entries)
    if isinstance(default, bool | str):
        if type(value) is not type(default) or (key == "choice" and value not in _CHOICES):
            raise UsageError(
                f"{name}: {key}",
                got=value,
                expected=" | ".join(_CHOICES) if key == "choice" else type(default).__name__,
            )
        return value
    low, high = _RANGES[key]
    whole = isinstance(default, int)
    right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not right or not math.isfinite(value) or not low <= value <= high:
        raise UsageError(
            f"{name}: {key}", got=value, expected=f"a {'whole ' if whole else ''}number from {low:g} to {high:g}"
        )
    return value if whole else float(value)
