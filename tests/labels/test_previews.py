"""R068: pictures whose stretch is on record, red over them in the stated share, placed by a world file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from minescale.errors import UsageError
from minescale.labels.pictures.previews import Stretch, blend, world_file, write_previews
from minescale.labels.sets.folder import open_folder, write_folder
from tests.labels.test_folder import PLACE, chips


def test_r068_red_is_blended_in_the_stated_share() -> None:
    """R068: (1 - alpha) * picture + alpha * red, checked number by number."""
    picture = np.array([[[100, 200, 50], [10, 20, 30]]], np.uint8)
    found = blend(picture, np.array([[1, 0]]), 0.4)
    assert found[0, 0].tolist() == [round(0.6 * 100 + 0.4 * 255), 120, 30]
    assert found[0, 1].tolist() == [10, 20, 30]
    assert blend(picture, np.ones((1, 2)), 1.0)[0].tolist() == [[255, 0, 0]] * 2
    np.testing.assert_array_equal(blend(picture, np.ones((1, 2)), 0.0), picture)
    with pytest.raises(UsageError, match="transparency"):
        blend(picture, np.ones((1, 2)), 1.5)


def test_the_stretch_says_which_number_became_which_level() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(200, 4000, (3, 50, 60)).astype(np.uint16)
    image[:, :5] = 0
    stretch = Stretch.of(image, 0, (2, 98))
    for k in range(3):
        assert stretch.low[k] == pytest.approx(np.percentile(image[k][image[k] > 0], 2))
        assert stretch.high[k] == pytest.approx(np.percentile(image[k][image[k] > 0], 98))
    picture = stretch.apply(image, 0)
    assert (picture[:5] == 128).all(), "unseen ground is grey, not black"
    low, high = stretch.low[1], stretch.high[1]
    expected = np.clip(np.floor((image[1, 20, 20] - low) / (high - low) * 255 + 0.5), 0, 255)
    assert picture[20, 20, 1] == expected
    assert Stretch.of(np.zeros((3, 4, 4), np.uint16)).apply(np.zeros((3, 4, 4), np.uint16)).shape == (4, 4, 3)
    with pytest.raises(UsageError, match="percentiles"):
        Stretch.of(image, 0, (98, 2))


def test_r068_the_world_file_places_the_picture() -> None:
    """R068: GDAL reads the same place from it as the GeoTIFF has."""
    assert world_file(PLACE).split() == [f"{v:.10f}" for v in (10, 0, 0, -10, 500_005, 699_995)]


@pytest.mark.parametrize(("kind", "suffix", "world"), [("png", ".png", ".pgw"), ("jpeg", ".jpg", ".jgw")])
def test_r068_pictures_are_written_with_red_and_place(tmp_path: Path, kind: str, suffix: str, world: str) -> None:
    """R068."""
    dataset = dataclasses.replace(chips(), bands=("red", "nir"))
    write_folder(dataset, tmp_path / "set")
    opened = open_folder(tmp_path / "set")
    files = write_previews(opened, tmp_path / "rgb", bands=("nir", "red", "red"), format=kind)
    assert [f.name for f in files] == [f"s{i}{suffix}" for i in range(3)]
    picture = np.asarray(Image.open(files[1]))
    stretch = Stretch.of(opened.reader.image(1)[[1, 0, 0]])
    wanted = blend(stretch.apply(opened.reader.image(1)[[1, 0, 0]]), opened.reader.mask(1) == 1)
    assert picture.shape == (5, 4, 3)
    if kind == "png":
        np.testing.assert_array_equal(picture, wanted)
    assert (tmp_path / "rgb" / f"s1{world}").read_text() == world_file(PLACE)
    with rasterio.open(files[1]) as placed:
        assert placed.transform == PLACE.affine
    noted = json.loads((tmp_path / "rgb" / "stretch.json").read_text())
    assert noted["bands"] == ["nir", "red", "red"]
    assert noted["pictures"]["s1"]["low"] == pytest.approx(stretch.low)


def test_ignored_pixels_are_not_red(tmp_path: Path) -> None:
    dataset = chips()
    dataset.reader.masks[:] = 255
    files = write_previews(dataset, tmp_path, bands=("red", "red", "nir"), rows=[0])
    plain = Stretch.of(dataset.reader.image(0)[[0, 0, 1]]).apply(dataset.reader.image(0)[[0, 0, 1]])
    np.testing.assert_array_equal(np.asarray(Image.open(files[0])), plain)


def test_pictures_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="green"):
        write_previews(chips(), tmp_path)
    with pytest.raises(UsageError, match="format"):
        write_previews(chips(), tmp_path, bands=("red", "red", "nir"), format="gif")
