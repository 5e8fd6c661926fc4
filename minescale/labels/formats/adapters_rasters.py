"""Published sets in GeoTIFFs: tailings ponds, a dated catalogue with label rasters, sand mining in rivers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from minescale.config import CompositeConfig, MaskConfig, ReadConfig
from minescale.cube.compose import compose
from minescale.errors import StoreError, UsageError
from minescale.labels.sets.chips import geobox_of, read_tif
from minescale.labels.sets.classes import BINARY, IGNORE, ClassMap
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.files import FileReader, Header, header_of, with_places
from minescale.sensors import SENTINEL2_L2A
from minescale.sources.access import Access
from minescale.sources.catalogs import search
from minescale.sources.freeze import freeze
from minescale.sources.reader import Reader
from minescale.sources.scenes import Scene
from minescale.types import BBox, Period

_POND = re.compile(r"(?P<group>g\d+)_\d+")
_DAY = re.compile(r"(\d{4})(\d\d)(\d\d)")
OWN, UNION = 0, 1
"""Bands of a pond's mask: the one pond, and all ponds of its group."""
LAND_COVER = 10
"""Classes of the quarry labels."""
QUARRY = 10


def read_tailings(folder: str | Path) -> Dataset:
    """Chips of 448 x 448 pixels with masks of tailings ponds in Brazil, a group of neighbouring ponds a site.

    Images are uint16 (red, green, blue), Sentinel-2 reflectance x 1e4 on about 10 m in degrees. A mask holds all ponds
    of the group: one that held the chip's own alone would call its neighbours background. Ponds are labelled, pits and
    dumps are not.
    """
    root = Path(folder)
    stems = [path.name.removesuffix("_rgb.tif") for path in sorted(root.glob("g*_rgb.tif"))]
    found = {stem: _POND.fullmatch(stem) for stem in stems}
    lacking = [stem for stem in stems if not (root / f"{stem}_mask.tif").is_file() or found[stem] is None]
    if lacking or not stems:
        raise UsageError(
            f"{root} holds no tailings chips", got=lacking[:5] or "none", expected="gNN_iii_rgb.tif, _mask.tif"
        )
    groups = [m["group"] for m in found.values() if m is not None]
    images, masks = (tuple(f"{stem}_{kind}.tif" for stem in stems) for kind in ("rgb", "mask"))
    samples = pd.DataFrame(
        {"id": stems, "site": groups, "source": "tailings ponds", "country": "Brazil", "file": images}
    )
    headers = [header_of(root / name) for name in images]
    classes = ClassMap(("background", "tailings"), BINARY.colours)
    return Dataset(
        name="tailings ponds",
        samples=_placed(samples, headers),
        bands=("red", "green", "blue"),
        classes=classes,
        reader=FileReader(root, images, masks, classes, mask_band=UNION),
        units="reflectance x 1e4",
        nodata=None,
        resolution_m=10.0,
        licence="none",
        provenance={"labels": "tailings ponds; pits and dumps are not labelled", "sensor": "sentinel-2"},
    )


def read_strzegom(
    folder: str | Path, bands: tuple[str, ...] = ("blue", "green", "red", "nir", "swir16", "swir22")
) -> Dataset:
    """Six dates over granite quarries: 1 quarry, 0 any other of ten land covers, unlabelled ground ignored.

    Images come out of the static catalogue beside the labels, through the reader of a scan: uint16 reflectance x 1e4,
    the offset of newer baselines taken off. One place: a split of it says nothing about other places.

    Parameters
    ----------
    bands : STAC common names.
    """
    root = Path(folder)
    labels = sorted((root / "labels").glob("*.tif"))
    days = ["-".join(_DAY.fullmatch(path.stem).groups()) for path in labels if _DAY.fullmatch(path.stem)]  # type: ignore[union-attr]
    if not labels or len(days) != len(labels):
        raise UsageError(f"{root} holds no dated labels", expected="labels/YYYYMMDD.tif beside catalog.json")
    headers = [header_of(path) for path in labels]
    samples = pd.DataFrame(
        {
            "id": [f"strzegom-{path.stem}" for path in labels],
            "site": "strzegom",
            "source": "sentinel-2-l2a",
            "image_date": days,
            "label_epoch": [int(day[:4]) for day in days],
            "country": "Poland",
            "continent": "Europe",
            "label_file": [f"labels/{path.name}" for path in labels],
        }
    )
    samples = _placed(samples, headers)
    scenes = _scenes(root, samples, bands)
    return Dataset(
        name="Strzegom quarries",
        samples=samples,
        bands=bands,
        classes=BINARY,
        reader=_SceneReader(root, samples, scenes, bands, headers[0].shape),
        units="reflectance x 1e4",
        nodata=0,
        resolution_m=10.0,
        licence="none",
        provenance={"labels": "class 10 of ten land covers is quarry", "sensor": "sentinel-2-l2a"},
    )


