"""R017-R019, R054, F20, F21, F36, F39, F51: an audit that passes what is sound and catches what was planted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.errors import UsageError
from minescale.labels.auditing.audit import Audit, audit
from minescale.labels.auditing.confounding import common_support, contingency, cramers_v, metadata_score, sample_classes
from minescale.labels.auditing.published import published_split, published_table
from minescale.labels.auditing.splitting import split_by
from minescale.labels.auditing.survey import digest
from minescale.labels.preparation.augment import TURNS, augmented, flips_and_rotations
from minescale.labels.sets.dataset import ArrayReader, Dataset
from minescale.labels.sets.split import Split
from tests.labels.small_sets import make

CONTINENTS = ["Africa", "Asia", "South America", "North America"]


def sound(n: int = 240, seed: int = 0) -> Dataset:
    """Both classes from both sources, 40 sites far apart, labels of the year of their image."""
    rng = np.random.default_rng(seed)
    site = np.arange(n) % 40
    return make(
        {
            "site": [f"p{s}" for s in site],
            "source": rng.choice(["x", "y"], n),
            "label": rng.integers(0, 2, n),
            "lon": site % 8 + rng.uniform(0, 0.1, n),
            "lat": site // 8 + rng.uniform(0, 0.1, n),
            "image_date": rng.choice(["2018-10-01", "2019-07-03"], n),
            "label_epoch": 2019,
            "continent": [CONTINENTS[s % 4] for s in site],
            "kind": "forest",
        },
        seed=seed,
    )


def _with(dataset: Dataset, **columns: object) -> Dataset:
    return replace(dataset, samples=dataset.samples.assign(**columns))


def _checks(found: Audit, severity: str = "error") -> list[str]:
    return [f.check for f in found.findings if f.severity == severity]


def test_a_sound_split_passes() -> None:
    dataset = sound()
    found = audit(dataset, split_by(dataset, "site"))
    assert found.ok, found.to_text()
    assert found.require() == found.caveat == ""
    assert found.val_sentence == "val: unseen sites"
    assert sum(n["samples"] for n in found.parts.values()) == 240
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["ok"] is True


def test_r017_a_planted_shared_site_fails() -> None:
    dataset = sound()
    split = split_by(dataset, "site")
    moved = dict(split.parts)
    test = split.rows(dataset, "test")[0]
    moved[dataset.samples["id"].iloc[test]] = "train"
    found = audit(dataset, replace(split, parts=moved))
    assert "sites" in _checks(found)
    with pytest.raises(UsageError, match="share 1 site"):
        found.require()


def test_a_forced_use_says_so_in_every_score() -> None:
    dataset = sound()
    parts = {name: ("train", "val", "test")[i % 3] for i, name in enumerate(dataset.samples["id"])}
    found = audit(dataset, Split(parts=parts, rule="random"))
    caveat = found.require(force=True)
    assert "no evidence of skill" in caveat
    assert "share" in caveat
    assert caveat == found.caveat


def test_r018_f04_seen_sites_are_excused_for_val_and_said_and_never_for_the_test() -> None:
    dataset = sound()
    split = split_by(dataset, "site", val_mode="seen")
    found = audit(dataset, split)
    assert found.ok, found.to_text()
    assert found.val_sentence == "val: seen sites"
    assert "val: seen sites" in found.to_text()
    assert found.to_dict()["val"] == "val: seen sites"
    told_otherwise = replace(split, settings=split.settings | {"val_mode": "unseen"})
    assert "sites" in _checks(audit(dataset, told_otherwise))
    by_image = split_by(dataset, "image")
    assert "sites" in _checks(audit(dataset, by_image)), "the test shares sites with train"


def test_r019_missing_continents_are_named() -> None:
    table = published_table("gmd_v1")
    dataset = make({"site": table["base_site"], "continent": table["continent"]})
    split = published_split(dataset, "gmd_v1")
    assert "continents" not in _checks(audit(dataset, split), "warning")
    away = _with(dataset, continent=table["continent"].replace("Asia", "Africa"))
    found = audit(away, split)
    assert [f.numbers["missing"] for f in found.findings if f.check == "continents"] == [["Asia"]]
    assert found.ok, "a warning"


def test_near_neighbours_fail() -> None:
    dataset = sound()
    split = split_by(dataset, "site")
    lon, lat = dataset.samples["lon"].to_numpy().copy(), dataset.samples["lat"].to_numpy().copy()
    a, b = split.rows(dataset, "train")[0], split.rows(dataset, "test")[0]
    lon[b], lat[b] = lon[a], lat[a] + 0.0002  # 22 m: images of 4 px of 10 m overlap
    moved = _with(dataset, lon=lon, lat=lat)
    found = audit(moved, split)
    (near,) = [f for f in found.failures if f.check == "neighbours"]
    assert near.numbers["metres"] == pytest.approx(22.1, abs=0.2)
    assert near.numbers["limit_m"] == 40
    assert audit(moved, split, near_m=10).ok
    placeless = _with(dataset, lon=np.where(np.arange(240) < 7, np.nan, lon))
    notes = [f.message for f in audit(placeless, split).findings if f.check == "neighbours"]
    assert any("7 of 240" in m for m in notes)


def test_f21_augmented_siblings_across_parts_fail() -> None:
    dataset = sound(40)
    copies = augmented(dataset, 5)
    leaking = {name: ("train", "val", "test")[i % 3] for i, name in enumerate(copies.samples["id"])}
    found = audit(copies, Split(parts=leaking, rule="random"))
    assert "siblings" in _checks(found)
    good = audit(copies, split_by(copies, "site"))
    assert good.ok, good.to_text()
    assert good.parts["train"]["parents"] * 5 == good.parts["train"]["samples"], "F39: independent samples"


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_f21_siblings_whose_parent_got_lost_are_found_by_their_pixels(turn: object) -> None:
    dataset = sound()
    split = split_by(dataset, "site")
    images = dataset.reader.images.copy()
    a, b = split.rows(dataset, "train")[0], split.rows(dataset, "test")[0]
    images[b] = turn(images[a])  # type: ignore[operator]
    found = audit(replace(dataset, reader=ArrayReader(images)), split)
    assert _checks(found) == ["pixels"]
    assert audit(replace(dataset, reader=ArrayReader(images)), split, pixels=False).ok
    for blank in (np.full((2, 4, 4), 7), np.full((2, 4, 4), np.nan), np.zeros((2, 0, 4))):
        assert digest(blank) is None, "blank tiles are alike without being copies"


def test_f21_flips_and_rotations_are_one_picture() -> None:
    made = flips_and_rotations(sound(8))
    table = made.samples.drop(columns="parent").assign(site=made.samples["id"])
    orphans = replace(made, samples=table)
    split = Split(parts={n: ("train", "test")[i % 2] for i, n in enumerate(table["id"])}, rule="random")
    assert "pixels" in _checks(audit(orphans, split, near_m=0))


def test_f20_r054_a_source_per_class_fails() -> None:
    dataset = sound()
    source = np.where(dataset.samples["label"] == 1, "dams", "forest api")
    found = audit(_with(dataset, source=source), split_by(dataset, "site"))
    assert _checks(found) == ["metadata"]
    (score,) = [f for f in found.findings if f.check == "metadata"]
    assert score.numbers["balanced_accuracy"] > 0.95
    (table,) = [f for f in found.findings if f.check == "source"]
    assert table.severity == "warning"
    assert table.numbers["cramers_v"] > 0.3
    assert table.numbers["table"]["dams"]["0"] == 0
    assert table.numbers["one_class_sources"] == 2


def test_f20_classes_by_date_fail_and_their_common_support_passes() -> None:
    dataset = sound(480)
    label = dataset.samples["label"].to_numpy()
    year = np.where(label == 1, "2019", np.where(np.arange(480) % 5 == 0, "2019", "2023"))
    dated = _with(dataset, image_date=year, label_epoch=None)
    found = audit(dated, split_by(dated, "site"))
    assert _checks(found) == ["metadata"]
    inside = split_by(dated, "site", within=["image_date"])
    assert inside.settings["left_out"] == int((year == "2023").sum())
    assert audit(dated, inside).ok, audit(dated, inside).to_text()


def test_f20_a_classifier_of_acquisition_scores_half_where_there_is_nothing_to_find() -> None:
    scores = []
    for seed in range(8):
        dataset = sound(seed=seed)
        score = metadata_score(dataset, sample_classes(dataset))
        assert score is not None
        assert not score.betrays
        scores.append(score.balanced_accuracy)
    assert np.mean(scores) == pytest.approx(0.5, abs=0.05)


def test_f20_finds_what_two_columns_say_only_together_with_each_other() -> None:
    dataset = sound(600)
    label = dataset.samples["label"].to_numpy()
    rng = np.random.default_rng(1)
    clear = np.where(rng.random(600) < 0.35, label * 0.5, 0.25)
    sensor = np.where(rng.random(600) < 0.35, np.where(label == 1, "A", "B"), "C")
    split = split_by(dataset, "site")
    both = audit(_with(dataset, clear=clear, sensor=sensor), split)
    assert _checks(both) == ["metadata"]
    assert both.failures[0].numbers["columns"] == ["source", "sensor", "image_date", "clear"]
    only = audit(_with(dataset, clear=clear, sensor=sensor), split, acquisition=["source"])
    assert only.ok


def test_common_support_keeps_what_classes_share() -> None:
    dataset = make({"label": [0, 0, 1, 1, 0, None], "source": ["x", "y", "x", "z", None, "x"]})
    assert common_support(dataset, ["source"]).tolist() == [0, 2]
    with pytest.raises(UsageError, match="no way of acquisition"):
        common_support(make({"label": [0, 1], "source": ["x", "y"]}), ["source"])
    with pytest.raises(UsageError, match="lacks columns"):
        common_support(dataset, ["orbit"])


def test_r054_cramers_v_equals_the_formula() -> None:
    assert cramers_v(np.array([[50, 0], [0, 50]])) == pytest.approx(1, abs=0.01)
    assert cramers_v(np.array([[25, 25], [25, 25]])) == 0
    assert cramers_v(np.array([[10, 20, 0]])) == 0
    # 30/10 against 10/30: chi2 = 20, phi2 = 0.25; less 1/79; over 1 - 1/79.
    wanted = np.sqrt((0.25 - 1 / 79) / (1 - 1 / 79))
    assert cramers_v(np.array([[30, 10], [10, 30]])) == pytest.approx(wanted)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=2, max_size=80))
def test_r054_cramers_v_is_a_share_and_knows_no_order(pairs: list[tuple[int, int]]) -> None:
    rows, cols = zip(*pairs, strict=True)
    table = contingency(pd.Series(rows, name="source"), np.array(cols, float))
    v = cramers_v(table)
    assert 0 <= v <= 1
    assert cramers_v(table.to_numpy()[::-1]) == pytest.approx(v, abs=1e-6)
    assert cramers_v(table.to_numpy().T) == pytest.approx(v, abs=1e-6)


def test_f51_labels_of_another_time_fail() -> None:
    dataset = _with(sound(), label_epoch=2015)
    found = audit(dataset, split_by(dataset, "site"))
    assert "epochs" in _checks(found)
    assert audit(dataset, split_by(dataset, "site"), max_gap_days=2000).ok
    unknown = _with(dataset, label_epoch=[2019.0, None] * 120)
    assert "epochs" in _checks(audit(unknown, split_by(dataset, "site")), "warning")


def test_r131_labels_can_be_held_to_the_month_of_their_image() -> None:
    dataset = _with(sound(), label_epoch=None, label_date="2019-07", image_date="2019-07-03")
    split = split_by(dataset, "site")
    assert audit(dataset, split, max_gap_days=0).ok
    dates = ["2019-08-15", *["2019-07-03"] * 239]
    later = _with(dataset, image_date=dates)
    (found,) = audit(later, split, max_gap_days=0).failures
    assert found.numbers["largest_days"] == 15


def test_parts_without_a_class_fail_and_uneven_ones_warn() -> None:
    dataset = sound()
    split = split_by(dataset, "site")
    label = dataset.samples["label"].to_numpy().copy()
    test = split.rows(dataset, "test")
    label[test] = 0
    none = audit(_with(dataset, label=label, source="x", image_date=None, label_epoch=None), split)
    assert _checks(none) == ["classes"]
    label[test[:3]] = 1
    few = audit(_with(dataset, label=label, source="x", image_date=None, label_epoch=None), split)
    assert few.ok
    assert "classes" in _checks(few, "warning")


def test_f23_f36_a_test_of_positives_only_or_of_unknown_negatives_is_pointed_out() -> None:
    masks = np.zeros((60, 4, 4), np.uint8)
    masks[:, 0, 0] = 1
    dataset = make({"site": [f"p{i}" for i in range(60)]}, masks=masks)
    found = audit(dataset, split_by(dataset, "site"))
    assert found.ok
    assert "negatives" in _checks(found, "warning")
    unnamed = sound()
    unnamed = _with(unnamed, kind=None)
    assert "negatives" in _checks(audit(unnamed, split_by(unnamed, "site")), "note")


def test_f20_masks_count_as_positive_where_they_hold_mining() -> None:
    masks = np.zeros((90, 4, 4), np.uint8)
    masks[::2, 0, 0] = 1
    masks[3] = 255
    dataset = make({"site": [f"p{i % 30}" for i in range(90)], "source": ["dams", "api"] * 45}, masks=masks)
    classes = sample_classes(dataset)
    assert np.isnan(classes[3])
    assert classes[[0, 1, 2]].tolist() == [1, 0, 1]
    assert "metadata" in _checks(audit(dataset, split_by(dataset, "site")))


def test_splits_of_other_sets_are_refused() -> None:
    dataset = sound()
    split = split_by(dataset, "site")
    with pytest.raises(UsageError, match="no sample"):
        audit(dataset, Split(parts={"elsewhere": "train"}, rule="site"))
    more = replace(split, parts=split.parts | {"elsewhere": "train"})
    assert "coverage" in _checks(audit(dataset, more))
    empty = replace(split, parts={k: v for k, v in split.parts.items() if v != "test"})
    assert "coverage" in _checks(audit(dataset, empty))
