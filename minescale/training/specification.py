"""From settings and a training part to the specification of the model that will be trained."""

from __future__ import annotations

import math
import re
from typing import Any

from minescale.errors import ModelError
from minescale.labels.auditing.classstats import mining_values
from minescale.labels.sets.classes import ClassMap
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.units import saturation
from minescale.models.network import architecture, default_halo, options_of
from minescale.models.spec import HALO_STEP, ModelSpec, trained_range
from minescale.training.config import TrainConfig
from minescale.training.samples import Samples
from minescale.training.scaling import constants

PATCH = 640
"""Edge of the windows that a scan feeds a network with, where its halo allows."""
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
        target=target_of(config, source.classes),
        threshold=0.5,
        patch=config.patch or max(PATCH, _up(2 * halo + HALO_STEP)),
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
    return spec


def target_of(config: TrainConfig, classes: ClassMap) -> str:
    """The class that is looked for: as the settings say, or the only one that stands for mining.

    Raises
    ------
    ModelError
        where it is not a class of the set, or it could be several.
    """
    if config.target:
        if config.target not in classes.names:
            raise ModelError("the target is no class of the set", got=config.target, expected=", ".join(classes.names))
        return config.target
    found = [classes.names[value] for value in mining_values(classes)]
    if len(found) != 1:
        raise ModelError(
            "which class is looked for?", got=", ".join(classes.names), fix="--set target=..., one of these"
        )
    return found[0]


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


def training_facts(dataset: Dataset) -> dict[str, Any]:
    """What a package keeps of its data: name, licence, and where and when its samples lie, as far as known."""
    samples = dataset.samples
    facts: dict[str, Any] = {"data": dataset.name, "data_licence": dataset.licence}
    if "attribution" in dataset.provenance:
        facts["attribution"] = str(dataset.provenance["attribution"])
    if {"lon", "lat"} <= set(samples):
        lon, lat = (samples[c].dropna().astype(float) for c in ("lon", "lat"))
        if len(lon):
            edges = (lon.min(), lat.min(), lon.max(), lat.max())
            facts["bbox"] = [round(float(edge), 4) for edge in edges]
    if "image_date" in samples:
        days = sorted(d for text in samples["image_date"].dropna().astype(str) for d in text.split("/"))
        full = [d for d in days if re.fullmatch(r"\d{4}-\d\d-\d\d", d[:10])]
        if full:
            facts |= {"start": f"{full[0][:10]}T00:00:00Z", "end": f"{full[-1][:10]}T23:59:59Z"}
    return facts


def _chip(train: Samples) -> int:
    """Edge of the chips, the shorter where they are not square, down to what strides allow."""
    edge = min(train[0][0].shape[1:])
    return max(HALO_STEP, edge // HALO_STEP * HALO_STEP)


def _up(pixels: int) -> int:
    return int(math.ceil(pixels / HALO_STEP) * HALO_STEP)
