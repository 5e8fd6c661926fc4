"""Polygons as pixels: masks, classes, and the signed distance to the nearest edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from minescale.errors import UsageError
from minescale.kernels.distances import distance_to_segments
from minescale.labels.rasters.placing import SEGMENT_DEGREES, Extent, lonlat, near, on_grid
from minescale.labels.sets.classes import ClassMap
from minescale.labels.shapes.polygons import Polygons

_BLOCK = 512
"""Pixels along the edge of what is measured round one centre."""
_NODE_PX = 16


def rasterise(polygons: Polygons, geobox: GeoBox, *, all_touched: bool = False) -> NDArray[np.bool_]:
    """True where a pixel lies in any of the polygons.

    Edges are taken as straight in longitude and latitude, and projected with as many points as that needs.

    Parameters
    ----------
    geobox : the image's grid, in any coordinate system.
    all_touched : False: pixels whose centre lies inside. True: every pixel that a polygon touches.

    Returns
    -------
    bool (y, x)

    Raises
    ------
    UsageError
        for a grid without a coordinate system.
    """
    shapes = on_grid(polygons, geobox)
    if not shapes:
        return np.zeros(geobox.shape.yx, bool)
    burnt = rasterize(
        shapes, out_shape=geobox.shape.yx, transform=geobox.affine, all_touched=all_touched, dtype=np.uint8
    )
    return burnt.astype(bool)


def signed_distance(polygons: Polygons, geobox: GeoBox) -> NDArray[np.float32]:
    """Distance on the ground from each pixel's centre to the nearest edge of the polygons, negative inside.

    Edges are those of the union: where polygons overlap or adjoin there is none. Polygons outside the image count,
    however far. Measured in an azimuthal equidistant projection round the middle of each 512 x 512 pixels, so that
    metres are metres in any coordinate system; the error stays below a thousandth of the distance for pixels up to
    100 m.

    Returns
    -------
    float32 (y, x), metres; infinite where there are no polygons at all.

    Raises
    ------
    UsageError
        for a grid without a coordinate system.
    """
    distance = np.empty(geobox.shape.yx, np.float32)
    rows, cols = distance.shape
    for y in range(0, rows, _BLOCK):
        for x in range(0, cols, _BLOCK):
            part = np.s_[y : min(y + _BLOCK, rows), x : min(x + _BLOCK, cols)]
            distance[part] = _edge_distance(polygons, geobox[part])
    return np.negative(distance, where=rasterise(polygons, geobox), out=distance)


def far_from_edges(distance: NDArray[np.float32], buffer_m: float) -> NDArray[np.bool_]:
    """Pixels worth learning from: False where ``abs(distance) < buffer_m``.

    Parameters
    ----------
    distance : metres, any shape, see `signed_distance`.
    """
    if not buffer_m >= 0:
        raise UsageError("buffer is not a distance", got=buffer_m, expected="0 or more metres")
    return ~(np.abs(distance) < buffer_m)


def class_mask(
    layers: Sequence[tuple[str, Polygons]],
    geobox: GeoBox,
    classes: ClassMap,
    *,
    background: str = "background",
    edge_m: float = 0.0,
    all_touched: bool = False,
) -> NDArray[np.uint8]:
    """Class values from polygons of several classes.

    Parameters
    ----------
    layers : class name and its polygons, **first wins**: a pixel belongs to the first layer that covers it.
    background : class of pixels that no layer covers.
    edge_m : pixels closer than this to an edge of any layer are ignored: outlines drawn by hand are off by a pixel
        or two, and enclose what they surround.
    all_touched : see `rasterise`.

    Returns
    -------
    uint8 (y, x), values of ``classes``.

    Raises
    ------
    UsageError
        for a class that is not in the map or named twice, or an edge where the map ignores nothing.
    """
    names = [name for name, _ in layers]
    if len(set(names)) != len(names):
        raise UsageError("a class has two layers", got=names, expected="one layer each", fix="join their polygons")
    if edge_m and classes.ignore is None:
        raise UsageError("no value to give to pixels near an edge", got="ignore=None", expected="a map with one")
    mask = np.full(geobox.shape.yx, classes.value(background), np.uint8)
    for name, polygons in reversed(layers):
        mask[rasterise(polygons, geobox, all_touched=all_touched)] = classes.value(name)
    if edge_m and classes.ignore is not None:
        for _, polygons in layers:
            mask[~far_from_edges(signed_distance(polygons, geobox), edge_m)] = classes.ignore
    return mask


def patch_means(
    values: NDArray[np.generic],
    k: int,
    *,
    ignore: int | None = None,
    edge: Literal["drop", "partial"] = "drop",
) -> NDArray[np.float32]:
    """Mean over patches of k x k pixels: of a binary label it is the share of mining.

    Parameters
    ----------
    values : (y, x), labels or numbers; patches begin at the upper left corner.
    ignore : value that does not count; NaN never does.
    edge : pixels to the right and below that fill no whole patch: ``drop`` leaves them out, ``partial`` averages
        what there is.

    Returns
    -------
    float32 (y // k, x // k), or rounded up for ``partial``; NaN where no pixel counts.

    Raises
    ------
    UsageError
        for an unknown rule, or a patch that is larger than the image with ``drop``.
    """
    if k < 1 or values.ndim != 2:
        raise UsageError("no patches to average", got=f"k={k}, shape {values.shape}", expected="k >= 1, (y, x)")
    if edge not in ("drop", "partial"):
        raise UsageError("unknown rule for incomplete patches", got=edge, expected="drop | partial")
    rows, cols = values.shape
    ny, nx = (rows // k, cols // k) if edge == "drop" else (-(-rows // k), -(-cols // k))
    if not ny or not nx:
        raise UsageError("a patch is larger than the image", got=f"k={k}, {rows} x {cols}", fix="edge='partial'")
    numbers = np.full((ny * k, nx * k), np.nan)
    part = values[: ny * k, : nx * k]
    numbers[: part.shape[0], : part.shape[1]] = part
    if ignore is not None:
        numbers[: part.shape[0], : part.shape[1]][part == ignore] = np.nan
    blocks = numbers.reshape(ny, k, nx, k)
    counts = np.isfinite(blocks).sum(axis=(1, 3))
    with np.errstate(invalid="ignore"):
        return (np.nansum(blocks, axis=(1, 3)) / counts).astype(np.float32)


def _edge_distance(polygons: Polygons, geobox: GeoBox) -> NDArray[np.float64]:
    """Unsigned distance in metres (y, x) from the pixel centres of a small image to the edges of the union."""
    rows, cols = geobox.shape.yx
    lon, lat = lonlat(geobox, np.array([rows / 2]), np.array([cols / 2]))
    local = pyproj.Proj(proj="aeqd", lon_0=(lon[0] + 180) % 360 - 180, lat_0=lat[0], ellps="WGS84")
    (i, down), (j, across) = _nodes(rows), _nodes(cols)
    nodes = local(*lonlat(geobox, *np.meshgrid(i, j, indexing="ij")))
    x, y = (np.ascontiguousarray(down @ np.asarray(v) @ across.T) for v in nodes)
    reach = float(np.hypot(x, y).max())
    here = Extent(lon[0], lat[0], lon[0], lat[0])
    # The edge that is nearest to any pixel lies within d + 2 x reach of the middle, where d is the middle's distance.
    # Any edge found gives an upper bound on d, and distances from the middle are exact.
    margin = max(4 * reach, 1000.0)
    edges = _edges(near(polygons, here.grown(margin)), local)
    while not len(edges) and not here.grown(margin).everywhere:
        margin *= 4
        edges = _edges(near(polygons, here.grown(margin)), local)
    bound = float(distance_to_segments(np.zeros((1, 1)), np.zeros((1, 1)), edges)[0, 0])
    if bound + 2 * reach > margin and len(edges):
        edges = _edges(near(polygons, here.grown(1.01 * (bound + 2 * reach))), local)
    return distance_to_segments(x, y, edges)


def _nodes(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places along an axis of n pixels where projections are computed, and the weights (n, node) between them.

    Geodesics cost a microsecond each. Between nodes 16 pixels apart a straight line leaves the projection by
    (16 p)^2 / 8 R, which for pixels of p = 100 m is 5 cm.
    """
    count = -(-n // _NODE_PX) + 1
    nodes = np.linspace(0, n, count)
    weights = 1 - np.abs(np.arange(n)[:, None] + 0.5 - nodes) / nodes[1]
    return nodes, np.maximum(weights, 0)


def _edges(shapes: NDArray[np.object_], local: pyproj.Proj) -> NDArray[np.float64]:
    """Edges of the union as segments (n, 4) in metres: x0, y0, x1, y1."""
    union: BaseGeometry = shapely.union_all(shapes)
    lines = shapely.get_parts(shapely.boundary(shapely.segmentize(union, SEGMENT_DEGREES)))
    coordinates, line = shapely.get_coordinates(lines, return_index=True)
    x, y = local(coordinates[:, 0], coordinates[:, 1])
    points = np.column_stack([x, y])
    joined = line[1:] == line[:-1]
    return np.ascontiguousarray(np.hstack([points[:-1], points[1:]])[joined])
