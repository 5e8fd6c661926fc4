"""Which classes a set holds and in what shares, by sample, part and neighbourhood; tiles of mere background out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels.cooccurrence import cooccurrence
from minescale.labels.sets.classes import ClassMap
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import PARTS, Split

NOT_MINING = ("background", "cloud")
"""Classes that are no sign of mining; every other one is."""


def mining_values(classes: ClassMap) -> list[int]:
    """Class values that stand for mining."""
    return [value for value, name in enumerate(classes.names) if name not in NOT_MINING and value > 0]


def class_counts(dataset: Dataset, rows: Sequence[int] | NDArray[np.intp] | None = None) -> pd.DataFrame:
    """Labelled pixels of each sample by class; of a set that labels whole samples, the sample counts as one.

    Returns
    -------
    DataFrame, index as ``rows``: one int64 column per class name, and ``ignored``.

    Raises
    ------
    UsageError
        for values that are no class.
    """
    chosen = np.arange(len(dataset)) if rows is None else np.asarray(rows, np.intp)
    n = len(dataset.classes.names)
    counts = np.zeros((len(chosen), n + 1), np.int64)
    for k, row in enumerate(chosen.tolist()):
        mask = dataset.reader.mask(row)
        if mask is None:
            mask = _as_pixel(dataset, row)
        dataset.classes.check(mask, f"the label of {dataset.samples['id'].iloc[row]}")
        counts[k, :n] = np.diag(cooccurrence(mask, n, 0, 0, dataset.classes.ignore))
        counts[k, n] = mask.size - counts[k, :n].sum()
    return pd.DataFrame(counts, index=chosen, columns=[*dataset.classes.names, "ignored"])


def _as_pixel(dataset: Dataset, row: int) -> NDArray[np.uint8]:
    label = dataset.samples["label"].iloc[row] if "label" in dataset.samples else None
    if label is None or pd.isna(label):
        return np.zeros((0, 1), np.uint8)
    return np.array([[label]], np.uint8)


def class_table(dataset: Dataset, split: Split | None = None, counts: pd.DataFrame | None = None) -> pd.DataFrame:
    """Classes per part.

    Parameters
    ----------
    counts : of all samples, as :func:`class_counts` gives them, where they are known already.

    Returns ------- DataFrame, one row per part that has samples (``all`` without a split): ``images``,
    ``without_mining`` (images without a single pixel of it), the classes and ``ignored`` (pixels; samples where those
    are labelled as a whole), and ``prevalence``, the share of mining among all that is not ignored: NaN where all is.
    """
    known = class_counts(dataset) if counts is None else counts
    mining = [dataset.classes.names[value] for value in mining_values(dataset.classes)]
    found: dict[str, dict[str, Any]] = {}
    for part in PARTS if split is not None else ("all",):
        rows = np.arange(len(dataset)) if split is None else split.rows(dataset, part)
        if len(rows):
            here = known.loc[rows]
            sums = here.sum()
            labelled = int(sums.sum() - sums["ignored"])
            found[part] = {
                "images": len(rows),
                "without_mining": int((here[mining].sum(axis=1) == 0).sum()),
                **sums.to_dict(),
                "prevalence": float(sums[mining].sum()) / labelled if labelled else float("nan"),
            }
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("part")


def total_cooccurrence(dataset: Dataset, dy: int = 0, dx: int = 1) -> NDArray[np.int64]:
    """(class, class) co-occurrence at an offset, summed over the masks of a set (`kernels.cooccurrence`).

    Raises
    ------
    UsageError
        for a set without masks.
    """
    n = len(dataset.classes.names)
    total = np.zeros((n, n), np.int64)
    for row in range(len(dataset)):
        mask = dataset.reader.mask(row)
        if mask is None:
            raise UsageError(f"dataset {dataset.name} labels whole samples", expected="masks, whose pixels co-occur")
        total += cooccurrence(mask, n, dy, dx, dataset.classes.ignore)
    return total


@dataclass(frozen=True, slots=True)
class Thinned:
    """A set without the tiles that are mere background."""

    dataset: Dataset
    max_share: float
    before: NDArray[np.float64] = field(repr=False)
    """(n,) share of class 0 in each tile; NaN where all of it is ignored."""
    kept: NDArray[np.intp] = field(repr=False)
    """Rows that stayed."""

    @property
    def after(self) -> NDArray[np.float64]:
        return self.before[self.kept]


def drop_background(dataset: Dataset, max_share: float, counts: pd.DataFrame | None = None) -> Thinned:
    """Leave out tiles of which more than ``max_share`` is class 0. Tiles without any label go too.

    For training only: a test without empty tiles says nothing about how often a scan calls empty ground a mine.

    Raises
    ------
    UsageError
        for a share outside 0-1, or where no tile is left.
    """
    if not 0 <= max_share <= 1:
        raise UsageError("largest share of class 0", got=max_share, expected="0 to 1")
    known = class_counts(dataset) if counts is None else counts
    labelled = known[list(dataset.classes.names)].to_numpy()
    total = labelled.sum(axis=1)
    share = np.divide(labelled[:, 0], total, out=np.full(len(total), np.nan), where=total > 0)
    kept = np.flatnonzero(share <= max_share)
    if not len(kept):
        raise UsageError(
            "every tile has more background", got=f"smallest share {np.nanmin(share):.4f}", expected=f"<= {max_share}"
        )
    record = {"max_background_share": max_share, "tiles_before": len(dataset), "tiles_after": len(kept)}
    thinned = dataset.subset(kept)
    return Thinned(replace(thinned, provenance=thinned.provenance | {"thinned": record}), max_share, share, kept)
