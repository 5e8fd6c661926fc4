"""Box detectors that other distributions bring: images in, boxes out, polygons on the map.

minescale ships no detector and imports none. A package that a user installs, whatever its licence, offers one under the
entry point group :data:`ENTRY_POINTS`: a callable of (weights, device) that returns a :class:`Detector`. See
``docs/models/detectors.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.errors import ModelError
from minescale.models.plugins import brought, offered
from minescale.models.spec import check_bands, nearest
from minescale.models.windows import REFLECTANCE

if TYPE_CHECKING:
    import geopandas as gpd

ENTRY_POINTS = "minescale.detectors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """What a detector found in one image."""

    edges: NDArray[np.floating]
    """(n, 4): left, top, right, bottom in pixels, (0, 0) the outer corner of the first pixel, y down."""
    scores: NDArray[np.floating]
    """(n,), 0-1."""
    classes: tuple[str, ...]
    """A name for each box."""


@runtime_checkable
class Detector(Protocol):
    """A loaded detector."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Channels that it takes, in order: STAC common names."""
        ...

    @property
    def window(self) -> int:
        """Edge in pixels of the square images that it takes."""
        ...

    def detect(self, images: NDArray[np.float32]) -> list[Boxes]:
        """Boxes of each image of a batch (n, band, y, x): reflectance 0-1, 0 where there is no data."""
        ...


Make = Callable[[Path | None, str], Detector]
"""(weights, device) -> detector. Weights are a user's path; device is ``cpu``, ``cuda`` or ``cuda:N``."""


def detectors() -> tuple[str, ...]:
    """Names of the detectors that installed distributions offer."""
    return tuple(sorted(offered(ENTRY_POINTS)))


def load_detector(name: str, weights: str | Path | None = None, device: str = "cpu") -> Detector:
    """The detector of that name.

    Raises
    ------
    ModelError
        where no distribution offers it, or what it offers is no detector.
    """
    path = None if weights is None else Path(weights)

    def load(make: Make) -> Detector:
        return make(path, device)

    found = brought(ENTRY_POINTS, name, Detector, "detector (bands, window, detect)", load)  # type: ignore[type-abstract]
    if found is None:
        known = detectors()
        raise ModelError(
            "no detector of that name is installed",
            got=name,
            expected=nearest(name, known) if known else f"a distribution with the entry point {ENTRY_POINTS}",
        )
    check_bands(found.bands, name)
    return found


