"""Samples are uniform, repeatable and where they should be: R029, R031, R032."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely
from scipy import stats

from minescale.errors import UsageError
from minescale.labels.cells.sampling import Reservoir, balance, points_inside, reservoir_sample
from minescale.labels.cells.windows import squares
from minescale.labels.shapes.equalarea import areas_m2


@pytest.mark.parametrize(("n", "k"), [(50, 7), (40, 39), (30, 1)])
def test_r029_the_reservoir_is_uniform(n: int, k: int) -> None:
    """Chi-square over 10 000 draws: every item of the stream is kept as often."""
    rng = np.random.default_rng(1)
    counts = np.zeros(n)
    for _ in range(10_000):
        reservoir: Reservoir[int] = Reservoir(k, rng)
        reservoir.offer(range(n))
        assert len(set(reservoir.items)) == k
        counts[reservoir.items] += 1
    # Without replacement the counts of one draw are dependent; the scaled statistic is chi-square with n - 1 degrees.
    expected = 10_000 * k / n
    statistic = ((counts - expected) ** 2 / expected).sum() * (n - 1) / (n - k)
    assert stats.chi2.sf(statistic, n - 1) > 0.001


def test_r029_pairs_of_items_are_uniform_too() -> None:
    rng = np.random.default_rng(2)
    together = np.zeros((8, 8))
    for _ in range(10_000):
        reservoir: Reservoir[int] = Reservoir(2, rng)
        reservoir.offer(range(8))
        together[tuple(reservoir.items)] += 1
    assert stats.chisquare(together[np.triu_indices(8, 1)]).pvalue > 0.001


def test_r029_memory_does_not_grow_with_the_stream() -> None:
    def peak(n: int) -> int:
        tracemalloc.start()
        reservoir_sample((str(i) for i in range(n)), 100, seed=3)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(1000)
    assert peak(300_000) < 1.5 * peak(3_000)


def test_reservoirs_smaller_than_their_stream_and_larger() -> None:
    assert reservoir_sample(range(5), 10, seed=0) == [0, 1, 2, 3, 4]
    assert reservoir_sample([], 10, seed=0) == []
    assert reservoir_sample(range(1000), 10, seed=5) == reservoir_sample(range(1000), 10, seed=5)
    assert reservoir_sample(range(1000), 10, seed=5) != reservoir_sample(range(1000), 10, seed=6)
    whole: Reservoir[int] = Reservoir(10, np.random.default_rng(5))
    for start in range(0, 1000, 7):
        whole.offer(range(start, min(start + 7, 1000)))
    assert whole.items == reservoir_sample(range(1000), 10, seed=5)
    assert whole.seen == 1000
    assert reservoir_sample(iter(range(1000)), 10, seed=5) == whole.items
    with pytest.raises(UsageError, match="no room"):
        reservoir_sample(range(5), 0, seed=0)


def test_r031_points_are_uniform_by_area() -> None:
    """A tall box from the equator to 60° N: equal-area bands get equal shares, though degrees do not."""
    lon, lat = points_inside(shapely.box(10, 0, 12, 60), 8000, np.random.default_rng(0))
    counts, _ = np.histogram(lat, np.linspace(0, 60, 7))
    bands = areas_m2([shapely.box(10, south, 12, south + 10) for south in range(0, 60, 10)])
    assert stats.chisquare(counts, bands / bands.sum() * 8000).pvalue > 0.001
    assert stats.kstest((lon - 10) / 2, "uniform").pvalue > 0.001


def test_r031_overlapping_and_hollow_areas() -> None:
    """Ground under two polygons is not likelier, holes get nothing, and parts get their share of the area."""
    ring = shapely.box(0, 0, 1, 1) - shapely.box(0.2, 0.2, 0.8, 0.8)
    areas = [ring, ring, shapely.box(3, 0, 3.6, 1)]
    lon, lat = points_inside(areas, 5000, np.random.default_rng(0))
    assert shapely.contains_xy(shapely.union_all(areas), lon, lat).all()
    assert stats.binomtest(int((lon < 2).sum()), 5000, 0.64 / 1.24).pvalue > 0.001
    assert len(lon) == 5000


def test_points_keep_clear_of_what_is_avoided() -> None:
    mines = [shapely.box(0.45, 0.45, 0.55, 0.55)]
    lon, lat = points_inside(shapely.box(0, 0, 1, 1), 3000, np.random.default_rng(0), avoid=mines, clearance_m=5000)
    assert not shapely.intersects(squares(lon, lat, 10_000), mines[0]).any()
    corner = shapely.distance(shapely.points(lon, lat), mines[0]).min() * 111_000
    assert 4500 < corner < 6000  # and no farther away than that
    with pytest.raises(UsageError, match="hardly any room"):
        points_inside(shapely.box(0.4, 0.4, 0.6, 0.6), 5, np.random.default_rng(0), avoid=mines, clearance_m=50_000)
    with pytest.raises(UsageError, match="no area"):
        points_inside(shapely.Polygon(), 5, np.random.default_rng(0))


@pytest.mark.parametrize("lat", [0.0, 51.0, -70.0])
def test_windows_are_square_in_metres(lat: float) -> None:
    west, south, east, north = squares(20.0, lat, 5000.0).bounds
    geod = pyproj.Geod(ellps="WGS84")
    assert geod.inv(20, south, 20, north)[2] == pytest.approx(5000, rel=1e-5)
    assert geod.inv(west, lat, east, lat)[2] == pytest.approx(5000, rel=1e-5)


def test_r032_classes_are_balanced_to_five_percent() -> None:
    table = pd.DataFrame({"id": range(1000), "class": [1] * 300 + [0] * 700, "inclusion_probability": 0.5})
    even = balance(table, seed=0)
    counts = even["class"].value_counts()
    assert abs(counts[1] / counts[0] - 1) <= 0.05
    assert counts[1] == 300
    assert even["id"].is_unique
    np.testing.assert_allclose(even.groupby("class")["inclusion_probability"].first(), [0.5 * 300 / 700, 0.5])
    pd.testing.assert_frame_equal(even, balance(table, seed=0))
    assert even["id"].tolist() != balance(table, seed=1)["id"].tolist()
    near = table.iloc[: 300 + 315]
    assert len(balance(near, seed=0)) == 615  # 5 % more is let be
    assert len(balance(table.iloc[: 300 + 316], seed=0)) == 600
    for odd in (table.iloc[:300], table.assign(**{"class": np.arange(1000) % 3})):
        with pytest.raises(UsageError, match="two classes"):
            balance(odd, seed=0)
