"""Published sets that are read as they were published, found out by looking."""

from __future__ import annotations

from pathlib import Path

from minescale.labels.sets.dataset import Dataset

CHIPS = ("amw", "emergence", "ukis")
RASTERS = ("tailings", "strzegom", "sand mining")
NAMES = (*CHIPS, *RASTERS)


def recognise(path: Path) -> str | None:
    """Name of the set at ``path``, a folder or an ``.npz`` file; None where it is none of :data:`NAMES`."""
    from minescale.labels.formats import adapters_chips, adapters_rasters

    if path.is_dir():
        if any(path.glob("g*_mask.tif")):
            return "tailings"
        if (path / "catalog.json").is_file() and any((path / "labels").glob("*.tif")):
            return "strzegom"
        if adapters_rasters.river_scenes(path) is not None:
            return "sand mining"
    return adapters_chips.kind_of(path)


def read(path: Path, name: str) -> Dataset:
    """Open the set that :func:`recognise` found."""
    from minescale.labels.formats import adapters_chips, adapters_rasters

    readers = {
        "amw": adapters_chips.read_amw,
        "emergence": adapters_chips.read_emergence,
        "ukis": adapters_chips.read_ukis,
        "tailings": adapters_rasters.read_tailings,
        "strzegom": adapters_rasters.read_strzegom,
        "sand mining": adapters_rasters.read_sand_mining,
    }
    return readers[name](path)
