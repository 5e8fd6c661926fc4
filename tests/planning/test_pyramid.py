"""The coarse-to-fine rule: order-independent, exhaustive at threshold 0, and audited with an honest bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation
from scipy.stats import binom

from minescale.config import PyramidConfig
from minescale.errors import UsageError
from minescale.grid import MosaicGrid
from minescale.planning.pyramid import (
    UNSEEN,
    Survivors,
    audit_bound,
    audit_sample,
    child_scores,
    expected_survivors,
    pyramid_pays,
)
from minescale.types import TileKey


def _grid(rows: int, cols: int, tile: int = 64, factor: int = 8) -> MosaicGrid:
    return MosaicGrid(
        crs="EPSG:32720", resolution=10, left=0, top=0, shape=(rows, cols), tile_size=tile, factors=(1, factor)
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), ring=st.integers(0, 2), threshold=st.sampled_from([0.0, 0.3, 0.7]))
def test_survivors_do_not_depend_on_the_order_of_coarse_tiles(seed: int, ring: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    grid = _grid(64 * 19, 64 * 13)
    inside = rng.random(grid.tile_shape(0)) < 0.9
    scores = np.where(rng.random(inside.shape) < 0.1, UNSEEN, rng.random(inside.shape) ** 3).astype(np.float32)
    kept = []
    for _ in range(2):
        survivors = Survivors(inside, threshold, ring)
        released: list[TileKey] = []
        parents = list(grid.tiles(1))
        rng.shuffle(parents)  # type: ignore[arg-type]
        for parent in parents:
            children = grid.children(parent)
            first, last = children[0], children[-1]
            released += survivors.add(first, scores[first.y : last.y + 1, first.x : last.x + 1])
        assert len(released) == len(set(released)), "a tile is released once"
        kept.append(survivors.kept.copy())
        assert {(k.y, k.x) for k in released} == {tuple(p) for p in np.argwhere(survivors.kept)}
    expected = (scores >= threshold) if threshold > 0 else np.ones_like(inside)
    expected = binary_dilation(expected, np.ones((2 * ring + 1, 2 * ring + 1))) & inside
    assert (kept[0] == expected).all()
    assert (kept[1] == expected).all()


def test_a_child_scores_its_highest_seen_pixel() -> None:
    grid = _grid(64 * 8, 64 * 10)  # level 1: 64 x 80 px, so the second coarse tile has two columns of children
    probability = np.full((64, 16), 255, np.uint8)
    probability[0:8, 0:8] = 5
    probability[3, 3] = 200
    probability[8:16, 8:16] = 0
    scores = child_scores(grid, TileKey(1, 0, 1), probability)
    assert scores.shape == (8, 2)
    assert scores[0, 0] == pytest.approx(0.8)
    assert scores[1, 1] == 0.0
    assert scores[0, 1] == UNSEEN


def test_audit_sample_is_reproducible_and_inside_the_pruned() -> None:
    pruned = np.zeros((40, 40), bool)
    pruned[5:35, 5:35] = True
    config = PyramidConfig(audit=0.02, audit_min=4, seed=3)
    sample = audit_sample(pruned, config, time=1)
    assert sample == audit_sample(pruned, config, time=1)
    assert sample != audit_sample(pruned, config, time=2)
    assert len(sample) == 18
    assert all(pruned[k.y, k.x] for k in sample)
    assert len(audit_sample(pruned, PyramidConfig(audit=0.0), 0)) == 0
    few = np.zeros((3, 3), bool)
    few[0, :2] = True
    assert len(audit_sample(few, config, 0)) == 2


@pytest.mark.parametrize(("n", "missed"), [(10, 0), (100, 0), (100, 3), (50, 49)])
def test_bound_is_clopper_pearson(n: int, missed: int) -> None:
    bound = audit_bound(pruned=1000, audited=n, missed=missed)
    # At the bound, seeing so few misses would have had a probability of exactly 5 %.
    assert binom.cdf(missed, n, bound.missed_share_upper) == pytest.approx(0.05, rel=1e-6)


def test_without_an_audit_nothing_is_promised() -> None:
    assert audit_bound(pruned=10, audited=0, missed=0).missed_share_upper == 1.0
    assert audit_bound(pruned=0, audited=0, missed=0).missed_share_upper == 0.0
    assert audit_bound(pruned=10, audited=5, missed=5).missed_share_upper == 1.0


def test_a_pyramid_that_would_not_pay_is_not_used() -> None:
    assert pyramid_pays(100, 0.2, 0.4, 0.3)[0]
    assert not pyramid_pays(100, 0.6, 0.97, 0.5)[0]
    assert not pyramid_pays(100, 0.6, 0.5, 0.97)[0]
    assert not pyramid_pays(4, 0.1, 0.1, 0.1)[0]


def test_survivors_are_planned_as_set_then_as_measured() -> None:
    assert expected_survivors(PyramidConfig(survivors=0.1), 0.5, 0.7) == 0.1
    assert expected_survivors(PyramidConfig(), 0.5, 0.7) == 0.7
    assert expected_survivors(PyramidConfig(), 0.5, 0.0) == 0.0
    assert 0 < expected_survivors(PyramidConfig(), 0.5, None) < 1
    assert expected_survivors(PyramidConfig(survivors=0.1), 0.0, 0.7) == 1.0
    with pytest.raises(UsageError, match="a share from 0 to 1"):
        expected_survivors(PyramidConfig(survivors=5), 0.5, None)
