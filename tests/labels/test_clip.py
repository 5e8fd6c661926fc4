"""Polygons cut to a country."""

from __future__ import annotations

from pathlib import Path

import pytest
from shapely.geometry import box

from minescale.errors import UsageError
from minescale.labels.shapes.clip import clip, select
from minescale.labels.shapes.polygons import ReadReport
from minescale.labels.shapes.vectors import read_polygons
from tests.labels.shapes import polygons


def test_r105_a_clip_is_the_intersection_with_geodesic_areas() -> None:
    """R105: areas on the ellipsoid, at 60 degrees north half of what degrees suggest."""
    country = polygons(box(10, 60, 11, 61), crs="EPSG:4326")
    inside, across, touching, away = (
        box(10.2, 60.2, 10.4, 60.4),
        box(10.9, 60.5, 11.1, 60.6),
        box(11, 60, 12, 61),
        box(0, 0, 1, 1),
    )
    mines = polygons(inside, across, touching, away, crs="EPSG:4326", names=list("abcd"))
    clipped, coverage = clip(mines, country)
    assert clipped.frame["name"].tolist() == ["a", "b"]
    assert clipped.frame.geometry[1].symmetric_difference(box(10.9, 60.5, 11, 60.6)).area < 1e-9
    assert clipped.report == ReadReport(4, 0, {"outside the boundary": 2})
    assert (coverage.polygons, coverage.cut) == (2, 1)
    assert coverage.boundary_km2 == pytest.approx(6_100, rel=0.01)
    assert coverage.polygons_km2 == pytest.approx(0.05 * coverage.boundary_km2, rel=0.01)
    assert coverage.share == pytest.approx(0.05, rel=0.01)


def test_r105_overlaps_cover_ground_once() -> None:
    country = polygons(box(0, 0, 1, 1), crs="EPSG:4326")
    twice = polygons(box(0, 0, 0.5, 1), box(0.25, 0, 0.5, 1), crs="EPSG:4326")
    _, coverage = clip(twice, country)
    assert coverage.share == pytest.approx(0.5, rel=1e-4)
    assert coverage.polygons_km2 == pytest.approx(1.5 * coverage.covered_km2, rel=1e-4)


def test_r105_countries_are_chosen_by_a_column() -> None:
    world = polygons(box(0, 0, 1, 1), box(1, 0, 2, 1), crs="EPSG:4326", iso=["GHA", None])
    assert len(select(world, "iso", "gha")) == 1
    with pytest.raises(UsageError, match="GHA"):
        select(world, "iso", "XXX")
    with pytest.raises(UsageError, match="no such column"):
        select(world, "country", "GHA")


def test_nothing_within_the_boundary_is_an_error() -> None:
    with pytest.raises(UsageError, match="no polygon"):
        clip(polygons(box(0, 0, 1, 1), crs="EPSG:4326"), polygons(box(2, 2, 3, 3), crs="EPSG:4326"))


def test_r105_real_polygons_of_one_country(data_dir: Path) -> None:
    """R105: Ghana has 238 533 km2; the boundary here is drawn at 1 : 110 million, so 5 % may be missing."""
    folder = data_dir / "vectors"
    world = read_polygons(folder / "drc_conservation/data/ne_110m_admin_0_countries/ne_110m_admin_0_countries.shp")
    ghana = select(world, "name", "Ghana")
    mines = read_polygons(
        folder / "asm_west_africa/data/test-images/Sub-Tropical_West_Africa/gt_asm_shapes.shp", epoch=2020
    )
    clipped, coverage = clip(mines, ghana)
    assert coverage.boundary_km2 == pytest.approx(238_533, rel=0.05)
    assert 0 < len(clipped) < len(mines)
    assert coverage.polygons_km2 == pytest.approx(sum(clipped.areas_km2()))
    assert coverage.polygons_km2 <= sum(mines.areas_km2())
    assert clipped.epoch == 2020
