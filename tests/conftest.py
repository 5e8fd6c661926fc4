"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Two test processes run side by side: threads of small networks would wait for one another, spinning. Before PyTorch
# and NumPy are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if TYPE_CHECKING:
    from minescale.synthetic import Region


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A runner started in the background ignores Ctrl-C, and the processes that tests start would inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real imagery and STAC fixtures, named by ``MINESCALE_TEST_DATA``."""
    folder = os.environ.get("MINESCALE_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MINESCALE_TEST_DATA does not name the folder of real test data")
    return Path(folder)


@pytest.fixture(scope="session")
def small_region() -> Region:
    """A synthetic region of 10 x 10 km and five dates across two UTM zones, kept in the cache directory."""
    from minescale.synthetic import SMALL, ensure_region

    return ensure_region(SMALL)
