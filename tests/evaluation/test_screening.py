"""Screens are calibrated on the tiles of a scan: the recall holds on sites that had no say in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from minescale.cli import main
from minescale.errors import ModelError, UsageError
from minescale.evaluation.calibrated import price, write_calibrated
from minescale.evaluation.screening import TileScores, calibrate_screen, tile_scores
from minescale.labels.sets.classes import BINARY, ClassMap
from minescale.labels.sets.dataset import ArrayReader, Dataset
from minescale.models.package import ModelPackage, load_package, write_package
from minescale.models.predictor import load_predictor
from minescale.models.spec import ModelSpec, trained_range
from minescale.planning.calibration import area_threshold, steady_threshold
from minescale.synthetic import Region

FINE, COARSE, TILE_M, SIZE = 20.0, 80.0, 960.0, 96
SITES = 140


def screen_package(folder: Path) -> ModelPackage:
    """Bare ground at 80 m, by NDVI."""
    spec = ModelSpec(
        name="bare-screen",
        version="1.0.0",
        family="index",
        bands=("red", "nir"),
        resolution=COARSE,
        resolutions=trained_range(COARSE),
        classes=("background", "mining"),
        target="mining",
        threshold=0.5,
        hyperparameters={
            "rules": [{"name": "bare", "weight": 1.0, "ramps": [{"index": "NDVI", "from": 0.85, "to": 0.05}]}]
        },
        licence="Apache-2.0",
    )
    return write_package(folder, spec, None, "# bare-screen", {"about": {"made": "for tests"}})


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return screen_package(tmp_path_factory.mktemp("screen") / "package")


def landscape(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Forest, fields, and pits of any size, some of them half overgrown: red and nir, and where the pits are."""
    random = np.random.default_rng(seed)
    ndvi = random.normal(0.8, 0.03, (SIZE, SIZE))
    mines = np.zeros((SIZE, SIZE), np.uint8)

    def square(edge: int) -> tuple[slice, slice]:
        y, x = random.integers(0, SIZE - edge, 2)
        return slice(y, y + edge), slice(x, x + edge)

    for _ in range(random.integers(0, 3)):
        ndvi[square(int(random.integers(8, 30)))] = random.uniform(0.35, 0.75)
    for _ in range(random.poisson(1.5)):
        where = square(int(random.integers(2, 9)))
        ndvi[where] = random.uniform(0.1, 0.5)
        mines[where] = 1
    brightness = random.uniform(0.2, 0.4, (SIZE, SIZE))
    red, nir = brightness * (1 - ndvi) / 2, brightness * (1 + ndvi) / 2
    return np.rint(np.stack([red, nir]) * 1e4).astype(np.uint16), mines


def dataset_of(sites: int, first: int = 0) -> Dataset:
    images, masks = zip(*(landscape(first + i) for i in range(sites)), strict=True)
    table = pd.DataFrame({"id": [f"s{i}" for i in range(sites)], "site": [f"place {i}" for i in range(sites)]})
    return Dataset(
        name="landscapes",
        samples=table.assign(source="synthetic"),
        bands=("red", "nir"),
        classes=BINARY,
        reader=ArrayReader(np.stack(images), np.stack(masks)),
        units="reflectance x 1e4",
        nodata=0,
        resolution_m=FINE,
        licence="Apache-2.0",
    )


@pytest.fixture(scope="module")
def sites() -> Dataset:
    return dataset_of(SITES)


@pytest.fixture(scope="module")
def tiles(package: ModelPackage, sites: Dataset) -> TileScores:
    return tile_scores(load_predictor(package), sites, tile_m=TILE_M)


def of_sites(tiles: TileScores, names: np.ndarray) -> TileScores:
    chosen = np.isin(tiles.sites, names)
    columns = {name: getattr(tiles, name)[chosen] for name in ("codes", "hectares", "sites", "part")}
    return replace(tiles, **columns)


def test_tiles_are_those_of_a_scan(package: ModelPackage, sites: Dataset, tiles: TileScores) -> None:
    assert len(tiles.codes) == SITES * 4
    row = 5
    image, mines = sites.reader.image(row).astype(float), sites.reader.mask(row)
    red, nir = (np.floor(band.reshape(24, 4, 24, 4).mean(axis=(1, 3)) + 0.5) for band in image)
    score = np.clip((0.85 - (nir - red) / (nir + red)) / 0.8, 0, 1)
    for tile, (y, x) in enumerate(((0, 0), (0, 12), (12, 0), (12, 12))):
        number = 4 * row + tile
        assert tiles.codes[number] == pytest.approx(250 * score[y : y + 12, x : x + 12].max(), abs=0.51)
        below = mines[4 * y : 4 * y + 48, 4 * x : 4 * x + 48]
        assert tiles.hectares[number] == pytest.approx(below.sum() * 0.04)


