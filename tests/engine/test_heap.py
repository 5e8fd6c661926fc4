"""The worker's allocator keeps what a tile freed."""

from __future__ import annotations

import subprocess
import sys

import pytest

_CHURN = """
import resource, sys
import numpy as np
from minescale.engine.heap import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def churn(times):
    for _ in range(times):
        np.ones(1 << 20, np.uint8)
churn(20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
churn(200)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's mallopt")
def test_freed_memory_is_not_faulted_in_again() -> None:
    faults = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", _CHURN, how],
                env={"MALLOC_TRIM_THRESHOLD_": "65536", "PATH": "/usr/bin"},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for how in ("keep", "as Dask sets it")
    }
    assert faults["as Dask sets it"] > 200 * 200, "the trap this is about: 256 pages of each megabyte"
    assert faults["keep"] < 200


_STEPS = """
import resource, sys
from contextlib import nullcontext
import numpy as np
from minescale.engine.heap import keeping_all
def churn(times):
    for _ in range(times):
        np.ones(48 << 20, np.uint8)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    churn(4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
with keeping_all():
    churn(2)
    print(faults())
print(faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's mallopt")
def test_a_training_keeps_large_blocks_and_leaves_the_allocator_as_it_was() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STEPS], env={"PATH": "/usr/bin"}, capture_output=True, text=True, check=True
    )
    within, after = (int(line) for line in done.stdout.split())
    assert within < 200
    assert after > 4 * 40, "48 MB come from the system again"
