"""All formats by one set of verbs, and the STAC documents beside each set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.errors import StoreError, UsageError
from minescale.labels.formats.registry import NAMES, open_dataset, open_split, recognise, validate, write_dataset
from minescale.labels.sets.dataset import ArrayReader, Dataset
from minescale.labels.sets.folder_layout import write_split
from tests.labels.sets import assert_same, files_of, make, split_of

EXACT = ("folder", "zarr", "gmd", "pixels", "bandtiles", "seedtree")
"""Formats that lose nothing."""


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return make(8)


@pytest.fixture(scope="module")
def written(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sets")
    for name in NAMES:
        write_dataset(dataset, root / name, format=name, split=split_of(dataset))
    return {name: root / name for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_format_is_recognised_and_sound(written: dict[str, Path], name: str) -> None:
    assert recognise(written[name]) == ("folder" if name == "zarr" else name)
    # Without polygons and cells the project's folders for them are empty, which is noted.
    assert [f for f in validate(written[name]) if f.severe or name != "seedtree"] == []
    assert len(open_dataset(written[name])) == 8


@pytest.mark.parametrize("name", EXACT)
def test_what_loses_nothing_reads_back_equal(written: dict[str, Path], dataset: Dataset, name: str) -> None:
    assert_same(open_dataset(written[name]), dataset)


@pytest.mark.parametrize("name", NAMES)
def test_r090_the_same_split_travels_with_every_set(written: dict[str, Path], dataset: Dataset, name: str) -> None:
    """R090: detectors train on the very split that pixel models do, image-wise (R073)."""
    assert open_split(written[name]) == split_of(dataset)
    if name not in ("folder", "zarr"):
        opened = open_dataset(written[name])
        assert dict(zip(opened.samples["id"], opened.samples["split"], strict=True)) == split_of(dataset).parts


@pytest.mark.parametrize("name", ["folder", "zarr", "gmd", "pixels", "bandtiles"])
@settings(max_examples=8, deadline=None)
@given(
    n=st.integers(1, 4),
    bands=st.integers(3, 5),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    nodata=st.sampled_from([None, 0, 7]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_set_survives_formats_that_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    name: str, n: int, bands: int, size: tuple[int, int], dtype: str, nodata: int | None, seed: int,
) -> None:  # fmt: skip
    """Any size from one pixel on, any type, any mask with ignored pixels."""
    base, random = make(n, nodata=nodata), np.random.default_rng(seed)
    names = ("red", "green", "blue", "nir", "swir16")[:bands]
    images = random.integers(0, 200, (n, bands, *size)).astype(dtype)
    reader = ArrayReader(images, random.choice(np.array([0, 1, 255], np.uint8), (n, *size)))
    dataset = Dataset(**{f: getattr(base, f) for f in base.__slots__} | {"bands": names, "reader": reader})
    root = tmp_path_factory.mktemp("any") / "set"
    assert_same(write_dataset(dataset, root, format=name, split=split_of(dataset)), dataset)
    assert validate(root) == []


def assert_all_files_are_there(root: Path) -> None:
    """Every asset of every STAC item exists."""
    for path in (root / "items").glob("*.json"):
        for asset in json.loads(path.read_text())["assets"].values():
            assert (path.parent / asset["href"]).exists(), asset["href"]


@pytest.mark.parametrize("first", EXACT)
@pytest.mark.parametrize("second", NAMES)
def test_any_exact_format_becomes_any_other(
    written: dict[str, Path], dataset: Dataset, tmp_path: Path, first: str, second: str
) -> None:
    """What one layout knows of its files does not leak into the next."""
    opened = write_dataset(open_dataset(written[first]), tmp_path / "x", format=second, split=split_of(dataset))
    if second in EXACT:
        assert_same(opened, dataset)
    assert len(opened) == 8
    assert opened[3][0].shape[1:] == (24, 24)
    assert [f for f in validate(tmp_path / "x") if f.severe] == []
    assert_all_files_are_there(tmp_path / "x")


@pytest.mark.parametrize("name", NAMES)
def test_a_writer_that_fails_leaves_nothing(tmp_path: Path, name: str) -> None:
    class Failing:
        def image(self, row: int) -> np.ndarray:
            if row == 5:
                raise OSError("disk on fire")
            return good.reader.image(row)

        def mask(self, row: int) -> np.ndarray | None:
            return good.reader.mask(row)

    good = make(8)
    broken = Dataset(**{f: getattr(good, f) for f in good.__slots__} | {"reader": Failing()})
    with pytest.raises((OSError, StoreError), match="fire"):
        write_dataset(broken, tmp_path / "set", format=name, split=split_of(good))
    assert list(tmp_path.iterdir()) == []


def test_sets_are_replaced_only_when_told_and_only_where_they_are_sets(dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(dataset.subset([0, 1]), tmp_path / "set", format="pixels")
    with pytest.raises(UsageError, match="exists"):
        write_dataset(dataset, tmp_path / "set", format="folder")
    write_dataset(dataset, tmp_path / "set", format="folder", overwrite=True)
    assert len(open_dataset(tmp_path / "set")) == 8
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_what_is_no_dataset_is_listed(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    (tmp_path / "songs").mkdir()
    with pytest.raises(UsageError, match=r"holiday.jpg, songs/"):
        open_dataset(tmp_path)
    with pytest.raises(UsageError, match="no dataset there"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(UsageError, match="unknown format"):
        write_dataset(make(2), tmp_path / "x", format="tfrecord")


def test_a_set_that_is_still_being_built_says_so(tmp_path: Path) -> None:
    (tmp_path / "building.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="still being built"):
        open_dataset(tmp_path)


def test_several_splits_are_no_split(written: dict[str, Path], dataset: Dataset, tmp_path: Path) -> None:
    """Which of them a reader wants is his choice, and no default's."""
    copy = Path(shutil.copytree(written["folder"], tmp_path / "copy"))
    write_split(copy, "another", split_of(dataset))
    assert open_split(copy) is None