@pytest.mark.parametrize("recall", [0.95, 0.9])
def test_the_recall_holds_in_nearly_all_of_200_resamples(tiles: TileScores, recall: float) -> None:
    """Half the sites calibrate, the others test: what is stated about mine area is kept, and something is pruned."""
    random, names, held, kept = np.random.default_rng(0), np.unique(tiles.sites), 0, []
    for _ in range(200):
        order = random.permutation(names)
        ours, others = of_sites(tiles, order[: SITES // 2]), of_sites(tiles, order[SITES // 2 :])
        found = calibrate_screen(ours, recall=recall, cap_ha=1.5)
        survives = others.codes / 250 >= found.threshold
        held += others.hectares[survives].sum() >= recall * others.hectares.sum()
        kept.append(survives.mean())
    assert held >= 190, held
    assert np.mean(kept) < 0.9, "keeping everything would hold any recall"


def test_the_average_alone_promises_less(tiles: TileScores) -> None:
    steady = calibrate_screen(tiles, recall=0.9, cap_ha=1.5)
    average = calibrate_screen(tiles, recall=0.9, cap_ha=1.5, confidence=None)
    assert steady.threshold <= average.threshold
    sure = calibrate_screen(tiles, recall=0.9, cap_ha=1.5, confidence=0.999)
    assert sure.threshold < average.threshold
    assert sure.kept > average.kept
    assert average.recall_here >= 0.9
    assert average.calibration.bound <= 0.1 + 1e-9


def test_sites_count_as_one_each() -> None:
    """A hundred tiles of one site are one piece of evidence, not a hundred."""
    random = np.random.default_rng(1)
    scores, areas = random.random(400), np.ones(400)
    site = np.repeat(np.arange(4), 100)
    assert area_threshold(scores, areas, alpha=0.05, cap=1.0).n == 400
    with pytest.raises(UsageError, match="counted in 4 sites"):
        area_threshold(scores, areas, alpha=0.05, cap=1.0, groups=site)
    many = area_threshold(scores, areas, alpha=0.05, cap=1.0, groups=np.arange(400) // 2)
    assert many.n == 200
    assert many.counted_area == pytest.approx(200)
    with pytest.raises(UsageError, match="too few sites"):
        steady_threshold(scores, areas, np.zeros(400), alpha=0.05, cap=1.0)


def test_a_confidence_that_no_threshold_reaches_is_refused() -> None:
    """Enough mine area for the average, too little in half the sites: not even keeping all mines could be promised."""
    n = 120
    few = TileScores(
        codes=np.random.default_rng(2).integers(1, 251, n),
        hectares=np.full(n, 20.0),
        sites=np.array([f"place {i}" for i in range(n)]),
        part=np.ones(n),
        unseen=0,
    )
    assert calibrate_screen(few, recall=0.99, confidence=None).calibration.bound <= 0.01
    with pytest.raises(UsageError, match="too few sites for this confidence") as raised:
        calibrate_screen(few, recall=0.99)
    assert "--confidence 0" in str(raised.value)
    assert calibrate_screen(few, recall=0.95).recall_here >= 0.95


def test_survivors_can_be_told_for_ground_with_fewer_mines(tiles: TileScores) -> None:
    here = calibrate_screen(tiles, recall=0.9, cap_ha=1.5)
    rare = calibrate_screen(tiles, recall=0.9, cap_ha=1.5, mine_tiles=0.0)
    assert rare.expected_survivors == here.kept_without_mines < here.expected_survivors == here.kept


def test_survivors_are_counted_on_whole_tiles() -> None:
    """Half the tiles are strips at an image's edge, which survive less often because they have fewer pixels."""
    n = 80
    mixed = TileScores(
        codes=np.tile([200, 100, 200, 50], n // 4),
        hectares=np.tile([5.0, 0.0, 5.0, 0.0], n // 4),
        sites=np.array([f"place {i // 4}" for i in range(n)]),
        part=np.tile([1.0, 1.0, 0.25, 0.25], n // 4),
        unseen=0,
    )
    found = calibrate_screen(mixed, recall=0.8, confidence=None)
    assert found.threshold == pytest.approx(199.5 / 250)
    assert (found.tiles, found.whole_tiles, found.survivors_from) == (n, n // 2, "whole tiles")
    assert found.expected_survivors == found.kept == 0.5
    fewer = replace(mixed, codes=np.tile([200, 200, 200, 50], n // 4))
    assert calibrate_screen(fewer, recall=0.8, confidence=None).expected_survivors == 1.0
    # Of pieces alone a tile is put together: it survives where any of four does.
    pieces = replace(mixed, part=np.full(n, 0.25), codes=np.tile([200, 200, 200, 50], n // 4))
    told = calibrate_screen(pieces, recall=0.8, confidence=None, mine_tiles=0.1)
    assert told.survivors_from == "pieces"
    assert told.expected_survivors == pytest.approx(0.1 * 1.0 + 0.9 * (1 - 0.5**4))


def test_samples_that_are_labelled_whole_are_pieces_that_count_all_over(
    package: ModelPackage, sites: Dataset, tmp_path: Path
) -> None:
    label = np.array([sites.reader.mask(row).any() for row in range(SITES)]).astype(int)  # type: ignore[union-attr]
    table = sites.samples.assign(label=label)
    chips = replace(sites, samples=table, reader=ArrayReader(sites.reader.images))  # type: ignore[attr-defined]
    tiles = tile_scores(load_predictor(package), chips, tile_m=4 * SIZE * FINE)
    assert tiles.whole_labels
    assert len(tiles.codes) == SITES
    np.testing.assert_allclose(tiles.part, 1 / 16)
    np.testing.assert_allclose(tiles.hectares, label * SIZE**2 * FINE**2 / 1e4)
    found = calibrate_screen(tiles, recall=0.9)
    assert found.survivors_from == "pieces"
    assert found.recall_here >= 0.9
    assert found.expected_survivors > found.kept
    made = write_calibrated(package, tmp_path / "made", found, {"data": "chips"}, screen=False)
    card = (made.path / "model_card.md").read_text()
    assert "labels are of whole samples" in card.lower()
    assert "independent of one another" in card
    table.loc[3, "label"] = None
    with pytest.raises(UsageError, match="sample s3 has no label"):
        tile_scores(load_predictor(package), replace(chips, samples=table))


def test_what_cannot_be_promised_is_refused(tiles: TileScores) -> None:
    with pytest.raises(UsageError, match="too little mine area"):
        calibrate_screen(tiles, recall=0.999)
    for wrong in (0.0, 1.0, 99.0):
        with pytest.raises(UsageError, match="recall"):
            calibrate_screen(tiles, recall=wrong)


def test_sets_that_do_not_fit_are_refused(package: ModelPackage, sites: Dataset) -> None:
    predictor = load_predictor(package)
    few = sites.subset([0, 1])
    with pytest.raises(ModelError, match="do not divide"):
        tile_scores(predictor, replace(few, resolution_m=30.0))
    with pytest.raises(UsageError, match="how large is a pixel"):
        tile_scores(predictor, replace(few, resolution_m=None))
    with pytest.raises(UsageError, match="no labels"):
        tile_scores(predictor, replace(few, reader=ArrayReader(sites.reader.images)))  # type: ignore[attr-defined]
    three = replace(few, classes=ClassMap(("forest", "pit", "pond")))
    with pytest.raises(UsageError, match="unknown class"):
        tile_scores(predictor, three, mine=("quarry",))
    assert len(tile_scores(predictor, three, mine=("pit", "pond")).codes) == 2
    empty = replace(few, reader=ArrayReader(np.zeros((2, 2, 50, 50), np.uint16), np.zeros((2, 50, 50), np.uint8)))
    with pytest.raises(UsageError, match="no pixel with data"):
        tile_scores(predictor, empty)


def test_the_package_carries_what_was_found(package: ModelPackage, tiles: TileScores, tmp_path: Path) -> None:
    found = calibrate_screen(tiles, recall=0.9, cap_ha=1.5)
    once = write_calibrated(package, tmp_path / "once", found, {"data": "landscapes"}, screen=False)
    assert once.spec.keep_threshold == found.threshold
    assert once.spec.expected_survivors == pytest.approx(found.expected_survivors, abs=1e-4)
    assert once.digest != package.digest
    metrics = json.loads((once.path / "metrics" / "calibration.json").read_text())
    assert metrics["recall"] == 0.9
    assert metrics["calibration"]["n"] == found.sites_with_mines
    assert (once.path / "metrics" / "about.json").is_file()
    twice = write_calibrated(once, tmp_path / "twice", found, {"data": "again"}, screen=False)
    assert (twice.path / "model_card.md").read_text().count("## Calibration") == 1
    with pytest.raises(UsageError, match="exists"):
        write_calibrated(once, tmp_path / "twice", found, {}, screen=False)
    with pytest.raises(ModelError, match="has no screen"):
        write_calibrated(package, tmp_path / "no", found, {}, screen=True)
    assert not (tmp_path / "no").exists()


def test_a_screen_inside_a_package_is_replaced(tiles: TileScores, tmp_path: Path) -> None:
    demo = load_package("demo")
    found = calibrate_screen(tiles, recall=0.9, cap_ha=1.5)
    with pytest.raises(UsageError, match="has a screen"):
        write_calibrated(demo, tmp_path / "demo", found, {}, screen=False)
    made = write_calibrated(demo, tmp_path / "demo", found, {}, screen=True)
    assert made.screen is not None
    assert made.screen.spec.keep_threshold == found.threshold
    assert made.spec == demo.spec
    assert made.digest != demo.digest


def test_the_command_writes_a_calibrated_package(package: ModelPackage, sites: Dataset, tmp_path: Path) -> None:
    from minescale.labels.sets.folder import write_folder

    write_folder(sites, tmp_path / "data")
    command = ["calibrate", "--model", str(package.path), "--data", str(tmp_path / "data"), "--recall", "0.9"]
    options = ["--cap-ha", "1.5", "--tile-m", "960", "--mine-tiles", "0.01", "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(main, [*command, *options])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    made = load_package(tmp_path / "out")
    assert told["threshold"] == made.spec.keep_threshold
    assert told["digest"] == made.digest
    again = CliRunner().invoke(main, [*command, *options])
    assert again.exit_code == 2
    assert "exists" in again.stderr
    strict = CliRunner().invoke(main, [*command[:-1], "0.9999", "--out", str(tmp_path / "strict")])
    assert strict.exit_code == 2
    assert "too little mine area" in strict.stderr
    assert not (tmp_path / "strict").exists()


def test_sites_that_the_model_was_trained_on_are_refused(package: ModelPackage, sites: Dataset, tmp_path: Path) -> None:
    from minescale.labels.sets.folder import write_folder

    write_folder(sites, tmp_path / "data")
    taught = write_package(tmp_path / "taught", package.spec.replace(training={"data": "landscapes"}), None, "card", {})
    command = ["calibrate", "--model", str(taught.path), "--data", str(tmp_path / "data"), "--recall", "0.9"]
    command += ["--cap-ha", "1.5", "--tile-m", "960", "--out", str(tmp_path / "out")]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2
    assert "was trained on this set" in refused.stderr
    assert not (tmp_path / "out").exists()
    assert CliRunner().invoke(main, [*command, "--force"]).exit_code == 0


def test_a_planned_scan_is_priced_with_the_survivors(small_region: Region, tmp_path: Path) -> None:
    from minescale import api
    from minescale.config import load_config
    from minescale.planning.run_dir import RunDir

    def planned(mode: str) -> RunDir:
        """A plan, written as a scan writes it and read back."""
        wanted = api.request(
            catalog=str(small_region.catalog), bbox=small_region.bbox, datetime=small_region.period, model="demo"
        )
        settings = {"engine.cluster": "inline", "grid.tile_size": 256, "store.chunk": 128, "pyramid.mode": mode}
        folder = RunDir(str(tmp_path / mode))
        folder.save_plan(api.plan(wanted, load_config(overrides=settings)))
        return folder

    plan = planned("on").load_plan()
    few, all_of_them = price(plan, 0.05), price(plan, 1.0)
    assert 0 < few["bytes_share"] < all_of_them["bytes_share"]
    assert few["seconds_share"] < 1 < all_of_them["seconds_share"], "with all refined the coarse level comes on top"
    with pytest.raises(UsageError, match="no coarse level"):
        price(planned("off").load_plan(), 0.05)
