"""Amazon Mining Watch chips as both products of Sentinel-2 show them, and who of them fits, calibrates and tests."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from minescale.labels.auditing.splitting import split_by
from minescale.labels.preparation.atmosphere import Atmosphere, atmosphere, to_surface
from minescale.labels.sets.dataset import ChipReader, Dataset
from minescale.labels.sets.split import Split

SUN_ZENITH, AEROSOL = 35.0, 0.005
"""A clear summer's day."""
FULL = 0.3
"""Reflectance of the number 255; brighter ground has it too."""
SURFACE = "-surface"
CALIBRATES = 0.15
"""Share of the training samples that sets the threshold, whole sites of them."""


def both_products(dataset: Dataset) -> Dataset:
    """Every chip twice: as it is, from above the air, and with the air taken off, in the same units."""
    copies = dataset.samples.assign(parent=dataset.samples["id"], id=dataset.samples["id"] + SURFACE)
    samples = pd.concat([dataset.samples.assign(parent=dataset.samples["id"]), copies], ignore_index=True)
    reader = _Both(dataset.reader, len(dataset), atmosphere(dataset.bands, SUN_ZENITH, AEROSOL))
    return replace(dataset, samples=samples, reader=reader)


def product(dataset: Dataset, *, surface: bool) -> Dataset:
    """The chips of one product."""
    return dataset.subset(np.flatnonzero(dataset.samples["id"].str.endswith(SURFACE) == surface))


def held_out(dataset: Dataset) -> Split:
    """Test is that of the patch classifier; of all else a share of the sites calibrates, with or without a place."""
    path = Path(__file__).parents[1] / "amw_patch" / "holdout.py"
    spec = importlib.util.spec_from_file_location("amw_holdout", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Split = module.hold_out(dataset, unplaced=True)
    test = {i: "test" for i, part in found.parts.items() if part == "test"}
    rest = dataset.samples["id"].isin(found.parts.keys() - test.keys()).to_numpy()
    sites = split_by(dataset.subset(np.flatnonzero(rest)), "site", (1 - CALIBRATES, CALIBRATES, 0.0), seed=11)
    settings = {**found.settings, "calibrates": CALIBRATES}
    return Split(parts={**sites.parts, **test}, rule=found.rule, settings=settings)


def splits(dataset: Dataset, fit_val: float) -> tuple[Split, Split]:
    """For :func:`both_products` of the set: who fits (train, val) and tests, and the hold-out, whose val calibrates.

    No site of the calibration is in the first split: no part of the model has seen one. Sets are kept whole between
    train and val of the fit, as they are between train and test: a model that knows sets is stopped and passed over.
    """
    hold = held_out(dataset)
    rest = hold.of(dataset, "train")
    inner: dict[str, str] = {}
    for label in (0, 1):  # nearly every set holds one class only
        side = rest.subset(np.flatnonzero(rest.samples["label"] == label))
        inner |= split_by(side, "set", (1 - fit_val, fit_val, 0.0), seed=11).parts
    test = {i: "test" for i, part in hold.parts.items() if part == "test"}
    fit = Split(parts=_twice({**inner, **test}), rule=hold.rule, settings={**hold.settings, "fit_val": fit_val})
    return fit, Split(parts=_twice(dict(hold.parts)), rule=hold.rule, settings=dict(hold.settings))


def _twice(parts: dict[str, str]) -> dict[str, str]:
    return {**parts, **{name + SURFACE: part for name, part in parts.items()}}


@dataclass(frozen=True, slots=True)
class _Both:
    reader: ChipReader
    chips: int
    air: Atmosphere

    def image(self, row: int) -> NDArray[Any]:
        if row < self.chips:
            return self.reader.image(row)
        toa = self.reader.image(row - self.chips) * (FULL / 255)
        return np.clip(np.rint(to_surface(toa, self.air) * (255 / FULL)), 1, 255).astype(np.uint8)

    def mask(self, row: int) -> None:  # noqa: ARG002  (chips are labelled whole)
        return None
