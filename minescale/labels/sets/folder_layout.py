"""How a dataset folder is laid out: the names in it, and what ``dataset.json`` says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from minescale.errors import StoreError, UsageError
from minescale.labels.sets.chips import check_id
from minescale.labels.sets.classes import ClassMap
from minescale.labels.sets.dataset import ChipReader, Dataset
from minescale.labels.sets.split import Split
from minescale.labels.sets.whole import whole

FORMAT, VERSION = "minescale-dataset", 1
DATASET, SAMPLES, BUILDING = "dataset.json", "samples.parquet", "building.jsonl"
IMAGES, MASKS, SPLITS, CHIPS = "images", "masks", "splits", "chips.zarr"
MASK_BAND = "_mine"
"""Name of the one band of a mask file."""
Layout = Literal["tif", "zarr"]
LAYOUTS: tuple[Layout, ...] = ("tif", "zarr")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSpec:
    """All that ``dataset.json`` says: a :class:`~minescale.labels.sets.dataset.Dataset` without its samples."""

    name: str
    bands: tuple[str, ...]
    classes: ClassMap
    units: str
    nodata: float | None
    resolution_m: float | None
    licence: str
    provenance: dict[str, Any] = field(default_factory=dict)
    ancillary: tuple[str, ...] = ()
    """Bands that follow ``bands`` in the files and are no features: clear counts, quality states, pictures."""
    band_tags: tuple[dict[str, str], ...] = ()
    """Tags of each band of a file, such as wavelength and native resolution."""
    masks: bool = True
    layout: Layout = "tif"

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UsageError("unknown layout of chips", got=self.layout, expected=" | ".join(LAYOUTS))

    @classmethod
    def of(cls, dataset: Dataset, *, masks: bool, layout: Layout = "tif") -> FolderSpec:
        """What a dataset says of itself."""
        return cls(
            name=dataset.name,
            bands=dataset.bands,
            classes=dataset.classes,
            units=dataset.units,
            nodata=dataset.nodata,
            resolution_m=dataset.resolution_m,
            licence=dataset.licence,
            provenance=dataset.provenance,
            masks=masks,
            layout=layout,
        )

    def dataset(self, samples: pd.DataFrame, reader: ChipReader) -> Dataset:
        """The dataset of these samples, its pixels read by ``reader``."""
        return Dataset(
            name=self.name,
            samples=samples,
            bands=self.bands,
            classes=self.classes,
            reader=reader,
            units=self.units,
            nodata=self.nodata,
            resolution_m=self.resolution_m,
            licence=self.licence,
            provenance=self.provenance,
        )

    @property
    def stored(self) -> tuple[str, ...]:
        """Bands of a file, in order."""
        return (*self.bands, *self.ancillary)

    def to_dict(self) -> dict[str, Any]:
        nodata = "nan" if self.nodata is not None and math.isnan(self.nodata) else self.nodata
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "layout": self.layout,
            "bands": list(self.bands),
            "ancillary": list(self.ancillary),
            "band_tags": [dict(tags) for tags in self.band_tags],
            "masks": self.masks,
            "classes": self.classes.to_dict(),
            "units": self.units,
            "nodata": nodata,
            "resolution_m": self.resolution_m,
            "licence": self.licence,
            "provenance": self.provenance,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FolderSpec:
        if values.get("format") != FORMAT or values.get("version") != VERSION:
            raise UsageError(
                "dataset folder is of another kind",
                got=f"{values.get('format')} {values.get('version')}",
                expected=f"{FORMAT} {VERSION}",
            )
        return cls(
            name=values["name"],
            layout=values["layout"],
            bands=tuple(values["bands"]),
            ancillary=tuple(values["ancillary"]),
            band_tags=tuple(dict(tags) for tags in values["band_tags"]),
            masks=values["masks"],
            classes=ClassMap.from_dict(values["classes"]),
            units=values["units"],
            nodata=None if values["nodata"] is None else float(values["nodata"]),
            resolution_m=values["resolution_m"],
            licence=values["licence"],
            provenance=dict(values["provenance"]),
        )


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def load_document(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises
    ------
    StoreError
        where there is none.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}", got=str(error), fix="build the dataset again") from error


def write_split(path: str | Path, name: str, split: Split) -> None:
    """Keep a split with a dataset folder, as ``splits/<name>.json``."""
    folder = Path(path) / SPLITS
    try:
        folder.mkdir(exist_ok=True)
        replace_text(folder / f"{check_id(name)}.json", split.to_json() + "\n")
    except OSError as error:
        raise StoreError(f"cannot write a split into {folder}", got=str(error)) from error


def read_split(path: str | Path, name: str) -> Split:
    """A split that was kept with a dataset folder.

    Raises
    ------
    UsageError
        naming those that are there.
    """
    file = Path(path) / SPLITS / f"{name}.json"
    if not file.is_file():
        there = sorted(entry.stem for entry in file.parent.glob("*.json"))
        raise UsageError("dataset has no such split", got=name, expected=", ".join(there) or "none is kept with it")
    return Split.from_json(file.read_text(encoding="utf-8"))
