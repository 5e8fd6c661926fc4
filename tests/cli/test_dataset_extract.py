"""``minescale dataset extract`` and ``sandbox`` (R071, R098): from a file to a set, killed and continued."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from minescale.labels.sets.folder import open_folder
from minescale.labels.sets.folder_layout import BUILDING
from minescale.synthetic import Region
from tests.cli.conftest import run, spawn
from tests.labels.extraction import spread


@pytest.fixture
def places(small_region: Region, tmp_path: Path) -> Path:
    path = tmp_path / "places.csv"
    spread(small_region, 4).to_csv(path, index=False)
    return path


def where(region: Region) -> tuple[object, ...]:
    return ("--catalog", region.catalog, "--datetime", region.period, "--bands", "B04,B03,B02,B11")


def digests(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_a_table_becomes_a_set_with_pictures(small_region: Region, places: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    options = ("--side", 640, "--polygons", small_region.truth_polygons, "--previews", "--cluster", "inline", "--json")
    done = run("dataset", "extract", places, *where(small_region), "--out", out, *options, "--progress", "none")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["places"], told["written"], told["finished"]) == (4, 4, True)
    dataset = open_folder(out)
    assert dataset.bands == ("red", "green", "blue", "swir16")
    assert dataset.samples["id"].tolist() == ["p0", "p1", "p2", "p3"]
    assert dataset[0][0].shape == (4, 64, 64)
    assert {p.name for p in (out / "previews").glob("*.png")} == {f"p{i}.png" for i in range(4)}


def test_an_area_is_tiled(small_region: Region, tmp_path: Path) -> None:
    box = small_region.bbox.as_tuple()
    options = ("--bbox", *box, "--side", 3840, "--cluster", "inline", "--progress", "none")
    done = run("dataset", "extract", *where(small_region), *options, "--out", tmp_path / "set")
    assert done.exit_code == 0, done.output
    assert "4 of 4 places" in done.stdout
    assert len(open_folder(tmp_path / "set")) == 4


def test_native_resolutions_are_sets_of_their_own(small_region: Region, places: Path, tmp_path: Path) -> None:
    options = ("--native", "--side", 1200, "--cluster", "inline", "--progress", "none")
    done = run("dataset", "extract", places, *where(small_region), *options, "--out", tmp_path / "set")
    assert done.exit_code == 0, done.output
    assert done.stdout.split()[-2:] == [str(tmp_path / "set" / f"{size}m" / "dataset.json") for size in (10, 20)]
    assert open_folder(tmp_path / "set" / "20m")[0][0].shape == (1, 60, 60)


@pytest.mark.parametrize("name", ["p.parquet", "p.gpkg", "boxes.csv", "boxes.parquet"])
def test_places_come_in_several_files(small_region: Region, tmp_path: Path, name: str) -> None:
    table = spread(small_region, 2)
    if name.startswith("boxes"):
        table = pd.DataFrame({
            "west": table["lon"] - 0.003, "south": table["lat"] - 0.003,
            "east": table["lon"] + 0.003, "north": table["lat"] + 0.003,
        })  # fmt: skip
    path = tmp_path / name
    if name.endswith(".gpkg"):
        points = shapely.points(table["lon"], table["lat"])
        gpd.GeoDataFrame(table.drop(columns=["lon", "lat"]), geometry=points, crs=4326).to_file(path)
    elif name.endswith(".csv"):
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    side = () if name.startswith("boxes") else ("--side", 640)
    options = (*side, "--cluster", "inline", "--progress", "none", "--json")
    done = run("dataset", "extract", path, *where(small_region), "--out", tmp_path / "set", *options)
    assert done.exit_code == 0, done.output
    wanted = ["p000000", "p000001"] if name.startswith("boxes") else ["p0", "p1"]
    assert open_folder(tmp_path / "set").samples["id"].tolist() == wanted


@pytest.mark.parametrize(
    "table", ["Data/Output/Locations/locations_z16_1280m.parquet", "Data/Input/Boxes/boxes_z16_1280m.csv"]
)
def test_cells_become_imagery(small_region: Region, tmp_path: Path, table: str) -> None:
    """R087: the tables of ``dataset cells`` go in as they are, and their columns are the samples'."""
    done = run("dataset", "cells", small_region.truth_polygons, "--out", tmp_path / "project", "--side", 1280)
    assert done.exit_code == 0, done.output
    options = ("--polygons", small_region.truth_polygons, "--cluster", "inline", "--progress", "none")
    done = run(
        "dataset", "extract", tmp_path / "project" / table, *where(small_region), "--out", tmp_path / "set", *options
    )
    assert done.exit_code == 0, done.output
    dataset = open_folder(tmp_path / "set")
    assert (dataset.samples["rows"] == 128).all()
    assert (dataset.samples["cols"] == 128).all()
    for row in np.flatnonzero(dataset.samples["class"] == 1):
        mask = dataset.reader.mask(int(row))
        if "overlap" in dataset.samples:
            # A cell is a box of degrees, its image a square in UTM: about the same ground.
            assert mask.mean() == pytest.approx(dataset.samples["overlap"].iloc[row], abs=0.02)


