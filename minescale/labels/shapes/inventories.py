"""Published inventories of mines by name: what their columns mean, and when their imagery was taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import pandas as pd

from minescale.errors import UsageError
from minescale.labels.shapes.points import Points, read_points
from minescale.labels.shapes.polygons import Polygons
from minescale.labels.shapes.vectors import read_polygons


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """A published set of polygons or points."""

    title: str
    cite: str
    licence: str
    """SPDX id, ``none`` where nobody granted anything."""
    shapes: Literal["polygons", "points"]
    epoch: int | None
    """Year of the imagery; None where each row says its own."""
    columns: Mapping[str, str]
    """Their columns that must be there, and what we call them."""
    epoch_column: str | None = None
    """Ours: a date or year from which ``label_epoch`` follows."""


INVENTORIES: Mapping[str, Inventory] = {
    "maus": Inventory(
        title="Global-scale mining polygons, version 2",
        cite="Maus et al. 2022, doi:10.1594/PANGAEA.942325",
        licence="CC-BY-SA-4.0",
        shapes="polygons",
        epoch=2019,
        columns={"ISO3_CODE": "iso3", "COUNTRY_NAME": "country", "AREA": "area_km2"},
    ),
    "tang-werner": Inventory(
        title="Global mining footprint",
        cite="Tang and Werner 2023, doi:10.1038/s43247-023-00805-6",
        licence="CC-BY-4.0",
        shapes="polygons",
        epoch=2020,
        columns={"OBJECTID": "id"},
    ),
    "amazon-mining-watch": Inventory(
        title="Amazon Mining Watch, mined areas by year",
        cite="Earth Genome, Pulitzer Center, Amazon Conservation: https://amazonminingwatch.org",
        licence="CC-BY-4.0",
        shapes="polygons",
        epoch=None,
        columns={"Mined area (ha)": "mined_ha", "year": "period"},
        epoch_column="period",
    ),
    "ipis": Inventory(
        title="IPIS open data on artisanal mining sites",
        cite="International Peace Information Service: https://ipisresearch.be",
        licence="CC-BY-4.0",
        shapes="points",
        epoch=None,
        columns={"visit_date": "visit_date"},
        epoch_column="visit_date",
    ),
}
"""Outlines of Maus et al. enclose what lies between pits, vegetation too; those of Tang and Werner follow each feature.
Neither is pixel truth at its edges: see ``edge_m`` of `minescale.labels.rasters.masks.class_mask`."""


def read_inventory(name: str, path: str | Path, **options: Any) -> Polygons | Points:
    """Read a file of a published inventory: its columns under our names, its epoch set.

    ``label_epoch`` is the year of each row's imagery or visit, null where it is not known. ``area_km2`` and
    ``mined_ha`` are the publisher's own figures; mined hectares are fewer than the outline encloses.

    Parameters
    ----------
    name : key of `INVENTORIES`.
    options : for `read_polygons` or `read_points`, such as ``layer`` or ``region``; ``epoch`` overrules ours.

    Raises
    ------
    UsageError
        Unknown inventory, columns that it should have and the file lacks, or what the reader refuses.
    """
    inventory = INVENTORIES.get(name)
    if inventory is None:
        raise UsageError("unknown inventory", got=name, expected=", ".join(INVENTORIES))
    read = read_polygons if inventory.shapes == "polygons" else read_points
    found: Polygons | Points = read(path, **{"epoch": inventory.epoch, **options})
    missing = [column for column in inventory.columns if column not in found.frame]
    if missing:
        raise UsageError(
            f"{found.source} is not what {name} publishes",
            got=", ".join(c for c in found.frame.columns if c != "geometry"),
            expected=f"{inventory.title}, with {', '.join(inventory.columns)}",
            fix="a plain reader, without a name of an inventory",
        )
    clash = [ours for theirs, ours in inventory.columns.items() if ours in found.frame and theirs != ours]
    frame = found.frame.drop(columns=clash).rename(columns=dict(inventory.columns))
    years = _years(frame[inventory.epoch_column]) if inventory.epoch_column else None
    frame["label_epoch"] = years if years is not None else pd.array([found.epoch] * len(frame), dtype="Int64")
    epochs = frame["label_epoch"].dropna().unique()
    epoch = found.epoch if found.epoch is not None else int(epochs[0]) if len(epochs) == 1 else None
    return replace(found, frame=frame, epoch=epoch)


def join_points(polygons: Polygons, points: Points) -> tuple[Polygons, int]:
    """Attributes of the points that lie in each polygon, or on its edge.

    Columns get ``point_`` before their name; several different values are joined by ``; `` in their order.
    ``point_count`` says how many points there are.

    Returns
    -------
    polygons, and how many points lie in none.
    """
    joined = gpd.sjoin(points.frame, polygons.frame[["geometry"]], predicate="intersects")
    row = joined.pop("index_right")
    table = joined.drop(columns="geometry").astype("string").groupby(row.to_numpy())
    columns = {f"point_{c}": table[c].agg(_distinct) for c in points.frame.columns if c != "geometry"}
    frame = polygons.frame.assign(
        point_count=row.value_counts().reindex(polygons.frame.index, fill_value=0).to_numpy(),
        **{name: values.reindex(polygons.frame.index).astype("string") for name, values in columns.items()},
    )
    return replace(polygons, frame=frame), len(points) - joined.index.nunique()


def _distinct(values: pd.Series) -> str:
    return "; ".join(dict.fromkeys(str(v) for v in values.dropna() if str(v)))


def _years(values: pd.Series) -> pd.Series:
    """Years in dates of any order, and in numbers such as 202400; null where there is none."""
    return values.astype("string").str.extract(r"(?<!\d)((?:19|20)\d\d)", expand=False).astype("Int64")
