"""What the parts of a split hold: classes, acquisition, dates, continents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from minescale.labels.auditing.classstats import mining_values
from minescale.labels.auditing.confounding import contingency, cramers_v, metadata_score
from minescale.labels.auditing.survey import Finding, Survey
from minescale.labels.rasters.epochs import GAP, with_gaps
from minescale.labels.sets.split import PARTS

CONTINENTS = ("Africa", "Asia", "South America", "North America")
"""A test of a detector for the world spans these."""
STRONG_V = 0.3
"""Cramer's V from which a source is worth a look."""
UNEVEN = 3.0
"""Times by which the share of mining may differ between parts."""


def coverage(seen: Survey) -> Iterator[Finding]:
    if seen.unknown:
        yield Finding(
            check="coverage",
            severity="error",
            message=f"the split names {seen.unknown} id(s) that the set does not have: it was made for another",
            numbers={"unknown_ids": seen.unknown},
        )
    outside = len(seen.dataset) - len(seen.table)
    if outside:
        yield Finding(
            check="coverage",
            severity="note",
            message=f"{outside} of {len(seen.dataset)} samples belong to no part and were not looked at",
            numbers={"outside": outside},
        )
    wanted = seen.split.settings.get("fractions", (1, 0, 1) if seen.split.rule == "published" else (1, 0, 0))
    for part, share in zip(PARTS, wanted, strict=True):
        if share and not (seen.table["part"] == part).any():
            yield Finding(check="coverage", severity="error", message=f"{part} is empty", numbers={"part": part})


def acquisition(seen: Survey, columns: Sequence[str] | None, margin: float) -> Iterator[Finding]:
    judged = seen.dataset.subset(seen.table.index.to_numpy())
    if len(np.unique(seen.classes[~np.isnan(seen.classes)])) < 2:
        yield Finding(
            check="source",
            severity="note",
            message="all samples are of one class: nothing about their source can betray it",
        )
        return
    table = contingency(judged.samples["source"], seen.classes)
    v = cramers_v(table)
    one_class = int(((table > 0).sum(axis=1) == 1).sum())
    if len(table) > 1:
        strong = v > STRONG_V
        yield Finding(
            check="source",
            severity="warning" if strong else "note",
            message=f"class and source go together with Cramer's V {v:.2f}"
            + (f", above {STRONG_V}" if strong else "")
            + (f"; {one_class} of {len(table)} sources hold one class only" if one_class else ""),
            numbers={
                "cramers_v": round(v, 4),
                "one_class_sources": one_class,
                "table": {str(s): {str(c): int(n) for c, n in row.items()} for s, row in table.iterrows()},
            },
        )
    score = metadata_score(judged, seen.classes, columns, margin=margin)
    if score is None:
        yield Finding(
            check="metadata", severity="note", message="nothing in the acquisition columns differs between samples"
        )
        return
    names = ", ".join(score.columns)
    said = f"from {names} alone the class is predicted with a balanced accuracy of {score.balanced_accuracy:.2f}"
    yield Finding(
        check="metadata",
        severity="error" if score.betrays else "note",
        message=f"{said}, above {score.allowed:.2f}: a model may learn how samples were acquired"
        if score.betrays
        else f"{said}, not above {score.allowed:.2f} (chance {score.chance:.2f})",
        numbers={
            "columns": list(score.columns),
            "samples": score.samples,
            "balanced_accuracy": round(score.balanced_accuracy, 4),
            "allowed": round(score.allowed, 4),
            "chance": score.chance,
        },
    )


def epochs(seen: Survey, max_gap_days: int) -> Iterator[Finding]:
    dates = {"label_date", "label_epoch"} & set(seen.table)
    if "image_date" not in seen.table or not dates or seen.table[[*dates]].isna().to_numpy().all():
        yield Finding(check="epochs", severity="note", message="nobody says when labels or images were made")
        return
    gaps = with_gaps(seen.table)[GAP]
    known = gaps.dropna()
    far = int((known > max_gap_days).sum())
    numbers = {
        "known": len(known),
        "unknown": int(gaps.isna().sum()),
        "too_far": far,
        "largest_days": int(known.max()) if len(known) else None,
        "limit_days": max_gap_days,
    }
    largest = f"largest gap {numbers['largest_days']} days"
    if far:
        yield Finding(
            check="epochs",
            severity="error",
            message=f"{far} label(s) and their images lie more than {max_gap_days} days apart ({largest})",
            numbers=numbers,
        )
    elif len(known):
        yield Finding(check="epochs", severity="note", message=f"labels fit their images: {largest}", numbers=numbers)
    if numbers["unknown"]:
        yield Finding(
            check="epochs",
            severity="warning",
            message=f"{numbers['unknown']} sample(s) lack a date of label or image, which others have",
            numbers=numbers,
        )


def prevalence(seen: Survey) -> Iterator[Finding]:
    names = seen.dataset.classes.names
    sums = seen.counts[list(names)].groupby(seen.table["part"]).sum()
    present = sums.sum() > 0
    for part, row in sums.iterrows():
        lacking = [name for name in names if present[name] and not row[name]]
        if lacking:
            yield Finding(
                check="classes",
                severity="error",
                message=f"{part} holds no {' and no '.join(lacking)}, which other parts do",
                numbers={"part": str(part), "lacking": lacking},
            )
    share = sums[[names[v] for v in mining_values(seen.dataset.classes)]].sum(axis=1) / sums.sum(axis=1).clip(lower=1)
    told = ", ".join(f"{part} {value:.4g}" for part, value in share.items())
    uneven = share.min() > 0 and share.max() / share.min() > UNEVEN
    yield Finding(
        check="classes",
        severity="warning" if uneven else "note",
        message=f"share of mining: {told}" + (f": more than {UNEVEN:g} times apart" if uneven else ""),
        numbers={"prevalence": {str(p): float(v) for p, v in share.items()}},
    )


def negatives(seen: Survey) -> Iterator[Finding]:
    """A test of positives only cannot tell how often empty ground is called a mine."""
    test = (seen.table["part"] == "test").to_numpy()
    mining = seen.counts[[seen.dataset.classes.names[v] for v in mining_values(seen.dataset.classes)]].sum(axis=1)
    empty = test & (mining == 0).to_numpy()
    if test.any() and not empty.any():
        yield Finding(
            check="negatives",
            severity="warning",
            message="every sample of the test holds mining: precision on it says nothing about a scan; add a random or "
            "stratified sample of the area",
            numbers={"test": int(test.sum())},
        )
    elif test.any() and ("kind" not in seen.table or seen.table["kind"][empty].isna().all()):
        yield Finding(
            check="negatives",
            severity="note",
            message=f"nobody says of which kind the test's {int(empty.sum())} negatives are: hard ones may be absent",
            numbers={"negatives": int(empty.sum())},
        )


def continents(seen: Survey) -> Iterator[Finding]:
    if "continent" not in seen.table:
        return
    tested = set(seen.table.loc[seen.table["part"] == "test", "continent"].dropna())
    missing = [c for c in CONTINENTS if c not in tested]
    if tested and missing:
        yield Finding(
            check="continents",
            severity="warning",
            message=f"the test holds nothing from {', '.join(missing)}",
            numbers={"missing": missing, "tested": sorted(str(c) for c in tested)},
        )
