"""``minescale train`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minescale.labels.formats.registry import write_dataset
from tests.cli.conftest import run
from tests.training.toys import chip_set, split_of

TINY = ("--set", "hyperparameters.width=4", "--set", "batch.size=12", "--epochs", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A set of chips on disk, and its split."""
    folder = tmp_path_factory.mktemp("data")
    write_dataset(chip_set(), folder / "set", format="folder")
    (folder / "split.json").write_text(split_of(chip_set()).to_json())
    return folder / "set", folder / "split.json"


def test_train_prints_scores_beside_baselines(where: tuple[Path, Path], tmp_path: Path) -> None:
    data, split = where
    settings = ("--preset", "amw_patchcnn", *TINY, "--seed", 3)
    done = run("train", "--data", data, "--split", split, "--out", tmp_path / "out", *settings)
    assert done.exit_code == 0, done.stderr
    for word in ("the model", "all positive", "best single index", "test: 12 samples", str(tmp_path / "out/package")):
        assert word in done.stdout
    assert "epoch 2/2" in done.stderr
    again = run("train", "--data", data, "--split", split, "--out", tmp_path / "out", *settings, "--json")
    found = json.loads(again.stdout)
    assert "continuing after epoch 2" in again.stderr
    assert set(found["metrics"]) == {"val", "test", "training", "audit"}
    assert found["metrics"]["training"]["config"]["seed"] == 3
    judged = run("evaluate", "--model", found["package"], "--data", data, "--split", split, "--json")
    assert json.loads(judged.stdout)["auc"] == pytest.approx(found["metrics"]["test"]["auc"])


def test_a_split_on_the_fly(where: tuple[Path, Path], tmp_path: Path) -> None:
    done = run(
        "train", "--data", where[0], "--by", "site", "--out", tmp_path / "one", "--preset", "amw_patchcnn", *TINY,
        "--epochs", 1, "--progress", "json", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["metrics"]["audit"]["rule"] == "site"
    assert json.loads(done.stderr.splitlines()[-1])["event"] == "EpochDone"
    again = run(
        "train", "--data", where[0], "--by", "site", "--out", tmp_path / "again", "--preset", "amw_patchcnn", *TINY,
        "--epochs", 1, "--seed", 5, "--json",
    )  # fmt: skip
    assert again.exit_code == 0, again.stderr
    split = tmp_path / "one/split.json"
    assert split.read_bytes() == (tmp_path / "again/split.json").read_bytes()
    found = json.loads(again.stdout)
    judged = run("evaluate", "--model", found["package"], "--data", where[0], "--split", split, "--json")
    assert json.loads(judged.stdout)["auc"] == pytest.approx(found["metrics"]["test"]["auc"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--preset", "unet_smal"), "unet_small"),
        ((), "--preset and --config"),
        (("--preset", "unet_small", "--config", "x.yaml"), "--preset and --config"),
        (("--preset", "unet_small", "--set", "run.epoch=1"), "run.epochs"),
        (("--preset", "unet_small", "--set", "epochs"), "KEY=VALUE"),
        (("--preset", "unet_small", "--by", "site"), "one of them"),
        (("--preset", "unet_small"), "taught pixels"),
    ],
)
def test_wrong_use(arguments: tuple[str, ...], said: str, where: tuple[Path, Path], tmp_path: Path) -> None:
    done = run("train", "--data", where[0], "--split", where[1], "--out", tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_presets_are_listed() -> None:
    done = run("train", "--list-presets")
    assert done.exit_code == 0
    assert "brazil_resnet34" in done.stdout
    assert json.loads(run("train", "--list-presets", "--json").stdout)["ghana_segformer"]["batch"]["crop"] == 512
    assert run("train", "--preset", "unet_small").exit_code == 2
