"""The tables of cells on disk: ``Data/Input/Boxes`` and ``Data/Output/Locations``, as parquet and csv."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd

from minescale.errors import StoreError, UsageError

BOXES, LOCATIONS = "Data/Input/Boxes", "Data/Output/Locations"
"""Folders as the Sentinel-2 project lays them out."""
_TEXT = {"id": str, "pair_id": str, "quadkey": str}
"""Columns that pandas would take for numbers, and so lose a quadkey's leading zeros."""
BOX_COLUMNS = ("id", "lon", "lat", "side_m", "class", "pair_id")


def table_name(side_m: float, zoom: int) -> str:
    """``z14_5500m``: what tables of one cell size are called; ``z17_687-5m`` where it is no whole number."""
    return f"z{zoom}_{side_m:.10g}m".replace(".", "-")


def write_tables(cells: gpd.GeoDataFrame, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write ``boxes_<zoom>_<side>`` and ``locations_<zoom>_<side>`` under ``folder``, each as parquet and csv.

    Boxes hold the middles (:data:`BOX_COLUMNS`), Locations every column; as parquet with geometry (GeoParquet).

    Parameters
    ----------
    cells : as :func:`~minescale.labels.cells.cells.make_cells` returns them, with any joined columns; several
        sizes, one after another, make tables of their own.

    Raises
    ------
    UsageError
        where a table exists and ``overwrite`` is not set, or cells repeat: nothing is written then.
    StoreError
        where the folder cannot be written; nothing is left then.
    """
    repeated = cells["id"][cells["id"].duplicated()]
    if len(repeated):
        raise UsageError("cells repeat", got=repeated.unique()[:3].tolist(), expected="each cell, and each size, once")
    files: dict[Path, Callable[[Path], Any]] = {}
    for (side_m, zoom), rows in cells.groupby(["side_m", "zoom"], sort=False):
        name, table = table_name(side_m, zoom), rows.reset_index(drop=True)
        files |= _both(Path(folder, BOXES, f"boxes_{name}"), pd.DataFrame(table[list(BOX_COLUMNS)]))
        files |= _both(Path(folder, LOCATIONS, f"locations_{name}"), table)
    return write_whole(files, overwrite=overwrite)


def _both(stem: Path, table: pd.DataFrame) -> dict[Path, Callable[[Path], Any]]:
    plain = pd.DataFrame(table.drop(columns="geometry", errors="ignore"))
    return {
        stem.with_name(f"{stem.name}.parquet"): lambda path: table.to_parquet(path, index=False),
        stem.with_name(f"{stem.name}.csv"): lambda path: plain.to_csv(path, index=False, lineterminator="\n"),
    }


def write_table(table: pd.DataFrame, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a table of samples as parquet or csv, by the file's ending; see :func:`write_table_set`."""
    return write_table_set({Path(path): table}, overwrite=overwrite)[0]


def write_table_set(tables: Mapping[Path, pd.DataFrame], *, overwrite: bool = False) -> list[Path]:
    """Write tables of samples as parquet or csv, by each file's ending: all of them, or none.

    Raises
    ------
    UsageError
        for another ending, or a file that exists.
    StoreError
        where one cannot be written.
    """
    files = {_with_ending(path): _both(path.with_suffix(""), table)[path] for path, table in tables.items()}
    return write_whole(files, overwrite=overwrite)


def _with_ending(path: str | Path) -> Path:
    file = Path(path)
    if file.suffix not in (".parquet", ".csv"):
        raise UsageError("table has an unknown ending", got=file.name, expected=".parquet or .csv")
    return file


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


def read_boxes(path: str | Path, columns: Sequence[str] = ("lon", "lat", "class")) -> pd.DataFrame:
    """A table of middles: ours, or another with at least these columns; parquet or csv by its name.

    Raises
    ------
    UsageError
        for a table without these columns, of another kind, or with places that are not on the globe.
    StoreError
        where the file cannot be read.
    """
    file = _with_ending(path)
    try:
        table = (
            pd.read_parquet(file)
            if file.suffix == ".parquet"
            else pd.read_csv(file, float_precision="round_trip", dtype=_TEXT)
        )
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {file}", got=error, expected="a table of middles") from error
    missing = [name for name in columns if name not in table]
    if missing:
        raise UsageError(f"{file.name} lacks columns", got=list(table), expected=missing)
    if not (table["lon"].abs().le(180).all() and table["lat"].abs().le(90).all()):
        raise UsageError(f"{file.name} has places that are not on the globe", fix="lon and lat in degrees, not swapped")
    return table
