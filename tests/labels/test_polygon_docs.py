"""The examples in the pages on polygons and labels run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs" / "datasets"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("polygons.md", ["ReadReport(read=1", "['Ashanti']", "1 cut at the border", "2"]),
        ("labels.md", ["'cloud': 256", "'mining': 400", "-28"]),
    ],
)
def test_examples_run(
    page: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {})  # noqa: S102
    told = capsys.readouterr().out
    for word in words:
        assert word in told, told
