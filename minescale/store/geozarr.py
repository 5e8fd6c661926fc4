"""GeoZarr and CF attributes as plain dictionaries.

GeoZarr is three Zarr conventions, ``proj``, ``spatial`` and ``multiscales``, all at v0.1 (github.com/zarr-conventions).
Readers find them by UUID. CF ``grid_mapping`` is written too, because rioxarray, odc-geo and titiler read only that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyproj
from odc.geo.geobox import GeoBox


def _convention(name: str, uuid: str, description: str) -> dict[str, str]:
    base = f"zarr-conventions/{name}"
    return {
        "uuid": uuid,
        "schema_url": f"https://raw.githubusercontent.com/{base}/refs/tags/v0.1/schema.json",
        "spec_url": f"https://github.com/{base}/blob/v0.1/README.md",
        "name": name,
        "description": description,
    }


PROJ = _convention("proj", "f17cb550-5864-4468-aeb7-f3180cfb622f", "Coordinate reference system of geospatial data")
SPATIAL = _convention("spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinates of a raster")
MULTISCALES = _convention("multiscales", "d35379db-88df-4056-af3a-620245f8e347", "Layout of resolution levels")

GRID_MAPPING = "spatial_ref"
"""Name of the scalar variable that carries the CRS in every group."""


def _crs(geobox: GeoBox) -> pyproj.CRS:
    return pyproj.CRS.from_user_input(str(geobox.crs))


def proj_attrs(geobox: GeoBox) -> dict[str, Any]:
    """``proj:wkt2`` always, ``proj:code`` where the CRS has an authority code."""
    crs = _crs(geobox)
    authority = crs.to_authority()
    code = {"proj:code": ":".join(authority)} if authority else {}
    return {**code, "proj:wkt2": str(crs.to_wkt("WKT2_2019"))}


def spatial_attrs(geobox: GeoBox, dims: tuple[str, str] = ("y", "x")) -> dict[str, Any]:
    """Position of a raster: transform in Affine order from the top-left corner, shape (y, x), bbox of its edges."""
    box = geobox.boundingbox
    return {
        "spatial:dimensions": list(dims),
        "spatial:bbox": [float(v) for v in (box.left, box.bottom, box.right, box.top)],
        "spatial:transform": [float(v) for v in tuple(geobox.affine)[:6]],
        "spatial:shape": [int(n) for n in geobox.shape],
        "spatial:registration": "pixel",
    }


def raster_attrs(geobox: GeoBox, dims: tuple[str, str] = ("y", "x")) -> dict[str, Any]:
    """The proj and spatial conventions, declared: for a group of one raster, and for each of its arrays."""
    return {"zarr_conventions": [PROJ, SPATIAL], **proj_attrs(geobox), **spatial_attrs(geobox, dims)}


def multiscales_attrs(geoboxes: Sequence[GeoBox], method: str) -> dict[str, Any]:
    """Root attributes of groups ``0`` (finest), ``1``, ..., each half as fine as the one before.

    ``method`` is how the overviews were made: max, mean.
    """
    layout: list[dict[str, Any]] = []
    for level, geobox in enumerate(geoboxes):
        entry: dict[str, Any] = {"asset": str(level)}
        if level:
            entry |= {
                "derived_from": str(level - 1),
                # The centre of a coarse pixel lies half a fine pixel further than that of its first fine pixel.
                "transform": {"scale": [2, 2], "translation": [0.5, 0.5]},
                "resampling_method": method,
            }
        where = spatial_attrs(geobox)
        layout.append(entry | {key: where[key] for key in ("spatial:transform", "spatial:shape")})
    return {
        **raster_attrs(geoboxes[0]),
        "zarr_conventions": [PROJ, SPATIAL, MULTISCALES],
        "multiscales": {"resampling_method": method, "layout": layout},
    }


def grid_mapping_attrs(geobox: GeoBox) -> dict[str, Any]:
    """CF attributes of the scalar ``spatial_ref``; ``GeoTransform`` in GDAL's order carries the exact transform."""
    crs = _crs(geobox)
    attrs = dict(crs.to_cf(wkt_version="WKT2_2019"))
    a, b, c, d, e, f = tuple(geobox.affine)[:6]
    attrs["spatial_ref"] = attrs["crs_wkt"]
    attrs["GeoTransform"] = " ".join(repr(float(v)) for v in (c, a, b, f, d, e))
    return attrs


def coordinate(geobox: GeoBox, axis: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Pixel centres, float64 in units of the CRS, and CF attributes of the axis ``X`` or ``Y``."""
    affine = geobox.affine
    ny, nx = geobox.shape
    values = affine.c + affine.a * (np.arange(nx) + 0.5) if axis == "X" else affine.f + affine.e * (np.arange(ny) + 0.5)
    found = [entry for entry in _crs(geobox).cs_to_cf() if entry.get("axis") == axis]
    attrs = dict(found[0]) if found else {"axis": axis}
    if attrs.get("units") == "metre":
        attrs["units"] = "m"
    return values, attrs
