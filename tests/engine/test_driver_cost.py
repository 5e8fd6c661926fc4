"""What the driver does per tile does not grow with the country or the cluster. Operations are counted, not timed."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.engine.agenda import Agenda
from minescale.engine.batches import MOST, Pace
from minescale.engine.run import layout_of
from minescale.engine.seats import Seats
from minescale.engine.task import FillJob, FillResult, TileJob, TileResult
from minescale.planning.plan import ScanPlan
from minescale.sources.access import Access
from minescale.store.ledger import Ledger
from minescale.store.template import create_mosaic
from tests.countries import country


def answer(plan: ScanPlan, job: TileJob | FillJob) -> TileResult | FillResult:
    if isinstance(job, FillJob):
        return FillResult(time=job.time, rows=tuple((key, 0, 0, 0.0) for key in job.keys))
    scores = None
    if job.key.level:
        children = plan.grid.children(job.key)
        shape = (children[-1].y - children[0].y + 1, children[-1].x - children[0].x + 1)
        scores = np.zeros(shape, np.float32)
        scores[0, 0] = 0.9
    return TileResult(
        time=job.time,
        key=job.key,
        n_scenes=2,
        layers_used=2,
        bytes_read=1,
        requests=1,
        seconds=1.0,
        cpu_seconds=1.0,
        max_probability=0.5,
        clear_share=1.0,
        seen_px=1,
        mine_px=0,
        scores=scores,
        losses=(),
        unmasked=(),
        doubts=(),
        peak_rss=1,
    )


def calls_per_tile(plan: ScanPlan, folder: Path, workers: int) -> float:
    """Python and C calls that the agenda makes from its first job to its last, per tile."""
    create_mosaic(folder / "mosaic.zarr", layout_of(plan))
    ledger = Ledger.open(folder / "mosaic.zarr")
    calls = Counter[str]()

    def count(_: FrameType, event: str, __: Any) -> None:
        calls[event] += 1

    access = Access.capture(plan.config.read)
    done = 0
    sys.setprofile(count)
    try:
        agenda = Agenda(plan, ledger, str(folder), access, on_added=lambda *_: None)
        while agenda:
            job = agenda.pop(f"worker-{done % workers}", whatever=True)
            agenda.finish(answer(plan, job))
            done += 1
    finally:
        sys.setprofile(None)
    tiles = sum(len(plan.index(level.level)) for level in plan.levels)
    return (calls["call"] + calls["c_call"]) / tiles


@pytest.mark.parametrize("pyramid", [False, True])
def test_a_tile_costs_the_driver_as_much_in_a_large_area_as_in_a_small_one(tmp_path: Path, pyramid: bool) -> None:
    small, large = country(0.15, pyramid=pyramid), country(0.6, pyramid=pyramid)
    assert len(large.index(0)) > 8 * len(small.index(0))
    few = calls_per_tile(small, tmp_path / "small", workers=4)
    many = calls_per_tile(large, tmp_path / "large", workers=4)
    assert many < 1.25 * few


def test_a_tile_costs_the_driver_as_much_with_many_workers(tmp_path: Path) -> None:
    plan = country(0.4)
    few, many = (calls_per_tile(plan, tmp_path / str(workers), workers) for workers in (4, 200))
    assert many < 1.25 * few


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 3), min_size=1), st.lists(st.integers(0, 9)))
def test_the_next_task_goes_to_the_idlest_worker(slots: dict[str, int], ends: list[int]) -> None:
    seats, load = Seats(slots, share=2), dict.fromkeys(slots, 0)
    for end in ends:
        busy = sorted(name for name in load if load[name])
        if end % 3 == 0 and busy:
            name = busy[end % len(busy)]
            seats.free(name)
            load[name] -= 1
        worker = seats.take()
        idlest = min(slots, key=lambda name: load[name] / slots[name])
        if load[idlest] >= 2 * slots[idlest]:
            assert worker is None
            continue
        assert worker == idlest
        load[worker] += 1


def test_workers_come_and_go() -> None:
    seats = Seats({"a": 1, "b": 1}, share=1)
    assert (seats.take(), seats.take(), seats.take()) == ("a", "b", None)
    seats.update({"b": 1, "c": 2})
    assert (seats.take(), seats.take(), seats.take()) == ("c", "c", None)
    seats.free("a")  # its task had gone to another worker
    seats.free("b")
    assert (seats.take(), seats.take()) == ("b", None)


class Counting(Counter[str]):
    """Counts how often it is asked."""

    asked = 0

    def __getitem__(self, key: str) -> int:
        self.asked += 1
        return super().__getitem__(key)


def test_finding_the_idlest_of_a_thousand_does_not_ask_them_all() -> None:
    seats = Seats({str(i): 1 for i in range(1000)}, share=3)
    seats._load = counting = Counting()
    taken = [seats.take() for _ in range(3000)]
    for worker in taken:
        assert worker is not None
        seats.free(worker)
        seats.take()
    assert counting.asked < 12 * 6000


def test_tiles_travel_alone_until_they_come_too_fast() -> None:
    pace = Pace()
    assert pace.batch(10**6, 1000, 3) == 1, "nothing is known before the first tile"
    pace.note(1.0)
    assert pace.batch(10**6, 2, 3) == pace.batch(10**6, 64, 3) == 1
    assert 4 < pace.batch(10**6, 1000, 3) <= MOST
    assert pace.batch(4000, 1000, 3) == 1, "at the end every worker gets its share"
    for _ in range(500):
        pace.note(0.1)
    assert pace.batch(10**6, 64, 3) > 4
