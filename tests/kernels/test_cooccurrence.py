"""R112: the co-occurrence matrix, against scikit-image's numbers and against a loop over all pixels."""

from __future__ import annotations

import numpy as np
import pytest
import twins
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from minescale import kernels as K
from minescale.errors import UsageError

IMAGE = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 2], [2, 2, 3, 3]], np.uint8)
GRAYCOMATRIX = {
    (0, 1): [[2, 2, 1, 0], [0, 2, 0, 0], [0, 0, 3, 1], [0, 0, 0, 1]],
    (1, 1): [[1, 1, 3, 0], [0, 1, 1, 0], [0, 0, 0, 2], [0, 0, 0, 0]],
    (1, 0): [[3, 0, 2, 0], [0, 2, 2, 0], [0, 0, 1, 2], [0, 0, 0, 0]],
    (1, -1): [[2, 0, 0, 0], [1, 1, 2, 0], [0, 0, 2, 1], [0, 0, 0, 0]],
    (0, 2): [[0, 4, 1, 0], [0, 0, 0, 0], [0, 0, 1, 2], [0, 0, 0, 0]],
    (2, 0): [[1, 0, 3, 0], [0, 0, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0]],
}
"""Computed once with scikit-image 0.26's ``graycomatrix(levels=4, symmetric=False, normed=False)``."""


@pytest.mark.parametrize(("offset", "wanted"), GRAYCOMATRIX.items())
def test_r112_equals_graycomatrix(offset, wanted):
    np.testing.assert_array_equal(K.cooccurrence(IMAGE, 4, *offset), wanted)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=7),
    elements=st.integers(0, 4)), st.integers(-8, 8), st.integers(-8, 8), st.sampled_from([None, 4, 2]),
)  # fmt: skip
def test_r112_equals_a_loop_for_any_offset(image, dy, dx, ignore):
    got = K.cooccurrence(image, 5, dy, dx, ignore)
    np.testing.assert_array_equal(got, twins.cooccurrence(image, 5, dy, dx, ignore))
    # The same pairs seen from their other end.
    np.testing.assert_array_equal(got.T, K.cooccurrence(image, 5, -dy, -dx, ignore))


def test_r112_edges_are_not_wrapped():
    line = np.array([[0, 1, 1]], np.uint8)
    assert K.cooccurrence(line, 2, 0, 1).tolist() == [[0, 1], [0, 1]]
    assert K.cooccurrence(line, 2, 0, 3).sum() == 0
    assert K.cooccurrence(line, 2, 1, 0).sum() == 0


def test_r112_offset_zero_counts_classes():
    counts = K.cooccurrence(IMAGE, 4, 0, 0)
    np.testing.assert_array_equal(counts, np.diag(np.bincount(IMAGE.ravel())))


def test_values_that_are_no_class_are_refused():
    with pytest.raises(UsageError, match="255"):
        K.cooccurrence(np.array([[0, 255]], np.uint8), 2)
    assert K.cooccurrence(np.array([[0, 255]], np.uint8), 2, 0, 0, ignore=255).tolist() == [[1, 0], [0, 0]]
    with pytest.raises(UsageError, match="classes"):
        K.cooccurrence(IMAGE, 0)
    with pytest.raises(UsageError, match="element type"):
        K.cooccurrence(IMAGE.astype(np.float32), 4)
