"""The native dataset folder gives back what was put in, appears whole, and is continued after a kill."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from minescale.errors import OutputMismatch, StoreError, UsageError
from minescale.labels.sets.chips import geo_columns, read_tif, write_tif
from minescale.labels.sets.classes import BINARY
from minescale.labels.sets.dataset import ArrayReader, Dataset
from minescale.labels.sets.folder import FolderWriter, open_folder, write_folder
from minescale.labels.sets.folder_layout import FolderSpec, Layout, read_split, write_split
from minescale.labels.sets.split import Split

PLACE = GeoBox((5, 4), Affine(10, 0, 500_000, 0, -10, 700_000), "EPSG:32630")


def chips(n: int = 3, masks: bool = True) -> Dataset:
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {"id": [f"s{i}" for i in range(n)], "site": "a", "source": "here", "lon": [1.5, None, 2.5][:n]}
    )
    for name, value in geo_columns(PLACE).items():
        table[name] = value
    return Dataset(
        name="chips",
        samples=table,
        bands=("red", "nir"),
        classes=BINARY,
        reader=ArrayReader(
            rng.integers(1, 9000, (n, 2, 5, 4)).astype(np.uint16),
            rng.integers(0, 2, (n, 5, 4)).astype(np.uint8) if masks else None,
        ),
        units="reflectance x 1e4",
        nodata=0,
        resolution_m=10,
        licence="CC0-1.0",
        provenance={"from": "the test", "settings": {"seed": 1}},
    )


@pytest.mark.parametrize("layout", ["tif", "zarr"])
@pytest.mark.parametrize("masks", [True, False])
def test_a_folder_gives_back_what_was_put_in(tmp_path: Path, layout: Layout, masks: bool) -> None:
    dataset = chips(masks=masks)
    write_folder(dataset, tmp_path / "set", layout=layout)
    found = open_folder(tmp_path / "set")
    for field in dataclasses.fields(Dataset):
        if field.name not in {"reader", "samples"}:
            assert getattr(found, field.name) == getattr(dataset, field.name)
    pd.testing.assert_frame_equal(found.samples, dataset.samples)
    for row in range(len(dataset)):
        np.testing.assert_array_equal(found.reader.image(row), dataset.reader.image(row))
        mask = found.reader.mask(row)
        if masks:
            assert mask is not None
            np.testing.assert_array_equal(mask, dataset.reader.mask(row))
        else:
            assert mask is None
    np.testing.assert_array_equal(found.subset([2])[0][0], dataset[2][0])


def test_chips_are_plain_geotiffs_with_names_units_and_place(tmp_path: Path) -> None:
    write_folder(chips(), tmp_path)
    with rasterio.open(tmp_path / "images" / "s1.tif") as image:
        assert image.descriptions == ("red", "nir")
        assert (image.nodata, image.tags()["units"]) == (0, "reflectance x 1e4")
        assert image.crs.to_epsg() == 32630
        assert image.transform == PLACE.affine
    with rasterio.open(tmp_path / "masks" / "s1.tif") as mask:
        assert mask.descriptions == ("_mine",)
        assert mask.nodata == 255
        assert mask.tags(1)["class_1"] == "mining"


@pytest.mark.parametrize("layout", ["tif", "zarr"])
def test_the_same_set_twice_is_the_same_bytes(tmp_path: Path, layout: Layout) -> None:
    for name in ("a", "b"):
        write_folder(chips(), tmp_path / name, layout=layout)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*") if p.is_file())
    assert all((tmp_path / "a" / p).read_bytes() == (tmp_path / "b" / p).read_bytes() for p in files)


class _Broken:
    """Reads two samples and then fails, as a disk does."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.left = dataset, 4

    def image(self, row: int) -> np.ndarray:
        self.left -= 1
        if self.left < 0:
            raise OSError("disk gone")
        return self.dataset.reader.image(row)

    def mask(self, row: int) -> np.ndarray | None:
        return self.dataset.reader.mask(row)


def test_a_copy_that_was_cut_short_is_no_dataset_and_is_continued(tmp_path: Path) -> None:
    dataset = chips()
    broken = dataclasses.replace(dataset, reader=_Broken(dataset))
    broken.reader.left = 3  # the first look, then two samples
    with pytest.raises(OSError, match="disk gone"):
        write_folder(broken, tmp_path / "set")
    with pytest.raises(UsageError, match="still being built"):
        open_folder(tmp_path / "set")
    with (tmp_path / "set" / "building.jsonl").open("a") as file:
        file.write('{"id": "s2')  # as a kill leaves it
    before = (tmp_path / "set" / "images" / "s0.tif").stat().st_mtime_ns
    found = write_folder(dataset, tmp_path / "set")
    assert len(found) == 3
    assert (tmp_path / "set" / "images" / "s0.tif").stat().st_mtime_ns == before
    np.testing.assert_array_equal(found[2][0], dataset[2][0])
    assert not (tmp_path / "set" / "building.jsonl").exists()


