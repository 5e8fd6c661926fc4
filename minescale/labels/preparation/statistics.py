"""Statistics of a set's bands in one pass: percentiles, mean, deviation, histogram.

Values are counted in 65,536 bins per band that need no range beforehand: integers of up to 16 bits by their value,
which is exact; floats by the upper half of their float32 bits, which are about 0.8 % wide. Percentiles of floats are
therefore right within 0.4 % of the value, whatever its size. Counts of two halves of a set add up to those of the
whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.sets.dataset import Dataset

BINS = 65536
HISTOGRAM_BINS = 64
"""Bins of the histogram that is written down."""


@dataclass(slots=True)
class Statistics:
    """What is known of each band of the images seen so far."""

    bands: tuple[str, ...]
    nodata: float | None = None
    """Value that is not counted; NaN and infinity never are."""
    images: int = 0
    missing: NDArray[np.int64] = field(init=False)
    """(band,) pixels without an observation."""
    counts: NDArray[np.int64] = field(init=False)
    """(band, 65536) observations by value."""
    mean: NDArray[np.float64] = field(init=False)
    """(band,) NaN where nothing was seen."""
    _squares: NDArray[np.float64] = field(init=False)
    _range: NDArray[np.float64] = field(init=False)
    _kind: str = field(init=False, default="")

    def __post_init__(self) -> None:
        n = len(self.bands)
        self.missing, self.counts = np.zeros(n, np.int64), np.zeros((n, BINS), np.int64)
        self.mean, self._squares = np.full(n, np.nan), np.zeros(n)
        self._range = np.array([[math.inf, -math.inf]] * n)

    @property
    def n(self) -> NDArray[np.int64]:
        """(band,) observations."""
        return self.counts.sum(axis=1)

    @property
    def std(self) -> NDArray[np.float64]:
        """(band,) standard deviation of the population; NaN where nothing was seen."""
        return np.sqrt(np.divide(self._squares, self.n, out=np.full(len(self.bands), np.nan), where=self.n > 0))

    @property
    def low(self) -> NDArray[np.float64]:
        """(band,) smallest observation; infinity where nothing was seen."""
        return self._range[:, 0]

    @property
    def high(self) -> NDArray[np.float64]:
        """(band,) largest observation; minus infinity where nothing was seen."""
        return self._range[:, 1]

    def add(self, image: NDArray[Any]) -> None:
        """Count an image.

        Parameters
        ----------
        image : (band, y, x), integers of up to 16 bits or floats; one kind for all images.

        Raises
        ------
        UsageError
            for another number of bands, or another kind of number than before.
        """
        if image.ndim != 3 or len(image) != len(self.bands):
            raise UsageError("image does not fit", got=image.shape, expected=f"({len(self.bands)} bands, y, x)")
        self._is_of(_kind(image.dtype))
        self.images += 1
        for i, band in enumerate(image):
            seen = np.isfinite(band)
            if self.nodata is not None:
                seen &= band != self.nodata
            values = band[seen]
            self.missing[i] += band.size - values.size
            if values.size:
                exact = values.astype(np.float64)
                mean = float(exact.mean())
                self._join(i, values.size, mean, float(((exact - mean) ** 2).sum()), exact.min(), exact.max())
                self.counts[i] += np.bincount(_codes(values), minlength=BINS)

    def merge(self, other: Statistics) -> None:
        """Add what another saw of other images.

        Raises
        ------
        UsageError
            where the bands differ.
        """
        if other.bands != self.bands:
            raise UsageError("statistics of different bands", got=other.bands, expected=self.bands)
        if not other.images:
            return
        self._is_of(other._kind)
        for i, n in enumerate(other.n):
            if n:
                self._join(i, int(n), float(other.mean[i]), float(other._squares[i]), *other._range[i])
        self.images += other.images
        self.missing += other.missing
        self.counts += other.counts

    def percentile(self, q: float) -> NDArray[np.float64]:
        """(band,) values below which ``q`` percent lie, as :func:`numpy.percentile` interpolates; NaN where none."""
        if not 0 <= q <= 100:
            raise UsageError("percentile", got=q, expected="0 to 100")
        result = np.full(len(self.bands), np.nan)
        values = _values(self._kind)
        for i, n in enumerate(self.n):
            if n:
                rank = (int(n) - 1) * q / 100
                below, above = np.searchsorted(np.cumsum(self.counts[i]), [math.floor(rank), math.ceil(rank)], "right")
                step = rank - math.floor(rank)
                value = values[below] * (1 - step) + values[above] * step
                result[i] = np.clip(value, self.low[i], self.high[i])
        return result

    def histogram(self, band: str, bins: int = HISTOGRAM_BINS) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(bins,) counts and (bins + 1,) edges between a band's smallest and largest observation.

        Raises
        ------
        UsageError
            for an unknown band, or one without observations.
        """
        if band not in self.bands:
            raise UsageError("no statistics of this band", got=band, expected=", ".join(self.bands))
        i = self.bands.index(band)
        if not self.n[i]:
            raise UsageError(f"band {band} has no observation", got=f"{self.images} images")
        values = np.clip(_values(self._kind), self.low[i], self.high[i])
        counts, edges = np.histogram(values, bins, (self.low[i], self.high[i]), weights=self.counts[i])
        return counts.astype(np.int64), edges

    def to_dict(self) -> dict[str, Any]:
        """What is worth keeping, as JSON values: per band P2, P98, mean, std, range, counts, 64 bins."""
        p2, p98, std = self.percentile(2), self.percentile(98), self.std
        described: dict[str, Any] = {}
        for i, (band, n) in enumerate(zip(self.bands, self.n.tolist(), strict=True)):
            described[band] = {"observations": n, "nodata": int(self.missing[i])}
            if n:
                counts, edges = self.histogram(band)
                described[band] |= {
                    "p2": p2[i],
                    "p98": p98[i],
                    "mean": self.mean[i],
                    "std": std[i],
                    "min": self.low[i],
                    "max": self.high[i],
                    "histogram": {"counts": counts.tolist(), "first_edge": edges[0], "last_edge": edges[-1]},
                }
        return {"images": self.images, "bands": described}

    def _join(self, i: int, n: int, mean: float, squares: float, low: float, high: float) -> None:
        """Means and squared deviations of two groups as one (Chan, Golub & LeVeque 1983)."""
        before = int(self.counts[i].sum())
        apart = mean - self.mean[i] if before else 0.0
        self.mean[i] = self.mean[i] + apart * n / (before + n) if before else mean
        self._squares[i] += squares + apart * apart * before * n / (before + n)
        self._range[i] = min(self.low[i], low), max(self.high[i], high)

    def _is_of(self, kind: str) -> None:
        if self._kind not in ("", kind):
            raise UsageError("images hold different kinds of numbers", got=kind, expected=self._kind)
        self._kind = kind


