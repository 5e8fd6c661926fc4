"""Colour pictures as part of a format: 8-bit PNG with the stretch that made them written inside."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.pictures.previews import Stretch
from minescale.labels.sets.dataset import Dataset

PERCENTILES = (2.0, 98.0)
MOST = 200
"""Samples that a stretch for a whole set is measured on, spread evenly."""
AS_IS = Stretch((0.0, 0.0, 0.0), (255.0, 255.0, 255.0), (0.0, 100.0))
"""Leaves 8-bit pictures as they are."""
Bands = tuple[str, str, str]


def colour_bands(dataset: Dataset, bands: Sequence[str] | None) -> Bands:
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


def shown(dataset: Dataset, row: int, bands: Bands) -> NDArray[Any]:
    """(3, y, x) of a sample."""
    return dataset.reader.image(row)[[dataset.bands.index(name) for name in bands]]


def stretch_of_set(dataset: Dataset, rows: NDArray[np.intp], bands: Bands) -> Stretch:
    """One stretch for a set, so that equal ground looks equal in all of it.

    The median of the limits of up to :data:`MOST` of the samples at ``rows``; :data:`AS_IS` for uint8.
    """
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST)).astype(np.intp)]
    if shown(dataset, int(chosen[0]), bands).dtype == np.uint8:
        return AS_IS
    found = [Stretch.of(shown(dataset, row, bands), dataset.nodata, PERCENTILES) for row in chosen.tolist()]
    low, high = (np.median([getattr(s, end) for s in found], axis=0).tolist() for end in ("low", "high"))
    return Stretch((low[0], low[1], low[2]), (high[0], high[1], high[2]), PERCENTILES)


def describe(stretch: Stretch, bands: Bands) -> dict[str, Any]:
    """JSON values: ``bands``, ``low``, ``high`` and ``percentiles``."""
    return {"bands": list(bands), **{name: list(values) for name, values in asdict(stretch).items()}}


def write_rgb_png(
    path: str | os.PathLike[str], image: NDArray[Any], nodata: float | None, stretch: Stretch, bands: Bands
) -> None:
    """Write three bands (3, y, x) as RGB PNG; its text chunk ``stretch`` is :func:`describe` as JSON."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    notes.add_text("stretch", json.dumps(describe(stretch, bands), sort_keys=True))
    Image.fromarray(stretch.apply(image, nodata), mode="RGB").save(path, format="PNG", pnginfo=notes)
