"""YOLO and COCO: R088 and R089, boxes and polygons there and back, the edge of a tile, negatives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from shapely.geometry import MultiPolygon, Polygon, box

from minescale.errors import UsageError
from minescale.labels.formats import coco, yolo
from minescale.labels.formats.registry import open_dataset, validate, write_dataset
from minescale.labels.rasters.objects import Object, clip, fill, objects_of_mask, objects_of_shapes, ring_of
from minescale.labels.sets.classes import BINARY, THREE_CLASS
from minescale.labels.sets.dataset import Dataset
from minescale.labels.shapes.polygons import Polygons, ReadReport
from tests.labels.sets import files_of, make, place_of, split_of


def polygons_of(*shapes: Polygon | MultiPolygon) -> Polygons:
    """Polygons whose coordinates are pixels of ``place_of(0)``."""
    affine = place_of(0).affine
    grid = [shapely.transform(s, lambda xy: np.column_stack(affine * (xy[:, 0], xy[:, 1]))) for s in shapes]
    frame = gpd.GeoDataFrame({"name": [""] * len(grid)}, geometry=grid, crs="EPSG:32632").to_crs(4326)
    return Polygons(frame=frame, source="drawn", report=ReadReport(len(grid)))


@st.composite
def masks(draw: st.DrawFn) -> NDArray[np.uint8]:
    """Any mask of classes 0, 1, 2: noise of any density, so with holes, islands in holes and corners that touch."""
    shape = draw(st.tuples(st.integers(1, 25), st.integers(1, 25)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    some = random.random(shape) < draw(st.floats(0, 1))
    return (some * random.integers(1, 3, shape)).astype(np.uint8)


@settings(max_examples=80, deadline=None)
@given(masks())
def test_masks_survive_polygons(mask: NDArray[np.uint8]) -> None:
    things = objects_of_mask(mask, [1, 2])
    assert sum(thing.area for thing in things) == (mask > 0).sum()
    again = fill([ring_of(t.shape) for t in things], [t.value for t in things], mask.shape)
    np.testing.assert_array_equal(again, mask)


@settings(max_examples=60, deadline=None)
@given(masks())
def test_r088_boxes_and_segments_survive_their_lines(
    tmp_path_factory: pytest.TempPathFactory, mask: NDArray[np.uint8]
) -> None:
    """Polygon to box and back gives the polygon's bounds; polygon to segment and back gives its mask."""
    height, width = mask.shape
    path = tmp_path_factory.getbasetemp() / "labels.txt"
    things = objects_of_mask(mask, [1, 2])
    for task in yolo.TASKS:
        path.write_text("\n".join(yolo.line_of(t, height, width, task) for t in things))
        found = yolo.read_labels(path, height, width)
        assert [f.value for f in found] == [t.value for t in things]
        for f, t in zip(found, things, strict=True):
            np.testing.assert_allclose(f.box, t.box, atol=1e-4)
    again = fill([ring_of(f.shape) for f in found], [f.value for f in found], mask.shape)
    np.testing.assert_array_equal(again, mask)


def test_r088_numbers_are_the_formats_own() -> None:
    thing = Object(1, box(10, 20, 30, 60))
    assert yolo.line_of(thing, 100, 200, "detect") == "0 0.100000 0.400000 0.100000 0.400000"
    assert yolo.line_of(thing, 100, 200, "segment").startswith("0 ")
    note = coco.annotation(thing, 7, 3)
    assert note["bbox"] == [10, 20, 20, 40]
    assert (note["area"], note["iscrowd"], note["category_id"], note["image_id"], note["id"]) == (800, 0, 1, 3, 7)
    assert len(note["segmentation"][0]) == 8


def test_r088_objects_end_at_the_tiles_edge_and_slivers_are_left_out() -> None:
    """Clipped at the edge; less than the least visible share drops it, that share itself does not."""
    options = {"min_area_px": 1.0}
    kept, left_out = clip(box(-9, 0, 1, 10), 24, 24, min_visible=0.1, **options)
    assert ([p.bounds for p in kept], left_out) == ([(0, 0, 1, 10)], False)
    assert clip(box(-9, 0, 0.99, 10), 24, 24, min_visible=0.1, **options) == ([], True)
    assert clip(box(-9, 0, -1, 10), 24, 24, min_visible=0.1, **options) == ([], False)
    assert clip(box(0, 0, 0.5, 0.5), 24, 24, min_visible=0.1, **options) == ([], True)
    horseshoe = box(-10, 0, 5, 20) - box(-5, 5, 10, 15)  # the edge cuts it into two pieces
    pieces, _ = clip(horseshoe, 24, 24, min_visible=0.1, **options)
    assert sorted(p.bounds for p in pieces) == [(0, 0, 5, 5), (0, 15, 5, 20)]
    with pytest.raises(UsageError, match="share"):
        clip(box(0, 0, 1, 1), 24, 24, min_visible=10, **options)


