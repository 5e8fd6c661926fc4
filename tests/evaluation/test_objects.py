"""Objects and classes on maps drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from minescale.evaluation.multiclass import score_classes
from minescale.evaluation.objects import score_objects
from minescale.evaluation.scored import Scored, score_dataset
from minescale.labels.sets.classes import ASGM
from minescale.models.predictor import Predictor
from minescale.models.spec import ModelSpec, trained_range
from tests.evaluation.models import scored_maps
from tests.labels.small_sets import make


def blank() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((1, 60, 60), np.uint8), np.zeros((1, 60, 60), np.uint8)


def test_rules_of_a_match() -> None:
    """10 m pixels: 100 of them are a hectare."""
    codes, mask = blank()
    mask[0, 0:10, 0:10] = 1  # 1 ha, found exactly
    codes[0, 0:10, 0:10] = 200
    mask[0, 20:30, 0:30] = 1  # 3 ha, a third found: touched and centroid, not IoU
    codes[0, 20:30, 0:10] = 200
    mask[0, 40:50, 0:10] = 1  # 1 ha, touched at a corner by a detection whose middle is elsewhere
    codes[0, 49:59, 9:19] = 200
    mask[0, 0:8, 40:48] = 1  # 0.64 ha, missed
    mask[0, 20:22, 40:42] = 1  # too small to count
    codes[0, 40:50, 40:50] = 200  # a false alarm
    codes[0, 55, 55] = 200  # too small to count
    found = score_objects(scored_maps(codes, mask), 0.5)
    assert found is not None
    assert (found["objects"], found["detections"]) == (4, 4)
    assert found["touched"]["recall"]["value"] == pytest.approx(3 / 4)
    assert found["centroid"]["recall"]["value"] == pytest.approx(2 / 4)
    assert found["iou"]["recall"]["value"] == pytest.approx(1 / 4)
    assert found["touched"]["precision"]["value"] == pytest.approx(3 / 4)
    assert found["centroid"]["precision"]["value"] == pytest.approx(2 / 4)
    assert found["iou"]["precision"]["value"] == pytest.approx(1 / 4)
    sizes = {row["low"]: (row["n"], row["touched"]) for row in found["by_size"]}
    assert sizes == {0.5: (1, 0.0), 1.0: (3, 1.0), 5.0: (0, None), 20.0: (0, None), 100.0: (0, None)}


def test_nothing_there_and_nothing_called() -> None:
    found = score_objects(scored_maps(*blank()), 0.5)
    assert found is not None
    assert found["objects"] == found["detections"] == 0
    assert found["iou"]["recall"] == {"value": None, "interval": None, "n": 0}


def test_ignored_and_unseen_pixels_are_no_objects() -> None:
    codes, mask = blank()
    codes[0, :, :20] = 200
    mask[0, :, :20] = 255
    mask[0, :, 40:] = 1
    codes[0, :, 40:] = 255
    found = score_objects(scored_maps(codes, mask), 0.5)
    assert found is not None
    assert found["objects"] == found["detections"] == 0


class FourClasses(Predictor):
    """Reads the class off the red band: 1000 is class 0, 2000 class 1 and so on."""

    spec = ModelSpec(
        name="four",
        version="1",
        family="pixel",
        bands=("red", "nir"),
        resolution=10.0,
        resolutions=trained_range(10.0),
        classes=("hut", "background", "asgm", "hauling road"),  # another order than the set's
        target="asgm",
        threshold=0.5,
    )

    def predict(self, batch: np.ndarray) -> np.ndarray:
        value = np.rint(batch[:, 0] * 10).astype(int) - 1
        own = np.array([1, 2, 3, 0])[value]
        return (np.arange(4)[None, :, None, None] == own[:, None]).astype(np.float32)


def test_classes_by_name_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (3, 16, 16)).astype(np.uint8)
    call = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, 4, truth.shape))
    truth[:, 0] = 255
    images = np.stack([(call + 1) * 1000, np.full(call.shape, 500)], axis=1).astype(np.uint16)
    images[0, 0, 5, 5] = 0
    scored = score_dataset(FourClasses(), make({"site": list("abc")}, images=images, masks=truth, classes=ASGM))
    assert scored.positive == (ASGM.value("asgm"),)
    found = score_classes(scored)
    assert found is not None
    kept = truth != 255
    kept[0, 5, 5] = False
    t, c = truth[kept], call[kept]
    assert found["confusion"] == confusion_matrix(t, c).tolist()
    for i, name in enumerate(ASGM.names):
        assert found["per_class"][name]["f1"] == pytest.approx(f1_score(t, c, average=None)[i])
    assert found["mean_iou"] == pytest.approx(jaccard_score(t, c, average="macro"))
    assert found["overall_accuracy"] == pytest.approx((t == c).mean())
    assert found["largest_class"] == pytest.approx(np.bincount(t).max() / len(t))


def test_two_classes_have_no_table_of_classes() -> None:
    scored: Scored = scored_maps(*blank())
    assert score_classes(scored) is None
