"""Polygons as pixels: hand-counted masks, and distances that shapely and geodesics confirm."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import Point, Polygon, box

from minescale.errors import UsageError
from minescale.kernels.distances import distance_to_segments
from minescale.labels.rasters.masks import class_mask, far_from_edges, patch_means, rasterise, signed_distance
from minescale.labels.sets.classes import ASGM, BINARY, IGNORE, THREE_CLASS
from minescale.labels.shapes.polygons import Polygons, ReadReport
from tests.labels.shapes import UTM33, grid, polygons

X, Y = 500_000.0, 5_600_000.0


def centres(geobox: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = np.mgrid[0 : geobox.shape[0], 0 : geobox.shape[1]] + 0.5
    return geobox.affine.c + geobox.affine.a * cols, geobox.affine.f + geobox.affine.e * rows


def scattered(count: int, seed: int = 0) -> list[shapely.Polygon]:
    rng = np.random.default_rng(seed)
    return [
        Point(X + rng.uniform(-2000, 4000), Y - rng.uniform(-2000, 4000)).buffer(rng.uniform(30, 500))
        for _ in range(count)
    ]


def test_r003_pixel_centres_decide_and_overlaps_count_once() -> None:
    # Columns 1 and 2 by a box that ends 4 m into column 3, rows 0 and 1; then an overlapping box on pixel (1, 2).
    first = box(X + 10, Y - 20, X + 34, Y + 1)
    second = box(X + 21, Y - 19, X + 29, Y - 11)
    mask = rasterise(polygons(first, second), grid(3, 5))
    np.testing.assert_array_equal(mask, np.array([[0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]], bool))
    touched = rasterise(polygons(first, second), grid(3, 5), all_touched=True)
    assert touched[:2, 3].all()
    assert not touched[:, 4].any()


def test_r003_equals_point_in_polygon_of_every_centre() -> None:
    shapes = scattered(30)
    geobox = grid(200, 230)
    inside = shapely.contains_xy(shapely.union_all(shapes), *centres(geobox))
    np.testing.assert_array_equal(rasterise(polygons(*shapes), geobox), inside)
    assert 0.05 < inside.mean() < 0.95


def test_r003_holes_stay_open() -> None:
    ring = Polygon(box(X, Y - 50, X + 50, Y).exterior, [box(X + 20, Y - 30, X + 30, Y - 20).exterior])
    mask = rasterise(polygons(ring), grid(5, 5))
    assert not mask[2, 2]
    assert mask.sum() == 24


def test_long_edges_bend_with_the_grid() -> None:
    # One degree along the 60th parallel, which in UTM lies some 60 m off the chord between its ends.
    frame = gpd.GeoDataFrame({"name": [""]}, geometry=[box(14.5, 59, 15.5, 60)], crs=4326)
    parallel = Polygons(frame=frame, source="test", report=ReadReport(1))
    x, y = pyproj.Transformer.from_crs(4326, UTM33, always_xy=True).transform(15.0, 60.0)
    mask = rasterise(parallel, grid(40, 3, left=x - 15, top=y + 200))
    assert mask[:, 1].tolist() == [False] * 20 + [True] * 20


def test_grids_in_degrees_and_across_the_antimeridian() -> None:
    halves = shapely.MultiPolygon([box(179.9, 0, 180, 0.1), box(-180, 0, -179.9, 0.1)])
    split = polygons(halves, crs="EPSG:4326")
    degrees = GeoBox((30, 60), Affine(0.01, 0, 179.7, 0, -0.01, 0.2), "EPSG:4326")
    assert rasterise(split, degrees)[10:20, 20:40].all()
    assert rasterise(split, degrees).sum() == 200
    # UTM zone 60 runs on past 180 degrees; the seam between the halves is no edge.
    x, y = pyproj.Transformer.from_crs(4326, 32660, always_xy=True).transform(180.0, 0.05)
    utm = GeoBox((20, 20), Affine(100, 0, x - 1000, 0, -100, y + 1000), "EPSG:32660")
    assert rasterise(split, utm).all()
    assert signed_distance(split, utm).max() < -4000
    other = GeoBox((20, 20), Affine(100, 0, 166_000 - 1000, 0, -100, y + 1000), "EPSG:32601")
    assert rasterise(split, other).all()


def test_polar_grids() -> None:
    crs = "EPSG:3995"
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(-60.0, 80.0)
    shape = Point(x, y).buffer(500)
    frame = gpd.GeoDataFrame({"name": [""]}, geometry=[shape.segmentize(10)], crs=crs).to_crs(4326)
    one = Polygons(frame=frame, source="test", report=ReadReport(1))
    geobox = GeoBox((50, 50), Affine(30, 0, x - 750, 0, -30, y + 750), crs)
    np.testing.assert_array_equal(rasterise(one, geobox), shapely.contains_xy(shape, *centres(geobox)))
    pole = GeoBox((400, 400), Affine(10_000, 0, -2e6, 0, -10_000, 2e6), crs)
    assert rasterise(one, pole, all_touched=True).any()


def test_r069_distance_equals_shapely_within_half_a_pixel() -> None:
    """R069: metres to the nearest edge, negative inside, polygons outside the image count."""
    shapes = scattered(25, seed=1)
    geobox = grid(150, 120)
    union = shapely.union_all(shapes)
    outside = [s for s in shapes if not s.intersects(box(X, Y - 1500, X + 1200, Y))]
    assert outside, "some polygons must lie outside the image"
    x, y = centres(geobox)
    expected = shapely.distance(shapely.points(x, y), union.boundary)
    expected = np.where(shapely.contains_xy(union, x, y), -expected, expected)
    found = signed_distance(polygons(*shapes), geobox)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 5
    nearest_outside = signed_distance(polygons(*outside), geobox)
    assert np.abs(nearest_outside - shapely.distance(shapely.points(x, y), shapely.union_all(outside))).max() < 5


def test_r069_images_larger_than_one_block_have_no_seam() -> None:
    shapes = scattered(6, seed=2)
    geobox = grid(40, 1100, left=X - 5000)
    x, y = centres(geobox)
    expected = shapely.distance(shapely.points(x, y), shapely.union_all(shapes).boundary)
    found = np.abs(signed_distance(polygons(*shapes), geobox))
    assert np.abs(found - expected).max() < 5


@pytest.mark.parametrize("km", [40.0, 3000.0])
def test_r069_far_polygons_are_measured_on_the_ellipsoid(km: float) -> None:
    geobox = grid(20, 20)
    lon, lat = pyproj.Transformer.from_crs(UTM33, 4326, always_xy=True).transform(X + 100, Y - 100)
    geod = pyproj.Geod(ellps="WGS84")
    east, north, _ = geod.fwd(lon, lat, 70, km * 1000)
    far = polygons(Point(east, north).buffer(1e-4), crs="EPSG:4326")
    found = signed_distance(far, geobox)
    corners = [(0, 0), (0, 19), (19, 0), (19, 19)]
    x, y = centres(geobox)
    for row, col in corners:
        plon, plat = pyproj.Transformer.from_crs(UTM33, 4326, always_xy=True).transform(x[row, col], y[row, col])
        ring = shapely.get_coordinates(far.frame.geometry)
        _, _, metres = geod.inv(np.full(len(ring), plon), np.full(len(ring), plat), ring[:, 0], ring[:, 1])
        assert found[row, col] == pytest.approx(min(metres), abs=5)


def test_r069_metres_are_metres_in_web_mercator() -> None:
    x, y = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(15.0, 60.0)
    geobox = GeoBox((10, 10), Affine(20, 0, x - 100, 0, -20, y + 100), "EPSG:3857")
    away = polygons(box(15.1, 59.9, 15.2, 60.1), crs="EPSG:4326")
    _, _, metres = pyproj.Geod(ellps="WGS84").inv(15.0, 60.0, 15.1, 60.0)
    assert signed_distance(away, geobox)[5, 5] == pytest.approx(metres, abs=10)


def test_no_polygons_are_infinitely_far() -> None:
    none = Polygons(frame=gpd.GeoDataFrame({"name": []}, geometry=[], crs=4326), source="test", report=ReadReport(0))
    assert np.isposinf(signed_distance(none, grid(3, 3))).all()
    assert not rasterise(none, grid(3, 3)).any()


def test_r070_pixels_near_an_edge_can_be_left_out() -> None:
    """R070: strictly closer than the buffer; F19: outlines are no pixel truth at their edges."""
    distance = np.array([-21.0, -20.0, -5.0, 0.0, 19.9, 20.0, np.inf], np.float32)
    assert far_from_edges(distance, 20).tolist() == [True, True, False, False, False, True, True]
    assert far_from_edges(distance, 0).all()
    with pytest.raises(UsageError, match="0 or more"):
        far_from_edges(distance, -1)


def test_class_masks_say_who_wins_and_ignore_edges() -> None:
    """F19: a band along the outlines counts as neither class."""
    pit, road = box(X + 100, Y - 300, X + 300, Y - 100), box(X, Y - 210, X + 400, Y - 190)
    layers = [("hauling road", polygons(road)), ("asgm", polygons(pit))]
    mask = class_mask(layers, grid(40, 40), ASGM)
    assert np.bincount(mask.ravel(), minlength=3).tolist() == [1600 - 440, 360, 80]
    other = class_mask(layers[::-1], grid(40, 40), ASGM)
    assert np.bincount(other.ravel(), minlength=3).tolist() == [1600 - 440, 400, 40]
    banded = class_mask([("asgm", polygons(pit))], grid(40, 40), ASGM, edge_m=20)
    assert (banded == ASGM.value("asgm")).sum() == 16 * 16
    ring = np.abs(signed_distance(polygons(pit), grid(40, 40))) < 20
    np.testing.assert_array_equal(banded == IGNORE, ring)


def test_class_masks_that_cannot_be() -> None:
    pit = polygons(box(X, Y - 100, X + 100, Y))
    with pytest.raises(UsageError, match="road"):
        class_mask([("road", pit)], grid(4, 4), BINARY)
    with pytest.raises(UsageError, match="two layers"):
        class_mask([("mining", pit), ("mining", pit)], grid(4, 4), BINARY)
    with pytest.raises(UsageError, match="no value"):
        class_mask([("mining", pit)], grid(4, 4), THREE_CLASS, edge_m=10)
    with pytest.raises(UsageError, match="coordinate system"):
        rasterise(pit, GeoBox((4, 4), Affine(10, 0, 0, 0, -10, 0), None))


def test_r081_patches_average_their_pixels() -> None:
    """R081: k x k means; what fills no whole patch is dropped, or averaged as far as it goes."""
    label = np.array([[1, 0, 1, 1, 1], [0, 0, 1, 255, 1], [1, 1, 0, 0, 255]], np.uint8)
    np.testing.assert_array_equal(patch_means(label, 2, ignore=255), [[0.25, 1.0]])
    whole = patch_means(label, 2, ignore=255, edge="partial")
    np.testing.assert_array_equal(whole, [[0.25, 1.0, 1.0], [1.0, 0.0, np.nan]])
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(patch_means(np.array([[np.nan, -2.0], [4.0, 4.0]]), 2), [[2.0]])
    for wrong in ({"k": 0}, {"k": 4}, {"k": 2, "edge": "wrap"}):
        with pytest.raises(UsageError):
            patch_means(label, **wrong)


def test_distance_kernel_equals_brute_force() -> None:
    rng = np.random.default_rng(3)
    segments = rng.uniform(-50, 90, (200, 4))
    segments[::7, 2:] = segments[::7, :2]  # points
    x, y = np.meshgrid(np.arange(37.0) + 0.3, np.arange(41.0) * 0.9)
    lines = shapely.linestrings(segments.reshape(-1, 2, 2))
    expected = shapely.distance(shapely.points(x, y)[..., None], lines).min(axis=-1)
    np.testing.assert_allclose(distance_to_segments(x, y, segments), expected, atol=1e-9)
    assert np.isinf(distance_to_segments(x, y, np.empty((0, 4)))).all()
    with pytest.raises(UsageError, match=r"\(n, 4\)"):
        distance_to_segments(x, y, segments[:, :3].copy())
