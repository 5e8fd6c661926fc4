"""The tables of cells on disk: ``Data/Input/Boxes`` and ``Data/Output/Locations``, as parquet and csv."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd

from minescale.errors import StoreError, UsageError

BOXES, LOCATIONS = "Data/Input/Boxes", "Data/Output/Locations"
"""Folders as the Sentinel-2 project lays them out."""
BOX_COLUMNS = ("id", "lon", "lat", "side_m", "class", "pair_id")
FORMATS = ("parquet", "csv")


def table_name(side_m: float, zoom: int) -> str:
    """``z14_5500m``: what tables of one cell size are called."""
    return f"z{zoom}_{side_m:.10g}m"


def write_tables(cells: gpd.GeoDataFrame, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write ``boxes_<zoom>_<side>`` and ``locations_<zoom>_<side>`` under ``folder``, each as parquet and csv.

    Boxes hold the middles (:data:`BOX_COLUMNS`), Locations every column; as parquet with geometry (GeoParquet).

    Parameters
    ----------
    cells : of one size, as :func:`~minescale.labels.cells.make_cells` returns them, with any joined columns.

    Raises
    ------
    UsageError
        where a table exists and ``overwrite`` is not set, or cells are of several sizes: nothing is written then.
    StoreError
        where the folder cannot be written.
    """
    sizes = cells[["side_m", "zoom"]].drop_duplicates()
    if len(sizes) != 1:
        raise UsageError("cells of one size make a table", got=sizes["side_m"].tolist(), expected="one side_m")
    name = table_name(float(sizes["side_m"].iloc[0]), int(sizes["zoom"].iloc[0]))
    plain = pd.DataFrame(cells.drop(columns="geometry"))
    boxes = plain[list(BOX_COLUMNS)]
    writers: dict[Path, Callable[[Path], Any]] = {
        Path(BOXES, f"boxes_{name}.parquet"): lambda path: boxes.to_parquet(path, index=False),
        Path(BOXES, f"boxes_{name}.csv"): lambda path: boxes.to_csv(path, index=False, lineterminator="\n"),
        Path(LOCATIONS, f"locations_{name}.parquet"): lambda path: cells.to_parquet(path, index=False),
        Path(LOCATIONS, f"locations_{name}.csv"): lambda path: plain.to_csv(path, index=False, lineterminator="\n"),
    }
    return write_whole({Path(folder) / path: write for path, write in writers.items()}, overwrite=overwrite)


def write_whole(files: Mapping[Path, Callable[[Path], Any]], *, overwrite: bool = False) -> list[Path]:
    """Let each function make its file beside its place; when all are whole, put them there.

    Raises
    ------
    UsageError
        where one exists and ``overwrite`` is not set.
    StoreError
        where one cannot be written; nothing is left then.
    """
    standing = [str(path) for path in files if path.exists()]
    if standing and not overwrite:
        raise UsageError("files exist", got=", ".join(standing), fix="another place, or --overwrite")
    partial = {path: path.with_name(f".{uuid.uuid4().hex}.partial{path.suffix}") for path in files}
    try:
        for path, write in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(partial[path])
        for path in files:
            os.replace(partial[path], path)  # noqa: PTH105  (atomic by contract)
    except OSError as error:
        raise StoreError(f"cannot write {path}", got=error, fix="a writable folder with free space") from error
    finally:
        for path in partial.values():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    return list(files)


def read_locations(folder: str | Path, side_m: float, zoom: int) -> gpd.GeoDataFrame:
    """The cells of one size as :func:`write_tables` wrote them, from its parquet file.

    Raises
    ------
    StoreError
        where there is none, or it is broken.
    """
    path = Path(folder, LOCATIONS, f"locations_{table_name(side_m, zoom)}.parquet")
    try:
        return gpd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}", got=error, expected="a table of minescale dataset cells") from error


def read_boxes(path: str | Path) -> pd.DataFrame:
    """A table of middles: ours, or another with at least ``lon``, ``lat`` and ``class``; parquet or csv by its name.

    Raises
    ------
    UsageError
        for a table without these columns, of another kind, or with places that are not on the globe.
    StoreError
        where the file cannot be read.
    """
    file = Path(path)
    if file.suffix not in (".parquet", ".csv"):
        raise UsageError("table has an unknown ending", got=file.name, expected=".parquet or .csv")
    try:
        table = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, float_precision="round_trip")
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {file}", got=error, expected="a table of middles") from error
    missing = [name for name in ("lon", "lat", "class") if name not in table]
    if missing:
        raise UsageError(f"{file.name} lacks columns", got=list(table), expected=missing)
    if not (table["lon"].abs().le(180).all() and table["lat"].abs().le(90).all()):
        raise UsageError(f"{file.name} has places that are not on the globe", fix="lon and lat in degrees, not swapped")
    return table
