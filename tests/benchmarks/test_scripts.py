"""The benchmark scripts run and their outputs agree; how fast is not asked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"

pytestmark = [pytest.mark.drill, pytest.mark.timeout(400)]


def script(name: str, *arguments: str | Path) -> str:
    command = [sys.executable, str(SCRIPTS / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


def test_all_idioms_agree(small_region: object, results: Path) -> None:
    variants = ("odc-stac", "stackstac uint16", "minescale flat")
    script(
        "idioms.py", "--region", "SMALL", "--rounds", "1", "--variants", *variants, "--json", results / "idioms.json"
    )
    found = json.loads((results / "idioms.json").read_text())
    assert found["agreement"].keys() == set(variants)
    assert all(run["wall_s"] > 0 and run["peak_rss"] > 1e8 for runs in found["runs"].values() for run in runs)


def test_the_floor_decodes_what_the_scan_decodes(small_region: object, results: Path) -> None:
    script("floor.py", "--region", "SMALL", "--rounds", "1", "--json", results / "floor.json")
    found = json.loads((results / "floor.json").read_text())
    noted = found["amplification"]
    assert noted["unique_bytes"] <= noted["bytes"] <= noted["touched_bytes"]
    (scan,) = found["runs"]["scan file"]
    (floor,) = found["runs"]["GDAL file"]
    assert sum(scan["stages"].values()) == pytest.approx(scan["cpu_s"])
    assert floor["decoded_bytes"] > noted["bytes"]


def test_a_country_is_planned_and_driven(results: Path) -> None:
    script(
        "scale.py", "--areas", "Ghana", "--workers", "16", "--dask", "1", "--tasks", "20",
        "--json", results / "scale.json",
    )  # fmt: skip
    (run,) = json.loads((results / "scale.json").read_text())["runs"]
    assert run["tiles"] > 10_000
    assert run["jobs"] > run["tiles"] / 64


def test_the_page_shows_what_was_measured(results: Path) -> None:
    assert {file.name for file in results.iterdir()} >= {"idioms.json", "floor.json", "scale.json"}, "tests above ran"
    script("page.py", results)
    page = (results / "README.md").read_text()
    assert "odc-stac" in page
    assert "CPU outside the model over the decode floor" in page
    assert "Ghana" in page
    assert (results / "idioms.png").stat().st_size > 5000
