"""R114: the seven figures from one command, and two more."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from PIL import Image
from shapely.geometry import Polygon, box

from minescale.errors import UsageError
from minescale.labels.pictures.drawing import coloured, eye_bands
from minescale.labels.pictures.figures import EXTRA, NAMES, draw_figures
from minescale.labels.shapes.polygons import Polygons, ReadReport
from tests.labels.small_sets import make

BANDS = ("blue", "red", "nir", "swir16", "swir22", "green")


def ground(n: int = 24, size: int = 128):
    """Green land with bare pits and a lake, in six bands."""
    rng = np.random.default_rng(0)
    spectra = np.array(
        [[300, 350, 3000, 1600, 800, 500], [900, 1500, 2200, 3000, 2600, 1200], [400, 300, 150, 60, 40, 450]]
    )
    y, x = np.mgrid[:size, :size]
    images, masks = [], []
    for i in range(n):
        a, b = rng.uniform(0.2, 0.8, 2) * size
        pit = (x - a) ** 2 + ((y - b) * 1.5) ** 2 < (0.18 * size) ** 2 if i % 4 else np.zeros((size, size), bool)
        lake = (x - size + a) ** 2 + (y - size + b) ** 2 < (0.12 * size) ** 2
        kind = np.where(pit, 1, np.where(lake, 2, 0))
        texture = 1 + 0.12 * rng.standard_normal((1, size, size))
        images.append(np.maximum(spectra[kind].transpose(2, 0, 1) * texture, 1).astype(np.uint16))
        masks.append(pit.astype(np.uint8))
    columns = {"site": [f"p{i}" for i in range(n)], "lon": rng.uniform(-2.4, -1.6, n), "lat": rng.uniform(5.6, 6.4, n)}
    return make(columns, images=np.array(images), masks=np.array(masks), bands=BANDS, name="made ground")


def area(shape: Polygon) -> Polygons:
    return Polygons(
        frame=gpd.GeoDataFrame({"name": ["x"]}, geometry=[shape], crs=4326), source="made", report=ReadReport(1)
    )


def test_r114_seven_figures_from_one_call(tmp_path: Path) -> None:
    border = area(Polygon([(-2.6, 5.5), (-1.4, 5.4), (-1.5, 6.6), (-2.2, 6.3), (-2.5, 6.5)]))
    drawn = draw_figures(ground(), tmp_path / "out", boundary=border, polygons=area(box(-2, 5.9, -1.95, 6.0)))
    assert drawn.left_out == {}
    assert [f.stem for f in drawn.files] == [*NAMES, *EXTRA]
    assert len(NAMES) == 7
    for file in drawn.files:
        with Image.open(file) as image:
            assert image.format == "PNG"
            assert min(image.size) >= 300
            assert len(np.unique(np.asarray(image.convert("L")))) > 30, f"{file.name} is blank"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {f.name for f in drawn.files}, "no partial file is left"


def test_pictures_are_the_same_when_drawn_again(tmp_path: Path) -> None:
    one, two = (draw_figures(ground(4), tmp_path / name, row=1).files for name in ("one", "two"))
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True)] == [True] * len(one)


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(1, 255, (6, 3, 48, 48)).astype(np.uint8)
    chips = make(
        {"label": [0, 1] * 3}, images=images, bands=("red", "green", "blue"), units="digital number", nodata=None
    )
    drawn = draw_figures(chips, tmp_path)
    assert [f.stem for f in drawn.files] == ["classes", "bands", "augmentation"]
    assert "coordinates" in drawn.left_out["grid"]
    assert "whole samples" in drawn.left_out["mask"]
    assert "nir" in drawn.left_out["prediction"]
    assert "coarser" in drawn.left_out["preparation"]
    with pytest.raises(UsageError, match="no such sample"):
        draw_figures(chips, tmp_path, row=6)


def test_a_given_score_is_drawn_instead_of_a_model(tmp_path: Path) -> None:
    dataset = ground(3)
    wrong = draw_figures(dataset, tmp_path, row=1, score=np.zeros((3, 3), np.float32))
    assert "size" in wrong.left_out["prediction"]
    right = draw_figures(dataset, tmp_path, row=1, score=np.full((128, 128), 0.5, np.float32))
    assert "prediction" in [f.stem for f in right.files]


def test_labels_are_drawn_in_the_colours_of_their_classes() -> None:
    dataset = ground(1)
    drawn = coloured(np.array([[0, 1, 255]], np.uint8), dataset.classes)
    assert (drawn[0, :2] * 255).round().astype(int).tolist() == [[0x44, 0x01, 0x54], [0xFD, 0xE7, 0x25]]
    assert drawn[0, 2].tolist() == pytest.approx([0.87, 0.88, 0.90])


@pytest.mark.parametrize(
    ("bands", "wanted"),
    [
        (BANDS, ("red", "green", "blue")),
        (("t0_blue", "t0_green", "t0_red", "t1_blue", "t1_green", "t1_red"), ("t0_red", "t0_green", "t0_blue")),
        (("infrared", "nir", "swir16", "swir22"), ("infrared", "nir", "swir16")),
        (("vv", "vh"), ("vv", "vv", "vv")),
    ],
)
def test_bands_that_the_eye_knows(bands: tuple[str, ...], wanted: tuple[str, str, str]) -> None:
    dataset = make({"site": ["a"]}, images=np.ones((1, len(bands), 4, 4), np.uint16), bands=bands)
    assert eye_bands(dataset) == wanted
