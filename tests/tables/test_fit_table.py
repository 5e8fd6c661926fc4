"""Models of the pixel table from images to maps: fitted, packaged, read back, and equal to what was fitted."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from table_sets import SIX, config, make, spec_of

from minescale.errors import ModelError, UsageError
from minescale.kernels.clusters import membership
from minescale.labels.sets.dataset import ArrayReader, Dataset
from minescale.labels.sets.units import TOA_255, as_reflectance
from minescale.models.package import ModelPackage, write_package
from minescale.models.predictor import load_predictor
from minescale.models.windows import predict_tile
from minescale.training.fitted import Fitted
from minescale.training.tables.columns import columns
from minescale.training.tables.fit import TABLE_FAMILIES, fit_table
from minescale.training.tables.forests import arrays_of, baseline, boosted_trees, filled, forest_trees, grown
from minescale.training.tables.linear import distance_curve
from minescale.training.tables.path_files import JSON, PICTURE, RANKING_JSON, RANKING_TABLE, TABLE
from minescale.training.tables.ranking import auc

pytest.importorskip("sklearn", reason="models of the table are fitted by scikit-learn (extra train)")

SMALL = {
    "lasso": {"lambdas": 15, "folds": 3, "bootstrap": 20},
    "elastic_net": {"lambdas": 15, "folds": 3, "bootstrap": 20},
    "logistic": {"lambdas": 12, "smallest": 0.01, "folds": 3, "bootstrap": 20},
    "forest": {"trees": 10, "depth": 6},
    "boosting": {"trees": 20, "depth": 4, "learning_rate": 0.3},
    "mlp": {"hidden": 6, "epochs": 30, "learning_rate": 0.02},
    "kmeans": {"clusters": 4},
}
FEATURES = {"features": ["bands", "NDVI", "NBR2", "ND_green_swir16"], "samples_per_image": 300}


@pytest.fixture(scope="module")
def parts() -> tuple[Dataset, Dataset]:
    dataset = make(6)
    return dataset.subset([0, 1, 2, 3]), dataset.subset([4, 5])


@pytest.fixture(scope="module")
def fitted(parts, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Fitted, Path]]:
    """Each family fitted once, and the folder of its files."""

    @functools.cache
    def fit(family: str) -> tuple[Fitted, Path]:
        out = tmp_path_factory.mktemp(family)
        return fit_table(*parts, config(family, **FEATURES, **SMALL[family]), out), out

    return fit


def packaged(result: Fitted, folder: Path) -> ModelPackage:
    return write_package(
        folder, result.spec, result.weights, "card", {"training": {"history": result.history, **result.facts}}
    )


@pytest.mark.parametrize("family", TABLE_FAMILIES)
def test_every_family_finds_pits_it_has_not_seen(family: str, fitted, parts, tmp_path: Path) -> None:
    result, _ = fitted(family)
    predictor = load_predictor(packaged(result, tmp_path / "model"))
    bands = [SIX.index(band) for band in result.spec.bands]
    for row in range(len(parts[1])):
        image, mask = parts[1].reader.image(row)[bands], parts[1].reader.mask(row)
        score = predict_tile(predictor, image, 0)
        assert np.isnan(score[0]).all()  # no data
        inside = score > 0.5
        hit, wrong = (inside & (mask == 1)).sum(), (inside & (mask == 0)).sum()
        assert hit / ((mask == 1).sum() + wrong) > 0.6
    facts = json.loads(json.dumps(result.facts, allow_nan=False))
    json.dumps(result.history, allow_nan=False)
    assert facts["table"]["cost"]["us_per_pixel"] > 0
    assert facts["table"]["equal_to_another"] == {}
    assert result.spec.pixelwise
    assert result.spec.licence == "Apache-2.0"


@pytest.mark.parametrize("family", ["lasso", "forest", "boosting", "mlp", "kmeans"])
def test_the_same_seed_gives_the_same_model(family: str, fitted, parts, tmp_path: Path) -> None:
    again = fit_table(*parts, config(family, **FEATURES, **SMALL[family]), tmp_path / "out")
    assert packaged(again, tmp_path / "a").digest == packaged(fitted(family)[0], tmp_path / "b").digest


@pytest.mark.parametrize("family", ["lasso", "logistic"])
def test_a_path_leaves_its_files(family: str, fitted) -> None:
    result, out = fitted(family)
    document = json.loads((out / JSON).read_text())
    assert document == json.loads(json.dumps(result.history))
    assert document["non_zero"][0] == 0
    assert len(document["cross_validation"]["folds"]) == 3
    lines = (out / TABLE).read_text().splitlines()
    assert len(lines) == 1 + len(document["lambda"])
    assert "w_ND_green_swir16" in lines[0]
    assert (out / PICTURE).read_bytes()[:4] == b"\x89PNG"
    ranked = json.loads((out / RANKING_JSON).read_text())
    assert ranked[0]["auc"] >= ranked[-1]["auc"]
    assert ranked[0]["low"] <= ranked[0]["auc"] + 0.02
    assert len((out / RANKING_TABLE).read_text().splitlines()) == 1 + len(ranked)
    assert not list(out.glob(".*"))


def test_the_package_is_the_chosen_step_of_the_path(fitted, tmp_path: Path) -> None:
    result, _ = fitted("logistic")
    predictor = load_predictor(packaged(result, tmp_path / "model"))
    step, weights = result.history["chosen"], result.history["weights"]
    names = [name for name, values in weights.items() if values[step]]
    assert result.spec.hyperparameters["features"] == names
    pixels = np.random.default_rng(0).integers(300, 4000, (6, 500)).astype(np.uint16)
    x = columns(pixels, names, spec_of())
    scaled = (x - result.weights["mean"]) / result.weights["std"]
    odds = np.clip(scaled, -8, 8) @ [weights[n][step] for n in names] + result.history["intercept"][step]
    chosen = [SIX.index(band) for band in result.spec.bands]
    batch = (pixels[chosen] * np.float32(1e-4))[None, :, None]
    np.testing.assert_allclose(predictor.predict(batch)[0, 1, 0], 1 / (1 + np.exp(-odds)), atol=1e-5)


def test_a_distance_becomes_a_probability_by_maximum_likelihood() -> None:
    random = np.random.default_rng(2)
    distance = random.normal(50, 120, 4000)
    inside = random.uniform(size=4000) < 1 / (1 + np.exp(0.03 * distance + 0.5))
    slope, shift = distance_curve(distance, inside)
    p = 1 / (1 + np.exp(-(slope * distance + shift)))
    # Where the likelihood is highest, neither the mean nor the mean product with the distance is off.
    assert abs((p - inside).mean()) < 1e-5
    assert abs(((p - inside) * distance).mean()) < 1e-3
    assert slope == pytest.approx(-0.03, abs=0.005)


@pytest.mark.parametrize("family", ["forest", "boosting"])
def test_trees_give_the_librarys_probabilities(family: str, tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    x = random.normal(size=(3000, 5)).astype(np.float32)
    x[:200, 2] = x[200:400, 2]  # thresholds fall on values that occur twice
    inside = (x[:, 0] * x[:, 1] + 0.4 * x[:, 2] + random.normal(0, 0.4, 3000)) > 0.3
    model = grown(family, x, inside, {"trees": 30, "depth": 9, "min_leaf": 2, "learning_rate": 0.2}, 1)
    forest = family == "forest"
    weights = arrays_of(forest_trees(model) if forest else boosted_trees(model))
    base = 0.0 if forest else baseline(model)
    bands = ("blue", "green", "red", "nir", "swir16")
    spec = spec_of(bands).replace(
        family="trees",
        hyperparameters={"features": list(bands), "combine": "mean" if forest else "logistic", "trees": 30},
    )
    weights = {**weights, "base": np.array([base], np.float32), "fill": np.zeros(5, np.float32)}
    predictor = load_predictor(write_package(tmp_path / "trees", spec, weights, "card", {}))
    seen = np.vstack([x, random.normal(0, 2, (5000, 5)).astype(np.float32)])
    found = predictor.predict(np.ascontiguousarray(seen.T)[None, :, None])
    np.testing.assert_allclose(found[0, 1, 0], model.predict_proba(seen)[:, 1], atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_features_without_a_value_are_filled(parts, tmp_path: Path) -> None:
    result = fit_table(*parts, config("forest", features=["ND_red_nir", "red"], **SMALL["forest"]), tmp_path)
    predictor = load_predictor(packaged(result, tmp_path / "model"))
    batch = np.zeros((1, 6, 1, 2), np.float32)
    batch[0, [2, 3], 0, 1] = 0.2, 0.2
    batch[0, 2, 0, 0] = 0.0
    score = predictor.predict(batch)[0, 1, 0]
    x = filled(np.array([[np.nan, 0.0]], np.float32), result.weights["fill"])
    same = np.zeros((1, 6, 1, 1), np.float32)
    assert np.isfinite(score).all()
    assert predictor.predict(same)[0, 1, 0, 0] == score[0]
    assert x[0, 0] == result.weights["fill"][0]


@pytest.mark.parametrize("family", ["forest", "kmeans"])
def test_threads_and_windows_change_nothing(family: str, fitted, tmp_path: Path) -> None:
    result, _ = fitted(family)
    predictor = load_predictor(packaged(result, tmp_path / "model"))
    image = np.random.default_rng(1).integers(1, 5000, (6, 96, 120)).astype(np.uint16)
    whole = predict_tile(predictor, image, 0)
    found: dict[int, np.ndarray] = {}

    def work(i: int) -> None:
        found[i] = predict_tile(predictor, np.ascontiguousarray(image[:, 16 * i : 16 * i + 16]), 0)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(np.vstack([found[i] for i in range(6)]), whole)


def test_clusters_are_the_nearest_centres(fitted, parts, tmp_path: Path) -> None:
    result, _ = fitted("kmeans")
    predictor = load_predictor(packaged(result, tmp_path / "model"))
    image = parts[1].reader.image(0)
    w = result.weights
    x = columns(image.reshape(6, -1), result.spec.hyperparameters["features"], result.spec)
    scaled = np.clip(np.nan_to_num((x - w["mean"]) / w["std"]), -8, 8)
    squared = ((scaled[:, None] - w["centres"][None]) ** 2).sum(axis=2)
    found = predictor.clusters((image * np.float32(1e-4))[None])[0]  # type: ignore[attr-defined]
    sure = np.sort(squared, axis=1)
    sure = (sure[:, 1] - sure[:, 0]) > 1e-3
    np.testing.assert_array_equal(found.ravel()[sure], squared.argmin(axis=1)[sure])
    weight = np.exp(-(squared - squared.min(axis=1, keepdims=True)) / (2 * w["spread"][0] ** 2))
    share = weight[:, result.facts["target_clusters"]].sum(axis=1) / weight.sum(axis=1)
    score = predictor.predict((image * np.float32(1e-4))[None])[0, 1].ravel()
    np.testing.assert_allclose(score, share, atol=1e-4)


def test_clusters_need_no_labels_where_the_target_is_stated(tmp_path: Path) -> None:
    dataset = make(4)
    bare = Dataset(
        **{
            **{f: getattr(dataset, f) for f in dataset.__dataclass_fields__},
            "reader": type(dataset.reader)(dataset.reader.images),  # type: ignore[attr-defined]
        }
    )
    with pytest.raises(UsageError, match="no cluster stands for the target"):
        fit_table(bare, bare, config("kmeans", clusters=3), tmp_path)
    result = fit_table(bare, bare, config("kmeans", clusters=3, target_clusters=[2]), tmp_path)
    assert result.facts["target_clusters_by"] == "stated"
    assert result.facts["share_of_target"] == [None] * 3
    with pytest.raises(UsageError, match="no clusters"):
        fit_table(bare, bare, config("kmeans", clusters=3, target_clusters=[3]), tmp_path)


def test_samples_labelled_whole_train_a_map(tmp_path: Path) -> None:
    points = make(40, size=40, masked=False, seed=3)
    parts = points.subset(list(range(30))), points.subset(list(range(30, 40)))
    options = {**SMALL["logistic"], "choice": "min"}
    result = fit_table(*parts, config("logistic", features=["bands"], centre=3, **options), tmp_path / "out")
    predictor = load_predictor(packaged(result, tmp_path / "model"))
    labelled = make(40, size=40, seed=3)
    bands = [SIX.index(band) for band in result.spec.bands]
    score = predict_tile(predictor, labelled.reader.image(35)[bands], 0)
    mask = labelled.reader.mask(35)
    seen = np.isfinite(score) & (mask != 255)
    assert auc(score[seen], mask[seen] == 1) > 0.95


@pytest.mark.parametrize("family", ["logistic", "forest", "mlp", "kmeans"])
def test_a_set_whose_numbers_end_teaches_where(family: str, tmp_path: Path) -> None:
    made = make(6)
    images = np.rint(np.clip(made.reader.images / 3000, 0, 1) * 255).astype(np.uint8)  # type: ignore[attr-defined]
    reader = ArrayReader(images, made.reader.masks)  # type: ignore[attr-defined]
    samples = made.samples.assign(lon=[9.0, 9.5, 10, 8, 7, 9], lat=1.25, image_date="2021-05-06")
    source = make(6, units=TOA_255, reader=reader, samples=samples, provenance={"attribution": "made by a test"})
    learnt = source.subset([0, 1, 2, 3])
    parts = as_reflectance(learnt), as_reflectance(source.subset([4, 5]))
    result = fit_table(*parts, config(family, **FEATURES, **SMALL[family]), tmp_path / "out", source=learnt)
    model = packaged(result, tmp_path / "model")
    assert model.spec.clip == 0.3
    assert {k: model.spec.training[k] for k in ("data", "data_licence", "attribution", "bbox")} == {
        "data": "pits",
        "data_licence": "Apache-2.0",
        "attribution": "made by a test",
        "bbox": [8.0, 1.25, 10.0, 1.25],
    }
    assert (model.spec.training["start"], model.spec.training["end"]) == (
        "2021-05-06T00:00:00Z",
        "2021-05-06T23:59:59Z",
    )
    # A scan sees brighter ground than any that the set can hold.
    bands = [SIX.index(band) for band in model.spec.bands]
    bright = np.minimum(made.reader.image(5)[bands] * 2, 9000).astype(np.uint16)
    score = predict_tile(load_predictor(model), bright, 0)
    np.testing.assert_allclose(score, predict_tile(load_predictor(model), np.minimum(bright, 3000), 0), atol=1e-5)
    uncut = write_package(tmp_path / "uncut", result.spec.replace(clip=None), result.weights, "card", {})
    assert np.nanmax(np.abs(score - predict_tile(load_predictor(uncut), bright, 0))) > 1e-3
    pixels = bright.reshape(len(bright), -1)
    names = model.spec.bands
    np.testing.assert_allclose(columns(pixels, names, model.spec), (np.minimum(pixels, 3000) * 1e-4).T, atol=1e-6)
    assert columns(pixels, names, model.spec).max() <= np.float32(0.3)


def test_patches_train_a_coarser_model(parts, tmp_path: Path) -> None:
    result = fit_table(*parts, config("forest", features=["bands"], patch=4, **SMALL["forest"]), tmp_path)
    assert result.spec.resolution == 40.0


def test_bad_parts_are_refused(parts, tmp_path: Path) -> None:
    train, val = parts
    with pytest.raises(UsageError, match="differ in bands"):
        fit_table(train, make(2, bands=("blue", "green", "red", "nir", "nir08", "swir22")), config("forest"), tmp_path)
    with pytest.raises(UsageError, match="not reflectance"):
        fit_table(make(2, units="digital number"), val, config("forest"), tmp_path)
    empty = make(2)
    empty.reader.masks[:] = 0  # type: ignore[attr-defined]
    for family in ("lasso", "forest", "mlp"):
        with pytest.raises(UsageError, match="one side only"):
            fit_table(empty, val, config(family), tmp_path / family)
        with pytest.raises(UsageError, match="validation part has pixels"):
            fit_table(train, empty, config(family), tmp_path / family)
        assert not (tmp_path / family).exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"left": lambda a: np.where(np.arange(len(a)) == 0, 0, a)}, "leaves that do not end"),
        ({"left": lambda a: np.where(np.arange(len(a)) == 0, 10**6, a)}, "impossible node"),
        ({"feature": lambda a: a + 100}, "impossible node"),
        ({"feature": lambda a: a.astype(np.int64)}, "int64"),
        ({"value": lambda a: a * np.nan}, "not finite"),
        ({"start": lambda a: a[::-1]}, "impossible nodes"),
        ({"threshold": lambda a: a[:-1]}, "float32"),
    ],
)
def test_damaged_trees_are_refused(change, words: str, fitted, tmp_path: Path) -> None:
    result, _ = fitted("forest")
    ((name, alter),) = change.items()
    array = alter(result.weights[name])
    weights = {**result.weights, name: array if name == "feature" else array.astype(result.weights[name].dtype)}
    package = write_package(tmp_path / "model", result.spec, weights, "card", {})
    with pytest.raises(ModelError, match=words):
        load_predictor(package)


def test_centres_that_do_not_fit_are_refused() -> None:
    x = np.zeros((3, 4), np.float32)
    with pytest.raises(UsageError, match="centres do not fit"):
        membership(x, np.zeros((2, 2), np.float32), 1.0, np.zeros(2, bool))
    with pytest.raises(UsageError, match="spread 0"):
        membership(x, np.zeros((2, 3), np.float32), 0.0, np.zeros(2, bool))
