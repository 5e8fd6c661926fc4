"""A written set as STAC: ``collection.json`` and ``items/<id>.json`` beside the files.

Each item carries the label extension (what the labels mean) and the ml-aoi extension (which part it belongs to, which
files are features and which are labels). Links are relative; nothing depends on the clock or the place on disk.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from minescale._version import __version__
from minescale.labels.sets.chips import check_id, geobox_of
from minescale.labels.sets.dataset import Dataset
from minescale.types import Period

COLLECTION, ITEMS = "collection.json", "items"
STAC_VERSION = "1.1.0"
LABEL = "https://stac-extensions.github.io/label/v1.0.1/schema.json"
ML_AOI = "https://stac-extensions.github.io/ml-aoi/v0.2.0/schema.json"
PARTS = {"train": "train", "val": "validate", "test": "test"}
"""Our parts as the ml-aoi extension calls them."""
MEDIA = {
    ".tif": "image/tiff; application=geotiff",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv",
    ".txt": "text/plain",
    ".json": "application/json",
}
WORLD = [-180.0, -90.0, 180.0, 90.0]
NEVER = ("1972-01-01T00:00:00Z", "2100-01-01T00:00:00Z")
"""The interval that stands for a date nobody knows: STAC has no null for it. Landsat's first image is of 1972."""
Assets = Callable[[pd.Series], dict[str, str]]
"""Files of a sample by asset name, relative to the set; ``label`` is the label's."""


def write_stac(folder: Path, dataset: Dataset, assets: Assets, tasks: Sequence[str]) -> None:
    """Describe the set in ``folder``, whose table has ``height`` and ``width`` of each sample in pixels.

    A sample with a place gets its footprint, one with ``lon`` and ``lat`` alone a point, any other no geometry.

    Parameters
    ----------
    tasks : what the labels are for, in the label extension's words: ``segmentation``, ``detection``,
        ``classification``.

    Raises
    ------
    UsageError
        for ids that cannot name files.
    """
    (folder / ITEMS).mkdir()
    extents = []
    for _, entry in dataset.samples.iterrows():
        item = label_item(dataset, entry, assets(entry), tasks)
        (folder / ITEMS / f"{check_id(item['id'])}.json").write_text(_dump(item), encoding="utf-8")
        extents.append((item.get("bbox"), _span(item)))
    (folder / COLLECTION).write_text(_dump(label_collection(dataset, extents)), encoding="utf-8")


def label_item(dataset: Dataset, entry: pd.Series, files: dict[str, str], tasks: Sequence[str]) -> dict[str, Any]:
    """The item of one sample; ``entry`` is its row in the table."""
    item = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [LABEL, ML_AOI],
        "id": str(entry["id"]),
        "collection": _collection_id(dataset),
        **_footprint(entry),
        "properties": {**_when(entry), **_labels(dataset, tasks), **_facts(dataset, entry)},
        "links": [
            {"rel": rel, "href": f"../{COLLECTION}", "type": MEDIA[".json"]} for rel in ("root", "parent", "collection")
        ],
        "assets": {name: _asset(name, href, f"../{href}") for name, href in files.items()},
    }
    if _known(entry, "split"):
        item["properties"]["ml-aoi:split"] = PARTS[entry["split"]]
    return item


