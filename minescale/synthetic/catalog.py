"""Static STAC catalogue of a region, shaped like Planetary Computer's ``sentinel-2-l2a``.

Items carry no ``raster:bands``: as there, the offset is known from ``s2:processing_baseline`` alone.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from shapely.geometry import Polygon, mapping

from minescale.sensors import SENTINEL2_L2A
from minescale.synthetic.geometry import TileFrame, lonlat
from minescale.synthetic.spec import RegionSpec
from minescale.synthetic.weather import Look

COLLECTION = "sentinel-2-l2a"
ORBIT = 110

_EXTENSIONS = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
]
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_WAVELENGTH = {
    "blue": 0.49,
    "green": 0.56,
    "red": 0.665,
    "rededge071": 0.704,
    "rededge075": 0.74,
    "rededge078": 0.783,
    "nir": 0.842,
    "nir08": 0.865,
    "swir16": 1.61,
    "swir22": 2.19,
}

Json = dict[str, Any]


def asset_key(band: str) -> str:
    """``B04`` for ``red``: the key under which Planetary Computer publishes a band."""
    return SENTINEL2_L2A.band(band).assets[0]


def moment_of(look: Look, tile_index: int) -> dt.datetime:
    """Tiles of one pass are imaged seconds apart."""
    return look.moment + dt.timedelta(seconds=4 * tile_index)


def item_id(look: Look, tile_index: int, tile: TileFrame) -> str:
    platform = "S2" + look.platform[-1].upper()
    stamp = f"{moment_of(look, tile_index):%Y%m%dT%H%M%S}"
    return f"{platform}_MSIL2A_{stamp}_R{ORBIT:03d}_T{tile.mgrs}_{look.moment:%Y%m%d}T220000"


def make_item(
    look: Look, tile_index: int, tile: TileFrame, seen: Polygon, bands: tuple[str, ...], cloud_cover: float
) -> Json:
    """One STAC item; assets lie beside it."""
    footprint = lonlat(seen, tile.crs)
    moment = moment_of(look, tile_index)
    assets = {asset_key(b): _band_asset(b, tile) for b in bands}
    assets["SCL"] = {
        "href": "./SCL.tif",
        "type": _COG,
        "title": "Scene classification map (SCL)",
        "roles": ["data"],
        **_lattice(tile, 20),
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": _EXTENSIONS,
        "id": item_id(look, tile_index, tile),
        "collection": COLLECTION,
        "bbox": [round(v, 7) for v in footprint.bounds],
        "geometry": rounded(mapping(footprint)),
        "properties": {
            "datetime": f"{moment:%Y-%m-%dT%H:%M:%S.024000Z}",
            "platform": look.platform,
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": 10,
            "eo:cloud_cover": cloud_cover,
            "proj:code": tile.crs,
            "sat:orbit_state": "descending",
            "sat:relative_orbit": ORBIT,
            "s2:mgrs_tile": tile.mgrs,
            "s2:processing_baseline": look.baseline,
            "s2:product_type": "S2MSI2A",
            "minescale:synthetic": True,
        },
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
        ],
        "assets": assets,
    }


def _band_asset(band: str, tile: TileFrame) -> Json:
    key, resolution = asset_key(band), int(SENTINEL2_L2A.resolution(band))
    return {
        "href": f"./{key}.tif",
        "type": _COG,
        "title": f"{key} - {band} - {resolution} m",
        "roles": ["data"],
        "gsd": resolution,
        "eo:bands": [{"name": key, "common_name": _eo_name(band), "center_wavelength": _WAVELENGTH[band]}],
        **_lattice(tile, resolution),
    }


def _eo_name(band: str) -> str:
    """EO extension 1.1 knows one name for all three red-edge bands."""
    return "rededge" if band.startswith("rededge") else band


def _lattice(tile: TileFrame, resolution: int) -> Json:
    shape = [n * 10 // resolution for n in tile.shape]
    left, bottom, right, top = tile.outline.bounds
    return {
        "proj:shape": shape,
        "proj:transform": [float(v) for v in tile.transform(resolution)[:6]],
        "proj:bbox": [left, bottom, right, top],
    }


def rounded(geometry: Any) -> Json:
    def walk(value: Any) -> Any:
        return [walk(v) for v in value] if isinstance(value, (list, tuple)) else round(float(value), 7)

    return {"type": geometry["type"], "coordinates": walk(geometry["coordinates"])}


def write_catalog(folder: Path, spec: RegionSpec, items: list[Json]) -> None:
    """Write catalog.json, the collection and all items; every link is relative."""
    items = sorted(items, key=lambda i: (i["properties"]["datetime"], i["id"]))
    times = [i["properties"]["datetime"] for i in items]
    boxes = [i["bbox"] for i in items]
    extent = [min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)]
    title = f"minescale synthetic region {spec.name}"
    dump(
        folder / "catalog.json",
        {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": f"minescale-{spec.name}",
            "title": title,
            "description": "Computer-generated scenes for tests, benchmarks and demonstration. Not a place on Earth.",
            "links": [
                {"rel": "root", "href": "./catalog.json", "type": "application/json"},
                {"rel": "child", "href": f"./{COLLECTION}/collection.json", "type": "application/json"},
            ],
        },
    )
    dump(
        folder / COLLECTION / "collection.json",
        {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": COLLECTION,
            "title": title,
            "description": f"Generated with seed {spec.seed}, spec {spec.digest}.",
            "license": "CC0-1.0",
            "extent": {"spatial": {"bbox": [extent]}, "temporal": {"interval": [[times[0], times[-1]]]}},
            "links": [
                {"rel": "root", "href": "../catalog.json", "type": "application/json"},
                {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
                *({"rel": "item", "href": f"./{i['id']}/{i['id']}.json", "type": "application/json"} for i in items),
            ],
        },
    )
    for item in items:
        dump(folder / COLLECTION / item["id"] / f"{item['id']}.json", item)


def dump(path: Path, value: Json) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
