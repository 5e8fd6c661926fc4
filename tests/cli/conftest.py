"""Run the command line as a user does, in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from minescale.cli import main
from minescale.synthetic import Region

QUICK = ("--cluster", "inline", "--tile-size", "256", "--set", "store.chunk=128")
"""Small tiles, in this process."""


def run(*arguments: object) -> Result:
    """The command in this process; the exit code and what it wrote to stdout and stderr."""
    return CliRunner().invoke(main, [str(a) for a in arguments], prog_name="minescale")


def spawn(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "minescale", *(str(a) for a in arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        **options,
    )


@pytest.fixture
def where(small_region: Region) -> tuple[str, ...]:
    """Options that name the small region: catalogue, area and period."""
    return (
        "--catalog",
        str(small_region.catalog),
        "--bbox",
        *(str(v) for v in small_region.bbox.as_tuple()),
        "--datetime",
        str(small_region.period),
    )


@pytest.fixture(scope="session")
def scanned(small_region: Region, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A finished scan of the small region and what the command said."""
    out = tmp_path_factory.mktemp("cli") / "scan"
    options = ("--catalog", small_region.catalog, "--bbox", *small_region.bbox.as_tuple())
    done = run("scan", *options, "--datetime", small_region.period, "--out", out, *QUICK, "--progress", "plain")
    return out, done
