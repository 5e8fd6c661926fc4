"""Deep stacks are composited piece by piece, and nobody can tell from the pixels."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import fields
from weakref import WeakSet

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from minescale.config import CompositeConfig, ReadConfig
from minescale.cube import rooms
from minescale.cube.compose import Composite, begin, compose
from minescale.cube.pieces import SMALLEST, cut
from minescale.cube.units import most_pixels
from minescale.grid import MosaicGrid, auto_crs
from minescale.kernels.composite import METHODS
from minescale.sensors import SENTINEL2_L2A
from minescale.sources import reuse
from minescale.sources.catalogs import search
from minescale.sources.freeze import freeze
from minescale.sources.reader import Reader
from minescale.sources.scenes import Scene
from minescale.synthetic import Region

BANDS = ("red", "nir", "swir16")


@settings(max_examples=200, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    most=st.integers(1, 200_000),
    origin=st.tuples(st.integers(-5000, 5000), st.integers(-5000, 5000)),
)
def test_pieces_tile_the_ground(shape: tuple[int, int], most: int, origin: tuple[int, int]) -> None:
    pieces = cut(shape, most, origin)
    covered = np.zeros(shape, np.uint8)
    for piece in pieces:
        covered[piece.slices()] += 1
        inner = [(piece.row0, shape[0], origin[0]), (piece.col0, shape[1], origin[1])]
        assert all(at in (0, end) or (at + start) % SMALLEST == 0 for at, end, start in inner)
        assert np.prod(piece.shape()) <= most or max(piece.shape()) < 2 * SMALLEST
    assert (covered == 1).all()


def test_pieces_end_where_source_blocks_do() -> None:
    """A tile with a halo of 48 px on granules of 512 px blocks: halo slivers join their neighbours."""
    pieces = cut((1120, 1120), 600 * 600, origin=(1024 - 48, 512 - 48))
    assert {piece.row0 for piece in pieces} | {piece.col0 for piece in pieces} == {0, 48 + 512}
    assert [(p.row0 > 0, p.col0 > 0) for p in pieces] == [(False, False), (False, True), (True, False), (True, True)]


def test_a_shallow_tile_is_one_piece() -> None:
    assert len(cut((1024, 1024), most_pixels(32, 1))) == 1


@pytest.fixture(scope="module")
def scenes(small_region: Region) -> tuple[Scene, ...]:
    found = search(str(small_region.catalog), bbox=small_region.bbox, period=small_region.period)
    return freeze(found, bands=BANDS).scenes


@pytest.fixture(scope="module")
def box(small_region: Region) -> GeoBox:
    """Half of it lies in the other zone; its corner is on no block's."""
    grid = MosaicGrid.around(small_region.bbox, crs=auto_crs(small_region.bbox), resolution=10, tile_size=512)
    return grid.geobox[200:712, 260:900]


@pytest.fixture(autouse=True)
def own_rooms() -> Iterator[None]:
    gc.collect()
    before = set(rooms._lent)  # tiles that other tests began ahead and nobody came for
    yield
    gc.collect()
    assert set(rooms._lent) <= before, "every room was given back or dropped"


