"""Pixel tables: R069 (table part), R072, R073, and predictors that are none (F07)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Point, box

from minescale.errors import UsageError
from minescale.labels.formats import pixel_table
from minescale.labels.formats.registry import open_dataset, validate, write_dataset
from minescale.labels.sets.classes import THREE_CLASS
from minescale.labels.sets.dataset import Dataset
from tests.labels.sets import assert_same, files_of, make, place_of, split_of
from tests.labels.test_object_formats import polygons_of

SIZE = 24


@pytest.fixture(scope="module")
def outlines() -> tuple[shapely.Geometry, ...]:
    """In pixels of the first sample: one with a hole inside it, one far outside every sample."""
    return (box(4, 4, 16, 18) - box(7, 7, 11, 12), box(70, -30, 80, -20))


@pytest.mark.parametrize("table", ["parquet", "csv"])
def test_r069_a_row_for_each_pixel_with_the_distance_to_the_nearest_edge(
    tmp_path: Path, outlines: tuple[shapely.Geometry, ...], table: str
) -> None:
    """Row, column, every band, and metres to the nearest edge, negative inside; equal to shapely to half a pixel."""
    dataset = make(3)
    write_dataset(dataset, tmp_path / "set", format="pixels", table=table, polygons=polygons_of(*outlines))
    path = tmp_path / "set" / f"pixels.{table}"
    pixels = pd.read_csv(path) if table == "csv" else pd.read_parquet(path)
    assert list(pixels.columns) == ["id", "row", "col", *dataset.bands, "distance_m", "label"]
    assert len(pixels) == 3 * SIZE * SIZE
    edges = [shapely.boundary(s) for s in outlines]
    for n in range(3):
        mine = pixels[pixels["id"] == f"s{n:03d}"]
        assert mine[["row", "col"]].to_numpy().tolist() == [[y, x] for y in range(SIZE) for x in range(SIZE)]
        np.testing.assert_array_equal(
            mine[list(dataset.bands)].to_numpy().T.reshape(4, SIZE, SIZE), dataset.reader.image(n)
        )
        np.testing.assert_array_equal(mine["label"].to_numpy().reshape(SIZE, SIZE), dataset.reader.mask(n))
        for row in (0, 5, 9, 23):
            for col in (0, 8, 13, 23):
                centre = Point(col + 0.5 + n * SIZE, row + 0.5)  # samples lie side by side
                expected = 10 * min(e.distance(centre) for e in edges)
                expected *= -1 if any(s.contains(centre) for s in outlines) else 1
                assert mine["distance_m"].iloc[row * SIZE + col] == pytest.approx(expected, abs=5), (n, row, col)
    # Without the polygon beyond the tile, pixels near the tile's upper right corner would be farther away.
    alone = pixel_table.sample_rows(dataset, 2, polygons_of(outlines[0]))[0]["distance_m"].to_numpy()
    assert (mine["distance_m"].to_numpy() <= alone + 1e-3).all()
    assert (mine["distance_m"].to_numpy() < alone - 5).any()


@pytest.mark.parametrize("table", ["parquet", "csv"])
@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(10, 13), st.sampled_from(["uint8", "uint16", "int16", "float32"]), st.booleans())
def test_tables_read_back_as_images(
    tmp_path_factory: pytest.TempPathFactory, table: str, n: int, size: int, dtype: str, placed: bool
) -> None:
    dataset = make(n, size=size, dtype=dtype, placed=placed, classes=THREE_CLASS, seed=n)
    root = tmp_path_factory.mktemp("pixels") / "set"
    opened = write_dataset(dataset, root, format="pixels", table=table)
    assert_same(opened, dataset)
    assert validate(root) == []


def test_r072_both_targets_and_a_buffer_round_the_edges(tmp_path: Path, outlines: tuple[shapely.Geometry, ...]) -> None:
    dataset = make(2, masked=False)
    polygons = polygons_of(*outlines)
    opened = write_dataset(dataset, tmp_path / "set", format="pixels", polygons=polygons, buffer_m=15)
    x, d = next(pixel_table.pixels_for(tmp_path / "set", opened.samples, features=dataset.bands, target="distance"))
    assert x.shape == (len(d), 4)
    assert x.dtype == d.dtype == np.float32
    assert np.abs(d).min() >= 15
    whole = pixel_table.sample_rows(dataset, 0, polygons)[0]["distance_m"].to_numpy()
    assert len(d) == (np.abs(whole) >= 15).sum() < whole.size
    _, y = next(pixel_table.pixels_for(tmp_path / "set", opened.samples, features=dataset.bands, target="label"))
    assert set(y) == {opened.samples["label"].iloc[0]}, "the sample's own label comes before the outlines"
    bare = Dataset(
        **{f: getattr(dataset, f) for f in dataset.__slots__} | {"samples": dataset.samples.drop(columns="label")}
    )
    inside = write_dataset(bare, tmp_path / "inside", format="pixels", polygons=polygons)
    _, y = next(pixel_table.pixels_for(tmp_path / "inside", inside.samples, features=["red"]))
    np.testing.assert_array_equal(y, whole < 0)
    with pytest.raises(UsageError, match="lacks columns"):
        next(pixel_table.pixels_for(tmp_path / "set", opened.samples, features=["swir16"]))


def test_r073_pixels_of_an_image_stay_together(tmp_path: Path) -> None:
    """The part belongs to the image: reading a part gives exactly the pixels of its images."""
    dataset = make(8)
    opened = write_dataset(dataset, tmp_path / "set", format="pixels", split=split_of(dataset))
    pixels = pd.read_parquet(tmp_path / "set" / "pixels.parquet")
    counted = 0
    for part in ("train", "val", "test"):
        chosen = opened.samples[opened.samples["split"] == part]
        got = list(pixel_table.pixels_for(tmp_path / "set", chosen, features=["red"]))
        assert len(got) == len(chosen) > 0
        for (x, _), name in zip(got, chosen["id"], strict=True):
            np.testing.assert_array_equal(x[:, 0], pixels["red"][pixels["id"] == name])
        counted += sum(len(x) for x, _ in got)
    assert counted == len(pixels)


def test_true_colour_copies_are_kept_but_are_no_features(tmp_path: Path) -> None:
    """F07, F08: the 8-bit true-colour bands and the aerosol product stay out of the predictors by default."""
    dataset = make(2, bands=("red", "green", "TCI_R", "TCLG", "AOT", "nir"))
    write_dataset(dataset, tmp_path / "set", format="pixels")
    options = json.loads((tmp_path / "set" / "minescale.json").read_text())["options"]
    assert options["features"] == ["red", "green", "nir"]
    assert {"TCI_R", "TCLG", "AOT"} <= set(pd.read_parquet(tmp_path / "set" / "pixels.parquet").columns)


def test_samples_are_streamed_one_row_group_each(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    write_dataset(make(5), tmp_path / "set", format="pixels")
    file = pq.ParquetFile(tmp_path / "set" / "pixels.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [SIZE * SIZE] * 5


@pytest.mark.parametrize("table", ["parquet", "csv"])
def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path, table: str) -> None:
    """Arrow holds no more of a long table while it is written than of a short one."""
    import pyarrow as pa

    def most_held(n: int) -> int:
        base, held = make(1, size=128), []

        class Watching:
            def image(self, row: int) -> np.ndarray:
                held.append(pa.total_allocated_bytes())
                return base.reader.image(0)

            def mask(self, row: int) -> np.ndarray | None:
                return base.reader.mask(0)

        samples = pd.concat([base.samples] * n, ignore_index=True).assign(id=[f"s{i}" for i in range(n)])
        many = Dataset(**{f: getattr(base, f) for f in base.__slots__} | {"samples": samples, "reader": Watching()})
        before = pa.total_allocated_bytes()
        write_dataset(many, tmp_path / f"{n}", format="pixels", table=table)
        return max(held) - before

    short, long = most_held(3), most_held(40)
    assert long < 2 * short + 1_000_000


@pytest.mark.parametrize("table", ["parquet", "csv"])
def test_the_same_set_gives_the_same_bytes(tmp_path: Path, table: str) -> None:
    for name in ("one", "two"):
        write_dataset(make(3), tmp_path / name, format="pixels", table=table)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_the_validator_finds_rows_that_are_not_where_they_should_be(tmp_path: Path) -> None:
    write_dataset(make(3), tmp_path / "set", format="pixels", table="csv")
    path = tmp_path / "set" / "pixels.csv"
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace(",0,0,", ",0,1,", 1)
    path.write_text("".join(lines))
    assert [(f.where, f.what) for f in validate(tmp_path / "set")] == [("s000", "pixels that are there twice")]
    path.write_text("".join([*lines[: SIZE * SIZE], *lines[SIZE * SIZE + 1 :]]))
    assert {f.where for f in validate(tmp_path / "set")} >= {"s000", "s001", "s002"}


def test_bad_requests_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="buffer"):
        write_dataset(make(2), tmp_path / "x", format="pixels", buffer_m=10)
    with pytest.raises(UsageError, match="lies nowhere"):
        write_dataset(make(2, placed=False), tmp_path / "x", format="pixels", polygons=polygons_of(box(1, 1, 9, 9)))
    with pytest.raises(UsageError, match="called like"):
        write_dataset(make(2, bands=("red", "row")), tmp_path / "x", format="pixels")
    with pytest.raises(UsageError, match="no such option"):
        write_dataset(make(2), tmp_path / "x", format="pixels", colour="red")
    assert list(tmp_path.iterdir()) == []
    write_dataset(make(2), tmp_path / "set", format="pixels")
    (tmp_path / "set" / "minescale.json").unlink()
    with pytest.raises(UsageError, match="without its description"):
        open_dataset(tmp_path / "set")
    assert place_of(0).shape == (SIZE, SIZE)
