"""Writing cloud-optimised GeoTIFFs whose bytes depend on the pixels alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.shutil import copy

OVERVIEWS = (2, 4, 8, 16)


def write_cog(
    path: Path,
    pixels: NDArray[np.generic],
    *,
    crs: str,
    transform: Affine,
    block: int,
    nodata: int | None = 0,
    average: bool = True,
    legend: dict[int, str] | None = None,
) -> None:
    """One band (y, x) with overviews 2, 4, 8, 16: averages that respect nodata, or the mode for classes."""
    height, width = pixels.shape
    levels = [f for f in OVERVIEWS if min(height, width) // f >= 32]
    with rasterio.open(
        "", "w", driver="MEM", height=height, width=width, count=1, dtype=pixels.dtype.name,
        crs=crs, transform=transform, nodata=nodata,
    ) as memory:  # fmt: skip
        memory.write(pixels, 1)
        if legend:
            memory.update_tags(1, **{f"class_{k}": v for k, v in legend.items()})
        if average and pixels.min() != nodata:
            # Nothing to leave out: averaging without a nodata value takes GDAL's fast path.
            memory.nodata = None
        memory.build_overviews(levels, Resampling.average if average else Resampling.mode)
        memory.nodata = nodata
        copy(
            memory, path, driver="COG", compress="DEFLATE", level=1, **({"predictor": 2} if average else {}),
            blocksize=block, overviews="FORCE_USE_EXISTING", bigtiff="NO", num_threads=1,
        )  # fmt: skip
