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
from minescale.store.codes import PROBABILITY_STEPS

ON_TRAINING, ON_THE_TRUTH = "training regions", "a part of the truth itself (optimistic)"

STEP = 0.001
"""Thresholds are multiples of this; normalised differences lie in [-1, 1]."""
_BINS = round(2 / STEP)

Direction = Literal[">", "<="]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexChoice:
    """An index, a direction and a threshold that were chosen beforehand, on other ground."""

    index: str
    direction: Direction
    threshold: float

    @classmethod
    def from_metrics(cls, values: Mapping[str, Any]) -> IndexChoice:
        """Read a package's ``best_single_index``, in either of two forms.

        ``{"index": "NDVI", "direction": "<=", "threshold": 0.25}``; or without a direction, as a map that was scored
        like a probability: ``index`` is ``-NDVI`` where low values mean mines, and ``threshold`` a whole code of
        ``(±index + 1) / 2`` in steps of 0.004.

        Raises
        ------
        UsageError
            where neither fits.
        """
        try:
            name, cut = str(values["index"]), float(values["threshold"])
            if "direction" in values:
                directions: dict[str, Direction] = {">": ">", ">=": ">", "<": "<=", "<=": "<="}
                return cls(index=name, direction=directions[values["direction"]], threshold=cut)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError("index baseline of the package is not understood", got=dict(values)) from error
        # The code is rounded, so it is reached from half a step below.
        bound = 2 * (cut - 0.5 / PROBABILITY_STEPS) - 1
        low = name.startswith("-")
        return cls(index=name.removeprefix("-"), direction="<=" if low else ">", threshold=-bound if low else bound)


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

    def known(self, choice: IndexChoice) -> IndexBaseline:
        """The score of a choice made on training regions; its threshold counts to a step of 0.001.

        Raises
        ------
        UsageError
            where the index was not counted.
        """
        if choice.index not in self._counts:
            raise UsageError("index baseline was not computed", got=choice.index, expected=", ".join(self._counts))
        k = int(np.clip(round((choice.threshold + 1) / STEP), 0, _BINS))
        return IndexBaseline(
            index=choice.index,
            direction=choice.direction,
            threshold=round(k * STEP - 1, 3),
            fitted_on=ON_TRAINING,
            score=self._score(choice.index, choice.direction, k),
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
