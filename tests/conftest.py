"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real imagery and STAC fixtures, named by ``MINESCALE_TEST_DATA``."""
    folder = os.environ.get("MINESCALE_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MINESCALE_TEST_DATA does not name the folder of real test data")
    return Path(folder)
