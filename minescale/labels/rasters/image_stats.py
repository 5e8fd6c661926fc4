"""What is in the bands of a set of images: one row of figures per image and band."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
from numpy.typing import NDArray

from minescale.labels.rasters.band_order import CLOUD

COLUMNS = ("image", "band", "min", "max", "mean", "std", "nodata_share", "unique")


def band_statistics(values: NDArray[Any], nodata: float | None) -> dict[str, float]:
    """Figures of one band, over pixels that hold an observation.

    Parameters
    ----------
    values : (y, x); NaN is never an observation.
    nodata : value of pixels without one.

    Returns
    -------
    min, max, mean, std (of the population) as float64; nodata_share 0-1; unique, the number of different values.
    The first four are NaN where nothing was observed.
    """
    missing = ~np.isfinite(values)
    if nodata is not None and not math.isnan(nodata):
        missing |= values == nodata
    seen = values[~missing]
    some = seen.size > 0
    return {
        "min": float(seen.min()) if some else math.nan,
        "max": float(seen.max()) if some else math.nan,
        "mean": float(seen.mean(dtype=np.float64)) if some else math.nan,
        "std": float(seen.std(dtype=np.float64)) if some else math.nan,
        "nodata_share": float(missing.mean()),
        "unique": float(np.unique(seen).size),
    }


def image_statistics(images: Iterable[Path], names: Iterable[tuple[str, ...]]) -> pd.DataFrame:
    """`COLUMNS` for every band of every image, one band in memory at a time.

    Parameters
    ----------
    names : for each image the names of its bands.
    """
    rows = []
    for path, bands in zip(images, names, strict=True):
        with rasterio.open(path) as image:
            rows += [
                {
                    "image": path.stem,
                    "band": band,
                    # A GeoTIFF has one nodata value for all bands; in a mask of zeros and ones 0 is an observation.
                    **band_statistics(image.read(i), None if band == CLOUD else image.nodatavals[i - 1]),
                }
                for i, band in enumerate(bands, 1)
            ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"unique": "int64"})


def write_statistics(table: pd.DataFrame, folder: Path) -> None:
    """``statistics.parquet`` and ``statistics.json`` (a list of rows; NaN is null) in a folder."""
    table.to_parquet(folder / "statistics.parquet", index=False)
    (folder / "statistics.json").write_text(table.to_json(orient="records", indent=1) + "\n", encoding="utf-8")
