"""What other distributions bring, found as pip installs it: a family of networks, and a detector of boxes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from model_specs import unet_spec
from odc.geo.geobox import GeoBox

from minescale.errors import ModelError
from minescale.models.detector import Boxes, Detector, detect, detectors, load_detector
from minescale.models.network import architecture, architectures, build_network, default_halo, state_arrays
from minescale.models.package import write_package
from minescale.models.predictor import families, load_predictor
from minescale.models.windows import peak_bytes, predict_tile

PLUGIN = '''
"""A backbone that somebody else brings, with a head of one convolution; and a detector of bright ground."""
import numpy as np
from scipy import ndimage
from torch import nn

from minescale.models.detector import Boxes
from minescale.models.network import Architecture, options_of
from minescale.models.predictor import Family


def build(spec):
    width = int(options_of(spec)["width"])
    return nn.Sequential(
        nn.Conv2d(len(spec.channels), width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, len(spec.classes), 1)
    )


def halo(options, chip):
    return 8


ARCHITECTURE = Architecture(
    build="brought_backbone:build", task="pixels", options={"width": 4}, halo="brought_backbone:halo"
)
FAMILY = Family(
    factory="minescale.models.network:NetworkPredictor",
    bytes_per_pixel=lambda spec: 4 * (5 * len(spec.channels) + 3 * spec.hyperparameters.get("width", 4) + 12),
    together=True,
)


class Bright:
    bands = ("red", "nir")
    window = 64

    def __init__(self, threshold):
        self.threshold = threshold

    def detect(self, images):
        return [self._one(image) for image in images]

    def _one(self, image):
        labels, count = ndimage.label(image[0] > self.threshold)
        found = ndimage.find_objects(labels)
        edges = np.array([[x.start, y.start, x.stop, y.stop] for y, x in found], float).reshape(-1, 4)
        scores = np.array([image[0][labels == i + 1].mean() for i in range(count)])
        return Boxes(edges=edges, scores=scores, classes=("bright",) * count)


def make_bright(weights, device):
    return Bright(float(weights.read_text()) if weights else 0.5)


def make_nothing(weights, device):
    return object()
'''
ENTRY_POINTS = """
[minescale.architectures]
brought = brought_backbone:ARCHITECTURE
spoiled = brought_backbone:FAMILY
[minescale.models]
brought = brought_backbone:FAMILY
[minescale.detectors]
bright = brought_backbone:make_bright
nothing = brought_backbone:make_nothing
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution as an installer lays it down."""
    site = tmp_path / "site"
    meta = site / "brought_backbone-1.0.dist-info"
    meta.mkdir(parents=True)
    (site / "brought_backbone.py").write_text(PLUGIN, encoding="utf-8")
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: brought-backbone\nVersion: 1.0\n", encoding="utf-8")
    (meta / "entry_points.txt").write_text(ENTRY_POINTS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("brought_backbone", None)


@pytest.mark.usefixtures("plugin")
def test_r124_a_brought_family_is_built_loaded_and_run(tmp_path: Path, landscape: np.ndarray) -> None:
    assert "brought" in architectures()
    assert "brought" in families()
    assert default_halo("brought", {}, None) == 8
    spec = unet_spec(family="brought", hyperparameters={"width": 6}, halo=8, patch=64)
    package = write_package(tmp_path / "package", spec, state_arrays(build_network(spec)), "card", {})
    predictor = load_predictor(package, "cpu")
    score = predict_tile(predictor, landscape[:, :116, :126], 8)
    assert score.shape == (100, 110)
    assert score.std() > 1e-3
    assert peak_bytes(spec, 100, 8) > 100 * 110
    with pytest.raises(ModelError, match="unknown hyperparameter"):
        build_network(spec.replace(hyperparameters={"widht": 6}))
    with pytest.raises(ModelError, match="is no architecture"):
        architecture("spoiled")
    with pytest.raises(ModelError, match=r"brought\?"):
        architecture("brougth")


def scene() -> tuple[np.ndarray, GeoBox, list[tuple[int, int, int, int]]]:
    """Dark ground with bright rectangles (left, top, right, bottom): inside windows, on their seams, at the border."""
    image = np.full((2, 150, 200), 1000, np.uint16)
    planted = [(5, 6, 20, 18), (55, 50, 75, 70), (120, 60, 131, 66), (190, 140, 200, 150), (96, 0, 110, 9)]
    for left, top, right, bottom in planted:
        image[:, top:bottom, left:right] = 7000
    image[:, 100:110, 10:20] = 0
    return image, GeoBox((150, 200), Affine(10, 0, 500000, 0, -10, 5000000), "EPSG:32633"), planted


@pytest.mark.usefixtures("plugin")
def test_r092_a_brought_detector_gives_polygons_on_the_map() -> None:
    assert detectors() == ("bright", "nothing")
    detector = load_detector("bright")
    assert isinstance(detector, Detector)
    image, geobox, planted = scene()
    found = detect(detector, image, geobox)
    expected = {
        (500000 + 10 * left, 5000000 - 10 * bottom, 500000 + 10 * right, 5000000 - 10 * top)
        for left, top, right, bottom in planted
    }
    assert {tuple(map(round, shape.bounds)) for shape in found.geometry} == expected
    assert len(found) == len(planted)
    assert found.crs == "EPSG:32633"
    assert set(found["class"]) == {"bright"}
    np.testing.assert_allclose(found["score"], 0.7, atol=1e-6)


@pytest.mark.usefixtures("plugin")
def test_the_overlap_is_what_makes_objects_whole() -> None:
    image, geobox, _ = scene()
    part, place = image[:, :128, :128], geobox[:128, :128]
    detector = load_detector("bright")
    assert len(detect(detector, part, place)) == 4
    assert len(detect(detector, part, place, overlap=0.0)) == 8  # two lie on seams: one falls into four, one into two


@pytest.mark.usefixtures("plugin")
def test_weights_are_a_users_path_and_nothing_found_is_an_answer(tmp_path: Path) -> None:
    (tmp_path / "threshold.txt").write_text("0.8", encoding="utf-8")
    image, geobox, _ = scene()
    found = detect(load_detector("bright", tmp_path / "threshold.txt"), image, geobox)
    assert len(found) == 0
    assert list(found.columns) == ["class", "score", "geometry"]


@pytest.mark.usefixtures("plugin")
def test_what_is_no_detector_is_refused() -> None:
    with pytest.raises(ModelError, match="is no detector"):
        load_detector("nothing")
    with pytest.raises(ModelError, match=r"bright\?"):
        load_detector("brigth")


def test_without_a_plugin_there_is_none() -> None:
    with pytest.raises(ModelError, match="no detector of that name"):
        load_detector("yolo")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([], "0 results"),
        ([Boxes(edges=np.zeros((2, 4)), scores=np.zeros(1), classes=("a",))], "as many of each"),
        ([Boxes(edges=np.zeros((1, 4)), scores=np.array([1.5]), classes=("a",))], "out of range"),
        ([Boxes(edges=np.full((1, 4), np.nan), scores=np.array([0.5]), classes=("a",))], "out of range"),
    ],
)
def test_answers_that_are_none_are_refused(answer: Any, message: str) -> None:
    class Odd:
        bands, window = ("red", "nir"), 64

        def detect(self, images: np.ndarray) -> Any:
            return answer

    image, geobox, _ = scene()
    with pytest.raises(ModelError, match=message):
        detect(Odd(), image, geobox)
    with pytest.raises(ModelError, match="does not fit the detector"):
        detect(Odd(), image[:1], geobox)
    with pytest.raises(ModelError, match="overlap"):
        detect(Odd(), image, geobox, overlap=1.0)
