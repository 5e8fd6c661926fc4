"""Create the whole store before the first pixel: groups, arrays, coordinates and attributes.

Writers then only add chunks, so no two of them touch the same file. The template counts as complete only once the root
attribute ``minescale:complete`` says so, and that is written last.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from odc.geo.geobox import GeoBox
from zarr.codecs import ZstdCodec

from minescale.errors import OutputMismatch
from minescale.store import geozarr
from minescale.store.backend import consolidate, is_url, open_root, open_store, remove_children, storing, sweep
from minescale.store.codes import LEVEL, PixelCode, codes_of, level_flags
from minescale.store.layout import MosaicLayout
from minescale.store.ledger import COLUMNS, LEDGER_CHUNK
from minescale.store.mosaic import COMPLETE, LAYOUT, PROVENANCE, Mosaic, layout_of
from minescale.types import Period

OVERVIEW_METHOD = "max"
"""A pit of two pixels has to survive zooming out."""

# The checksum makes a damaged chunk fail loudly instead of decoding to wrong pixels.
# Level 5 takes twice the time of 3 for probabilities, and saves nothing there.
_COMPRESSION = ZstdCodec(level=3, checksum=True)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def create_mosaic(path: str | Path, layout: MosaicLayout) -> Mosaic:
    """Create the store, or open the one of the same layout that is there already. Returns it writable.

    A template that an earlier process did not complete holds no pixels yet and is made anew.

    Raises
    ------
    OutputMismatch
        ``path`` holds a mosaic of another layout (the differing fields are named), or something else.
    StoreError
        The store cannot be written.
    """
    with storing(path, "create the mosaic"):
        if not _is_made(path, layout):
            _make(path, layout)
    return Mosaic.open(path, "r+")


def _is_made(path: str | Path, layout: MosaicLayout) -> bool:
    try:
        attrs = dict(open_root(path, read_only=True, consolidated=False).attrs)
    except FileNotFoundError as error:
        if _is_foreign(path):
            raise OutputMismatch(
                f"{path} is not empty and holds no mosaic", expected="an empty or absent folder", fix="another --out"
            ) from error
        return False
    found = layout_of(attrs)
    if found is None:
        raise OutputMismatch(f"{path} holds a Zarr store that is not minescale's", fix="another --out")
    if attrs.get(COMPLETE) is not True:
        return False
    differences = layout.differences(found)
    if differences:
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        raise OutputMismatch(
            f"{path} holds the mosaic of another run",
            got="; ".join(differences[:3]) + more,
            expected="the same layout, to continue",
            fix="another --out, or remove that folder",
        )
    return True


def _is_foreign(path: str | Path) -> bool:
    """True where something lies at ``path`` that is not what a killed creation leaves."""
    if is_url(path):
        return False
    folder = Path(path)
    if folder.is_dir():
        return any(not entry.name.endswith(".partial") for entry in folder.iterdir())
    return folder.exists()


def _make(path: str | Path, layout: MosaicLayout) -> None:
    grid = layout.grid
    geoboxes = [layout.overview_geobox(k) for k in range(layout.n_overviews + 1)]
    described = layout.to_dict()
    attrs = {
        **geozarr.multiscales_attrs(geoboxes, OVERVIEW_METHOD),
        PROVENANCE: described.pop("provenance"),
        LAYOUT: described,
        COMPLETE: False,
    }
    # The root's metadata stays in place while an incomplete template is cleared: a kill there leaves it recognisable.
    remove_children(path)
    sweep(path)
    store = open_store(path, read_only=False)
    root = zarr.open_group(store, mode="a", zarr_format=3, use_consolidated=False, attributes=attrs)
    root.attrs.put(dict(attrs))  # a copy: Zarr keeps, and here first clears, the dictionary it was given
    for k, geobox in enumerate(geoboxes):
        _pixel_group(root.create_group(str(k), attributes=_group_attrs(geobox)), geobox, layout, level=0)
    screens = root.create_group("screen")
    tiles = root.create_group("tiles")
    for level in range(grid.n_levels):
        if level:
            geobox = grid.level_geobox(level)
            _pixel_group(screens.create_group(str(level), attributes=_group_attrs(geobox)), geobox, layout, level)
        geobox = layout.tiles_geobox(level)
        _tiles_group(
            tiles.create_group(str(level), attributes=_group_attrs(geobox, ("tile_y", "tile_x"))), geobox, layout
        )
    # Saves the attribute and the consolidated metadata in one file, hence at once.
    consolidate(path).attrs.update({COMPLETE: True})


def _group_attrs(geobox: GeoBox, dims: tuple[str, str] = ("y", "x")) -> dict[str, Any]:
    # With `coordinates`, plain xr.open_zarr makes spatial_ref a coordinate, and rioxarray and odc-geo find the CRS.
    coordinates = f"{geozarr.GRID_MAPPING} time_bnds"
    return {**geozarr.raster_attrs(geobox, dims), "Conventions": "CF-1.11", "coordinates": coordinates}


def _pixel_group(group: zarr.Group, geobox: GeoBox, layout: MosaicLayout, level: int) -> None:
    _coordinates(group, geobox, layout.periods, ("y", "x"))
    where = geozarr.raster_attrs(geobox)
    for code in codes_of(level):
        flags = level_flags(layout.grid.n_levels) if code is LEVEL else {}
        _pixel_array(group, code, geobox, layout, {**where, **code.attrs, **flags})


def _pixel_array(
    group: zarr.Group, code: PixelCode, geobox: GeoBox, layout: MosaicLayout, attrs: dict[str, Any]
) -> None:
    unit = layout.write_unit
    group.create_array(
        code.name,
        shape=(len(layout.periods), *geobox.shape),
        chunks=(1, layout.chunk, layout.chunk),
        shards=(1, unit, unit) if layout.shards else None,
        dtype=code.dtype,
        fill_value=code.fill,
        compressors=[_COMPRESSION],
        dimension_names=("time", "y", "x"),
        attributes={**attrs, "grid_mapping": geozarr.GRID_MAPPING},
    )


def _tiles_group(group: zarr.Group, geobox: GeoBox, layout: MosaicLayout) -> None:
    _coordinates(group, geobox, layout.periods, ("tile_y", "tile_x"))
    for column in COLUMNS:
        group.create_array(
            column.name,
            shape=(len(layout.periods), *geobox.shape),
            chunks=(1, LEDGER_CHUNK, LEDGER_CHUNK),
            dtype=column.dtype,
            fill_value=column.fill,
            compressors=[_COMPRESSION],
            dimension_names=("time", "tile_y", "tile_x"),
            attributes={**column.attrs, "grid_mapping": geozarr.GRID_MAPPING, "coordinates": "y x"},
        )


def _coordinates(group: zarr.Group, geobox: GeoBox, periods: tuple[Period, ...], dims: tuple[str, str]) -> None:
    for name, axis, dim in (("y", "Y", dims[0]), ("x", "X", dims[1])):
        values, attrs = geozarr.coordinate(geobox, axis)
        _small(group, name, values, (dim,), attrs)
    bounds = np.array([_seconds(period) for period in periods], np.int64)
    units = {"units": "seconds since 1970-01-01T00:00:00", "calendar": "proleptic_gregorian"}
    time_attrs = {"standard_name": "time", "axis": "T", "bounds": "time_bnds", **units}
    _small(group, "time", bounds[:, 0], ("time",), time_attrs)
    _small(group, "time_bnds", bounds, ("time", "bnds"), units)
    _small(group, geozarr.GRID_MAPPING, np.array(0, np.int64), (), geozarr.grid_mapping_attrs(geobox))


def _small(group: zarr.Group, name: str, values: np.ndarray, dims: tuple[str, ...], attrs: dict[str, Any]) -> None:
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype=values.dtype,
        fill_value=np.nan if values.dtype.kind == "f" else 0,
        compressors=[_COMPRESSION] if values.shape else None,
        dimension_names=dims or None,
        attributes=attrs,
        config={"write_empty_chunks": False},  # as open_array does
    )
    array[...] = values


def _seconds(period: Period) -> tuple[int, int]:
    """Start and end of the half-open CF interval: a closed end of 23:59:59 becomes the following midnight."""
    second = dt.timedelta(seconds=1)
    return (period.start - _EPOCH) // second, (period.end - _EPOCH) // second + 1
