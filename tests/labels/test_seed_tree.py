"""R100: the Sentinel-2 project's folders, written and read."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from PIL import Image
from shapely.geometry import box

from minescale.errors import UsageError
from minescale.labels.formats.registry import open_dataset, validate, write_dataset
from minescale.labels.sets.classes import THREE_CLASS
from minescale.labels.shapes.vectors import read_polygons
from tests.labels.sets import assert_same, files_of, make
from tests.labels.test_object_formats import polygons_of


def cells() -> gpd.GeoDataFrame:
    """Two cells as the grid makes them."""
    table = {
        "id": ["p", "n"], "lon": [9.0, 9.1], "lat": [45.0, 45.0], "side_m": 5500.0, "class": [1, 0],
        "pair_id": ["n", "p"], "zoom": 14, "overlap": [0.25, 0.0],
    }  # fmt: skip
    return gpd.GeoDataFrame(table, geometry=[box(8.97, 44.97, 9.03, 45.03), box(9.07, 44.97, 9.13, 45.03)], crs=4326)


def test_r100_the_projects_folders_are_written_and_read(tmp_path: Path) -> None:
    dataset = make(3, zoom=14, image_date="2019")
    outlines = polygons_of(box(2, 3, 9, 9))
    root = tmp_path / "set"
    opened = write_dataset(dataset, root, format="seedtree", polygons=outlines, cells=cells())
    assert {p.relative_to(root).as_posix() for p in (root / "Data").glob("*/*") if p.is_dir()} == {
        "Data/Input/maus", "Data/Input/Boxes", "Data/Output/Locations", "Data/Output/RAW", "Data/Output/RGB",
    }  # fmt: skip
    raw = sorted((root / "Data/Output/RAW/S2142019").iterdir())
    assert [p.name for p in raw] == ["s000.tif", "s001.tif", "s002.tif"]
    with rasterio.open(raw[1]) as image:
        assert image.descriptions == (*dataset.bands, "_mine")
        np.testing.assert_array_equal(image.read(5), dataset.reader.mask(1))
        np.testing.assert_array_equal(image.read()[:4], dataset.reader.image(1))
        assert image.crs.to_epsg() == 32632
        assert image.nodata is None, "0 of the binary band is a value"
    with Image.open(root / "Data/Output/RGB/s001.jpg") as picture:
        assert picture.size == (24, 24)
    assert len(gpd.read_file(root / "Data/Input/Boxes/boxes_z14_5500m.csv")) == 2
    assert len(gpd.read_parquet(root / "Data/Output/Locations/locations_z14_5500m.parquet")) == 2
    again = read_polygons(root / "Data/Input/maus/maus.shp")
    assert again.areas_km2() == pytest.approx(outlines.areas_km2(), rel=1e-9)
    assert validate(root) == []
    assert_same(opened, dataset)
    write_dataset(dataset, tmp_path / "again", format="seedtree", polygons=outlines, cells=cells())
    assert files_of(tmp_path / "again") == files_of(root)


def test_r100_folders_from_elsewhere_are_imported(tmp_path: Path) -> None:
    dataset = make(2, image_date="2019")
    root = tmp_path / "set"
    write_dataset(dataset, root, format="seedtree", series="S2142019")
    for name in ("minescale.json", "samples.parquet"):
        (root / name).unlink()
    bare = open_dataset(root)
    assert bare.bands == dataset.bands
    assert bare.samples["image_date"].tolist() == ["2019", "2019"]
    np.testing.assert_array_equal(bare.reader.image(1), dataset.reader.image(1))
    np.testing.assert_array_equal(bare.reader.mask(1), dataset.reader.mask(1))
    assert {f.where for f in validate(root)} == {"Data/Input/maus", "Data/Input/Boxes", "Data/Output/Locations"}
    with rasterio.open(root / "Data/Output/RAW/S2142019/s001.tif", "r+") as image:
        image.write(np.full((24, 24), 7, np.uint16), 5)
    assert any(f.severe and "no binary band" in f.what for f in validate(root))


def test_sets_that_are_not_binary_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="binary"):
        write_dataset(make(2, classes=THREE_CLASS), tmp_path / "x", format="seedtree")
    with pytest.raises(UsageError, match="binary"):
        write_dataset(make(2, masked=False), tmp_path / "x", format="seedtree")
    assert list(tmp_path.iterdir()) == []
