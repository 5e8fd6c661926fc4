"""The pages on cells and negatives run as they stand and name every column."""

from __future__ import annotations

import re
from pathlib import Path

import geopandas as gpd
import pytest
import shapely

from minescale.labels.cells.celltable import COLUMNS
from minescale.labels.places.hardnegatives import KINDS
from minescale.labels.places.negatives import POINT_COLUMNS

PAGES = Path(__file__).parents[2] / "docs" / "datasets"


@pytest.mark.parametrize("name", ["cells", "negatives"])
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = {
        "mines": [shapely.box(-2 + i / 10, 6, -1.97 + i / 10, 6.02) for i in range(12)],
        "parks": [shapely.box(-3, 7, -1, 9)],
        "water": [shapely.box(-2.5, 5, -2, 5.5)],
    }
    for file, boxes in shapes.items():
        gpd.GeoDataFrame({"name": ""}, index=range(len(boxes)), geometry=boxes, crs=4326).to_file(
            tmp_path / f"{file}.gpkg"
        )
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", (PAGES / f"{name}.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, f"{name}.md", "exec"), {})  # noqa: S102  (our own pages)


@pytest.mark.parametrize(("name", "columns"), [("cells", COLUMNS), ("negatives", POINT_COLUMNS)])
def test_every_column_is_described(name: str, columns: tuple[str, ...]) -> None:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    described = {
        word for row in re.findall(r"^\| (`[^|]+) \|", text, flags=re.MULTILINE) for word in re.findall(r"`(\w+)`", row)
    }
    assert set(columns) <= described


def test_every_kind_is_named() -> None:
    text = (PAGES / "negatives.md").read_text(encoding="utf-8")
    assert all(f"`{kind}`" in text for kind in KINDS)
