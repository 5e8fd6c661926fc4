"""What a published layout cannot say about a set, kept beside it: ``minescale.json`` and ``samples.parquet``.

Every layout that is written here carries both, so that a set reads back as it was. A set from elsewhere has neither and
is read from what its files show.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from minescale.errors import StoreError, UsageError
from minescale.labels.sets.dataset import ChipReader, Dataset
from minescale.labels.sets.folder_layout import SAMPLES, FolderSpec, load_document, replace_text
from minescale.labels.sets.split import PARTS, Split

SIDECAR = "minescale.json"
VERSION = 1
LAYOUT_COLUMNS = (
    "file", "label_file", "height", "width", "chip", "first_row", "n_rows", "first_byte", "n_bytes",
)  # fmt: skip
"""Columns that say where a sample lies in a set on disk, and nothing of the sample itself."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something a validator found."""

    where: str
    """File or table, relative to the set."""
    what: str
    severe: bool = True
    """False: readable, but not as the format says."""

    def __str__(self) -> str:
        return f"{'error' if self.severe else 'note'}: {self.where}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """The description beside a set."""

    format: str
    spec: FolderSpec
    split: Split | None
    options: dict[str, Any] = field(default_factory=dict)
    """What the writer was asked for, and what it had to decide. JSON values only."""
    samples: pd.DataFrame

    def dataset(self, reader: ChipReader) -> Dataset:
        """The set, its pixels read by ``reader``."""
        return self.spec.dataset(self.samples, reader)


def write_sidecar(
    folder: Path, dataset: Dataset, *, form: str, split: Split | None, options: dict[str, Any], masks: bool
) -> None:
    """Describe the set that was written into ``folder``; ``dataset`` is what one reads back from it."""
    values = {
        "format": form,
        "version": VERSION,
        "dataset": FolderSpec.of(dataset, masks=masks).to_dict(),
        "split": None if split is None else json.loads(split.to_json()),
        "options": options,
    }
    dataset.samples.to_parquet(folder / SAMPLES, index=False)
    replace_text(folder / SIDECAR, json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_sidecar(folder: str | Path, form: str) -> Sidecar | None:
    """The description beside a set; None where it came without one.

    Raises
    ------
    StoreError
        where there is one, and it is broken or of another format.
    """
    root = Path(folder)
    if not (root / SIDECAR).is_file():
        return None
    try:
        values = load_document(root / SIDECAR)
        if (values["format"], values["version"]) != (form, VERSION):
            raise StoreError(
                f"{root / SIDECAR} describes another format",
                got=f"{values['format']} {values['version']}",
                expected=f"{form} {VERSION}",
            )
        return Sidecar(
            format=form,
            spec=FolderSpec.from_dict(values["dataset"]),
            split=None if values["split"] is None else Split.from_json(json.dumps(values["split"])),
            options=values["options"],
            samples=pd.read_parquet(root / SAMPLES),
        )
    except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
        raise StoreError(
            f"cannot read {root / SIDECAR} and {SAMPLES}", got=error, fix="remove both to read the files alone"
        ) from error


def without_layout(dataset: Dataset) -> Dataset:
    """The set without :data:`LAYOUT_COLUMNS`, which would be wrong in the next place it is written to."""
    return replace(dataset, samples=dataset.samples.drop(columns=list(LAYOUT_COLUMNS), errors="ignore"))


def parts_of(dataset: Dataset, split: Split | None) -> pd.Series:
    """Part of each sample, ``train``, ``val``, ``test`` or null: of the split, else as the set was published.

    Raises
    ------
    UsageError
        where the published column has other names.
    """
    if split is not None:
        return dataset.samples["id"].map(split.parts)
    if "split" not in dataset.samples:
        return pd.Series(None, index=dataset.samples.index, dtype=object)
    parts = dataset.samples["split"]
    strange = sorted(set(parts.dropna()) - set(PARTS))
    if strange:
        raise UsageError(f"dataset {dataset.name} has parts of other names", got=strange, expected=" | ".join(PARTS))
    return parts


def need_parts(dataset: Dataset, split: Split | None, form: str) -> pd.Series:
    """As :func:`parts_of`, for formats that have no place for a sample outside the parts.

    Raises
    ------
    UsageError
        where no sample belongs to a part.
    """
    parts = parts_of(dataset, split)
    if parts.notna().sum() == 0:
        raise UsageError(
            f"{form} needs a split", got=f"{dataset.name} without one", fix="split the set first: dataset split"
        )
    return parts
