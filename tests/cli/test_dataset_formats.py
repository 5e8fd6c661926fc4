"""``minescale dataset info``, ``export`` and ``validate`` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minescale.cli.dataset.export import FORMATS
from minescale.labels.formats.registry import NAMES, open_dataset, write_dataset
from tests.cli.conftest import run
from tests.labels.sets import make, split_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A set in the project's own folder, and a split of it."""
    root = tmp_path_factory.mktemp("set")
    dataset = make(8)
    write_dataset(dataset, root / "set", format="folder")
    (root / "split.json").write_text(split_of(dataset).to_json())
    return root / "set", root / "split.json"


def test_info_in_words_and_json(folder: tuple[Path, Path]) -> None:
    """Counts are those of the set itself, not of a page about it (F28)."""
    done = run("dataset", "info", folder[0])
    assert done.exit_code == 0, done.stderr
    assert "red, green, blue, nir" in done.stdout
    values = json.loads(run("dataset", "info", folder[0], "--json").stdout)
    assert (values["samples"], values["sites"], values["format"], values["licence"]) == (8, 4, "folder", "CC0-1.0")
    assert values["labels"] == "pixels"


@pytest.mark.parametrize("form", ["gmd", "folders", "pixels", "bandtiles", "yolo", "coco", "seedtree", "zarr"])
def test_export_and_validate_every_format(folder: tuple[Path, Path], tmp_path: Path, form: str) -> None:
    done = run("dataset", "export", folder[0], "--format", form, "--out", tmp_path / "out", "--split", folder[1])
    assert done.exit_code == 0, done.stderr
    assert "8 of 8 samples" in done.stdout
    checked = run("dataset", "validate", tmp_path / "out")
    assert checked.exit_code == 0, checked.stdout
    assert "0 errors" in checked.stdout
    again = run("dataset", "export", folder[0], "--format", form, "--out", tmp_path / "out", "--split", folder[1])
    assert again.exit_code == 2
    assert "exists" in again.stderr


def test_the_command_knows_every_format() -> None:
    assert sorted(FORMATS) == sorted(NAMES)


def test_r015_export_packs_the_same_archive_twice(folder: tuple[Path, Path], tmp_path: Path) -> None:
    sums = []
    for name in ("one", "two"):
        done = run(
            "dataset", "export", folder[0], "--format", "gmd", "--out", tmp_path / name, "--split", folder[1],
            "--archive", tmp_path / f"{name}.tar.gz", "--json",
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
        sums.append(json.loads(done.stdout)["sha256"])
    assert sums[0] == sums[1]


def test_validate_ends_with_1_and_names_what_is_wrong(folder: tuple[Path, Path], tmp_path: Path) -> None:
    run("dataset", "export", folder[0], "--format", "yolo", "--out", tmp_path / "out", "--split", folder[1])
    (tmp_path / "out" / "labels" / "train" / "s001.txt").write_text("0 2 2 2 2\n")
    done = run("dataset", "validate", tmp_path / "out")
    assert done.exit_code == 1
    assert "labels/train/s001.txt" in done.stdout
    assert json.loads(run("dataset", "validate", tmp_path / "out", "--json").stdout)["errors"] == 1


def test_options_reach_the_writer(folder: tuple[Path, Path], tmp_path: Path) -> None:
    done = run(
        "dataset", "export", folder[0], "--format", "yolo", "--out", tmp_path / "out", "--split", folder[1],
        "--task", "segment", "--rgb", "nir,red,green",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert open_dataset(tmp_path / "out").bands == ("nir", "red", "green")
    wrong = run("dataset", "export", folder[0], "--format", "gmd", "--out", tmp_path / "x", "--task", "segment")
    assert wrong.exit_code == 2
    assert "no such option" in wrong.stderr


def test_wrong_paths_are_usage_errors(folder: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{}")
    for arguments in (
        ("export", folder[0], "--format", "gmd", "--out", tmp_path / "x", "--split", tmp_path / "broken.json"),
        ("info", tmp_path / "absent"),
        ("validate", tmp_path),
        ("export", folder[0], "--format", "gmd", "--out", tmp_path / "x"),
        ("export", folder[0], "--format", "gmd", "--out", tmp_path / "x", "--split", tmp_path / "absent.json"),
    ):
        done = run("dataset", *arguments)
        assert done.exit_code == 2, arguments
        assert done.stderr.startswith("error: ")
    assert not (tmp_path / "x").exists()
