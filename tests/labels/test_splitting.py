"""R016-R018, R073, R074, R090, R111: splits by site, block, image or column, and the published one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.errors import UsageError
from minescale.labels.auditing.nearness import nearness
from minescale.labels.auditing.published import published_split, published_table
from minescale.labels.auditing.splitting import deal, kfold, split_by, split_from_column
from minescale.labels.preparation.augment import augmented
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import PARTS, Split
from minescale.labels.shapes.sites import site_key
from tests.labels.small_sets import make


def _counts(dataset: Dataset, split: Split) -> list[int]:
    return [len(split.rows(dataset, part)) for part in PARTS]


def _scattered(n: int = 200, seed: int = 0, sites: int = 50) -> Dataset:
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(-3, 1, n), rng.uniform(5, 11, n)
    site = [f"p{i}" for i in rng.integers(0, sites, n)]
    return make({"lon": lon, "lat": lat, "site": site, "country": rng.choice(["Ghana", "Mali", "Togo", None], n)})


def _parts_of(dataset: Dataset, split: Split, column: str) -> pd.Series:
    part = dataset.samples["id"].map(split.parts)
    return part.groupby(dataset.samples[column]).nunique()


def test_r016_the_published_table_has_the_published_numbers() -> None:
    table = published_table("gmd_v1")
    assert table.groupby("split").size().to_dict() == {"train": 20, "val": 6, "test": 7}
    images = table.groupby("split")["images"].sum()
    assert images.to_dict() == {"train": 4388, "val": 960, "test": 452}
    assert images.sum() == 5800
    assert (100 * images / 5800).round(2).to_dict() == {"train": 75.66, "val": 16.55, "test": 7.79}
    assert table["base_site"].is_unique
    assert set(table[table["split"] == "test"]["continent"]) == {"Africa", "Asia", "South America", "North America"}


def test_r016_samples_go_where_their_base_site_was_published() -> None:
    sites = ["peru_la_pampa_north_agm_region_3", "Peru La Pampa North", "DRC Lindi River Upper", "elsewhere"]
    dataset = make({"site": sites})
    split = published_split(dataset, "gmd_v1")
    assert split.parts == {"s0000": "train", "s0001": "train", "s0002": "val"}
    assert split.settings["unlisted"] == 1
    with pytest.raises(UsageError, match="no site"):
        published_split(make({"site": ["elsewhere"]}), "gmd_v1")
    with pytest.raises(UsageError, match="gmd_v1"):
        published_split(dataset, "gmd_v9")


def test_r016_a_split_published_with_the_set_is_taken_over() -> None:
    dataset = make({"split": ["train", "test", None, "val"]})
    assert split_from_column(dataset).parts == {"s0000": "train", "s0001": "test", "s0003": "val"}
    with pytest.raises(UsageError, match="no column"):
        split_from_column(make({"site": ["a"]}))
    with pytest.raises(UsageError, match="holdout"):
        split_from_column(make({"split": ["holdout"]}))


@pytest.mark.parametrize("by", ["site", "block", "country"])
def test_r017_no_site_is_in_two_parts(by: str) -> None:
    dataset = _scattered(sites=150 if by == "block" else 3 if by == "country" else 50)
    if by == "country":
        dataset.samples["site"] = dataset.samples["country"].fillna("none") + dataset.samples["site"]
    split = split_by(dataset, by, block_km=30)
    assert _parts_of(dataset, split, "site").max() == 1
    assert all(_counts(dataset, split))


def test_r018_seen_sites_are_a_mode_that_is_named() -> None:
    dataset = _scattered()
    unseen, seen = split_by(dataset, "site"), split_by(dataset, "site", val_mode="seen")
    assert (unseen.settings["val_mode"], seen.settings["val_mode"]) == ("unseen", "seen")
    site = dataset.samples["site"].to_numpy()
    train, val, test = (set(site[seen.rows(dataset, part)]) for part in PARTS)
    assert len(train & val) > 10
    assert not test & (train | val)
    for got, wanted in zip(_counts(dataset, seen), (120, 40, 40), strict=True):
        assert abs(got - wanted) <= 1
    with pytest.raises(UsageError, match="val_mode"):
        split_by(dataset, "site", val_mode="both")  # type: ignore[arg-type]


def test_f04_the_published_split_has_no_site_in_train_and_val() -> None:
    table = published_table("gmd_v1")
    assert table["base_site"].map(site_key).is_unique, "the text says overlapping; the table says disjoint"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=3, max_size=40),
    st.integers(6, 80),
    st.integers(0, 5),
)
def test_r111_fractions_within_one_tile_where_groups_allow(large: list[int], single: int, seed: int) -> None:
    sizes = [*large, *([1] * max(single, sum(large)))]
    groups = np.repeat(np.arange(len(sizes)), sizes)
    part = deal(groups, (0.6, 0.2, 0.2), np.random.default_rng(seed))
    for p, share in enumerate((0.6, 0.2, 0.2)):
        assert abs((part == p).sum() - share * len(groups)) <= 1
    for g in range(len(sizes)):
        assert len(set(part[groups == g].tolist())) == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=3, max_size=12), st.integers(0, 5))
def test_r111_every_part_gets_a_group_however_uneven_they_are(sizes: list[int], seed: int) -> None:
    part = deal(np.repeat(np.arange(len(sizes)), sizes), (0.6, 0.2, 0.2), np.random.default_rng(seed))
    assert set(part.tolist()) == {0, 1, 2}


def test_r111_118_tiles_are_60_20_20() -> None:
    dataset = make({"site": [f"t{i}" for i in range(118)]})
    assert _counts(dataset, split_by(dataset, "site")) == [71, 23, 24] or _counts(
        dataset, split_by(dataset, "site")
    ) == [71, 24, 23]


def test_r111_blocks_are_squares_of_equal_area() -> None:
    rng = np.random.default_rng(3)
    dataset = make({"lon": rng.uniform(-3, 1, 300), "lat": rng.uniform(5, 11, 300), "site": np.arange(300).astype(str)})
    split = split_by(dataset, "block", block_km=50)
    part = dataset.samples["id"].map(split.parts)
    import pyproj

    x, y = pyproj.Transformer.from_crs(4326, 6933, always_xy=True).transform(dataset.samples.lon, dataset.samples.lat)
    block = pd.Series(list(zip(np.floor(np.array(x) / 5e4), np.floor(np.array(y) / 5e4), strict=True)))
    assert part.groupby(block).nunique().max() == 1
    assert (split.rule, split.settings["block_km"]) == ("block", 50)
    with pytest.raises(UsageError, match="1 of 2"):
        split_by(make({"lon": [1.0, np.nan], "lat": [1.0, 2.0]}), "block")
    with pytest.raises(UsageError, match="kilometres"):
        split_by(dataset, "block", block_km=0)


def test_r111_the_smallest_distance_between_parts_is_geodesic() -> None:
    dataset = make({"lon": [0.0, 0.01, 179.9999, -179.9999], "lat": [0.0, 0.0, 10, 10], "site": list("abcd")})
    split = Split(parts=dict(zip(dataset.samples["id"], ["train", "val", "train", "test"], strict=True)), rule="site")
    found = {(n.first, n.second): n for n in nearness(dataset, split, within_m=1000)}
    assert found["train", "val"].metres == pytest.approx(1113.195, abs=0.01)  # 0.01 degree of the equator
    assert found["train", "val"].closer == 0
    assert found["train", "test"].metres == pytest.approx(21.93, abs=0.05), "across the antimeridian"
    assert found["train", "test"].pair == ("s0002", "s0003")
    assert found["train", "test"].closer == 1


def test_r111_distances_equal_brute_force() -> None:
    import pyproj

    dataset = _scattered(120)
    split = split_by(dataset, "site")
    geod = pyproj.Geod(ellps="WGS84")
    for found in nearness(dataset, split, within_m=20_000):
        a, b = split.rows(dataset, found.first), split.rows(dataset, found.second)
        table = dataset.samples
        metres = np.array([[geod.inv(table.lon[i], table.lat[i], table.lon[j], table.lat[j])[2] for i in a] for j in b])
        assert found.metres == pytest.approx(metres.min(), abs=1e-6)
        assert found.closer == (metres.min(axis=1) < 20_000).sum()


def test_r111_parts_can_be_kept_apart() -> None:
    dataset = _scattered(150, sites=150)
    near = min(found.metres for found in nearness(dataset, split_by(dataset, "site")))
    split = split_by(dataset, "site", apart_m=15_000)
    assert near < 5_000
    assert min(found.metres for found in nearness(dataset, split)) >= 15_000
    assert split.settings["apart_m"] == 15_000
    placeless = make({"lon": [np.nan, 1.0, 1.001], "lat": [np.nan, 1.0, 1.0], "site": list("abc")})
    with pytest.raises(UsageError, match="2 groups"):
        split_by(placeless, "site", apart_m=500)


def test_r072_r073_pixels_of_an_image_are_never_parted() -> None:
    pixels = pd.DataFrame({"id": [f"p{i}" for i in range(300)], "parent": [f"image{i % 30}" for i in range(300)]})
    dataset = make(pixels, images=np.ones((300, 2, 1, 1), np.uint16))
    split = split_by(dataset, "image")
    assert _parts_of(dataset, split, "parent").max() == 1
    assert split.settings["val_mode"] == "seen", "another pixel table of the same sites"
    assert _counts(dataset, split) == [180, 60, 60]


def test_r074_any_column_groups_and_null_is_a_group_of_its_own() -> None:
    dataset = _scattered(300)
    dataset.samples["site"] = dataset.samples["id"]
    split = split_by(dataset, "country", (0.5, 0.25, 0.25))
    assert split.rule == "column:country"
    part = dataset.samples["id"].map(split.parts)
    assert part.notna().all(), "a missing country is a group, not a loss"
    assert part.groupby(dataset.samples["country"].fillna("none")).nunique().max() == 1
    with pytest.raises(UsageError, match="land_cover"):
        split_by(dataset, "land_cover")


def test_f21_siblings_follow_their_parent() -> None:
    dataset = augmented(make({"site": list("aabbccdd")}), 5, full_scale=10_000)
    for by in ("site", "image"):
        split = split_by(dataset, by)
        assert _parts_of(dataset, split, "parent").max() == 1
        assert len(split.parts) == 40


def test_r090_the_same_request_gives_the_same_split_and_another_seed_another() -> None:
    dataset = _scattered()
    first = split_by(dataset, "site", seed=1)
    assert first == split_by(dataset, "site", seed=1)
    assert first.parts != split_by(dataset, "site", seed=2).parts
    assert Split.from_json(first.to_json()) == first


def test_folds_are_disjoint_and_cover_the_set() -> None:
    dataset = _scattered()
    folds = kfold(dataset, "site", 5)
    vals = [set(fold.rows(dataset, "val").tolist()) for fold in folds]
    assert sorted(i for val in vals for i in val) == list(range(200))
    for fold in folds:
        assert _parts_of(dataset, fold, "site").max() == 1
        assert abs(len(fold.rows(dataset, "val")) - 40) <= 1
    with pytest.raises(UsageError, match="folds"):
        kfold(dataset, "site", 1)
    with pytest.raises(UsageError, match="too few groups"):
        kfold(make({"site": ["a", "a", "b"]}), "site", 5)


def test_folds_with_a_test_decide_on_the_fold_after_it() -> None:
    dataset = _scattered()
    folds = kfold(dataset, "site", 5, test=True)
    tests, vals = ([set(fold.rows(dataset, part).tolist()) for fold in folds] for part in ("test", "val"))
    assert sorted(i for part in tests for i in part) == list(range(200))
    assert vals == [*tests[1:], tests[0]]
    for fold in folds:
        assert _parts_of(dataset, fold, "site").max() == 1
        assert len(fold.parts) == 200
    with pytest.raises(UsageError, match="folds"):
        kfold(dataset, "site", 2, test=True)


def test_folds_are_as_far_apart_as_asked_for() -> None:
    line = make(
        {"site": [str(i) for i in range(12)], "lon": [0.001 * (i // 2) + (i % 2) for i in range(12)], "lat": 0.0}
    )
    together = kfold(line, "site", 2, apart_m=1000.0)
    assert together[0].settings["apart_m"] == 1000.0
    halves = {frozenset(fold.rows(line, "val").tolist()) for fold in together}
    assert halves == {frozenset(range(0, 12, 2)), frozenset(range(1, 12, 2))}


@pytest.mark.parametrize("fractions", [(0.6, 0.4), (0.5, 0.2, 0.2), (1.2, -0.1, -0.1)])
def test_fractions_that_cannot_be(fractions: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="add up to 1"):
        split_by(_scattered(), "site", fractions)


def test_a_part_may_be_left_empty_and_too_few_groups_are_refused() -> None:
    dataset = make({"site": list("aabb")})
    split = split_by(dataset, "site", (0.5, 0, 0.5))
    assert _counts(dataset, split) == [2, 0, 2]
    with pytest.raises(UsageError, match="2 groups"):
        split_by(dataset, "site")
