"""What is really there: rasters on the mosaic's lattice and polygons of the mines."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.features import shapes
from scipy.ndimage import label as label_parts
from shapely.geometry import shape as to_shape
from shapely.ops import unary_union

from minescale.synthetic.catalog import dump, rounded
from minescale.synthetic.geometry import RES, Geometry, lonlat
from minescale.synthetic.landscape import COVER1, START, Ground
from minescale.synthetic.rasters import write_cog
from minescale.synthetic.spectra import MINE_COVERS, Cover
from minescale.synthetic.weather import Look

TRUTH = "truth.tif"
COVERS = "cover.tif"
POLYGONS = "truth.geojson"


def write_truth(folder: Path, ground: Ground, geometry: Geometry, looks: tuple[Look, ...], block: int) -> None:
    """Write the three truth files of a region.

    ``truth.tif``: uint8, 0 = never mined, k = mined from date index k - 1 on. ``cover.tif``: uint8 land cover on the
    last date (values of ``Cover``; the legend is in the band's tags), so that false alarms can be attributed.
    ``truth.geojson``: one feature per connected mine (longitude/latitude) with ``area_ha``, ``area_ha_by_date``,
    ``first_date`` and ``first_index``.
    """
    window = ground.records[geometry.aoi]
    cover = np.ascontiguousarray(window[..., COVER1])
    mined = np.isin(cover, MINE_COVERS)
    truth = np.where(mined, window[..., START], 0).astype(np.uint8)
    grid = geometry.grid
    transform = Affine(RES, 0, grid.left, 0, -RES, grid.top)
    crs = grid.crs
    write_cog(folder / TRUTH, truth, crs=crs, transform=transform, block=block, nodata=None, average=False)
    legend = {int(c): c.name.lower() for c in Cover}
    write_cog(folder / COVERS, cover, crs=crs, transform=transform, block=block, average=False, legend=legend)
    dump(folder / POLYGONS, _features(truth, transform, crs, looks))


def _features(truth: NDArray[np.uint8], transform: Affine, crs: str, looks: tuple[Look, ...]) -> dict[str, object]:
    labels, count = label_parts(truth > 0, structure=np.ones((3, 3)))
    pieces: dict[int, list[object]] = {}
    with warnings.catch_warnings():
        # rasterio warns of its own scratch image; the shapes carry our transform.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        for geometry, value in shapes(labels.astype(np.int32), mask=labels > 0, transform=transform, connectivity=4):
            pieces.setdefault(int(value), []).append(to_shape(geometry))
    n = len(looks)
    histogram = np.zeros((count + 1, n + 1), np.int64)
    np.add.at(histogram, (labels[labels > 0], truth[labels > 0]), 1)
    features = []
    for label in range(1, count + 1):
        grown = np.cumsum(histogram[label, 1:])
        first = int(np.flatnonzero(histogram[label, 1:])[0])
        features.append(
            {
                "type": "Feature",
                "id": label,
                "properties": {
                    "id": label,
                    "kind": "mine",
                    "area_ha": round(float(grown[-1]) / 100, 2),
                    "area_ha_by_date": [round(float(v) / 100, 2) for v in grown],
                    "first_index": first,
                    "first_date": f"{looks[first].moment:%Y-%m-%d}",
                },
                "geometry": rounded(lonlat(unary_union(pieces[label]), crs).__geo_interface__),
            }
        )
    return {"type": "FeatureCollection", "features": features}
