"""Pictures of two stages: the class map over the image, the candidates, and the candidates by verdict."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from minescale.errors import StoreError, UsageError
from minescale.evaluation.candidates import Candidates
from minescale.labels.pictures.previews import Stretch, world_file
from minescale.labels.sets.folder_layout import replace_text
from minescale.labels.sets.whole import whole

KINDS = ("classes", "candidates", "verdicts")
_HIGHLIGHT, _LIKE, _UNLIKE = "#ffd60a", "#d62828", "#2a9d8f"
_ALPHA = 0.45
"""Share of colour over the image."""
_CYCLE = ("#440154", "#31688e", "#35b779", "#fde725", "#9f81b7", "#1f78b4", "#b15928", "#e31a1c")
"""Colours of classes where none are given."""


def draw_candidates(
    found: Candidates,
    image: NDArray[np.uint16],
    bands: Sequence[str],
    folder: str | Path,
    *,
    colours: Sequence[str] = (),
) -> list[Path]:
    """Write ``classes.png``, ``candidates.png`` and ``verdicts.png``, each with a world file and its CRS as ``.prj``.

    Candidates are outlined; by verdict, mining-like ones are red and the others green, and filled.

    Parameters
    ----------
    image : uint16 (band, y, x) that the candidates were found in, 0 = no data.
    bands : names along its first axis; red, green and blue are shown, the first band where one is missing.
    colours : ``#rrggbb`` for each class of stage one.

    Raises
    ------
    UsageError
        for another number of colours than of classes.
    StoreError
        where the folder cannot be written.
    """
    if colours and len(colours) != len(found.class_names):
        raise UsageError("colours do not fit the classes", got=len(colours), expected=len(found.class_names))
    shown = [list(bands).index(name) if name in bands else 0 for name in ("red", "green", "blue")]
    ground = Stretch.of(image[shown]).apply(image[shown])
    labels, edges = found.zones.labels, _edges(found.zones.labels)
    palette = colours or [_CYCLE[i % len(_CYCLE)] for i in range(len(found.class_names))]
    classes = ground
    for value, colour in enumerate(palette):
        classes = _tint(classes, found.classes == value, colour, _ALPHA)
    positive = np.r_[False, found.positive][labels]
    verdicts = _tint(_tint(ground, positive, _LIKE, _ALPHA), (labels > 0) & ~positive, _UNLIKE, _ALPHA)
    verdicts = _tint(_tint(verdicts, edges & positive, _LIKE, 1.0), edges & ~positive, _UNLIKE, 1.0)
    pictures = dict(zip(KINDS, (classes, _tint(ground, edges, _HIGHLIGHT, 1.0), verdicts), strict=True))
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        return [_write(picture, target / f"{kind}.png", found) for kind, picture in pictures.items()]
    except OSError as error:
        raise StoreError(f"cannot write pictures into {folder}", got=error, fix="a writable folder") from error


def _edges(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels of zones that touch the outside."""
    inside = labels > 0
    return inside & ~binary_erosion(inside, np.ones((3, 3), bool))


def _tint(picture: NDArray[np.uint8], where: NDArray[np.bool_], colour: str, alpha: float) -> NDArray[np.uint8]:
    levels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float64)
    mixed = np.floor((1 - alpha) * picture + alpha * levels + 0.5).astype(np.uint8)
    return np.where(where[..., np.newaxis], mixed, picture)


def _write(picture: NDArray[np.uint8], path: Path, found: Candidates) -> Path:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    with whole(path) as partial:
        partial.write_bytes(buffer.getvalue())
    replace_text(path.with_suffix(".pgw"), world_file(found.geobox))
    if found.geobox.crs is not None:
        replace_text(path.with_suffix(".prj"), found.geobox.crs.to_wkt() + "\n")
    return path
