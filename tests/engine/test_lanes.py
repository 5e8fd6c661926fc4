"""Tiles are dealt out once each, neighbours to one worker."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.engine.lanes import Lanes, Turn
from minescale.types import TileKey


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30), min_size=1, max_size=3),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=20),
)
def test_every_tile_is_handed_out_once_whoever_asks(batches, order) -> None:
    lanes = Lanes[str]()
    for time, batch in enumerate(batches):
        lanes.add_tiles(time, [TileKey(0, y, x) for y, x in sorted(batch)])
    lanes.add_job("fill")
    tiles = {(time, TileKey(0, y, x)) for time, batch in enumerate(batches) for y, x in batch}
    assert len(lanes) == len(tiles) + 1
    seen: set[tuple[int, TileKey]] = set()
    jobs = []
    while lanes:
        turn = lanes.pop(order[(len(seen) + len(jobs)) % len(order)])
        if not isinstance(turn, Turn):
            jobs.append(turn)
            continue
        assert (turn.time, turn.key) not in seen
        seen.add((turn.time, turn.key))
        assert not seen & {(turn.time, key) for key in turn.ahead}, "what lies ahead is still to come"
        assert all(1 <= max(abs(k.y - turn.key.y), abs(k.x - turn.key.x)) <= 2 for k in turn.ahead)
    assert seen == tiles
    assert jobs == ["fill"]


def test_a_worker_goes_down_a_strip_column_by_column() -> None:
    lanes = Lanes[str]()
    lanes.add_tiles(0, [TileKey(0, y, x) for y in range(8) for x in range(3)])
    turns = [lanes.pop("a") for _ in range(12)]
    assert all(isinstance(turn, Turn) for turn in turns)
    assert [(t.key.y, t.key.x) for t in turns] == [(y, x) for x in range(3) for y in range(4)]
    near = [(y, x) for x in range(3) for y in range(4)]
    assert turns[1].ahead == tuple(TileKey(0, y, x) for y, x in near[2:11]), "blocks may be larger than a tile"
    assert turns[4].ahead == tuple(TileKey(0, y, x) for y, x in near[5:] if y < 3)
    assert turns[-1].ahead == ()
    for turn, after in pairwise(turns):
        assert turn.following == Turn(after.time, after.key, after.ahead), "its reads can begin"
    assert turns[-1].following is None


def test_an_idle_worker_takes_the_far_half_of_the_longest_lane() -> None:
    lanes = Lanes[str]()
    lanes.add_tiles(0, [TileKey(0, 0, x) for x in range(9)])
    found = [(worker, lanes.pop(worker).key.x) for worker in "abab"]
    assert found == [("a", 0), ("b", 5), ("a", 1), ("b", 6)]


def test_a_lane_is_cut_between_columns() -> None:
    lanes = Lanes[str]()
    lanes.add_tiles(0, [TileKey(0, y, x) for y in range(3) for x in range(3)])
    found = [(worker, lanes.pop(worker).key) for worker in "ababab"]
    own = [TileKey(0, y, 0) for y in range(3)]
    taken = [TileKey(0, y, 1) for y in range(3)]
    assert found == [pair for y in range(3) for pair in (("a", own[y]), ("b", taken[y]))]
    assert lanes.pop("a").key == TileKey(0, 2, 2), "a column that is left alone is cut"


def test_a_few_coarse_tiles_stay_with_one_worker() -> None:
    lanes = Lanes[str]()
    lanes.add_tiles(0, [TileKey(1, y, x) for y in range(2) for x in range(2)])
    assert lanes.pop("a").key == TileKey(1, 0, 0)
    assert lanes.pop("b") is None
    assert len(lanes) == 3
    lanes.add_tiles(0, [TileKey(0, 5, 5)])
    assert lanes.pop("b").key == TileKey(0, 5, 5), "survivors are anybody's"
    assert lanes.pop("b", whatever=True).key == TileKey(1, 0, 1), "who had them may be gone"
    assert lanes.pop("a").key == TileKey(1, 1, 0)
    assert lanes.pop("b").key == TileKey(1, 1, 1)
    assert not lanes


def test_many_coarse_tiles_are_shared() -> None:
    lanes = Lanes[str]()
    lanes.add_tiles(0, [TileKey(1, y, x) for y in range(4) for x in range(4)])
    assert [lanes.pop(worker).key for worker in "abab"] == [
        TileKey(1, 0, 0), TileKey(1, 0, 2), TileKey(1, 1, 0), TileKey(1, 1, 2)
    ]  # fmt: skip


def test_a_column_that_is_all_there_is_is_shared() -> None:
    lanes = Lanes[str]()
    lanes.add_tiles(0, [TileKey(0, y, 0) for y in range(4)])
    assert [lanes.pop(worker).key.y for worker in "abab"] == [0, 3, 1, 2]


def test_levels_and_periods_do_not_mix() -> None:
    lanes = Lanes[str]()
    lanes.add_tiles(0, [TileKey(0, 0, 0), TileKey(1, 0, 1)])
    lanes.add_tiles(1, [TileKey(0, 0, 1)])
    lanes.add_job("fill")
    turns = [lanes.pop("a") for _ in range(4)]
    assert not lanes
    assert [turn.ahead for turn in turns if isinstance(turn, Turn)] == [(), (), ()]
