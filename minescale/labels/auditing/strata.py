"""Rates by stratum: false alarms per kind of negative, hits per country, each with its count and 95 % interval.

A pooled score hides where a model fails. Strata without a sample stay in the table, so that what was not tested shows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from minescale.errors import UsageError
from minescale.labels.sets.dataset import Dataset

LOOK_ALIKES = ("sandbar", "coal", "clearing")
"""What was taken for artisanal gold mining, or nearly, in the fifth seed's validation: active channel bars, formal coal
mining with its ponds, and deforestation for agriculture; by their names in
:data:`minescale.labels.places.hardnegatives.KINDS`."""
_Z = 1.959963984540054


def wilson(hits: ArrayLike, n: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end of the 95 % interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    0 to 1 where ``n`` is 0.
    """
    k, m = np.asarray(hits, float), np.asarray(n, float)
    share = np.divide(k, m, out=np.full(m.shape, 0.5), where=m > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (share + _Z**2 / (2 * m)) / (1 + _Z**2 / m)
        half = _Z / (1 + _Z**2 / m) * np.sqrt(share * (1 - share) / m + _Z**2 / (4 * m**2))
    low, high = np.where(m > 0, middle - half, 0.0), np.where(m > 0, middle + half, 1.0)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def rates(groups: pd.Series, hits: ArrayLike, expected: Sequence[str] = ()) -> pd.DataFrame:
    """Share of hits in each group.

    Parameters
    ----------
    groups : (n,) name of each sample's group; a missing one counts as ``unknown``.
    hits : (n,) bool.
    expected : groups that are listed even where no sample is of them.

    Returns
    -------
    DataFrame, index ``groups`` by name, ``expected`` ones first: n, hits, rate (NaN where n is 0), low, high.

    Raises
    ------
    UsageError
        where the two differ in length.
    """
    found = np.asarray(hits, bool)
    if found.shape != (len(groups),):
        raise UsageError("hits and groups differ in length", got=f"{found.shape}, {len(groups)}", expected="equal")
    names = groups.astype(object).where(groups.notna(), "unknown").astype(str)
    counts = pd.DataFrame({"n": 1, "hits": found.astype(int)}).groupby(names.to_numpy()).sum()
    order = [*expected, *(name for name in sorted(counts.index) if name not in expected)]
    counts = counts.reindex(order, fill_value=0).rename_axis(groups.name)
    low, high = wilson(counts["hits"], counts["n"])
    return counts.assign(rate=counts["hits"] / counts["n"].where(counts["n"] > 0), low=low, high=high)


def false_positive_rates(
    dataset: Dataset, mining: ArrayLike, called: ArrayLike, expected: Sequence[str] = LOOK_ALIKES
) -> pd.DataFrame:
    """False alarms per kind of negative (column ``kind``): n negatives, false alarms as ``hits``, rate, 95 % interval.

    Parameters
    ----------
    mining : (n,) bool, samples that hold mining; they are left out.
    called : (n,) bool, samples that the model calls mining.
    expected : kinds that are listed even where the set has none.

    Raises
    ------
    UsageError
        where lengths differ, or no sample is negative.
    """
    negative = ~np.asarray(mining, bool)
    if negative.shape != (len(dataset),) or np.shape(called) != negative.shape:
        raise UsageError("one answer per sample is needed", got=f"{np.shape(called)}", expected=f"({len(dataset)},)")
    if not negative.any():
        raise UsageError(f"dataset {dataset.name} has no negative: false alarms cannot be counted", fix="add negatives")
    kinds = dataset.samples["kind"] if "kind" in dataset.samples else pd.Series([None] * len(dataset), name="kind")
    return rates(kinds[negative], np.asarray(called, bool)[negative], expected)
