"""Starting is cheap: help and errors of use never load the heavy libraries."""

from __future__ import annotations

import subprocess
import sys
import time

import click
import pytest

from minescale.cli import main
from minescale.cli.group import COMMANDS, EXIT_CODES
from tests.cli.conftest import run

HEAVY = (
    "numpy",
    "torch",
    "xarray",
    "dask",
    "distributed",
    "rasterio",
    "matplotlib",
    "numba",
    "zarr",
    "pandas",
    "scipy",
)
PAGES = [[], *([name] for name in COMMANDS), ["config", "show"], ["config", "path"]]


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint('modules:', *sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.partition("modules:")[2].split())


def test_help_loads_nothing_heavy() -> None:
    pages = [[*page, "--help"] for page in PAGES]
    code = (
        "from minescale.cli import main\n"
        f"for page in {pages!r}:\n"
        "    try:\n"
        "        main(page)\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0, page\n"
    )
    assert modules_after(code).isdisjoint(HEAVY)


def test_import_loads_nothing_heavy() -> None:
    loaded = modules_after("import minescale; dir(minescale)")
    assert loaded.isdisjoint({*HEAVY, "yaml", "click"})


def test_help_takes_well_under_a_second() -> None:
    def seconds(*command: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], capture_output=True, check=True)
        return time.perf_counter() - started

    # Against a bare interpreter, best of three: the machine may be busy.
    bare = min(seconds("-c", "pass") for _ in range(3))
    shown = min(seconds("-m", "minescale", "--help") for _ in range(3))
    assert shown - bare < 1.0


@pytest.mark.parametrize("page", PAGES, ids=" ".join)
def test_help_page(page: list[str]) -> None:
    done = run(*page, "--help")
    assert done.exit_code == 0
    assert "Usage: minescale" in done.stdout


def test_exit_codes_are_documented() -> None:
    text = " ".join(run("--help").stdout.split())
    for line in EXIT_CODES.splitlines()[2:8]:
        assert " ".join(line.split()) in text
    assert "130" in run("scan", "--help").stdout


def test_version() -> None:
    from minescale import __version__

    assert run("--version").stdout.strip() == f"minescale, version {__version__}"


def test_dask_can_take_the_group_as_its_own() -> None:
    from importlib.metadata import entry_points

    (point,) = entry_points(group="dask_cli", name="minescale")
    assert point.load() is main
    host = click.Group("dask", commands={"minescale": main})
    from click.testing import CliRunner

    done = CliRunner().invoke(host, ["minescale", "config", "show"])
    assert done.exit_code == 0
    assert "engine.cluster" in done.stdout


def test_public_api_is_small_and_complete() -> None:
    import minescale

    assert len(minescale.__all__) <= 12
    for name in minescale.__all__:
        assert getattr(minescale, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        minescale.nothing_of_the_kind  # noqa: B018
