"""Leaks: the same ground, or the same picture, in more than one part of a split."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import pandas as pd

from minescale.labels.auditing.nearness import nearness, without_place
from minescale.labels.auditing.survey import Finding, Survey
from minescale.labels.sets.split import PARTS

NEAR_M = 1000.0
"""For samples whose size on the ground is not known."""
_SHOWN = 5

Pairs = Mapping[tuple[str, str], list[str]]
"""Two parts, and what both of them hold."""


def shared_sites(seen: Survey) -> Pairs:
    """Sites by the two parts that share them."""
    return _shared(seen.table, "site")


def sites(seen: Survey, shared: Pairs) -> Iterator[Finding]:
    for (first, second), names in shared.items():
        excused = seen.seen_val and {first, second} == {"train", "val"}
        yield Finding(
            check="sites",
            severity="note" if excused else "error",
            message=f"{first} and {second} share {len(names)} site(s): {_some(names)}",
            numbers={"parts": [first, second], "sites": names},
        )


def neighbours(seen: Survey, near_m: float | None) -> Iterator[Finding]:
    placeless = without_place(seen.dataset)[seen.table.index]
    if placeless.any():
        yield Finding(
            check="neighbours",
            severity="note",
            message=f"{int(placeless.sum())} of {len(placeless)} samples have no coordinates: not checked for nearness",
            numbers={"without_coordinates": int(placeless.sum())},
        )
    limit = _edge_m(seen) if near_m is None else near_m
    for found in nearness(seen.dataset, seen.split, limit):
        parts = f"{found.first} and {found.second}"
        excused = seen.seen_val and {found.first, found.second} == {"train", "val"}
        close = found.closer > 0
        yield Finding(
            check="neighbours",
            severity="error" if close and not excused else "note",
            message=f"{found.closer} sample(s) of {parts} are nearer than {limit:g} m, the nearest {found.metres:.0f} m"
            if close
            else f"{parts} come no nearer than {found.metres:.0f} m",
            numbers={"limit_m": limit, **found.to_dict()},
        )


def siblings(seen: Survey) -> Iterator[Finding]:
    for (first, second), parents in _shared(seen.table, "parent").items():
        yield Finding(
            check="siblings",
            severity="error",
            message=f"{len(parents)} sample(s) have augmented copies in {first} and {second}: {_some(parents)}",
            numbers={"parts": [first, second], "parents": parents},
        )


def equal_pixels(seen: Survey) -> Iterator[Finding]:
    """Copies whose parent nobody wrote down; those that are known as siblings are not told twice."""
    known = seen.table[seen.table["pixels"].notna()]
    for (first, second), digests in _shared(known, "pixels").items():
        alike = known[known["pixels"].isin(digests) & known["part"].isin([first, second])]
        groups = alike.groupby("pixels")["id"].agg(lambda ids: [str(i) for i in ids]).tolist()
        yield Finding(
            check="pixels",
            severity="error",
            message=f"{first} and {second} hold {len(digests)} image(s) with the same pixels, as they are, turned or "
            f"mirrored: {_some(['='.join(g[:2]) for g in groups])}",
            numbers={"parts": [first, second], "groups": groups},
        )
    within = int(known.drop_duplicates(["part", "pixels"]).shape[0])
    if within < len(known):
        repeats = len(known) - within
        yield Finding(
            check="pixels",
            severity="note",
            message=f"{repeats} image(s) repeat another of their own part, as they are, turned or mirrored",
            numbers={"repeats": repeats},
        )


def _shared(table: pd.DataFrame, column: str) -> dict[tuple[str, str], list[str]]:
    held = {part: set(table.loc[table["part"] == part, column].astype(str)) for part in PARTS}
    pairs = itertools.combinations(PARTS, 2)
    return {(a, b): sorted(held[a] & held[b]) for a, b in pairs if held[a] & held[b]}


def _edge_m(seen: Survey) -> float:
    if seen.dataset.resolution_m is None:
        return NEAR_M
    return float(seen.dataset.resolution_m) * max(seen.dataset.reader.image(int(seen.table.index[0])).shape[1:])


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
