"""Small scans of the synthetic region, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest

from minescale import api
from minescale.config import load_config
from minescale.planning.plan import ScanPlan
from minescale.synthetic import Region

INLINE = {"engine.cluster": "inline", "grid.tile_size": 256, "store.chunk": 128}


class MakePlan(Protocol):
    def __call__(self, model: str | Path = "baseline", **settings: Any) -> ScanPlan: ...


@pytest.fixture
def make_plan(small_region: Region) -> MakePlan:
    """``make_plan(model, **{"section.key": value})`` for the whole small region, tiles of 256 px, run in-process."""

    def make(model: str | Path = "baseline", **settings: Any) -> ScanPlan:
        wanted = api.request(
            catalog=str(small_region.catalog), bbox=small_region.bbox, datetime=small_region.period, model=model
        )
        return api.plan(wanted, load_config(overrides={**INLINE, **settings}))

    return make


@pytest.fixture(scope="session")
def screened_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The baseline rules as a package with a screen: the same rules at 80 m."""
    from minescale.models.package import load_package, write_package

    base = load_package("baseline").spec
    folder = tmp_path_factory.mktemp("packages") / "screened"
    screen = base.replace(name="screened-screen", resolution=80.0, keep_threshold=0.3, expected_survivors=0.4)
    write_package(folder, base.replace(name="screened"), None, card="The baseline rules.", metrics={})
    write_package(folder / "screen", screen, None, card="The baseline rules at 80 m.", metrics={})
    return folder
