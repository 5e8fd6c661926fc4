"""Columns of the table as models of pixels are fed with them, in training as in a scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minescale.models.pixel import SCALED_LIMIT


@dataclass(frozen=True, slots=True)
class Scaling:
    mean: NDArray[np.float32]
    """(feature,)"""
    std: NDArray[np.float32]
    """(feature,), 1 where a feature does not vary."""

    @classmethod
    def of(cls, x: NDArray[np.float32]) -> Scaling:
        """Mean and standard deviation of the values that there are, over all rows of (row, feature)."""
        known = np.isfinite(x)
        count = np.maximum(known.sum(axis=0), 1)
        values = np.where(known, x, 0).astype(np.float64)
        mean = values.sum(axis=0) / count
        spread = np.sqrt((np.where(known, values - mean, 0) ** 2).sum(axis=0) / count)
        return cls(mean.astype(np.float32), np.where(spread > 1e-9, spread, 1).astype(np.float32))

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(x - mean) / std``, cut at ±8, 0 where there is no value: what the kernel of the family ``pixel`` does."""
        scaled = np.nan_to_num((x - self.mean) / self.std, nan=0.0)
        return np.clip(scaled, -SCALED_LIMIT, SCALED_LIMIT, out=scaled).astype(np.float32)
