"""What an audit needs to know of every sample, read once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.auditing.classstats import class_counts
from minescale.labels.auditing.confounding import sample_classes
from minescale.labels.preparation.augment import TURNS
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that an audit found."""

    check: str
    severity: Literal["error", "warning", "note"]
    """``error``: scores would mislead. ``warning``: look at it. ``note``: good to know."""
    message: str
    numbers: dict[str, Any] = field(default_factory=dict)
    """What the message rests on; JSON values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The samples of a split and what is known of each."""

    dataset: Dataset
    split: Split
    table: pd.DataFrame
    """Of the samples that have a part; index: their row in the set. Columns of the set, ``part``, ``parent``, and
    ``pixels``: :func:`digest` of the image, null where it is blank or was not read."""
    counts: pd.DataFrame
    """Class counts by the same index (:func:`~minescale.labels.auditing.classstats.class_counts`)."""
    classes: NDArray[np.float64]
    """Class of each sample of the table; NaN where unknown."""
    unknown: int
    """Ids of the split that the set does not have."""

    @property
    def seen_val(self) -> bool:
        """Whether the split says that val holds sites of train."""
        return self.split.settings.get("val_mode") == "seen"


def survey(dataset: Dataset, split: Split, *, pixels: bool) -> Survey:
    """Read labels, and images where ``pixels``, of every sample that has a part.

    Raises
    ------
    UsageError
        where none has.
    """
    part = dataset.samples["id"].map(split.parts)
    table = dataset.samples.assign(part=part, parent=dataset.parents())[part.notna()]
    if table.empty:
        raise UsageError(
            f"no sample of {dataset.name} belongs to a part of the split",
            got=f"{len(split.parts)} ids, such as {next(iter(split.parts), 'none')}",
            expected=f"ids such as {dataset.samples['id'].iloc[0]}",
        )
    rows = table.index.to_numpy()
    table["pixels"] = [digest(dataset.reader.image(int(row))) for row in rows] if pixels else None
    counts = class_counts(dataset, rows)
    judged = dataset.subset(rows)
    return Survey(
        dataset=dataset,
        split=split,
        table=table,
        counts=counts,
        classes=sample_classes(judged, counts.reset_index(drop=True)),
        unknown=len(split.parts) - len(table),
    )


def digest(image: NDArray[Any]) -> str | None:
    """Name of an image's pixels that stays the same when it is turned or mirrored; None for a blank one."""
    flat = image.reshape(len(image), -1)
    if not image.size or not (np.fmax.reduce(flat, axis=1) > np.fmin.reduce(flat, axis=1)).any():
        return None
    return min(
        hashlib.blake2b(np.ascontiguousarray(turn(image)).tobytes(), digest_size=16).hexdigest() for turn in TURNS
    )
