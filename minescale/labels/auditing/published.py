"""Splits that were published with a set, as tables of sites that ship with the package."""

from __future__ import annotations

from importlib import resources

import pandas as pd

from minescale.errors import UsageError
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import Split
from minescale.labels.shapes.sites import split_site

TABLES = ("gmd_v1",)
"""``gmd_v1``: Table 1 of the Global Mining Dataset's description: 33 base sites, 5,800 images."""


def published_table(name: str) -> pd.DataFrame:
    """Columns split, continent, country, base_site, images; one row per base site, in the published order.

    Raises
    ------
    UsageError
        for an unknown name.
    """
    if name not in TABLES:
        raise UsageError("unknown published split", got=name, expected=" | ".join(TABLES))
    with (resources.files("minescale.labels.auditing") / "splits" / f"{name}.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)


def published_split(dataset: Dataset, name: str) -> Split:
    """Samples go where their base site was published to go; those of other sites belong to no part.

    Raises
    ------
    UsageError
        where no site of the set is in the table.
    """
    table = published_table(name)
    part = dict(zip(table["base_site"].map(_base), table["split"], strict=True))
    found = dataset.samples["site"].astype(str).map(_base).map(part)
    if found.isna().all():
        raise UsageError(
            f"no site of {dataset.name} is in {name}",
            got=", ".join(sorted(dataset.samples["site"].astype(str).unique())[:5]),
            expected=", ".join(table["base_site"][:3]) + ", ...",
        )
    known = found.notna()
    parts = dict(zip(dataset.samples["id"][known].astype(str), found[known], strict=True))
    settings = {"table": name, "val_mode": "unseen", "unlisted": int((~known).sum())}
    return Split(parts=parts, rule="published", settings=settings)


def _base(name: str) -> str:
    return split_site(name)[0]