def _same(a: Composite, b: Composite) -> None:
    costs = {"bytes_read", "requests", "doubts"}
    for name in (field.name for field in fields(Composite) if field.name not in costs):
        one, two = getattr(a, name), getattr(b, name)
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, two, err_msg=name)
        else:
            assert one == two, name


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("method", METHODS)
def test_pieces_give_the_bytes_of_the_whole(
    scenes: tuple[Scene, ...], box: GeoBox, method: str, resampling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CompositeConfig(method=method, resampling=resampling)  # type: ignore[arg-type]
    own = [scene for scene in scenes if scene.crs == str(box.crs)]
    assert 0 < len(own) < len(scenes)
    for chosen in (scenes, own):
        options = {"sensor": SENTINEL2_L2A, "reader": Reader(), "composite": config}
        whole = compose(chosen, box, BANDS, **options)  # type: ignore[arg-type]
        assert whole.data.any()
        for budget in (12 << 20, 4 << 20, 1 << 20, 1):
            with monkeypatch.context() as patched:
                patched.setattr(rooms, "BUDGET", budget)
                patched.setattr(rooms, "_spare", [])
                _same(compose(chosen, box, BANDS, **options), whole)  # type: ignore[arg-type]


def test_blocks_larger_than_a_piece_are_decoded_once(
    scenes: tuple[Scene, ...], box: GeoBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    reuse.hold_to(1 << 30)
    monkeypatch.setattr(reuse, "hold_to", lambda _: None)  # a store as large as beside rooms of the usual budget
    before = reuse.kept_bytes()
    whole = compose(scenes, box, BANDS, sensor=SENTINEL2_L2A, reader=Reader())
    monkeypatch.setattr(rooms, "BUDGET", 1 << 20)
    pieces = compose(scenes, box, BANDS, sensor=SENTINEL2_L2A, reader=Reader())
    forgetful = Reader(config=ReadConfig(reuse_mb=0))
    again = compose(scenes, box, BANDS, sensor=SENTINEL2_L2A, reader=forgetful)
    assert whole.requests <= pieces.requests <= 1.1 * whole.requests
    assert again.requests > 2 * whole.requests, "what the store spares"
    assert reuse.kept_bytes() <= before, "a tile without neighbours leaves nothing behind"


def test_a_tile_ahead_takes_no_room_that_is_needed(
    scenes: tuple[Scene, ...], box: GeoBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compose(scenes, box, BANDS, sensor=SENTINEL2_L2A, reader=Reader())
    monkeypatch.setattr(rooms, "BUDGET", 3 << 20)
    monkeypatch.setattr(rooms, "_spare", [])
    peak = 0

    def watch() -> None:
        nonlocal peak
        ahead.advance()
        peak = max(peak, sum(room.values.nbytes for room in rooms._lent))

    ahead = begin(scenes, box, BANDS, sensor=SENTINEL2_L2A, reader=Reader())
    now = begin(scenes, box, BANDS, sensor=SENTINEL2_L2A, reader=Reader())
    _same(now.finish(meanwhile=watch), whole)
    _same(ahead.finish(), whole)
    assert 0 < peak <= 3 << 20


def test_a_tile_that_went_elsewhere_frees_its_share(scenes: tuple[Scene, ...], box: GeoBox) -> None:
    before = set(rooms._lent)
    dropped = begin(scenes, box, BANDS, sensor=SENTINEL2_L2A, reader=Reader())
    for _, read in dropped._attempt._looking:
        read.result()
    dropped.advance()
    assert set(rooms._lent) - before, "its first bands are being read"
    del dropped
    gc.collect()
    assert set(rooms._lent) <= before


def test_an_unreadable_scene_is_lost_whole(
    scenes: tuple[Scene, ...], box: GeoBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One band of one scene cannot be opened: pieces lose the same scene as the whole tile does."""
    import dataclasses

    broken = dataclasses.replace(
        scenes[0], bands={**scenes[0].bands, "nir": dataclasses.replace(scenes[0].bands["nir"], href="/nowhere.tif")}
    )
    found = (broken, *scenes[1:])
    reader = Reader(config=ReadConfig(retries=0))
    whole = compose(found, box, BANDS, sensor=SENTINEL2_L2A, reader=reader)
    assert [loss.scene_id for loss in whole.losses] == [broken.id]
    monkeypatch.setattr(rooms, "BUDGET", 1 << 20)
    pieces = compose(found, box, BANDS, sensor=SENTINEL2_L2A, reader=reader)
    np.testing.assert_array_equal(pieces.data, whole.data)
    np.testing.assert_array_equal(pieces.reason, whole.reason)
    assert {loss.scene_id for loss in pieces.losses} == {broken.id}


def test_kept_blocks_displace_reading_ahead_but_not_the_tile_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    mib, kept, limits = 1 << 20, 0, []
    monkeypatch.setattr(rooms, "BUDGET", 10 * mib)
    monkeypatch.setattr(rooms, "_lent", WeakSet())
    monkeypatch.setattr(rooms, "_spare", [])
    monkeypatch.setattr(reuse, "touched_bytes", lambda: kept)
    monkeypatch.setattr(reuse, "hold_to", limits.append)

    def lend(size: int) -> int:
        """Rooms of ``size`` bytes that there are at a time; all are given back."""
        lent = list(iter(lambda: rooms.borrow(size // 2, must=False), None))
        total = sum(room.values.nbytes for room in (*lent, *rooms._spare))
        assert total <= max(10 * mib - kept, rooms.LEAST * size), "spare ones count"
        for room in lent:
            rooms.give_back(room)
        return len(lent)

    assert lend(mib) == 10
    kept = 7 * mib
    assert lend(mib) == 3
    kept = 10 * mib
    assert lend(mib) == 2
    assert set(limits) == {mib * 15 // 2}, "and the store leaves room for two, and the states of one"
    kept = 0
    assert lend(3 * mib) == 2, "deep stacks wait for a store that fills"
    assert limits[-1] == mib * 5 // 2
