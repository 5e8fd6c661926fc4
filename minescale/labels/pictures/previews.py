"""Pictures of samples for the eye: true colour with a recorded stretch, polygons over it in semi-transparent red."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.errors import StoreError, UsageError
from minescale.labels.sets.chips import geobox_of
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.folder_layout import replace_text
from minescale.labels.sets.whole import whole

RED = (255, 0, 0)
ALPHA = 0.4
"""Share of red where polygons lie."""
STRETCH_FILE = "stretch.json"
Format = Literal["png", "jpeg"]
_SUFFIX = {"png": (".png", ".pgw"), "jpeg": (".jpg", ".jgw")}
_UNSEEN = (128, 128, 128)


@dataclass(frozen=True, slots=True)
class Stretch:
    """How numbers became grey levels: ``low`` and below is 0, ``high`` and above is 255, linear between."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    percentiles: tuple[float, float] = (2.0, 98.0)
    """What the limits were taken from."""

    @classmethod
    def of(
        cls, image: NDArray[Any], nodata: float | None = 0, percentiles: tuple[float, float] = (2.0, 98.0)
    ) -> Stretch:
        """Limits of three bands (3, y, x), each from its own pixels that have a value.

        Raises
        ------
        UsageError
            for percentiles that do not rise.
        """
        if not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise UsageError("percentiles of a stretch do not rise", got=percentiles, expected="0 <= low < high <= 100")
        low, high = [], []
        for band in image:
            seen = band[_seen(band, nodata)]
            below, above = np.percentile(seen, percentiles) if seen.size else (0.0, 1.0)
            low.append(float(below))
            high.append(float(max(above, below + 1e-6)))
        return cls((low[0], low[1], low[2]), (high[0], high[1], high[2]), percentiles)

    def apply(self, image: NDArray[Any], nodata: float | None = 0) -> NDArray[np.uint8]:
        """uint8 (y, x, 3); mid-grey where any band has no value."""
        low, high = (np.array(v, np.float64)[:, None, None] for v in (self.low, self.high))
        scaled = np.clip((image.astype(np.float64) - low) / (high - low), 0, 1)
        seen = np.logical_and.reduce([_seen(band, nodata) for band in image])
        levels = np.floor(np.nan_to_num(scaled) * 255 + 0.5).astype(np.uint8)
        return np.where(seen[..., None], np.moveaxis(levels, 0, -1), np.array(_UNSEEN, np.uint8))


def blend(picture: NDArray[np.uint8], mask: NDArray[Any], alpha: float = ALPHA) -> NDArray[np.uint8]:
    """Lay red over a picture where ``mask`` is set: ``(1 - alpha) * picture + alpha * red``, rounded.

    Parameters
    ----------
    picture : (y, x, 3)
    mask : (y, x), true where a polygon lies.
    """
    if not 0 <= alpha <= 1:
        raise UsageError("transparency is out of range", got=alpha, expected="0 (nothing to see) to 1 (solid red)")
    mixed = np.floor((1 - alpha) * picture.astype(np.float64) + alpha * np.array(RED) + 0.5).astype(np.uint8)
    return np.where(np.asarray(mask, bool)[..., None], mixed, picture)


def world_file(geobox: GeoBox) -> str:
    """The six lines that place a picture: x per column, y per column, x per row, y per row, first pixel's middle."""
    a, b, c, d, e, f = tuple(geobox.affine)[:6]
    numbers = (a, d, b, e, c + (a + b) / 2, f + (d + e) / 2)
    return "".join(f"{number:.10f}\n" for number in numbers)


def write_previews(
    dataset: Dataset,
    out: str | Path,
    *,
    rows: range | list[int] | None = None,
    bands: tuple[str, str, str] = ("red", "green", "blue"),
    percentiles: tuple[float, float] = (2.0, 98.0),
    alpha: float = ALPHA,
    format: Format = "png",  # noqa: A002  (the word every raster tool uses)
) -> list[Path]:
    """Write ``<id>.png`` (or ``.jpg``) for samples, a world file beside each that has a place, and ``stretch.json``.

    The limits of each picture are its own percentiles, and are written down: two pictures can be compared, and numbers
    be told from levels.

    Parameters
    ----------
    rows : of the table; all by default.
    bands : for red, green and blue; any three that the set has make a false-colour picture.

    Raises
    ------
    UsageError
        for bands that the set does not have, or a format that is none.
    StoreError
        where the folder cannot be written.
    """
    if format not in _SUFFIX:
        raise UsageError("unknown format of pictures", got=format, expected=" | ".join(_SUFFIX))
    lacking = [name for name in bands if name not in dataset.bands]
    if lacking:
        raise UsageError(
            f"dataset {dataset.name} lacks bands of the picture",
            got=", ".join(dataset.bands),
            expected=", ".join(lacking),
            fix="bands= with three that it has",
        )
    folder, which = Path(out), [dataset.bands.index(name) for name in bands]
    suffix, world = _SUFFIX[format]
    written, limits = [], {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for row in range(len(dataset)) if rows is None else rows:
            sample = dataset.samples.iloc[row].to_dict()
            image, mask = dataset.reader.image(row)[which], dataset.reader.mask(row)
            stretch = Stretch.of(image, dataset.nodata, percentiles)
            picture = stretch.apply(image, dataset.nodata)
            if mask is not None:
                picture = blend(picture, (mask != 0) & (mask != dataset.classes.ignore), alpha)
            target = folder / f"{sample['id']}{suffix}"
            _write(picture, target, format)
            geobox = geobox_of(sample, picture.shape[:2])
            if geobox is not None:
                replace_text(target.with_suffix(world), world_file(geobox))
            limits[str(sample["id"])] = asdict(stretch)
            written.append(target)
        document = {"bands": list(bands), "alpha": alpha, "pictures": limits}
        replace_text(folder / STRETCH_FILE, json.dumps(document, indent=1) + "\n")
    except OSError as error:
        raise StoreError(f"cannot write pictures into {folder}", got=str(error), fix="a writable folder") from error
    return written


def _write(picture: NDArray[np.uint8], target: Path, format: Format) -> None:  # noqa: A002
    from PIL import Image

    buffer = io.BytesIO()
    options: dict[str, Any] = {"quality": 92, "subsampling": 0} if format == "jpeg" else {"optimize": False}
    Image.fromarray(picture).save(buffer, format, **options)
    with whole(target) as partial:
        partial.write_bytes(buffer.getvalue())


def _seen(band: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    if band.dtype.kind == "f":
        finite = np.isfinite(band)
        return finite if nodata is None else finite & (band != nodata)
    return np.ones(band.shape, bool) if nodata is None else band != nodata
