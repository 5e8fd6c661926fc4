"""Samples that lie in files: images and masks by path, whatever picture format each is in."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from minescale.errors import StoreError, UsageError
from minescale.labels.sets.chips import GEO_COLUMNS, read_tif
from minescale.labels.sets.classes import ClassMap
from minescale.labels.sets.label_png import read_label_png

TIFF = (".tif", ".tiff")
PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class FileReader:
    """A :class:`~minescale.labels.sets.dataset.ChipReader` over files below one folder."""

    root: Path
    images: tuple[str, ...]
    """Path of each sample's image, relative to ``root``."""
    masks: tuple[str | None, ...] | None
    """Path of each sample's mask; None: whole samples are labelled."""
    classes: ClassMap
    mask_band: int = 0
    """Band of a mask file, from 0."""

    @classmethod
    def of(cls, root: Path, samples: pd.DataFrame, classes: ClassMap) -> FileReader:
        """The files that the columns ``file`` and, where there is one, ``label_file`` of a table name."""
        masks = None
        if "label_file" in samples:
            masks = tuple(None if pd.isna(name) else str(name) for name in samples["label_file"])
        return cls(root, tuple(samples["file"]), masks, classes)

    def image(self, row: int) -> NDArray[Any]:
        """(band, y, x)"""
        return read_image(self.root / self.images[row])

    def mask(self, row: int) -> NDArray[np.uint8] | None:
        """(y, x) class values."""
        name = None if self.masks is None else self.masks[row]
        if name is None:
            return None
        path = self.root / name
        if path.suffix.lower() not in TIFF:
            return read_label_png(path, self.classes)
        label = read_tif(path, [self.mask_band])[0].astype(np.uint8)
        self.classes.check(label, name)
        return label


def read_image(path: Path) -> NDArray[Any]:
    """(band, y, x) of a GeoTIFF, or of an 8-bit picture, whose bands are red, green, blue or grey.

    Raises
    ------
    StoreError
        where it is missing or broken.
    """
    if path.suffix.lower() in TIFF:
        return read_tif(path)
    from PIL import Image

    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture if picture.mode in {"L", "RGB"} else picture.convert("RGB"))
    except OSError as error:
        raise StoreError(f"cannot read {path}", got=error, fix="build the dataset again") from error
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def is_image(path: Path) -> bool:
    return path.suffix.lower() in (*TIFF, *PICTURES) and not path.name.startswith(".")


@dataclass(frozen=True, slots=True)
class Header:
    """What an image file says of itself."""

    shape: tuple[int, int]
    bands: tuple[str, ...]
    """Descriptions of the bands; ``band_1`` and so on where the file has none."""
    dtype: str
    nodata: float | None
    tags: dict[str, str]
    place: dict[str, Any]
    """Values of :data:`minescale.labels.sets.chips.GEO_COLUMNS`; empty where it lies nowhere, or not north-up."""


def header_of(path: Path) -> Header:
    """Read a file's header.

    Raises
    ------
    StoreError
        where it is missing or broken.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as image:
                a, b, c, d, e, f = tuple(image.transform)[:6]
                placed = image.crs is not None and not b and not d and a > 0 > e
                return Header(
                    shape=image.shape,
                    bands=tuple(name or f"band_{i}" for i, name in enumerate(image.descriptions, 1)),
                    dtype=image.dtypes[0],
                    nodata=image.nodata,
                    tags=image.tags(),
                    place=dict(zip(GEO_COLUMNS, (image.crs.to_string(), c, f, a, -e), strict=True)) if placed else {},
                )
    except (OSError, RasterioError) as error:
        raise StoreError(f"cannot read {path}", got=error, fix="build the dataset again") from error


def common_bands(headers: Iterable[Header], where: str) -> tuple[str, ...]:
    """The bands that all files have.

    Raises
    ------
    UsageError
        where they differ.
    """
    found = list(dict.fromkeys(header.bands for header in headers))
    if len(found) != 1:
        raise UsageError(f"images of {where} have different bands", got=found[:3], expected="the same in every file")
    return found[0]


def with_places(samples: pd.DataFrame, headers: list[Header]) -> pd.DataFrame:
    """The table with the columns that say where each chip lies, if any file says so."""
    if not any(header.place for header in headers):
        return samples
    places = pd.DataFrame([header.place for header in headers], columns=list(GEO_COLUMNS))
    return pd.concat([samples.reset_index(drop=True), places], axis=1)
