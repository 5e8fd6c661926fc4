"""What must hold for any input: order does not matter, masked layers do not matter, clouds only grow."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import twins
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minescale import kernels as K
from minescale.types import TileKey

FAST = settings(max_examples=60, deadline=None)
ROWS, COLUMNS = 4, 6


@st.composite
def stacks(draw, max_depth=30):
    """A stack (t, 4, 6) with ties, zeros and extremes, and states at full or half resolution."""
    depth = draw(st.integers(1, max_depth))
    factor = draw(st.sampled_from([1, 2]))
    values = st.one_of(st.integers(0, 5), st.integers(0, 65535))
    stack = draw(hnp.arrays(np.uint16, (depth, ROWS, COLUMNS), elements=values))
    shape = (depth, ROWS // factor, COLUMNS // factor)
    states = draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 1, 1, 2, 3])))
    return stack, states, factor


def states_of(rows, columns, layers=2):
    return hnp.arrays(np.uint8, (layers, rows, columns), elements=st.sampled_from([0, 1, 1, 1, 1, 2, 3]))


@FAST
@given(stacks(), st.randoms(use_true_random=False))
def test_median_does_not_depend_on_the_order_of_layers(given_stack, random):
    stack, states, factor = given_stack
    order = list(range(len(stack)))
    random.shuffle(order)
    np.testing.assert_array_equal(K.median(stack, states, factor), K.median(stack[order], states[order], factor))


@FAST
@given(stacks(), st.integers(1, 12), st.data())
def test_masked_layers_change_no_composite(given_stack, extra, data):
    stack, states, factor = given_stack
    more = data.draw(hnp.arrays(np.uint16, (extra, *stack.shape[1:]), elements=st.integers(0, 65535)))
    hidden = data.draw(hnp.arrays(np.uint8, (extra, *states.shape[1:]), elements=st.sampled_from([0, 2, 3])))
    padded, masks = np.concatenate([more, stack]), np.concatenate([hidden, states])
    for method in (K.median, K.latest, lambda s, m, f: K.percentile(s, m, f, 30)):
        np.testing.assert_array_equal(method(padded, masks, factor), method(stack, states, factor))


@FAST
@given(stacks())
def test_percentiles_0_50_and_100_are_minimum_median_and_maximum(given_stack):
    stack, states, factor = given_stack
    samples = np.where((twins.fine(states, factor) == 1) & (stack != 0), stack.astype(np.int64), -1)
    valid = (samples >= 0).any(axis=0)
    lowest = np.where(samples < 0, 1 << 20, samples).min(axis=0)
    np.testing.assert_array_equal(K.percentile(stack, states, factor, 0), np.where(valid, lowest, 0))
    np.testing.assert_array_equal(K.percentile(stack, states, factor, 100), np.where(valid, samples.max(axis=0), 0))
    np.testing.assert_array_equal(K.percentile(stack, states, factor, 50), K.median(stack, states, factor))


@FAST
@given(stacks(), st.floats(0, 100))
def test_percentile_equals_numpy_for_any_q(given_stack, q):
    stack, states, factor = given_stack
    np.testing.assert_array_equal(K.percentile(stack, states, factor, q), twins.percentile(stack, states, factor, q))


@FAST
@given(st.integers(25, 120), st.integers(0, 2**32 - 1))
def test_deep_stacks_equal_the_same_samples_in_a_network(depth, seed):
    """At most 24 valid samples, scattered over many layers, must give what the network gives for them alone."""
    rng = np.random.default_rng(seed)
    few = rng.integers(0, 65536, (24, 3, 5)).astype(np.uint16)
    stack = rng.integers(0, 65536, (depth, 3, 5)).astype(np.uint16)
    states = np.zeros((depth, 3, 5), np.uint8)
    places = np.sort(rng.permutation(depth)[:24])
    stack[places], states[places] = few, 1
    np.testing.assert_array_equal(K.median(stack, states), K.median(few, np.ones_like(few, np.uint8)))


@FAST
@given(states_of(9, 11), st.integers(0, 5), st.integers(0, 5))
def test_dilation_grows_with_the_radius_and_touches_only_clear_pixels(states, small, more):
    narrow, wide = K.dilate(states, small), K.dilate(states, small + more)
    assert (wide[narrow == 2] == 2).all()
    changed = wide != states
    assert (states[changed] == 1).all()
    assert (wide[changed] == 2).all()


@FAST
@given(states_of(9, 11), st.integers(0, 4), st.integers(0, 4))
def test_dilating_twice_stays_within_the_sum_and_nothing_new_appears_without_cloud(states, first, second):
    # Two steps reach no farther than one of the summed radius: r1 + r2 bounds the Euclidean distance.
    twice, once = K.dilate(K.dilate(states, first), second), K.dilate(states, first + second)
    assert (once[twice == 2] == 2).all()
    free = np.where(states == 2, 1, states).astype(np.uint8)
    np.testing.assert_array_equal(K.dilate(free, first), free)


def test_dilation_is_a_euclidean_disc_and_may_exceed_the_image():
    states = np.ones((1, 41, 41), np.uint8)
    states[0, 20, 20] = 2
    y, x = np.mgrid[-20:21, -20:21]
    for radius in range(12):
        np.testing.assert_array_equal(K.dilate(states, radius)[0] == 2, x**2 + y**2 <= radius**2)
    assert (K.dilate(states, 10**6) == 2).all()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["0.0001", "2.75e-05", "0.0000275", "0.00005", "0.000123456789", "0.3333333333333333", "1.0"]),
    st.sampled_from(["0.0", "-0.1", "-0.2", "-0.05", "0.1", "-3.25", "7.0"]),
    st.one_of(st.none(), st.integers(0, 65535)),
)
def test_reflectance_is_exact_and_valid_pixels_never_become_nodata(scale, offset, nodata):
    table = K.reflectance_table(float(scale), float(offset), nodata)
    assert table.dtype == np.uint16
    numbers = [n for n in (0, 1, 19, 20, 60, 999, 1000, 1001, 7273, 30000, 65534, 65535) if n != nodata]
    for number in numbers:
        value = (number * Fraction(scale) + Fraction(offset)) * 10_000 + Fraction(1, 2)
        assert table[number] == min(max(value.__floor__(), 1), 65534)
    valid = np.delete(table, nodata) if nodata is not None else table
    assert valid.min() >= 1
    assert valid.max() <= 65534
    assert (np.diff(valid.astype(int)) >= 0).all()
    if nodata is not None:
        assert table[nodata] == 0


def test_offset_scenes_lose_exactly_a_thousand():
    table = K.reflectance_table(1e-4, -0.1, 0)
    numbers = np.arange(1001, 65536)
    np.testing.assert_array_equal(table[numbers], numbers - 1000)
    assert table[0] == 0
    assert (table[1:1001] == 1).all()
    table[5] = 77
    assert K.reflectance_table(1e-4, -0.1, 0)[5] == 1  # callers own their copy


@st.composite
def cut_masks(draw):
    """A mask, and where to cut it into tiles."""
    height, width = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    mask = draw(hnp.arrays(np.uint8, (height, width), elements=st.sampled_from([0, 1])))
    rows = sorted({0, height, *draw(st.lists(st.integers(1, height), max_size=3))})
    columns = sorted({0, width, *draw(st.lists(st.integers(1, width), max_size=3))})
    return mask, rows, columns


@settings(max_examples=150, deadline=None)
@given(cut_masks(), st.sampled_from([4, 8]), st.booleans())
def test_tiled_labels_equal_whole_labels(cut, connectivity, backwards):
    mask, rows, columns = cut
    whole, n = K.label(mask, connectivity)
    tiles, borders = {}, {}
    for i, (top, bottom) in enumerate(pairwise(rows)):
        for j, (left, right) in enumerate(pairwise(columns)):
            labels, count = K.label(mask[top:bottom, left:right], connectivity)
            tiles[TileKey(0, i, j)] = (slice(top, bottom), slice(left, right)), labels
            borders[TileKey(0, i, j)] = K.tile_borders(labels, count)
    if backwards:
        borders = dict(reversed(borders.items()))
    tables, merged = K.merge_seams(borders, connectivity)
    together = np.zeros_like(whole)
    for key, (place, labels) in tiles.items():
        together[place] = tables[key][labels]
    assert merged == n
    np.testing.assert_array_equal(twins.by_first_pixel(together), whole)
    np.testing.assert_array_equal(K.region_sizes(whole, n), np.bincount(whole.reshape(-1), minlength=n + 1)[1:])


@FAST
@given(st.integers(1, 5), st.integers(0, 16), st.integers(0, 2**32 - 1))
def test_blended_windows_give_a_constant_back(count, overlap, seed):
    patch = 32
    step = patch - overlap
    size = patch + (count - 1) * step
    value = np.float32(np.random.default_rng(seed).random())
    acc, weight = np.zeros((1, size, size), np.float32), np.zeros((size, size), np.float32)
    window = K.hann_weights(patch, overlap)
    assert window.min() > 0
    for y in range(count):
        for x in range(count):
            K.add_window(acc, weight, np.full((1, patch, patch), value), window, y * step, x * step)
    inner = weight[overlap : size - overlap, overlap : size - overlap]
    np.testing.assert_allclose(inner, 1, atol=1e-6)
    K.normalise(acc, weight)
    np.testing.assert_allclose(acc, value, rtol=1e-5)


def test_normalise_marks_what_no_window_reached():
    acc, weight = np.zeros((2, 3, 3), np.float32), np.zeros((3, 3), np.float32)
    K.add_window(acc, weight, np.ones((2, 2, 2), np.float32), K.hann_weights(2, 0), 2, 2)
    K.add_window(acc, weight, np.ones((2, 2, 2), np.float32), K.hann_weights(2, 0), 7, -9)
    K.normalise(acc, weight)
    assert (acc[:, 2, 2] == 1).all()
    assert np.isnan(acc).sum() == 16


def test_missing_tiles_cut_regions_and_uneven_neighbours_are_refused():
    labels, n = K.label(np.ones((3, 3), np.uint8))
    keys = [TileKey(2, 0, 0), TileKey(2, 0, 2)]
    tables, total = K.merge_seams({k: K.tile_borders(labels, n) for k in keys})
    assert total == 2
    assert [tables[k].tolist() for k in keys] == [[0, 1], [0, 2]]
    small, m = K.label(np.ones((2, 3), np.uint8))
    with pytest.raises(ValueError, match="2/0/0 and 2/0/1"):
        K.merge_seams({keys[0]: K.tile_borders(labels, n), TileKey(2, 0, 1): K.tile_borders(small, m)})
    with pytest.raises(ValueError, match="several levels"):
        K.merge_seams({keys[0]: K.tile_borders(labels, n), TileKey(1, 0, 1): K.tile_borders(labels, n)})
    assert K.merge_seams({}) == ({}, 0)
