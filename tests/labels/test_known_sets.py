"""Published sets load as the same type, with the right licence, units and places; their traps do not spring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from minescale.errors import NothingMatched, UsageError
from minescale.labels.formats.adapters_chips import read_amw
from minescale.labels.formats.registry import open_dataset, recognise, validate, write_dataset
from minescale.labels.sets.split import Split
from tests.labels.sets import assert_same


def test_amw_chips(data_dir: Path) -> None:
    dataset = open_dataset(data_dir / "amw")
    arrays = np.load(data_dir / "amw" / "amw_rgb_chips_48px.npz")
    assert (len(dataset), dataset.bands, dataset.classes.names[1]) == (9187, ("red", "green", "blue"), "mining")
    assert dataset.licence == "MIT AND CC-BY-4.0"
    assert "Earth Genome" in dataset.provenance["attribution"]
    assert dataset.units == "toa reflectance x 1e4 / 3000 x 255"
    image, label = dataset[9000]
    np.testing.assert_array_equal(image, arrays["chips"][9000].transpose(2, 0, 1))
    assert label == arrays["label"][9000]
    assert int(dataset.samples["label"].sum()) == 1515
    assert recognise(data_dir / "amw" / "amw_rgb_chips_48px.npz") == "amw"


def test_amw_clear_levels_of_one_place_share_a_site(data_dir: Path) -> None:
    """Without coordinates: whatever place a set shows at two levels is in one site. With them: by place."""
    samples = open_dataset(data_dir / "amw").samples
    bare = samples[~samples["place_known"]]
    assert bare.groupby("set")["site"].nunique().max() == 1
    levels = bare.groupby("site")["clear"].nunique()
    assert (levels > 1).sum() >= 20, "sets at two levels are what this is about"
    placed = samples[samples["place_known"]]
    assert placed["site"].nunique() > 500
    # Brute force: no two chips closer than 480 m (they share ground) lie in different sites.
    x = placed["lon"].to_numpy() * np.cos(np.radians(placed["lat"].to_numpy())) * 111_320
    y = placed["lat"].to_numpy() * 110_574
    close = np.hypot(x[:, None] - x, y[:, None] - y) < 480
    site = placed["site"].to_numpy()
    assert close.sum() > len(placed), "some are"
    assert (site[:, None] == site)[close].all()


def test_amw_sites_by_hand(tmp_path: Path) -> None:
    """Three chips in a row of 800 m steps are one site, a fourth far away another; equal chips join sets."""
    chips = np.random.default_rng(0).integers(0, 255, (8, 48, 48, 3)).astype(np.uint8)
    chips[7] = chips[5]
    step = 800 / 111_320
    names = ["p_S2L1C_clear0.75_2024-01-01_2025-01-01.png"] * 4
    names += [
        f"{s}_S2L1C_clear{c}_2024-01-01_2025-01-01.png" for s, c in (("n", 0.05), ("n", 0.75), ("m", 0.75), ("k", 0.75))
    ]
    np.savez(
        tmp_path / "x.npz",
        chips=chips,
        label=np.array([1, 1, 1, 1, 0, 0, 0, 0], np.uint8),
        source=np.array(names),
        clear=np.full(8, 0.75, np.float32),
        lon=np.array([-60, -60 + step, -60 + 2 * step, -50] + [np.nan] * 4),
        lat=np.array([0.0] * 4 + [np.nan] * 4),
    )
    assert read_amw(tmp_path / "x.npz").samples["site"].tolist() == [
        "-60.0000,0.0000", "-60.0000,0.0000", "-60.0000,0.0000", "-50.0000,0.0000", "n", "n", "m", "n",
    ]  # fmt: skip


def test_emergence_pairs(data_dir: Path) -> None:
    dataset = open_dataset(data_dir / "emergence")
    arrays = np.load(data_dir / "emergence" / "emergence_pairs_48px.npz")
    assert len(dataset) == 547
    assert (dataset.bands[0], dataset.bands[6], dataset.licence, dataset.nodata) == ("t0_blue", "t1_blue", "none", 0)
    image, label = dataset[17]
    np.testing.assert_array_equal(image[8], arrays["t1"][17, ..., 2])
    assert dataset.bands[8] == "t1_red"
    assert label == arrays["label"][17]
    assert dataset.samples["site"].tolist() == dataset.samples["block"].tolist() == arrays["block"].tolist()
    assert set(dataset.samples["kind"].dropna()) == {"natural_change", "human_activity"}


def test_tailings_masks_hold_all_ponds_of_a_group(data_dir: Path) -> None:
    dataset = open_dataset(data_dir / "tailings")
    assert (len(dataset), dataset.samples["site"].nunique(), dataset.licence) == (87, 42, "none")
    more = 0
    for row, name in enumerate(dataset.samples["id"]):
        with rasterio.open(data_dir / "tailings" / f"{name}_mask.tif") as image:
            own, union = image.read()
        mask = dataset.reader.mask(row)
        assert mask is not None
        np.testing.assert_array_equal(mask, union)
        assert not (own > mask).any()
        more += int((union > own).any())
    assert more > 10, "with the own pond alone its neighbours would be background"
    assert validate(data_dir / "tailings") == []
    assert -74 < dataset.samples["lon"].min() < dataset.samples["lon"].max() < -34


def test_strzegom_quarries_are_read_harmonised(data_dir: Path) -> None:
    """Class 10 is quarry, 0 is unlabelled; 2021 has no offset, later dates have one of 1000."""
    dataset = open_dataset(data_dir / "strzegom")
    assert len(dataset) == 6
    assert dataset.samples["site"].unique().tolist() == ["strzegom"]
    for row, (day, offset) in enumerate([("20210619", 0), ("20220619", 1000)]):
        with rasterio.open(data_dir / "strzegom" / "cogs" / day / "B04.tif") as source:
            dn = source.read(1).astype(np.int64)
        with rasterio.open(data_dir / "strzegom" / "labels" / f"{day}.tif") as source:
            cover = source.read(1)
        image, mask = dataset[row]
        assert isinstance(mask, np.ndarray)
        np.testing.assert_array_equal(image[2], np.where(dn == 0, 0, np.maximum(dn - offset, 1)))
        np.testing.assert_array_equal(mask == 1, cover == 10)
        np.testing.assert_array_equal(mask == 255, cover == 0)
        assert set(np.unique(mask)) == {0, 1, 255}


def test_sand_mining_is_unknown_beyond_the_river(data_dir: Path) -> None:
    dataset = open_dataset(data_dir / "vectors" / "sandmining")
    assert len(dataset) == 3
    assert dataset.samples["site"].nunique() == 2, "one place at two dates is one site"
    for row in range(3):
        image, mask = dataset[row]
        assert isinstance(mask, np.ndarray)
        assert image.shape[1:] == mask.shape
        assert set(np.unique(mask)) == {0, 1, 255}
    assert dataset.licence == "MIT"


def test_ukis_scenes(data_dir: Path) -> None:
    dataset = open_dataset(data_dir / "ukis")
    assert dataset.classes.names == ("land", "shadow", "cloud", "water or snow")
    row = dataset.samples["id"].tolist().index("sentinel2")
    image, mask = dataset[row]
    assert isinstance(mask, np.ndarray)
    assert image[:, mask == 2].mean() > image[:, mask == 0].mean() > image[:, mask == 1].mean()
    assert dataset.licence == "Apache-2.0"


def test_a_folder_that_is_none_of_them_is_listed(data_dir: Path) -> None:
    with pytest.raises(UsageError, match=r"catalog\.json"):
        open_dataset(data_dir / "coalfield")


def test_labels_without_a_scene_are_refused(data_dir: Path, tmp_path: Path) -> None:
    root = tmp_path / "moved"
    (root / "labels").mkdir(parents=True)
    for name in ("items", "cogs", "catalog.json", "collection.json"):
        (root / name).symlink_to(data_dir / "strzegom" / name)
    (root / "labels" / "20200101.tif").write_bytes((data_dir / "strzegom" / "labels" / "20210619.tif").read_bytes())
    with pytest.raises((UsageError, NothingMatched)):
        open_dataset(root)


@pytest.mark.parametrize(("name", "form", "rows"), [
    ("amw", "folders", [0, 1, 8500, 9000]),
    ("emergence", "zarr", [0, 100, 546]),
    ("tailings", "gmd", [0, 40, 86]),
    ("tailings", "yolo", [0, 40]),
    ("tailings", "bandtiles", [0, 86]),
    ("strzegom", "folder", [0, 5]),
])  # fmt: skip
def test_published_sets_go_into_our_formats(
    data_dir: Path, tmp_path: Path, name: str, form: str, rows: list[int]
) -> None:
    part = open_dataset(data_dir / name).subset(rows)
    split = Split(parts={i: ("train", "val", "test")[n % 3] for n, i in enumerate(part.samples["id"])}, rule="image")
    opened = write_dataset(part, tmp_path / "set", format=form, split=split)
    assert [f for f in validate(tmp_path / "set") if f.severe] == []
    if form in ("zarr", "folder", "gmd", "bandtiles"):
        dropped = part.samples.drop(columns=["file", "label_file"], errors="ignore")
        assert_same(opened, type(part)(**{f: getattr(part, f) for f in part.__slots__} | {"samples": dropped}))
    else:
        assert len(opened) == len(rows)
    assert opened.licence == part.licence


def test_chips_without_a_word_about_them(data_dir: Path, tmp_path: Path) -> None:
    """What a file does not say is not known, but the chips are there."""
    rng = np.random.default_rng(0)
    chips, label = rng.integers(1, 255, (6, 8, 8, 3)).astype(np.uint8), np.array([0, 1, 0, 1, 0, 1], np.uint8)
    np.savez(tmp_path / "amw.npz", chips=chips, label=label)
    found = open_dataset(tmp_path / "amw.npz").samples
    assert found["label"].tolist() == label.tolist()
    assert not found["place_known"].any()
    assert set(found["site"]) == {"unknown"}
    pairs = rng.integers(1, 9000, (2, 6, 8, 8, 6)).astype(np.int16)
    np.savez(tmp_path / "pairs.npz", t0=pairs[0], t1=pairs[1], label=label)
    bare = open_dataset(tmp_path / "pairs.npz")
    assert bare.bands[0] == "t0_blue"
    assert set(bare.samples["site"]) == {"unknown"}
    with np.load(data_dir / "emergence" / "emergence_pairs_48px.npz") as whole:
        kept = {name: whole[name] for name in whole.files if name != "block"}
        published = whole["block"].tolist()
    np.savez(tmp_path / "unblocked.npz", **kept)
    assert open_dataset(tmp_path / "unblocked.npz").samples["site"].tolist() == published
