"""Make imagery of one source look like another's: percentiles matched band by band, detail beyond a grid removed.

Matching takes away differences of brightness between sources, which is also what tells some classes apart; it cannot
take away differences of resolution or compression. It is no cure for classes that come from different sources: the
audit of :mod:`minescale.labels.auditing.audit` asks whether the source betrays the class, and that is to be mended
by one way of acquisition for all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from minescale.errors import UsageError
from minescale.labels.preparation.statistics import Statistics
from minescale.labels.sets.dataset import ChipReader, Dataset

KERNEL = "DCT-II truncation"
"""How :func:`through` resamples: an ideal low-pass on the mirrored image."""
THROUGH_PX, SIZE_PX = 95, 512


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRange:
    """What images are matched to."""

    bands: tuple[str, ...]
    low: tuple[float, ...]
    """2nd percentile of each band."""
    high: tuple[float, ...]
    """98th percentile of each band."""

    def __post_init__(self) -> None:
        if not len(self.bands) == len(self.low) == len(self.high):
            raise UsageError("target needs a P2 and a P98 per band", got=f"{len(self.low)}, {len(self.high)}")
        flat = [b for b, low, high in zip(self.bands, self.low, self.high, strict=True) if not low < high]
        if flat:
            raise UsageError("target has no range", got=", ".join(flat), expected="P2 < P98, both finite")

    @classmethod
    def of(cls, statistics: Statistics) -> TargetRange:
        low, high = statistics.percentile(2), statistics.percentile(98)
        return cls(bands=statistics.bands, low=tuple(low.tolist()), high=tuple(high.tolist()))


def match_image_to_stats(image: NDArray[Any], target: TargetRange, nodata: float | None = None) -> NDArray[np.float32]:
    """Scale and shift each band so that its 2nd and 98th percentile become the target's.

    Parameters
    ----------
    image : (band, y, x), bands as in ``target``.
    nodata : value without an observation; NaN and infinity are none either.

    Returns ------- float32 (band, y, x) in the target's units, NaN where there is no observation. Values beyond the
    percentiles are scaled along, not clipped. A band whose percentiles coincide (constant, or nearly) becomes the
    middle of the target's range, plus what its few other pixels differ.

    Raises
    ------
    UsageError
        for another number of bands.
    """
    if image.ndim != 3 or len(image) != len(target.bands):
        raise UsageError("image does not fit the target", got=image.shape, expected=f"({len(target.bands)}, y, x)")
    matched = np.full(image.shape, np.nan, np.float32)
    for i, band in enumerate(image):
        seen = np.isfinite(band)
        if nodata is not None:
            seen &= band != nodata
        if not seen.any():
            continue
        values = band[seen].astype(np.float64)
        low, high = np.percentile(values, (2, 98))
        wanted_low, wanted_high = target.low[i], target.high[i]
        if high - low > 1e-9 * max(abs(low), abs(high)):
            gain = (wanted_high - wanted_low) / (high - low)
            matched[i, seen] = (values - low) * gain + wanted_low
        else:
            matched[i, seen] = values - low + (wanted_low + wanted_high) / 2
    return matched


def through(image: NDArray[Any], px: int = THROUGH_PX, size: int = SIZE_PX) -> NDArray[np.float32]:
    """Down to ``px`` by ``px`` pixels and up to ``size`` by ``size``, as one ideal low-pass.

    Of the image's cosine transform (DCT-II, which mirrors the image at its edges instead of wrapping it) the first
    ``px`` frequencies along each axis are kept: frequency k has k / 2 cycles per image, so all that remains lies
    below the Nyquist limit of ``px`` pixels. Sampled at ``px`` pixels and interpolated, those are the same numbers;
    the step in between is left out.

    Parameters
    ----------
    image : (band, y, x), at least ``px`` pixels high and wide; NaN = no data.
    px, size : edges in pixels, ``px <= size``.

    Returns
    -------
    float32 (band, size, size); NaN where less than half of the surroundings held data.

    Raises
    ------
    UsageError
        for an image that is coarser than ``px`` pixels: it has no detail to remove.
    """
    if image.ndim != 3 or min(image.shape[1:]) < px:
        raise UsageError("image is coarser than the grid it should pass", got=image.shape, expected=f"{px} px or more")
    if not 1 <= px <= size:
        raise UsageError("edges in pixels", got=f"{px}, {size}", expected="1 <= px <= size")
    values = image.astype(np.float64)
    seen = np.isfinite(values)
    if seen.all():
        return _low_pass(values, px, size).astype(np.float32)
    # Where data is missing the filter is normalised by the share of it that lay on data.
    share = _low_pass(seen.astype(np.float64), px, size)
    total = _low_pass(np.where(seen, values, 0.0), px, size)
    return np.where(share > 0.5, total / np.maximum(share, 0.5), np.nan).astype(np.float32)


def _low_pass(values: NDArray[np.float64], px: int, size: int) -> NDArray[np.float64]:
    spectrum = fft.dctn(values, axes=(1, 2), norm="forward")[:, :px, :px]
    wide = np.zeros((len(values), size, size))
    wide[:, :px, :px] = spectrum
    return fft.idctn(wide, axes=(1, 2), norm="forward")


def prepared(dataset: Dataset, target: TargetRange, px: int = THROUGH_PX, size: int = SIZE_PX) -> Dataset:
    """A set whose images are matched to ``target`` and passed through ``px`` pixels, when they are read.

    Masks are resampled to the same size by nearest neighbour. What was done stands in the provenance under
    ``preparation``: percentiles, pixels and the resampling kernel.

    Raises
    ------
    UsageError
        where the target has other bands than the set.
    """
    if target.bands != dataset.bands:
        raise UsageError("target is of other bands", got=target.bands, expected=dataset.bands)
    record = {
        "matched": {"percentiles": [2, 98], "low": list(target.low), "high": list(target.high)},
        "through_px": px,
        "size_px": size,
        "kernel": KERNEL,
        "mask_kernel": "nearest",
        "was_resolution_m": dataset.resolution_m,
    }
    return replace(
        dataset,
        reader=_Prepared(dataset.reader, target, dataset.nodata, px, size),
        nodata=float("nan"),
        resolution_m=None,
        provenance=dataset.provenance | {"preparation": record},
    )


@dataclass(frozen=True, slots=True)
class _Prepared:
    reader: ChipReader
    target: TargetRange
    nodata: float | None
    px: int
    size: int

    def image(self, row: int) -> NDArray[np.float32]:
        matched = match_image_to_stats(self.reader.image(row), self.target, self.nodata)
        return through(matched, self.px, self.size)

    def mask(self, row: int) -> NDArray[np.uint8] | None:
        mask = self.reader.mask(row)
        if mask is None:
            return None
        rows, cols = ((np.arange(self.size) + 0.5) * n / self.size for n in mask.shape)
        return mask[np.ix_(rows.astype(np.intp), cols.astype(np.intp))]
