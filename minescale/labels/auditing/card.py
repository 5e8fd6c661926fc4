"""The dataset card: what a set holds, counted, as Markdown for people and JSON for machines."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from minescale.labels.auditing.audit import Audit
from minescale.labels.auditing.classstats import class_counts, class_table
from minescale.labels.auditing.confounding import contingency, sample_classes
from minescale.labels.auditing.nearness import nearness
from minescale.labels.auditing.strata import rates
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import PARTS, Split

SITE_COLUMNS = ("split", "continent", "country", "base_site", "images")


def site_table(dataset: Dataset, split: Split | None = None) -> pd.DataFrame:
    """Samples by part, continent, country and site; columns :data:`SITE_COLUMNS`, the layout of the published table.

    Parts come in the order train, val, test, the rest as the samples do; ``all`` where there is no split, null where a
    continent or country is not known. Samples without a part are left out.
    """
    samples = dataset.samples
    part = pd.Series("all", samples.index) if split is None else samples["id"].map(split.parts)
    known = pd.DataFrame(
        {
            "split": pd.Categorical(part, (*PARTS, "all"), ordered=True),
            **{c: samples[c] if c in samples else pd.Series(None, samples.index) for c in ("continent", "country")},
            "base_site": samples["site"],
        }
    )
    known = known[known["split"].notna()]
    grouped = known.sort_values("split", kind="stable").groupby(
        list(SITE_COLUMNS[:-1]), sort=False, dropna=False, observed=True
    )
    table = grouped.size().rename("images").reset_index()
    return table[table["images"] > 0].astype({"split": str}).reset_index(drop=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Everything that is counted about a set."""

    name: str
    licence: str
    units: str
    bands: tuple[str, ...]
    resolution_m: float | None
    counts: dict[str, int]
    """samples, independent (no augmented copy of another), sites, with_pixels (a mask), with_class (of the whole)."""
    sites: pd.DataFrame
    """As :func:`site_table`."""
    classes: pd.DataFrame
    """As :func:`~minescale.labels.auditing.classstats.class_table`."""
    countries: pd.DataFrame
    """Per country: n samples, ``hits`` that hold mining, their share and its 95 % interval."""
    sources: pd.DataFrame
    """Samples by source and class."""
    kinds: dict[str, int]
    """Negatives by kind; empty where nobody says."""
    split: Split | None
    distances: list[dict[str, Any]]
    """Shortest way between parts (:class:`~minescale.labels.auditing.nearness.Nearness`)."""
    audit: Audit | None
    provenance: dict[str, Any]

    @property
    def shares(self) -> dict[str, float]:
        """Percentage of the samples in each part."""
        images = self.sites.groupby("split", sort=False)["images"].sum()
        return {str(part): 100 * int(n) / int(images.sum()) for part, n in images.items()}

    def to_dict(self) -> dict[str, Any]:
        values = {
            "name": self.name,
            "licence": self.licence,
            "units": self.units,
            "bands": list(self.bands),
            "resolution_m": self.resolution_m,
            "counts": self.counts,
            "shares_percent": {part: round(share, 2) for part, share in self.shares.items()},
            "sites": self.sites.to_dict("records"),
            "geography": geography(self.sites),
            "classes": self.classes.reset_index().to_dict("records"),
            "countries": self.countries.reset_index().to_dict("records"),
            "sources": {str(s): {str(c): int(n) for c, n in row.items()} for s, row in self.sources.iterrows()},
            "negatives_by_kind": self.kinds,
            "split": None if self.split is None else {"rule": self.split.rule, "settings": self.split.settings},
            "distances": self.distances,
            "audit": None if self.audit is None else self.audit.to_dict(),
            "provenance": self.provenance,
        }
        return {name: _plain(value) for name, value in values.items()}

    def to_markdown(self) -> str:
        pixel = (
            "pixels of differing or unknown size" if self.resolution_m is None else f"{self.resolution_m:g} m pixels"
        )
        lines = [
            f"# {self.name}",
            "",
            f"Licence: {self.licence}. Bands: {', '.join(self.bands)}; {self.units}; {pixel}.",
            "",
            "| samples | independent | sites | with pixel labels | with a class of the whole |",
            "|---:|---:|---:|---:|---:|",
            "| " + " | ".join(f"{n:,}" for n in self.counts.values()) + " |",
            "",
            "## Samples by split, continent, country and site",
            "",
            *_site_lines(self.sites, self.shares),
            "",
            "## Geography",
            "",
            *(f"- **{c}:** {', '.join(names)}" for c, names in geography(self.sites).items()),
            "",
            "## Classes",
            "",
            "Pixels; where samples are labelled as a whole, samples.",
            "",
            *_table_lines(self.classes),
            "",
            "## Samples that hold mining, by country",
            "",
            *_table_lines(self.countries.rename(columns={"hits": "with mining"})),
            "",
            "## Samples by source and class value",
            "",
            *_table_lines(self.sources),
        ]
        if self.kinds:
            kinds = pd.Series(self.kinds, name="negatives").rename_axis("kind").to_frame()
            lines += ["", "## Negatives by kind", "", *_table_lines(kinds)]
        if self.split is not None:
            settings = ", ".join(f"{k} {v}" for k, v in self.split.settings.items())
            lines += ["", "## Split", "", f"By {self.split.rule}: {settings}.", ""]
            lines += [f"- {d['parts'][0]} and {d['parts'][1]}: {d['metres']:,.0f} m apart" for d in self.distances]
        if self.audit is not None:
            lines += ["", "## Audit", "", "```", self.audit.to_text(), "```"]
        return "\n".join(lines) + "\n"


