"""R108, R066, F08: bands at their native resolutions under the same ids, and by-products that a product has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from minescale.labels.imagery.bands import require_order
from minescale.labels.places.places import tile_area
from minescale.labels.sets.folder import open_folder
from minescale.synthetic import Region
from minescale.synthetic.rasters import write_cog
from tests.labels.extraction import catalogue, cut, inline, middle


@pytest.fixture(scope="module")
def richer(small_region: Region, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The region with B01 at 60 m, made from B02, and AOT at 10 m."""
    folder = tmp_path_factory.mktemp("richer")

    def add(item: dict[str, Any]) -> None:
        blue = item["assets"]["B02"]
        with rasterio.open(blue["href"]) as image:
            rows, cols = (n // 6 for n in image.shape)
            fine = image.read(1)[: rows * 6, : cols * 6].reshape(rows, 6, cols, 6)
            coarse = np.where((fine > 0).all(axis=(1, 3)), fine.mean(axis=(1, 3)), 0).astype(np.uint16)
            transform, crs = image.transform, image.crs.to_string()
            aerosol = np.where(image.read(1) > 0, 150, 0).astype(np.uint16)
        for key, pixels, size in (("B01", coarse, 60), ("AOT", aerosol, 10)):
            path = folder / item["id"] / f"{key}.tif"
            path.parent.mkdir(exist_ok=True)
            placed = transform * Affine.scale(size / 10)
            write_cog(path, pixels, crs=crs, transform=placed, block=256)
            item["assets"][key] = {
                **blue, "href": str(path), "proj:transform": list(placed)[:6], "proj:shape": list(pixels.shape),
            }  # fmt: skip
            item["assets"][key].pop("eo:bands", None)

    return str(catalogue(small_region, folder, add))


def test_r108_tiles_of_one_id_at_three_resolutions(small_region: Region, richer: str, tmp_path: Path) -> None:
    """R108: 7.68 km as 768 pixels of 10 m, 384 of 20 m and 128 of 60 m."""
    bands = ("blue", "red", "swir16", "coastal")
    config = inline(mask__dilate_m=0)
    report = cut(small_region, middle(small_region), tmp_path / "set", config, catalog=richer, bands=bands,
                 native=True, side_m=7680.0)  # fmt: skip
    assert report.finished
    sets = {size: open_folder(tmp_path / "set" / f"{size}m") for size in (10, 20, 60)}
    assert {size: (s.bands, s[0][0].shape[1:]) for size, s in sets.items()} == {
        10: (("blue", "red"), (768, 768)),
        20: (("swir16",), (384, 384)),
        60: (("coastal",), (128, 128)),
    }
    assert len({tuple(s.samples["id"]) for s in sets.values()}) == 1
    for size, found in sets.items():
        sample = found.samples.iloc[0]
        assert (sample["pixel_x"], sample["rows"], found.resolution_m) == (size, 7680 // size, size)
        with rasterio.open(tmp_path / "set" / f"{size}m" / "images" / "middle.tif") as image:
            bounds = image.bounds
            assert image.res == (size, size)
        assert bounds == pytest.approx((sample["left"], sample["top"] - 7680, sample["left"] + 7680, sample["top"]))
    corners = {(s.samples["left"].iloc[0], s.samples["top"].iloc[0]) for s in sets.values()}
    assert len(corners) == 1


def test_r108_tiles_of_an_area_with_its_edge_policy(small_region: Region, tmp_path: Path) -> None:
    """R108: what sticks out is skipped, or padded with nodata."""
    whole = {edge: tile_area(small_region.bbox, side_m=3840.0, pixel=60.0, edge=edge) for edge in ("skip", "pad")}
    assert len(whole["skip"]) == 4
    assert len(whole["pad"]) == 9
    cut(small_region, whole["skip"], tmp_path / "set", side_m=None)
    dataset = open_folder(tmp_path / "set")
    assert dataset.samples["id"].tolist() == ["r000_c000", "r000_c001", "r001_c000", "r001_c001"]
    assert all(dataset[row][0].shape == (3, 384, 384) for row in range(4))
    steps = np.unique(np.diff(np.unique(dataset.samples["left"])))
    assert steps.tolist() == [3840.0]


def test_r115_twelve_bands_keep_their_order_in_the_file(small_region: Region, richer: str, tmp_path: Path) -> None:
    """R115: 20 and 60 m bands refined with the cubic kernel; what a catalogue lacks is absent, the order stays."""
    cut(small_region, middle(small_region), tmp_path / "set", catalog=richer, bands=("STACK12",), resampling="cubic")
    dataset = open_folder(tmp_path / "set")
    assert dataset.bands == ("red", "green", "blue", "nir", "swir16", "swir22", "coastal")
    with rasterio.open(tmp_path / "set" / "images" / "middle.tif") as image:
        assert image.descriptions[:7] == dataset.bands
    image = dataset[0][0]
    assert image.shape == (7, 128, 128)
    np.testing.assert_array_equal(image[6] > 0, image[2] > 0)
    inner = np.s_[8:-8, 8:-8]
    assert np.corrcoef(image[6][inner].ravel(), image[2][inner].ravel())[0, 1] > 0.6, "coastal was made from blue"
    require_order(dataset.bands, dataset.bands, "set")


def test_f08_aerosol_is_read_as_it_is_and_is_no_feature(small_region: Region, richer: str, tmp_path: Path) -> None:
    """F08: the product's own number (x 0.001), beside the features."""
    cut(small_region, middle(small_region), tmp_path / "set", catalog=richer, bands=("red", "AOT"))
    dataset = open_folder(tmp_path / "set")
    assert dataset.bands == ("red",)
    aerosol = dataset.reader.ancillary(0, "aot")
    seen = dataset[0][0][0] > 0
    assert set(np.unique(aerosol[seen])) == {150}
    assert not aerosol[~seen].any()
