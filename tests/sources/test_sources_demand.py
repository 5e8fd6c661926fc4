"""Blocks that nobody looks at are not read, and that changes no pixel that anybody looks at."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.config import ReadConfig
from minescale.cube.looks import Looks
from minescale.cube.pieces import Piece
from minescale.sensors import CLEAR
from minescale.sources.access import Access
from minescale.sources.demand import Demand
from minescale.sources.reader import Reader
from tests.sources.source_imagery import layer, scene_of, smooth, write_cog

SHAPE, BLOCK, CELL = (600, 500), 128, 32
CORNERS = {"EPSG:32630": (500_070, 699_930), "EPSG:32631": (-164_000, 703_000)}
"""The second one is warped."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory):
    """Two scenes of a day: the first covers the left half only."""
    folder = tmp_path_factory.mktemp("scenes")
    whole = smooth(SHAPE)
    half = np.where(np.arange(SHAPE[1]) < 250, smooth(SHAPE, seed=1), 0).astype(np.uint16)
    first, second = (write_cog(folder / f"{n}.tif", data, blocksize=BLOCK) for n, data in enumerate((half, whole)))
    return layer(scene_of(first, name="a"), scene_of(second, name="b", hour=11))


def spread(cells: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    return np.kron(cells, np.ones((CELL, CELL), bool))[: shape[0], : shape[1]]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    crs=st.sampled_from(sorted(CORNERS)),
    resampling=st.sampled_from(["nearest", "nearest", "bilinear"]),
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from([0.0, 0.02, 0.2, 1.0]),
    reuse_mb=st.sampled_from([0, 16]),
)
def test_what_is_looked_at_is_the_same(scenes, crs, resampling, seed, share, reuse_mb) -> None:
    shape = (300, 260)
    x, y = CORNERS[crs]
    box = GeoBox(shape, Affine(10, 0, x, 0, -10, y), crs)
    cells = np.random.default_rng(seed).random((-(-shape[0] // CELL), -(-shape[1] // CELL))) < share
    config = ReadConfig(threads=1, reuse_mb=reuse_mb)
    reader = Reader(Access.capture(config), config)
    all_of_it = reader.read([scenes], box, "red", resampling=resampling)
    room = np.full((1, *shape), 7, np.uint16)  # what was in memory before
    part = reader.start([scenes], box, "red", resampling=resampling, out=room, demands=[Demand(cells, CELL)]).result()
    looked_at = spread(cells, shape)
    assert looked_at.any() == (share > 0 and cells.any())
    np.testing.assert_array_equal(part.data[0][looked_at], all_of_it.data[0][looked_at])
    assert part.requests <= all_of_it.requests or reuse_mb
    if resampling == "nearest" and not cells.any():
        assert part.requests == part.bytes_read == 0
    if crs == "EPSG:32630" and cells.all() and not reuse_mb:
        assert part.requests == all_of_it.requests


def test_one_cell_costs_one_block(scenes) -> None:
    box = GeoBox((512, 256), Affine(10, 0, 500_000, 0, -10, 700_000), "EPSG:32630")
    cells = np.zeros((512 // CELL, 256 // CELL), bool)
    cells[5, 1] = True
    config = ReadConfig(threads=1, reuse_mb=0)
    reader = Reader(Access.capture(config), config)
    read = reader.start([layer(scenes.scenes[1])], box, "red", demands=[Demand(cells, CELL)]).result()
    assert read.requests == 1
    assert reader.read([layer(scenes.scenes[1])], box, "red").requests == 8


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    factor=st.sampled_from([1, 2]),
    data=st.data(),
)
def test_clear_looks_are_in_demand(seed: int, shape: tuple[int, int], factor: int, data: st.DataObject) -> None:
    states = (np.random.default_rng(seed).random((3, *shape)) < 0.001).astype(np.uint8) * CLEAR
    row0, col0 = (data.draw(st.integers(0, n - 1)) for n in shape)
    row1, col1 = data.draw(st.integers(row0 + 1, shape[0])), data.draw(st.integers(col0 + 1, shape[1]))
    piece = Piece(row0, row1, col0, col1)
    looks = Looks(3, shape)
    looks.add([0, 1, 2], states)
    fine = np.kron(states[:, row0:row1, col0:col1], np.ones((1, factor, factor), np.uint8))
    for demand, clear in zip(looks.demands(piece, factor), fine == CLEAR, strict=True):
        for y, x in np.argwhere(clear):
            assert demand.anywhere(y, y + 1, x, x + 1)
        if not clear.any() and piece == Piece(0, shape[0], 0, shape[1]):
            assert not demand.anywhere(0, clear.shape[0], 0, clear.shape[1])
        assert demand.everywhere == bool(demand.cells.all())