def make_card(dataset: Dataset, split: Split | None = None, audit: Audit | None = None) -> Card:
    """Count a set. Reads every label, and no image.

    Raises
    ------
    UsageError
        where a label holds values that are no class.
    """
    counts = class_counts(dataset)
    classes = sample_classes(dataset, counts)
    samples = dataset.samples
    mining = classes > 0
    country = samples["country"] if "country" in samples else pd.Series([None] * len(samples), name="country")
    masked = dataset.reader.mask(0) is not None
    kinds = samples.loc[classes == 0, "kind"].dropna() if "kind" in samples else pd.Series(dtype=object)
    return Card(
        name=dataset.name,
        licence=dataset.licence,
        units=dataset.units,
        bands=dataset.bands,
        resolution_m=dataset.resolution_m,
        counts={
            "samples": len(samples),
            "independent": int(dataset.parents().nunique()),
            "sites": int(samples["site"].nunique()),
            "with_pixels": int((counts[list(dataset.classes.names)].sum(axis=1) > 0).sum()) if masked else 0,
            "with_class": 0 if masked else int(np.isfinite(classes).sum()),
        },
        sites=site_table(dataset, split),
        classes=class_table(dataset, split, counts),
        countries=rates(country[np.isfinite(classes)], mining[np.isfinite(classes)]),
        sources=contingency(samples["source"], classes),
        kinds={str(kind): int(n) for kind, n in kinds.value_counts().items()},
        split=split,
        distances=[] if split is None else [found.to_dict() for found in nearness(dataset, split)],
        audit=audit,
        provenance=dataset.provenance,
    )


def geography(sites: pd.DataFrame) -> dict[str, list[str]]:
    """Countries of each continent, both as they first come."""
    named = sites.dropna(subset=["continent", "country"])
    return {str(c): [str(n) for n in rows.unique()] for c, rows in named.groupby("continent", sort=False)["country"]}


def _site_lines(sites: pd.DataFrame, shares: dict[str, float]) -> list[str]:
    lines = ["| Split | Continent | Country | Base Site | Images |", "|---|---|---|---|---:|"]
    before: tuple[Any, Any] = (None, None)
    for row in sites.itertuples(index=False):
        part = f"{row.split.capitalize()} ({shares[row.split]:.2f} %)" if row.split != before[0] else ""
        continent = _text(row.continent) if (row.split, row.continent) != before else ""
        lines.append(f"| {part} | {continent} | {_text(row.country)} | {row.base_site} | {row.images} |")
        before = (row.split, row.continent)
    return lines


def _table_lines(table: pd.DataFrame) -> list[str]:
    whole = table.reset_index()
    lines = ["| " + " | ".join(str(c) for c in whole.columns) + " |", "|---" + "|---:" * (len(whole.columns) - 1) + "|"]
    return lines + ["| " + " | ".join(_text(v) for v in row) + " |" for row in whole.itertuples(index=False)]


def _text(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """JSON values; what is not a number, or not known, is null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)) else value
