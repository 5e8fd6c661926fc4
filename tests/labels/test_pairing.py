"""R061 and F22: each positive cell has the closest negative that no other has taken."""

from __future__ import annotations

import numpy as np
import pytest

from minescale.labels.cells.coverage import cells_over
from minescale.labels.cells.grid import CellGrid, geocentric
from minescale.labels.cells.pairing import pair


def field(grid: CellGrid, lon: float, lat: float, rows: int, cols: int) -> np.ndarray:
    """Keys of a block of cells, (rows, cols)."""
    row, col = (int(v) for v in grid.locate(lon, lat))
    r, c = np.meshgrid(np.arange(row, row + rows), np.arange(col, col + cols), indexing="ij")
    return grid.keys(r, c)


def brute(grid: CellGrid, positives: np.ndarray, free: np.ndarray) -> tuple[list[int], int]:
    """Each positive looks at every free cell; those as close to 0.1 m are ordered by row and column."""
    free = np.sort(free)
    where = geocentric(*grid.centres(*grid.of_keys(free)))
    used: set[int] = set()
    chosen, contested = [], 0
    for key in positives.tolist():
        steps = np.rint(np.linalg.norm(where - geocentric(*grid.centres(*grid.of_keys(key))), axis=-1) / 0.1)
        order = [int(free[i]) for i in np.argsort(steps, kind="stable")]
        contested += order[0] in used
        chosen.append(next(k for k in order if k not in used))
        used.add(chosen[-1])
    return chosen, contested


@pytest.mark.parametrize("place", [(-1.9, 5.4), (0.0, -0.1), (25.0, 66.0), (140.0, -33.0)])
@pytest.mark.parametrize("seed", range(6))
def test_r061_pairs_equal_brute_force(seed: int, place: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    grid = CellGrid(2750)
    cells = field(grid, *place, 24, 24)
    # A thick cluster and scattered cells: neighbours compete, inner ones have to look far.
    thick = cells[8:14, 8:14].ravel()
    scattered = rng.choice(cells.ravel(), 40, replace=False)
    touched = np.unique(np.concatenate([thick, scattered]))
    positives = np.sort(rng.choice(touched, len(touched) * 3 // 4, replace=False))
    inside = set(cells.ravel().tolist())
    found = pair(
        grid, positives, touched, allowed=lambda r, c: np.array([k in inside for k in grid.keys(r, c).tolist()])
    )
    expected, contested = brute(grid, positives, np.setdiff1d(cells.ravel(), touched))
    assert found.negatives.tolist() == expected
    assert found.contested == contested > 0
    assert found.unpaired == 0


def test_f22_every_negative_is_used_once() -> None:
    """F22: two positives whose closest negative is the same cell do not share it."""
    grid = CellGrid(5500)
    cells = field(grid, 10, 10, 1, 7)[0]
    # All of the row but the middle cell is taken, and only that row may be used, and one cell far east.
    middle, east = cells[3], cells[6]
    positives = cells[[2, 4]]
    found = pair(grid, positives, cells[[0, 1, 2, 4, 5]], allowed=lambda r, c: np.isin(grid.keys(r, c), [middle, east]))
    assert found.negatives.tolist() == [middle, east]
    assert found.contested == 1
    np.testing.assert_allclose(found.distances_m, [5500, 11_000], rtol=1e-3)


def test_ties_go_to_the_south_then_west() -> None:
    grid = CellGrid(5500)
    cells = field(grid, 10, -0.001, 1, 3)[0]
    for _ in range(2):
        found = pair(grid, cells[[1]], cells[[1]], allowed=lambda r, c: np.isin(grid.keys(r, c), cells[[0, 2]]))
        assert found.negatives.tolist() == [cells[0]]


def test_positives_without_a_free_cell_within_reach_are_counted() -> None:
    grid = CellGrid(5500)
    cells = field(grid, 10, 10, 2, 2).ravel()
    found = pair(grid, cells[:3], cells[:3], allowed=lambda r, c: np.isin(grid.keys(r, c), cells), reach_m=30_000)
    assert found.unpaired == 2
    assert found.negatives[0] == cells[3]
    assert np.isnan(found.distances_m[1:]).all()
    assert len(pair(grid, np.zeros(0, np.int64), cells).negatives) == 0


def test_pairs_reach_across_the_antimeridian() -> None:
    grid = CellGrid(5500)
    row = int(grid.locate(0, 20)[0])
    n = int(grid.columns(row))
    ring = grid.keys(np.full(5, row), np.array([n - 2, n - 1, 0, 1, 2]))
    found = pair(grid, ring[[2]], ring[[2, 3, 4]], allowed=lambda r, c: np.isin(grid.keys(r, c), ring))
    assert found.negatives.tolist() == [ring[1]]
    assert found.distances_m[0] == pytest.approx(5500, rel=1e-3)


def test_r096_negatives_are_found_anew_at_each_zoom() -> None:
    """A cell that is no positive at zoom 14 may hold positives at 16; a negative cell never does, at any zoom."""
    import shapely

    from minescale.labels.cells.coverage import overlaps

    coarse, fine = CellGrid.of_zoom(14), CellGrid.of_zoom(16)
    row, col = (int(v) for v in coarse.locate(-1.9, 5.4))
    west, south, east, north = (float(v) for v in coarse.bounds(row, col))
    pit = shapely.box(west, south, west + 0.02 * (east - west), south + 0.02 * (north - south))
    keys, shares = overlaps(coarse, [pit])
    assert shares.tolist() == [pytest.approx(0.0004, rel=1e-3)]  # dropped at zoom 14 ...
    fine_keys, fine_shares = overlaps(fine, [pit])
    assert (fine_shares >= 0.001).all()  # ... positive at zoom 16
    negative = pair(coarse, keys, keys).negatives
    inside = {
        int(k)
        for rows, cols in cells_over(fine, coarse.boxes(*coarse.of_keys(negative)))
        for k in fine.keys(rows, cols)
    }
    assert len(inside) == 16
    assert not inside & set(fine_keys.tolist())
    assert set(pair(fine, fine_keys, fine_keys).negatives.tolist()).isdisjoint(fine_keys.tolist())
