"""R019, R020, R022, R026, R053, R054, R112, R113, R129, R130, R132: what a set holds, counted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from minescale.errors import UsageError
from minescale.labels.auditing.audit import audit
from minescale.labels.auditing.card import SITE_COLUMNS, geography, make_card, site_table
from minescale.labels.auditing.classstats import class_counts, class_table, drop_background, total_cooccurrence
from minescale.labels.auditing.published import published_split, published_table
from minescale.labels.auditing.splitting import split_by
from minescale.labels.auditing.strata import LOOK_ALIKES, false_positive_rates, rates, wilson
from minescale.labels.places.hardnegatives import KINDS
from minescale.labels.preparation.augment import augmented
from minescale.labels.preparation.resolution import check_pixel_size, class_widths, too_small
from minescale.labels.sets.classes import ASGM, THREE_CLASS
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import Split
from tests.labels.small_sets import make


class Blank:
    """5,800 samples that are all alike; three of their four labelled pixels by row."""

    def image(self, row: int) -> np.ndarray:
        return np.full((2, 2, 2), 1 + row % 9, np.uint16)

    def mask(self, row: int) -> np.ndarray:
        return np.array([[0, 0], [row % 3, 2 if row % 2 else 0]], np.uint8)


def global_mining() -> Dataset:
    table = published_table("gmd_v1")
    rows = table.loc[table.index.repeat(table["images"])].reset_index(drop=True)
    columns = {"site": rows["base_site"], "continent": rows["continent"], "country": rows["country"]}
    return make(columns, reader=Blank(), images=np.zeros((1, 2, 2, 2), np.uint16), classes=THREE_CLASS)


def test_r020_the_table_made_from_the_samples_equals_the_shipped_one() -> None:
    dataset = global_mining()
    made = site_table(dataset, published_split(dataset, "gmd_v1"))
    assert tuple(made.columns) == SITE_COLUMNS
    pd.testing.assert_frame_equal(made, published_table("gmd_v1"), check_dtype=False)


def test_r020_r022_the_card_of_the_published_set() -> None:
    dataset = global_mining()
    split = published_split(dataset, "gmd_v1")
    card = make_card(dataset, split)
    assert {p: round(s, 2) for p, s in card.shares.items()} == {"train": 75.66, "val": 16.55, "test": 7.79}
    assert card.counts == {"samples": 5800, "independent": 5800, "sites": 33, "with_pixels": 5800, "with_class": 0}
    text = card.to_markdown()
    assert "| Train (75.66 %) | Africa | Cameroon | Cameroon Kadei River Batouri | 201 |" in text
    assert "|  |  | Mali | Mali Faleme Upper | 271 |" in text
    assert "- **Asia:** Indonesia, Myanmar, Russia, Mongolia, Philippines" in text
    assert "| test | 452 |" in text, "class statistics by part"
    values = json.loads(json.dumps(card.to_dict(), allow_nan=False))
    assert len(values["sites"]) == 33
    assert values["geography"]["North America"] == ["Nicaragua"]


def test_r019_every_continent_of_the_test_has_its_row() -> None:
    dataset = global_mining()
    table = site_table(dataset, published_split(dataset, "gmd_v1"))
    rows = table[table["split"] == "test"].groupby("continent")["images"].sum().to_dict()
    assert rows == {"Africa": 193, "Asia": 66, "South America": 141, "North America": 52}
    assert list(geography(table)) == ["Africa", "Asia", "South America", "North America"]


def test_r022_pixels_of_each_class_by_part() -> None:
    masks = np.array([[[0, 1], [2, 2]], [[0, 0], [0, 1]], [[0, 0], [0, 0]]], np.uint8)
    dataset = make({"site": list("abc")}, masks=masks, classes=THREE_CLASS)
    split = Split(parts={"s0000": "train", "s0001": "train", "s0002": "test"}, rule="site")
    table = class_table(dataset, split)
    assert table.loc["train"].to_dict() == {
        "images": 2, "without_mining": 1, "background": 4, "cloud": 2, "mining": 2, "ignored": 0, "prevalence": 0.25,
    }  # fmt: skip
    assert table.loc["test", ["images", "without_mining", "prevalence"]].tolist() == [1, 1, 0]
    assert "val" not in table.index
    assert class_table(dataset).index.tolist() == ["all"]


def test_r022_ignored_pixels_and_whole_samples() -> None:
    masks = np.array([[[255, 255], [0, 1]], [[255] * 2] * 2], np.uint8)
    found = class_counts(make({"site": list("ab")}, masks=masks))
    assert found.to_numpy().tolist() == [[1, 1, 2], [0, 0, 4]]
    whole = make({"site": list("abc"), "label": [1, 0, None]})
    assert class_counts(whole).to_numpy().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert class_table(whole)["prevalence"].tolist() == [0.5]
    with pytest.raises(UsageError, match="7"):
        class_counts(make({"site": ["a"]}, masks=np.full((1, 2, 2), 7, np.uint8)))


def test_r112_a_set_adds_up_its_masks() -> None:
    masks = np.array([[[0, 1], [1, 1]], [[0, 0], [0, 255]]], np.uint8)
    total = total_cooccurrence(make({"site": list("ab")}, masks=masks))
    assert total.tolist() == [[1, 1], [0, 1]]
    with pytest.raises(UsageError, match="whole samples"):
        total_cooccurrence(make({"label": [0, 1]}))


def test_r113_tiles_of_mere_background_go() -> None:
    masks = np.zeros((4, 10, 10), np.uint8)
    masks[0, :5] = 1  # half
    masks[1, 0, :2] = 1  # 2 %
    masks[2, 0, 0] = 1  # 1 %
    dataset = make({"site": list("abcd")}, masks=masks)
    thinned = drop_background(dataset, 0.98)
    assert thinned.dataset.samples["site"].tolist() == ["a", "b"], "0.98 exactly stays"
    np.testing.assert_allclose(thinned.before, [0.5, 0.98, 0.99, 1])
    np.testing.assert_allclose(thinned.after, [0.5, 0.98])
    assert thinned.dataset.provenance["thinned"] == {
        "max_background_share": 0.98, "tiles_before": 4, "tiles_after": 2,
    }  # fmt: skip
    np.testing.assert_array_equal(thinned.dataset[1][1], masks[1])
    with pytest.raises(UsageError, match="more background"):
        drop_background(dataset, 0.1)
    with pytest.raises(UsageError, match="0 to 1"):
        drop_background(dataset, 98)


def test_f28_f39_counts_are_exact_and_copies_are_not_samples() -> None:
    dataset = make({"site": list("aabb"), "label": [0, 1, 1, None]})
    card = make_card(augmented(dataset, 5))
    assert card.counts == {"samples": 20, "independent": 4, "sites": 2, "with_pixels": 0, "with_class": 15}
    masks = np.zeros((3, 2, 2), np.uint8)
    masks[2] = 255
    assert make_card(make({"site": list("abc")}, masks=masks)).counts["with_pixels"] == 2


def test_r026_rows_per_country_with_n_and_interval() -> None:
    dataset = make({"label": [1, 0, 1, 1, 0], "country": ["Ghana", "Ghana", "Mali", "Mali", None]})
    card = make_card(dataset)
    assert card.countries["n"].to_dict() == {"Ghana": 2, "Mali": 2, "unknown": 1}
    assert card.countries["hits"].to_dict() == {"Ghana": 1, "Mali": 2, "unknown": 0}
    assert "| Ghana | 2 | 1 | 0.5 |" in card.to_markdown()
    # Wilson's interval for 1 of 2 and 2 of 2, by hand.
    assert card.countries.loc["Ghana", ["low", "high"]].tolist() == pytest.approx([0.0945, 0.9055], abs=1e-4)
    assert card.countries.loc["Mali", ["low", "high"]].tolist() == pytest.approx([0.3424, 1.0], abs=1e-4)


def test_intervals_of_nothing_say_nothing() -> None:
    low, high = wilson([0, 0, 10], [0, 10, 10])
    assert (low[0], high[0]) == (0, 1)
    assert high[1] == pytest.approx(0.2775, abs=1e-4)
    assert low[2] == pytest.approx(1 - 0.2775, abs=1e-4)
    with pytest.raises(UsageError, match="length"):
        rates(pd.Series(["a"]), [True, False])


def test_r053_r132_false_alarms_per_kind_of_negative() -> None:
    kind = ["forest", "forest", "sandbar", "sandbar", None, "forest"]
    dataset = make({"label": [0, 0, 0, 0, 0, 1], "kind": kind})
    table = false_positive_rates(dataset, [False] * 5 + [True], [False, False, True, False, True, True])
    assert set(LOOK_ALIKES) <= set(KINDS)
    assert table.index.tolist() == [*LOOK_ALIKES, "forest", "unknown"]
    assert table["n"].tolist() == [2, 0, 0, 2, 1]
    assert table["hits"].tolist() == [1, 0, 0, 0, 1]
    assert table["rate"].iloc[0] == 0.5
    assert np.isnan(table["rate"].iloc[1]), "not tested is not 0"
    with pytest.raises(UsageError, match="no negative"):
        false_positive_rates(dataset, [True] * 6, [True] * 6)
    with pytest.raises(UsageError, match="per sample"):
        false_positive_rates(dataset, [False] * 6, [True])


def test_r054_source_by_class_is_on_the_card() -> None:
    dataset = make({"label": [0, 0, 1], "source": ["api", "api", "dams"]})
    card = make_card(dataset)
    assert card.to_dict()["sources"] == {"api": {"0": 2, "1": 0}, "dams": {"0": 0, "1": 1}}
    assert "| dams | 0 | 1 |" in card.to_markdown()


def test_the_card_tells_split_distances_and_audit() -> None:
    dataset = make(
        {"site": list("abcdef"), "label": [0, 1] * 3, "lon": np.arange(6.0), "lat": 5.0, "kind": ["town", None] * 3}
    )
    split = split_by(dataset, "site")
    card = make_card(dataset, split, audit(dataset, split))
    text = card.to_markdown()
    assert "val: unseen sites" in text
    assert "m apart" in text
    assert "| town | 3 |" in text
    assert card.to_dict()["split"]["settings"]["seed"] == 0
    outside = replace(split, parts={"s0000": "train"})
    assert site_table(dataset, outside)["images"].tolist() == [1]


def test_r129_pixels_of_another_size_are_refused_unless_forced() -> None:
    assert check_pixel_size(10, 15) == check_pixel_size(10, 10 / 1.5) == ""
    for size in (15.1, 6.6, 30, None):
        with pytest.raises(UsageError, match="10 m"):
            check_pixel_size(10, size)
    assert "30 m" in check_pixel_size(10, 30, force=True)
    assert "unknown size" in check_pixel_size(10, None, force=True)


def test_r130_f41_huts_are_too_small_for_coarse_pixels() -> None:
    masks = np.zeros((1, 64, 64), np.uint8)
    masks[0, 4:24, 4:24] = 1  # a pit of 20 px
    masks[0, 30:33] = 2  # a road, three pixels wide and as long as the image
    masks[0, 40, 40] = masks[0, 50, 50] = masks[0, 55:57, 5:7] = 3  # huts
    drawn = make(
        {"site": ["a"]}, masks=masks, classes=ASGM, resolution_m=2.5, images=np.ones((1, 4, 64, 64), np.uint16)
    )
    widths = class_widths(drawn)
    assert widths.loc["asgm", "median_px"] == pytest.approx(19)
    assert widths.loc["hauling road", "median_px"] == 3
    assert widths.loc["hut", ["objects", "median_px", "median_m"]].tolist() == [3, 1, 2.5]
    assert too_small(widths, 0.5) == []
    assert [s.split(":")[0] for s in too_small(widths, 5)] == ["hauling road", "hut"]
    assert len(too_small(widths, 20)) == 3
    with pytest.raises(UsageError, match="whole samples"):
        class_widths(make({"label": [0, 1]}))


def test_r086_columns_that_are_not_known_are_null_and_no_sample_is_dropped() -> None:
    dataset = make({"site": list("abc"), "country": ["Ghana", None, None]})
    table = site_table(dataset)
    assert table["images"].sum() == 3
    assert table["country"].isna().sum() == 2
    assert table["continent"].isna().all()
