"""The examples of the pages on folders and imagery run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from minescale.synthetic import Region

DOCS = Path(__file__).parents[2] / "docs" / "datasets"


def example(page: str) -> str:
    (found,) = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    return found


def test_the_folder_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example("folder.md"), names)  # noqa: S102
    assert names["image"].shape == (2, 8, 8)
    assert names["mask"].shape == (8, 8)


def test_the_imagery_example_runs(small_region: Region, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the small region instead of the demo's, which has the same middle."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example("imagery.md").replace('"demo"', repr(str(small_region.catalog))), names)  # noqa: S102
    assert names["report"].written == 2
    assert names["image"].shape == (4, 128, 128)
    assert names["image"].any()
