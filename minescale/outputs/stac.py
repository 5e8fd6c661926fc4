"""The scan as a STAC collection with one item per period: ``collection.json`` and ``items/``.

All links are relative, so the directory can be moved or published as it is. Nothing in the files depends on the
clock or on where they lie: equal runs write equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import fsspec
import pyproj

from minescale._version import __version__
from minescale.models.package import ModelPackage, load_package
from minescale.outputs.summary import Summary
from minescale.planning.plan import MOSAIC_FILE, PLAN_FILE, SCENES_FILE, ScanPlan
from minescale.planning.run_dir import RunDir
from minescale.store.codes import FINE_CODES, PROBABILITY, PROBABILITY_STEPS
from minescale.types import BBox, Period

COLLECTION_FILE, ITEMS, MODELS, QUICKLOOK_FILE = "collection.json", "items", "models", "quicklook.png"

ZARR_MEDIA = "application/vnd.zarr; version=3"
PARQUET_MEDIA = "application/vnd.apache.parquet"
JSON_MEDIA, GEOJSON_MEDIA = "application/json", "application/geo+json"

_STAC_VERSION = "1.1.0"
_BASE = "https://stac-extensions.github.io"
_EXTENSIONS = {
    "zarr": f"{_BASE}/zarr/v1.1.0/schema.json",
    "projection": f"{_BASE}/projection/v2.0.0/schema.json",
    "processing": f"{_BASE}/processing/v1.2.0/schema.json",
    "raster": f"{_BASE}/raster/v2.0.0/schema.json",
    "render": f"{_BASE}/render/v2.0.0/schema.json",
}
_SHA256 = "1220"
"""Multihash prefix: SHA-256, 32 bytes."""
_ZARR_NODE = {"zarr:consolidated": True, "zarr:node_type": "group", "zarr:zarr_format": 3}


def write_collection(plan: ScanPlan, folder: RunDir, summary: Summary) -> None:
    """Write ``collection.json``, ``items/*.json`` and ``models/*.json`` (the packages' MLM items) into the scan.

    Raises
    ------
    ModelError
        where the model package of the plan is gone.
    OSError
        where the folder cannot be written.
    """
    fs, root = fsspec.core.url_to_fs(folder.root)
    for name in (ITEMS, MODELS):
        fs.makedirs(f"{root}/{name}", exist_ok=True)
    package = load_package(plan.request.model)
    packages = [package, *([package.screen] if plan.is_pyramid and package.screen else [])]
    models = {f"{MODELS}/level-{level}.json": model_item(found) for level, found in enumerate(packages)}
    for name, model in models.items():
        folder.write_text(name, _dump(model))
    items = {f"{ITEMS}/{item_id(plan, t)}.json": scan_item(plan, t, summary, models) for t in range(len(plan.periods))}
    for name, item in items.items():
        folder.write_text(name, _dump(item))
    folder.write_text(COLLECTION_FILE, _dump(scan_collection(plan, items, models)))


def item_id(plan: ScanPlan, time: int) -> str:
    """Run and period: unique among scans, and sorted by time."""
    period = plan.periods[time]
    return f"{plan.run_id}-{period.start:%Y%m%d}-{period.end:%Y%m%d}"


def scan_collection(plan: ScanPlan, items: Mapping[str, Any], models: Mapping[str, Any]) -> dict[str, Any]:
    """The collection; ``items`` and ``models`` by their path in the scan's directory."""
    links = [{"rel": "root", "href": f"./{COLLECTION_FILE}", "type": JSON_MEDIA}]
    links += [{"rel": "item", "href": f"./{name}", "type": GEOJSON_MEDIA} for name in items]
    links += _model_links(models, ".")
    links += _sources(plan)
    links.append(_store_link("."))
    code = _proj_code(plan.grid.crs)
    summaries = {
        "proj:code": [code] if code else [],
        "gsd": [plan.grid.resolution],
        "minescale:source_collections": _source_collections(plan),
    }
    return {
        "type": "Collection",
        "stac_version": _STAC_VERSION,
        "stac_extensions": [_EXTENSIONS["zarr"], _EXTENSIONS["projection"], _EXTENSIONS["processing"]],
        "id": f"minescale-{plan.run_id}",
        "title": f"Mining probability, {plan.request.period}",
        "description": (
            f"Probability of mining from {plan.sensor} scenes, run {plan.run_id}. Pixels without a probability were "
            "not seen; they are no statement about mines. Detections are evidence to be checked, not verdicts."
        ),
        "keywords": ["mining", "remote sensing", plan.sensor],
        "license": "other",
        "providers": [
            {
                "name": "minescale",
                "roles": ["processor"],
                "processing:level": "L4",
                "processing:software": {"minescale": __version__},
            }
        ],
        "extent": {
            "spatial": {"bbox": [list(plan.request.bbox.as_tuple())]},
            "temporal": {"interval": [[*_interval(plan.request.period)]]},
        },
        # The schema has no empty lists here: what is not known is left out.
        "summaries": {name: values for name, values in summaries.items() if values},
        "links": links,
        "assets": {
            "mosaic": {
                "href": f"./{MOSAIC_FILE}",
                "type": ZARR_MEDIA,
                "title": "Mosaic: probability, clear looks, reasons, overviews and tile states",
                "roles": ["data"],
                **_ZARR_NODE,
            },
            "scenes": {
                "href": f"./{SCENES_FILE}",
                "type": PARQUET_MEDIA,
                "roles": ["metadata"],
                "title": "Scenes used",
            },
            "plan": {"href": f"./{PLAN_FILE}", "type": JSON_MEDIA, "roles": ["metadata"], "title": "Plan of the run"},
            "quicklook": _quicklook("."),
        },
    }


def scan_item(plan: ScanPlan, time: int, summary: Summary, models: Mapping[str, Any]) -> dict[str, Any]:
    """The item of one period; its data asset is the store's finest group."""
    period = plan.periods[time]
    start, end = _interval(period)
    figures = summary.periods[time].to_dict()
    return {
        "type": "Feature",
        "stac_version": _STAC_VERSION,
        "stac_extensions": list(_EXTENSIONS.values()),
        "id": item_id(plan, time),
        "collection": f"minescale-{plan.run_id}",
        "geometry": _geometry(plan.request.bbox),
        "bbox": list(plan.request.bbox.as_tuple()),
        "properties": {
            "datetime": None,
            "start_datetime": start,
            "end_datetime": end,
            "title": f"Mining probability, {period}",
            "gsd": plan.grid.resolution,
            **_projection(plan),
            "processing:level": "L4",
            "processing:software": {"minescale": __version__},
            "processing:lineage": _lineage(plan),
            "minescale:run_id": plan.run_id,
            "minescale:model": _model_name(plan),
            "minescale:model_digest": [level.model_digest for level in plan.levels],
            "minescale:threshold": plan.threshold,
            "minescale:figures": figures,
            "renders": {
                "probability": {
                    "title": "Probability of mining",
                    "assets": ["mosaic"],
                    "rescale": [[0, PROBABILITY_STEPS]],
                    "nodata": PROBABILITY.fill,
                    "colormap_name": "inferno",
                }
            },
        },
        "links": [
            {"rel": "root", "href": f"../{COLLECTION_FILE}", "type": JSON_MEDIA},
            {"rel": "parent", "href": f"../{COLLECTION_FILE}", "type": JSON_MEDIA},
            {"rel": "collection", "href": f"../{COLLECTION_FILE}", "type": JSON_MEDIA},
            _store_link(".."),
            *_model_links(models, ".."),
            *_sources(plan),
        ],
        "assets": {
            "mosaic": {
                "href": f"../{MOSAIC_FILE}/0",
                "type": ZARR_MEDIA,
                "title": "Finest group of the mosaic; the period is its time step "
                f"{time} (groups 1, 2, ... beside it are overviews)",
                "roles": ["data"],
                **_ZARR_NODE,
                "zarr:consolidated": False,  # the root's consolidated metadata covers the groups; they have none
                "bands": _bands(),
            },
            "quicklook": _quicklook(".."),
        },
    }


def model_item(package: ModelPackage) -> dict[str, Any]:
    """The package's MLM item as it is published with a scan: weights are named by their hash, not copied.

    A scan may be published where its model may not, so ``urn:sha256`` says which weights were used, not where.
    """
    item = json.loads((package.path / "model.json").read_text(encoding="utf-8"))
    item["assets"] = {
        name: {**asset, "href": f"urn:sha256:{asset['file:checksum'].removeprefix(_SHA256)}"}
        for name, asset in item["assets"].items()
        if "file:checksum" in asset
    }
    item["links"] = [{"rel": "root", "href": f"../{COLLECTION_FILE}", "type": JSON_MEDIA}]
    item["properties"]["minescale:package_digest"] = package.digest
    return dict(item)


def _model_links(models: Mapping[str, Any], up: str) -> list[dict[str, Any]]:
    return [
        {"rel": "derived_from", "href": f"{up}/{name}", "type": GEOJSON_MEDIA, "title": f"Model: {model['id']}"}
        for name, model in models.items()
    ]


def _store_link(up: str) -> dict[str, Any]:
    return {
        "rel": "store",
        "href": f"{up}/{MOSAIC_FILE}",
        "type": ZARR_MEDIA,
        "title": "Zarr store of the mosaic",
        **_ZARR_NODE,
    }


def _source_collections(plan: ScanPlan) -> list[str]:
    return sorted({f"{scene.provider}/{scene.collection}" for scene in plan.scenes})


def _sources(plan: ScanPlan) -> list[dict[str, Any]]:
    """Collections of a STAC API by address. Sources without one are named in the summaries."""
    root = plan.request.catalog
    if not root.startswith(("http://", "https://")) or root.endswith((".json", ".parquet")):
        return []
    return [
        {
            "rel": "derived_from",
            "href": f"{root.rstrip('/')}/collections/{name}",
            "type": JSON_MEDIA,
            "title": f"Source scenes: {name}",
        }
        for name in sorted({scene.collection for scene in plan.scenes})
    ]


def _quicklook(up: str) -> dict[str, Any]:
    return {
        "href": f"{up}/{QUICKLOOK_FILE}",
        "type": "image/png",
        "title": "Composite and probability of the last period",
        "roles": ["overview"],
    }


def _bands() -> list[dict[str, Any]]:
    bands = []
    for code in FINE_CODES:
        band: dict[str, Any] = {
            "name": code.name,
            "description": code.attrs["long_name"],
            "data_type": code.dtype.name,
            "nodata": code.fill,
        }
        if code is PROBABILITY:
            band |= {"raster:scale": 1 / PROBABILITY_STEPS, "raster:offset": 0.0}
        bands.append(band)
    return bands


def _projection(plan: ScanPlan) -> dict[str, Any]:
    grid, code = plan.grid, _proj_code(plan.grid.crs)
    ny, nx = grid.shape
    values: dict[str, Any] = {
        "proj:code": code,
        "proj:shape": [ny, nx],
        "proj:transform": [grid.resolution, 0.0, grid.left, 0.0, -grid.resolution, grid.top],
        "proj:bbox": [grid.left, grid.top - ny * grid.resolution, grid.left + nx * grid.resolution, grid.top],
    }
    return values if code else {**values, "proj:wkt2": pyproj.CRS(grid.crs).to_wkt()}


def _proj_code(crs: str) -> str | None:
    return crs if crs.upper().startswith(("EPSG:", "ESRI:", "OGC:", "IAU")) and len(crs) < 40 else None


def _lineage(plan: ScanPlan) -> str:
    method = plan.config.composite.method
    text = f"{method} composite of clear looks in {len(plan.scenes)} {plan.sensor} scenes, model {_model_name(plan)}"
    if plan.is_pyramid:
        text += f"; tiles below {plan.keep_threshold:g} at {plan.levels[1].resolution:g} m were not refined"
    return text


def _model_name(plan: ScanPlan) -> str:
    """Name of a built-in package or of the user's folder: where that lies is nobody else's business."""
    return PurePath(plan.request.model).name


def _interval(period: Period) -> tuple[str, str]:
    start, _, end = period.isoformat().partition("/")
    return start, end


def _geometry(bbox: BBox) -> dict[str, Any]:
    rings = [
        [[p.west, p.south], [p.east, p.south], [p.east, p.north], [p.west, p.north], [p.west, p.south]]
        for p in bbox.parts()
    ]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings}
    return {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}


def _dump(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"
