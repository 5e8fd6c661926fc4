"""Does the way a sample was come by betray its class?

Positives from one archive and negatives from another teach a model to tell the archives apart. Two questions find that
out without looking at a single pixel: how strongly class and source go together (Cramer's V), and whether a classifier
that sees nothing but how samples were acquired predicts their class.

A source whose name says its class (``dams``, ``forest``) predicts it perfectly, and a table cannot tell whether the
name or the archive does. It is taken for the archive, unless the set itself says which of its columns tell how
samples were acquired: ``provenance["acquisition"]``, a list of their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from minescale.errors import UsageError
from minescale.labels.auditing.classstats import class_counts, mining_values
from minescale.labels.sets.dataset import Dataset

ACQUISITION = ("source", "sensor", "image_date", "clear", "cloud")
"""Columns that say how a sample was acquired, for sets that do not say it themselves."""
MARGIN = 0.10
"""How far above chance a classifier of acquisition alone may be; or twice the standard error, if that is more."""
FOLDS, REPEATS = 5, 5
_LEVELS = 20
_RIDGE = 1e-2


def sample_classes(dataset: Dataset, counts: pd.DataFrame | None = None) -> NDArray[np.float64]:
    """(n,) class of each sample: its label, or 1 where its mask holds mining and 0 where not; NaN where it has neither.

    Parameters
    ----------
    counts : of all samples, as :func:`~minescale.labels.auditing.classstats.class_counts` gives them, where known
        already.
    """
    if "label" in dataset.samples:
        return dataset.samples["label"].to_numpy(float)
    known = class_counts(dataset) if counts is None else counts
    names = dataset.classes.names
    mining = known[[names[v] for v in mining_values(dataset.classes)]].sum(axis=1) > 0
    return np.where(known[list(names)].sum(axis=1) > 0, mining.astype(float), np.nan)


def contingency(column: pd.Series, classes: NDArray[np.float64]) -> pd.DataFrame:
    """Counts of samples: one row per value of the column (a missing one is ``null``), one column per class value."""
    known = ~np.isnan(classes)
    values = column[known].astype(object).where(column[known].notna(), "null").astype(str)
    return pd.crosstab(values.to_numpy(), classes[known].astype(int), rownames=[column.name], colnames=["class"])


def cramers_v(table: NDArray[np.int64] | pd.DataFrame) -> float:
    """Association of rows and columns, 0 to 1, corrected for the bias of small tables.

    Bergsma 2013, doi:10.1016/j.jkss.2012.10.002. 0 where there is one row or one column only.
    """
    counts = np.asarray(table, float)
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    rows, cols = counts.shape
    n = counts.sum()
    if min(rows, cols) < 2 or n < 2:
        return 0.0
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / n
    phi2 = ((counts - expected) ** 2 / expected).sum() / n
    phi2 = max(0.0, phi2 - (rows - 1) * (cols - 1) / (n - 1))
    rows, cols = rows - (rows - 1) ** 2 / (n - 1), cols - (cols - 1) ** 2 / (n - 1)
    smaller = min(rows, cols) - 1
    return float(np.sqrt(min(1.0, phi2 / smaller))) if smaller > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataScore:
    """How well acquisition alone predicts the class, on sites that the classifier has not seen."""

    columns: tuple[str, ...]
    samples: int
    balanced_accuracy: float
    """Mean over classes of the share that is predicted right."""
    chance: float
    allowed: float
    """Largest balanced accuracy that passes."""

    @property
    def betrays(self) -> bool:
        return self.balanced_accuracy > self.allowed


def metadata_score(
    dataset: Dataset,
    classes: NDArray[np.float64],
    columns: Sequence[str] | None = None,
    *,
    margin: float = MARGIN,
    seed: int = 0,
) -> MetadataScore | None:
    """Cross-validate a classifier that sees the acquisition columns only.

    Multinomial logistic regression on one-hot columns, classes weighted alike, ridge penalty; five folds by site, dealt
    five times, because a few large sites make one dealing a matter of luck.

    Parameters
    ----------
    classes : (n,) as :func:`sample_classes` gives them; samples with NaN are left out.
    columns : default: :func:`acquisition_columns`.

    Returns
    -------
    None where there is nothing to find: one class, fewer than two sites, or columns that are the same for all.

    Raises
    ------
    UsageError
        for columns that the set does not have.
    """
    wanted = acquisition_columns(dataset) if columns is None else list(columns)
    missing = [c for c in wanted if c not in dataset.samples]
    if missing:
        raise UsageError(f"dataset {dataset.name} lacks columns", got=missing, expected=" | ".join(dataset.samples))
    rows = np.flatnonzero(~np.isnan(classes))
    levels = {c: acquisition_levels(dataset.samples[c].iloc[rows]) for c in wanted}
    telling = [c for c in wanted if len(levels[c].unique()) > 1]
    values, y = np.unique(classes[rows], return_inverse=True)
    sites = pd.factorize(dataset.samples["site"].iloc[rows])[0]
    if len(values) < 2 or not telling or sites.max(initial=0) < 1:
        return None
    x = np.concatenate([pd.get_dummies(levels[c]).to_numpy(float) for c in telling], axis=1)
    n_sites, sizes = int(sites.max()) + 1, np.bincount(y)
    rng, accuracy = np.random.default_rng(seed), []
    for _ in range(REPEATS):
        fold = rng.permutation(n_sites)[sites] % min(FOLDS, n_sites)
        guess = np.zeros(len(y), np.intp)
        for f in np.unique(fold):
            here = fold == f
            guess[here] = _predict(_fit(x[~here], y[~here], len(values)), x[here])
        accuracy.append((np.bincount(y, weights=guess == y) / sizes).mean())
    chance = 1 / len(values)
    error = np.sqrt((chance * (1 - chance) / sizes).sum()) / len(values)
    return MetadataScore(
        columns=tuple(telling),
        samples=len(y),
        balanced_accuracy=float(np.mean(accuracy)),
        chance=chance,
        allowed=chance + max(margin, 2 * float(error)),
    )


def acquisition_columns(dataset: Dataset) -> list[str]:
    """Columns that say how samples were acquired: as the set names them, else those of :data:`ACQUISITION` it has."""
    named = dataset.provenance.get("acquisition")
    return [str(c) for c in named] if named else [c for c in ACQUISITION if c in dataset.samples]


def common_support(
    dataset: Dataset, columns: Sequence[str], classes: NDArray[np.float64] | None = None
) -> NDArray[np.intp]:
    """Rows whose combination of acquisition columns is found in every class of the set: where classes can be compared.

    Raises
    ------
    UsageError
        for columns that the set does not have, or where no combination holds every class.
    """
    missing = [c for c in columns if c not in dataset.samples]
    if missing:
        raise UsageError(f"dataset {dataset.name} lacks columns", got=missing, expected=" | ".join(dataset.samples))
    known = sample_classes(dataset) if classes is None else classes
    keys = pd.concat([acquisition_levels(dataset.samples[c]) for c in columns], axis=1)
    stratum = pd.Series(keys.groupby(list(keys.columns), sort=False).ngroup().to_numpy())
    labelled = ~np.isnan(known)
    n_classes = len(np.unique(known[labelled]))
    held = pd.Series(known[labelled]).groupby(stratum[labelled].to_numpy()).nunique()
    rows = np.flatnonzero(labelled & stratum.isin(held.index[held == n_classes]).to_numpy())
    if not len(rows):
        raise UsageError(
            "no way of acquisition is shared by all classes",
            got=", ".join(columns),
            fix="other columns, or acquire all classes in one way",
        )
    return rows


def acquisition_levels(column: pd.Series) -> pd.Series:
    """A column as few categories.

    A date counts by its year, a period ``A/B`` (of a composite) as it is, many numbers by their quintile, a missing
    value as ``null``.
    """
    if column.name == "image_date":
        text = column.astype(object).where(column.notna(), "null").astype(str)
        column = text.where(text.str.contains("/"), text.str[:4]).rename("image_date")
    elif pd.api.types.is_float_dtype(column) and column.nunique() > _LEVELS:
        column = pd.qcut(column, 5, labels=False, duplicates="drop")
    return column.astype(object).where(column.notna(), "null").astype(str)


def _fit(x: NDArray[np.float64], y: NDArray[np.intp], k: int) -> NDArray[np.float64]:
    """(1 + feature, class) weights, bias first. Equal rows enter once, with their weight."""
    rows, place = np.unique(np.column_stack([np.ones(len(x)), x]), axis=0, return_inverse=True)
    weight = 1.0 / np.maximum(np.bincount(y, minlength=k), 1)
    mass = np.zeros((len(rows), k))
    np.add.at(mass, (place.reshape(-1), y), weight[y])
    total = mass.sum()

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w = flat.reshape(-1, k)
        scores = rows @ w
        value = -(mass * log_softmax(scores, axis=1)).sum() / total + 0.5 * _RIDGE * (w[1:] ** 2).sum() / len(x)
        slope = rows.T @ (softmax(scores, axis=1) * mass.sum(axis=1, keepdims=True) - mass) / total
        slope[1:] += _RIDGE * w[1:] / len(x)
        return value, slope.ravel()

    found = minimize(loss, np.zeros(rows.shape[1] * k), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return np.asarray(found.x).reshape(-1, k)


def _predict(weights: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.asarray((np.column_stack([np.ones(len(x)), x]) @ weights).argmax(axis=1), np.intp)