def detect(
    detector: Detector, image: NDArray[np.uint16], geobox: GeoBox, *, overlap: float = 0.5, same: float = 0.5
) -> gpd.GeoDataFrame:
    """Polygons of everything a detector finds in an image of any size.

    The image is cut into windows that overlap. Of boxes of one class that share ``same`` of the smaller one's area, one
    is kept: one that no window's edge cuts before one that is cut, then the higher score. An object larger than
    the overlap may come in parts.

    Parameters
    ----------
    image : uint16 (band, y, x), reflectance x 1e4, 0 where there is no data; bands as the detector's.
    geobox : where the image lies.
    overlap : share of a window that its neighbour sees too, 0 to 0.9.

    Returns
    -------
    geopandas.GeoDataFrame
        ``class``, ``score`` and ``geometry`` (boxes as polygons), highest score first, in the geobox's coordinate
        system.

    Raises
    ------
    ModelError
        for an image that does not fit, or an answer that is none.
    """
    import geopandas as gpd
    import shapely

    bands = tuple(detector.bands)
    if image.dtype != np.uint16 or image.shape != (len(bands), *geobox.shape):
        raise ModelError(
            "image does not fit the detector and its place",
            got=f"{image.dtype} {image.shape}",
            expected=f"uint16 ({len(bands)}, {geobox.shape[0]}, {geobox.shape[1]})",
        )
    if not 0 <= overlap <= 0.9 or not 0 < same <= 1:
        raise ModelError(
            "overlap or same", got=f"{overlap}, {same}", expected="overlap from 0 to 0.9, same above 0 to 1"
        )
    edges, scores, classes, cut = _everywhere(detector, image, overlap)
    kept = _distinct(edges, scores, classes, cut, same)
    corners = edges[kept][:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    transform = geobox.affine
    x = transform.a * corners[..., 0] + transform.b * corners[..., 1] + transform.c
    y = transform.d * corners[..., 0] + transform.e * corners[..., 1] + transform.f
    return gpd.GeoDataFrame(
        {"class": [classes[i] for i in kept], "score": scores[kept]},
        geometry=list(shapely.polygons(np.stack([x, y], axis=-1))),
        crs=str(geobox.crs) if geobox.crs else None,
    )


def _everywhere(
    detector: Detector, image: NDArray[np.uint16], overlap: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str], NDArray[np.bool_]]:
    """Boxes of all windows in pixels of the image, and which of them an edge inside the image cuts."""
    rows, cols = image.shape[1:]
    window = detector.window
    classes: list[str] = []
    edges, scores, cut = [np.zeros((0, 4))], [np.zeros(0)], [np.zeros(0, bool)]
    for top in _starts(rows, window, overlap):
        for left in _starts(cols, window, overlap):
            part = image[:, top : top + window, left : left + window]
            if not part.any():
                continue
            batch = np.zeros((1, len(image), window, window), np.float32)
            batch[0, :, : part.shape[1], : part.shape[2]] = part * REFLECTANCE
            found = _checked(detector.detect(batch))
            inside = np.clip(found.edges.astype(np.float64), 0, [part.shape[2], part.shape[1]] * 2)
            at_edge = np.stack([inside[:, :2] <= 0.5, inside[:, 2:] >= window - 0.5], axis=1)
            inner = np.array([[left > 0, top > 0], [left + window < cols, top + window < rows]])
            edges.append(inside + np.array([left, top, left, top]))
            scores.append(found.scores.astype(np.float64))
            classes += found.classes
            cut.append((at_edge & inner).any(axis=(1, 2)))
    joined = np.concatenate(edges)
    real: NDArray[np.bool_] = np.asarray((joined[:, 2:] > joined[:, :2]).all(axis=1))
    names = [name for name, is_real in zip(classes, real, strict=True) if is_real]
    return joined[real], np.concatenate(scores)[real], names, np.concatenate(cut)[real]


def _starts(size: int, window: int, overlap: float) -> list[int]:
    """Evenly spread origins of windows that cover ``size`` pixels and share at least ``overlap`` of their edge."""
    if size <= window:
        return [0]
    count = int(np.ceil((size - window) / max(1, int(window * (1 - overlap))))) + 1
    return [round((size - window) * i / (count - 1)) for i in range(count)]


def _checked(answer: list[Boxes]) -> Boxes:
    """The answer for one image, refused where it is none."""
    if len(answer) != 1 or not isinstance(answer[0], Boxes):
        raise ModelError("a detector's answer", got=f"{len(answer)} results", expected="Boxes for each image")
    boxes = answer[0]
    count = len(boxes.scores)
    if boxes.edges.shape != (count, 4) or len(boxes.classes) != count:
        raise ModelError(
            "a detector's boxes",
            got=f"{boxes.edges.shape} edges, {count} scores, {len(boxes.classes)} classes",
            expected="as many of each, edges (n, 4)",
        )
    if not np.isfinite(boxes.edges).all() or not ((boxes.scores >= 0) & (boxes.scores <= 1)).all():
        raise ModelError("a detector's boxes", got="numbers out of range", expected="finite edges, scores 0 to 1")
    return boxes


def _distinct(
    edges: NDArray[np.float64], scores: NDArray[np.float64], classes: list[str], cut: NDArray[np.bool_], same: float
) -> NDArray[np.intp]:
    """Boxes to keep, highest score first: greedily, whole ones before cut ones (non-maximum suppression)."""
    names = np.array(classes, dtype=object)
    area = (edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1])
    left = np.lexsort((-scores, cut))
    kept = []
    while len(left):
        best, rest = left[0], left[1:]
        kept.append(best)
        low, high = np.maximum(edges[best, :2], edges[rest, :2]), np.minimum(edges[best, 2:], edges[rest, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=1) / np.minimum(area[best], area[rest])
        left = rest[(shared < same) | (names[rest] != names[best])]
    chosen = np.array(kept, dtype=np.intp)
    return chosen[np.argsort(-scores[chosen], kind="stable")]
