"""A folder of images and a set of polygons become a folder of inputs and labels, all or nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from minescale.errors import UsageError
from minescale.labels.rasters.band_order import CLOUD, band_names, position
from minescale.labels.rasters.epochs import check_gaps, with_gaps
from minescale.labels.rasters.image_stats import image_statistics, write_statistics
from minescale.labels.rasters.placing import extent_of, near
from minescale.labels.rasters.threeclass import (
    NDVI_LIMIT,
    base_mask,
    binary_label,
    cloud_from_band,
    cloud_from_quality,
    ndvi,
    with_clouds,
    without_vegetation,
)
from minescale.labels.sets.classes import BINARY, THREE_CLASS, ClassMap
from minescale.labels.sets.new_folder import new_folder
from minescale.labels.shapes.polygons import Polygons
from minescale.labels.shapes.sites import SiteMatch, date_of, match_sites, split_site

SCHEMES: dict[str, ClassMap] = {"three-class": THREE_CLASS, "binary": BINARY}
ENDINGS = (".tif", ".tiff")
INPUTS = 7
"""Bands that become input by default: the first seven."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRules:
    """How labels follow from images and polygons."""

    scheme: Literal["three-class", "binary"] = "three-class"
    band_order: str | None = None
    """Key of `minescale.labels.rasters.band_order.BAND_ORDERS`; None: the files name their bands."""
    clouds: str = "band"
    """``band``: a band of 0 and 1 named cloud; ``none``: there are no clouds; else the sensor whose quality band
    stands there (``landsat-c2-l2``, ``sentinel-2-l2a``)."""
    match: Literal["site", "place"] = "site"
    """Which polygons an image gets: those named as its site, or all that it shows."""
    ndvi_limit: float | None = NDVI_LIMIT
    """Greener pixels are no mine; None: no filter."""
    inputs: int = INPUTS
    """How many of the spectral bands are kept, from the first."""
    all_touched: bool = False
    edge_m: float = 0.0
    """Binary only: pixels closer than this to an edge are ignored."""
    allow_empty: bool = False
    """Accept that no image finds a polygon."""
    max_gap_days: int | None = None
    """How far an image may be from the year of the polygons; None: any, or unknown."""

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise UsageError("unknown scheme of labels", got=self.scheme, expected=" | ".join(SCHEMES))
        if self.match not in ("site", "place"):
            raise UsageError("unknown rule for matching", got=self.match, expected="site | place")
        if self.edge_m and self.scheme != "binary":
            raise UsageError("three classes have no value to ignore", got=f"edge {self.edge_m} m", fix="scheme binary")
        if self.inputs < 1:
            raise UsageError("no band would be kept", got=self.inputs, expected="1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReport:
    """What became of images and polygons."""

    labelled: list[str]
    pixels: dict[str, dict[str, int]]
    """By image and class, ``ignore`` where the scheme has such a value."""
    dates: dict[str, dict[str, Any]]
    """By image: ``image_date``, ``label_epoch`` and ``gap_days`` between them; null where unknown."""
    unmatched_images: list[str]
    unmatched_polygons: list[str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def label_images(
    images: str | Path | Sequence[Path], polygons: Polygons, out: str | Path, rules: LabelRules | None = None
) -> LabelReport:
    """Label every image by equations 1 to 4, keep its first bands, and write both with figures of what is there.

    ``out`` gets ``images/<name>.tif`` (the input bands, named; grid, type and nodata as they were),
    ``labels/<name>.tif`` (uint8 class values with a palette), ``statistics.parquet``, ``statistics.json`` and
    ``report.json``. It appears when all is written. Images without a polygon of their site are left out and reported.

    Parameters
    ----------
    images : a folder of GeoTIFFs, or files.

    Raises
    ------
    UsageError
        No image; ``out`` exists; names that match nothing; an image and the polygons of its site that do not overlap;
        bands that are not named, cloud bands that are not binary, images without a coordinate system; dates too far
        apart.
    StoreError
        where ``out`` cannot be written.
    """
    rules = rules or LabelRules()
    files = _listed(images)
    found = _matched(files, polygons, rules)
    chosen = [file for file in files if file.stem in found.rows]
    dates = _dates(chosen, polygons, rules)
    with new_folder(out) as work:
        (work / "images").mkdir()
        (work / "labels").mkdir()
        pixels, names = {}, []
        for file in chosen:
            own = replace(polygons, frame=polygons.frame.iloc[found.rows[file.stem]].reset_index(drop=True))
            pixels[file.stem], bands = _label(file, own, work, rules)
            names.append(bands)
        write_statistics(image_statistics(chosen, names), work)
        report = LabelReport(
            labelled=[file.stem for file in chosen],
            pixels=pixels,
            dates=dates,
            unmatched_images=found.unmatched_images,
            unmatched_polygons=found.unmatched_polygons,
        )
        source = {"source": polygons.source, "epoch": polygons.epoch, **asdict(polygons.report)}
        text = json.dumps({"rules": asdict(rules), "polygons": source, **report.to_dict()}, indent=1)
        (work / "report.json").write_text(text + "\n", encoding="utf-8")
    return report


def _listed(images: str | Path | Sequence[Path]) -> list[Path]:
    if isinstance(images, str | Path):
        folder = Path(images)
        if not folder.is_dir():
            raise UsageError(f"no such folder: {folder}")
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS)
    else:
        folder, files = Path("the list"), list(images)
    if not files:
        raise UsageError(f"no image in {folder}", expected="GeoTIFFs, " + " or ".join(ENDINGS))
    stems = [file.stem for file in files]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise UsageError("images share a name", got=twice[:5], expected="one file of each name")
    return files


def _matched(files: Sequence[Path], polygons: Polygons, rules: LabelRules) -> SiteMatch:
    """Rows of the polygons for each image. By site, images without any are left out; by place, they show no mine."""
    if rules.match == "site":
        found = match_sites([file.stem for file in files], polygons, allow_empty=rules.allow_empty)
        for file in files:
            rows = found.rows.get(file.stem, [])
            if rows and not _overlap(file, polygons, rows):
                raise UsageError(
                    f"image {file.name} and the polygons of its site do not overlap",
                    got=f"{len(rows)} polygons of {split_site(file.stem)[0]}",
                    expected="at least one within the image",
                    fix="check the image's coordinate system, or match by place",
                )
        return found
    every = list(range(len(polygons)))
    if not rules.allow_empty and not any(_overlap(file, polygons, every) for file in files):
        raise UsageError(
            f"no polygon of {polygons.source} lies in any of the images",
            got=f"{len(files)} images, polygons within {' '.join(f'{v:.4g}' for v in polygons.frame.total_bounds)}",
            fix="check the coordinate systems",
        )
    return SiteMatch({file.stem: every for file in files}, [], [])


def _dates(files: Sequence[Path], polygons: Polygons, rules: LabelRules) -> dict[str, dict[str, Any]]:
    """When images and polygons are of: by the image's tag ``date``, else by its name."""
    table = pd.DataFrame({"id": [file.stem for file in files], "label_epoch": polygons.epoch}, dtype=object)
    table["image_date"] = [_tagged_date(file) or date_of(file.stem) for file in files]
    gaps = with_gaps(table) if rules.max_gap_days is None else check_gaps(table, rules.max_gap_days)
    rows = json.loads(gaps.set_index("id").to_json(orient="index"))
    return {str(name): values for name, values in rows.items()}


def _tagged_date(file: Path) -> str | None:
    with _opened(file) as image:
        return image.tags().get("date")


def _overlap(file: Path, polygons: Polygons, rows: list[int]) -> bool:
    with _opened(file) as image:
        extent = extent_of(_geobox(image, file))
    own = replace(polygons, frame=polygons.frame.iloc[rows].reset_index(drop=True))
    return len(near(own, extent)) > 0


def _label(file: Path, polygons: Polygons, work: Path, rules: LabelRules) -> tuple[dict[str, int], tuple[str, ...]]:
    """Write one image's inputs and label; its pixels by class, and the names of its bands."""
    with _opened(file) as image:
        geobox = _geobox(image, file)
        names = _names(image, file, rules)
        cloud = _clouds(image, file, names, rules)
        mask = base_mask(polygons, geobox, all_touched=rules.all_touched)
        if rules.ndvi_limit is not None:
            near_infrared, red = (image.read(position(names, band) + 1) for band in ("nir", "red"))
            mask = without_vegetation(mask, ndvi(near_infrared, red), rules.ndvi_limit)
        if rules.scheme == "binary":
            label = binary_label(mask, cloud, polygons, geobox, rules.edge_m)
        else:
            label = with_clouds(mask, cloud)
        spectral = [i for i, name in enumerate(names) if name != CLOUD][: rules.inputs]
        _write_inputs(image, spectral, names, work / "images" / f"{file.stem}.tif")
    classes = SCHEMES[rules.scheme]
    classes.check(label, f"label of {file.name}")
    _write_label(label, geobox, classes, work / "labels" / f"{file.stem}.tif")
    counted = {name: int((label == value).sum()) for value, name in enumerate(classes.names)}
    if classes.ignore is not None:
        counted["ignore"] = int((label == classes.ignore).sum())
    return counted, names


def _names(image: DatasetReader, file: Path, rules: LabelRules) -> tuple[str, ...]:
    try:
        return band_names(image.descriptions, rules.band_order)
    except UsageError as error:
        raise UsageError(f"{file.name}: {error.what}", got=error.got, expected=error.expected, fix=error.fix) from error


def _clouds(image: DatasetReader, file: Path, names: Sequence[str], rules: LabelRules) -> NDArray[np.bool_]:
    if rules.clouds == "none":
        return np.zeros(image.shape, bool)
    if CLOUD not in names:
        raise UsageError(
            f"{file.name} has no cloud band", got=", ".join(names), expected=f"a band {CLOUD}", fix="clouds none"
        )
    band = image.read(list(names).index(CLOUD) + 1)
    return cloud_from_band(band, file.name) if rules.clouds == "band" else cloud_from_quality(band, rules.clouds)


def _write_inputs(image: DatasetReader, bands: list[int], names: Sequence[str], path: Path) -> None:
    kept = tuple(names[i] for i in bands)
    profile = {
        "driver": "GTiff", "height": image.height, "width": image.width, "count": len(bands), "nodata": image.nodata,
        "dtype": image.dtypes[bands[0]], "crs": image.crs, "transform": image.transform, "compress": "deflate",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as copy:
        for i, band in enumerate(bands, 1):
            copy.write(image.read(band + 1), i)
        copy.descriptions = kept
        copy.update_tags(**{k: v for k, v in image.tags().items() if k != "AREA_OR_POINT"}, bands=",".join(kept))


def _write_label(label: NDArray[np.uint8], geobox: GeoBox, classes: ClassMap, path: Path) -> None:
    rows, cols = label.shape
    colours = {i: (*bytes.fromhex(colour[1:]), 255) for i, colour in enumerate(classes.colours)}
    with rasterio.open(
        path, "w", driver="GTiff", height=rows, width=cols, count=1, dtype="uint8", nodata=classes.ignore,
        crs=str(geobox.crs), transform=geobox.affine, compress="deflate",
    ) as image:  # fmt: skip
        image.write(label, 1)
        image.write_colormap(1, colours)
        image.update_tags(1, **{f"class_{value}": name for value, name in enumerate(classes.names)})


def _geobox(image: DatasetReader, file: Path) -> GeoBox:
    if image.crs is None:
        raise UsageError(f"{file.name} has no coordinate system", fix="write the CRS into the file")
    return GeoBox.from_rio(image)


def _opened(file: Path) -> DatasetReader:
    try:
        return rasterio.open(file)
    except RasterioError as error:
        raise UsageError(f"cannot read {file}", got=error, expected="a GeoTIFF") from error