def label_collection(dataset: Dataset, extents: list[tuple[list[float] | None, tuple[str, str]]]) -> dict[str, Any]:
    """The collection; its extents are those of the items that have a place and a date, else the world and any time.

    Parameters
    ----------
    extents : box, or None, and time of each item.
    """
    boxes = np.array([box for box, _ in extents if box is not None])
    bbox = [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)] if len(boxes) else WORLD
    known = [span for _, span in extents if span != NEVER] or [NEVER]
    ids = dataset.samples["id"].astype(str)
    parts = sorted({PARTS[part] for part in dataset.samples["split"].dropna()})
    collection: dict[str, Any] = {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [LABEL, ML_AOI],
        "id": _collection_id(dataset),
        "title": dataset.name,
        "description": f"{len(ids)} labelled samples of {', '.join(dataset.bands)}; labels are {_meaning(dataset)}.",
        # STAC takes SPDX ids and the word other.
        "license": "other" if dataset.licence == "none" else dataset.licence,
        "extent": {
            "spatial": {"bbox": [[float(v) for v in bbox]]},
            "temporal": {"interval": [[min(s for s, _ in known), max(e for _, e in known)]]},
        },
        "summaries": {"minescale:bands": list(dataset.bands), **({"ml-aoi:split": parts} if parts else {})},
        "links": [
            {"rel": "root", "href": f"./{COLLECTION}", "type": MEDIA[".json"]},
            *({"rel": "item", "href": f"./{ITEMS}/{i}.json", "type": "application/geo+json"} for i in ids),
        ],
        "minescale:software": __version__,
    }
    if dataset.resolution_m:
        collection["summaries"]["gsd"] = [dataset.resolution_m]
    return collection


def _labels(dataset: Dataset, tasks: Sequence[str]) -> dict[str, Any]:
    return {
        "label:type": "raster",
        "label:properties": None,
        "label:classes": [{"name": None, "classes": list(dataset.classes.names)}],
        "label:description": f"Class values: {_meaning(dataset)}",
        "label:tasks": list(tasks),
    }


def _facts(dataset: Dataset, entry: pd.Series) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "minescale:site": str(entry["site"]),
        "minescale:source": str(entry["source"]),
        "minescale:units": dataset.units,
    }
    if _known(entry, "parent"):
        facts["minescale:parent"] = str(entry["parent"])
    if _known(entry, "label"):
        facts["minescale:label"] = int(entry["label"])
    return facts


def _meaning(dataset: Dataset) -> str:
    named = [f"{value} {name}" for value, name in enumerate(dataset.classes.names)]
    return ", ".join([*named, *([] if dataset.classes.ignore is None else [f"{dataset.classes.ignore} ignored"])])


def _footprint(entry: pd.Series) -> dict[str, Any]:
    place = geobox_of(entry.to_dict(), (int(entry["height"]), int(entry["width"])))
    if place is not None:
        shape = place.extent.to_crs("EPSG:4326")
        bounds = shape.boundingbox
        bbox = [round(float(v), 7) for v in (bounds.left, bounds.bottom, bounds.right, bounds.top)]
        ring = [[round(x, 7), round(y, 7)] for x, y in shape.exterior.coords]
        return {"geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": bbox}
    if _known(entry, "lon") and _known(entry, "lat"):
        point = [float(entry["lon"]), float(entry["lat"])]
        return {"geometry": {"type": "Point", "coordinates": point}, "bbox": [*point, *point]}
    return {"geometry": None}


def _when(entry: pd.Series) -> dict[str, Any]:
    """``datetime`` of a day, ``start_datetime`` and ``end_datetime`` of a longer time, or of none that is known."""
    if not _known(entry, "image_date"):
        return {"datetime": None, "start_datetime": NEVER[0], "end_datetime": NEVER[1], "minescale:date": "not known"}
    text = str(entry["image_date"])
    period = Period.parse(text)
    start, _, end = period.isoformat().partition("/")
    if period.end - period.start < dt.timedelta(days=1):
        return {"datetime": start}
    return {"datetime": None, "start_datetime": start, "end_datetime": end}


def _span(item: dict[str, Any]) -> tuple[str, str]:
    facts = item["properties"]
    return (facts["start_datetime"], facts["end_datetime"]) if facts["datetime"] is None else (facts["datetime"],) * 2


def _asset(name: str, file: str, href: str) -> dict[str, Any]:
    role = "label" if name == "label" else "feature"
    return {
        "href": href,
        "type": MEDIA.get(PurePosixPath(file).suffix, "application/octet-stream"),
        "roles": ["labels" if role == "label" else "data"],
        "ml-aoi:role": role,
    }


def _known(entry: pd.Series, name: str) -> bool:
    return name in entry and not pd.isna(entry[name])


def _collection_id(dataset: Dataset) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in dataset.name)


def _dump(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"
