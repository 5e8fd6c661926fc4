"""``minescale evaluate``: one JSON object, tables, parts of a split, files, and errors that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from minescale.cli.group import main
from minescale.labels.auditing.splitting import split_by
from minescale.labels.formats.registry import write_dataset
from tests.evaluation.models import chip_set, rule_package


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    rule_package(folder / "rule")
    dataset = chip_set(120)
    write_dataset(dataset, folder / "set", format="folder")
    (folder / "split.json").write_text(split_by(dataset, "site", (0.5, 0.2, 0.3), seed=1).to_json())
    return folder


def run(place: Path, *more: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["evaluate", "--model", str(place / "rule"), *more])
    return done.exit_code, done.stdout, done.stderr


def test_one_json_object(place: Path) -> None:
    code, out, _ = run(place, "--data", str(place / "set"), "--json", "--bootstrap", "50")
    assert code == 0
    found = json.loads(out)
    assert {"auc", "auprc", "prevalence", "baselines", "no_skill", "caveat", "n"} <= set(found)
    assert set(found["sensitivity_at_specificity"]) == {"0.95", "0.98", "0.99"}
    assert found["n"] == 120
    assert found["caveat"] == ""


def test_part_of_a_split_and_files(place: Path) -> None:
    out_dir = place / "out"
    code, out, _ = run(place, "--data", str(place / "set"), "--split", str(place / "split.json"), "--out", str(out_dir))
    assert code == 0
    assert "AUC" in out
    assert "all positive" in out
    found = json.loads((out_dir / "evaluation.json").read_text())
    assert found["n"] < 120
    assert found["baselines"]["best_single_index"]["chosen_on"].endswith("/train")


def test_a_published_file_with_other_samples(place: Path) -> None:
    """Negatives of one source, a positive without a place."""
    rng = np.random.default_rng(0)
    n = 40
    label = (np.arange(n) < 15).astype(np.uint8)
    lon = np.where(label == 1, rng.uniform(-60, -50, n), np.nan)
    lon[3] = np.nan
    np.savez(
        place / "other.npz",
        chips=rng.integers(1, 255, (n, 48, 48, 3)).astype(np.uint8),
        label=label,
        source=np.where(label == 1, "found", "one_gallery_S2L1C_clear0.75_2020-01-01_2021-01-01.png"),
        clear=np.full(n, 0.75, np.float32),
        lon=lon,
        lat=np.where(np.isnan(lon), np.nan, -3.0),
    )
    rule_package(
        place / "rgb",
        bands=("red", "green"),
        hyperparameters={"rules": [{"name": "red", "weight": 1.0, "ramps": [{"index": "R", "from": 0.0, "to": 0.3}]}]},
    )
    done = CliRunner().invoke(
        main, ["evaluate", "--model", str(place / "rgb"), "--data", str(place / "other.npz"), "--json"]
    )
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["n"] == n
    assert 0.2 < found["auc"] < 0.8


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--data", "nowhere"), "no dataset there"),
        (("--data", "SET", "--threshold", "2"), "threshold"),
        (("--data", "SET", "--part", "test"), "without a split"),
        (("--data", "SET", "--reference-part", "train"), "needs a split"),
        (("--data", "SET", "--bootstrap", "-3"), "resamples"),
    ],
)
def test_errors(place: Path, more: tuple[str, ...], says: str) -> None:
    code, out, err = run(place, *[str(place / "set") if m == "SET" else m for m in more])
    assert code == 2
    assert says in err
    assert out == ""
