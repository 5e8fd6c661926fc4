"""Nearest-neighbour look-ups: exact positions, and a gather that touches only what it should."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from minescale.kernels.filling import clear_nowhere, decoding, fill, fill_gathered
from minescale.kernels.lookup import Positions, Runs, nearest_positions, needed_pixels
from minescale.kernels.scaling import reflectance_table
from minescale.sources.placement import look_up, place

ZONE20, ZONE21 = "EPSG:32720", "EPSG:32721"


def flat_positions(positions: Positions, shape: tuple[int, int], width: int) -> np.ndarray:
    """Flat image position of each target pixel, -1 = none; every target pixel is named just once."""
    found = np.full(shape[0] * shape[1], -9)
    runs = positions.runs
    for first, length, row, col in zip(*runs[:4], strict=True):
        assert length > 0
        assert (found[first : first + length] == -9).all()
        found[first : first + length] = row * width + col + np.arange(length) // runs.repeat
    for first, length in zip(*positions.nowhere, strict=True):
        assert (found[first : first + length] == -9).all()
        found[first : first + length] = -1
    assert (found != -9).all()
    return found.reshape(shape)


def positions_from(flat: np.ndarray, width: int) -> Positions:
    """The other way round: one run for each pixel, or for neighbours in a row of both images."""
    values = flat.reshape(-1)
    follows = (np.diff(values, prepend=-9) == 1) & (values > 0) & (values % width != 0)
    first = np.flatnonzero(~follows | (np.arange(values.size) % flat.shape[1] == 0)).astype(np.int32)
    length, start = np.diff(np.append(first, values.size)).astype(np.int32), values[first].astype(np.int32)
    some = start >= 0
    runs = Runs(first[some], length[some], start[some] // width, start[some] % width, 1)
    whole = {(0, 0): (0, flat.shape[0], 0, flat.shape[1])}
    return Positions(runs, {(0, 0): slice(None)}, whole, (first[~some], length[~some]))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), step=st.sampled_from([1, 4, 16]))
def test_runs_equal_plain_interpolation(seed: int, step: int) -> None:
    rng = np.random.default_rng(seed)
    ny, nx = rng.integers(1, 50, 2)
    shape = tuple(max(-(-(n - 1) // step), 1) + 1 for n in (ny, nx))
    if seed % 2:  # any positions at all
        cols, rows = rng.uniform(-5, 45, shape), rng.uniform(-5, 45, shape)
    else:  # a grid that is shifted, turned and scaled a little, as another zone's is
        net_y, net_x = np.mgrid[: shape[0], : shape[1]] * float(step)
        turn, (down, across) = rng.uniform(-0.05, 0.05), rng.uniform(-9, 9, 2)
        scale = rng.uniform(0.9, 1.1) * rng.choice([1.0, 0.5, 1 / 3])
        cols, rows = scale * net_x - turn * net_y + across, scale * net_y + turn * net_x + down
    positions = nearest_positions(cols, rows, step, (int(ny), int(nx)), (40, 30), (16, 8))
    table = flat_positions(positions, (int(ny), int(nx)), 30)
    for (block_row, block_col), which in positions.blocks.items():
        runs = positions.runs.at(which)
        assert (runs.row // 16 == block_row).all()
        assert (runs.col // 8 == block_col).all()
        assert ((runs.col + (runs.length - 1) // runs.repeat) // 8 == block_col).all()
    assert positions.reach.keys() == positions.blocks.keys()
    for (block_row, block_col), reach in positions.reach.items():
        mine = (table >= 0) & (table // 30 // 16 == block_row) & (table % 30 // 8 == block_col)
        row, col = np.nonzero(mine)
        assert reach == (row.min(), row.max() + 1, col.min(), col.max() + 1)
    assert sum(len(positions.of_block(block).first) for block in np.ndindex(3, 4)) == len(positions.runs.first)
    y, x = np.mgrid[:ny, :nx]
    j, i = np.minimum(y // step, shape[0] - 2), np.minimum(x // step, shape[1] - 2)
    v, u = (y - j * step) / step, (x - i * step) / step

    def between(net: np.ndarray) -> np.ndarray:
        left = net[j, i] + v * (net[j + 1, i] - net[j, i])
        right = net[j, i + 1] + v * (net[j + 1, i + 1] - net[j, i + 1])
        return np.floor(left + u * (right - left)).astype(int)

    c, r = between(cols), between(rows)
    inside = (c >= 0) & (c < 30) & (r >= 0) & (r < 40)
    np.testing.assert_array_equal(table, np.where(inside, r * 30 + c, -1))
    needed = needed_pixels(cols, rows, step, (int(ny), int(nx)), (40, 30))
    if inside.any():
        assert needed == (r[inside].min(), r[inside].max() + 1, c[inside].min(), c[inside].max() + 1)
    else:
        assert needed[1] == 0


def test_positions_without_a_value_fall_outside() -> None:
    net = np.full((2, 2), np.nan)
    positions = nearest_positions(net, net, 4, (4, 4), (9, 9), (3, 3))
    assert (flat_positions(positions, (4, 4), 9) == -1).all()


@pytest.mark.parametrize("stored_type", [np.uint8, np.uint16])
@pytest.mark.parametrize("out_type", [np.uint8, np.uint16])
def test_decoding_fills_only_what_is_empty(stored_type: type, out_type: type) -> None:
    rng = np.random.default_rng(5)
    table = rng.integers(0, 200, 65536).astype(out_type)
    stored = rng.integers(0, 250, (6, 5)).astype(stored_type)
    canvas = rng.choice(np.array([0, 7], out_type), (9, 9))
    expected = canvas.copy()
    window = expected[2:8, 3:8]
    window[window == 0] = table[stored][window == 0]
    fill(stored, decoding(table), canvas[2:8, 3:8])
    np.testing.assert_array_equal(canvas, expected)

    positions = rng.integers(-1, 30, (9, 9)).astype(np.int32)
    gathered = np.where((canvas == 0) & (positions >= 0), table[stored.reshape(-1)[positions]], canvas)
    places = positions_from(positions, 5)
    fill_gathered(stored, (0, 0), decoding(table), places.runs, canvas)
    np.testing.assert_array_equal(canvas, gathered)

    fill_gathered(stored, (0, 0), decoding(table), places.runs, canvas, fresh=True)
    clear_nowhere(places, canvas)
    np.testing.assert_array_equal(canvas, np.where(positions >= 0, table[stored.reshape(-1)[positions]], 0))
    fill(stored, decoding(table), canvas[2:8, 3:8], fresh=True)
    np.testing.assert_array_equal(canvas[2:8, 3:8], table[stored])


@pytest.mark.parametrize("scale", [1e-4, 2.75e-5])
@pytest.mark.parametrize("offset", [0.0, -0.1, -0.2, 0.05])
@pytest.mark.parametrize("nodata", [0, None, 7, 65535])
def test_arithmetic_equals_the_table(scale: float, offset: float, nodata: int | None) -> None:
    table = reflectance_table(scale, offset, nodata)
    decode = decoding(table)
    assert (decode.minus >= 0) == (scale == 1e-4 and offset <= 0 and nodata is not None)
    numbers = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    shifted = np.arange(65536).reshape(256, 256) - 20  # runs that begin anywhere
    shifted[:, 100] = -1
    shifted = np.maximum(shifted, -1)
    before = np.where(numbers % 3 == 0, 5, 0).astype(np.uint16)
    expected = np.where(shifted >= 0, table[numbers.reshape(-1)[shifted]], 0)
    for fresh in (True, False):
        direct, gathered = before.copy(), before.copy()
        fill(numbers, decode, direct, fresh=fresh)
        places = positions_from(shifted, 256)
        fill_gathered(numbers, (0, 0), decode, places.runs, gathered, fresh=fresh)
        if fresh:
            clear_nowhere(places, gathered)
        np.testing.assert_array_equal(direct, table[numbers] if fresh else np.where(before, before, table[numbers]))
        np.testing.assert_array_equal(gathered, expected if fresh else np.where(before, before, expected))


def test_windows_of_larger_arrays_and_single_rows() -> None:
    rng = np.random.default_rng(1)
    whole, decode = rng.integers(0, 9000, (40, 50)).astype(np.uint16), decoding(reflectance_table(1e-4, -0.1, 0))
    for rows, cols in ((slice(3, 30), slice(5, 41)), (slice(7, 8), slice(2, 9)), (slice(0, 40), slice(49, 50))):
        canvas = np.zeros((60, 70), np.uint16)
        target = canvas[rows, cols]
        fill(whole[rows, cols], decode, target, fresh=True)
        expected = np.zeros_like(canvas)
        expected[rows, cols] = decode.table[whole[rows, cols]]
        np.testing.assert_array_equal(canvas, expected)


@pytest.mark.parametrize("resolution", [10.0, 80.0])
def test_look_up_is_the_pixel_under_the_exact_centre(resolution: float) -> None:
    """Across the border of two UTM zones, against a projection of every single centre."""
    image = Affine(10, 0, 799980, 0, -10, 9290020)
    box = GeoBox((300, 260), Affine(resolution, 0, 166000, 0, -resolution, 9285000), ZONE21)
    landing = look_up(image, (5490, 5490), ZONE20, box, (512, 512))
    assert landing.positions is not None
    positions = flat_positions(landing.positions, (300, 260), landing.window.shape[1])
    assert landing.window.row0 % 512 == landing.window.col0 % 512 == 0
    row, col = np.divmod(positions, landing.window.shape[1])
    found = (row + landing.window.row0) * 5490 + col + landing.window.col0
    table = np.where(positions < 0, -1, found)
    y, x = np.mgrid[:300, :260] + 0.5
    east, north = 166000 + x * resolution, 9285000 - y * resolution
    px, py = pyproj.Transformer.from_crs(ZONE21, ZONE20, always_xy=True).transform(east, north)
    col, row = (px - 799980) / 10, (9290020 - py) / 10
    inside = (col >= 0) & (col < 5490) & (row >= 0) & (row < 5490)
    assert inside.any()
    expected = np.where(inside, np.floor(row) * 5490 + np.floor(col), -1).astype(np.int64)
    # Net and rounding may decide a tie within 0.005 pixels of an edge otherwise.
    near_edge = (np.abs(col - np.round(col)) < 0.006) | (np.abs(row - np.round(row)) < 0.006)
    np.testing.assert_array_equal(table[~near_edge], expected[~near_edge])
    assert (table != expected).mean() < 0.005


def test_one_lattice_needs_no_look_up() -> None:
    box = GeoBox((64, 64), Affine(10, 0, 800000, 0, -10, 9290000), ZONE20)
    landing = place(Affine(10, 0, 799980, 0, -10, 9290020), (5490, 5490), ZONE20, box, "nearest")
    assert landing.positions is None
    assert (landing.window.row0, landing.window.col0) == (2, 2)
    source = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    target = np.zeros((64, 64), np.uint16)
    landing.put([(landing.window, source)], decoding(np.arange(65536, dtype=np.uint16)), target)
    np.testing.assert_array_equal(target, source)
