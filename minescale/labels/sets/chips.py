"""One sample's pixels on disk: a GeoTIFF of its own, or a row of the Zarr arrays that all samples share."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from zarr.codecs import ZstdCodec

from minescale.errors import StoreError, UsageError
from minescale.store.backend import open_root, open_store, storing

GEO_COLUMNS = ("crs", "left", "top", "pixel_x", "pixel_y")
"""Columns of a sample table that say where a chip lies: its CRS, the outer corner of its first pixel, and the pixel's
edges, all in units of the CRS. ``pixel_y`` is positive: rows run south."""

_NAME = re.compile(r"[A-Za-z0-9_+=@,-][A-Za-z0-9._+=@,-]{0,199}")
_ENV = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
"""Without it GDAL lists the folder for side files at every open, which takes long among 100,000 chips."""


def check_id(name: str) -> str:
    """``name``, where it can be a file's name on any system.

    Raises
    ------
    UsageError
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            "sample id cannot name a file",
            got=repr(name),
            expected="up to 200 of A-Z a-z 0-9 . _ + = @ , - and no . in front",
        )
    return name


def geo_columns(geobox: GeoBox) -> dict[str, Any]:
    """The values of :data:`GEO_COLUMNS` for a north-up geobox."""
    a, _, c, _, e, f = tuple(geobox.affine)[:6]
    return {"crs": str(geobox.crs), "left": c, "top": f, "pixel_x": a, "pixel_y": -e}


def geobox_of(row: Mapping[str, Any], shape: tuple[int, int]) -> GeoBox | None:
    """The geobox of a row with :data:`GEO_COLUMNS`; None where the table does not say.

    Parameters
    ----------
    shape : (y, x) pixels of the chip.
    """
    values = [row.get(name) for name in GEO_COLUMNS]
    if any(value is None or value != value for value in values):  # noqa: PLR0124  (NaN)
        return None
    crs, left, top, width, height = values
    return GeoBox(shape, Affine(float(width), 0, float(left), 0, -float(height), float(top)), str(crs))  # type: ignore[arg-type]


def write_tif(
    path: Path,
    data: NDArray[Any],
    names: Sequence[str],
    *,
    geobox: GeoBox | None = None,
    nodata: float | None = None,
    tags: Mapping[str, str] | None = None,
    band_tags: Sequence[Mapping[str, str]] = (),
) -> None:
    """Write a chip so that it is there whole or not at all; equal arguments give equal bytes.

    Parameters
    ----------
    data : (band, y, x), any type GeoTIFF has.
    names : of the bands, kept as their descriptions.
    geobox : where it lies; None writes a TIFF without a place.
    band_tags : of each band, such as ``wavelength_um``.

    Raises
    ------
    StoreError
        where it cannot be written.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    count, height, width = data.shape
    place = {"crs": str(geobox.crs), "transform": geobox.affine} if geobox is not None else {}
    predictor = 2 if data.dtype.kind in "iu" else 3
    partial = path.with_name(f".{path.name}.partial")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with (
                rasterio.Env(**_ENV),
                rasterio.open(
                    partial, "w", driver="GTiff", count=count, height=height, width=width, dtype=data.dtype.name,
                    nodata=nodata, compress="DEFLATE", zlevel=1, predictor=predictor, interleave="BAND", **place,
                ) as image,
            ):  # fmt: skip
                image.write(data)
                image.descriptions = tuple(names)
                image.update_tags(**(tags or {}))
                for i, values in enumerate(band_tags, 1):
                    image.update_tags(i, **values)
        os.replace(partial, path)  # noqa: PTH105  (atomic by contract)
        return
    except (OSError, RasterioError) as error:
        cause = str(error)
    # Raised where no error of GDAL's is being handled: those do not survive the way from a worker, nor does what
    # remembers one.
    partial.unlink(missing_ok=True)
    raise StoreError(f"cannot write {path}", got=cause, fix="a writable folder with free space")


def read_tif(path: Path, bands: Sequence[int] | None = None) -> NDArray[Any]:
    """(band, y, x) of a chip; ``bands`` are positions from 0.

    Raises
    ------
    StoreError
        where the file is missing or broken.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.Env(**_ENV), rasterio.open(path) as image:
                return np.asarray(image.read(None if bands is None else [i + 1 for i in bands]))
    except (OSError, RasterioError) as error:
        cause = str(error)
    raise StoreError(f"cannot read {path}", got=cause, fix="build the dataset again")


class ChipStore:
    """All chips of a dataset in one Zarr v3 group: ``image`` (sample, band, y, x), and ``mask`` (sample, y, x).

    A chip is one chunk, so that writers never touch the same file.
    """

    def __init__(self, path: str | Path, *, writable: bool = False) -> None:
        self.path = str(path)
        with storing(self.path, "open chips"):
            root = open_root(self.path, read_only=not writable, consolidated=False)
            self._image: Any = root["image"]
            self._mask: Any = root.get("mask")

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        samples: int,
        bands: Sequence[str],
        shape: tuple[int, int],
        dtype: str,
        nodata: float | None,
        masks: bool,
        fill_mask: int,
    ) -> ChipStore:
        """Make the group with room for ``samples`` chips of ``shape`` (y, x). Metadata only: chips come later."""
        with storing(path, "create chips"):
            root = zarr.open_group(open_store(path, read_only=False), mode="w", zarr_format=3)
            shared: dict[str, Any] = {"compressors": [ZstdCodec(level=3, checksum=True)]}
            image = root.create_array(
                "image",
                shape=(samples, len(bands), *shape),
                chunks=(1, len(bands), *shape),
                dtype=dtype,
                fill_value=0 if nodata is None else nodata,
                dimension_names=("sample", "band", "y", "x"),
                **shared,
            )
            image.attrs["bands"] = list(bands)
            if masks:
                root.create_array(
                    "mask",
                    shape=(samples, *shape),
                    chunks=(1, *shape),
                    dtype="uint8",
                    fill_value=fill_mask,
                    dimension_names=("sample", "y", "x"),
                    **shared,
                )
        return cls(path, writable=True)

    def write(self, row: int, image: NDArray[Any], mask: NDArray[np.uint8] | None) -> None:
        """Write the chip of a row: image (band, y, x), mask (y, x).

        Raises
        ------
        UsageError
            for a chip of another shape.
        StoreError
            where it cannot be written.
        """
        if image.shape != self._image.shape[1:]:
            raise UsageError(
                "a chip of another shape cannot lie in the shared array",
                got=image.shape,
                expected=self._image.shape[1:],
                fix="one GeoTIFF for each sample (layout tif)",
            )
        with storing(self.path, "write a chip"):
            self._image[row] = image
            if mask is not None:
                self._mask[row] = mask

    def image(self, row: int, bands: Sequence[int]) -> NDArray[Any]:
        """(band, y, x), the bands at these positions."""
        with storing(self.path, "read a chip"):
            return np.asarray(self._image[row])[list(bands)]

    def mask(self, row: int) -> NDArray[np.uint8]:
        """(y, x)"""
        with storing(self.path, "read a mask"):
            return np.asarray(self._mask[row])
