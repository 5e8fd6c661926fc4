"""The Sentinel-2 project's folders: ``Data/Input/{maus,Boxes}`` and ``Data/Output/{Locations,RAW/<series>,RGB}``.

``RAW`` holds one GeoTIFF for each cell, all bands and the binary ``_mine`` band last; ``RGB`` a picture of each with
mines in semi-transparent red; ``maus`` the polygons; ``Boxes`` and ``Locations`` the tables of cells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from minescale.errors import MinescaleError, StoreError, UsageError
from minescale.labels.cells.cellfiles import BOXES, LOCATIONS, write_tables
from minescale.labels.formats.sidecar import Flaw, parts_of, read_sidecar
from minescale.labels.pictures.previews import write_previews
from minescale.labels.pictures.rgb_png import colour_bands
from minescale.labels.sets.chips import check_id, geobox_of, read_tif, write_tif
from minescale.labels.sets.classes import BINARY
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.files import common_bands, header_of, with_places
from minescale.labels.sets.folder_layout import MASK_BAND
from minescale.labels.sets.split import Split
from minescale.labels.shapes.polygons import Polygons

NAME = "seedtree"
MAUS, RAW, RGB = "Data/Input/maus", "Data/Output/RAW", "Data/Output/RGB"
POLYGONS = "maus.shp"
_NO_DATE = {"ENCODING": "UTF-8", "DBF_DATE_LAST_UPDATE": "1970-01-01"}
"""A shapefile's table names the day it was written, which is nobody's business."""


def write(
    dataset: Dataset,
    folder: Path,
    split: Split | None = None,
    *,
    polygons: Polygons | None = None,
    cells: gpd.GeoDataFrame | None = None,
    rgb: tuple[str, str, str] | None = None,
    series: str | None = None,
) -> tuple[Dataset, dict[str, Any]]:
    """Write the folders.

    Parameters
    ----------
    polygons : that the masks were drawn from; default: ``maus`` stays empty.
    cells : of one size, as :func:`~minescale.labels.cells.cells.make_cells` returns them; default: no tables.
    rgb : bands to show.
    series : folder below ``RAW``; default: ``S2``, the zoom of the samples and the year of their images, as far as
        all agree, such as ``S2142019``.

    Raises
    ------
    UsageError
        for a set without masks, or with classes beyond background and one other.
    """
    if dataset.reader.mask(0) is None or len(dataset.classes.names) != 2:
        raise UsageError(
            f"{NAME} holds one binary band of mines",
            got=f"{dataset.name}: {', '.join(dataset.classes.names)}",
            expected="masks of background and one class",
        )
    bands = colour_bands(dataset, rgb)
    where = check_id(series or _series(dataset))
    (folder / MAUS).mkdir(parents=True)
    (folder / RAW / where).mkdir(parents=True)
    if polygons is not None:
        polygons.frame.to_file(folder / MAUS / POLYGONS, driver="ESRI Shapefile", **_NO_DATE)
    if cells is not None:
        write_tables(cells, folder)
    files, shapes = [], []
    for row, name in enumerate(dataset.samples["id"].astype(str)):
        image, mask = dataset.reader.image(row), dataset.reader.mask(row)
        if mask is None or not np.isin(mask, (0, 1)).all():
            raise UsageError(f"sample {name} is not 0 or 1 everywhere", fix="a set without ignored pixels")
        place = geobox_of(dataset.samples.iloc[row].to_dict(), (image.shape[1], image.shape[2]))
        path = folder / RAW / where / f"{check_id(name)}.tif"
        stacked = np.concatenate([image, mask[None].astype(image.dtype)])
        # No nodata value in the file: it would call the 0 of the binary band a hole.
        tags = {"units": dataset.units}
        write_tif(path, stacked, (*dataset.bands, MASK_BAND), geobox=place, tags=tags)
        files.append(path.relative_to(folder).as_posix())
        shapes.append(image.shape[1:])
    write_previews(dataset, folder / RGB, bands=bands, format="jpeg")
    samples = dataset.samples.assign(
        file=files, height=[s[0] for s in shapes], width=[s[1] for s in shapes], split=parts_of(dataset, split)
    )
    return replace(dataset, samples=samples), {"series": where, "rgb": list(bands)}


def recognise(root: Path) -> bool:
    return any((root / RAW).glob("*/*.tif"))


@dataclass(frozen=True, slots=True)
class RawReader:
    """Stacks whose last band is the mask."""

    root: Path
    files: tuple[str, ...]
    bands: int

    def image(self, row: int) -> NDArray[Any]:
        """(band, y, x) without the binary band."""
        return read_tif(self.root / self.files[row], range(self.bands))

    def mask(self, row: int) -> NDArray[np.uint8]:
        """(y, x): 1 where a polygon lies."""
        values = read_tif(self.root / self.files[row], [self.bands])[0]
        strange = np.setdiff1d(np.unique(values), [0, 1])
        if strange.size:
            raise UsageError(
                f"last band of {self.files[row]} is no binary band", got=strange[:5].tolist(), expected="0 and 1"
            )
        return values.astype(np.uint8)


def read(root: Path) -> Dataset:
    """Open the folders. Without a description the last band of every stack is taken as the binary one.

    Raises
    ------
    UsageError
        where stacks differ in their bands.
    """
    described = read_sidecar(root, NAME)
    if described is not None:
        return described.dataset(RawReader(root, tuple(described.samples["file"]), len(described.spec.bands)))
    paths = sorted((root / RAW).glob("*/*.tif"))
    headers = [header_of(path) for path in paths]
    bands = common_bands(headers, root.name)
    samples = pd.DataFrame(
        {
            "id": [path.stem for path in paths],
            "site": [path.stem for path in paths],
            "source": [path.parent.name for path in paths],
            "image_date": [_year(path.parent.name) for path in paths],
            "file": [path.relative_to(root).as_posix() for path in paths],
        }
    )
    return Dataset(
        name=root.name,
        samples=with_places(samples, headers),
        bands=bands[:-1],
        classes=BINARY,
        reader=RawReader(root, tuple(samples["file"]), len(bands) - 1),
        units=headers[0].tags.get("units", "digital number"),
        nodata=None,
        resolution_m=None,
        licence="none",
        provenance={"format": NAME},
    )


def validate(root: Path) -> list[Flaw]:
    """Findings: stacks that cannot be read, whose last band is not binary or that have no picture, empty folders."""
    try:
        dataset = read(root)
    except MinescaleError as error:
        return [Flaw(RAW, str(error).replace("\n", ";"))]
    found = []
    for row, name in enumerate(dataset.samples["file"]):
        try:
            dataset.reader.mask(row)
        except (UsageError, StoreError) as error:
            found.append(Flaw(name, str(error).replace("\n", ";")))
        if not any((root / RGB).glob(f"{Path(name).stem}.jp*g")):
            found.append(Flaw(name, f"has no picture in {RGB}", severe=False))
    folders = (MAUS, BOXES, LOCATIONS)
    return found + [Flaw(f, "empty", severe=False) for f in folders if not any((root / f).glob("*"))]


def _series(dataset: Dataset) -> str:
    zooms = set(dataset.samples["zoom"].dropna().astype(int)) if "zoom" in dataset.samples else set()
    dates = (
        dataset.samples["image_date"].dropna().astype(str) if "image_date" in dataset.samples else pd.Series(dtype=str)
    )
    years = {date[:4] for date in dates}
    return "S2" + "".join(str(next(iter(values))) for values in (zooms, years) if len(values) == 1)


def _year(series: str) -> str | None:
    found = re.fullmatch(r"S2(\d\d)?((19|20)\d\d)", series)
    return found[2] if found else None
