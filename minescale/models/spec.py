"""What a model is: bands, scaling, resolution, window, classes, thresholds."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from minescale.errors import ModelError, UsageError
from minescale.models.recalibration import check_calibration
from minescale.sensors import SENSORS
from minescale.types import physical_bands

HALO_STEP = 8
"""Halos and patches are multiples of this many pixels; deeper networks have steps of their own, see
:class:`minescale.models.predictor.Family`."""
RESOLUTION_TOLERANCE = 1.5
"""A trained model runs from its resolution divided by this to its resolution times this."""

Task = Literal["pixels", "chips"]
"""What a model was taught: a class for each pixel, or one for a whole chip."""

_NAME = re.compile(r"^[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]$")


def check_name(name: str) -> None:
    """Refuse what cannot name a model, in the MLM extension's words (https://stac-extensions.github.io/mlm/).

    Raises
    ------
    ModelError
    """
    if not _NAME.fullmatch(name):
        raise ModelError(
            "model name is not usable",
            got=repr(name),
            expected="three or more of a-z, A-Z, 0-9, _ . - and space: a letter first, a letter or digit last",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Everything about a model except its weights. Checked when built.

    Raises
    ------
    ModelError
        for a band no sensor has, an impossible window, range or threshold.
    """

    name: str
    version: str
    family: str
    """Which predictor runs it: ``index``, ``pixel``, ``unet`` or a registered one."""
    bands: tuple[str, ...]
    """Channels, in the order of the input's band axis: STAC common names, as the scan composites them, or percentiles
    of a band's clear looks, such as ``nir:p90`` (:class:`minescale.types.Channel`)."""
    resolution: float
    """Nominal pixel size in metres."""
    resolutions: tuple[float, float]
    """Smallest and largest pixel size in metres at which the model may run."""
    classes: tuple[str, ...]
    """Names in the order of the output's class axis."""
    target: str
    """The class whose probability the mosaic holds."""
    threshold: float
    """Decision threshold on that probability, 0-1."""
    keep_threshold: float | None = None
    """For a screen: refine a tile when its highest score reaches this; calibrated, see the package's metrics."""
    expected_survivors: float | None = None
    """For a screen: share of tiles that reached ``keep_threshold`` where that was measured; a plan prices with it."""
    patch: int = 1
    """Edge of the square the model is fed with, in pixels. 1: every pixel is scored on its own."""
    halo: int = 0
    """Pixels of context needed on every side of a pixel; a multiple of 8."""
    mean: tuple[float, ...] | None = None
    """Per channel, reflectance (or its logarithm, where the model takes that first); the input is scaled as
    ``(x - mean) / std``. One constant for the whole world."""
    std: tuple[float, ...] | None = None
    task: Task = "pixels"
    """``chips``: a pixel's probability in a map is that of the square of ``chip`` pixels around it."""
    chip: int | None = None
    """Edge of a chip in pixels, for models of chips."""
    dates: int = 1
    """Images of one place that the model compares, oldest first; their bands follow one another in the input."""
    clip: float | None = None
    """Reflectance above this is taken for this: where the training data ended."""
    calibration: Mapping[str, Any] = field(default_factory=dict)
    """How the target's probability is corrected, see :mod:`minescale.models.recalibration`; empty: not at all."""
    sensors: tuple[str, ...] = ()
    """Sensors it was made for; empty: any sensor that has the bands."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    """What the family needs to build the model; JSON values."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Data, split, prevalence, region, period. ``bbox``, ``start`` and ``end`` become the item's extent."""
    licence: str = "other"
    description: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        check_bands(self.bands, self.name)
        if self.target not in self.classes:
            raise ModelError(
                f"model {self.name}: target is not one of its classes",
                got=self.target,
                expected=", ".join(self.classes),
            )
        low, high = self.resolutions
        if not 0 < low <= self.resolution <= high < math.inf:
            raise ModelError(
                f"model {self.name}: resolution lies outside its own range",
                got=f"{self.resolution} in {low}..{high}",
                expected="0 < min <= resolution <= max, metres",
            )
        if self.halo < 0 or self.halo % HALO_STEP:
            raise ModelError(f"model {self.name}: halo", got=self.halo, expected=f"a multiple of {HALO_STEP}")
        if self.patch != 1 and (self.patch % HALO_STEP or self.patch < 2 * self.halo + HALO_STEP):
            raise ModelError(
                f"model {self.name}: patch",
                got=self.patch,
                expected=f"1, or a multiple of {HALO_STEP} larger than twice the halo ({self.halo})",
            )
        if self.patch == 1 and self.halo:
            raise ModelError(f"model {self.name}: a model of single pixels has no halo", got=self.halo, expected=0)
        self._check_scaling()
        self._check_task()
        for name in ("threshold", "keep_threshold", "expected_survivors"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ModelError(f"model {self.name}: {name}", got=value, expected="a number from 0 to 1")
        for sensor in self.sensors:
            if sensor not in SENSORS:
                raise ModelError(f"model {self.name}: unknown sensor", got=sensor, expected=nearest(sensor, SENSORS))

    def _check_scaling(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ModelError(f"model {self.name}: scaling needs mean and std", expected="both, or neither")
        if self.mean is None or self.std is None:
            return
        if not len(self.mean) == len(self.std) == len(self.channels):
            raise ModelError(
                f"model {self.name}: scaling does not fit the bands",
                got=f"{len(self.mean)} means, {len(self.std)} deviations",
                expected=f"{len(self.channels)} of each",
            )
        if not all(math.isfinite(v) for v in self.mean) or not all(0 < v < math.inf for v in self.std):
            raise ModelError(
                f"model {self.name}: scaling", got=f"{self.mean}, {self.std}", expected="finite, deviations above 0"
            )

    def _check_task(self) -> None:
        if self.task not in get_args(Task) or (self.chip is not None) != (self.task == "chips"):
            raise ModelError(
                f"model {self.name}: task",
                got=f"{self.task}, chip {self.chip}",
                expected="pixels, or chips with the edge of a chip",
            )
        if self.chip is not None and (self.chip < HALO_STEP or self.chip % HALO_STEP):
            raise ModelError(f"model {self.name}: chip", got=self.chip, expected=f"a multiple of {HALO_STEP}")
        if self.dates not in {1, 2}:
            raise ModelError(f"model {self.name}: dates", got=self.dates, expected="1 or 2")
        if self.calibration:
            check_calibration(self.calibration)
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise ModelError(f"model {self.name}: clip", got=self.clip, expected="a reflectance above 0")

    @property
    def channels(self) -> tuple[str, ...]:
        """Names along the input's band axis: the bands, ``t0_red ... t1_red ...`` for a model of two dates."""
        if self.dates == 1:
            return self.bands
        return tuple(f"t{date}_{band}" for date in range(self.dates) for band in self.bands)

    @property
    def pixelwise(self) -> bool:
        """Whether every pixel is scored on its own, so that windows, halo and blending do not matter."""
        return self.patch == 1

    @property
    def target_index(self) -> int:
        return self.classes.index(self.target)

    def replace(self, **changes: Any) -> ModelSpec:
        return dataclasses.replace(self, **changes)


def trained_range(resolution: float) -> tuple[float, float]:
    """Pixel sizes at which a model trained at ``resolution`` may run."""
    return (resolution / RESOLUTION_TOLERANCE, resolution * RESOLUTION_TOLERANCE)


def check_bands(bands: Iterable[str], model: str) -> None:
    """Refuse channels of bands that no sensor has, band numbers included, and of unknown statistics.

    Raises
    ------
    ModelError
        naming the nearest band, or the statistics there are.
    """
    names = tuple(bands)
    known = sorted({n for s in SENSORS.values() for n in (*s.names, *(a for a in s.aliases if not a[:1].isupper()))})
    for band in _physical(names, model):
        if band not in known:
            by_asset = [b.name for s in SENSORS.values() for b in s.bands if band in b.assets]
            raise ModelError(
                f"model {model}: unknown band",
                got=band,
                expected=by_asset[0] if by_asset else nearest(band, known),
                fix=f"STAC common names: {', '.join(known)}",
            )
    if not names or len(set(names)) != len(names):
        raise ModelError(f"model {model}: bands", got=", ".join(names) or "none", expected="one or more, none twice")


def _physical(names: tuple[str, ...], model: str) -> tuple[str, ...]:
    try:
        return physical_bands(names)
    except UsageError as error:
        raise ModelError(
            f"model {model}: {error.what}", got=error.got, expected=error.expected, fix=error.fix
        ) from error


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word closest to ``word``, as a question; all of them where none is close."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"{near[0]}?" if near else ", ".join(words)
