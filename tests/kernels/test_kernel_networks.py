"""The generated selection networks, the joint composites' optimality, and what importing the kernels costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import network_source
import numpy as np
import pytest
import twins

from minescale import kernels as K
from minescale.kernels import networks
from minescale.kernels._jit import kernel
from minescale.sensors import LANDSAT_C2_L2, SENTINEL2_L2A


def test_the_generated_module_is_up_to_date():
    assert Path(networks.__file__).read_text(encoding="utf-8") == network_source.source()
    assert tuple(networks.MEDIANS) == network_source.DEPTHS


@pytest.mark.parametrize("n", [d for d in network_source.DEPTHS if d <= 16])
def test_network_selects_for_every_pattern_of_two_values(n):
    """Zero-one principle: exchanges that select right for all inputs of two values select right for all inputs."""
    patterns = ((np.arange(2**n)[None] >> np.arange(n)[:, None]) & 1).astype(np.uint16) * 2 + 1
    middle = np.sort(patterns, axis=0)[n // 2 - 1 : n // 2 + 1].sum(axis=0)
    stack = patterns.reshape(n, 1, -1)
    np.testing.assert_array_equal(K.median(stack, np.ones_like(stack, np.uint8))[0], (middle + 1) // 2)


def test_depth_24_selects_for_random_permutations_and_two_values():
    rng = np.random.default_rng(3)
    ranked = rng.permuted(np.tile(np.arange(1, 25, dtype=np.uint16)[:, None], (1, 20000)), axis=0)
    two = rng.permuted(np.where(np.arange(24)[:, None] < rng.integers(0, 25, 200_000)[None], 1, 3), axis=0)
    for samples in (ranked, two.astype(np.uint16)):
        stack = np.ascontiguousarray(samples[:, None])
        middle = np.sort(samples, axis=0)[11:13].sum(axis=0)
        np.testing.assert_array_equal(K.median(stack, np.ones(stack.shape, np.uint8))[0], (middle + 1) // 2)


@pytest.mark.parametrize(
    ("depth", "padded"), [(0, 4), (1, 4), (4, 4), (5, 8), (13, 16), (17, 24), (24, 24), (25, None)]
)
def test_depths_are_padded_to_a_network(depth, padded):
    assert K.padded_depth(depth) == padded


def test_geomedian_is_the_point_of_least_distance():
    """Converged to a digital number: no long float64 run from the result finds a sum of distances that is smaller."""
    rng = np.random.default_rng(11)
    stack = np.clip(rng.normal(2500, 700, (9, 5, 4, 10)), 1, 65534).astype(np.uint16)
    middle = K.geomedian(stack, np.ones((9, 4, 10), np.uint8))
    for y in range(4):
        for x in range(10):
            points = stack[:, :, y, x].astype(np.float64)
            best = twins.weiszfeld(points, 20_000, 1e-9)
            assert np.abs(middle[:, y, x] - best).max() <= 1


def test_geomedian_does_not_depend_on_neighbouring_pixels():
    rng = np.random.default_rng(12)
    stack = rng.integers(1, 9000, (7, 3, 6, 33)).astype(np.uint16)
    states = rng.choice(np.array([1, 1, 1, 2], np.uint8), (7, 6, 33))
    whole = K.geomedian(stack, states)
    for cut in (slice(0, 10), slice(10, 33)):
        np.testing.assert_array_equal(K.geomedian(stack[..., cut], states[..., cut]), whole[..., cut])


def test_geomedian_resists_an_outlier_and_medoid_is_an_observation():
    clear = np.array([1000, 2000, 3000], np.uint16)
    stack = np.tile(clear[None, :, None, None], (5, 1, 1, 1))
    stack[4] = 9000  # a missed cloud
    states = np.ones((5, 1, 1), np.uint8)
    np.testing.assert_allclose(K.geomedian(stack, states)[:, 0, 0], clear, atol=1)
    np.testing.assert_array_equal(K.medoid(stack, states)[:, 0, 0], clear)


def test_medoid_takes_the_earliest_of_equals():
    stack = np.array([[10, 20], [30, 40]], np.uint16)[:, :, None, None]
    states = np.ones((2, 1, 1), np.uint8)
    np.testing.assert_array_equal(K.medoid(stack, states)[:, 0, 0], [10, 20])
    # Four corners of a square in any order: all sums are equal, whatever order they are added in.
    corners = np.array([[100, 100], [201, 100], [201, 201], [100, 201]], np.uint16)
    for order in ([0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0]):
        square = corners[order][:, :, None, None]
        np.testing.assert_array_equal(K.medoid(square, np.ones((4, 1, 1), np.uint8))[:, 0, 0], corners[order[0]])


def test_sensors_quality_bands_decode():
    scl = np.arange(12, dtype=np.uint8)[None]
    np.testing.assert_array_equal(K.decode(scl, SENTINEL2_L2A.mask)[0], [0, 3, 1, 2, 1, 1, 1, 1, 2, 2, 2, 3])
    np.testing.assert_array_equal(K.decode(np.array([12, 255, 300], np.uint16), SENTINEL2_L2A.mask), [2, 2, 2])
    # Fill; clear land (USGS: 21824); cloud; shadow; snow; cloud over snow; dilated cloud.
    pixels = np.array([1, 21824, 22280, 23888, 30048, 0b101000, 0b10], np.uint16)
    np.testing.assert_array_equal(K.decode(pixels, LANDSAT_C2_L2.mask), [0, 1, 2, 2, 3, 2, 2])


def test_fuse_fills_windows_of_larger_arrays():
    whole = np.array([[0, 5, 0], [7, 0, 0]], np.uint16)
    K.fuse(whole[:, 1:], np.full((2, 2), 9, np.uint16))
    np.testing.assert_array_equal(whole, [[0, 5, 9], [7, 9, 9]])


def test_import_compiles_nothing_and_pulls_in_nothing_heavy():
    code = """
import sys, minescale.kernels
from numba.core.dispatcher import Dispatcher
modules = [m for n, m in list(sys.modules.items()) if n.startswith("minescale.kernels")]
kernels = [v for m in modules for v in vars(m).values() if isinstance(v, Dispatcher)]
assert len(kernels) > 20, len(kernels)
assert not any(k.signatures for k in kernels)
heavy = {"torch", "rasterio", "xarray", "dask", "zarr", "pandas", "geopandas"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_warm_compiles_what_a_scan_calls():
    code = """
from minescale import kernels
from minescale.kernels import networks, masking, scaling
kernels.warm(9)
assert networks.median_12.signatures and not networks.median_24.signatures
assert masking._dilate.signatures and scaling._apply.signatures
import numpy as np
before = len(networks.median_12.signatures)
frozen = np.ones((9, 4, 4), np.uint16); frozen.flags.writeable = False
kernels.median(frozen, np.ones((9, 2, 2), np.uint8), 2)
assert len(networks.median_12.signatures) == before
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_kernels_work_where_nothing_can_be_cached():
    # Code without a file is what numba refuses to cache, as it does where no folder can be written.
    space: dict = {}
    exec("def double(a):\n    return a + a", space)  # noqa: S102
    assert kernel(space["double"])(21) == 42
