"""The page of an evaluation: complete, self-contained, true to the figures."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minescale.evaluation.cases import MISSED, RIGHT, UNKNOWN, WRONG, find_cases
from minescale.evaluation.evaluate import evaluate, judge
from minescale.evaluation.files import write_evaluation
from minescale.evaluation.page import write_page
from minescale.evaluation.plots import Marks, chart
from minescale.labels.auditing.audit import audit
from minescale.labels.auditing.splitting import split_by
from minescale.models.package import ModelPackage
from tests.evaluation.models import chip_set, pixel_set, rule_package, scored_maps

_VOID = {"meta", "img", "br", "link", "line", "polyline", "polygon", "circle"}


class _Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag


def check(text: str) -> None:
    parser = _Checker()
    parser.feed(text)
    assert parser.open == []
    assert all(link.startswith("data:image/png;base64,") for link in parser.links)
    assert not re.search(r"https?://|<script|@import|illegal", text)
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).lower().replace("nanm", "")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return rule_package(
        tmp_path_factory.mktemp("models") / "rule", calibration={"method": "temperature", "temperature": 2}
    )


def test_page_of_maps(package: ModelPackage, tmp_path: Path) -> None:
    dataset = pixel_set(n=8, edge=40)
    split = split_by(dataset, "site", (0.5, 0.25, 0.25), seed=0)
    made = evaluate(package, dataset, caveat="a <b>caveat</b>")
    write_page(made, tmp_path / "report.html", audit(dataset, split))
    text = (tmp_path / "report.html").read_text()
    check(text)
    assert "a &lt;b&gt;caveat&lt;/b&gt;" in text
    assert f"{made.figures['auc']:.3f}" in text
    for word in (
        "Mines as objects",
        "Audit of the split",
        "all positive",
        "prefers-color-scheme",
        "CC0-1.0",
        "sandbar",
    ):
        assert word in text


def test_page_of_chips_and_files(package: ModelPackage, tmp_path: Path) -> None:
    made = evaluate(package, chip_set())
    write_evaluation(made, tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text()
    check(text)
    assert "No skill shown" in text
    assert "No split was given" in text
    pictures = sorted((tmp_path / "out" / "cases").glob("*.png"))
    assert len(pictures) == 32
    assert np.asarray(Image.open(pictures[0])).ndim == 3


@pytest.mark.parametrize("label", [0, 1])
def test_page_of_one_class(package: ModelPackage, tmp_path: Path, label: int) -> None:
    dataset = chip_set()
    made = evaluate(package, dataset.subset(np.flatnonzero(dataset.samples["label"] == label)))
    write_page(made, tmp_path / "report.html")
    check((tmp_path / "report.html").read_text())


def test_cases_are_ordered_and_coloured(package: ModelPackage) -> None:
    codes, mask = np.zeros((2, 40, 40), np.uint8), np.zeros((2, 40, 40), np.uint8)
    mask[:, :20, :20] = 1
    mask[:, 30:] = 255
    codes[0, :10, :20] = 200  # half of it found
    codes[1, :20, 20:] = 200  # beside it
    codes[1, 25] = 255
    scored = scored_maps(codes, mask)
    found = find_cases(judge(package.spec, scored, scored.dataset, bootstrap=0))
    worst = found["Worst, by IoU"]
    assert [case.id for case in worst] == ["s0001", "s0000"]
    assert worst[1].caption == "IoU 0.50"
    verdict = dict(worst[1].pictures)["right and wrong"]
    step = verdict.shape[0] // 40
    assert [tuple(verdict[y * step, x * step]) for y, x in ((0, 0), (15, 0), (35, 0))] == [RIGHT, MISSED, UNKNOWN]
    beside = dict(worst[0].pictures)["right and wrong"]
    assert tuple(beside[0, 30 * step]) == WRONG
    assert tuple(beside[25 * step, 0]) == UNKNOWN


def test_chart_keeps_to_its_frame() -> None:
    text = chart(
        "a < b", "x", "y", [Marks("m", [(-1, 0), (0, 0), (1, 1), (2, 1)]), Marks("", [(0.5, 0.5)], line=False)]
    )
    assert "a &lt; b" in text
    line = re.search(r'<polyline[^>]*points="([^"]*)"', text)
    assert line is not None
    assert len(line[1].split()) == 2
    assert text.count("<circle") == 1


def test_nothing_is_left_of_a_page_that_fails(package: ModelPackage, tmp_path: Path) -> None:
    made = evaluate(package, chip_set())
    with pytest.raises(OSError, match="nowhere"):
        write_page(made, tmp_path / "nowhere" / "report.html")
    assert list(tmp_path.iterdir()) == []
