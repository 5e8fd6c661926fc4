"""TIFF's predictor, undone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.kernels.differences import sum_differences


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), rows=st.integers(1, 11), cols=st.integers(1, 40))
def test_sums_run_along_rows_and_wrap(dtype: type, seed: int, rows: int, cols: int) -> None:
    top = np.iinfo(dtype).max
    values = np.random.default_rng(seed).integers(0, top, (rows, cols), dtype=dtype, endpoint=True)
    block = np.diff(values.astype(np.int64), axis=1, prepend=0).astype(dtype)
    sum_differences(block)
    np.testing.assert_array_equal(block, values)
