"""Colour pictures of samples: 8-bit PNG with the stretch that made them written inside."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.dataset import Dataset

PERCENTILES = (2.0, 98.0)
MOST = 200
"""Samples that a stretch for a whole set is measured on, spread evenly."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """``(value - low) / (high - low) x 255``, band by band, cut at 0 and 255."""

    bands: tuple[str, str, str]
    """Shown as red, green and blue."""
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    percentiles: tuple[float, float] | None = PERCENTILES
    """What the limits are; None where they were given."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "bands": list(self.bands),
            "low": list(self.low),
            "high": list(self.high),
            "percentiles": None if self.percentiles is None else list(self.percentiles),
        }

    def picture(self, image: NDArray[Any], seen: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Three bands (3, y, x) as uint8 (y, x, 3); black where not ``seen`` (y, x)."""
        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        span = np.maximum(high - low, np.finfo(np.float32).tiny)
        scaled = (image.transpose(1, 2, 0).astype(np.float32) - low) / span
        values = np.floor(np.clip(np.nan_to_num(scaled), 0, 1) * 255 + np.float32(0.5))
        return np.where(seen[..., None], values, 0).astype(np.uint8)


def colour_bands(dataset: Dataset, bands: Sequence[str] | None) -> tuple[str, str, str]:
    """Bands to show: those asked for, else red, green and blue.

    Raises
    ------
    UsageError
        where the set has them not.
    """
    wanted = tuple(bands or ("red", "green", "blue"))
    missing = [name for name in wanted if name not in dataset.bands]
    if missing or len(wanted) != 3:
        raise UsageError(
            f"dataset {dataset.name} cannot be shown in these bands",
            got=list(wanted),
            expected=f"three of {', '.join(dataset.bands)}",
            fix="rgb=(...) with the bands to show as red, green and blue",
        )
    return wanted[0], wanted[1], wanted[2]


def shown(dataset: Dataset, row: int, bands: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Three bands (3, y, x) of a sample and where all of them were seen (y, x)."""
    image = dataset.reader.image(row)[[dataset.bands.index(name) for name in bands]]
    nodata = dataset.nodata
    if image.dtype.kind == "f":
        seen = np.isfinite(image).all(axis=0)
        return image, seen & (image != nodata).all(axis=0) if nodata is not None else seen
    return image, np.ones(image.shape[1:], np.bool_) if nodata is None else (image != nodata).all(axis=0)


def measure(
    image: NDArray[Any],
    seen: NDArray[np.bool_],
    bands: tuple[str, str, str],
    percentiles: tuple[float, float] = PERCENTILES,
) -> Stretch:
    """The stretch of one picture: percentiles of what was seen, band by band; 0 to 1 where nothing was."""
    if not seen.any():
        return Stretch(bands, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), percentiles)
    limits = [np.percentile(band[seen], percentiles) for band in image]
    low, high = (tuple(float(limit[i]) for limit in limits) for i in (0, 1))
    return Stretch(bands, (low[0], low[1], low[2]), (high[0], high[1], high[2]), percentiles)


def measure_set(dataset: Dataset, rows: NDArray[np.intp], bands: tuple[str, str, str]) -> Stretch:
    """One stretch for a set, so that equal ground looks equal in all of it.

    The median of the limits of up to :data:`MOST` of the samples at ``rows``. Three bands of uint8 stay as they are.
    """
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST)).astype(np.intp)]
    found = []
    for row in chosen.tolist():
        image, seen = shown(dataset, row, bands)
        if image.dtype == np.uint8:
            return Stretch(bands, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0), None)
        if seen.any():
            found.append(measure(image, seen, bands))
    if not found:
        return Stretch(bands, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    low, high = (np.median([getattr(s, end) for s in found], axis=0).tolist() for end in ("low", "high"))
    return Stretch(bands, (low[0], low[1], low[2]), (high[0], high[1], high[2]))


def write_rgb_png(path: str | os.PathLike[str], picture: NDArray[np.uint8], stretch: Stretch) -> None:
    """Write uint8 (y, x, 3) as RGB PNG; its text chunk ``stretch`` is the stretch as JSON."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    notes.add_text("stretch", json.dumps(stretch.to_dict(), sort_keys=True))
    Image.fromarray(picture, mode="RGB").save(path, format="PNG", pnginfo=notes)
