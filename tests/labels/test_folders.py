"""Positive, negative and augmented folders (R040, F21), and the view that PyTorch's loaders take (R041)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image

from minescale.errors import UsageError
from minescale.labels.formats.registry import open_dataset, validate, write_dataset
from minescale.labels.sets.classes import THREE_CLASS
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.torch_view import MiningDataset
from tests.labels.sets import assert_same, make


def augmented() -> Dataset:
    """Four originals, two copies of each."""
    names = [f"s{i:03d}" for i in range(4)]
    ids = names + [f"{n}_aug{k}" for k in (1, 2) for n in names]
    return make(12, masked=False, id=ids, parent=names * 3, label=[1, 0, 1, 0] * 3)


def test_r040_four_folders_and_every_copy_names_its_parent(tmp_path: Path) -> None:
    dataset = augmented()
    opened = write_dataset(dataset, tmp_path / "set", format="folders")
    counts = {p.name: len(list(p.iterdir())) for p in (tmp_path / "set").iterdir() if p.is_dir() and p.name != "items"}
    assert counts == {"positive": 2, "negative": 2, "pos_augmented": 4, "neg_augmented": 4}
    for path in (tmp_path / "set").glob("*_augmented/*.tif"):
        with rasterio.open(path) as image:
            assert image.tags()["parent"] == path.stem.split("_")[0]
    listed = pd.read_csv(tmp_path / "set" / "parents.csv")
    assert len(listed) == 12
    assert (listed["id"].str.split("_").str[0] == listed["parent"]).all()
    assert validate(tmp_path / "set") == []
    assert_same(opened, dataset)
    assert opened.parents().tolist() == dataset.samples["parent"].tolist()


def test_r040_parents_survive_without_our_description(tmp_path: Path) -> None:
    """F21: by the tag, by ``parents.csv``, by the name; where nothing tells, no split can be safe and it is refused."""
    write_dataset(augmented(), tmp_path / "set", format="folders")
    for name in ("minescale.json", "samples.parquet"):
        (tmp_path / "set" / name).unlink()
    opened = open_dataset(tmp_path / "set")
    assert sorted(opened.parents().unique()) == ["s000", "s001", "s002", "s003"]
    assert opened.samples["site"].tolist() == opened.parents().tolist(), "copies share a site with their parent"
    plain = tmp_path / "plain"
    for folder, name in (
        ("positive", "a"),
        ("negative", "b"),
        ("pos_augmented", "a_aug3"),
        ("neg_augmented", "b-aug_1"),
    ):
        (plain / folder).mkdir(parents=True)
        Image.fromarray(np.full((5, 6, 3), 9, np.uint8)).save(plain / folder / f"{name}.png")
    assert validate(plain) == []
    opened = open_dataset(plain)
    assert opened.parents().tolist() == ["b", "a", "b", "a"]
    assert (opened.bands, opened.reader.image(0).shape) == (("red", "green", "blue"), (3, 5, 6))
    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(plain / "pos_augmented" / "whatever.png")
    with pytest.raises(UsageError, match="keep copies together"):
        open_dataset(plain)
    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(plain / "pos_augmented" / "b_aug1.png")
    (plain / "negative" / "notes.txt").write_text("x")
    found = {f.where: f.what for f in validate(plain)}
    assert "made from" in found["pos_augmented/whatever.png"]
    assert "not among the originals of its class" in found["pos_augmented/b_aug1.png"]
    assert found["negative/notes.txt"] == "no image"


def test_masks_become_labels_of_whole_samples(tmp_path: Path) -> None:
    dataset = make(4)
    opened = write_dataset(dataset, tmp_path / "set", format="folders")
    assert opened.samples["label"].tolist() == [0, 1, 1, 1]
    assert opened[1][1] == 1
    with pytest.raises(UsageError, match="parents"):
        write_dataset(make(2, parent=["s000", "gone"], masked=False), tmp_path / "x", format="folders")
    with pytest.raises(UsageError, match="sample by sample"):
        write_dataset(make(2, label=[0, 2], masked=False), tmp_path / "x", format="folders")
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_r041_length_items_and_balance() -> None:
    import torch

    masked, whole = MiningDataset(make(5, classes=THREE_CLASS)), MiningDataset(augmented())
    assert (len(masked), len(whole)) == (5, 12)
    image, mask = masked[2]
    assert (image.dtype, tuple(image.shape)) == (torch.float32, (4, 24, 24))
    assert (mask.dtype, tuple(mask.shape)) == (torch.int64, (24, 24))
    np.testing.assert_array_equal(mask.numpy(), make(5, classes=THREE_CLASS).reader.mask(2))
    assert int(whole[0][1]) == 1
    assert whole.label_balance() == {"background": 0.5, "mining": 0.5}
    counted = np.mean([make(5, classes=THREE_CLASS).reader.mask(r) == 2 for r in range(5)])
    assert masked.label_balance()["mining"] == pytest.approx(counted)
    with pytest.raises(IndexError):
        masked[5]
    unlabelled = make(2, masked=False, label=None)
    with pytest.raises(UsageError, match="no label"):
        MiningDataset(unlabelled)[0]


def flip(
    image: NDArray[np.generic], label: NDArray[np.uint8] | int
) -> tuple[NDArray[np.generic], NDArray[np.uint8] | int]:
    return image[..., ::-1], label[:, ::-1] if isinstance(label, np.ndarray) else label


def test_r041_transforms_move_image_and_label_alike() -> None:
    plain, flipped = MiningDataset(make(3)), MiningDataset(make(3), (flip,))
    assert bool((flipped[1][0] == plain[1][0].flip(-1)).all())
    assert bool((flipped[1][1] == plain[1][1].flip(-1)).all())


def test_r041_loaders_take_it_in_other_processes() -> None:
    import torch

    loader = torch.utils.data.DataLoader(
        MiningDataset(make(6), (flip,)), batch_size=4, num_workers=1, multiprocessing_context="spawn"
    )
    shapes = [(tuple(image.shape), tuple(mask.shape)) for image, mask in loader]
    assert shapes == [((4, 4, 24, 24), (4, 24, 24)), ((2, 4, 24, 24), (2, 24, 24))]
