"""Evaluation of the published sets as they lie, and of files that hold other samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from minescale.cli.group import main
from tests.evaluation.models import rule_package


def evaluate(model: Path, data: Path, *more: str) -> dict:
    arguments = ["evaluate", "--model", str(model), "--data", str(data), "--bootstrap", "50", "--json", *more]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def red_rule(folder: Path) -> Path:
    rules = [{"name": "red", "weight": 1.0, "ramps": [{"index": "R", "from": 0.0, "to": 0.3}]}]
    return rule_package(folder, bands=("red", "green"), hyperparameters={"rules": rules}).path


def test_chips_with_negatives_of_one_source(data_dir: Path, tmp_path: Path) -> None:
    with np.load(data_dir / "amw" / "amw_rgb_chips_48px.npz") as file:
        arrays = {name: file[name] for name in file.files}
    source, label = arrays["source"], arrays["label"]
    negative = np.flatnonzero((label == 0) & (source == source[np.flatnonzero(label == 0)[-1]]))[:150]
    rows = np.concatenate([np.flatnonzero(label == 1)[::20], negative])
    np.savez(tmp_path / "other.npz", **{name: array[rows] for name, array in arrays.items()})
    found = evaluate(red_rule(tmp_path / "rule"), tmp_path / "other.npz", "--out", str(tmp_path / "out"))
    assert found["n"] == len(rows)
    assert 0 < found["auc"] < 1
    assert found["baselines"]["best_single_index"]["auc"] >= 0.5
    assert (tmp_path / "out" / "report.html").stat().st_size > 20_000


def test_dated_maps_of_one_site(data_dir: Path, tmp_path: Path) -> None:
    found = evaluate(rule_package(tmp_path / "rule").path, data_dir / "strzegom")
    assert found["unit"] == "pixel"
    assert found["n"] == 6
    assert found["prevalence"] == pytest.approx(0.133, abs=0.001)
    assert found["auc"] > 0.8  # quarries are barer than fields and forest
    assert found["intervals"] == {}
    assert "one site" in found["bootstrap"]["note"]
    assert found["objects"]["objects"] > 10