def test_a_broken_description_is_an_error_that_says_so(written: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(written["yolo"], tmp_path / "copy"))
    (copy / "minescale.json").write_text("{")
    with pytest.raises(StoreError, match=r"minescale\.json"):
        open_dataset(copy)


@pytest.mark.parametrize("name", NAMES)
def test_stac_reaches_every_file_by_relative_links_after_a_move(
    written: dict[str, Path], tmp_path: Path, name: str
) -> None:
    moved = Path(shutil.copytree(written[name], tmp_path / "moved"))
    collection = pystac.Collection.from_file(str(moved / "collection.json"))
    items = list(collection.get_items())
    assert len(items) == 8
    for item in items:
        assert item.get_collection() is not None
        for asset in item.assets.values():
            href = asset.get_absolute_href()
            assert href is not None
            assert Path(href).exists(), href
            assert asset.extra_fields["ml-aoi:role"] in ("feature", "label")
        assert item.properties["ml-aoi:split"] in ("train", "validate", "test")
        assert item.geometry is not None
        assert item.geometry["type"] == "Polygon"
    assert collection.summaries.lists["ml-aoi:split"] == ["test", "train", "validate"]
    assert str(tmp_path) not in "".join(p.read_text() for p in moved.glob("**/*.json"))
    west, south, east, north = collection.extent.spatial.bboxes[0]
    assert west == pytest.approx(9.0, abs=1e-4)
    assert north == pytest.approx(45.15, abs=0.05)
    assert (east - west) * 111_320 * np.cos(np.radians(north)) == pytest.approx(8 * 240, rel=0.01)
    assert north > south


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:``LocalValidator``:DeprecationWarning")
def test_stac_documents_hold_to_the_core_schema(written: dict[str, Path], name: str) -> None:
    pytest.importorskip("jsonschema")
    from pystac.validation.local_validator import LocalValidator

    local = LocalValidator()
    for path in (written[name] / "collection.json", *(written[name] / "items").glob("*.json")):
        values = json.loads(path.read_text())
        validator = local.collection_validator if values["type"] == "Collection" else local.item_validator
        assert [error.message for error in validator("1.1.0").iter_errors(values)] == [], path.name


def test_stac_items_hold_to_the_rules_of_both_extensions(written: dict[str, Path]) -> None:
    """The extensions' schemas are on the internet; these are the rules that label 1.0.1 and ml-aoi 0.2.0 state."""
    for path in (written["gmd"] / "items").glob("*.json"):
        facts: dict[str, Any] = json.loads(path.read_text())["properties"]
        assert facts["label:type"] == "raster"
        assert facts["label:properties"] is None  # of rasters
        assert facts["label:description"]
        assert facts["label:classes"] == [{"name": None, "classes": ["background", "mining"]}]
        assert facts["label:tasks"] == ["segmentation"]
    tasks = {"folders": ["classification"], "yolo": ["detection"], "coco": ["detection", "segmentation"]}
    for name, expected in tasks.items():
        item = json.loads((written[name] / "items" / "s001.json").read_text())
        assert item["properties"]["label:tasks"] == expected, name
    urls = json.loads((written["gmd"] / "collection.json").read_text())["stac_extensions"]
    assert [u.split("/")[-3:-1] for u in urls] == [["label", "v1.0.1"], ["ml-aoi", "v0.2.0"]]


def test_samples_without_place_or_date_are_described_as_such(tmp_path: Path) -> None:
    bare = make(
        3,
        placed=False,
        masked=False,
        image_date=[None, "2019", "2019-02-01/2019-05-31"],
        lon=[None, 9.0, None],
        lat=[None, 45.0, None],
    )
    write_dataset(bare, tmp_path / "set", format="folders")
    items = [json.loads((tmp_path / "set" / "items" / f"s00{i}.json").read_text()) for i in range(3)]
    assert [None if i["geometry"] is None else i["geometry"]["type"] for i in items] == [None, "Point", None]
    assert items[0]["properties"]["minescale:date"] == "not known"
    assert items[1]["properties"]["end_datetime"] == "2019-12-31T23:59:59Z"
    collection = json.loads((tmp_path / "set" / "collection.json").read_text())
    assert collection["extent"]["temporal"]["interval"] == [["2019-01-01T00:00:00Z", "2019-12-31T23:59:59Z"]]
    assert collection["extent"]["spatial"]["bbox"] == [[9.0, 45.0, 9.0, 45.0]]
    assert pystac.Collection.from_file(str(tmp_path / "set" / "collection.json")).license == "CC0-1.0"


@pytest.mark.parametrize("name", NAMES)
def test_writing_twice_gives_the_same_bytes(
    written: dict[str, Path], dataset: Dataset, tmp_path: Path, name: str
) -> None:
    write_dataset(dataset, tmp_path / "again", format=name, split=split_of(dataset))
    assert files_of(tmp_path / "again") == files_of(written[name])
