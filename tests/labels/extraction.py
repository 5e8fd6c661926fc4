"""Places, catalogues and runs for the tests of extraction."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from minescale.config import Config, load_config
from minescale.labels.imagery.extract import ExtractReport, extract
from minescale.labels.imagery.extract_plan import ExtractRequest
from minescale.synthetic import Region

BANDS = ("red", "nir", "swir16")


def inline(**settings: Any) -> Config:
    """Settings for a run in this process; ``section__key=value``."""
    given = {name.replace("__", "."): value for name, value in settings.items()}
    return load_config(overrides={"engine.cluster": "inline", **given})


def spread(region: Region, n: int, seed: int = 0) -> pd.DataFrame:
    """Places within the region, clear of its edge, with a column of somebody's own."""
    west, south, east, north = region.bbox.as_tuple()
    draw = np.random.default_rng(seed).uniform(0.1, 0.9, (n, 2))
    return pd.DataFrame(
        {
            "id": [f"p{i}" for i in range(n)],
            "site": [f"site{i // 2}" for i in range(n)],
            "kind": ["forest"] * n,
            "lon": west + draw[:, 0] * (east - west),
            "lat": south + draw[:, 1] * (north - south),
        }
    )


def middle(region: Region, name: str = "middle") -> pd.DataFrame:
    """The region's centre, which lies on the border of two UTM zones."""
    return pd.DataFrame({"id": [name], "lon": [region.spec.lon], "lat": [region.spec.lat]})


def request(region: Region, **changes: Any) -> ExtractRequest:
    base = ExtractRequest(catalog=str(region.catalog), datetime=str(region.period), bands=BANDS, side_m=1280)
    return dataclasses.replace(base, **changes)


def cut(region: Region, places: pd.DataFrame, out: Path, config: Config | None = None, **changes: Any) -> ExtractReport:
    """Extract in this process."""
    beside = {
        name: changes.pop(name) for name in ("polygons", "listeners", "accept_unread", "batch") if name in changes
    }
    return extract(places, request(region, **changes), out, config=config or inline(), **beside)


def catalogue(region: Region, folder: Path, change: Callable[[dict[str, Any]], bool | None]) -> Path:
    """A copy of the region's catalogue, its files by absolute address.

    ``change`` may alter an item; where it returns False, the item is left out.
    """
    source = region.catalog.parent
    target = folder / "catalogue"
    shutil.copytree(source, target, ignore=lambda _, names: [n for n in names if n.endswith(".tif")])
    collection = next(target.glob("*/collection.json"))
    gone = []
    for path in sorted(target.rglob("*.json")):
        document: dict[str, Any] = json.loads(path.read_text())
        if document.get("type") != "Feature":
            continue
        origin = source / path.relative_to(target)
        for asset in document["assets"].values():
            asset["href"] = str((origin.parent / asset["href"]).resolve())
        if change(document) is False:
            gone.append(path.name)
        path.write_text(json.dumps(document))
    values: dict[str, Any] = json.loads(collection.read_text())
    values["links"] = [link for link in values["links"] if Path(link["href"]).name not in gone]
    collection.write_text(json.dumps(values))
    return target / "catalog.json"


def clouds(covers: Mapping[str, float]) -> Callable[[dict[str, Any]], None]:
    """Give items whose id begins so this cloud cover, and all others 100."""

    def change(item: dict[str, Any]) -> None:
        found = [cover for start, cover in covers.items() if item["id"].startswith(start)]
        item["properties"]["eo:cloud_cover"] = found[0] if found else 100.0

    return change
