"""A model that also reads statistics of its bands: no further bytes, and its other inputs stay what they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from minescale import api
from minescale.models.package import load_package, write_package
from tests.engine.conftest import MakePlan


def test_statistics_of_a_band_cost_no_bytes(make_plan: MakePlan, tmp_path: Path) -> None:
    base = load_package("baseline").spec
    assert {"nir", "red"} <= set(base.bands)
    channels = ("red:p10", *base.bands, "nir:p90")
    spec = base.replace(name="with-statistics", bands=channels)
    write_package(tmp_path / "model", spec, None, card="The baseline rules.", metrics={})
    plain, rich = make_plan(), make_plan(tmp_path / "model")
    assert rich.levels[0].bands == channels
    assert set(rich.levels[0].physical_bands) == set(base.bands)
    assert [set(scene.bands) for scene in rich.scenes] == [set(scene.bands) for scene in plain.scenes]
    before, after = api.explain(plain), api.explain(rich)
    assert after.cost.bytes == pytest.approx(before.cost.bytes, rel=1e-12), "bands are summed in another order"
    side = 256 + 2 * base.halo
    assert after.memory.composite - before.memory.composite == 2 * 2 * 2 * side**2, "two channels of two tiles"
    assert after.memory.stack == before.memory.stack
    results = [api.run(plan, tmp_path / f"out-{i}") for i, plan in enumerate((plain, rich))]
    # Neighbours share blocks as timing allows, so that two runs of one plan differ by that much too.
    assert results[0].report.bytes_read == pytest.approx(results[1].report.bytes_read, rel=0.02)
    maps = [zarr.open_group(tmp_path / f"out-{i}" / "mosaic.zarr", mode="r")["0/probability"][:] for i in range(2)]
    np.testing.assert_array_equal(*maps)
    assert len(np.unique(maps[0])) > 10
