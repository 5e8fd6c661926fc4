"""Candidates as a table and as pictures, and the recall of the two stages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image

from minescale.errors import UsageError
from minescale.evaluation.candidate_pictures import KINDS, draw_candidates
from minescale.evaluation.candidates import LIKE, UNLIKE, Candidates, detect, stage_recall
from minescale.labels.sets.classes import LOVEDA, from_loveda
from minescale.models.predictor import Predictor, load_predictor
from tests.stages import bare_and_bright

BANDS = ("nir", "red")
PLACE = GeoBox((120, 140), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")
PIT, FIELD, HIDDEN = (slice(20, 40), slice(30, 60)), (slice(70, 100), slice(80, 120)), (slice(5, 10), slice(100, 110))


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, Predictor]:
    first, second = bare_and_bright(tmp_path_factory.mktemp("stages"))
    return load_predictor(first), load_predictor(second)


def image() -> np.ndarray:
    """nir and red: a bright pit, a dark field, and a mine below trees."""
    pixels = np.stack([np.full(PLACE.shape, 3500), np.full(PLACE.shape, 300)]).astype(np.uint16)
    pixels[(slice(None), *PIT)] = np.array([4500, 4000])[:, None, None]
    pixels[(slice(None), *FIELD)] = np.array([1700, 1500])[:, None, None]
    return pixels


@pytest.fixture(scope="module")
def found(stages: tuple[Predictor, Predictor]) -> Candidates:
    return detect(image(), BANDS, PLACE, *stages)


def test_candidates_are_a_table_with_outlines(found: Candidates) -> None:
    table = found.table()
    assert list(table["id"]) == [1, 2]
    assert list(table["class"]) == [LIKE, UNLIKE]
    assert list(table["stage1_class"]) == ["barren", "barren"]
    assert table["score"].tolist() == pytest.approx([0.75, 0.125], abs=1e-3)
    assert table.crs.to_epsg() == 32632
    assert table.area.to_numpy() / 1e4 == pytest.approx(table["area_ha"].to_numpy())
    west, _, east, north = table.geometry[0].bounds
    assert (west, east, north) == (500_300, 500_600, 4_999_800)
    for word in ("legal", "permit", "crime"):
        assert word not in " ".join(table["class"]).lower()


def test_recall_of_both_is_the_product(found: Candidates) -> None:
    """F25: what stage one misses no classifier finds, so its recall is told apart."""
    truth = np.zeros(PLACE.shape, bool)
    for where in (PIT, FIELD, HIDDEN):
        truth[where] = True
    recall = stage_recall(found, truth)
    assert (recall.objects, recall.met, recall.found) == (3, 2, 1)
    assert recall.cascade == pytest.approx(recall.stage_one * recall.stage_two)  # type: ignore[operator]
    assert "recall of stage one 0.667 (the ceiling) x of stage two 0.500 = of both 0.333" in str(recall)
    assert json.loads(json.dumps(recall.to_dict()))["area_ha"] == pytest.approx(6 + 12 + 0.5)
    assert stage_recall(found, truth, min_area_ha=1).objects == 2
    nothing = stage_recall(found, np.zeros(PLACE.shape, bool))
    assert nothing.cascade is None
    assert "none to find" in str(nothing)
    with pytest.raises(UsageError, match="truth does not fit"):
        stage_recall(found, truth[:5])


def test_three_pictures_lie_where_the_image_does(found: Candidates, tmp_path: Path) -> None:
    paths = draw_candidates(found, image(), BANDS, tmp_path, colours=("#00ff00", "#9f81b7"))
    assert [path.stem for path in paths] == list(KINDS)
    levels = {path.stem: np.asarray(Image.open(path)).astype(int) for path in paths}
    assert all(picture.shape == (*PLACE.shape, 3) for picture in levels.values())
    red, green = levels["verdicts"][20, 35], levels["verdicts"][70, 85]
    assert red[0] > 200 > red[1]
    assert green[1] > green[0]
    assert tuple(levels["candidates"][20, 45]) == (255, 214, 10)
    assert (levels["candidates"][30, 45] == levels["candidates"][31, 46]).all(), "inside, the image is as it was"
    assert not (levels["classes"][30, 45] == levels["candidates"][30, 45]).all()
    for path in paths:
        numbers = [float(line) for line in path.with_suffix(".pgw").read_text().split()]
        assert numbers == [10, 0, 0, -10, 500_005, 4_999_995]
        assert "UTM zone 32N" in path.with_suffix(".prj").read_text()
    with pytest.raises(UsageError, match="colours"):
        draw_candidates(found, image(), BANDS, tmp_path, colours=("#00ff00",))


def test_images_that_do_not_fit_are_refused(stages: tuple[Predictor, Predictor]) -> None:
    with pytest.raises(UsageError, match="lacks bands"):
        detect(image(), ("nir", "blue"), PLACE, *stages)
    with pytest.raises(UsageError, match="image does not fit"):
        detect(image()[:, :50], BANDS, PLACE, *stages)
    degrees = GeoBox(PLACE.shape, Affine(1e-4, 0, 9, 0, -1e-4, 45), "EPSG:4326")
    with pytest.raises(UsageError, match="metres"):
        detect(image(), BANDS, degrees, *stages)
    wide = GeoBox(PLACE.shape, Affine(40, 0, 500_000, 0, -40, 5_000_000), "EPSG:32632")
    with pytest.raises(UsageError, match="pixels of this size"):
        detect(image(), BANDS, wide, *stages)
    with pytest.raises(UsageError, match="unknown suspicious class"):
        detect(image(), BANDS, PLACE, *stages, suspicious=("quarry",))


def test_loveda_is_a_table_of_seven_classes_and_zero_is_ignored() -> None:
    label = np.array([[0, 1, 5], [7, 4, 0]], np.uint8)
    assert from_loveda(label).tolist() == [[255, 0, 4], [6, 3, 255]]
    assert LOVEDA.names[4] == "barren"
    with pytest.raises(UsageError, match="no class"):
        from_loveda(np.array([8], np.uint8))
