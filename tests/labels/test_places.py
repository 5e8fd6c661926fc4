"""R033, R108 and F09: windows are exact in metres, on the scenes' own pixels, and tile an area without gap."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from minescale.errors import UsageError
from minescale.grid import project_bbox
from minescale.labels.places.places import along_curve, lay_windows, middles, search_boxes, tile_area
from minescale.types import BBox


def nowhere(crs: str) -> tuple[float, float]:
    return (0.0, 0.0)


def at(lon: float, lat: float, **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"id": ["a"], "lon": [lon], "lat": [lat], **columns})


@settings(max_examples=60, deadline=None)
@given(lon=st.floats(-180, 180), lat=st.floats(-79.5, 83.5), seed=st.integers(0, 3))
def test_r033_f09_five_kilometres_are_five_kilometres_anywhere(lon: float, lat: float, seed: int) -> None:
    """R033: 5000 m, half a pixel more or less. F09: a grid in metres, whose pixel count follows."""
    snap = (10, 20, 60, 10)[seed]
    windows = lay_windows(at(lon, lat), pixel=10, snap=snap, anchor=lambda crs: (600_000.0, 4_100_040.0), side_m=5000)
    assert windows.shape.tolist() == [[500, 500]]
    box_m = windows.geobox(0).boundingbox
    assert (box_m.span_x, box_m.span_y) == (5000, 5000)
    assert (box_m.left - 600_000) % snap == 0
    assert (box_m.top - 4_100_040) % snap == 0
    x, y = pyproj.Transformer.from_crs(4326, windows.crs[0], always_xy=True).transform(lon, lat)
    assert abs((box_m.left + box_m.right) / 2 - x) <= snap / 2 + 1e-6
    assert abs((box_m.bottom + box_m.top) / 2 - y) <= snap / 2 + 1e-6
    # On the ground too: a UTM zone is true to a thousandth.
    back = pyproj.Transformer.from_crs(windows.crs[0], 4326, always_xy=True)
    (lon0, lat0), (lon1, lat1) = (back.transform(edge, y) for edge in (box_m.left, box_m.right))
    ground = pyproj.Geod(ellps="WGS84").inv(lon0, lat0, lon1, lat1)[2]
    assert ground == pytest.approx(5000, rel=1.5e-3)


def test_the_zone_is_the_one_the_place_lies_in() -> None:
    places = pd.DataFrame({"id": ["w", "e", "s", "pole"], "lon": [5.99, 6.01, 6.01, 0.0], "lat": [50, 50, -10, 88.0]})
    windows = lay_windows(places, pixel=10, snap=10, anchor=nowhere, side_m=1000)
    assert windows.crs[:3] == ("EPSG:32631", "EPSG:32632", "EPSG:32732")
    assert "Lambert Azimuthal" in windows.crs[3]


def test_boxes_get_the_smallest_window_that_holds_them() -> None:
    places = pd.DataFrame({"id": ["a"], "west": [3.0], "south": [45.0], "east": [3.02], "north": [45.03]})
    windows = lay_windows(places, pixel=10, snap=20, anchor=nowhere)
    held = windows.geobox(0).boundingbox
    x, y = pyproj.Transformer.from_crs(4326, "EPSG:32631", always_xy=True).transform([3.0, 3.02], [45.0, 45.03])
    assert 0 <= min(x) - held.left < 20
    assert 0 <= held.top - max(y) < 20
    assert 0 <= held.right - max(x) < 12
    assert 0 <= min(y) - held.bottom < 12


def test_a_crs_corner_and_side_are_taken_as_they_are() -> None:
    places = pd.DataFrame({"id": ["a"], "crs": ["EPSG:32630"], "left": [500_005.0], "top": [1.0], "side_m": [950.0]})
    geobox = lay_windows(places, pixel=10, snap=60, anchor=nowhere).geobox(0)
    assert geobox.shape.yx == (95, 95)
    assert (geobox.affine.c, geobox.affine.f) == (500_005.0, 1.0)
    lon, lat = middles(places, lay_windows(places, pixel=10, snap=60, anchor=nowhere))
    assert (lon[0], lat[0]) == pytest.approx((-2.99568, -0.00428), abs=1e-4)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pd.DataFrame({"lon": [1.0], "lat": [2.0]}), "column id"),
        (pd.DataFrame({"id": ["a"], "x": [1.0]}), "where they are"),
        (pd.DataFrame({"id": ["a", "a"], "lon": [1.0, 2.0], "lat": [2.0, 2.0]}), "repeat"),
        (at(100.0, 120.0), "nowhere on Earth"),
        (at(float("nan"), 2.0), "nowhere on Earth"),
        (at(1.0, 2.0, side_m=-5.0), "no size"),
        (at(1.0, 2.0, side_m=500_000.0), "too large"),
        (at(1.0, 2.0, side_m=2.0), "empty"),
        (at(1.0, 2.0).iloc[:0], "no place"),
    ],
)
def test_tables_that_cannot_be(table: pd.DataFrame, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        lay_windows(table, pixel=10, snap=10, anchor=nowhere, side_m=1000)


def test_a_place_without_a_size_is_refused() -> None:
    with pytest.raises(UsageError, match="side_m"):
        lay_windows(at(1.0, 2.0), pixel=10, snap=10, anchor=nowhere)


def test_the_curve_keeps_neighbours_together() -> None:
    step = 0.01
    lon, lat = (v.ravel() for v in np.meshgrid(10 + step * np.arange(32), 20 + step * np.arange(32)))
    shuffled = np.random.default_rng(0).permutation(len(lon))
    order = along_curve(lon[shuffled], lat[shuffled])
    assert sorted(order.tolist()) == list(range(len(lon)))
    moved = np.hypot(np.diff(lon[shuffled][order]), np.diff(lat[shuffled][order])) / step
    assert np.median(moved) <= 1.5
    # Sixteen places in a row fill about four by four, where a raster scan makes a strip of sixteen.
    runs = order.reshape(-1, 16)
    spans = [np.ptp(lon[shuffled][run]) + np.ptp(lat[shuffled][run]) for run in runs]
    assert np.median(spans) / step <= 12


def test_one_search_serves_a_country_and_few_a_globe() -> None:
    rng = np.random.default_rng(0)
    ids = [str(i) for i in range(40)]
    country = pd.DataFrame({"id": ids, "lon": rng.uniform(-3, 1, 40), "lat": rng.uniform(5, 11, 40)})
    windows = lay_windows(country, pixel=10, snap=10, anchor=nowhere, side_m=5000)
    (found,) = search_boxes(windows)
    assert found.west < country["lon"].min() < country["lon"].max() < found.east
    assert found.south < country["lat"].min() < country["lat"].max() < found.north
    globe = country.assign(lon=rng.uniform(-180, 180, 40), lat=rng.uniform(-60, 60, 40))
    boxes = search_boxes(lay_windows(globe, pixel=10, snap=10, anchor=nowhere, side_m=5000))
    assert 1 < len(boxes) <= 40
    for lon, lat in zip(globe["lon"], globe["lat"], strict=True):
        assert any(p.west <= lon <= p.east and p.south <= lat <= p.north for b in boxes for p in b.parts())


def test_windows_across_the_antimeridian_are_searched_on_both_sides() -> None:
    places = pd.DataFrame({"id": ["a", "b"], "lon": [179.999, -179.5], "lat": [-17.0, -17.2]})
    (found,) = search_boxes(lay_windows(places, pixel=10, snap=10, anchor=nowhere, side_m=5000))
    assert found.crosses_antimeridian
    assert found.width < 1


AREA = BBox(3.0, 45.0, 3.4, 45.2)


def test_r108_tiles_cover_the_area_without_gap_and_the_edge_policy_is_explicit() -> None:
    """R108: 7.68 km tiles; misshapen ones at the edge are skipped, or kept whole."""
    padded, skipped = tile_area(AREA, edge="pad"), tile_area(AREA, edge="skip")
    assert set(skipped["id"]) < set(padded["id"])
    windows = lay_windows(padded, pixel=10, snap=60, anchor=nowhere)
    assert set(map(tuple, windows.shape.tolist())) == {(768, 768)}
    columns = sorted(set(padded["left"]))
    assert np.allclose(np.diff(columns), 7680)
    xmin, ymin, xmax, ymax = project_bbox(AREA, "EPSG:32631").bounds
    assert min(columns) <= xmin
    assert max(columns) + 7680 >= xmax
    assert padded["top"].max() >= ymax
    assert padded["top"].min() - 7680 <= ymin
    assert (skipped["left"] + 7680 <= xmax + 10).all()
    assert (skipped["top"] - 7680 >= ymin - 10).all()


def test_r108_tiles_that_miss_the_area_of_interest_are_left_out() -> None:
    """R108."""
    inside = tile_area(AREA, edge="pad", within=box(3.0, 45.0, 3.08, 45.06))
    assert 1 <= len(inside) < len(tile_area(AREA, edge="pad"))
    with pytest.raises(UsageError, match="no whole tile"):
        tile_area(BBox(3.0, 45.0, 3.05, 45.05), edge="skip")
