"""Which looks a composite keeps, and how bands of different resolution meet."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely import box

from minescale.cube.looks import Looks, choose_layers
from minescale.cube.nesting import native_factor, pixel_metres, zoom_out
from minescale.sensors import CLEAR, OBSCURED
from minescale.sources.scenes import BandAsset, Scene, group_layers, solar_day, source_anchor


def _scene(**changes: object) -> Scene:
    asset = BandAsset(href="x.tif", transform=(20.0, 0.0, 300000.0, 0.0, -20.0, 9300000.0), shape=(5490, 5490))
    values: dict[str, object] = {
        "id": "a",
        "collection": "sentinel-2-l2a",
        "provider": "other",
        "sensor": "sentinel-2-l2a",
        "platform": "sentinel-2a",
        "datetime": dt.datetime(2024, 3, 1, 14, 30, tzinfo=dt.UTC),
        "crs": "EPSG:32720",
        "footprint": box(-61, -7, -60, -6),
        "bands": {"swir16": asset},
    }
    return Scene(**{**values, **changes})  # type: ignore[arg-type]


def _box(left: float = 300000.0, res: float = 10.0, shape: tuple[int, int] = (512, 512)) -> GeoBox:
    return GeoBox(shape, Affine(res, 0, left, 0, -res, 9300000.0), "EPSG:32720")


def _looks(states: NDArray[np.uint8]) -> Looks:
    """Taken in by twos, as a composite takes quality bands in by groups."""
    looks = Looks(len(states), states.shape[1:])
    for first in range(0, len(states), 2):
        which = list(range(first, min(first + 2, len(states))))
        looks.add(which, states[which])
    return looks


def test_scenes_of_one_pass_are_one_look() -> None:
    later = dt.datetime(2024, 3, 1, 14, 30, 20, tzinfo=dt.UTC)
    layers = group_layers([_scene(id="b", datetime=later), _scene(), _scene(id="c", platform="sentinel-2b")], -60.0)
    assert [[s.id for s in layer.scenes] for layer in layers] == [["a", "b"], ["c"]]


def test_solar_day_follows_the_sun_not_the_clock() -> None:
    midnight = dt.datetime(2024, 3, 1, 0, 30, tzinfo=dt.UTC)
    assert solar_day(midnight, 178.0) == dt.date(2024, 3, 1)
    assert solar_day(midnight, -150.0) == dt.date(2024, 2, 29)


def test_twenty_metre_bands_are_read_at_twenty_metres_where_lattices_agree() -> None:
    assert native_factor([_scene()], _box(), "swir16") == 2
    assert native_factor([_scene()], _box(left=300010.0), "swir16") == 1, "half a 20 m pixel off"
    assert native_factor([_scene()], _box(res=20.0), "swir16") == 1
    assert native_factor([_scene()], _box(res=80.0), "swir16") == 1
    assert native_factor([_scene(), _scene(crs="EPSG:32721")], _box(), "swir16") == 1, "a warped scene decides for all"
    assert native_factor([_scene()], _box(shape=(511, 512)), "swir16") == 1, "shape does not divide"


def test_zoomed_out_box_covers_the_same_ground() -> None:
    box10 = _box()
    box20 = zoom_out(box10, 2)
    assert box20.boundingbox == box10.boundingbox
    assert box20.shape.yx == (256, 256)


def test_degrees_are_counted_as_metres() -> None:
    box_deg = GeoBox((10, 10), Affine(9e-5, 0, 81, 0, -9e-5, 21), "EPSG:4326")
    assert pixel_metres(box_deg) == pytest.approx(10.0, rel=0.01)


def test_anchor_is_the_most_common_lattice() -> None:
    other = BandAsset(href="y.tif", transform=(20.0, 0.0, 300020.0, 0.0, -20.0, 9300000.0), shape=(5, 5))
    scenes = [_scene(), _scene(id="b"), _scene(id="c", bands={"swir16": other}), _scene(id="d", crs="EPSG:32721")]
    assert source_anchor(scenes, "EPSG:32720") == (300000.0, 9300000.0)
    assert source_anchor(scenes, "EPSG:3857") == (0.0, 0.0)


def test_the_only_look_at_a_corner_is_not_dropped() -> None:
    """Six clear looks at the west and one, half clouded, at the east: "clearest first" alone would lose the east."""
    states = np.zeros((7, 8, 8), np.uint8)
    states[:6, :, :5] = CLEAR
    states[6, :, 5:] = CLEAR
    states[6, :4, 5:] = OBSCURED
    chosen = choose_layers(_looks(states), limit=3)
    assert len(chosen) == 3
    assert 6 in chosen
    assert sorted(chosen) == chosen


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 9999), limit=st.integers(1, 6))
def test_choice_never_sees_less_than_the_clearest_alone(seed: int, limit: int) -> None:
    rng = np.random.default_rng(seed)
    states = rng.choice(np.array([0, CLEAR, OBSCURED], np.uint8), size=(9, 4, 6), p=[0.4, 0.3, 0.3])
    clear = (states == CLEAR).sum(axis=(1, 2))
    plain = np.lexsort((np.arange(9), -clear))[:limit]
    chosen = choose_layers(_looks(np.ascontiguousarray(states)), limit)
    assert len(chosen) == min(limit, int((clear > 0).sum()))
    seen = (states[chosen] == CLEAR).any(axis=0).sum()
    assert seen >= (states[plain] == CLEAR).any(axis=0).sum()
