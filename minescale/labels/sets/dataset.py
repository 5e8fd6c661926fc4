"""A dataset: a table of samples, what their numbers mean, and a way to read each one.

Every set, ours or somebody else's, becomes this one type, so that splits, audits, statistics and training are written
once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.sets.classes import ClassMap

REQUIRED = ("id", "site", "source")
"""``id``: unique name of the sample. ``site``: the place; samples of one site never belong on both sides of a split.
``source``: how the sample was come by, to find out whether it betrays the class."""
KNOWN = ("label", "parent", "lon", "lat", "image_date", "label_epoch", "country", "continent", "kind", "split")
"""``label``: class value of the whole sample, where labels are not pixels. ``parent``: id of the sample that this one
was made from, itself otherwise. ``lon``, ``lat``: degrees, of the middle. ``image_date``: ISO date, or its year.
``label_epoch``: year. ``kind``: what a negative is (forest, town, sandbar). ``split``: as published with the set.
Any other column may follow; a value that is not known is null, never made up."""


class ChipReader(Protocol):
    """Reads samples by their row in the table."""

    def image(self, row: int) -> NDArray[Any]:
        """(band, y, x), in the dataset's units and dtype."""
        ...

    def mask(self, row: int) -> NDArray[np.uint8] | None:
        """(y, x) class values; None in a set whose labels are of whole samples."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Samples of imagery with labels."""

    name: str
    samples: pd.DataFrame
    """One row per sample, index 0..n-1: columns :data:`REQUIRED`, those of :data:`KNOWN` that apply, and others."""
    bands: tuple[str, ...]
    """STAC common names, in the order of an image's first axis."""
    classes: ClassMap
    reader: ChipReader
    units: str
    """What a number is: ``reflectance x 1e4``, ``toa reflectance x 1e4 / 3000 x 255``, ``digital number``."""
    nodata: float | None
    """Value of pixels without an observation; None: there are none."""
    resolution_m: float | None
    """Pixel edge in metres; None where it differs or is not known."""
    licence: str
    """SPDX id, or ``none`` where nobody granted anything: then neither the set nor its weights may be passed on."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """How it was made: settings, source files, versions. JSON values only."""

    def __post_init__(self) -> None:
        missing = [name for name in REQUIRED if name not in self.samples]
        if missing:
            raise UsageError(f"dataset {self.name}: columns are missing", got=list(self.samples), expected=missing)
        if not len(self.samples):
            raise UsageError(f"dataset {self.name} has no samples", fix="check the filters that led to it")
        repeated = self.samples["id"][self.samples["id"].duplicated()]
        if len(repeated):
            raise UsageError(
                f"dataset {self.name}: ids repeat", got=repeated.unique()[:5].tolist(), expected="one each"
            )
        if not self.samples.index.equals(pd.RangeIndex(len(self.samples))):
            raise UsageError(f"dataset {self.name}: rows are not numbered from 0", fix="samples.reset_index(drop=True)")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, row: int) -> tuple[NDArray[Any], NDArray[np.uint8] | int | None]:
        """Image (band, y, x), and its mask (y, x), or its class where the set labels whole samples."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} samples of {self.name}")
        mask = self.reader.mask(row)
        if mask is not None or "label" not in self.samples:
            return self.reader.image(row), mask
        label = self.samples["label"].iloc[row]
        return self.reader.image(row), None if pd.isna(label) else int(label)

    def subset(self, rows: NDArray[np.intp] | list[int], name: str | None = None) -> Dataset:
        """The samples at ``rows``, in that order."""
        chosen = np.asarray(rows, np.intp)
        return replace(
            self,
            name=name or self.name,
            samples=self.samples.iloc[chosen].reset_index(drop=True),
            reader=_Chosen(self.reader, chosen),
        )

    def parents(self) -> pd.Series:
        """Id of the sample that each was made from; its own where it was made from none."""
        if "parent" not in self.samples:
            return self.samples["id"]
        return self.samples["parent"].fillna(self.samples["id"])


@dataclass(frozen=True, slots=True)
class _Chosen:
    reader: ChipReader
    rows: NDArray[np.intp]

    def image(self, row: int) -> NDArray[Any]:
        return self.reader.image(int(self.rows[row]))

    def mask(self, row: int) -> NDArray[np.uint8] | None:
        return self.reader.mask(int(self.rows[row]))


@dataclass(frozen=True, slots=True)
class ArrayReader:
    """Samples that lie in memory."""

    images: NDArray[Any]
    """(sample, band, y, x)"""
    masks: NDArray[np.uint8] | None = None
    """(sample, y, x)"""

    def image(self, row: int) -> NDArray[Any]:
        return self.images[row]

    def mask(self, row: int) -> NDArray[np.uint8] | None:
        return None if self.masks is None else self.masks[row]
