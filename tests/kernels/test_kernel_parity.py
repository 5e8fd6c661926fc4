"""Every kernel equals its slow twin, in any thread and for any layout of its input."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from comparisons import COMPARISONS, SMALL, Comparison, agree, samples

from minescale import kernels as K
from minescale.errors import UsageError


def arguments(comparison: Comparison, shape: tuple[int, int, int]):
    return comparison.make(shape, np.random.default_rng(zlib.crc32(f"{comparison.name}{shape}".encode())))


@pytest.mark.parametrize("shape", SMALL, ids=str)
@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda c: c.name)
def test_kernel_equals_its_numpy_twin(comparison, shape):
    given = arguments(comparison, shape)
    agree(comparison.kernel(*given), comparison.twin(*given), comparison.tolerance)


@pytest.mark.parametrize("shape", SMALL, ids=str)
@pytest.mark.parametrize(
    ("comparison", "library"),
    [(c, library) for c in COMPARISONS for library in c.others],
    ids=lambda v: getattr(v, "name", v),
)
def test_kernel_equals_other_libraries(comparison, library, shape):
    given = arguments(comparison, shape)
    agree(comparison.kernel(*given), comparison.others[library](*given), comparison.tolerance)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda c: c.name)
def test_kernel_leaves_its_input_alone_and_accepts_it_read_only_or_strided(comparison):
    given = arguments(comparison, SMALL[2])
    wanted = comparison.kernel(*given)
    frozen = tuple(a.copy() if isinstance(a, np.ndarray) else a for a in given)
    for a in frozen:
        if isinstance(a, np.ndarray):
            a.flags.writeable = False
    agree(comparison.kernel(*frozen), wanted, 0)
    # The same values as every second element of a larger array.
    strided = tuple(np.repeat(a, 2, axis=-1)[..., ::2] if isinstance(a, np.ndarray) else a for a in given)
    agree(comparison.kernel(*strided), wanted, 0)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda c: c.name)
def test_kernel_gives_the_same_result_in_every_thread(comparison):
    inputs = [arguments(comparison, SMALL[3]), arguments(comparison, SMALL[2])]
    alone = [comparison.kernel(*given) for given in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: comparison.kernel(*inputs[i % 2]), range(16)))
    for i, result in enumerate(together):
        agree(result, alone[i % 2], 0)


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 5, 2049), (13, 3, 4100), (30, 2, 700), (4, 0, 0)], ids=str)
def test_composites_of_odd_sizes(shape):
    stack, states = samples(shape, np.random.default_rng(5))
    for method in ("median", "latest"):
        kernel, twin = getattr(K, method), getattr(__import__("twins"), method)
        agree(kernel(stack, states, 1), twin(stack, states, 1), 0)


def test_no_layer_gives_no_data():
    stack, states = np.zeros((0, 2, 3), np.uint16), np.zeros((0, 2, 3), np.uint8)
    for composite in (K.median(stack, states), K.percentile(stack, states, 1, 30), K.latest(stack, states)):
        np.testing.assert_array_equal(composite, np.zeros((2, 3), np.uint16))
    spectra = np.zeros((0, 4, 2, 3), np.uint16)
    for composite in (K.geomedian(spectra, states), K.medoid(spectra, states)):
        np.testing.assert_array_equal(composite, np.zeros((4, 2, 3), np.uint16))


def test_full_range_of_values_survives():
    stack = np.array([[[65535]], [[65534]], [[1]]], np.uint16)
    states = np.ones(stack.shape, np.uint8)
    assert K.median(stack, states).item() == 65534
    assert K.median(stack[:2], states[:2]).item() == 65535  # the mean 65534.5, rounded half up
    deep = np.full((40, 1, 1), 65535, np.uint16)
    assert K.median(deep, np.ones(deep.shape, np.uint8)).item() == 65535


def test_out_is_used_and_returned():
    stack, states = samples((6, 8, 8), np.random.default_rng(1))
    out = np.full((8, 8), 9, np.uint16)
    assert K.median(stack, states, 1, out) is out
    np.testing.assert_array_equal(out, K.median(stack, states, 1))
    dn = stack.copy()
    table = K.reflectance_table(1e-4, 0.0, 0)
    assert K.apply_table(dn, table, dn) is dn
    np.testing.assert_array_equal(dn, table[stack])


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda s, m: K.median(s.astype(np.float32), m), "float32"),
        (lambda s, m: K.median(s, m, 2), "factor 2"),
        (lambda s, m: K.median(s, m, 0), "factor"),
        (lambda s, m: K.median(s[0], m), "axes"),
        (lambda s, m: K.median(s, m, 1, np.empty((4, 4), np.uint16)), "out"),
        (lambda s, m: K.median(s, m, 1, np.empty((8, 16), np.uint16)[:, ::2]), "C order"),
        (lambda s, m: K.percentile(s, m, 1, 101), "101"),
        (lambda s, m: K.percentile(s, m, 1, float("nan")), "nan"),
        (lambda s, m: K.geomedian(s[:, None], m[:, :4]), "states"),
        (lambda s, m: K.geomedian(s[:, None], m, eps=0), "eps"),
        (lambda s, m: K.dilate(m, -1), "-1"),
        (lambda s, m: K.decode_classes(m, np.zeros(7, np.uint8)), "256"),
        (lambda s, m: K.decode_bits(s, 1 << 16, 0, 0), "65536"),
        (lambda s, m: K.class_table({300: 1}), "300"),
        (lambda s, m: K.fuse(s, s[:, :4]), "shape"),
        (lambda s, m: K.fuse(s, m), "out"),
        (lambda s, m: K.apply_table(s, np.zeros(9, np.uint16)), "65536"),
        (lambda s, m: K.reflectance_table(0.0, 0.0, 0), "scale"),
        (lambda s, m: K.reflectance_table(float("nan"), 0.0, 0), "nan"),
        (lambda s, m: K.block_mean(s, 3), "8 x 8"),
        (lambda s, m: K.block_max(m, 2, 256), "256"),
        (lambda s, m: K.repeat(m, 0), "block edge"),
        (lambda s, m: K.hann_weights(8, 5), "overlap"),
        (lambda s, m: K.label(m[0], 6), "6"),
        (lambda s, m: K.region_sizes(np.array([[3]], np.int32), 2), "3"),
        (lambda s, m: K.fused_indices(s, [0], [9]), "9"),
        (lambda s, m: K.scale_and_fold(np.ones((2, 3, 4), np.float32), *np.ones((2, 2), np.float32)), "even rows"),
        (lambda s, m: K.scale_and_fold(np.ones((2, 4, 4), np.float32), *np.ones((2, 3), np.float32)), "each band"),
        (lambda s, m: K.fused_indices(s, [0], [1, 2]), "number"),
        (lambda s, m: K.warm(2, "mode"), "median"),
    ],
)
def test_bad_requests_are_usage_errors(call, word):
    stack, states = samples((6, 8, 8), np.random.default_rng(1))
    with pytest.raises(UsageError, match=word):
        call(stack, states)
