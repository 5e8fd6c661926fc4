"""What the numbers of a set mean, and the one form in which models take them: uint16 reflectance x 1e4, 0 = no data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.sets.dataset import ChipReader, Dataset

REFLECTANCE = "reflectance x 1e4"
TOA_255 = "toa reflectance x 1e4 / 3000 x 255"

_TO_REFLECTANCE = {
    REFLECTANCE: 1e-4,
    "toa reflectance x 1e4": 1e-4,
    "reflectance": 1.0,
    "toa reflectance": 1.0,
    TOA_255: 0.3 / 255,
}
_SATURATION = {TOA_255: 0.3}
_FULL = 65535


def saturation(dataset: Dataset) -> float | None:
    """Reflectance at which the set's numbers end; None where they hold any brightness. A model has to cut there too."""
    return _SATURATION.get(dataset.units)


def as_reflectance(dataset: Dataset, bands: Sequence[str] | None = None, *, factor: float | None = None) -> Dataset:
    """The set with images as models take them: uint16 (band, y, x) reflectance x 1e4, 0 where there is no data.

    Parameters
    ----------
    bands : which, and in which order; default: all of the set's.
    factor : reflectance of the number 1, where the units do not tell.

    Raises
    ------
    UsageError
        where units do not say what reflectance is, or the set lacks a band.
    """
    wanted = tuple(bands) if bands is not None else dataset.bands
    missing = [band for band in wanted if band not in dataset.bands]
    if missing:
        raise UsageError(
            f"dataset {dataset.name} lacks bands", got=", ".join(dataset.bands), expected=", ".join(missing)
        )
    found = factor if factor is not None else _TO_REFLECTANCE.get(dataset.units)
    if found is None or not found > 0:
        raise UsageError(
            f"what is reflectance in {dataset.name}?",
            got=f"units {dataset.units}" if factor is None else f"factor {factor}",
            expected=", ".join(_TO_REFLECTANCE),
            fix="factor=, --reflectance-factor: the reflectance of the number 1",
        )
    positions = tuple(dataset.bands.index(band) for band in wanted)
    reader = _Reflectance(dataset.reader, positions, found * 1e4, dataset.nodata)
    return replace(dataset, bands=wanted, reader=reader, units=REFLECTANCE, nodata=0)


@dataclass(frozen=True, slots=True)
class _Reflectance:
    reader: ChipReader
    positions: tuple[int, ...]
    factor: float
    nodata: float | None

    def image(self, row: int) -> NDArray[np.uint16]:
        raw = self.reader.image(row)[list(self.positions)]
        values = np.clip(np.nan_to_num(np.rint(raw.astype(np.float64) * self.factor), nan=0.0), 1, _FULL)
        unseen = ~np.isfinite(raw) if raw.dtype.kind == "f" else np.zeros(raw.shape, bool)
        if self.nodata is not None and np.isfinite(self.nodata):
            unseen |= raw == self.nodata
        values[unseen] = 0
        return values.astype(np.uint16)

    def mask(self, row: int) -> NDArray[np.uint8] | None:
        return self.reader.mask(row)