def extract_statistics(dataset: Dataset, rows: Iterable[int] | None = None) -> Statistics:
    """Statistics over a reference set, image by image: memory does not grow with their number.

    Parameters
    ----------
    rows : which samples; default: all.

    Raises
    ------
    UsageError
        where an image has other bands than the set.
    """
    found = Statistics(dataset.bands, dataset.nodata)
    for row in range(len(dataset)) if rows is None else rows:
        found.add(dataset.reader.image(int(row)))
    return found


def _kind(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "f":
        return "float"
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return "unsigned"
    if dtype.kind == "i" and dtype.itemsize <= 2:
        return "signed"
    raise UsageError(
        "statistics of this kind of number", got=dtype, expected="(u)int8, (u)int16 or floats", fix="astype"
    )


def _codes(values: NDArray[Any]) -> NDArray[np.intp]:
    """Bin of each value; the order of bins is that of values."""
    if values.dtype.kind == "u":
        return values.astype(np.intp)
    if values.dtype.kind == "i":
        return values.astype(np.intp) + BINS // 2
    upper = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.intp)
    # Negative floats sort the other way round by their bits.
    return np.where(upper < BINS // 2, upper + BINS // 2, BINS - 1 - upper)


def _values(kind: str) -> NDArray[np.float64]:
    """(65536,) the value that each bin stands for; the middle of those it holds."""
    codes = np.arange(BINS)
    if kind in ("", "unsigned"):
        return codes.astype(np.float64)
    if kind == "signed":
        return codes.astype(np.float64) - BINS // 2
    upper = np.where(codes >= BINS // 2, codes - BINS // 2, BINS - 1 - codes).astype(np.uint32)
    # Bins of infinity and NaN are never filled; those of 0 hold nothing else but numbers too small to matter.
    unused = ((upper & 0x7F80) == 0x7F80) | ((upper & 0x7FFF) == 0)
    return (
        ((np.where(unused, 0, upper) << np.uint32(16)) | np.where(unused, np.uint32(0), np.uint32(0x8000)))
        .astype(np.uint32)
        .view(np.float32)
        .astype(np.float64)
    )
