"""The table's figures against counts made on the written arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest

from minescale.outputs.summary import summarise, tile_pixels
from minescale.outputs.table import data_size, summary_rows, summary_text
from minescale.planning.plan import ScanPlan
from minescale.planning.pyramid import audit_bound
from minescale.planning.run_dir import RunDir
from tests.outputs.conftest import TILE, Scan, plan_of

KM2 = 1e-4
"""One 10 m pixel."""


def test_areas_are_those_of_the_pixels(scan: Scan) -> None:
    summary = summarise(scan.plan, scan.folder)
    ny, nx = scan.plan.grid.shape
    for time, figures in enumerate(summary.periods):
        codes = scan.probability[time]
        assert figures.area_km2 == figures.scanned_km2 == pytest.approx(ny * nx * KM2)
        assert figures.seen_km2 == pytest.approx((codes != 255).sum() * KM2)
        assert figures.seen_km2 + figures.not_seen_km2 == pytest.approx(figures.scanned_km2)
        assert figures.mine_km2 == pytest.approx(((codes >= 125) & (codes != 255)).sum() * KM2)
        assert figures.mine_ha == pytest.approx(figures.mine_km2 * 100)
        assert figures.not_seen_by_reason == pytest.approx(
            {"no_scene": 0.0, "never_clear": figures.not_seen_km2, "read_failed": 0.0}
        )
        assert figures.pruned_km2 == pytest.approx(TILE * nx * KM2)
    assert summary.total.mine_km2 == pytest.approx(sum(p.mine_km2 for p in summary.periods))
    assert summary.complete


def test_a_miss_is_an_audited_tile_with_a_mine(scan: Scan) -> None:
    summary = summarise(scan.plan, scan.folder)
    columns = scan.plan.grid.tile_shape(0)[1]
    assert summary.periods[0].audit == audit_bound(pruned=columns + 2, audited=2, missed=1)
    assert summary.total.audit == audit_bound(pruned=2 * columns + 4, audited=4, missed=2)
    assert summary.periods[0].tiles_pruned == columns


def test_work_and_losses_add_up_over_levels(scan: Scan) -> None:
    summary = summarise(scan.plan, scan.folder)
    tiles = len(scan.plan.index(0))
    assert summary.bytes_read == 2 * (tiles * 1000 + 50)
    assert summary.work_seconds == pytest.approx(2 * (tiles * 0.5 + 1.0))
    assert (summary.tiles_with_losses, summary.scenes_lost) == (1, 1)
    assert sum(summary.levels[0]["tiles"].values()) == 2 * np.prod(scan.plan.grid.tile_shape(0))


def test_border_tiles_count_their_own_pixels() -> None:
    grid = plan_of().grid
    pixels = tile_pixels(grid)
    assert pixels.sum() == grid.shape[0] * grid.shape[1]
    assert pixels[0, 0] == TILE * TILE
    assert pixels[-1, -1] < TILE * TILE


def test_before_the_first_tile_nothing_is_claimed(half_done: tuple[ScanPlan, RunDir], tmp_path) -> None:
    plan, folder = half_done
    for place in (folder, RunDir(str(tmp_path / "nothing"))):
        summary = summarise(plan, place)
        assert summary.total.scanned_km2 == summary.total.seen_km2 == summary.total.mine_km2 == 0
        assert summary.total.area_km2 > 0
        assert not summary.complete
        assert "0 of" in summary_text(summary)


def test_what_is_published_has_no_clock(scan: Scan) -> None:
    summary = summarise(scan.plan, scan.folder)
    published = json.dumps(summary.published(), allow_nan=False)
    assert "seconds" not in published
    assert json.loads(json.dumps(summary.to_dict(), allow_nan=False))["total"]["audit"]["audited"] == 4


def test_table_names_what_it_counts_and_passes_no_verdict(scan: Scan) -> None:
    summary = summarise(scan.plan, scan.folder)
    text = summary_text(summary)
    labels = [label for label, _, _ in summary_rows(summary)]
    assert labels[:5] == ["area scanned", "seen", "not seen", "pruned", "mine area where seen"]
    assert "never clear" in text
    assert "4 audited, 2 with a mine" in text
    assert "2024-01-01/2024-12-31" in text
    assert "over 2 periods" in text
    assert "illegal" not in text.lower()
    assert "no mine" not in text.lower()


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.2e9, "2.2 GB"), (3e15, "3,000.0 TB")]
)
def test_data_size(count: float, text: str) -> None:
    assert data_size(count) == text
