"""The catalogue entry: core schema, relative links that survive a move, the same bytes every time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pystac
import pytest

from minescale.outputs.finish import finish_scan
from minescale.outputs.stac import COLLECTION_FILE, write_collection
from minescale.outputs.summary import summarise
from tests.outputs.conftest import Scan, plan_of


def documents(root: Path) -> list[Path]:
    return [root / COLLECTION_FILE, *sorted((root / "items").glob("*.json")), *sorted((root / "models").glob("*.json"))]


def test_everything_is_reached_by_relative_links_after_a_move(published: Scan, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.move(published.folder.root, moved)
    for document in documents(moved):
        values = json.loads(document.read_text())
        links = [link["href"] for link in values["links"]]
        assets = [asset["href"] for asset in values["assets"].values()]
        for href in (*links, *assets):
            if href.startswith("urn:"):
                continue
            assert href.startswith(("./", "../")), f"{document.name}: {href}"
            assert (document.parent / href).exists(), f"{document.name}: {href}"
    assert str(tmp_path) not in "".join(d.read_text() for d in documents(moved))
    collection = pystac.Collection.from_file(str(moved / COLLECTION_FILE))
    items = list(collection.get_items())
    assert len(items) == 2
    assert all(item.get_collection() is not None for item in items)


@pytest.mark.filterwarnings("ignore:``LocalValidator``:DeprecationWarning")
def test_core_schema_holds(published: Scan) -> None:
    """Against the core schemas that pystac carries; those of the extensions would need the internet."""
    pytest.importorskip("jsonschema")
    from pystac.validation.local_validator import VERSION, LocalValidator

    local = LocalValidator()
    root = Path(published.folder.root)
    for document in (root / COLLECTION_FILE, *(root / "items").glob("*.json")):
        values = json.loads(document.read_text())
        assert values["stac_version"] == VERSION
        validator = local.collection_validator if values["type"] == "Collection" else local.item_validator
        assert [error.message for error in validator(VERSION).iter_errors(values)] == [], document.name


def test_item_describes_the_finest_group(published: Scan) -> None:
    item = pystac.Item.from_file(str(sorted((Path(published.folder.root) / "items").glob("*.json"))[1]))
    assert item.properties["start_datetime"] == "2024-01-01T00:00:00Z"
    assert item.properties["processing:level"] == "L4"
    assert item.properties["proj:code"] == "EPSG:32720"
    assert item.properties["proj:shape"] == list(published.plan.grid.shape)
    assert item.properties["proj:transform"] == list(published.plan.grid.geobox.transform)[:6]
    asset = item.assets["mosaic"]
    assert asset.href.endswith("mosaic.zarr/0")
    assert asset.media_type == "application/vnd.zarr; version=3"
    assert asset.extra_fields["zarr:node_type"] == "group"
    probability = next(b for b in asset.to_dict()["bands"] if b["name"] == "probability")
    assert (probability["nodata"], probability["raster:scale"]) == (255, 0.004)
    assert {link.rel for link in item.links} >= {"root", "collection", "store", "derived_from"}


def test_asset_opens_in_xarray(published: Scan) -> None:
    import xarray as xr

    item = pystac.Item.from_file(str(sorted((Path(published.folder.root) / "items").glob("*.json"))[0]))
    href = item.assets["mosaic"].get_absolute_href()
    assert href is not None
    opened = xr.open_zarr(href, consolidated=item.assets["mosaic"].extra_fields["zarr:consolidated"])
    assert set(opened.probability.dims) == {"time", "y", "x"}


def test_model_is_named_by_its_hash_and_not_copied(published: Scan) -> None:
    model = json.loads((Path(published.folder.root) / "models" / "level-0.json").read_text())
    assert model["properties"]["mlm:name"]
    assert model["properties"]["minescale:package_digest"]
    assert all(asset["href"].startswith("urn:sha256:") for asset in model["assets"].values())
    assert model["assets"]
    assert not list(Path(published.folder.root).rglob("*.safetensors"))


def test_same_bytes_twice(published: Scan) -> None:
    before = {d.name: d.read_bytes() for d in documents(Path(published.folder.root))}
    write_collection(published.plan, published.folder, summarise(published.plan, published.folder))
    assert {d.name: d.read_bytes() for d in documents(Path(published.folder.root))} == before


def test_finishing_twice_changes_nothing(published: Scan) -> None:
    root = Path(published.folder.root)
    before = {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in root.rglob("*") if f.is_file()}
    finish_scan(published.plan, published.folder, summarise(published.plan, published.folder))
    assert {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in root.rglob("*") if f.is_file()} == before


def test_an_end_that_was_cut_short_is_made_good_to_the_same_bytes(published: Scan) -> None:
    root = Path(published.folder.root)
    before = {f: f.read_bytes() for f in (root / "mosaic.zarr").rglob("*") if f.is_file()}
    (root / "quicklook.png").unlink()
    finish_scan(published.plan, published.folder, summarise(published.plan, published.folder))
    assert (root / "quicklook.png").exists()
    assert {f: f.read_bytes() for f in (root / "mosaic.zarr").rglob("*") if f.is_file()} == before


def test_crs_without_a_code_is_wkt() -> None:
    from minescale.outputs.stac import _projection

    found = _projection(plan_of(crs="+proj=laea +lat_0=-6.5 +lon_0=-60 +datum=WGS84 +units=m", resolution=20.0))
    assert found["proj:code"] is None
    assert "Lambert" in found["proj:wkt2"]
