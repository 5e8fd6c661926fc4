"""From settings and a training part to the specification of the model that will be trained."""

from __future__ import annotations

import math
import re

from minescale.errors import ModelError
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.units import saturation
from minescale.models.network import architecture, default_halo, options_of
from minescale.models.predictor import find_family
from minescale.models.spec import HALO_STEP, ModelSpec, trained_range
from minescale.training.config import TrainConfig
from minescale.training.origin import target_of, training_facts
from minescale.training.samples import Samples
from minescale.training.scaling import constants

KEPT = 544
"""Pixels of a window that are kept: two of them, blended, are a tile of 1,024. A window is those and its halo."""
PATCH = 640
"""Edge of the windows that a scan feeds a network with, at least, and where larger ones would take too much memory."""
CORE = 128
"""Pixels of a window that are kept, at least: with fewer, a scan computes next to nothing but context."""
WINDOW_BYTES = 3 << 29
"""What a network may take for one window that is larger."""
_PAIR = re.compile(r"t(?P<date>[01])_(?P<band>.+)")


def make_spec(config: TrainConfig, source: Dataset, train: Samples) -> ModelSpec:
    """The specification of a network before it is trained.

    Parameters
    ----------
    source : the set as it was opened, in its own units.
    train : its training part, as reflectance in the model's channels.

    Raises
    ------
    ModelError
        for hyperparameters, scaling or a target that do not fit, or a set that does not say how large its pixels are.
    """
    family = architecture(config.family)
    resolution = config.resolution or source.resolution_m
    if resolution is None:
        raise ModelError(
            f"dataset {source.name} does not say how large its pixels are", fix="--set resolution=10 (metres)"
        )
    chip = _chip(train) if family.task == "chips" else None
    halo = default_halo(config.family, config.hyperparameters, chip)
    bands, dates = pair_bands(train.dataset.bands)
    clip = config.scaling.clip or saturation(source) or 1.0
    logarithm = bool(config.hyperparameters.get("logarithm", False))
    mean, std = (config.scaling.mean, config.scaling.std) if config.scaling.mean else (None, None)
    if mean is None:
        mean, std = constants(train, clip, logarithm=logarithm)
    spec = ModelSpec(
        name=config.name,
        version="0.1.0",
        family=config.family,
        bands=bands,
        dates=dates,
        resolution=float(resolution),
        resolutions=trained_range(float(resolution)),
        classes=source.classes.names,
        target=target_of(config.target, source.classes),
        threshold=0.5,
        patch=config.patch or _least(halo),
        halo=halo,
        mean=mean,
        std=std,
        task=family.task,  # type: ignore[arg-type]  # architectures name one of the tasks
        chip=chip,
        clip=clip,
        hyperparameters=dict(config.hyperparameters),
        training=training_facts(source),
        licence=source.licence,
        description=config.description,
    )
    options_of(spec)
    return spec if config.patch else spec.replace(patch=_patch(spec))


def pair_bands(names: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """Bands and number of dates: ``t0_red, t1_red`` are one band at two dates.

    Raises
    ------
    ModelError
        where the dates differ in bands or their order.
    """
    found = [_PAIR.fullmatch(name) for name in names]
    if not any(found):
        return names, 1
    dates = [[m["band"] for m in found if m and m["date"] == date] for date in "01"]
    if not all(found) or dates[0] != dates[1] or names != tuple(f"t{d}_{b}" for d in (0, 1) for b in dates[d]):
        raise ModelError("the bands of two dates do not match", got=", ".join(names), expected="t0_red ... t1_red ...")
    return tuple(dates[0]), 2


def _chip(train: Samples) -> int:
    """Edge of the chips, the shorter where they are not square, down to what strides allow."""
    edge = min(train[0][0].shape[1:])
    return max(HALO_STEP, edge // HALO_STEP * HALO_STEP)


def _least(halo: int) -> int:
    return max(PATCH, int(math.ceil((2 * halo + CORE) / HALO_STEP) * HALO_STEP))


def _patch(spec: ModelSpec) -> int:
    least, wanted = _least(spec.halo), 2 * spec.halo + KEPT
    fits = wanted**2 * find_family(spec.family).bytes_per_pixel(spec) <= WINDOW_BYTES
    return max(least, wanted) if fits else least