def test_wrong_use_is_told_and_leaves_nothing(small_region: Region, places: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    base = (*where(small_region), "--out", out, "--cluster", "inline", "--progress", "none")
    assert run("dataset", "extract", *base).exit_code == 2
    assert run("dataset", "extract", tmp_path / "none.csv", *base).exit_code == 2
    assert run("dataset", "extract", places, *base).exit_code == 2, "no --side"
    swapped = spread(small_region, 4).rename(columns={"lon": "lat", "lat": "lon"}).assign(lat=lambda t: t["lat"] - 40)
    swapped.to_csv(tmp_path / "swapped.csv", index=False)
    done = run("dataset", "extract", tmp_path / "swapped.csv", *base, "--side", 640)
    assert done.exit_code == 2
    done = run("dataset", "extract", places, "--catalog", small_region.catalog, "--datetime", "1999", "--out", out,
               "--side", 640, "--cluster", "inline")  # fmt: skip
    assert done.exit_code == 4
    assert not out.exists()


def test_r071_the_sandbox_is_built_offline(small_region: Region, tmp_path: Path) -> None:
    """R071: a few cells, half round mines, from computer-generated imagery."""
    out = tmp_path / "sandbox"
    done = run("dataset", "sandbox", "--out", out, "--cells", 4, "--cluster", "inline", "--progress", "none")
    assert done.exit_code == 0, done.output
    dataset = open_folder(out)
    assert dataset.samples["kind"].tolist() == ["mine", "mine", "background", "background"]
    masks = [dataset.reader.mask(row) for row in range(4)]
    assert [int(mask.any()) for mask in masks] == dataset.samples["label"].tolist() == [1, 1, 0, 0]
    assert all(0.01 < mask.mean() < 0.9 for mask in masks[:2])
    assert len(list((out / "previews").glob("*.png"))) == 4
    image = dataset[0][0]
    # Diggings are brighter in red than what lies round them: masks and images share their ground.
    seen = (image > 0).all(axis=0)
    red = image[dataset.bands.index("red")]
    assert np.median(red[seen & (masks[0] == 1)]) > np.median(red[seen & (masks[0] == 0)])
    assert run("dataset", "sandbox", "--out", tmp_path / "b", "--cells", 1, "--cluster", "inline").exit_code == 2


@pytest.mark.drill
@pytest.mark.parametrize("layout", ["tif", "zarr"])
def test_r098_a_killed_run_is_continued_to_the_same_bytes(small_region: Region, tmp_path: Path, layout: str) -> None:
    """R098: ``kill -9`` of the driver; what was finished is not made again, and nothing is half written."""
    table = tmp_path / "places.csv"
    spread(small_region, 48, seed=4).to_csv(table, index=False)

    def command(out: Path) -> tuple[object, ...]:
        options = ("--side", 640, "--layout", layout, "--workers", 1, "--json", "--progress", "none")
        polygons = ("--polygons", small_region.truth_polygons)
        return ("dataset", "extract", table, *where(small_region), "--out", out, *options, *polygons)

    out = tmp_path / "killed"
    driver = subprocess.Popen(
        [sys.executable, "-m", "minescale", *map(str, command(out))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ},
    )
    end = time.monotonic() + 240
    try:
        while time.monotonic() < end and driver.poll() is None:
            if (out / BUILDING).is_file() and (out / BUILDING).read_text().count("\n") > 4:
                break
            time.sleep(0.01)
        assert driver.poll() is None, "it ended before it could be killed"
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    noted = (out / BUILDING).read_text().count("\n") - 1
    assert 0 < noted < 48
    assert not (out / "dataset.json").exists()
    again = spawn(*command(out))
    stdout, stderr = again.communicate(timeout=240)
    assert again.returncode == 0, stderr
    told = json.loads(stdout)
    assert told["resumed"] == noted
    assert told["written"] + sum(told["excluded"].values()) == 48
    whole = spawn(*command(tmp_path / "whole"))
    _, stderr = whole.communicate(timeout=240)
    assert whole.returncode == 0, stderr
    assert digests(out) == digests(tmp_path / "whole")
