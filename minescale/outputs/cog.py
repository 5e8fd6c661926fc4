"""Export one period of a mosaic as a Cloud Optimized GeoTIFF, or a plain tiled GeoTIFF, with overviews.

GDAL's COG driver cannot make overviews by maximum, and a pit of two pixels must survive zooming out. So each
overview is made here, as a file of its own, and a VRT presents base and overviews to the driver, which copies them.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

import numpy as np

from minescale.errors import StoreError, UsageError
from minescale.planning.plan import MOSAIC_FILE
from minescale.planning.run_dir import RunDir
from minescale.store.backend import storing
from minescale.store.codes import FINE_CODES, PROBABILITY, PROBABILITY_STEPS, PixelCode
from minescale.store.mosaic import Mosaic
from minescale.store.overviews import halve
from minescale.types import Period

Format = Literal["cog", "gtiff"]
FORMATS: tuple[Format, ...] = ("cog", "gtiff")

BLOCK = 512
"""Pixels along the edge of a block of the file."""
_WINDOW = 4 * BLOCK
"""Pixels along the edge of what is held in memory at a time."""
_DTYPES = {"uint8": "Byte", "uint16": "UInt16"}


def export_raster(
    folder: RunDir | str | Path,
    out: str | Path,
    *,
    variable: str = "probability",
    time: int | str | None = None,
    format: Format = "cog",  # noqa: A002  (the word every raster tool uses)
    level: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write one variable of one period of a scan's mosaic to ``out``.

    The file holds the mosaic's own codes: ``probability`` is uint8 with scale 0.004 and nodata 255, so ground that
    was not seen stays nodata. Memory is bounded by a few windows of 2048 x 2048 pixels, whatever the mosaic's size.

    Parameters
    ----------
    variable : probability, clear_count, reason or level.
    time : position of the period (negative counts from the end), or how its date begins (``2024``, ``2024-03``);
        default: the last period.
    level : 0 for full resolution, k for overview ``k`` of a finished scan.

    Raises
    ------
    UsageError
        Unknown variable, period, level or format; ``out`` exists and ``overwrite`` is not set.
    StoreError
        The mosaic cannot be read, or ``out`` cannot be written.
    """
    run = folder if isinstance(folder, RunDir) else RunDir(str(folder))
    target = Path(out)
    if format not in FORMATS:
        raise UsageError("unknown raster format", got=format, expected=" | ".join(FORMATS))
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists", fix="another file name, or --overwrite")
    mosaic = Mosaic.open(run.path(MOSAIC_FILE))
    code = _code(variable)
    index = find_period(mosaic.layout.periods, time)
    if not 0 <= level <= mosaic.layout.n_overviews:
        raise UsageError("mosaic has no such overview", got=level, expected=f"0 to {mosaic.layout.n_overviews}")
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as scratch:
            vrt = _Pyramid(mosaic, code, index, level, Path(scratch)).build()
            partial = target.parent / f".{uuid.uuid4().hex}.partial.tif"
            try:
                _copy(vrt, partial, format)
                os.replace(partial, target)  # noqa: PTH105  (atomic by contract)
            finally:
                partial.unlink(missing_ok=True)
    return target


def find_period(periods: tuple[Period, ...], time: int | str | None) -> int:
    """Position of the period that ``time`` names; the last where it is None.

    Raises
    ------
    UsageError
        where it names none, or several.
    """
    listed = ", ".join(str(p) for p in periods[:12])
    if time is None:
        return len(periods) - 1
    if isinstance(time, int):
        if not -len(periods) <= time < len(periods):
            raise UsageError("scan has no such period", got=time, expected=f"0 to {len(periods) - 1}: {listed}")
        return time % len(periods)
    found = [i for i, period in enumerate(periods) if str(period).startswith(time.strip())]
    if len(found) != 1:
        what = "date names several periods" if found else "scan has no such period"
        raise UsageError(what, got=time, expected=f"the beginning of one of {listed}")
    return found[0]


def _code(variable: str) -> PixelCode:
    for code in FINE_CODES:
        if code.name == variable:
            return code
    raise UsageError("mosaic has no such variable", got=variable, expected=", ".join(c.name for c in FINE_CODES))


