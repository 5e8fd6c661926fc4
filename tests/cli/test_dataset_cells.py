"""The commands that make cells and negatives: tables, counts, and errors that leave nothing half written."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner, Result

from minescale.cli.group import main
from minescale.grid import MosaicGrid
from minescale.labels.cells.cellfiles import read_locations, write_table
from minescale.labels.places.hardnegatives import KINDS
from minescale.labels.places.negatives import point_table
from minescale.planning.plan import MOSAIC_FILE
from minescale.store.layout import MosaicLayout
from minescale.store.mosaic import Mosaic, TileArrays
from minescale.store.template import create_mosaic
from minescale.types import Period, TileKey

GHANA = (-3.2, 4.8, 1.2, 11.1)


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["dataset", *map(str, words)])


def save(path: Path, shapes: list[shapely.Geometry], crs: str | None = "EPSG:4326", **columns: list[object]) -> Path:
    gpd.GeoDataFrame(columns or {"name": [""] * len(shapes)}, geometry=shapes, crs=crs).to_file(path)
    return path


@pytest.fixture
def mines(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    centres = shapely.points(rng.uniform(-2.5, -1.5, 25), rng.uniform(5.5, 6.5, 25))
    return save(tmp_path / "mines.gpkg", list(shapely.buffer(centres, 0.01)))


@pytest.fixture
def parks(tmp_path: Path) -> Path:
    return save(tmp_path / "parks.gpkg", [shapely.box(-2.6, 5.4, -1.4, 6.6), shapely.box(0, 7, 0.5, 8)])


def test_cells_at_three_zooms(mines: Path, tmp_path: Path) -> None:
    strata = save(
        tmp_path / "cover.gpkg",
        [shapely.box(-3.2, 4.8, 1.2, 7), shapely.box(-3.2, 7, 1.2, 10)],
        cover=["forest", "savanna"],
    )
    out = tmp_path / "out"
    words = ("cells", mines, "-o", out, "--bbox", *GHANA, "--random", 60, "--strata", f"{strata}:cover",
             "--allocation", "equal", "--join", f"{strata}:cover", "--epoch", 2019, "--json")  # fmt: skip
    done = run(*words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["polygons"] == {"read": 25, "kept": 25, "repaired": 0, "cut": 0, "dropped": {}}
    assert [size["zoom"] for size in told["cells"]] == [14, 15, 16]
    assert len(told["files"]) == len(list(out.rglob("*.*"))) == 12
    for size in told["cells"]:
        table = read_locations(out, size["side_m"], size["zoom"])
        assert (table["role"] == "positive").sum() == size["positive"] > 0
        assert (table["inclusion_probability"].notna() & (table["class"] == 0)).sum() == size["random"] == 60
        assert size["drawn"] == {"elsewhere": 20, "forest": 20, "savanna": 20}
        assert table["cover"].isna().any()
        assert (table["label_epoch"] == 2019).all()
    again = run(*words)
    assert again.exit_code == 2
    assert "files exist" in again.output
    assert run(*words, "--overwrite").exit_code == 0


def test_cells_of_another_size_tell_their_counts(mines: Path, tmp_path: Path) -> None:
    done = run("cells", mines, "-o", tmp_path / "out", "--side", 7680)
    assert done.exit_code == 0, done.output
    assert "25 polygons of 25 shapes" in done.output
    assert "(7680 m)" in done.output
    assert "paired" in done.output
    assert len(list((tmp_path / "out").rglob("*7680m.*"))) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bbox", 20, 20, 21, 21), "no cell of 5500 m is positive"),
        (("--random", 5), "need an area"),
        (("--min-overlap", 2), "out of range"),
        (("--strata", "nowhere"), "FILE:COLUMN"),
        (("--roi-where", "a=b"), "--roi"),
        (("--zoom", 14, "--side", 5500), "cells repeat"),
        (("--layer", "other"), "layer"),
    ],
)
def test_cells_that_cannot_be_leave_nothing(mines: Path, tmp_path: Path, words: tuple[object, ...], said: str) -> None:
    done = run("cells", mines, "-o", tmp_path / "out", *words)
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_polygons_without_crs_and_without_shapes(tmp_path: Path) -> None:
    bare = tmp_path / "bare.shp"
    save(bare, [shapely.box(-2, 5, -1.9, 5.1)], crs=None)
    done = run("cells", bare, "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "coordinate system" in done.output
    assert not (tmp_path / "out").exists()
    done = run("cells", bare, "-o", tmp_path / "out", "--crs", "EPSG:4326", "--zoom", 14)
    assert done.exit_code == 0, done.output
    empty = save(tmp_path / "points.gpkg", [shapely.Point(0, 0)])
    done = run("cells", empty, "-o", tmp_path / "none")
    assert done.exit_code == 2
    assert "no polygons" in done.output


def test_an_area_by_the_value_of_a_column(mines: Path, tmp_path: Path) -> None:
    countries = save(
        tmp_path / "countries.gpkg", [shapely.box(*GHANA), shapely.box(20, 20, 21, 21)], iso=["GHA", "XXX"]
    )
    good = run("cells", mines, "-o", tmp_path / "a", "--zoom", 14, "--roi", countries, "--roi-where", "iso=GHA")
    assert good.exit_code == 0, good.output
    bad = run("cells", mines, "-o", tmp_path / "b", "--zoom", 14, "--roi", countries, "--roi-where", "iso=XXX")
    assert bad.exit_code == 2
    assert not (tmp_path / "b").exists()


@pytest.fixture
def cover(tmp_path: Path) -> Path:
    pixels = np.full((200, 200), 10, np.uint8)
    pixels[:100] = 50
    path = tmp_path / "cover.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=200, height=200, count=1, dtype="uint8", crs="EPSG:4326",
        transform=Affine(0.005, 0, -2.5, 0, -0.005, 6.5),
    ) as target:  # fmt: skip
        target.write(pixels, 1)
    return path


def test_negatives_of_protected_areas_and_kinds(mines: Path, parks: Path, cover: Path, tmp_path: Path) -> None:
    spots = tmp_path / "bars.csv"
    spots.write_text("lon,lat\n-2.0,7.5\n-1.0,7.5\n")
    out = tmp_path / "negatives.parquet"
    words = ("negatives", "-o", out, "--protected", parks, "--kind", f"town={cover}:50", "--kind", f"sandbar={spots}",
             "-n", 50, "--avoid", mines, "--seed", 3)  # fmt: skip
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "protected: 50 of 50" in done.output
    assert "sandbar: 2 of 50" in done.output
    table = pd.read_parquet(out)
    assert table["kind"].value_counts().to_dict() == {"forest": 50, "town": 50, "sandbar": 2}
    assert table["id"].is_unique
    assert run(*words).exit_code == 2
    assert run(*words, "--overwrite", "--json").exit_code == 0
    pd.testing.assert_frame_equal(pd.read_parquet(out), table)


def test_r032_as_many_negatives_as_positives(mines: Path, tmp_path: Path) -> None:
    assert run("cells", mines, "-o", tmp_path / "cells", "--zoom", 14).exit_code == 0
    boxes = tmp_path / "cells/Data/Input/Boxes/boxes_z14_5500m.csv"
    done = run("negatives", "-o", tmp_path / "n.csv", "--bbox", *GHANA, "--like", boxes, "--json")
    assert done.exit_code == 0, done.output
    mined = int((pd.read_csv(boxes)["class"] == 1).sum())
    assert abs(json.loads(done.stdout)["samples"] / mined - 1) <= 0.05


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing says where"),
        (("--kind", "town"), "names no source"),
        (("--kind", "woods=x.gpkg"), "unknown kind"),
        (("--bbox", 0, 0, 1, 1, "-n", 5, "--like", "x.csv"), "one of them"),
        (("--protected", "none.gpkg"), "no such file"),
        (("--kind", "town=none.tif:50"), "cannot read"),
    ],
)
def test_negatives_that_cannot_be_leave_nothing(tmp_path: Path, words: tuple[object, ...], said: str) -> None:
    done = run("negatives", "-o", tmp_path / "n.csv", *words)
    assert done.exit_code in (1, 2), done.output
    assert said in done.output
    assert list(tmp_path.iterdir()) == []


def test_kinds_in_the_help_are_those_known() -> None:
    text = " ".join(run("negatives", "--help").output.split())
    assert ", ".join(sorted(KINDS)) in text


def test_screening_leaves_towns_out(cover: Path, parks: Path, tmp_path: Path) -> None:
    out = tmp_path / "n.csv"
    box = (-2.5, 5.5, -1.5, 6.5)
    assert run("negatives", "-o", out, "--protected", parks, "--bbox", *box, "-n", 100).exit_code == 0
    done = run("screen", out, "-o", tmp_path / "screened", "--built-up", f"{cover}:50", "--json")
    assert done.exit_code == 0, done.output
    counts = json.loads(done.stdout)["counts"]
    removed = pd.read_parquet(tmp_path / "screened/removed.parquet")
    kept = pd.read_parquet(tmp_path / "screened/kept.parquet")
    assert counts["removed"] == len(removed) > 30
    assert counts["kept"] == len(kept) == 100 - len(removed)
    assert removed["lat"].min() > 5.95 > kept["lat"].max() - 0.05
    again = run("screen", out, "-o", tmp_path / "screened", "--built-up", f"{cover}:50")
    assert again.exit_code == 2
    assert "files exist" in again.output
    nothing = run("screen", out, "-o", tmp_path / "no")
    assert nothing.exit_code == 2
    assert "nothing to screen by" in nothing.output


def test_screening_lists_what_a_scan_takes_for_mines(tmp_path: Path) -> None:
    grid = MosaicGrid(crs="EPSG:32630", resolution=10, left=600_000, top=700_000, shape=(512, 512), tile_size=512)
    scan = tmp_path / "scan"
    scan.mkdir()
    create_mosaic(scan / MOSAIC_FILE, MosaicLayout(grid=grid, periods=(Period.parse("2024"),), chunk=256))
    probability = np.full((512, 512), 25, np.uint8)
    probability[100:105, 100:105] = 200
    ones = np.ones((512, 512), np.uint8)
    tile = TileArrays(probability=probability, clear_count=ones.astype(np.uint16), reason=ones * 0, level=ones * 0)
    Mosaic.open(scan / MOSAIC_FILE, "r+").write_tile(0, TileKey(0, 0, 0), tile)
    lon, lat = pyproj.Transformer.from_crs(32630, 4326, always_xy=True).transform(
        [601_025, 604_000], [698_975, 696_000]
    )
    table = point_table(lon, lat, prefix="n", source="here", label=0, kind="forest", side_m=500)
    samples = write_table(table, tmp_path / "n.parquet")
    done = run("screen", samples, "-o", tmp_path / "out", "--scan", scan, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["counts"] == {"samples": 2, "scored": 2, "to review": 1, "kept": 2}
    listed = pd.read_csv(tmp_path / "out/review.csv")
    assert listed["id"].tolist() == [table["id"][0]]
    assert listed["score"].tolist() == [0.8]
