"""Normalisation constants: one pair per band for the whole set, from its training part alone.

Constants taken from all samples tell the model about those it is tested on; constants taken image by image forget how
bright the ground is. And one saturated pixel must not set the scale, so the range ends at percentiles, not at the
largest value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import StoreError, UsageError
from minescale.labels.preparation.statistics import Statistics, extract_statistics
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.folder_layout import DATASET, load_document, replace_text
from minescale.labels.sets.split import Split

KEY = "normalisation"
"""Where the constants lie in a dataset's provenance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """Constants per band, in the units of the set."""

    bands: tuple[str, ...]
    low: tuple[float, ...]
    """2nd percentile."""
    high: tuple[float, ...]
    """98th percentile."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    part: str
    """What they were taken from: ``train``, or ``all`` for a set that is not split."""
    images: int

    @classmethod
    def of(cls, statistics: Statistics, part: str) -> Normalisation:
        """Constants from statistics.

        Raises
        ------
        UsageError
            naming the bands without an observation, or with one value only.
        """
        low, high = statistics.percentile(2), statistics.percentile(98)
        useless = [
            band
            for band, a, b, spread in zip(statistics.bands, low, high, statistics.std, strict=True)
            if not (b > a and spread > 0)
        ]
        if useless:
            raise UsageError(
                "bands cannot be normalised: no observation, or one value only", got=", ".join(useless), fix="drop them"
            )
        return cls(
            bands=statistics.bands,
            low=tuple(low.tolist()),
            high=tuple(high.tolist()),
            mean=tuple(statistics.mean.tolist()),
            std=tuple(statistics.std.tolist()),
            part=part,
            images=statistics.images,
        )

    def standardise(self, image: NDArray[Any], nodata: float | None = None) -> NDArray[np.float32]:
        """``(x - mean) / std`` as float32 (band, y, x); 0, the mean, where there is no data."""
        return self._scaled(image, np.asarray(self.mean), np.asarray(self.std), nodata)

    def stretch(self, image: NDArray[Any], nodata: float | None = None) -> NDArray[np.float32]:
        """P2 to 0 and P98 to 1, not clipped, as float32 (band, y, x); 0 where there is no data."""
        low = np.asarray(self.low)
        return self._scaled(image, low, np.asarray(self.high) - low, nodata)

    def _scaled(
        self, image: NDArray[Any], zero: NDArray[Any], one: NDArray[Any], nodata: float | None
    ) -> NDArray[np.float32]:
        if image.ndim != 3 or len(image) != len(self.bands):
            raise UsageError("image does not fit", got=image.shape, expected=f"({len(self.bands)} bands, y, x)")
        scaled = (image.astype(np.float64) - zero[:, None, None]) / one[:, None, None]
        if nodata is not None:
            scaled[image == nodata] = 0
        return np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        return {name: list(v) if isinstance(v, tuple) else v for name, v in ((n, getattr(self, n)) for n in _FIELDS)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Normalisation:
        known: dict[str, Any] = {n: tuple(v) if isinstance(v := values[n], list | tuple) else v for n in _FIELDS}
        return cls(**known)


_FIELDS = ("bands", "low", "high", "mean", "std", "part", "images")


def normalisation(dataset: Dataset, split: Split | None = None) -> Normalisation:
    """Constants of a set: from its training part, from all of it where it has no split.

    Raises
    ------
    UsageError
        where nothing trains, or a band has nothing to learn a scale from.
    """
    if split is None:
        return Normalisation.of(extract_statistics(dataset), "all")
    return Normalisation.of(extract_statistics(split.of(dataset, "train")), "train")


def with_normalisation(dataset: Dataset, constants: Normalisation) -> Dataset:
    """The set with its constants in its provenance, so that they are written and travel with it."""
    if constants.bands != dataset.bands:
        raise UsageError("constants are of other bands", got=constants.bands, expected=dataset.bands)
    return replace(dataset, provenance=dataset.provenance | {KEY: constants.to_dict()})


def store_normalisation(path: str | Path, constants: Normalisation) -> None:
    """Write constants into the description of a dataset folder, in place of those it had.

    Raises
    ------
    UsageError
        where the folder is none of the project's own, or of other bands.
    StoreError
        where it cannot be read or written.
    """
    file = Path(path) / DATASET
    if not file.is_file():
        raise UsageError(
            f"{path} is no dataset folder", expected=DATASET, fix="minescale dataset export --format folder first"
        )
    document = load_document(file)
    if tuple(document.get("bands", ())) != constants.bands:
        raise UsageError("constants are of other bands", got=constants.bands, expected=document.get("bands"))
    document["provenance"] = document.get("provenance", {}) | {KEY: constants.to_dict()}
    try:
        replace_text(file, json.dumps(document, indent=1) + "\n")
    except OSError as error:
        raise StoreError(f"cannot write {file}", got=error, fix="a writable folder") from error


def stored_normalisation(dataset: Dataset) -> Normalisation:
    """The constants that a set carries.

    Raises
    ------
    UsageError
        where it carries none.
    """
    if KEY not in dataset.provenance:
        raise UsageError(
            f"dataset {dataset.name} has no normalisation", fix="minescale dataset stats --split FILE --store"
        )
    return Normalisation.from_dict(dataset.provenance[KEY])
