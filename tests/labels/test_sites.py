"""Names of sites: what counts as the same, and what is said of the rest."""

from __future__ import annotations

import pytest
from shapely.geometry import box

from minescale.errors import UsageError
from minescale.labels.shapes.polygons import Polygons
from minescale.labels.shapes.sites import date_of, match_sites, site_key, split_site
from tests.labels.shapes import polygons


def named(*names: str) -> Polygons:
    shapes = [box(i, 0, i + 1, 1) for i in range(len(names))]
    return polygons(*shapes, crs="EPSG:4326", names=list(names))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Cameroon Kadei River Batouri", "cameroon_kadei_river_batouri"),
        ("  Kadéï -- River (Batouri) ", "kadei_river_batouri"),
        ("Bełchatów", "belchatow"),
        ("Große Grube", "grosse_grube"),
        ("矿山 1", "矿山_1"),
        ("---", ""),
    ],
)
def test_r002_names_are_normalised(name: str, key: str) -> None:
    assert site_key(name) == key


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("cameroon_kadei_river_batouri_agm_region_2", ("cameroon_kadei_river_batouri", 2)),
        ("Ghana-Ofin AGM Region 13 2019-03-04", ("ghana_ofin", 13)),
        ("strzegom_20220619", ("strzegom", None)),
        ("strzegom_2022", ("strzegom", None)),
        ("ofin_20100304_landsat-5", ("ofin", None)),
        ("ofin 2019-03", ("ofin", None)),
        ("shaft_1234", ("shaft_1234", None)),
        ("pit_2019_north", ("pit_2019_north", None)),
        ("2019", ("2019", None)),
    ],
)
def test_r002_regions_and_dates_are_taken_off(name: str, site: tuple[str, int | None]) -> None:
    assert split_site(name) == site


@pytest.mark.parametrize(
    ("name", "date"),
    [
        ("ofin_agm_region_2_20190304_landsat-8", "2019-03-04"),
        ("ofin 2019-03", "2019-03"),
        ("ofin_2019", "2019"),
        ("ofin_20190231", None),
        ("ofin", None),
    ],
)
def test_r131_names_tell_dates(name: str, date: str | None) -> None:
    assert date_of(name) == date


def test_r002_matching_tells_what_is_left_on_both_sides() -> None:
    """R002: only polygons of the image's site; a planted mismatch is reported."""
    table = named("Cameroon Kadei River Batouri", "Kadei", "cameroon kadéi river batouri", "")
    images = ["cameroon_kadei_river_batouri_agm_region_2", "cameroon_kadei_river_batouri_agm_region_3", "peru_inambari"]
    found = match_sites(images, table)
    assert found.rows == {images[0]: [0, 2], images[1]: [0, 2]}
    assert found.unmatched_images == ["peru_inambari"]
    assert found.unmatched_polygons == ["Kadei", ""]
    assert found.to_dict()["matched_images"] == 2


def test_r002_regions_that_both_sides_name_must_agree() -> None:
    table = named("Ofin AGM region 1", "Ofin AGM region 2", "Ofin")
    found = match_sites(["ofin_agm_region_2_1999", "ofin"], table)
    assert found.rows == {"ofin_agm_region_2_1999": [1, 2], "ofin": [0, 1, 2]}


def test_r002_nothing_in_common_is_an_error_unless_allowed() -> None:
    with pytest.raises(UsageError, match="no image shares its site"):
        match_sites(["a"], named("b", ""))
    found = match_sites(["a"], named("b", ""), allow_empty=True)
    assert (found.rows, found.unmatched_images, found.unmatched_polygons) == ({}, ["a"], ["b", ""])
    assert match_sites([""], named(""), allow_empty=True).rows == {}, "polygons without a name belong to no image"
