"""Failure drills with real processes: kill -9 of the driver and of a worker, and what memory was promised."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from minescale import api
from minescale.config import load_config
from minescale.engine.events import Event, TileDone
from minescale.planning.plan import PLAN_FILE
from minescale.store.ledger import Ledger, TileState
from minescale.synthetic import Region
from tests.engine.conftest import MakePlan
from tests.trees import mosaic_digests

pytestmark = pytest.mark.drill

SETTINGS = {"grid.tile_size": 64, "store.chunk": 64, "engine.flush_s": 0.1, "engine.workers": 2}


def _command(region: Region, out: Path) -> list[str]:
    sets = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    return [
        sys.executable, "-m", "minescale", "scan", "--catalog", str(region.catalog),
        "--bbox", *(str(v) for v in region.bbox.as_tuple()), "--datetime", str(region.period),
        "--out", str(out), "--json", "--progress", "none", *sets,
    ]  # fmt: skip


def _tiles_done(out: Path) -> int:
    if not (out / "mosaic.zarr" / "zarr.json").exists():
        return 0
    try:
        return int((Ledger.open(out / "mosaic.zarr", mode="r").get(0, "state") == TileState.DONE).sum())
    except Exception:  # noqa: BLE001 - the template may be half made
        return 0


def _wait_for(condition: object, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return
        assert process.poll() is None, f"ended early with {process.returncode}"
        time.sleep(0.05)
    raise AssertionError("nothing happened in time")


@pytest.fixture(scope="module")
def undisturbed(small_region: Region, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    done = subprocess.run(_command(small_region, out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run_id"]
    return mosaic_digests(out / "mosaic.zarr")


def test_killed_driver_resumes_to_the_same_bytes(
    small_region: Region, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    driver = subprocess.Popen(_command(small_region, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(lambda: _tiles_done(out) >= 5, driver)
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    assert (out / PLAN_FILE).exists()
    before = _tiles_done(out)
    assert before >= 5
    done = subprocess.run(_command(small_region, out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)["report"]["done"]
    assert 0 < again < _tiles_done(out), "finished tiles are not run again"
    assert mosaic_digests(out / "mosaic.zarr") == undisturbed


def test_killed_worker_costs_nothing_but_time(
    small_region: Region, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    driver = subprocess.Popen(_command(small_region, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _wait_for(lambda: _tiles_done(out) >= 3, driver)
    workers = [
        child
        for child in psutil.Process(driver.pid).children(recursive=True)
        if any("spawn_main" in word for word in child.cmdline())
    ]
    assert workers
    workers[0].kill()
    stdout, stderr = driver.communicate(timeout=240)
    assert driver.returncode == 0, stderr.decode()
    assert json.loads(stdout)["report"]["failed"] == 0
    assert mosaic_digests(out / "mosaic.zarr") == undisturbed


def test_interrupt_flushes_and_exits_130(small_region: Region, undisturbed: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    driver = subprocess.Popen(_command(small_region, out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _wait_for(lambda: _tiles_done(out) >= 3, driver)
    driver.send_signal(signal.SIGINT)
    _, stderr = driver.communicate(timeout=60)
    assert driver.returncode == 130, stderr.decode()
    assert _tiles_done(out) >= 3
    done = subprocess.run(_command(small_region, out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert mosaic_digests(out / "mosaic.zarr") == undisturbed


@pytest.mark.parametrize("method", ["median", "geomedian"])
def test_memory_stays_below_the_projection(
    small_region: Region, make_plan: MakePlan, tmp_path: Path, method: str
) -> None:
    plan = make_plan(
        **{"engine.cluster": "local", "engine.workers": 1, "grid.tile_size": 1024, "store.chunk": 512,
           "composite.method": method}
    )  # fmt: skip
    projected = api.explain(plan).memory.total
    result = api.run(plan, tmp_path / "out")
    assert result.report.peak_rss <= projected
    assert result.report.peak_rss >= projected / 3, "a projection three times too high would waste the machine"


def test_explain_predicts_the_bytes_read(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(**{"grid.tile_size": 256})
    predicted = api.explain(plan).cost.bytes
    heard: list[Event] = []
    result = api.run(plan, tmp_path / "out", listeners=[heard.append])
    assert result.report.bytes_read == sum(e.bytes_read for e in heard if isinstance(e, TileDone))
    assert predicted == pytest.approx(result.report.bytes_read, rel=0.2)


def test_full_disk_stops_with_what_is_done_kept(small_region: Region, make_plan: MakePlan, tmp_path: Path) -> None:
    """A file-size limit stands in for a full disk: every write beyond it fails with an OSError."""
    plan = make_plan(**{"engine.flush_s": 0.0})
    script = (
        "import resource, signal, sys\n"
        "from minescale import api\n"
        "from minescale.config import load_config\n"
        "from minescale.planning.run_dir import RunDir\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "plan = RunDir(sys.argv[1]).load_plan()\n"
        "def limit(event):\n"
        "    if type(event).__name__ == 'TileDone':\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))\n"
        "from minescale.errors import StoreError\n"
        "try:\n"
        "    api.run(plan, sys.argv[1], listeners=[limit])\n"
        "except StoreError as error:\n"
        "    print('STORE', error)\n"
    )
    out = tmp_path / "out"
    from minescale.planning.run_dir import RunDir

    RunDir(str(out)).save_plan(plan)
    done = subprocess.run([sys.executable, "-c", script, str(out)], capture_output=True, text=True, check=False)
    assert "STORE" in done.stdout, done.stdout + done.stderr
    finished = api.run(plan, out, listeners=())
    assert finished.report.remaining == 0
    assert finished.report.failed == 0


def test_many_scenes_take_little_more_memory_than_few(tmp_path: Path) -> None:
    """Sixty dates over one tile beside twelve: the stack is read piece by piece, within the projection."""
    from dataclasses import replace

    from minescale.cube import rooms
    from minescale.cube.units import most_pixels
    from minescale.synthetic import SMALL, ensure_region

    spec = replace(SMALL, name="deep", width_px=512, height_px=512, n_dates=60, step_days=5)
    region = ensure_region(spec)
    peaks = {}
    for dates in (12, 60):
        period = f"{region.dates[0]}/{region.dates[dates - 1]}"
        wanted = api.request(catalog=str(region.catalog), bbox=region.bbox, datetime=period)
        overrides = {"engine.workers": 1, "composite.max_scenes": dates, "grid.tile_size": 1024}
        plan = api.plan(wanted, load_config(overrides=overrides))
        explained = api.explain(plan)
        assert 0.9 * dates <= explained.layers <= dates
        result = api.run(plan, tmp_path / f"out-{dates}")
        peaks[dates] = result.report.peak_rss
        assert peaks[dates] <= explained.memory.total < 3 * peaks[dates]
        # Files of 552 px: a third of their blocks are cut at the edge, and are priced as their heads would be.
        assert explained.cost.bytes == pytest.approx(result.report.bytes_read, rel=0.3)
    assert most_pixels(60, 1) < 1024 * 1024, "else one piece holds the stack, and this drill asks nothing"
    assert peaks[60] - peaks[12] < 1.5 * rooms.BUDGET, "rooms, bits, and images open: not whole stacks and states"
