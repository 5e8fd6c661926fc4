"""``minescale dataset split | audit | stats | card | figures | augment`` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from minescale.labels.preparation.normalisation import stored_normalisation
from minescale.labels.sets.folder import open_folder, write_folder
from minescale.labels.sets.split import Split
from tests.cli.conftest import run
from tests.labels.test_figures import ground


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset folder: 24 sites, six bands, masks."""
    path = tmp_path_factory.mktemp("datasets") / "ground"
    write_folder(ground(size=32), path)
    return path


@pytest.fixture(scope="module")
def parts(folder: Path) -> Path:
    file = folder.parent / "parts.json"
    done = run("dataset", "split", folder, "--by", "site", "--out", file, "--fractions", 0.5, 0.25, 0.25)
    assert done.exit_code == 0, done.stderr
    assert "train        12 samples  50.00%" in done.stdout
    assert "val: unseen sites" in done.stdout
    assert "m apart" in done.stdout
    return file


def test_split_says_what_it_did_and_does_not_overwrite(folder: Path, parts: Path) -> None:
    assert Split.from_json(parts.read_text()).settings["fractions"] == [0.5, 0.25, 0.25]
    again = run("dataset", "split", folder, "--by", "site", "--out", parts)
    assert (again.exit_code, "exists" in again.stderr) == (2, True)
    other = run(
        "dataset", "split", folder, "--by", "block", "--block-km", 5, "--out", parts.with_name("b.json"), "--json"
    )
    values = json.loads(other.stdout)
    assert (values["rule"], values["settings"]["block_km"]) == ("block", 5)
    assert sum(values["samples"].values()) == 24
    assert len(values["distances"]) == 3
    bad = run("dataset", "split", folder, "--by", "orbit", "--out", parts.with_name("c.json"))
    assert bad.exit_code == 2
    assert "orbit" in bad.stderr
    assert not parts.with_name("c.json").exists()


def test_audit_passes_a_sound_split_and_ends_with_2_for_a_leaking_one(folder: Path, parts: Path) -> None:
    fine = run("dataset", "audit", folder, "--split", parts)
    assert fine.exit_code == 0, fine.stderr
    assert "passes its audit" in fine.stdout
    split = Split.from_json(parts.read_text())
    dataset = open_folder(folder)
    copy = write_folder(dataset, folder.parent / "twice")
    table = copy.samples.assign(site="one site")
    table.to_parquet(folder.parent / "twice" / "samples.parquet", index=False)
    leaking = run("dataset", "audit", folder.parent / "twice", "--split", parts, "--json")
    assert leaking.exit_code == 2
    assert "share 1 site" in leaking.stderr
    assert json.loads(leaking.stdout)["ok"] is False
    forced = run("dataset", "audit", folder.parent / "twice", "--split", parts, "--force", "--no-pixels")
    assert forced.exit_code == 0
    assert "every score must say" in forced.stdout
    assert len(split.parts) == 24


def test_audit_needs_a_split(folder: Path, tmp_path: Path) -> None:
    none = run("dataset", "audit", folder)
    assert none.exit_code == 2
    assert "came without a split" in none.stderr
    broken = tmp_path / "broken.json"
    broken.write_text('{"parts": 3}')
    assert run("dataset", "audit", folder, "--split", broken).exit_code == 2


def test_stats_measure_the_training_part_and_keep_its_constants(folder: Path, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "stats.json"
    done = run("dataset", "stats", folder, "--split", parts, "--store", "--out", out, "--offset", 0, 1)
    assert done.exit_code == 0, done.stderr
    assert "12 images (train)" in done.stdout
    values = json.loads(out.read_text())
    assert values["part"] == "train"
    assert np.sum(values["cooccurrence"]["counts"]) == 24 * 32 * 31
    dataset = open_folder(folder)
    constants = stored_normalisation(dataset)
    assert (constants.part, constants.images) == ("train", 12)
    train = Split.from_json(parts.read_text()).of(dataset, "train")
    exact = np.percentile(np.stack([train.reader.image(i)[1] for i in range(12)]), (2, 98))
    assert [constants.low[1], constants.high[1]] == pytest.approx(exact.tolist())
    assert run("dataset", "stats", folder, "--out", out).exit_code == 2


def test_card_as_markdown_and_json(folder: Path, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "card.md"
    done = run("dataset", "card", folder, "--split", parts, "--audit", "--out", out)
    assert done.exit_code == 0, done.stderr
    assert "| Train (50.00 %) |" in out.read_text()
    values = json.loads((tmp_path / "card.json").read_text())
    assert values["audit"]["ok"] is True
    assert values["counts"]["samples"] == 24
    assert json.loads(run("dataset", "card", folder, "--json").stdout)["split"] is None
    (tmp_path / "other.json").write_text("{}")
    assert run("dataset", "card", folder, "--out", tmp_path / "other.md").exit_code == 2
    assert not (tmp_path / "other.md").exists(), "nothing half written"


def test_r114_figures_from_one_command(folder: Path, tmp_path: Path) -> None:
    score = tmp_path / "score.tif"
    with rasterio.open(
        score,
        "w",
        driver="GTiff",
        width=32,
        height=32,
        count=1,
        dtype="uint8",
        nodata=255,
        transform=from_origin(0, 32, 1, 1),
    ) as target:
        target.write(np.full((1, 32, 32), 100, np.uint8))
        target.scales = (0.004,)
    done = run("dataset", "figures", folder, "--out", tmp_path / "figures", "--sample", "s0001", "--score", score)
    assert done.exit_code == 0, done.stderr
    drawn = [Path(line).stem for line in done.stdout.split()]
    assert drawn[:7] == ["grid", "cells", "mask", "classes", "bands", "overlay", "prediction"]
    assert "no preparation" in done.stderr, "samples of 32 px have no detail to remove"
    assert run("dataset", "figures", folder, "--out", tmp_path, "--sample", "nobody").exit_code == 2


def test_augment_writes_copies_that_name_their_parents(folder: Path, parts: Path, tmp_path: Path) -> None:
    done = run("dataset", "augment", folder, "--out", tmp_path / "five", "--split", parts, "--json")
    assert json.loads(done.stdout)["samples"] == 60, done.stderr
    written = open_folder(tmp_path / "five")
    assert written.parents().nunique() == 12
    image, mask = written[0]
    assert image.shape == (6, 32, 32)
    assert mask is not None
    flips = run("dataset", "augment", folder, "--out", tmp_path / "flips", "--preset", "flips")
    assert "120 samples made from 24" in flips.stdout
    assert run("dataset", "augment", folder, "--out", tmp_path / "flips").exit_code == 2
