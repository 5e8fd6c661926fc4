"""A training set to play with: a few cells of a synthetic region, offline, made by the same steps as a real one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import shapely

from minescale.config import Config
from minescale.engine.events import Listener
from minescale.errors import UsageError
from minescale.labels.imagery.extract import ExtractReport, extract
from minescale.labels.imagery.extract_plan import ExtractRequest
from minescale.labels.pictures.previews import write_previews
from minescale.labels.sets.folder import open_folder
from minescale.labels.shapes.polygons import GEODESIC
from minescale.labels.shapes.vectors import read_polygons
from minescale.synthetic import SMALL, ensure_region
from minescale.types import BBox

PREVIEWS = "previews"
MOST = 24


def make_sandbox(
    out: str | Path,
    *,
    cells: int = 6,
    side_m: float = 1280.0,
    seed: int = 0,
    config: Config | None = None,
    listeners: Sequence[Listener] = (),
) -> ExtractReport:
    """Build ``out``: half of the cells round mines, half where there is none, with masks and pictures.

    The imagery is computer-generated and shows no place on Earth: what a model learns here is worth nothing.

    Raises
    ------
    UsageError
        for less than two cells, or more than the region has room for.
    """
    if not 2 <= cells <= MOST:
        raise UsageError("number of cells is out of range", got=cells, expected=f"2 to {MOST}")
    region = ensure_region(SMALL)
    mines = read_polygons(region.truth_polygons, epoch=region.dates[-1].year)
    shapes = mines.frame.geometry.to_numpy()
    places = _places(region.bbox, shapes, mines.areas_km2(), cells, side_m, np.random.default_rng(seed))
    request = ExtractRequest(
        catalog=str(region.catalog),
        datetime=str(region.period),
        bands=("blue", "green", "red", "nir", "swir16", "swir22", "TCI"),
        side_m=side_m,
        label_epoch=mines.epoch,
        max_epoch_gap=0,
        name="sandbox",
        licence="Apache-2.0",
    )
    report = extract(places, request, out, polygons=mines, config=config, listeners=listeners)
    if report.finished:
        write_previews(open_folder(out), Path(out) / PREVIEWS)
    return report


def _places(
    area: BBox, mines: np.ndarray, areas: list[float], cells: int, side_m: float, rng: np.random.Generator
) -> pd.DataFrame:
    """The largest mines that lie apart, and random places away from any."""
    reach = side_m / 2 / 111_000
    inner = shapely.box(area.west + reach, area.south + reach, area.east - reach, area.north - reach)
    chosen: list[tuple[float, float, str]] = []

    def apart(lon: float, lat: float) -> bool:
        return all(GEODESIC.inv(lon, lat, x, y)[2] > 1.5 * side_m for x, y, _ in chosen)

    for i in np.argsort(areas)[::-1]:
        middle = mines[i].representative_point()
        if len(chosen) < cells // 2 and shapely.contains(inner, middle) and apart(middle.x, middle.y):
            chosen.append((middle.x, middle.y, "mine"))
    near = shapely.union_all(shapely.buffer(mines, 1.5 * reach))
    for _ in range(10_000):
        lon, lat = rng.uniform(inner.bounds[0], inner.bounds[2]), rng.uniform(inner.bounds[1], inner.bounds[3])
        if len(chosen) < cells and not shapely.contains_xy(near, lon, lat) and apart(lon, lat):
            chosen.append((float(lon), float(lat), "background"))
    if len(chosen) < cells:
        raise UsageError(
            "the region has no room for so many cells", got=cells, expected=f"{len(chosen)}", fix="smaller cells"
        )
    kinds = [kind for _, _, kind in chosen]
    return pd.DataFrame(
        {
            "id": [f"{kind}{i:02d}" for i, kind in enumerate(kinds)],
            "source": "sandbox",
            "kind": kinds,
            "label": [int(kind == "mine") for kind in kinds],
            "lon": [lon for lon, _, _ in chosen],
            "lat": [lat for _, lat, _ in chosen],
        }
    )
