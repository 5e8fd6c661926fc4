"""Scores against truth as counts per sample and score level: every figure and every resample is a sum of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from minescale.errors import UsageError
from minescale.evaluation.scored import Scored
from minescale.outputs.evaluation import first_code
from minescale.store.codes import PROBABILITY_FILL, PROBABILITY_STEPS

Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Labelled units (chips, or pixels) of each sample by score."""

    unit: str
    """``chip`` or ``pixel``."""
    levels: NDArray[np.float64]
    """(level,) distinct scores, rising."""
    positives: Any
    """Sparse (sample, level) counts of units that hold the target."""
    negatives: Any
    """Sparse (sample, level) counts of those that do not."""
    samples: pd.DataFrame
    """The set's table, one row per sample counted, index 0..n-1."""
    rows: NDArray[np.intp]
    """(sample,) rows of the set."""
    unlabelled: int
    """Samples left out because nothing in them is labelled."""
    unseen: int
    """Labelled units without a score."""

    def totals(self) -> tuple[Counts, Counts]:
        """(level,) positives and negatives of all samples."""
        return _dense(self.positives.sum(axis=0)), _dense(self.negatives.sum(axis=0))

    def weighted(self, weights: Counts) -> tuple[Counts, Counts]:
        """(draw, level) positives and negatives where sample ``i`` counts ``weights[draw, i]`` times."""
        return np.asarray((self.positives.T @ weights.T).T), np.asarray((self.negatives.T @ weights.T).T)

    def level(self, threshold: float) -> int:
        """First level that reaches a threshold; the number of levels where none does."""
        if self.unit == "pixel":
            return min(first_code(threshold), len(self.levels))
        return int(np.searchsorted(self.levels, threshold - 1e-9))

    def confusion(self, threshold: float) -> Counts:
        """(sample, 4) counts tp, fp, fn, tn of the rule "score at least the threshold"."""
        cut = self.level(threshold)
        called, missed = (_dense(self.positives[:, part].sum(axis=1)) for part in (slice(cut, None), slice(cut)))
        alarms, rest = (_dense(self.negatives[:, part].sum(axis=1)) for part in (slice(cut, None), slice(cut)))
        return np.stack([called, alarms, missed, rest], axis=1)

    def holds(self) -> NDArray[np.bool_]:
        """(sample,) whether any of its units is positive."""
        return _dense(self.positives.sum(axis=1)) > 0


def tally(scored: Scored, *, raw: bool = False) -> Tally:
    """Count the units of a scored set.

    Parameters
    ----------
    raw : count scores as they were before the model's calibration.

    Raises
    ------
    UsageError
        where nothing is both labelled and seen.
    """
    if scored.codes is not None:
        codes = scored.raw_codes if raw and scored.raw_codes is not None else scored.codes
        return _of_pixels(scored, codes)
    scores = scored.raw_chips if raw and scored.raw_chips is not None else scored.chips
    if scores is None:
        raise UsageError("nothing was scored", expected="chips or codes")
    return _of_chips(scored, scores)


def pooled(tallies: Sequence[Tally]) -> Tally:
    """Counts of several sets as those of one; ``rows`` number its samples.

    Raises
    ------
    UsageError
        for none at all, or chips beside pixels.
    """
    units = {counted.unit for counted in tallies}
    if len(units) != 1:
        raise UsageError("counts cannot be pooled", got=", ".join(sorted(units)) or "none", expected="of one unit")
    levels = np.unique(np.concatenate([counted.levels for counted in tallies]))

    def spread(counted: Tally, counts: Any) -> Any:
        found = counts.tocoo()
        rows, columns = found.coords
        place = np.searchsorted(levels, counted.levels)[columns]
        return sparse.csr_array((found.data, (rows, place)), shape=(counts.shape[0], len(levels)))

    samples = pd.concat([counted.samples for counted in tallies], ignore_index=True)
    return Tally(
        unit=units.pop(),
        levels=levels,
        positives=sparse.vstack([spread(counted, counted.positives) for counted in tallies], format="csr"),
        negatives=sparse.vstack([spread(counted, counted.negatives) for counted in tallies], format="csr"),
        samples=samples,
        rows=np.arange(len(samples)),
        unlabelled=sum(counted.unlabelled for counted in tallies),
        unseen=sum(counted.unseen for counted in tallies),
    )


def _of_chips(scored: Scored, scores: NDArray[np.float32]) -> Tally:
    labels = scored.dataset.samples["label"].to_numpy(float)
    labelled = ~np.isnan(labels) & (labels != _ignored(scored))
    seen = labelled & ~np.isnan(scores)
    rows = np.flatnonzero(seen)
    _some(scored, len(rows))
    levels, place = np.unique(scores[rows].astype(np.float64), return_inverse=True)
    truth = np.isin(labels[rows], scored.positive)
    shape = (len(rows), len(levels))
    columns = place.reshape(-1)

    def counts(chosen: NDArray[np.bool_]) -> Any:
        at = np.flatnonzero(chosen)
        return sparse.csr_array((np.ones(len(at)), (at, columns[at])), shape=shape)

    return Tally(
        unit="chip",
        levels=levels,
        positives=counts(truth),
        negatives=counts(~truth),
        samples=scored.dataset.samples.iloc[rows].reset_index(drop=True),
        rows=rows,
        unlabelled=int((~labelled).sum()),
        unseen=int((labelled & ~seen).sum()),
    )


def _of_pixels(scored: Scored, codes: tuple[NDArray[np.uint8], ...]) -> Tally:
    n, dataset = len(codes), scored.dataset
    counts = np.zeros((2, n, PROBABILITY_FILL + 1))
    for row, code in enumerate(codes):
        mask = dataset.reader.mask(row)
        if mask is None or mask.shape != code.shape:
            raise UsageError(
                f"mask of {dataset.samples['id'].iloc[row]} does not fit its image",
                got=None if mask is None else mask.shape,
                expected=code.shape,
            )
        known = mask != _ignored(scored)
        mine = np.isin(mask, scored.positive)
        for k, chosen in enumerate((known & mine, known & ~mine)):
            counts[k, row] = np.bincount(code[chosen], minlength=PROBABILITY_FILL + 1)
    labelled = counts.sum(axis=(0, 2)) > 0
    seen = counts[:, :, : PROBABILITY_STEPS + 1]
    rows = np.flatnonzero(seen.sum(axis=(0, 2)) > 0)
    _some(scored, len(rows))
    return Tally(
        unit="pixel",
        levels=np.arange(PROBABILITY_STEPS + 1) / PROBABILITY_STEPS,
        positives=sparse.csr_array(seen[0, rows]),
        negatives=sparse.csr_array(seen[1, rows]),
        samples=dataset.samples.iloc[rows].reset_index(drop=True),
        rows=rows,
        unlabelled=int((~labelled).sum()),
        unseen=int(counts[:, :, PROBABILITY_FILL].sum()),
    )


def _ignored(scored: Scored) -> float:
    ignore = scored.dataset.classes.ignore
    return -1.0 if ignore is None else float(ignore)


def _some(scored: Scored, count: int) -> None:
    if not count:
        raise UsageError(
            f"nothing to evaluate in {scored.dataset.name}: no sample is both labelled and seen",
            expected="samples with a label and imagery",
        )


def _dense(values: Any) -> Counts:
    return np.asarray(values, np.float64).reshape(-1)
