"""What one spectral index and one threshold reach: the bar that a model has to clear."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.outputs.evaluation import PixelScore

ON_TRAINING, ON_THE_TRUTH = "training regions", "the truth itself (optimistic)"

STEP = 0.001
"""Thresholds are multiples of this; normalised differences lie in [-1, 1]."""
_BINS = round(2 / STEP)

Direction = Literal[">", "<="]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBaseline:
    """One index, one threshold, and its score."""

    index: str
    direction: Direction
    """``>``: mines where the index is above the threshold; ``<=``: at or below it."""
    threshold: float
    fitted_on: str
    """Where index, direction and threshold were chosen."""
    score: PixelScore

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class IndexTally:
    """Histograms of indices over mine and other ground, filled piece by piece: memory does not grow with the area."""

    def __init__(self) -> None:
        self._counts: dict[str, NDArray[np.int64]] = {}

    def add(self, name: str, values: NDArray[np.float32], mine: NDArray[np.bool_]) -> None:
        """Count one index; any shape, NaN = not seen. Values beyond [-1, 1] count as -1 and 1."""
        finite = np.isfinite(values)
        # Bin k holds (k - 1) * STEP - 1 < value <= k * STEP - 1, so the bins after k are the pixels above its cut.
        bins = np.clip(np.ceil((values[finite].astype(np.float64) + 1) / STEP - 1e-9), 0, _BINS).astype(np.int64)
        truth = mine[finite]
        counts = self._counts.setdefault(name, np.zeros((2, _BINS + 1), np.int64))
        counts[0] += np.bincount(bins[~truth], minlength=_BINS + 1)
        counts[1] += np.bincount(bins[truth], minlength=_BINS + 1)

    def best(self) -> IndexBaseline:
        """Index, direction and threshold of the highest F1 on what was counted: nobody could have known them before.

        Raises
        ------
        UsageError
            where nothing was counted.
        """
        directions: tuple[Direction, ...] = (">", "<=")
        fits = [self._fit(name, direction) for name in self._counts for direction in directions]
        if not fits:
            raise UsageError("no index to compare with", expected="at least one index added")
        return max(fits, key=lambda fit: fit.score.f1)

    def known(self, choice: Mapping[str, Any]) -> IndexBaseline:
        """The score of ``{"index", "direction", "threshold"}``, chosen on training regions.

        Raises
        ------
        UsageError
            where the index was not counted, or the direction is neither ``>`` nor ``<=``.
        """
        name, cut = str(choice["index"]), float(choice["threshold"])
        direction: Direction = ">" if str(choice["direction"]).startswith((">", "above")) else "<="
        if name not in self._counts:
            raise UsageError("index baseline was not computed", got=name, expected=", ".join(self._counts))
        k = int(np.clip(round((cut + 1) / STEP), 0, _BINS))
        return IndexBaseline(
            index=name, direction=direction, threshold=cut, fitted_on=ON_TRAINING, score=self._score(name, direction, k)
        )

    def _fit(self, name: str, direction: Direction) -> IndexBaseline:
        tp, fp, n_mine, _ = self._calls(name, direction)
        k = int(np.argmax(2 * tp / np.maximum(tp + fp + n_mine, 1)))
        return IndexBaseline(
            index=name,
            direction=direction,
            threshold=round(k * STEP - 1, 3),
            fitted_on=ON_THE_TRUTH,
            score=self._score(name, direction, k),
        )

    def _score(self, name: str, direction: Direction, k: int) -> PixelScore:
        tp, fp, n_mine, n_other = self._calls(name, direction)
        return PixelScore.of(int(tp[k]), int(fp[k]), n_mine - int(tp[k]), n_other - int(fp[k]))

    def _calls(self, name: str, direction: Direction) -> tuple[NDArray[np.int64], NDArray[np.int64], int, int]:
        """True and false positives for each threshold, and the pixels of either kind."""
        other, mine = self._counts[name]
        at_most_other, at_most_mine = other.cumsum(), mine.cumsum()
        n_other, n_mine = int(at_most_other[-1]), int(at_most_mine[-1])
        if direction == ">":
            return n_mine - at_most_mine, n_other - at_most_other, n_mine, n_other
        return at_most_mine, at_most_other, n_mine, n_other
