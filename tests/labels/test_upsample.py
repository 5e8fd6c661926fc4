"""R067: coarser bands reach the finer grid by a declared kernel, and nodata does not bleed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from minescale.labels.rasters.upsample import coarse_grid, onto
from minescale.labels.sets.folder import open_folder
from minescale.synthetic import Region
from tests.labels.extraction import cut, middle

COARSE = GeoBox((20, 20), Affine(20, 0, 500_000, 0, -20, 700_000), "EPSG:32630")
FINE = GeoBox((32, 32), Affine(10, 0, 500_040, 0, -10, 699_960), "EPSG:32630")


def smooth() -> np.ndarray:
    y, x = np.mgrid[:20, :20]
    return (3000 + 900 * np.sin(y / 3) + 700 * np.cos(x / 4)).astype(np.uint16)


def cubic(t: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.5 (Keys 1981), which GDAL's cubic is."""
    t = np.abs(t)
    return np.where(t <= 1, 1.5 * t**3 - 2.5 * t**2 + 1, np.where(t < 2, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2, 0))


@pytest.mark.parametrize("kernel", ["bilinear", "cubic"])
def test_r067_the_kernel_is_the_declared_one(kernel: str) -> None:
    """R067: worked out from the kernel's formula, pixel middle to pixel middle."""
    weight = cubic if kernel == "cubic" else (lambda t: np.maximum(1 - np.abs(t), 0))
    middles = (np.arange(32) + 0.5) / 2 + 2 - 0.5
    matrix = weight(middles[:, None] - np.arange(20)[None])
    wanted = np.clip(matrix @ smooth().astype(float) @ matrix.T, smooth().min(), smooth().max())
    assert np.abs(onto(smooth(), COARSE, FINE, kernel) - wanted).max() <= 1.0


@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "cubic"])
def test_r067_nodata_does_not_bleed(kernel: str) -> None:
    """R067: unseen stays unseen and no larger, and seen neighbours do not darken."""
    image = smooth()
    image[8:12, 5:9] = 0
    image[0, :] = 0
    found = onto(image, COARSE, FINE, kernel)
    own = image.repeat(2, 0).repeat(2, 1)[4:36, 4:36]
    np.testing.assert_array_equal(found == 0, own == 0)
    whole = onto(smooth(), COARSE, FINE, kernel)
    seen = found > 0
    # What a hole changes is a weighted mean of seen neighbours: within their range, and not towards zero.
    assert found[seen].min() >= image[image > 0].min()
    assert np.abs(found[seen].astype(int) - whole[seen].astype(int)).max() < 400
    far = np.ones_like(seen)
    far[:10] = far[8:24, 0:18] = False
    np.testing.assert_array_equal(found[far], whole[far])


def test_r067_kernels_do_not_overshoot() -> None:
    """R067: beside a bright roof cubic would dip below the ground, even below 1, which is no data."""
    image = np.full((20, 20), 50, np.uint16)
    image[10, 10] = 9000
    found = onto(image, COARSE, FINE, "cubic")
    assert found.min() == 50
    assert found.max() <= 9000
    assert found.max() > 4000


def test_a_coarse_grid_holds_the_fine_one_on_its_own_lattice() -> None:
    grid = coarse_grid(FINE, 60, (499_980, 700_020), margin=2)
    box, inner = grid.boundingbox, FINE.boundingbox
    assert (box.left - 499_980) % 60 == 0
    assert (700_020 - box.top) % 60 == 0
    assert 120 <= inner.left - box.left < 180
    assert 120 <= box.top - inner.top < 180
    assert 120 <= box.right - inner.right < 180
    assert 120 <= inner.bottom - box.bottom < 180


def test_r067_extraction_refines_by_the_declared_kernel(small_region: Region, tmp_path: Path) -> None:
    """R067: 10 m bands keep their pixels; the 20 m band is smooth, and its kernel is in the tags."""
    import rasterio

    places = middle(small_region).assign(lon=lambda t: t["lon"] - 0.03)
    for kernel in ("nearest", "cubic"):
        cut(small_region, places, tmp_path / kernel, resampling=kernel)
    blocky, refined = (open_folder(tmp_path / kernel)[0][0] for kernel in ("nearest", "cubic"))
    np.testing.assert_array_equal(blocky[:2], refined[:2])
    pairs = blocky[2].reshape(64, 2, 64, 2)
    assert (pairs == pairs[:, :1, :, :1]).all(), "every 20 m pixel four times"
    assert not (blocky[2] == refined[2]).all()
    np.testing.assert_array_equal(blocky[2] == 0, refined[2] == 0)
    means = refined[2].astype(float).reshape(64, 2, 64, 2).mean(axis=(1, 3))
    assert np.corrcoef(means[4:-4, 4:-4].ravel(), pairs[4:-4, 0, 4:-4, 0].ravel())[0, 1] > 0.97
    with rasterio.open(tmp_path / "cubic" / "images" / "middle.tif") as image:
        assert image.tags(3)["resampling"] == "cubic"
