"""A finished pyramid scan of two periods, written tile by tile through the store, with nothing left to chance."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from minescale.config import Config, GridConfig, PyramidConfig, StoreConfig
from minescale.engine.run import layout_of
from minescale.grid import MosaicGrid
from minescale.models.package import load_package
from minescale.outputs.finish import finish_scan
from minescale.outputs.summary import summarise
from minescale.planning.plan import LOSSES_FILE, MOSAIC_FILE, LevelSpec, ScanPlan, ScanRequest
from minescale.planning.run_dir import RunDir
from minescale.sources.freeze import scenes_digest
from minescale.store.ledger import Ledger, TileState
from minescale.store.mosaic import Mosaic, TileArrays
from minescale.store.template import create_mosaic
from minescale.types import BBox, Period, Reason, TileKey

TILE = 128
BOX = BBox(-60.05, -6.55, -60.0, -6.5)


@dataclass(frozen=True)
class Scan:
    plan: ScanPlan
    folder: RunDir
    probability: np.ndarray
    """(time, y, x) codes as written."""


def plan_of(crs: str = "EPSG:32720", resolution: float = 10.0) -> ScanPlan:
    grid = MosaicGrid.around(BOX, crs=crs, resolution=resolution, tile_size=TILE, factors=(1, 8))
    digest = load_package("baseline").digest
    levels = tuple(
        LevelSpec(
            level=i,
            resolution=grid.level_resolution(i),
            family="index",
            bands=("red", "nir"),
            halo=0,
            model_digest=digest,
        )
        for i in range(2)
    )
    period = Period.parse("2023/2024")
    return ScanPlan(
        request=ScanRequest(catalog="somewhere", bbox=BOX, period=period, period_rule="year"),
        config=Config(grid=GridConfig(tile_size=TILE), store=StoreConfig(chunk=64), pyramid=PyramidConfig(mode="on")),
        sensor="sentinel-2-l2a",
        grid=grid,
        periods=period.split("year"),
        levels=levels,
        threshold=0.5,
        keep_threshold=0.3,
        pyramid_reason="as asked",
        scenes_digest=scenes_digest(()),
        scenes=(),
    )


@pytest.fixture
def half_done(tmp_path: Path) -> tuple[ScanPlan, RunDir]:
    """A plan with a template and not one tile."""
    return new_scan(tmp_path / "empty")


def new_scan(root: Path) -> tuple[ScanPlan, RunDir]:
    plan, folder = plan_of(), RunDir(str(root))
    folder.save_plan(plan)
    create_mosaic(folder.path(MOSAIC_FILE), layout_of(plan))
    return plan, folder


@pytest.fixture
def scan(written: Scan, tmp_path: Path) -> Scan:
    """A copy of the scan that a test may change."""
    return copy_of(written, tmp_path / "scan")


@pytest.fixture
def published(finished: Scan, tmp_path: Path) -> Scan:
    """A copy of the scan after its end: overviews, catalogue entry, picture."""
    return copy_of(finished, tmp_path / "scan")


def copy_of(scan: Scan, target: Path) -> Scan:
    shutil.copytree(scan.folder.root, target)
    return Scan(scan.plan, RunDir(str(target)), scan.probability)


@pytest.fixture(scope="session")
def finished(written: Scan, tmp_path_factory: pytest.TempPathFactory) -> Scan:
    scan = copy_of(written, tmp_path_factory.mktemp("finished") / "scan")
    finish_scan(scan.plan, scan.folder, summarise(scan.plan, scan.folder))
    return scan


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    """All tiles of both periods: row 0 pruned, (1, 0) audited with a mine, (1, 1) audited without, others processed.

    Processed tiles hold one 4 x 4 px mine at p = 0.8 and a 10 x 10 px hole that was never clear.
    """
    plan, folder = new_scan(tmp_path_factory.mktemp("written") / "scan")
    mosaic = Mosaic.open(folder.path(MOSAIC_FILE), "r+")
    whole = np.full((2, *plan.grid.shape), 255, np.uint8)
    with Ledger.open(folder.path(MOSAIC_FILE)) as ledger:
        for time in range(2):
            for key in plan.index(0).keys():  # noqa: SIM118
                rows, cols = plan.grid.window(key)
                shape = (rows.stop - rows.start, cols.stop - cols.start)
                codes = np.full(shape, 10, np.uint8)
                pruned = key.y == 0
                if not pruned and (key.y, key.x) != (1, 1):
                    codes[2:6, 2:6] = 200
                if not pruned:
                    codes[20:30, 20:30] = 255
                write_tile(mosaic, time, key, codes, level=int(pruned))
                whole[time, rows, cols] = codes
                state = TileState.DONE
                if pruned:
                    state = TileState.PRUNED
                elif key.y == 1 and key.x in (0, 1):
                    state = TileState.AUDITED
                ledger.record(
                    time,
                    key,
                    state=state,
                    seen_px=int((codes != 255).sum()),
                    mine_px=int(((codes >= 125) & (codes != 255)).sum()),
                    bytes_read=1000,
                    seconds=0.5,
                    cpu_seconds=0.25,
                    n_failed=1 if (time, key.y, key.x) == (0, 2, 2) else 0,
                )
            ledger.record(time, TileKey(1, 0, 0), state=TileState.DONE, bytes_read=50, seconds=1.0)
    loss = {"event": "SceneLost", "time": 0, "key": "0/2/2", "scene_id": "S2", "band": "red", "cause": "missing"}
    folder.write_text(LOSSES_FILE, json.dumps(loss) + "\n" + json.dumps({**loss, "band": "nir"}) + "\n")
    return Scan(plan, folder, whole)


def write_tile(mosaic: Mosaic, time: int, key: TileKey, codes: np.ndarray, *, level: int = 0) -> None:
    seen = codes != 255
    mosaic.write_tile(
        time,
        key,
        TileArrays(
            probability=codes,
            clear_count=np.where(seen, 3, 0).astype(np.uint16),
            reason=np.where(seen, Reason.SEEN, Reason.NEVER_CLEAR).astype(np.uint8),
            level=np.full(codes.shape, level, np.uint8),
        ),
    )
