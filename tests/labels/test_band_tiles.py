"""Per-band tile folders: R110, native pixel sizes (R108), the fixed order of twelve bands (R115)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.errors import UsageError
from minescale.kernels.resample import repeat
from minescale.labels.formats.band_tiles import ORDER
from minescale.labels.formats.registry import open_dataset, validate, write_dataset
from minescale.labels.sets.dataset import ArrayReader, Dataset
from minescale.sensors import SENTINEL2_L2A
from tests.labels.sets import assert_same, files_of, make, split_of


def twelve(n: int = 3, size: int = 24) -> Dataset:
    """All bands on 10 m pixels, coarser ones by repetition, as a nearest-neighbour read gives them."""
    base = make(n, bands=ORDER, size=size, sensor="sentinel-2-l2a")
    random = np.random.default_rng(1)
    bands = []
    for name in ORDER:
        f = int(SENTINEL2_L2A.resolution(name) // 10)
        bands.append(repeat(random.integers(1, 10_000, (n, size // f, size // f)).astype(np.uint16), f))
    masks = np.stack([base.reader.mask(row) for row in range(n)])
    reader = ArrayReader(np.stack(bands, axis=1), masks)
    return Dataset(**{f: getattr(base, f) for f in base.__slots__} | {"reader": reader})


def test_r110_a_folder_for_each_tile_and_a_table_of_splits(tmp_path: Path) -> None:
    dataset = make(8, sensor="sentinel-2-l2a")
    opened = write_dataset(dataset, tmp_path / "set", format="bandtiles", split=split_of(dataset))
    table = pd.read_csv(tmp_path / "set" / "dataset_splits.csv")
    assert list(table.columns) == ["split", "data_path", "mask_path"]
    assert table["split"].tolist() == [split_of(dataset).parts[i] for i in dataset.samples["id"]]
    for row, entry in table.iterrows():
        tile = tmp_path / "set" / entry["data_path"]
        assert sorted(p.name for p in tile.iterdir()) == ["B02.tif", "B03.tif", "B04.tif", "B08.tif", "mask.tif"]
        with rasterio.open(tile / "B08.tif") as image:
            assert image.crs.to_epsg() == 32632
            assert image.descriptions == ("nir",)
            np.testing.assert_array_equal(image.read(1), dataset.reader.image(row)[3])
        with rasterio.open(tmp_path / "set" / entry["mask_path"]) as image:
            np.testing.assert_array_equal(image.read(1), dataset.reader.mask(row))
    assert_same(opened, dataset)
    assert validate(tmp_path / "set") == []


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 3), st.sampled_from([12, 24]), st.sampled_from(["uint8", "uint16", "float32"]), st.booleans())
def test_r110_round_trip(tmp_path_factory: pytest.TempPathFactory, n: int, size: int, dtype: str, placed: bool) -> None:
    dataset = make(n, size=size, dtype=dtype, placed=placed)
    assert_same(write_dataset(dataset, tmp_path_factory.mktemp("t") / "set", format="bandtiles"), dataset)


def test_r110_native_pixel_sizes_round_trip(tmp_path: Path) -> None:
    """10, 20 and 60 m files of one tile; by repetition the very same pixels come back, file by file and as a set."""
    dataset = twelve()
    opened = write_dataset(dataset, tmp_path / "set", format="bandtiles", native=True, resampling="nearest")
    sizes = {}
    for path in (tmp_path / "set" / "tiles" / "s001").glob("B*.tif"):
        with rasterio.open(path) as image:
            sizes[path.stem] = (image.width, image.res[0])
            assert (image.bounds.left, image.bounds.top) == (500_240, 5_000_000)
    assert sizes["B02"] == (24, 10)
    assert sizes["B8A"] == (12, 20)
    assert sizes["B09"] == (4, 60)
    assert_same(opened, dataset)
    assert validate(tmp_path / "set") == []
    again = write_dataset(opened, tmp_path / "again", format="bandtiles", native=True, resampling="nearest")
    assert_same(again, dataset)
    one, two = (files_of(tmp_path / name / "tiles") for name in ("set", "again"))
    assert one == two


def test_coarser_bands_are_read_by_cubic_convolution_unless_told(tmp_path: Path) -> None:
    dataset = twelve(1)
    opened = write_dataset(dataset, tmp_path / "set", format="bandtiles", native=True)
    image = opened.reader.image(0)
    assert image.shape == (12, 24, 24)
    np.testing.assert_array_equal(image[:4], dataset.reader.image(0)[:4])
    assert (image[4:] != dataset.reader.image(0)[4:]).any()
    with rasterio.open(tmp_path / "set" / "tiles" / "s000" / "B11.tif") as source:
        expected = source.read(1, out_shape=(24, 24), resampling=rasterio.enums.Resampling.cubic)
    np.testing.assert_array_equal(image[ORDER.index("swir16")], expected)


def test_r115_the_fixed_order_is_kept_and_restored(tmp_path: Path) -> None:
    files = ["B04", "B03", "B02", "B08", "B05", "B06", "B07", "B8A", "B11", "B12", "B01", "B09"]
    assert [SENTINEL2_L2A.band(name).assets[0] for name in ORDER] == files
    write_dataset(twelve(2), tmp_path / "set", format="bandtiles")
    for name in ("minescale.json", "samples.parquet"):
        (tmp_path / "set" / name).unlink()
    bare = open_dataset(tmp_path / "set")
    assert bare.bands == ORDER
    np.testing.assert_array_equal(bare.reader.image(1), twelve(2).reader.image(1))
    assert bare.samples["left"].tolist() == [500_000, 500_240]


def test_r110_the_seeds_own_folders_are_read_by_their_table(tmp_path: Path) -> None:
    """Images in ``image-grid-location``, masks in ``masks``, parts called ``validation``: the table says where."""
    write_dataset(twelve(2), tmp_path / "set", format="bandtiles")
    root = tmp_path / "theirs"
    (root / "masks").mkdir(parents=True)
    for i in range(2):
        shutil.copytree(tmp_path / "set" / "tiles" / f"s00{i}", root / f"image-grid-{i}")
        shutil.move(root / f"image-grid-{i}" / "mask.tif", root / "masks" / f"mask{i}.tif")
    lines = [
        "split,data_path,mask_path",
        "train,image-grid-0,masks/mask0.tif",
        "validation,image-grid-1,masks/mask1.tif",
    ]
    (root / "dataset_splits.csv").write_text("\n".join(lines) + "\n")
    opened = open_dataset(root)
    assert opened.samples["split"].tolist() == ["train", "val"]
    np.testing.assert_array_equal(opened.reader.image(1), twelve(2).reader.image(1))
    np.testing.assert_array_equal(opened.reader.mask(1), twelve(2).reader.mask(1))


def test_other_sensors_files_have_common_names(tmp_path: Path) -> None:
    """Landsat's blue is no B02: without word that a set is Sentinel-2's, files are called by common names."""
    for name, dataset in (("a", make(1, sensor="landsat-c2-l2")), ("b", make(1))):
        write_dataset(dataset, tmp_path / name, format="bandtiles")
        stems = {p.stem for p in (tmp_path / name / "tiles" / "s000").iterdir()}
        assert stems == {"red", "green", "blue", "nir", "mask"}


def test_the_validator_names_broken_tiles(tmp_path: Path) -> None:
    write_dataset(make(4), tmp_path / "set", format="bandtiles")
    tiles = tmp_path / "set" / "tiles"
    (tiles / "s001" / "red.tif").unlink()
    (tiles / "s002" / "mask.tif").unlink()
    shutil.copy(tiles / "s000" / "red.tif", tiles / "s003" / "mask.tif")
    found = {f.where: f.what for f in validate(tmp_path / "set")}
    assert "red.tif" in found["tiles/s001"]
    assert "mask.tif" in found["tiles/s002"]
    assert "no class" in found["tiles/s003"]


def test_sets_that_do_not_divide_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="blocks"):
        write_dataset(make(1, bands=("red", "nir09"), size=20), tmp_path / "x", format="bandtiles", native=True)
    with pytest.raises(UsageError, match="own pixel size"):
        write_dataset(make(1, dtype="float32"), tmp_path / "x", format="bandtiles", native=True)
    assert list(tmp_path.iterdir()) == []