def test_r088_outlines_on_the_ground_become_objects_of_the_tile() -> None:
    inside, over, sliver, far = box(2, 3, 8, 9), box(20, 10, 28, 14), box(-30, 0, 2, 9), box(100, 100, 120, 120)
    found, left_out = objects_of_shapes({1: polygons_of(inside, over, sliver, far)}, place_of(0))
    assert left_out == 1
    np.testing.assert_allclose(sorted(o.box for o in found), [(2, 3, 8, 9), (20, 10, 24, 14)], atol=1e-3)


@pytest.mark.parametrize("form", ["yolo", "coco"])
def test_sets_of_segments_read_back_the_same_masks(tmp_path: Path, form: str) -> None:
    dataset = make(8, classes=THREE_CLASS)
    options = {"task": "segment"} if form == "yolo" else {}
    opened = write_dataset(dataset, tmp_path / "set", format=form, split=split_of(dataset), **options)
    assert validate(tmp_path / "set") == []
    assert opened.classes.names == ("background", "cloud", "mining")
    for row, name in enumerate(opened.samples["id"]):
        source = dataset.samples["id"].tolist().index(name)
        np.testing.assert_array_equal(opened.reader.mask(row), dataset.reader.mask(source))
    assert opened.samples["split"].tolist() == [split_of(dataset).parts[i] for i in opened.samples["id"]]
    for name in ("minescale.json", "samples.parquet"):
        (tmp_path / "set" / name).unlink()
    bare = open_dataset(tmp_path / "set")
    assert len(bare) == 8
    assert bare.classes.names == ("background", "cloud", "mining")
    rows = {Path(f).stem: i for i, f in enumerate(bare.samples["file"])}
    np.testing.assert_array_equal(bare.reader.mask(rows["s003"]), dataset.reader.mask(3))


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("yolo") / "set"
    dataset = make(8)
    write_dataset(dataset, root, format="yolo", split=split_of(dataset))
    return root


def test_r089_layout_and_negatives(boxes: Path) -> None:
    """Folders by part, ``data.yaml``, an empty label file for a picture without a mine."""
    data = yaml.safe_load((boxes / "data.yaml").read_text())
    assert data == {
        "train": "images/train", "val": "images/val", "test": "images/test", "nc": 1, "names": {0: "mining"},
    }  # fmt: skip
    for part in ("train", "val", "test"):
        stems = {p.stem for p in (boxes / data[part]).iterdir()}
        assert stems
        assert stems == {p.stem for p in (boxes / "labels" / part).iterdir()}
    assert (boxes / "labels" / "train" / "s000.txt").read_text() == ""
    assert validate(boxes) == []
    opened = open_dataset(boxes)
    assert opened.samples["label"].tolist() == [int(i != "s000") for i in opened.samples["id"]]
    assert opened[0][1] in (0, 1)


