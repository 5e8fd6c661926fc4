"""The Global Mining Dataset tree: R010 to R015, and what the figures and pictures of the first seed got wrong."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minescale.errors import StoreError, UsageError
from minescale.labels.formats import gmd
from minescale.labels.formats.archive import pack, sha256
from minescale.labels.formats.registry import open_dataset, recognise, validate, write_dataset
from minescale.labels.sets.classes import BINARY, THREE_CLASS
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.label_png import read_label_png, write_label_png
from tests.labels.sets import assert_same, files_of, make, split_of

VIRIDIS = ["#440154", "#21918c", "#fde725"]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return make(
        12, classes=THREE_CLASS, sensor="landsat-c2-l2", region=[f"agm_region_{1 + i % 3 % 2}" for i in range(12)]
    )


@pytest.fixture(scope="module")
def tree(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gmd") / "tree"
    write_dataset(dataset, root, format="gmd", split=split_of(dataset))
    return root


@pytest.fixture
def copy(tree: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tree, tmp_path / "copy"))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_r010_labels_are_palettised_with_viridis(tree: Path) -> None:
    """Index = class, colour = viridis at 0, 1/2 and 1, whatever classes a picture happens to hold (F02)."""
    labels = sorted(tree.rglob("labels/*/*.png"))
    assert len(labels) == 12
    for path in labels:
        with Image.open(path) as picture:
            assert picture.mode == "P"
            assert set(np.unique(np.asarray(picture))) <= {0, 1, 2}
            flat = picture.getpalette()
            assert flat is not None
            assert ["#" + bytes(flat[i : i + 3]).hex() for i in range(0, 9, 3)] == VIRIDIS
    import matplotlib as mpl

    anchors = [mpl.colors.to_hex(mpl.colormaps["viridis"](v)) for v in (0.0, 0.5, 1.0)]
    assert anchors == VIRIDIS
    with rasterio.open(labels[1]) as image:  # GDAL sees classes and their colours as well
        assert image.colormap(1)[2][:3] == (0xFD, 0xE7, 0x25)
        assert set(np.unique(image.read(1))) <= {0, 1, 2}


def test_r010_legacy_rgb_labels_are_read_by_the_nearest_colour(tmp_path: Path) -> None:
    """F02: a picture that was coloured before it was saved; its colours may be off by rounding."""
    label = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    colours = np.array([[0x44, 0x01, 0x54], [0x21, 0x91, 0x8C], [0xFD, 0xE7, 0x25]])
    for mode, extra in (("RGB", 0), ("RGBA", 255)):
        pixels = np.clip(colours[label] + np.array([3, -2, 4]), 0, 255).astype(np.uint8)
        if extra:
            pixels = np.dstack([pixels, np.full(label.shape, extra, np.uint8)])
        Image.fromarray(pixels, mode=mode).save(tmp_path / "legacy.png")
        np.testing.assert_array_equal(read_label_png(tmp_path / "legacy.png", THREE_CLASS), label)
    Image.fromarray(np.full((2, 2, 3), 255, np.uint8)).save(tmp_path / "white.png")
    with pytest.raises(UsageError, match="#ffffff"):
        read_label_png(tmp_path / "white.png", THREE_CLASS)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_label_pictures_round_trip(
    tmp_path_factory: pytest.TempPathFactory, ny: int, nx: int, seed: int, three: bool
) -> None:
    classes = THREE_CLASS if three else BINARY
    values = [0, 1, 2] if three else [0, 1, 255]
    label = np.random.default_rng(seed).choice(np.array(values, np.uint8), (ny, nx))
    path = tmp_path_factory.getbasetemp() / "label.png"
    write_label_png(path, label, classes)
    np.testing.assert_array_equal(read_label_png(path, classes), label)


def test_r010_a_tree_with_coloured_labels_is_read_and_noted(copy: Path, dataset: Dataset) -> None:
    """F02 in a whole tree: classes come back from colours, and every such picture is pointed at."""
    for path in copy.rglob("labels/*/*.png"):
        with Image.open(path) as picture:
            coloured = picture.convert("RGB")
        coloured.save(path)
    assert_same(open_dataset(copy), dataset)
    found = validate(copy)
    assert len(found) == 12
    assert all("coloured" in f.what and not f.severe for f in found)


def test_label_pictures_refuse_what_is_no_class(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\[7\]"):
        write_label_png(tmp_path / "x.png", np.full((2, 2), 7, np.uint8), THREE_CLASS)
    assert not (tmp_path / "x.png").exists()


def test_r011_each_image_has_a_colour_picture_with_its_stretch(tree: Path, dataset: Dataset) -> None:
    import json

    opened = open_dataset(tree)
    for row, name in enumerate(opened.samples["file"]):
        with Image.open(tree / name.replace("images", "rgb").replace(".tif", ".png")) as picture:
            assert picture.mode == "RGB"
            said = json.loads(picture.text["stretch"])  # type: ignore[attr-defined]
            pixels = np.asarray(picture)
        image = opened.reader.image(row)
        assert pixels.shape == (*image.shape[1:], 3)
        assert (said["bands"], said["percentiles"]) == (["red", "green", "blue"], [2.0, 98.0])
        seen = (image[:3] != 0).all(axis=0)
        assert said["low"][0] == pytest.approx(np.percentile(image[0][seen], 2))
        mapped = (image[0].astype(float) - said["low"][0]) / (said["high"][0] - said["low"][0])
        expected = np.where(seen, np.floor(np.clip(mapped, 0, 1) * 255 + 0.5), 128)
        assert np.abs(pixels[..., 0] - expected).max() <= 1


def test_r012_parts_are_siblings_and_every_stem_has_one_of_each_kind(tree: Path, dataset: Dataset) -> None:
    assert validate(tree) == []
    for part in ("train", "val", "test"):
        kinds = [
            {p.with_suffix("").relative_to(tree / part / k) for p in (tree / part / k).glob("*/*")} for k in gmd.KINDS
        ]
        assert kinds[0]
        assert kinds[0] == kinds[1] == kinds[2]
    assert_same(open_dataset(tree), dataset)


def test_r012_the_published_figures_nesting_is_tolerated_and_noted(copy: Path, dataset: Dataset) -> None:
    """F03: ``val`` and ``test`` drawn inside ``train``; with and without our own description."""
    for name in ("minescale.json", "samples.parquet"):
        (copy / name).unlink()
    flat = open_dataset(copy)
    last = flat.reader.image(11)
    for name in ("val", "test", "filename_mapping.csv"):
        shutil.move(copy / name, copy / "train" / name)
    nested = open_dataset(copy)
    assert recognise(copy) == "gmd"
    assert len(nested) == len(flat) == 12
    assert nested.samples["split"].tolist() == flat.samples["split"].tolist()
    assert nested.samples["original_path"].tolist() == flat.samples["original_path"].tolist()
    np.testing.assert_array_equal(nested.reader.image(11), last)
    assert {str(f.where) for f in validate(copy)} == {"train/val", "train/test", "train/filename_mapping.csv"}
    assert not any(f.severe for f in validate(copy))


def test_a_tree_without_description_is_read_from_its_files(copy: Path, dataset: Dataset) -> None:
    for name in ("minescale.json", "samples.parquet"):
        (copy / name).unlink()
    opened = open_dataset(copy)
    assert opened.bands == dataset.bands
    assert (opened.classes, opened.nodata, opened.units) == (THREE_CLASS, 0, "reflectance x 1e4")
    assert opened.licence == "none"
    assert set(opened.samples["site"]) == {"a", "b", "c", "d"}
    row = opened.samples["original_path"].tolist().index("s005")
    np.testing.assert_array_equal(opened.reader.image(row), dataset.reader.image(5))
    np.testing.assert_array_equal(opened.reader.mask(row), dataset.reader.mask(5))
    assert opened.samples["crs"].iloc[row] == "EPSG:32632"
    assert opened.samples["left"].iloc[row] == dataset.samples["left"].iloc[5]


def test_r013_numbers_restart_in_each_folder_by_date_and_name(tree: Path, dataset: Dataset) -> None:
    table = gmd.read_mapping(tree / gmd.MAPPING)
    for folder, rows in table.groupby(table["new_path"].map(lambda p: str(Path(p).parent))):
        names = rows["new_path"].map(lambda p: Path(p).stem).tolist()
        assert names == [f"{i:05d}" for i in range(len(rows))], folder
        assert rows["datetime"].tolist() == sorted(rows["datetime"])
    assert "train/images/a_agm_region_1/00000.tif" in table["new_path"].tolist()
    same_day = make(3, site="a", image_date="2024-01-01", id=["c", "a", "b"], split="train")
    assert gmd.plan_mapping(same_day, None)["original_path"].tolist() == ["a", "b", "c"]


def test_r013_more_than_99999_images_in_a_folder_are_refused() -> None:
    few = make(1)
    n = 100_001
    table = pd.DataFrame({"id": [f"{i:06d}" for i in range(n)], "site": "a", "source": "s", "split": "train"})
    many = Dataset(**{f: getattr(few, f) for f in few.__slots__} | {"samples": table})
    with pytest.raises(UsageError, match="five digits"):
        gmd.plan_mapping(many, None)
    fits = Dataset(**{f: getattr(few, f) for f in few.__slots__} | {"samples": table.iloc[:-1]})
    assert gmd.plan_mapping(fits, None)["new_path"].iloc[-1].endswith("/99999.tif")


def test_r014_the_mapping_is_one_to_one_and_rederives_the_tree(tree: Path, dataset: Dataset, tmp_path: Path) -> None:
    table = gmd.read_mapping(tree / gmd.MAPPING)
    assert tuple(table.columns) == gmd.COLUMNS
    assert table["original_path"].is_unique
    assert table["new_path"].is_unique
    assert sorted(table["original_path"]) == dataset.samples["id"].tolist()
    assert all(sha256(tree / p) == d for p, d in zip(table["new_path"], table["sha256"], strict=True))
    again = tmp_path / "again"
    gmd.rederive(tree / gmd.MAPPING, dataset, again)
    first = {k: v for k, v in files_of(tree).items() if k.startswith(("train", "val", "test", gmd.MAPPING))}
    assert files_of(again) == first
    with pytest.raises(StoreError, match="differ"):
        gmd.rederive(tree / gmd.MAPPING, make(12, classes=THREE_CLASS, seed=9), tmp_path / "other")
    with pytest.raises(UsageError, match="s000"):
        gmd.rederive(tree / gmd.MAPPING, dataset.subset([1, 2]), tmp_path / "lacking")
    assert [p.name for p in tmp_path.iterdir()] == ["again"], "what comes out different is not kept"


def test_r015_the_archive_has_the_same_bytes_twice(tree: Path, copy: Path, tmp_path: Path) -> None:
    import os
    import time

    for path in copy.rglob("*"):  # other times and rights
        if path.is_file():
            path.chmod(0o600)
            os.utime(path, (1, 1))
    first = pack(tree, tmp_path / "one.tar.gz")
    time.sleep(1.1)  # gzip's clock has seconds
    assert pack(copy, tmp_path / "sub" / "two.tar.gz") == first == sha256(tmp_path / "one.tar.gz")
    with tarfile.open(tmp_path / "one.tar.gz") as tar:
        names = tar.getnames()
        assert names == sorted(names, key=lambda n: n.split("/"))
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in tar.getmembers()} == {(0, 0, 0, "", 0o644)}
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert files_of(tmp_path / "unpacked") == files_of(tree)
    assert_same(open_dataset(tmp_path / "unpacked"), open_dataset(tree))
    with pytest.raises(UsageError, match="exists"):
        pack(tree, tmp_path / "one.tar.gz")
    with pytest.raises(UsageError, match="packed"):
        open_dataset(tmp_path / "one.tar.gz")


def test_two_builds_are_equal_byte_by_byte(tree: Path, dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(dataset, tmp_path / "again", format="gmd", split=split_of(dataset))
    assert files_of(tmp_path / "again") == files_of(tree)


def test_the_validator_names_every_departure(copy: Path) -> None:
    train = copy / "train"
    first = sorted(p.name for p in (train / "images").iterdir())[0]
    (train / "rgb" / first / "00000.png").unlink()
    with Image.open(train / "labels" / first / "00001.png") as picture:
        picture.convert("RGB").save(train / "labels" / first / "00001.png")
    shutil.copy(train / "images" / first / "00000.tif", train / "images" / first / "0000x.tif")
    (copy / "val" / "images").joinpath(
        sorted(p.name for p in (copy / "val" / "images").iterdir())[0], "00000.tif"
    ).write_bytes(b"x")
    text = "\n".join(map(str, validate(copy)))
    assert f"error: train/*/{first}/00000: no file in rgb" in text
    assert f"note: train/labels/{first}/00001.png: coloured" in text
    assert "0000x.tif: unexpected file" in text
    assert "its sha256 is not the one in the mapping" in text


def test_bad_sets_leave_nothing_behind(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="split"):
        write_dataset(dataset, tmp_path / "x", format="gmd")
    whole = make(4, masked=False)
    with pytest.raises(UsageError, match="labels for pixels"):
        write_dataset(whole, tmp_path / "x", format="gmd", split=split_of(whole))
    two = make(4, bands=("nir", "red"))
    with pytest.raises(UsageError, match="rgb"):
        write_dataset(two, tmp_path / "x", format="gmd", split=split_of(two))
    with pytest.raises(UsageError, match="one folder"):
        gmd.plan_mapping(make(2, site=["São João", "sao joao"], split="train"), None)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "taken").mkdir()
    with pytest.raises(UsageError, match="exists"):
        write_dataset(dataset, tmp_path / "taken", format="gmd", split=split_of(dataset))
    with pytest.raises(UsageError, match="not replaced"):
        write_dataset(dataset, tmp_path / "taken", format="gmd", split=split_of(dataset), overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]
