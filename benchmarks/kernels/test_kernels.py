"""Time every kernel against its twins, driven by the table of the parity tests. One thread.

    python -m pytest benchmarks/kernels --benchmark-enable --benchmark-columns=min,median,rounds

Add ``-k "median and 24"`` for less. The first call, which compiles, is not timed.
"""

from __future__ import annotations

import numpy as np
import pytest
from comparisons import COMPARISONS, LARGE

CASES = [
    pytest.param(comparison, library, call, shape, id=f"{comparison.name}-{library}-{shape[0]}")
    for shape in LARGE
    for comparison in COMPARISONS
    for library, call in [
        ("minescale", comparison.kernel),
        *([] if comparison.slow_twin else [("numpy", comparison.twin)]),
        *comparison.others.items(),
    ]
]


@pytest.mark.parametrize(("comparison", "library", "call", "shape"), CASES)
def test_speed(benchmark, comparison, library, call, shape):
    benchmark.group = f"{comparison.name} {shape}"
    given = comparison.make(shape, np.random.default_rng(0))
    rounds = 15 if library == "minescale" else 3
    result = benchmark.pedantic(call, args=given, rounds=rounds, iterations=1, warmup_rounds=1)
    assert result is not None
