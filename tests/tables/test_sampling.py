"""The pixel table: which columns, which pixels, which labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from table_sets import SIX, TWELVE, config, make, spec_of

from minescale.errors import ModelError, UsageError
from minescale.kernels.indices import SEED_INDICES
from minescale.labels.sets.dataset import ArrayReader
from minescale.models.features import compile_features
from minescale.models.pixel import features_of
from minescale.training.tables.columns import bands_of, columns, distinct, feature_names
from minescale.training.tables.distance import mask_distance
from minescale.training.tables.scaling import Scaling
from minescale.training.tables.settings import Sampling, settings_of
from minescale.training.tables.table import sample_table


def test_twelve_bands_have_sixty_six_pairs_none_twice() -> None:
    """F10: (144 - 12) / 2 inputs, not 144 - 12 / 2."""
    names = feature_names(("pairs",), spec_of(TWELVE))
    kept, equal = distinct(names, spec_of(TWELVE))
    assert len(names) == len(kept) == 66
    assert not equal
    assert names[0] == "ND_coastal_blue"
    assert names[-1] == "ND_swir16_swir22"


def test_fourteen_index_names_are_ten_features_up_to_sign() -> None:
    kept, equal = distinct(SEED_INDICES, spec_of(TWELVE))
    assert len(kept) == 10
    assert equal == {"MSI_seed": "-NDMI", "NDWI": "-GNDVI", "NDBI": "-NDMI", "NDSI": "MNDWI"}
    values = features_of(
        np.random.default_rng(1).uniform(0.1, 0.5, (12, 9)).astype(np.float32),
        compile_features(SEED_INDICES, spec_of(TWELVE)),
    )
    at = dict(zip(SEED_INDICES, values, strict=True))
    for name, same in equal.items():
        sign = -1 if same.startswith("-") else 1
        np.testing.assert_allclose(at[name], sign * at[same.lstrip("-")], rtol=1e-5)


def test_indices_are_already_among_the_pairs() -> None:
    kept, equal = distinct(feature_names(("pairs", "NDVI", "MNDWI", "MSI"), spec_of()), spec_of())
    assert equal == {"NDVI": "-ND_red_nir", "MNDWI": "ND_green_swir16"}
    assert "MSI" in kept  # a ratio, no normalised difference


def test_only_bands_that_features_read_are_kept() -> None:
    assert bands_of(("ND_red_nir", "NBR2"), spec_of()) == ("red", "nir", "swir16", "swir22")
    with pytest.raises(ModelError, match="cannot be computed from its bands"):
        feature_names(("NDVI705",), spec_of())


def test_the_same_seed_draws_the_same_pixels_whatever_else_is_there() -> None:
    dataset, sampling = make(4), Sampling(features=SIX, samples_per_image=50)
    whole = sample_table(dataset, SIX, spec_of(), sampling, seed=3, target=1)
    alone = sample_table(dataset.subset([2]), SIX, spec_of(), sampling, seed=3, target=1)
    np.testing.assert_array_equal(whole.x[whole.group == 2], alone.x)
    assert whole.groups == tuple(f"place {k}" for k in range(4))
    assert np.bincount(whole.group).tolist() == [50] * 4
    other = sample_table(dataset, SIX, spec_of(), sampling, seed=4, target=1)
    assert (other.x != whole.x).any()


def test_a_percentage_of_usable_pixels_is_taken() -> None:
    sampling = Sampling(percent=10, samples_per_image=10_000)
    table = sample_table(make(2), SIX, spec_of(), sampling, target=1)
    usable = 40 * 40 - 40 - 9
    assert np.bincount(table.group).tolist() == [int(np.ceil(usable / 10))] * 2
    assert np.isfinite(table.x).all()
    assert (table.x > 0).all()


def test_balance_takes_as_many_of_either_side() -> None:
    table = sample_table(make(3), SIX, spec_of(), Sampling(balance=True, samples_per_image=60), target=1)
    assert table.inside.sum() == 90
    assert len(table) == 180


def test_distances_are_those_to_the_other_side() -> None:
    share = np.zeros((9, 11), np.float32)
    share[3:6, 4:9] = 1
    share[0, :2] = np.nan
    found = mask_distance(share, 10.0)
    ys, xs = np.indices(share.shape)
    for y, x in np.ndindex(share.shape):
        if np.isnan(share[y, x]):
            assert np.isnan(found[y, x])
            continue
        other = (share == 1) if share[y, x] == 0 else (share == 0)
        nearest = np.hypot(ys[other] - y, xs[other] - x).min()
        sign = 1 if share[y, x] == 0 else -1
        assert found[y, x] == pytest.approx(sign * (nearest - 0.5) * 10)
    assert np.isposinf(mask_distance(np.zeros((3, 3), np.float32), 10.0)).all()


def test_distances_are_cut_and_pixels_near_an_edge_left_out() -> None:
    dataset = make(2)
    table = sample_table(dataset, SIX, spec_of(), Sampling(buffer_m=20, clip_m=60), distances=True, target=1)
    assert table.distance is not None
    assert np.abs(table.distance).min() >= 20
    assert table.distance.max() == 60
    assert ((table.distance < 0) == table.inside).all()
    every = sample_table(dataset, SIX, spec_of(), Sampling(), distances=True, target=1)
    assert every.distance is not None
    assert len(table) == (np.abs(every.distance) >= 20).sum()


def test_patches_average_pixels_and_labels() -> None:
    dataset = make(1, size=42)
    table = sample_table(dataset, SIX, spec_of(), Sampling(patch=4, samples_per_image=10_000), target=1)
    image, mask = dataset.reader.image(0), dataset.reader.mask(0)
    assert mask is not None
    first = image[:, 4:8, :4].reshape(6, -1).mean(axis=1)
    known = np.where(mask == 255, np.nan, mask)[:40, :40].reshape(10, 4, 10, 4).astype(float)
    shares = np.nanmean(known, axis=(1, 3))
    assert len(table) == 100
    np.testing.assert_allclose(table.share, shares.ravel())
    np.testing.assert_allclose(table.x[10], np.floor(first + 0.5) / 1e4, rtol=1e-6)


def test_a_sample_labelled_whole_lends_its_label_to_its_middle() -> None:
    dataset = make(5, masked=False)
    middle = sample_table(dataset, SIX, spec_of(), Sampling(), target=1)
    assert len(middle) == 5
    np.testing.assert_array_equal(middle.inside, dataset.samples["label"] == 1)
    image = dataset.reader.image(0)
    assert (middle.x[0] * 1e4).round().tolist() in image[:, 19:20, 19:20].reshape(6, -1).T.tolist()
    whole = sample_table(dataset, SIX, spec_of(), Sampling(centre=0, samples_per_image=10_000), target=1)
    assert len(whole) == 5 * (40 * 40 - 40)
    with pytest.raises(UsageError, match="no distance to an edge"):
        sample_table(dataset, SIX, spec_of(), Sampling(), distances=True, target=1)


def test_one_place_is_grouped_by_image() -> None:
    dataset = make(3)
    dataset = replace(dataset, samples=dataset.samples.assign(site="one"))
    assert sample_table(dataset, SIX, spec_of(), Sampling(), target=1).groups == ("i0", "i1", "i2")


def test_nothing_to_sample_is_an_error() -> None:
    dataset = make(2)
    empty = replace(dataset, reader=ArrayReader(np.zeros((2, 6, 8, 8), np.uint16), np.zeros((2, 8, 8), np.uint8)))
    with pytest.raises(UsageError, match="no pixel of pits"):
        sample_table(empty, SIX, spec_of(), Sampling(), target=1)
    with pytest.raises(UsageError, match="known size"):
        sample_table(replace(dataset, resolution_m=None), SIX, spec_of(), Sampling(), distances=True, target=1)


def test_columns_without_a_value_count_as_average() -> None:
    pixels = np.array([[100, 300, 0], [200, 100, 0]], np.uint16)
    spec = spec_of(("red", "nir"))
    table = columns(pixels, ("red", "ND_red_nir"), spec)
    np.testing.assert_allclose(table[:2, 1], [-1 / 3, 0.5], rtol=1e-5)
    assert np.isnan(table[2, 1])
    scaling = Scaling.of(table)
    assert scaling(table)[2, 1] == 0
    assert abs(scaling(table)[:, 1].sum()) < 1e-6


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lamdas": 10}, "lambdas"),
        ({"lambdas": 1}, "3 to 1000"),
        ({"lambdas": 10.5}, "whole number"),
        ({"choice": "best"}, "1se | min"),
        ({"percent": 0}, "1e-06 to 100"),
        ({"features": [1, 2]}, "list of names"),
        ({"balance": 1}, "bool"),
        ({"trees": 5}, "unknown hyperparameter"),
        ({"buffer_m": float("nan")}, "number from 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_of(config("lasso", **values))
    assert words in str(caught.value)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(UsageError, match="no family of the pixel table"):
        settings_of(config("lassso"))
