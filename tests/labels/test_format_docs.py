"""The examples of the pages on formats run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minescale.labels.formats.registry import FORMATS, NATIVE, write_dataset
from minescale.labels.sets.classes import BINARY
from tests.labels.sets import make

PAGES = Path(__file__).parents[2] / "docs" / "datasets"
OURS = ("formats", "gmd", "labelled-folders", "pixel-table", "band-tiles", "objects", "seed-tree", "published-sets")


@pytest.mark.parametrize("name", OURS)
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(make(4), tmp_path / "my_set", format="folder")
    write_dataset(make(2, classes=BINARY), tmp_path / "my_binary_set", format="folder")
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", (PAGES / f"{name}.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, f"{name}.md", "exec"), {})  # noqa: S102  (our own pages)


def test_every_format_has_its_line() -> None:
    text = (PAGES / "formats.md").read_text(encoding="utf-8")
    for name in (*(form.name for form in FORMATS), *NATIVE):
        assert f"`{name}`" in text, name
