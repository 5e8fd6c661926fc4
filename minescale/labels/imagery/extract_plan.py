"""From a table of places to windows, scenes and a recipe: one search for all of them, and every choice on record."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd
import pystac
import shapely
from numpy.typing import NDArray

from minescale._version import __version__
from minescale.config import Config, Resampling
from minescale.errors import NothingMatched, UsageError
from minescale.labels.imagery.bands import BandList, band_tags
from minescale.labels.imagery.window import KERNELS, MODES, Mode, Recipe
from minescale.labels.places.places import Windows, lay_windows, search_boxes
from minescale.labels.sets.classes import BINARY
from minescale.labels.sets.folder_layout import LAYOUTS, FolderSpec, Layout
from minescale.labels.shapes.polygons import Polygons
from minescale.sensors import SENSORS, SENTINEL2_L2A, Sensor, sensor_of
from minescale.sources.catalogs import SearchResult, search
from minescale.sources.freeze import freeze, missing_bands, scenes_digest
from minescale.sources.scenes import Scene, source_anchor
from minescale.types import Period

UNITS = "reflectance x 1e4"
DEMO = "demo"
_AROUND_DEGREES = 0.02
"""By which a catalogue's footprint may be too small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractRequest:
    """What to cut out, and how. Everything but the places and polygons themselves."""

    catalog: str
    """As for a scan; ``demo`` is the synthetic region."""
    datetime: str | None = None
    """``A/B``; None: the year of ``label_epoch``."""
    bands: tuple[str, ...] = ("L2A",)
    """See :meth:`minescale.labels.imagery.bands.BandList.parse`."""
    mode: Mode = "composite"
    """``composite``: one clear image of the period. ``scene``: the least cloudy scenes, clouds and all."""
    side_m: float | None = None
    """Of places that give their middle only and no ``side_m``."""
    resolution: float | None = None
    """Metres; None: that of the finest feature."""
    native: bool = False
    """One set per native resolution, with the same ids, instead of all bands on the finest grid."""
    resampling: Resampling = "nearest"
    """Kernel for bands that are coarser than the images, and for scenes of another zone."""
    cloud_below: float | None = None
    """Scenes whose catalogue entry says as many per cent or more are not used."""
    aoi_cloud_below: float | None = None
    """Nor those whose quality band shows as many per cent of cloud and shadow within the window."""
    label_epoch: int | None = None
    """Year of the labels, for places without a column of that name."""
    max_epoch_gap: int | None = None
    """Scenes taken more than so many years before or after the label are not used."""
    min_valid: float = 0.05
    """Windows of which a feature has fewer pixels than this share are blank, and left out."""
    all_touched: bool = False
    """Masks: every pixel that a polygon touches, instead of those whose centre lies inside."""
    layout: Layout = "tif"
    name: str = "imagery"
    licence: str = "other"
    collections: tuple[str, ...] = ()
    query: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        def one_of(what: str, got: str, known: Sequence[str]) -> None:
            if got not in known:
                raise UsageError(f"unknown {what}", got=got, expected=" | ".join(known))

        one_of("mode", self.mode, MODES)
        one_of("resampling", self.resampling, KERNELS)
        one_of("layout", self.layout, LAYOUTS)
        for what, value, low, high in (
            ("cloud limit", self.cloud_below, 0, 100.0001),
            ("cloud limit of the window", self.aoi_cloud_below, 0, 100.0001),
            ("valid share", self.min_valid, 0, 1),
        ):
            if value is not None and not low <= value <= high:
                raise UsageError(f"{what} is out of range", got=value, expected=f"{low:g} to {high:g}")
        if self.datetime is None and self.label_epoch is None:
            raise UsageError("no period is given", expected="datetime A/B, or label_epoch for imagery of that year")

    @property
    def period(self) -> Period:
        return Period.parse(self.datetime if self.datetime is not None else str(self.label_epoch))

    def to_dict(self) -> dict[str, Any]:
        """JSON. Of a local catalogue only the name: where it lies is nobody else's business."""
        local = "://" not in self.catalog
        return {
            "catalog": PurePath(self.catalog).name if local else self.catalog,
            "period": str(self.period),
            **{
                name: list(value) if isinstance(value, tuple) else value
                for name in self.__slots__
                if name not in {"catalog", "datetime", "layout", "name", "licence"}
                for value in (getattr(self, name),)
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractPlan:
    """All that a run needs to know; made in one process, without a pixel."""

    request: ExtractRequest
    recipe: Recipe
    windows: Windows
    scenes: tuple[Scene, ...]
    epochs: NDArray[np.float64]
    """Year of each place's label; NaN where nobody says."""
    specs: tuple[FolderSpec, ...]
    """One dataset per group of the recipe."""
    run: str
    """Twelve hex digits of everything that decides the pixels."""


def find_scenes(places: pd.DataFrame, request: ExtractRequest) -> tuple[Scene, ...]:
    """Search once for all places; scenes that no place needs are not kept.

    Raises
    ------
    NothingMatched, RemoteUnreachable, UsageError
    """
    sensor = sensor_of(request.collections[0]) if request.collections else SENTINEL2_L2A
    size = request.resolution or min(band.resolution for band in sensor.bands)
    windows = lay_windows(places, pixel=size, snap=size, anchor=lambda _: (0.0, 0.0), side_m=request.side_m)
    found: dict[tuple[str, str], pystac.Item] = {}
    searched, provider = [], ""
    for box in search_boxes(windows):
        try:
            result = search(
                _href(request.catalog),
                collections=request.collections,
                bbox=box,
                period=request.period,
                query=request.query,
            )
        except NothingMatched as error:
            searched.append(str(error.got))
            continue
        searched.append(result.searched)
        provider = result.provider
        found.update(((item.collection_id or "", item.id), item) for item in result.items)
    if not found:
        raise NothingMatched("no scene matched any place", got="; ".join(searched[:3]), fix="a longer datetime")
    items = sorted(found.values(), key=lambda item: (str(item.datetime), item.id))
    scenes = freeze(
        SearchResult(items=items, provider=provider, searched="; ".join(searched)), ancillary=("aot",)
    ).scenes
    sensors = sorted({scene.sensor for scene in scenes})
    if len(sensors) > 1:
        raise UsageError("scenes of several sensors do not mix", got=", ".join(sensors), fix="one collection")
    near = Candidates(scenes, windows, None)
    needed = sorted({k for i in range(len(windows)) for k in near.of(i, float("nan"))})
    if not needed:
        raise NothingMatched("no scene covers any place", got="; ".join(searched[:3]), fix="a longer datetime")
    return tuple(scenes[k] for k in needed)


def make_plan(
    places: pd.DataFrame,
    scenes: Sequence[Scene],
    request: ExtractRequest,
    config: Config,
    polygons: Polygons | None = None,
) -> ExtractPlan:
    """Lay out the windows and settle bands, kernels and what the datasets are called.

    Raises
    ------
    UsageError
        for places, bands or sizes that cannot be.
    """
    sensor = SENSORS[scenes[0].sensor]
    bands, usable = _settle_bands(BandList.parse(request.bands, sensor), scenes, sensor)
    sizes = sorted({sensor.resolution(name) for name in bands.features})
    pixel = request.resolution or sizes[0]
    groups: tuple[tuple[float, BandList], ...] = ((pixel, bands),)
    if request.native:
        if request.resolution is not None:
            raise UsageError("native bands have their own resolutions", got=f"resolution {request.resolution:g}")
        groups = tuple((size, _of_size(bands, sensor, size, size == sizes[0])) for size in sizes)
    snap = max(pixel, *(sensor.resolution(name) for name in bands.read), sensor.mask.resolution)
    snap = snap if (snap / pixel).is_integer() else pixel
    crs_anchor = lru_cache(maxsize=None)(lambda crs: source_anchor(usable, crs))
    windows = lay_windows(places, pixel=pixel, snap=snap, anchor=crs_anchor, side_m=request.side_m)
    if request.native:
        _check_nesting(windows, pixel, sizes[-1])
    if request.layout == "zarr" and len(np.unique(windows.shape, axis=0)) > 1:
        raise UsageError(
            "chips of several shapes cannot lie in one Zarr array",
            got=f"{len(np.unique(windows.shape, axis=0))} shapes",
            fix="layout tif, or one side_m for all places",
        )
    recipe = Recipe(
        mode=request.mode,
        sensor=sensor.name,
        groups=groups,
        resampling=request.resampling,
        cloud_below=request.cloud_below,
        aoi_cloud_below=request.aoi_cloud_below,
        mask=config.mask,
        composite=config.composite,
    )
    epochs = np.full(len(windows), np.nan if request.label_epoch is None else float(request.label_epoch))
    if "label_epoch" in places:
        given = pd.to_numeric(places["label_epoch"]).to_numpy(np.float64)
        epochs = np.where(np.isnan(given), epochs, given)
    if request.max_epoch_gap is not None and np.isnan(epochs).any():
        raise UsageError(
            "the gap between label and image is limited, but labels have no year",
            got=f"{int(np.isnan(epochs).sum())} places without",
            expected="a column label_epoch, or label_epoch for all",
        )
    provenance = {
        "made_by": f"minescale {__version__}",
        "settings": {**request.to_dict(), "mask": _fields(config.mask), "composite": _fields(config.composite)},
        "sensor": sensor.name,
        "scenes": len(usable),
        "scenes_digest": scenes_digest(usable),
        "places_digest": _places_digest(windows, epochs),
        "polygons_digest": None if polygons is None else _digest(polygons.frame.geometry.to_wkb().to_list()),
        "absent": bands.absent,
    }
    quality = recipe.quality
    specs = tuple(
        FolderSpec(
            name=request.name if len(groups) == 1 else f"{request.name}-{size:g}m",
            bands=group.features,
            ancillary=(*group.ancillary, quality),
            band_tags=band_tags((*group.features, *group.ancillary, quality), sensor, request.resampling),
            classes=BINARY,
            units=UNITS,
            nodata=0,
            resolution_m=size,
            licence=request.licence,
            provenance=provenance,
            masks=polygons is not None,
            layout=request.layout,
        )
        for size, group in groups
    )
    return ExtractPlan(
        request=request,
        recipe=recipe,
        windows=windows,
        scenes=usable,
        epochs=epochs,
        specs=specs,
        run=_digest([repr(provenance).encode()])[:12],
    )


class Candidates:
    """Which scenes may show a window: one tree over all footprints instead of a search per place."""

    def __init__(self, scenes: Sequence[Scene], windows: Windows, max_gap: int | None) -> None:
        footprints = [_wide(scene) for scene in scenes]
        self.tree = shapely.STRtree(footprints)
        self.bounds = windows.bounds()
        self.years = np.array([scene.datetime.year for scene in scenes])
        self.max_gap = max_gap

    def of(self, i: int, epoch: float) -> tuple[int, ...]:
        """Positions of the scenes for window ``i``, ascending; those too far from its label's year are left out."""
        west, south, east, north = self.bounds[i]
        # A window may run on past 180 degrees, where footprints begin anew.
        turns = [by for by in (-360, 0, 360) if east + by > -180 and west + by < 180]
        boxes = [shapely.box(west + by, south, east + by, north) for by in turns]
        found = np.unique(self.tree.query(boxes, predicate="intersects")[1])
        if self.max_gap is not None:
            found = found[np.abs(self.years[found] - epoch) <= self.max_gap]
        return tuple(int(k) for k in found)


def _wide(scene: Scene) -> Any:
    """A footprint a little wider than the catalogue says; all longitudes where it was written the long way round."""
    west, south, east, north = scene.footprint.bounds
    if east - west > 180:
        return shapely.box(-180, south - _AROUND_DEGREES, 180, north + _AROUND_DEGREES)
    return shapely.buffer(scene.footprint, _AROUND_DEGREES, quad_segs=2)


def _settle_bands(bands: BandList, scenes: Sequence[Scene], sensor: Sensor) -> tuple[BandList, tuple[Scene, ...]]:
    """Bands that some scene has, and the scenes that have all of those."""
    lacking = [name for name in bands.read if not any(not missing_bands(scene, [name]) for scene in scenes)]
    bands = bands.without(lacking, f"no {sensor.name} scene of the catalogue has it") if lacking else bands
    usable = tuple(scene for scene in scenes if not missing_bands(scene, bands.read))
    if not usable:
        raise UsageError(
            "no scene has all the bands asked for",
            got=", ".join(sorted({name for scene in scenes for name in missing_bands(scene, bands.read)})) + " missing",
            fix="fewer bands",
        )
    return bands, usable


def _of_size(bands: BandList, sensor: Sensor, size: float, finest: bool) -> BandList:
    """The features of one native resolution; by-products go with the finest."""
    features = tuple(name for name in bands.features if sensor.resolution(name) == size)
    return BandList(features, bands.ancillary if finest else (), bands.absent)


def _check_nesting(windows: Windows, pixel: float, coarsest: float) -> None:
    ratio = round(coarsest / pixel)
    uneven = np.flatnonzero((windows.shape % ratio).any(axis=1))
    if len(uneven):
        worst = int(uneven[0])
        side = windows.shape[worst, 0] * pixel
        raise UsageError(
            f"window of place {windows.ids[worst]} is no whole number of its coarsest pixels",
            got=f"{side:g} m",
            expected=f"a multiple of {coarsest:g} m",
            fix=f"side_m={round(side / coarsest) * coarsest:g}",
        )


def _places_digest(windows: Windows, epochs: NDArray[np.float64]) -> str:
    parts = [f"{name} {crs}".encode() for name, crs in zip(windows.ids, windows.crs, strict=True)]
    return _digest(
        [*parts, *(np.ascontiguousarray(a).tobytes() for a in (windows.left, windows.top, windows.shape, epochs))]
    )


def _digest(parts: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
        digest.update(b"\n")
    return digest.hexdigest()


def _fields(settings: Any) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__slots__}


def _href(catalog: str) -> str:
    if catalog != DEMO:
        return catalog
    from minescale.synthetic import ensure_region

    return str(ensure_region().catalog)
