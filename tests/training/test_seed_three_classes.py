"""R023: the first seed's dataset from its tree on disk to a model of three classes, scored class by class (F40)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minescale.labels.formats.registry import open_dataset, validate, write_dataset
from minescale.labels.sets.classes import THREE_CLASS
from minescale.labels.sets.split import PARTS, Split
from minescale.training.api import train
from minescale.training.config import load_preset
from tests.training.toys import pixel_set, split_of

SHORT = {
    "run.epochs": 8,
    "batch.crop": 48,
    "batch.crops": 4,
    "batch.size": 4,
    "hyperparameters": {"width": 8, "depth": 3},
}
"""Fewer, smaller steps and a narrower network; everything else is the seed's preset."""


def test_r023_three_classes_from_the_tree(tmp_path: Path) -> None:
    made = pixel_set(n=20, size=64, classes=THREE_CLASS)
    write_dataset(made, tmp_path / "gmd", format="gmd", split=split_of(made))
    validate(tmp_path / "gmd")
    tree = open_dataset(tmp_path / "gmd")
    assert tree.classes.names == ("background", "cloud", "mining")
    # The tree is the split: its folders are the parts, and sites stay whole (R017).
    split = Split(parts=dict(zip(tree.samples["id"], tree.samples["split"], strict=True)), rule="site")
    assert {part: len(split.rows(tree, part)) for part in PARTS} == {"train": 12, "val": 4, "test": 4}
    result = train(tree, split, load_preset("gmd_unet3").replace(SHORT), tmp_path / "out", device="cpu")
    assert result is not None
    found = result.metrics["test"]
    assert set(found["classes"]["per_class"]) == {"background", "cloud", "mining"}
    ious = []
    for figures in found["classes"]["per_class"].values():
        assert {"precision", "recall", "f1", "iou"} <= set(figures)
        ious.append(figures["iou"])
    assert found["classes"]["mean_iou"] == pytest.approx(np.mean(ious))
    assert min(ious) > 0.5  # bright squares on dark ground: the machinery works, no evidence of skill
    assert {"all_positive", "all_negative"} <= set(found["baselines"])