class _Pyramid:
    """Base image and overviews as GeoTIFFs in a scratch folder, under one VRT."""

    def __init__(self, mosaic: Mosaic, code: PixelCode, time: int, level: int, scratch: Path) -> None:
        self.mosaic, self.code, self.time, self.level, self.scratch = mosaic, code, time, level, scratch
        self.geobox = mosaic.layout.overview_geobox(level)

    def build(self) -> Path:
        images = [self._base()]
        while max(self._shape(images[-1])) > BLOCK:
            images.append(self._halved(images[-1]))
        return self._vrt(images)

    def _base(self) -> Path:
        array = self.mosaic.array(self.level, self.code.name)
        rows, cols = self.geobox.shape.yx
        with self._create("base.tif", (rows, cols)) as (path, image):
            for y, x in _windows(rows, cols):
                with storing(self.mosaic.path, f"read {self.code.name}"):
                    block = np.asarray(array[self.time, y, x])
                image.write(block, 1, window=(_pair(y), _pair(x)))
        return path

    def _halved(self, finer: Path) -> Path:
        import rasterio

        ny, nx = self._shape(finer)
        rows, cols = -(-ny // 2), -(-nx // 2)
        with rasterio.open(finer) as source, self._create(f"{rows}x{cols}.tif", (rows, cols)) as (path, image):
            for y, x in _windows(rows, cols):
                window = ((2 * y.start, min(2 * y.stop, ny)), (2 * x.start, min(2 * x.stop, nx)))
                image.write(halve(source.read(1, window=window), self.code), 1, window=(_pair(y), _pair(x)))
        return path

    @contextlib.contextmanager
    def _create(self, name: str, shape: tuple[int, int]) -> Iterator[tuple[Path, Any]]:
        import rasterio

        path = self.scratch / name
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=shape[0],
            width=shape[1],
            count=1,
            dtype=self.code.dtype.name,
            transform=self.geobox.transform,  # only so that rasterio does not warn: the VRT says where it lies
            tiled=True,
            blockxsize=BLOCK,
            blockysize=BLOCK,
            compress="LZW",
            bigtiff="IF_SAFER",
        ) as image:
            yield path, image

    def _shape(self, path: Path) -> tuple[int, int]:
        import rasterio

        with rasterio.open(path) as image:
            return int(image.height), int(image.width)

    def _vrt(self, images: list[Path]) -> Path:
        ny, nx = self._shape(images[0])
        a, b, c, d, e, f = tuple(self.geobox.transform)[:6]
        crs = self.geobox.crs
        scale = f"<Scale>{1 / PROBABILITY_STEPS}</Scale><Offset>0</Offset>" if self.code is PROBABILITY else ""
        overviews = "".join(
            f'<Overview><SourceFilename relativeToVRT="1">{path.name}</SourceFilename><SourceBand>1</SourceBand>'
            "</Overview>"
            for path in images[1:]
        )
        tags = "".join(f'<MDI key="{escape(k)}">{escape(v)}</MDI>' for k, v in self._tags().items())
        text = (
            f'<VRTDataset rasterXSize="{nx}" rasterYSize="{ny}">'
            f"<SRS>{escape(crs.to_wkt() if crs is not None else '')}</SRS>"
            f"<GeoTransform>{c!r}, {a!r}, {b!r}, {f!r}, {d!r}, {e!r}</GeoTransform>"
            f"<Metadata>{tags}</Metadata>"
            f'<VRTRasterBand dataType="{_DTYPES[self.code.dtype.name]}" band="1">'
            f"<Description>{self.code.name}</Description><NoDataValue>{self.code.fill}</NoDataValue>{scale}"
            f'<SimpleSource><SourceFilename relativeToVRT="1">{images[0].name}</SourceFilename>'
            "<SourceBand>1</SourceBand></SimpleSource>"
            f"{overviews}</VRTRasterBand></VRTDataset>"
        )
        path = self.scratch / "all.vrt"
        path.write_text(text, encoding="utf-8")
        return path

    def _tags(self) -> dict[str, str]:
        provenance = self.mosaic.layout.provenance
        named = {key: provenance[key] for key in ("run_id", "model", "threshold") if key in provenance}
        return {
            "period": str(self.mosaic.layout.periods[self.time]),
            "long_name": str(self.code.attrs["long_name"]),
            **{f"minescale_{key}": str(value) for key, value in named.items()},
        }


def _copy(vrt: Path, target: Path, format: Format) -> None:  # noqa: A002
    import rasterio
    import rasterio.shutil

    shared: dict[str, Any] = {"COMPRESS": "DEFLATE", "BIGTIFF": "IF_SAFER"}
    with rasterio.Env(GDAL_CACHEMAX=64):
        if format == "cog":
            rasterio.shutil.copy(vrt, target, driver="COG", OVERVIEWS="FORCE_USE_EXISTING", BLOCKSIZE=BLOCK, **shared)
        else:
            layout = {"TILED": "YES", "BLOCKXSIZE": BLOCK, "BLOCKYSIZE": BLOCK, "COPY_SRC_OVERVIEWS": "YES"}
            rasterio.shutil.copy(vrt, target, driver="GTiff", **layout, **shared)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Failures of disk and GDAL as a StoreError that names the file."""
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    try:
        yield
    except StoreError:
        raise
    except (OSError, RasterioError, CPLE_BaseError) as error:
        raise StoreError(f"cannot write {target}", got=error, fix="a writable folder with free space") from error


def _windows(rows: int, cols: int) -> Iterator[tuple[slice, slice]]:
    for y in range(0, rows, _WINDOW):
        for x in range(0, cols, _WINDOW):
            yield slice(y, min(y + _WINDOW, rows)), slice(x, min(x + _WINDOW, cols))


def _pair(part: slice) -> tuple[int, int]:
    return part.start, part.stop
