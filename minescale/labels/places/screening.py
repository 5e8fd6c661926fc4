"""Negatives looked at twice: those over built-up ground are left out, those that a model takes for mines are listed.

A negative from a protected area or a random place may hold houses, or a mine that nobody has drawn. Neither can be told
from the place alone, so this needs two passes: a map of built-up ground before training, and a model's scores after.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import shapely
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.cells.coverage import polygon_parts
from minescale.labels.cells.grid import Floats
from minescale.labels.cells.windows import squares
from minescale.labels.places.rasterclasses import RasterClasses
from minescale.labels.shapes.equalarea import areas_m2
from minescale.labels.shapes.polygons import Polygons
from minescale.store.backend import storing
from minescale.store.codes import PROBABILITY_FILL, PROBABILITY_STEPS
from minescale.store.mosaic import Mosaic

MAX_BUILT_UP = 0.05
"""Share of a negative's window that may be built-up."""
REVIEW_SCORE = 0.5
"""Score from which a negative is worth a look."""


@dataclass(frozen=True, slots=True)
class Screened:
    """Samples after the first pass."""

    kept: pd.DataFrame
    """Positives, and negatives that are not built-up or not known; column ``built_up``: share, NaN = not known."""
    removed: pd.DataFrame
    """Negatives with more built-up ground than allowed."""
    unknown: int
    """Negatives that the map says nothing about, kept."""


def windows_of(table: pd.DataFrame) -> NDArray[np.object_]:
    """The ground of each sample, EPSG:4326: its square of ``side_m`` round ``lon`` and ``lat``."""
    made: NDArray[np.object_] = squares(table["lon"], table["lat"], table["side_m"])
    return made


def built_up_shares(table: pd.DataFrame, built_up: RasterClasses | Polygons) -> Floats:
    """Share of each sample's window that is built-up; NaN where a raster does not know half of it.

    Polygons are taken as complete: ground outside them is not built-up.
    """
    windows = windows_of(table)
    if isinstance(built_up, RasterClasses):
        return built_up.shares(windows)
    parts = polygon_parts(built_up.frame.geometry.to_numpy())
    window, part = shapely.STRtree(parts).query(windows, predicate="intersects")
    shares = np.zeros(len(table))
    for i in np.unique(window):
        towns = shapely.union_all(parts[part[window == i]])
        shares[i] = areas_m2([shapely.intersection(windows[i], towns)])[0] / areas_m2([windows[i]])[0]
    return shares


def leave_out_built_up(
    table: pd.DataFrame, built_up: RasterClasses | Polygons, *, limit: float = MAX_BUILT_UP
) -> Screened:
    """First pass: leave out negatives (``class`` 0) whose window is built-up to more than ``limit``.

    Raises
    ------
    UsageError
        where no negative is left.
    """
    screened = table.assign(built_up=built_up_shares(table, built_up))
    negative = screened["class"] == 0
    over = negative & (screened["built_up"] > limit)
    if negative.any() and not (negative & ~over).any():
        raise UsageError(
            "every negative is built-up",
            got=f"{int(over.sum())} of them over {limit:g}",
            fix="a higher limit, another map",
        )
    return Screened(
        kept=screened[~over].reset_index(drop=True),
        removed=screened[over].reset_index(drop=True),
        unknown=int((negative & screened["built_up"].isna()).sum()),
    )


def mosaic_scores(table: pd.DataFrame, mosaic: str | Path, *, time: int = -1) -> Floats:
    """The highest probability of mining in each sample's window, from a scan's mosaic; NaN where nothing was seen.

    Parameters
    ----------
    mosaic : ``mosaic.zarr`` of a scan.
    time : position of the period; negative counts from the end.

    Raises
    ------
    StoreError
        where the mosaic cannot be read.
    """
    opened = Mosaic.open(mosaic)
    geobox = opened.layout.grid.geobox
    there = pyproj.Transformer.from_crs(4326, opened.layout.grid.crs, always_xy=True)
    period = range(len(opened.layout.periods))[time]
    array = opened.array(0, "probability")
    back = ~geobox.affine
    scores = np.full(len(table), np.nan)
    for i, window in enumerate(shapely.segmentize(windows_of(table), 0.01)):
        x, y = there.transform(*shapely.get_coordinates(window).T)
        cols, rows = back * (np.asarray(x), np.asarray(y))
        if not (np.isfinite(cols).all() and np.isfinite(rows).all()):
            continue
        first = np.clip(np.floor([rows.min(), cols.min()]), 0, geobox.shape.yx).astype(int)
        last = np.clip(np.ceil([rows.max(), cols.max()]), 0, geobox.shape.yx).astype(int)
        with storing(opened.path, "read probability"):
            pixels = np.asarray(array[period, first[0] : last[0], first[1] : last[1]])
        seen = pixels != PROBABILITY_FILL
        if seen.any():
            scores[i] = pixels[seen].max() / PROBABILITY_STEPS
    return scores


def review_list(table: pd.DataFrame, scores: Floats, *, least: float = REVIEW_SCORE) -> pd.DataFrame:
    """Second pass: negatives that a model takes for mines, the highest score first, to be looked at by a person.

    A high score says that the label or the model is wrong, not which of them.

    Parameters
    ----------
    scores : one per row, 0 to 1; NaN is not listed.

    Returns
    -------
    The rows of negatives with a score of at least ``least``, and the columns ``score`` and ``verdict`` (empty).
    """
    if len(scores) != len(table):
        raise UsageError("scores and samples differ in number", got=len(scores), expected=len(table))
    scored = table.assign(score=np.asarray(scores, np.float64))
    doubtful = scored[(scored["class"] == 0) & (scored["score"] >= least)]
    listed = doubtful.sort_values(["score", "id"], ascending=[False, True]).reset_index(drop=True)
    return listed.assign(verdict="")
