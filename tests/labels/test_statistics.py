"""R028 and F35: statistics of a set in one pass, and constants that come from its training part."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.errors import UsageError
from minescale.labels.preparation.normalisation import (
    Normalisation,
    normalisation,
    stored_normalisation,
    with_normalisation,
)
from minescale.labels.preparation.statistics import Statistics, extract_statistics
from minescale.labels.sets.split import Split
from tests.labels.small_sets import make


def _stack(dtype: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.gamma(2.0, 900.0, (7, 2, 13, 11)) + np.array([50, 700])[:, None, None]
    if dtype == "int16":
        return (values - 1500).astype(dtype)
    return values.astype(dtype) if dtype != "uint8" else np.clip(values / 30, 0, 255).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64", "float16"])
def test_r028_streaming_equals_exact(dtype: str) -> None:
    stack = _stack(dtype, 1)
    found = Statistics(("red", "nir"))
    for image in stack:
        found.add(image)
    values = stack.transpose(1, 0, 2, 3).reshape(2, -1).astype(np.float64)
    for q in (0, 2, 37.5, 50, 98, 100):
        exact = np.percentile(values, q, axis=1)
        if np.issubdtype(stack.dtype, np.integer):
            np.testing.assert_allclose(found.percentile(q), exact, rtol=1e-12)
        else:
            np.testing.assert_allclose(found.percentile(q), exact, rtol=0.01)
    np.testing.assert_allclose(found.mean, values.mean(axis=1), rtol=1e-10)
    np.testing.assert_allclose(found.std, values.std(axis=1), rtol=1e-8)
    np.testing.assert_array_equal(found.low, values.min(axis=1))
    np.testing.assert_array_equal(found.high, values.max(axis=1))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32).filter(lambda v: v == 0 or abs(v) > 1e-30), min_size=1, max_size=60),
    st.floats(0, 100),
)
def test_r028_floats_of_any_size_and_sign(values: list[float], q: float) -> None:
    found = Statistics(("red",))
    found.add(np.array(values, np.float32).reshape(1, 1, -1))
    nearest = (
        np.percentile(np.array(values, np.float32), q, method="lower"),
        np.percentile(np.array(values, np.float32), q, method="higher"),
    )
    low, high = min(nearest), max(nearest)
    assert low - 0.005 * abs(low) - 1e-30 <= found.percentile(q)[0] <= high + 0.005 * abs(high) + 1e-30


def test_r028_halves_add_up() -> None:
    stack = _stack("uint16", 2)
    whole, first, second = (Statistics(("red", "nir"), nodata=0) for _ in range(3))
    for i, image in enumerate(stack):
        whole.add(image)
        (first if i < 3 else second).add(image)
    first.merge(second)
    first.merge(Statistics(("red", "nir"), nodata=0))
    np.testing.assert_array_equal(first.counts, whole.counts)
    np.testing.assert_allclose(first.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(first.std, whole.std, rtol=1e-12)
    assert first.images == whole.images
    with pytest.raises(UsageError, match="different bands"):
        first.merge(Statistics(("red", "blue")))


def test_r028_missing_pixels_do_not_count() -> None:
    image = np.array([[[0, 10], [20, 30]], [[0, 0], [0, 0]]], np.uint16)
    found = Statistics(("red", "nir"), nodata=0)
    found.add(image)
    assert found.mean[0] == 20
    assert found.n.tolist() == [3, 0]
    assert found.missing.tolist() == [1, 4]
    assert np.isnan(found.percentile(50)[1])
    floats = Statistics(("red",))
    floats.add(np.array([[[1.0, np.nan, np.inf, 3.0]]]))
    assert (floats.n[0], floats.mean[0]) == (2, 2.0)
    described = found.to_dict()
    assert described["bands"]["nir"] == {"observations": 0, "nodata": 4}
    assert sum(described["bands"]["red"]["histogram"]["counts"]) == 3
    json.dumps(described, allow_nan=False)


def test_histogram_equals_numpys() -> None:
    stack = _stack("uint16", 3)
    found = Statistics(("red", "nir"))
    for image in stack:
        found.add(image)
    counts, edges = found.histogram("nir", 20)
    wanted, wanted_edges = np.histogram(stack[:, 1], 20)
    np.testing.assert_array_equal(counts, wanted)
    np.testing.assert_allclose(edges, wanted_edges)
    with pytest.raises(UsageError, match="swir"):
        found.histogram("swir")


def test_images_that_do_not_fit_are_refused() -> None:
    found = Statistics(("red", "nir"))
    found.add(np.ones((2, 3, 3), np.uint16))
    with pytest.raises(UsageError, match="bands"):
        found.add(np.ones((3, 3, 3), np.uint16))
    with pytest.raises(UsageError, match="kinds"):
        found.add(np.ones((2, 3, 3), np.float32))
    with pytest.raises(UsageError, match="int64"):
        Statistics(("red",)).add(np.ones((1, 2, 2), np.int64))
    with pytest.raises(UsageError, match="0 to 100"):
        found.percentile(101)


def test_f35_constants_come_from_the_training_part_alone() -> None:
    images = np.random.default_rng(0).integers(100, 200, (6, 2, 8, 8)).astype(np.uint16)
    images[4:] = 60_000
    dataset = make({"site": list("aabbcc")}, images=images)
    parts = dict(zip(dataset.samples["id"], ["train"] * 4 + ["test"] * 2, strict=True))
    constants = normalisation(dataset, Split(parts=parts, rule="site"))
    assert (constants.part, constants.images) == ("train", 4)
    assert max(constants.high) < 201
    assert normalisation(dataset).high[0] == 60_000
    assert normalisation(dataset).part == "all"


def test_f35_one_saturated_pixel_does_not_set_the_scale() -> None:
    images = np.random.default_rng(0).integers(100, 200, (4, 2, 16, 16)).astype(np.uint16)
    before = normalisation(make({"site": list("aabb")}, images=images))
    images[0, 0, 0, 0] = 65_535
    after = normalisation(make({"site": list("aabb")}, images=images))
    assert after.high[0] == pytest.approx(before.high[0], abs=2)
    stretched = after.stretch(images[1])
    assert np.percentile(stretched[0], 98) == pytest.approx(1, abs=0.05)


def test_constants_travel_with_the_set_and_survive_json() -> None:
    dataset = make({"site": list("aabb")})
    constants = normalisation(dataset)
    kept = with_normalisation(dataset, constants)
    assert stored_normalisation(kept) == constants
    text = json.dumps(constants.to_dict(), allow_nan=False)
    assert Normalisation.from_dict(json.loads(text)) == constants
    with pytest.raises(UsageError, match="no normalisation"):
        stored_normalisation(dataset)
    with pytest.raises(UsageError, match="other bands"):
        with_normalisation(make({"site": ["a"]}, images=np.ones((1, 3, 2, 2), np.uint16)), constants)


def test_standardised_values_have_mean_0_and_deviation_1() -> None:
    dataset = make({"site": list("aabb")})
    constants = normalisation(dataset)
    scaled = np.stack([constants.standardise(dataset.reader.image(i)) for i in range(4)])
    np.testing.assert_allclose(scaled.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=(0, 2, 3)), 1, atol=1e-5)
    empty = np.zeros((2, 2, 2), np.uint16)
    assert not constants.standardise(empty, nodata=0).any(), "no data is the mean, not the darkest value"
    assert constants.standardise(np.full((2, 1, 1), np.nan), None).tolist() == [[[0.0]], [[0.0]]]
    with pytest.raises(UsageError, match="fit"):
        constants.standardise(np.zeros((3, 2, 2)))


def test_bands_that_cannot_be_normalised_are_named() -> None:
    images = np.random.default_rng(0).integers(1, 9, (2, 2, 4, 4)).astype(np.uint16)
    images[:, 1] = 7
    with pytest.raises(UsageError, match="nir"):
        normalisation(make({"site": ["a", "b"]}, images=images))


def test_statistics_over_chosen_samples() -> None:
    dataset = make({"site": list("aabb")})
    assert extract_statistics(dataset, [1, 2]).images == 2
    exact = np.percentile(dataset.reader.images[[1, 2], 0], 2)
    assert extract_statistics(dataset, [1, 2]).percentile(2)[0] == pytest.approx(exact)
