"""Tables of places from files: CSV, Parquet, or a layer of points."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from minescale.errors import UsageError
from minescale.labels.places.places import FORMS
from minescale.labels.shapes.points import TABLES, read_points

_WINDOWS = [set(form.split(", ")) for form in FORMS if not form.startswith("lon")]


def read_places(path: str | Path) -> pd.DataFrame:
    """Places as :func:`minescale.labels.places.places.lay_windows` takes them.

    A table that gives windows or boxes is taken as it is; coordinates are read as points, so that swapped columns and
    places beyond the globe are found. Without a column ``id`` places are numbered.

    Raises
    ------
    UsageError
        where there is no such file, or it says nothing of places.
    """
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"no such file: {file}", expected="a table of places: CSV, Parquet, or a layer of points")
    suffix = file.suffix.lower()
    table: pd.DataFrame | None = None
    if suffix in {".parquet", ".geoparquet"}:
        table = pd.read_parquet(file)
        if "geometry" in table and not any(form <= set(table) for form in _WINDOWS):
            table = None if not {"lon", "lat"} <= set(table) else table
        if table is not None:
            table = table.drop(columns="geometry", errors="ignore")
    elif suffix in TABLES:
        given = pd.read_csv(file, sep=None, engine="python", dtype={"id": str})
        table = given if any(form - {"side_m"} <= set(given) for form in _WINDOWS) else None
    if table is None:
        points = read_points(file).frame
        lon, lat = points.geometry.x.to_numpy(), points.geometry.y.to_numpy()
        table = pd.DataFrame(points.drop(columns="geometry")).assign(lon=lon, lat=lat)
    if "id" not in table:
        table.insert(0, "id", [f"p{i:06d}" for i in range(len(table))])
    return table.assign(id=table["id"].astype(str)).reset_index(drop=True)
