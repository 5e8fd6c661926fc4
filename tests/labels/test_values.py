"""The values that datasets are made of refuse what cannot be right, and survive being written down."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import Polygon, box

from minescale.errors import UsageError
from minescale.labels.sets.classes import ASGM, BINARY, THREE_CLASS, ClassMap
from minescale.labels.sets.dataset import ArrayReader, Dataset
from minescale.labels.sets.split import Split
from minescale.labels.shapes.polygons import Polygons, ReadReport


def small(n: int = 4, **columns: object) -> Dataset:
    table = {"id": [f"s{i}" for i in range(n)], "site": ["a", "a", "b", "b"][:n], "source": "here", **columns}
    images = np.arange(n * 2 * 3 * 3, dtype=np.uint16).reshape(n, 2, 3, 3)
    return Dataset(
        name="small",
        samples=pd.DataFrame(table),
        bands=("red", "nir"),
        classes=BINARY,
        reader=ArrayReader(images),
        units="reflectance x 1e4",
        nodata=0,
        resolution_m=10,
        licence="CC0-1.0",
    )


@pytest.mark.parametrize("classes", [BINARY, THREE_CLASS, ASGM])
def test_class_maps_survive_json(classes: ClassMap) -> None:
    assert ClassMap.from_dict(classes.to_dict()) == classes


def test_strange_label_values_are_named() -> None:
    BINARY.check(np.array([0, 1, 255]), "here")
    with pytest.raises(UsageError, match=r"\[7, 9\]"):
        BINARY.check(np.array([0, 7, 9]), "here")
    with pytest.raises(UsageError, match="255"):
        THREE_CLASS.check(np.array([0, 255]), "a label without an ignore value")


@pytest.mark.parametrize(
    ("names", "colours", "ignore"),
    [((), (), 255), (("a", "a"), (), 255), (("a", "b"), ("#000000",), 255), (("a", "b"), (), 1), (("a",), (), 256)],
)
def test_class_maps_that_cannot_be(names: tuple[str, ...], colours: tuple[str, ...], ignore: int) -> None:
    with pytest.raises(UsageError):
        ClassMap(names, colours, ignore)


def test_a_subset_reads_its_own_samples() -> None:
    dataset = small(label=[0, 1, 1, None])
    part = dataset.subset([2, 0]).subset([1])
    image, label = part[0]
    np.testing.assert_array_equal(image, dataset[0][0])
    assert label == 0
    assert part.samples["id"].tolist() == ["s0"]
    assert dataset[3][1] is None
    with pytest.raises(IndexError):
        part[1]


def test_masks_stand_before_labels_of_whole_samples() -> None:
    dataset = small(label=[0, 1, 1, 0])
    masks = np.ones((4, 3, 3), np.uint8)
    both = Dataset(
        **{f: getattr(dataset, f) for f in dataset.__slots__} | {"reader": ArrayReader(dataset.reader.images, masks)}
    )
    np.testing.assert_array_equal(both[0][1], masks[0])


def test_a_sample_is_its_own_parent_until_one_is_named() -> None:
    assert small().parents().tolist() == ["s0", "s1", "s2", "s3"]
    assert small(parent=[None, "s0", None, "s2"]).parents().tolist() == ["s0", "s0", "s2", "s2"]


def test_tables_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="repeat"):
        small(id=["a", "a", "b", "c"])
    with pytest.raises(UsageError, match="no samples"):
        small(0)
    table = small().samples
    with pytest.raises(UsageError, match="site"):
        Dataset(**{f: getattr(small(), f) for f in small().__slots__} | {"samples": table.drop(columns="site")})
    with pytest.raises(UsageError, match="numbered"):
        Dataset(**{f: getattr(small(), f) for f in small().__slots__} | {"samples": table.iloc[1:]})


def test_splits_survive_json_and_pick_rows() -> None:
    split = Split(parts={"s0": "train", "s3": "train", "s2": "test"}, rule="site", settings={"seed": 1})
    assert Split.from_json(split.to_json()) == split
    dataset = small()
    assert split.rows(dataset, "train").tolist() == [0, 3]
    assert split.of(dataset, "test").samples["id"].tolist() == ["s2"]
    with pytest.raises(UsageError, match="no samples"):
        split.of(dataset, "val")
    with pytest.raises(UsageError, match="holdout"):
        Split(parts={"s0": "holdout"}, rule="site")


def test_areas_are_geodesic_and_holes_come_off() -> None:
    ring = Polygon(box(0, 0, 1, 1).exterior, [box(0.25, 0.25, 0.75, 0.75).exterior])
    frame = gpd.GeoDataFrame({"name": ["x", "y"]}, geometry=[box(0, 0, 1, 1), ring], crs=4326)
    whole, holed = Polygons(frame=frame, source="here", report=ReadReport(2)).areas_km2()
    assert whole == pytest.approx(12308.78, rel=1e-5)  # one degree square at the equator on WGS 84
    assert holed == pytest.approx(whole * 0.75, rel=1e-4)
    with pytest.raises(UsageError, match="EPSG:4326"):
        Polygons(frame=frame.to_crs(3857), source="here", report=ReadReport(2))
    assert ReadReport(5, 1, {"empty": 2}).kept == 3
