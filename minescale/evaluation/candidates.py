"""Two stages over an image: candidate zones with the classifier's verdict, and how much either stage lets through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import shapes
from shapely.geometry import shape

from minescale.errors import UsageError
from minescale.kernels.regions import label, region_sizes
from minescale.models.cascade import class_map, judge
from minescale.models.predictor import Predictor
from minescale.models.zones import BARREN, MIN_AREA_HA, RADIUS_M, Zones, find_zones

LIKE, UNLIKE = "mining-like", "not mining-like"
"""Verdicts. They speak of looks; whether anybody may mine there is not in a picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What two stages say of an image."""

    classes: NDArray[np.uint8]
    """(y, x) stage one: position in the segmenter's classes, 255 = no data."""
    class_names: tuple[str, ...]
    zones: Zones
    scores: NDArray[np.float32]
    """(zone,) stage two: probability of the target; NaN where the zone has no data for it."""
    threshold: float
    geobox: GeoBox

    @property
    def positive(self) -> NDArray[np.bool_]:
        """(zone,) whose score reaches the threshold."""
        return np.nan_to_num(self.scores, nan=-1.0) >= self.threshold

    def table(self) -> gpd.GeoDataFrame:
        """One row per candidate: ``id``, ``score``, ``class`` (:data:`LIKE` or :data:`UNLIKE`), ``stage1_class``,
        ``area_ha`` and its outline in the image's CRS, sorted by id."""
        zones = self.zones.zones
        return gpd.GeoDataFrame(
            {
                "id": [zone.id for zone in zones],
                "score": self.scores.astype(float),
                "class": [LIKE if found else UNLIKE for found in self.positive],
                "stage1_class": [zone.stage1_class for zone in zones],
                "area_ha": [zone.area_ha for zone in zones],
            },
            geometry=_outlines(self.zones, self.geobox),
            crs=self.geobox.crs.to_wkt() if self.geobox.crs else None,
        )


def detect(
    image: NDArray[np.uint16],
    bands: Sequence[str],
    geobox: GeoBox,
    segmenter: Predictor,
    classifier: Predictor,
    *,
    suspicious: Sequence[str] = BARREN,
    radius_m: float = RADIUS_M,
    min_area_ha: float = MIN_AREA_HA,
    threshold: float | None = None,
) -> Candidates:
    """Class map, suspicious classes, smoothing, connected candidates, and a verdict for each.

    Parameters
    ----------
    image : uint16 (band, y, x), reflectance x 1e4, 0 = no data.
    bands : STAC common names along its first axis.
    geobox : where it lies; its pixels are squares in metres.
    threshold : from which a candidate is mining-like; default: the classifier's.

    Raises
    ------
    UsageError
        where bands are missing, a suspicious class is none of the segmenter's, or the image has another size or unit.
    """
    if image.shape != (len(bands), *geobox.shape):
        raise UsageError("image does not fit its place", got=image.shape, expected=(len(bands), *geobox.shape))
    if geobox.crs is None or geobox.crs.geographic:
        raise UsageError("candidates are measured in metres", got=geobox.crs, expected="a projected CRS")
    resolution = abs(float(geobox.resolution.x))
    parts = []
    for predictor in (segmenter, classifier):
        missing = [band for band in predictor.spec.channels if band not in bands]
        if missing:
            raise UsageError(
                f"image lacks bands of {predictor.spec.name}", got=", ".join(bands), expected=", ".join(missing)
            )
        low, high = predictor.spec.resolutions
        if not low * (1 - 1e-6) <= resolution <= high * (1 + 1e-6):
            raise UsageError(
                f"{predictor.spec.name} was not made for pixels of this size",
                got=f"{resolution:g} m",
                expected=f"{low:.4g} to {high:.4g} m",
            )
        parts.append(np.ascontiguousarray(image[[list(bands).index(band) for band in predictor.spec.channels]]))
    classes = class_map(segmenter, parts[0])
    zones = find_zones(
        classes,
        segmenter.spec.classes,
        resolution_m=resolution,
        suspicious=suspicious,
        radius_m=radius_m,
        min_area_ha=min_area_ha,
    )
    return Candidates(
        classes=classes,
        class_names=segmenter.spec.classes,
        zones=zones,
        scores=judge(classifier, parts[1], zones),
        threshold=classifier.spec.threshold if threshold is None else threshold,
        geobox=geobox,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecall:
    """How much of the truth each stage lets through. Shares of 0 objects are None."""

    objects: int
    """Connected pieces of truth (touching at corners) of at least the least area."""
    met: int
    """Those that a candidate touches: stage one's ceiling. A mine it misses can never be found."""
    found: int
    """Those that a mining-like candidate touches."""
    area_ha: float
    area_met_ha: float
    area_found_ha: float

    @property
    def stage_one(self) -> float | None:
        return self.met / self.objects if self.objects else None

    @property
    def stage_two(self) -> float | None:
        """Among the objects that stage one met."""
        return self.found / self.met if self.met else None

    @property
    def cascade(self) -> float | None:
        """Of all objects: stage one's recall times stage two's."""
        return self.found / self.objects if self.objects else None

    def __str__(self) -> str:
        def share(value: float | None) -> str:
            return "none to find" if value is None else f"{value:.3f}"

        return (
            f"recall of stage one {share(self.stage_one)} (the ceiling) x of stage two {share(self.stage_two)}"
            f" = of both {share(self.cascade)}; {self.found} of {self.objects} objects,"
            f" {self.area_found_ha:.1f} of {self.area_ha:.1f} ha"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        shares = {"stage_one": self.stage_one, "stage_two": self.stage_two, "cascade": self.cascade}
        return {**asdict(self), **shares}


def stage_recall(found: Candidates, truth: NDArray[np.bool_], *, min_area_ha: float = 0.0) -> StageRecall:
    """Hold candidates against true mines.

    Parameters
    ----------
    truth : (y, x), where mines are, on the image's pixels.

    Raises
    ------
    UsageError
        where it has another shape.
    """
    labels = found.zones.labels
    if truth.shape != labels.shape:
        raise UsageError("truth does not fit the image", got=truth.shape, expected=labels.shape)
    pieces, count = label(np.ascontiguousarray(truth, np.bool_))
    pixel_ha = found.zones.resolution_m**2 / 1e4
    large = np.r_[False, region_sizes(pieces, count) * pixel_ha >= min_area_ha - 1e-12]
    counted, candidate = large[pieces], labels > 0
    positive = np.r_[False, found.positive][labels]
    met, hit = (np.unique(pieces[counted & where]) for where in (candidate, positive))
    return StageRecall(
        objects=int(large.sum()),
        met=len(met),
        found=len(hit),
        area_ha=float(counted.sum()) * pixel_ha,
        area_met_ha=float((counted & candidate).sum()) * pixel_ha,
        area_found_ha=float((counted & positive).sum()) * pixel_ha,
    )


def _outlines(zones: Zones, geobox: GeoBox) -> list[Any]:
    """One outline per zone, in the order of ids; pieces that touch at a corner only make a multipolygon."""
    pieces: dict[int, list[Any]] = {zone.id: [] for zone in zones.zones}
    for outline, value in shapes(zones.labels, mask=zones.labels > 0, connectivity=4, transform=geobox.affine):
        pieces[int(value)].append(shape(outline))
    return [shapely.union_all(parts) for parts in pieces.values()]
