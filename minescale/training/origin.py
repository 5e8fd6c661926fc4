"""What a labelled set tells of a model taught on it: the class that is looked for, and where the data are from."""

from __future__ import annotations

import re
from typing import Any

from minescale.errors import ModelError
from minescale.labels.auditing.classstats import mining_values
from minescale.labels.sets.classes import ClassMap
from minescale.labels.sets.dataset import Dataset


def target_of(name: str, classes: ClassMap) -> str:
    """The class that is looked for: as the settings say, or the only one that stands for mining.

    Raises
    ------
    ModelError
        where it is not a class of the set, or it could be several.
    """
    if name:
        if name not in classes.names:
            raise ModelError("the target is no class of the set", got=name, expected=", ".join(classes.names))
        return name
    found = [classes.names[value] for value in mining_values(classes)]
    if len(found) != 1:
        raise ModelError(
            "which class is looked for?", got=", ".join(classes.names), fix="--set target=..., one of these"
        )
    return found[0]


def training_facts(dataset: Dataset) -> dict[str, Any]:
    """What a package keeps of its data: name, licence, and where and when its samples lie, as far as known."""
    samples = dataset.samples
    facts: dict[str, Any] = {"data": dataset.name, "data_licence": dataset.licence}
    if "attribution" in dataset.provenance:
        facts["attribution"] = str(dataset.provenance["attribution"])
    if {"lon", "lat"} <= set(samples):
        lon, lat = (samples[c].dropna().astype(float) for c in ("lon", "lat"))
        if len(lon):
            edges = (lon.min(), lat.min(), lon.max(), lat.max())
            facts["bbox"] = [round(float(edge), 4) for edge in edges]
    if "image_date" in samples:
        days = sorted(d for text in samples["image_date"].dropna().astype(str) for d in text.split("/"))
        full = [d for d in days if re.fullmatch(r"\d{4}-\d\d-\d\d", d[:10])]
        if full:
            facts |= {"start": f"{full[0][:10]}T00:00:00Z", "end": f"{full[-1][:10]}T23:59:59Z"}
    return facts