def test_other_content_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_text("dear")
    with pytest.raises(OutputMismatch, match="not empty"):
        write_folder(chips(), tmp_path / "mine")
    write_folder(chips(), tmp_path / "set")
    assert len(write_folder(chips(), tmp_path / "set")) == 3
    with pytest.raises(OutputMismatch, match="licence"):
        write_folder(dataclasses.replace(chips(), licence="none"), tmp_path / "set")
    with pytest.raises(OutputMismatch, match="other samples"):
        write_folder(chips(2), tmp_path / "set")


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "a b", "x" * 201])
def test_ids_that_cannot_name_files_are_refused(tmp_path: Path, name: str) -> None:
    dataset = chips()
    dataset.samples.loc[0, "id"] = name
    with pytest.raises(UsageError, match="id"):
        write_folder(dataset, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_arrays_that_are_not_what_the_folder_says_are_refused(tmp_path: Path) -> None:
    spec = FolderSpec(
        name="x", bands=("red",), classes=BINARY, units="1", nodata=0, resolution_m=10, licence="none",
        ancillary=("clear_count",),
    )  # fmt: skip
    writer = FolderWriter(tmp_path / "set", spec)
    image, mask = np.ones((2, 4, 4), np.uint16), np.zeros((4, 4), np.uint8)
    with pytest.raises(UsageError, match="bands"):
        writer.chips.put("a", 0, image[:1], mask)
    with pytest.raises(UsageError, match="lacks the mask"):
        writer.chips.put("a", 0, image)
    with pytest.raises(UsageError, match="size"):
        writer.chips.put("a", 0, image, mask[:2])
    writer.chips.put("a", 0, image * np.array([[[7]], [[3]]], np.uint16), mask)
    writer.record([{"id": "a"}])
    dataset = writer.finish(pd.DataFrame({"id": ["a"], "site": ["a"], "source": ["x"]}))
    assert dataset[0][0].shape == (1, 4, 4)
    assert (dataset.reader.ancillary(0, "clear_count") == 3).all()
    with pytest.raises(UsageError, match="clear_count"):
        dataset.reader.ancillary(0, "aot")
    assert json.loads((tmp_path / "set" / "dataset.json").read_text())["ancillary"] == ["clear_count"]


def test_chips_of_several_shapes_do_not_fit_into_one_array(tmp_path: Path) -> None:
    dataset = chips()

    class Ragged(ArrayReader):
        def image(self, row: int) -> np.ndarray:
            return self.images[row] if row < 2 else self.images[row][:, :3]

        def mask(self, row: int) -> np.ndarray:
            return self.masks[row] if row < 2 else self.masks[row][:3]

    ragged = dataclasses.replace(dataset, reader=Ragged(dataset.reader.images, dataset.reader.masks))
    with pytest.raises(UsageError, match="another shape"):
        write_folder(ragged, tmp_path / "zarr", layout="zarr")
    assert write_folder(ragged, tmp_path / "tif")[2][0].shape == (2, 3, 4)


def test_splits_are_kept_with_the_set(tmp_path: Path) -> None:
    write_folder(chips(), tmp_path)
    split = Split(parts={"s0": "train", "s1": "test"}, rule="site", settings={"seed": 3})
    write_split(tmp_path, "by-site", split)
    assert read_split(tmp_path, "by-site") == split
    with pytest.raises(UsageError, match="by-site"):
        read_split(tmp_path, "other")


def test_nan_as_nodata_survives(tmp_path: Path) -> None:
    dataset = chips(masks=False)
    floats = dataclasses.replace(
        dataset, nodata=float("nan"), reader=ArrayReader(dataset.reader.images.astype(np.float32))
    )
    found = write_folder(floats, tmp_path)
    assert found.nodata != found.nodata
    assert open_folder(tmp_path)[0][0].dtype == np.float32


def test_a_chip_that_cannot_be_written_is_told_the_same_by_a_worker(tmp_path: Path) -> None:
    """The error travels: one that does not survive pickling would look like a bug of the run."""
    import distributed  # noqa: F401  (makes pickles of errors carry what caused them)

    with pytest.raises(StoreError, match="cannot write") as caught:
        write_tif(tmp_path / "none" / "a.tif", np.ones((1, 4, 4), np.uint16), ["red"])
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), StoreError)  # noqa: S301
    (tmp_path / "broken.tif").write_bytes(b"no image")
    with pytest.raises(StoreError, match="cannot read") as caught:
        read_tif(tmp_path / "broken.tif")
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), StoreError)  # noqa: S301
    assert list(tmp_path.iterdir()) == [tmp_path / "broken.tif"]
