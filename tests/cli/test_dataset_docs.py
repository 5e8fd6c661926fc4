"""The commands on the pages about splits, preparation, card and figures run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from shapely.geometry import box

from minescale.labels.sets.folder import write_folder
from tests.cli.conftest import run
from tests.labels.small_sets import make
from tests.labels.test_figures import ground

PAGES = Path(__file__).parents[2] / "docs" / "datasets"


def _lay_out(folder: Path) -> None:
    """The sets that the pages talk of."""
    training = ground(size=96)
    write_folder(training, folder / "training")
    write_folder(training.subset([1, 2, 3]), folder / "tiles")
    rng = np.random.default_rng(0)
    label = np.arange(120) % 2
    acquired = np.where(rng.random(120) < 0.2, label, 2)
    columns = {
        "site": [f"p{i // 3}" for i in range(120)],
        "label": label,
        "source": np.where(label == 1, "mines", "forest"),
        "clear": np.where(acquired == 0, 0.05, 0.75),
        "image_date": np.where(acquired == 1, "2019-01-01/2020-01-01", "2024-01-01/2025-01-01"),
    }
    write_folder(make(columns), folder / "chips")
    gpd.GeoDataFrame({"name": ["country"]}, geometry=[box(-2.5, 5.5, -1.5, 6.5)], crs=4326).to_file(
        folder / "country.gpkg"
    )


@pytest.mark.parametrize("page", ["splits", "preparation", "card"])
def test_commands_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run("dataset", "split", "training", "--by", "site", "--out", "parts.json").exit_code == 0
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    for command in "".join(blocks).splitlines():
        words = shlex.split(command, comments=True)
        assert words[:2] == ["minescale", "dataset"], command
        if words[2] == "split":
            Path("parts.json").unlink()
        done = run(*words[1:])
        assert done.exit_code == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", ["splits", "preparation", "card"])
def test_options_on_the_pages_exist(page: str) -> None:
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    known = "".join(
        run("dataset", name, "--help").stdout for name in ("split", "audit", "stats", "card", "figures", "augment")
    )
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)):
        assert option in known, option
