"""What the audit promises about pruned tiles, held against the truth of a region with few mines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minescale import api
from minescale.config import load_config
from minescale.planning.plan import ScanPlan
from minescale.store.ledger import Ledger, TileState
from minescale.store.mosaic import Mosaic
from minescale.synthetic import SMALL, Region, ensure_region

pytestmark = pytest.mark.drill
TILE = 128


@pytest.fixture(scope="module")
def sparse_region() -> Region:
    spec = replace(SMALL, name="sparse", width_px=1536, height_px=1536, n_dates=3, seed=23, mine_share=0.0008)
    return ensure_region(spec)


def _plan(region: Region, mode: str) -> ScanPlan:
    settings = {
        "engine.cluster": "inline",
        "pyramid.mode": mode,
        "pyramid.audit": 0.1,
        "grid.tile_size": TILE,
        "store.chunk": TILE,
    }
    wanted = api.request(catalog=str(region.catalog), bbox=region.bbox, datetime=region.period, model="demo")
    return api.plan(wanted, load_config(overrides=settings))


def test_audited_bound_holds_against_the_truth(sparse_region: Region, tmp_path: Path) -> None:
    pyramid = _plan(sparse_region, "on")
    result = api.run(pyramid, tmp_path / "pyramid")
    api.run(_plan(sparse_region, "off"), tmp_path / "flat")
    states = Ledger.open(tmp_path / "pyramid" / "mosaic.zarr", mode="r").get(0, "state")[0]
    pruned = (states == TileState.PRUNED) | (states == TileState.AUDITED)
    assert pruned.sum() >= 10, "the calibrated screen must have something to prune here"
    found = Ledger.open(tmp_path / "flat" / "mosaic.zarr", mode="r").get(0, "mine_px")[0] > 0
    bound = result.summary.total.audit
    assert bound.pruned == pruned.sum()
    assert bound.audited == (states == TileState.AUDITED).sum()
    # The fine model's own findings are the truth the audit samples: the whole pruned set, seen once.
    assert found[pruned].mean() <= bound.missed_share_upper

    # Where both ran at the fine level they agree to the last bit.
    a, b = (Mosaic.open(tmp_path / name / "mosaic.zarr") for name in ("pyramid", "flat"))
    fine = a.array(0, "level")[...] == 0
    assert fine.any()
    np.testing.assert_array_equal(a.array(0, "probability")[...][fine], b.array(0, "probability")[...][fine])
