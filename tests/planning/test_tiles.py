"""The tile index says what geometry says, and is made once and all at once."""

from __future__ import annotations

import json
from dataclasses import replace
from unittest import mock

import pyproj
import pytest
import shapely

from minescale.config import load_config
from minescale.planning import cost, plan, tiles
from minescale.sources.headers import BlockSummary
from minescale.types import Period
from tests.countries import country


@pytest.fixture(scope="module")
def small() -> plan.ScanPlan:
    return country(0.15, days=3)


def test_scenes_of_a_tile_are_those_that_touch_it(small: plan.ScanPlan) -> None:
    index, period = small.index(0), small.periods[0]
    project = pyproj.Transformer.from_crs(4326, small.grid.crs, always_xy=True).transform
    footprints = [shapely.segmentize(scene.footprint, 0.05) for scene in small.scenes]
    footprints = [shapely.transform(f, lambda x, y: project(x, y), interleaved=False) for f in footprints]
    reach = 8 * small.grid.resolution
    for key in list(index.keys())[::7]:
        xmin, ymin, xmax, ymax = small.grid.bounds(key)
        wide = shapely.box(xmin - reach, ymin - reach, xmax + reach, ymax + reach)
        assert index.scenes(key, period) == tuple(i for i, f in enumerate(footprints) if f.intersects(wide))


def test_tiles_of_a_scene_and_looks_are_the_same_table(small: plan.ScanPlan) -> None:
    index = small.index(0)
    periods = (Period.parse("2024-01-01"), Period.parse("2024-01-02/2024-01-31"))
    looks = index.looks(periods)
    for key in index.keys():  # noqa: SIM118 - not a mapping
        flat = key.y * index.shape[1] + key.x
        for row, period in zip(looks, periods, strict=True):
            found = index.scenes(key, period)
            assert all(flat in index.tiles_of(i) for i in found)
            assert row[flat] == len({small.scenes[i].datetime.date() for i in found})
    outside = ~index.inside.ravel()
    assert (looks[:, outside] == 0).all()


def test_footprints_are_projected_together(small: plan.ScanPlan) -> None:
    footprints = [scene.footprint for scene in small.scenes]
    with mock.patch.object(tiles.pyproj.Transformer, "from_crs", wraps=pyproj.Transformer.from_crs) as made:
        together = tiles.project_footprints(footprints, small.grid)
    assert made.call_count == 1
    for one, footprint in zip(together, footprints, strict=True):
        assert one.equals(tiles.project_footprints([footprint], small.grid)[0])


def test_a_plan_makes_an_index_once() -> None:
    made = country(0.05)
    with mock.patch.object(plan, "TileIndex", wraps=tiles.TileIndex) as built:
        found = [made.index(0), made.index(0), made.because("so").index(0), made.with_runtime(load_config()).index(0)]
    assert built.call_count == 1
    assert all(index is found[0] for index in found)
    assert made.because("so").pyramid_reason == "so"
    assert made.run_id is made.run_id, "it is a digest of the whole plan, and every job carries it"


def alike(made: plan.ScanPlan) -> tuple[tuple[str, ...], cost.Prices]:
    """What is read, and prices by which all of it lies in blocks of one size."""
    header = BlockSummary(
        factor=1,
        block=(512, 512),
        block_bytes=1e5,
        decoded_bytes=512 * 512 * 2,
        overviews=(2, 4),
        transform=made.scenes[0].bands["red"].transform or (),  # type: ignore[arg-type]
        shape=(2400, 2400),
    )
    bands = (*made.levels[0].bands, "mask")
    return bands, cost.Prices({(band, 0): (header,) for band in bands})


@pytest.mark.parametrize("days", [2, 8])
def test_blocks_of_a_granule_are_counted_once_for_all_its_dates(days: int) -> None:
    made = country(0.1, days=days)
    bands, prices = alike(made)
    with mock.patch.object(cost, "count_blocks", wraps=cost.count_blocks) as counted:
        priced = cost.price_plan(made, prices, survivors=1.0)
    granules = len({scene.footprint.bounds for scene in made.scenes})
    assert counted.call_count <= 4 * granules, "bands and mask, by tile and by strip"
    work = priced.levels[0].work
    assert work.reads == len(bands) * sum(len(made.index(0).tiles_of(i)) for i in range(len(made.scenes)))


def test_what_a_model_costs_is_no_part_of_a_run(small: plan.ScanPlan) -> None:
    """Plans that were written before a price was corrected, or known, go on as they were."""
    dear = replace(small, levels=tuple(replace(level, work=7.0) for level in small.levels))
    assert dear.run_id == small.run_id
    values = json.loads(dear.to_json())
    assert plan.ScanPlan.from_json(json.dumps(values), small.scenes).levels[0].work == 7.0
    for level in values["levels"]:
        del level["work"]
    older = plan.ScanPlan.from_json(json.dumps(values), small.scenes)
    assert older.run_id == small.run_id
    assert older.levels[0].work == 1.0


def test_a_network_is_priced_by_what_a_pixel_of_it_costs(small: plan.ScanPlan) -> None:
    _, prices = alike(small)
    level = replace(small.levels[0], family="unet", work=1.0)
    found = [
        cost.price_plan(replace(small, levels=(replace(level, work=work),)), prices, survivors=1.0).levels[0].work
        for work in (1.0, 8.0)
    ]
    assert found[1].unet_pixels == pytest.approx(8 * found[0].unet_pixels)
    assert found[0].unet_pixels > 0
    assert replace(found[1], unet_pixels=found[0].unet_pixels) == found[0]