def test_r089_the_validator_finds_what_is_wrong(boxes: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(boxes, tmp_path / "copy"))
    (copy / "labels" / "train" / "s001.txt").unlink()
    (copy / "labels" / "val" / "none.txt").write_text("")
    (copy / "labels" / "train" / "s004.txt").write_text("4 0.5 0.5 0.1 0.1\n")
    (copy / "labels" / "train" / "s005.txt").write_text("0 0.5 0.5 1.1 0.1\n")
    (copy / "labels" / "val" / "s002.txt").write_text("0 0.5 0.5 x 0.1\n")
    (copy / "labels" / "train" / "s000.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    text = "\n".join(map(str, validate(copy)))
    for words in (
        "s001.txt: missing",
        "none.txt: has no picture",
        "classes [4]",
        "leaves the picture",
        "more than numbers",
    ):
        assert words in text, words
    assert "no negatives" in text


def test_outlines_replace_masks_where_they_are_given(tmp_path: Path) -> None:
    dataset = make(4, masked=False)
    outlines = {"mining": polygons_of(box(2, 3, 8, 9), box(20, 10, 30, 14))}  # the second reaches into the next tile
    with pytest.raises(UsageError, match="outlines"):
        write_dataset(dataset, tmp_path / "set", format="yolo", split=split_of(dataset))
    opened = write_dataset(dataset, tmp_path / "set", format="yolo", split=split_of(dataset), polygons=outlines)
    assert dict(zip(opened.samples["id"], opened.samples["objects"], strict=True)) == {
        "s000": 2,
        "s001": 1,
        "s002": 0,
        "s003": 0,
    }
    nowhere = make(4, placed=False)
    with pytest.raises(UsageError, match="lies nowhere"):
        write_dataset(nowhere, tmp_path / "x", format="yolo", split=split_of(nowhere), polygons=outlines)
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_coco_numbers_hold_for_another_reader(tmp_path: Path) -> None:
    """Pillow draws the polygons: areas, boxes and ids are those of the masks."""
    dataset = make(8, size=40)
    write_dataset(dataset, tmp_path / "set", format="coco", split=split_of(dataset))
    seen: list[int] = []
    for part in ("train", "val", "test"):
        values = json.loads((tmp_path / "set" / "annotations" / f"instances_{part}.json").read_text())
        assert values["licenses"] == [{"id": 1, "name": "CC0-1.0", "url": ""}]
        assert values["categories"] == [{"id": 1, "name": "mining", "supercategory": "land"}]
        for image in values["images"]:
            row = int(image["file_name"][1:4])
            mask = dataset.reader.mask(row)
            assert mask is not None
            notes = [n for n in values["annotations"] if n["image_id"] == image["id"]]
            seen += [n["id"] for n in notes]
            assert sum(n["area"] for n in notes) == (mask == 1).sum()
            with Image.open(tmp_path / "set" / "images" / part / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"]) == (40, 40)
            canvas = Image.new("1", (400, 400))  # ten times as fine: Pillow draws the outline as well
            for n in notes:
                assert n["iscrowd"] == 0
                x, y, w, h = n["bbox"]
                assert w * h >= n["area"]
                ImageDraw.Draw(canvas).rectangle([10 * x, 10 * y, 10 * (x + w) - 1, 10 * (y + h) - 1], fill=1)
            boxed = np.asarray(canvas)[5::10, 5::10]
            assert not ((mask == 1) & ~boxed).any()
    assert seen == list(range(1, len(seen) + 1))


def test_coco_validator(tmp_path: Path) -> None:
    dataset = make(4)
    write_dataset(dataset, tmp_path / "set", format="coco", split=split_of(dataset))
    path = tmp_path / "set" / "annotations" / "instances_train.json"
    values = json.loads(path.read_text())
    values["annotations"][0]["bbox"][2] += 3
    values["annotations"].append(values["annotations"][0] | {"image_id": 99})
    values["images"][0]["file_name"] = "gone.png"
    path.write_text(json.dumps(values))
    text = "\n".join(map(str, validate(tmp_path / "set")))
    for words in ("not that of its polygon", "repeats", "not there", "gone.png is missing"):
        assert words in text, words
    with pytest.raises(UsageError, match="not there"):
        open_dataset(tmp_path / "set")
    del values["annotations"][0]["area"]
    path.write_text(json.dumps(values))
    assert "entry 0 of annotations lacks area" in "\n".join(map(str, validate(tmp_path / "set")))


def test_pictures_are_stretched_alike_and_8_bit_ones_not_at_all(tmp_path: Path) -> None:
    dataset = make(8)
    opened = write_dataset(dataset, tmp_path / "set", format="yolo", split=split_of(dataset))
    assert opened.bands == ("red", "green", "blue")
    stretch = json.loads((tmp_path / "set" / "minescale.json").read_text())["options"]["stretch"]
    row = opened.samples["id"].tolist().index("s003")
    image = dataset.reader.image(3)[0].astype(float)
    expected = np.clip((image - stretch["low"][0]) / (stretch["high"][0] - stretch["low"][0]), 0, 1) * 255
    expected[0, 0] = 128  # not seen
    assert np.abs(opened.reader.image(row)[0] - expected).max() <= 1
    plain = make(8, bands=("red", "green", "blue"), dtype="uint8", nodata=None)
    kept = write_dataset(plain, tmp_path / "plain", format="yolo", split=split_of(plain))
    row = kept.samples["id"].tolist().index("s003")
    np.testing.assert_array_equal(kept.reader.image(row), plain.reader.image(3))
    assert kept.units == plain.units


@pytest.mark.parametrize("form", ["yolo", "coco"])
def test_the_same_set_gives_the_same_bytes(tmp_path: Path, form: str) -> None:
    dataset: Dataset = make(6, classes=BINARY)
    for name in ("one", "two"):
        write_dataset(dataset, tmp_path / name, format=form, split=split_of(dataset))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