def read_sand_mining(folder: str | Path) -> Dataset:
    """River scenes with outlines of sand mining: 1 mined, 0 the rest of the river's corridor, beyond it ignored.

    Images are uint8 (red, green, blue). Nobody looked for mines beyond the corridor, so nothing is known there. Scenes
    of one place share a site.
    """
    root = river_scenes(Path(folder))
    if root is None:
        raise UsageError(f"{folder} holds no river scenes", expected="observations.json beside Observation0, ...")
    notes = json.loads((root / "observations.json").read_text(encoding="utf-8"))
    folders = [root / f"Observation{i}" for i in range(len(notes))]
    headers = [header_of(path / "rgb.tif") for path in folders]
    names = [str(note["name"]) for note in notes]
    samples = pd.DataFrame(
        {
            "id": [f"sand-{i}" for i in range(len(notes))],
            "site": [re.sub(r"_\d{4}-\d\d-\d\d_.*$", "", name) for name in names],
            "source": "sand mining watch",
            "image_date": [str(note["date"]) for note in notes],
            "country": "India",
            "continent": "Asia",
        }
    )
    return Dataset(
        name="sand mining in rivers",
        samples=_placed(samples, headers),
        bands=("red", "green", "blue"),
        classes=BINARY,
        reader=_RiverReader(tuple(folders)),
        units="8-bit picture",
        nodata=None,
        resolution_m=10.0,
        licence="MIT",
        provenance={"labels": "sand mining within the river corridor"},
    )


def river_scenes(path: Path) -> Path | None:
    """The folder with ``observations.json`` and ``Observation0``, no more than two folders below ``path``."""
    found = (f.parent for pattern in ("", "*/", "*/*/") for f in path.glob(f"{pattern}observations.json"))
    return next((root for root in found if (root / "Observation0" / "rgb.tif").is_file()), None)


@dataclass(frozen=True, slots=True)
class _SceneReader:
    """One scene for each sample, read on the grid of its label."""

    root: Path
    samples: pd.DataFrame
    scenes: tuple[Scene, ...]
    bands: tuple[str, ...]
    shape: tuple[int, int]

    def image(self, row: int) -> NDArray[np.uint16]:
        place = geobox_of(self.samples.iloc[row].to_dict(), self.shape)
        read = ReadConfig()
        made = compose(
            [self.scenes[row]],
            place,  # type: ignore[arg-type]  # every label has one, see read_strzegom
            self.bands,
            sensor=SENTINEL2_L2A,
            reader=Reader(Access.capture(read), read),
            mask=MaskConfig(),
            composite=CompositeConfig(method="median"),
        )
        if made.losses:
            raise StoreError(f"cannot read scene {self.scenes[row].id}", got=made.losses[0])
        return made.data

    def mask(self, row: int) -> NDArray[np.uint8]:
        cover = read_tif(self.root / str(self.samples["label_file"].iloc[row]))[0]
        if cover.max() > LAND_COVER:
            raise UsageError(
                "label raster has unknown land covers", got=int(cover.max()), expected=f"0 to {LAND_COVER}"
            )
        return np.where(cover == 0, IGNORE, cover == QUARRY).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class _RiverReader:
    folders: tuple[Path, ...]

    def image(self, row: int) -> NDArray[Any]:
        return read_tif(self.folders[row] / "rgb.tif")

    def mask(self, row: int) -> NDArray[np.uint8]:
        number = self.folders[row].name.removeprefix("Observation")
        mined, river = (
            read_tif(self.folders[row] / f"{kind}_mask_obs{number}.tif")[0] > 0 for kind in ("labels", "rivers")
        )
        return np.where(river, mined, IGNORE).astype(np.uint8)


def _scenes(root: Path, samples: pd.DataFrame, bands: tuple[str, ...]) -> tuple[Scene, ...]:
    """The scene of each sample's day."""
    lon, lat = samples["lon"], samples["lat"]
    box = BBox(lon.min() - 0.01, lat.min() - 0.01, lon.max() + 0.01, lat.max() + 0.01)
    period = Period.parse(f"{samples['image_date'].min()}/{samples['image_date'].max()}")
    found = freeze(search(str(root / "catalog.json"), bbox=box, period=period), bands=bands)
    by_day = {f"{scene.datetime:%Y-%m-%d}": scene for scene in found.scenes}
    missing = [day for day in samples["image_date"] if day not in by_day]
    if missing:
        raise UsageError("labels without a scene of their day", got=missing, expected=sorted(by_day))
    return tuple(by_day[day] for day in samples["image_date"])


def _placed(samples: pd.DataFrame, headers: list[Header]) -> pd.DataFrame:
    """With the place of each sample on its grid, and ``lon`` and ``lat`` of its middle."""
    table = with_places(samples, headers)
    middles = []
    for (_, entry), header in zip(table.iterrows(), headers, strict=True):
        place = geobox_of(entry.to_dict(), header.shape)
        if place is None:
            raise UsageError(f"sample {entry['id']} lies nowhere", expected="a north-up GeoTIFF with a CRS")
        middles.append(place.extent.centroid.to_crs("EPSG:4326").coords[0])
    return table.assign(lon=[x for x, _ in middles], lat=[y for _, y in middles])
