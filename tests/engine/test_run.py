"""A scan end to end on real files: complete, resumable, honest about losses, and the same bytes every time."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import xarray as xr

from minescale import api
from minescale.config import load_config
from minescale.engine import run as engine
from minescale.engine.batches import Pace
from minescale.engine.events import Event, Notice, SceneLost, TileDone, event_dict
from minescale.engine.run import Limits, run_plan
from minescale.errors import NothingMatched, OutputMismatch, PlanTooLarge, UsageError
from minescale.planning.pyramid import audit_bound
from minescale.planning.run_dir import RunDir
from minescale.store.ledger import Ledger, TileState
from minescale.store.mosaic import Mosaic
from minescale.synthetic import Region
from minescale.types import Reason
from tests.engine.conftest import INLINE, MakePlan
from tests.trees import mosaic_digests


def test_flat_scan_sees_what_the_scenes_show(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan()
    heard: list[Event] = []
    result = api.run(plan, tmp_path / "out", listeners=[heard.append])
    assert (result.report.failed, result.report.remaining, result.report.stopped) == (0, 0, "")
    assert sum(isinstance(e, TileDone) for e in heard) == result.report.done == len(plan.index(0))
    assert all(json.dumps(event_dict(e)) for e in heard)
    mosaic = xr.open_zarr(tmp_path / "out" / "mosaic.zarr", group="0")
    probability, reason = mosaic.probability.values, mosaic.reason.values
    assert mosaic.probability.dims == ("time", "y", "x")
    assert np.isfinite(probability).mean() > 0.9
    assert ((reason == Reason.SEEN) == np.isfinite(probability)).all(), "a probability exactly where ground was seen"
    assert (mosaic.clear_count.values[reason == Reason.SEEN] > 0).all()


def test_the_same_plan_writes_the_same_bytes_and_a_second_run_does_nothing(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan()
    api.run(plan, tmp_path / "a")
    api.run(plan, tmp_path / "b")
    first = mosaic_digests(tmp_path / "a" / "mosaic.zarr")
    assert first == mosaic_digests(tmp_path / "b" / "mosaic.zarr")
    again = api.run(plan, tmp_path / "a")
    assert again.report.done == 0
    assert first == mosaic_digests(tmp_path / "a" / "mosaic.zarr")


@pytest.mark.parametrize("mode", ["off", "on"])
def test_a_stopped_run_continues_to_the_same_bytes(
    make_plan: MakePlan, screened_package: Path, tmp_path: Path, mode: str
) -> None:
    plan = make_plan(screened_package, **{"pyramid.mode": mode, "engine.flush_s": 0.0})
    api.run(plan, tmp_path / "whole")

    class Stopping(Exception):
        pass

    seen = 0

    def stop_after_some(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, TileDone)
        if seen == 5:
            raise Stopping

    with pytest.raises(Stopping):
        api.run(plan, tmp_path / "stopped", listeners=[stop_after_some])
    ledger = Ledger.open(tmp_path / "stopped" / "mosaic.zarr", mode="r")
    assert sum(int((ledger.get(i, "state") == TileState.DONE).sum()) for i in range(len(plan.levels))) > 0
    finished = api.run(plan, tmp_path / "stopped")
    assert finished.report.remaining == 0
    assert mosaic_digests(tmp_path / "whole" / "mosaic.zarr") == mosaic_digests(tmp_path / "stopped" / "mosaic.zarr")


def test_deadline_stops_cleanly_and_the_rest_is_pending(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan()
    past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    result = api.run(plan, tmp_path / "out", limits=Limits(deadline=past))
    assert "deadline" in result.report.stopped
    assert result.report.remaining == len(plan.index(0))
    assert not result.summary.complete


def test_cost_limit_stops_after_what_was_spent(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(**{"cost.price_per_gb": 1000.0, "engine.in_flight": 1})
    result = api.run(plan, tmp_path / "out", limits=Limits(max_cost=5.0))
    assert "cost" in result.report.stopped
    assert 0 < result.report.done < len(plan.index(0))
    finished = api.run(plan, tmp_path / "out")
    assert finished.report.remaining == 0


def test_threshold_zero_is_the_flat_scan(make_plan: MakePlan, screened_package: Path, tmp_path: Path) -> None:
    flat = make_plan(screened_package, **{"pyramid.mode": "off"})
    exhaustive = make_plan(screened_package, **{"pyramid.mode": "on", "pyramid.threshold": 0.0})
    # The coarse level snaps the mosaic to 80 m; both plans must lie on one lattice to be compared.
    assert flat.grid.shape == exhaustive.grid.shape
    for plan, name in ((flat, "flat"), (exhaustive, "exhaustive")):
        run_plan(plan, _saved(plan, tmp_path / name))
    a, b = (Mosaic.open(tmp_path / name / "mosaic.zarr") for name in ("flat", "exhaustive"))
    for name in ("probability", "clear_count", "reason", "level"):
        np.testing.assert_array_equal(a.array(0, name)[...], b.array(0, name)[...])


def test_pruned_tiles_keep_their_coarse_score_and_are_audited(
    make_plan: MakePlan, screened_package: Path, tmp_path: Path
) -> None:
    plan = make_plan(
        screened_package,
        **{"pyramid.mode": "on", "pyramid.threshold": 0.95, "pyramid.ring": 0, "grid.tile_size": 64, "store.chunk": 64},
    )
    result = api.run(plan, tmp_path / "out")
    ledger = Ledger.open(tmp_path / "out" / "mosaic.zarr", mode="r")
    states, scores = ledger.get(0, "state")[0], ledger.get(0, "score")[0]
    pruned, audited, done = (states == s for s in (TileState.PRUNED, TileState.AUDITED, TileState.DONE))
    assert pruned.any()
    assert done.any()
    assert audited.sum() == max(4, np.ceil(0.01 * (pruned | audited).sum()))
    assert (scores[done] >= 0.95).all()
    assert (scores[pruned | audited] < 0.95).all()
    mosaic = Mosaic.open(tmp_path / "out" / "mosaic.zarr")
    y, x = np.argwhere(pruned & (scores >= 0))[0]
    window = np.s_[0, y * 64 : (y + 1) * 64, x * 64 : (x + 1) * 64]
    assert (mosaic.array(0, "level")[window] == 1).all()
    fine = mosaic.array(0, "probability")[window]
    assert (fine == np.repeat(np.repeat(fine[::8, ::8], 8, 0), 8, 1)).all()
    bound = result.summary.total.audit
    missed = int((ledger.get(0, "mine_px")[0][audited] > 0).sum())
    assert bound == audit_bound(int((pruned | audited).sum()), int(audited.sum()), missed)


def test_lost_scenes_are_recorded_and_never_silent(small_region: Region, tmp_path: Path) -> None:
    """Three files of one scene are damaged; the scan goes on without the scene, says so, and resumes the same."""
    broken = tmp_path / "catalog"
    shutil.copytree(small_region.path, broken)
    victims = sorted(broken.rglob("*B08.tif"))[:1] + sorted(broken.rglob("*B11.tif"))[2:3]
    victims[0].write_bytes(victims[0].read_bytes()[:20_000])
    victims[1].write_bytes(b"")
    heard: list[Event] = []
    wanted = api.request(catalog=str(broken / "catalog.json"), bbox=small_region.bbox, datetime=small_region.period)
    result = api.scan(wanted, tmp_path / "out", load_config(overrides=INLINE), listeners=[heard.append])
    lost = [e for e in heard if isinstance(e, SceneLost)]
    assert {e.cause for e in lost} == {"corrupt"}
    assert result.report.failed == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "losses.jsonl").read_text().splitlines()]
    assert {row["scene_id"] for row in rows} == {e.scene_id for e in lost}
    ledger = Ledger.open(tmp_path / "out" / "mosaic.zarr", mode="r")
    assert int((ledger.get(0, "n_failed") > 0).sum()) > 0
    reason = Mosaic.open(tmp_path / "out" / "mosaic.zarr").array(0, "reason")[...]
    assert (reason == Reason.SEEN_WITH_LOSSES).any()
    assert result.summary.scenes_lost > 0


def test_everything_unreadable_is_nodata_not_no_mine(small_region: Region, tmp_path: Path) -> None:
    broken = tmp_path / "catalog"
    shutil.copytree(small_region.path, broken)
    for file in broken.rglob("*.tif"):
        if "truth" not in file.name and "cover" not in file.name:
            file.unlink()
    wanted = api.request(catalog=str(broken / "catalog.json"), bbox=small_region.bbox, datetime=small_region.period)
    result = api.scan(wanted, tmp_path / "out", load_config(overrides={**INLINE, "grid.tile_size": 1024}))
    mosaic = xr.open_zarr(tmp_path / "out" / "mosaic.zarr", group="0")
    assert np.isnan(mosaic.probability.values).all()
    assert (mosaic.reason.values == Reason.READ_FAILED).all()
    assert result.summary.total.seen_km2 == 0


def test_scenes_without_a_mask_are_used_with_a_warning(data_dir: Path, tmp_path: Path) -> None:
    heard: list[Event] = []
    wanted = api.request(
        catalog=str(data_dir / "strzegom" / "catalog.json"),
        bbox=(16.2168, 50.9788, 16.2749, 51.0154),
        datetime="2021/2023",
    )
    api.scan(wanted, tmp_path / "out", load_config(overrides=INLINE), listeners=[heard.append])
    assert any(isinstance(e, Notice) and "unmasked" in e.message for e in heard)


def test_periods_without_scenes_are_nodata(small_region: Region, tmp_path: Path) -> None:
    wanted = api.request(
        catalog=str(small_region.catalog), bbox=small_region.bbox, datetime="2024-01/2024-12", period="quarter"
    )
    api.scan(wanted, tmp_path / "out", load_config(overrides=INLINE))
    mosaic = xr.open_zarr(tmp_path / "out" / "mosaic.zarr", group="0")
    assert mosaic.sizes["time"] == 4
    empty = [t for t in range(4) if not (mosaic.reason.values[t] == Reason.SEEN).any()]
    assert empty == [3], "the region's last date is in August"
    assert (mosaic.reason.values[3] == Reason.NO_SCENE).all()
    assert np.isnan(mosaic.probability.values[3]).all()


def test_output_of_another_run_is_refused_with_the_difference(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan()
    api.run(plan, tmp_path / "out", limits=Limits(deadline=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)))
    other = make_plan(**{"composite.method": "latest"})
    with pytest.raises(OutputMismatch, match=r"composite\.method"):
        api.run(other, tmp_path / "out")
    with pytest.raises(OutputMismatch, match="belongs to another run") as caught:
        api.scan(other.request, tmp_path / "out", other.config)
    assert caught.value.exit_code == 2


def test_batches_write_the_same_bytes(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan()
    api.run(plan, tmp_path / "single")
    with mock.patch.object(Pace, "batch", return_value=3):
        batched = api.run(plan, tmp_path / "batched")
    assert (batched.report.failed, batched.report.remaining) == (0, 0)
    assert batched.report.done == len(plan.index(0))
    assert mosaic_digests(tmp_path / "single" / "mosaic.zarr") == mosaic_digests(tmp_path / "batched" / "mosaic.zarr")


def test_a_batch_that_fails_is_tried_again_tile_by_tile(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(**{"engine.retries": 0})
    broken = mock.patch.object(engine, "process_batch", _refuse)
    with mock.patch.object(Pace, "batch", return_value=3), broken:
        result = api.run(plan, tmp_path / "out")
    assert (result.report.failed, result.report.remaining) == (0, 0)
    assert result.report.done == len(plan.index(0))


def _refuse(_: object) -> None:
    raise RuntimeError("one of these tiles")


def test_runtime_settings_may_change_between_attempts(make_plan: MakePlan, tmp_path: Path) -> None:
    past = Limits(deadline=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    api.run(make_plan(), tmp_path / "out", limits=past)
    finished = api.run(make_plan(**{"read.threads": 2, "engine.in_flight": 1}), tmp_path / "out")
    assert finished.report.remaining == 0


def test_a_mosaic_that_does_not_fit_the_plan_is_refused(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan()
    past = Limits(deadline=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    api.run(plan, tmp_path / "out", limits=past)
    other = make_plan(**{"store.chunk": 64})
    RunDir(str(tmp_path / "out")).save_plan(other)
    with pytest.raises(OutputMismatch, match="chunk"):
        run_plan(other, RunDir(str(tmp_path / "out")))


def test_plans_that_cannot_be_right_are_refused(small_region: Region, make_plan: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(PlanTooLarge, match="--tile-size"):
        make_plan(**{"engine.memory_limit_gb": 0.2})
    with pytest.raises(UsageError, match="resolution"):
        make_plan(**{"grid.resolution": 5000.0})
    with pytest.raises(UsageError, match="screen"):
        make_plan(**{"pyramid.mode": "on"})
    with pytest.raises(NothingMatched) as caught:
        api.plan(api.request(catalog=str(small_region.catalog), bbox=(10, 10, 11, 11), datetime="2024"))
    assert caught.value.exit_code == 4
    with pytest.raises(UsageError):
        api.request(catalog=str(small_region.catalog), bbox=None, datetime="2024")


def _saved(plan: api.ScanPlan, out: Path) -> RunDir:
    folder = RunDir(str(out))
    folder.save_plan(plan)
    return folder
