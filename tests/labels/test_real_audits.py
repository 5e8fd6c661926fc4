"""Real sets load, are split by place, and pass the audit where their classes can be compared; a planted leak does not.

Two of the three fail as they are, rightly: in ``amw`` and ``emergence`` the acquisition (clear share and period)
predicts the class. Split within what both classes share, they pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minescale.labels.auditing.audit import Audit, audit
from minescale.labels.auditing.confounding import acquisition_columns
from minescale.labels.auditing.splitting import split_by
from minescale.labels.formats.registry import open_dataset
from minescale.labels.preparation.augment import augmented
from minescale.labels.sets.dataset import ArrayReader, Dataset
from minescale.labels.sets.split import Split


def _failed(found: Audit) -> set[str]:
    return {f.check for f in found.failures}


def _amw(folder: Path) -> tuple[Dataset, Split]:
    dataset = open_dataset(folder / "amw")
    assert acquisition_columns(dataset) == ["clear", "image_date"], "source names the gallery, and that names the class"
    return dataset, split_by(dataset, "site", within=acquisition_columns(dataset))


def _emergence(folder: Path) -> tuple[Dataset, Split]:
    dataset = open_dataset(folder / "emergence")
    return dataset, split_by(dataset, "site", within=["source"])


def _tailings(folder: Path) -> tuple[Dataset, Split]:
    dataset = open_dataset(folder / "tailings")
    return dataset, split_by(dataset, "site", apart_m=6400)


SETS = (_amw, _emergence, _tailings)


@pytest.mark.parametrize("load", SETS)
def test_real_sets_pass_when_split_by_place(load: Callable[[Path], tuple[Dataset, Split]], data_dir: Path) -> None:
    dataset, split = load(data_dir)
    found = audit(dataset, split)
    assert found.ok, found.to_text()
    assert found.val_sentence == "val: unseen sites"
    assert sum(n["samples"] for n in found.parts.values()) == len(split.parts)
    total = len(split.parts)
    for part, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        assert found.parts[part]["samples"] == pytest.approx(share * total, abs=0.02 * total + 1)


@pytest.mark.parametrize("load", SETS)
def test_r017_a_sample_moved_to_another_part_is_caught(
    load: Callable[[Path], tuple[Dataset, Split]], data_dir: Path
) -> None:
    dataset, split = load(data_dir)
    test = set(split.of(dataset, "test").samples["site"])
    crowded = dataset.samples[dataset.samples["site"].isin(test)].groupby("site")["id"].first()
    sizes = dataset.samples["site"].value_counts()
    name = next(crowded[site] for site in crowded.index if sizes[site] > 1 and crowded[site] in split.parts)
    found = audit(dataset, replace(split, parts=split.parts | {name: "train"}), pixels=False)
    assert "sites" in _failed(found)


@pytest.mark.parametrize("load", SETS)
def test_f21_an_augmented_copy_in_the_test_is_caught_by_parent_and_by_pixels(
    load: Callable[[Path], tuple[Dataset, Split]], data_dir: Path
) -> None:
    dataset, split = load(data_dir)
    rows = split.rows(dataset, "train")[:6].tolist()
    small = dataset.subset([*rows, *split.rows(dataset, "test")[:6].tolist()])
    copies = augmented(small, 2, full_scale=float(np.iinfo(np.uint16).max))
    parts = {name: ("train", "test")[i % 2] for i, name in enumerate(copies.samples["id"])}
    assert "siblings" in _failed(audit(copies, Split(parts=parts, rule="random"), pixels=False))
    few = dataset.subset([*rows[:2], *split.rows(dataset, "test")[:3].tolist()])
    images = np.stack([few.reader.image(i) for i in (0, 0, 2, 3, 4)])
    masks = None if few.reader.mask(0) is None else np.stack([few.reader.mask(i) for i in range(5)])
    named = few.samples.assign(id=list("abcde"), site=list("abcde"), lon=np.nan, lat=np.nan)
    twins = replace(few, samples=named, reader=ArrayReader(images, masks))
    parts = dict(zip("abcde", ["train", *["test"] * 4], strict=True))
    assert "pixels" in _failed(audit(twins, Split(parts=parts, rule="random")))


@pytest.mark.parametrize(("load", "accuracy"), [(_amw, 0.69), (_emergence, 0.88)])
def test_f20_acquisition_betrays_the_class_of_two_real_sets(
    load: Callable[[Path], tuple[Dataset, Split]], accuracy: float, data_dir: Path
) -> None:
    dataset, _ = load(data_dir)
    found = audit(dataset, split_by(dataset, "site"), pixels=False)
    assert _failed(found) == {"metadata"}
    assert found.failures[0].numbers["balanced_accuracy"] == pytest.approx(accuracy, abs=0.03)
    assert "balanced accuracy" in found.require(force=True)


def test_f20_galleries_that_name_their_class_fail_until_the_set_says_how_it_was_acquired(data_dir: Path) -> None:
    dataset, split = _amw(data_dir)
    silent = replace(dataset, provenance={})
    found = audit(silent, split, pixels=False)
    assert _failed(found) == {"metadata"}
    assert found.failures[0].numbers["balanced_accuracy"] > 0.9
    (source,) = [f for f in audit(dataset, split, pixels=False).findings if f.check == "source"]
    assert source.numbers["one_class_sources"] == len(source.numbers["table"])
    assert source.numbers["cramers_v"] > 0.99
    assert source.severity == "warning", "it stays visible"


def test_groups_of_tailings_overlap_and_are_kept_together_on_demand(data_dir: Path) -> None:
    dataset = open_dataset(data_dir / "tailings")
    assert len(dataset) == 87
    assert dataset.samples["site"].nunique() == 42
    split = split_by(dataset, "site")
    found = audit(dataset, split, near_m=6400, pixels=False)
    assert _failed(found) == {"neighbours"}
    assert audit(dataset, split_by(dataset, "site", apart_m=6400), near_m=6400, pixels=False).ok
