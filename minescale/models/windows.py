"""One tile of composite to one tile of probability, whatever window the model wants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minescale.errors import ModelError
from minescale.kernels.blend import add_window, hann_weights, normalise
from minescale.models.predictor import AT_ONCE_BYTES, Predictor, find_family
from minescale.models.recalibration import recalibrate
from minescale.models.spec import HALO_STEP, ModelSpec

_PRICED_PATCH, _PRICED_HALO = 640, 48
"""Of the U-Net whose scans the rates of plans were fitted on."""
REFLECTANCE = np.float32(1e-4)
"""Composites are reflectance x 1e4."""
_STRIPE_PIXELS = 1 << 16
"""Pixels that a pixelwise model is handed at once: their bands stay in the second-level cache."""
_BATCH_PIXELS = 1 << 20
"""Pixels of patches that are handed over at once: enough to fill a GPU, small beside a tile's composite."""
_MAX_BLEND = 64
_FIXED_BYTES = 24 << 20
"""Libraries' own buffers (oneDNN scratch, allocator slack) for one prediction."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where patches lie along one axis, in pixels relative to the core's first pixel."""

    patch: int
    starts: tuple[int, ...]
    inner: int
    """Part of a patch whose prediction is kept: the patch without its halo. It may stick out of the core."""
    overlap: int
    """Pixels that neighbouring inner parts share."""


def predict_tile(predictor: Predictor, composite: NDArray[np.uint16], halo: int) -> NDArray[np.float32]:
    """Probability of the model's target class over the core of a tile.

    The tile is cut into patches of one shape whose origins are multiples of the family's step from the tile's, so
    that every tiling puts the network's strides on the same pixels. Of a patch only the part further from its border
    than the model's halo counts, and where those parts overlap they are blended with Hann weights. With a
    ``halo`` of at least the model's receptive field the result therefore does not depend on the tiling (to
    1e-4). A model of single pixels is run without windows, and its result does not depend on the tiling at all.

    Parameters
    ----------
    composite : uint16 (band, y, x), reflectance x 1e4, 0 where there is no data; bands as in the model's
        specification, halo included.
    halo : pixels on every side that are context only; a multiple of 8. With 0 the image is all there is: a network of
        pixels sees one that fits in a patch without a frame of no data.

    Returns
    -------
    float32 (y, x) of the core, 0-1, NaN where any band of the composite is 0.

    Raises
    ------
    ModelError
        where bands, shape or halo do not fit, or the network gives no number where there is data.
    """
    spec = predictor.spec
    target = spec.target_index
    score = _predict(predictor, composite, halo, slice(target, target + 1))[0]
    # NaN stays NaN, so the correction may come after pixels without data were marked.
    return recalibrate(score, spec.calibration)


def predict_classes(predictor: Predictor, composite: NDArray[np.uint16], halo: int) -> NDArray[np.float32]:
    """Probabilities of all classes over the core of a tile, float32 (class, y, x), as the network gives them.

    As :func:`predict_tile` in everything else; the calibration is of the target's probability alone and is left out.
    """
    return _predict(predictor, composite, halo, slice(0, len(predictor.spec.classes)))


def _predict(predictor: Predictor, composite: NDArray[np.uint16], halo: int, classes: slice) -> NDArray[np.float32]:
    """(class, y, x) of the chosen classes, NaN where any band has no data."""
    spec = predictor.spec
    if composite.ndim != 3 or composite.shape[0] != len(spec.channels) or composite.dtype != np.uint16:
        raise ModelError(
            f"composite does not fit model {spec.name}",
            got=f"{composite.dtype} {composite.shape}",
            expected=f"uint16 ({len(spec.channels)}, y, x)",
        )
    height, width = composite.shape[1] - 2 * halo, composite.shape[2] - 2 * halo
    if halo < 0 or halo % HALO_STEP or height < 1 or width < 1:
        raise ModelError(
            "halo does not fit the tile",
            got=f"{halo} of {composite.shape[1:]}",
            expected=f"a multiple of {HALO_STEP} that leaves a core",
        )
    core = composite[:, halo : halo + height, halo : halo + width]
    seen = (core != 0).all(axis=0)
    if not seen.any():
        return np.full((classes.stop - classes.start, height, width), np.nan, np.float32)
    if spec.pixelwise:
        scores = _by_pixel(predictor, core, classes)
    else:
        scores = _by_patch(predictor, composite, halo, height, width, classes)
    scores[:, ~seen] = np.nan
    known = np.count_nonzero(seen)
    for score in scores:
        # NaN means "no data" from here on, so that a network's own would pass for ground nobody saw.
        finite = np.count_nonzero(np.isfinite(score))
        if finite != known:
            raise not_finite(spec, f"{known - finite} of {known} pixels with data")
    return scores


def not_finite(spec: ModelSpec, where: str) -> ModelError:
    """The error for scores that are NaN or infinite where the model was given data."""
    return ModelError(
        f"model {spec.name} gives no number where there is data",
        got=f"NaN or infinity at {where}",
        expected="a score from 0 to 1",
        fix="weights that a training ended well with, or single precision (--device cpu)",
    )


def _by_pixel(predictor: Predictor, core: NDArray[np.uint16], classes: slice) -> NDArray[np.float32]:
    """Reflectance is cut at the specification's ``clip`` here, for every family of single pixels alike."""
    height, width = core.shape[1:]
    limit = predictor.spec.clip
    scores = np.empty((classes.stop - classes.start, height, width), np.float32)
    rows = max(1, _STRIPE_PIXELS // width)
    for top in range(0, height, rows):
        stripe = core[:, top : top + rows] * REFLECTANCE
        if limit is not None:
            np.minimum(stripe, np.float32(limit), out=stripe)
        scores[:, top : top + rows] = predictor.predict(stripe[np.newaxis])[0, classes]
    return scores


def _by_patch(
    predictor: Predictor, composite: NDArray[np.uint16], halo: int, height: int, width: int, classes: slice
) -> NDArray[np.float32]:
    spec = predictor.spec
    step = find_family(spec.family).step(spec)
    alone = _up(height, step), _up(width, step)
    if not halo and spec.task == "pixels" and max(alone) <= spec.patch:
        # As in training: a frame of no data would be taken for ground, which networks answer to far into the image.
        found = predictor.predict(_cut(composite, [(0, 0)], 0, *alone))[0, classes]
        return np.array(found[:, :height, :width], order="C")
    rows, cols = _axis(height, spec, step), _axis(width, spec, step)
    windows = [(y, x) for y in rows.starts for x in cols.starts]
    margin = spec.halo
    if len(windows) == 1:
        batch = _cut(composite, windows, halo - margin, rows.patch, cols.patch)
        patch = predictor.predict(batch)[0, classes]
        return np.array(patch[:, margin : margin + height, margin : margin + width], order="C")
    total = np.zeros((classes.stop - classes.start, height, width), np.float32)
    weight = np.zeros((height, width), np.float32)
    taper = _taper(rows, cols)
    for group in _groups(windows, rows.patch * cols.patch):
        batch = _cut(composite, group, halo - margin, rows.patch, cols.patch)
        scores = predictor.predict(batch)[:, classes]
        for (y, x), score in zip(group, scores, strict=True):
            inner = np.ascontiguousarray(score[:, margin : margin + rows.inner, margin : margin + cols.inner])
            add_window(total, weight, inner, taper, y, x)
    normalise(total, weight)
    return total


def work_of_tile(spec: ModelSpec, tile_px: int) -> float:
    """What a pixel of a tile with its halo costs, as a multiple of what it costs the U-Net that plans are priced by.

    Patches overlap, and those of a model with a wide halo overlap much. For models of single pixels, of an index model.
    """
    family = find_family(spec.family)
    if spec.pixelwise:  # an ensemble of such models as well, which has no patches that overlap
        return family.work(spec)
    priced = spec.replace(patch=_PRICED_PATCH, halo=_PRICED_HALO)
    run = [
        (len(axis.starts) * axis.patch / (tile_px + 2 * one.halo)) ** 2
        for one, step in ((spec, family.step(spec)), (priced, HALO_STEP))
        for axis in [_axis(tile_px, one, step)]
    ]
    return family.work(spec) * run[0] / run[1]


def _axis(core: int, spec: ModelSpec, step: int) -> _Axis:
    """Patch starts that cover ``core`` pixels: one patch where it fits, else equal patches, evenly spread.

    Starts and inner parts are multiples of ``step``.
    """
    margin = spec.halo
    whole = _up(core, step)
    if whole + 2 * margin <= spec.patch:
        return _Axis(whole + 2 * margin, (0,), whole, 0)
    inner = max((spec.patch - 2 * margin) // step * step, step)
    overlap = min(_MAX_BLEND, _up(inner // 4, step))
    overlap = 0 if overlap >= inner else overlap
    count = -(-(whole - overlap) // (inner - overlap))
    last = whole - inner
    starts = tuple(last * i // max(count - 1, 1) // step * step for i in range(count))
    return _Axis(inner + 2 * margin, starts, inner, overlap)


def _up(pixels: int, step: int) -> int:
    return -(-pixels // step) * step


def _taper(rows: _Axis, cols: _Axis) -> NDArray[np.float32]:
    """Hann weights of the inner part of a patch, float32 (y, x), positive everywhere."""
    down = hann_weights(rows.inner, rows.overlap)[:, rows.inner // 2]
    across = hann_weights(cols.inner, cols.overlap)[cols.inner // 2]
    return np.outer(down, across).astype(np.float32)


def _groups(windows: list[tuple[int, int]], pixels: int) -> Iterator[list[tuple[int, int]]]:
    size = max(1, _BATCH_PIXELS // pixels)
    for start in range(0, len(windows), size):
        yield windows[start : start + size]


def _cut(
    composite: NDArray[np.uint16], windows: list[tuple[int, int]], shift: int, rows: int, cols: int
) -> NDArray[np.float32]:
    """Patches as reflectance, (n, band, y, x); 0 beyond the composite. ``shift`` leads from core to composite."""
    batch = np.zeros((len(windows), composite.shape[0], rows, cols), np.float32)
    for patch, (y, x) in zip(batch, windows, strict=True):
        top, left = y + shift, x + shift
        source = composite[:, max(top, 0) : max(top + rows, 0), max(left, 0) : max(left + cols, 0)]
        down, right = max(-top, 0), max(-left, 0)
        view = patch[:, down : down + source.shape[1], right : right + source.shape[2]]
        np.multiply(source, REFLECTANCE, out=view, casting="same_kind")
    return batch


def peak_bytes(spec: ModelSpec, tile_px: int, halo: int) -> int:
    """Upper estimate of the memory that predicting one tile takes, its composite included, the model excluded.

    Parameters
    ----------
    tile_px : pixels per edge of the tile's core.
    halo : pixels of context on every side.
    """
    family = find_family(spec.family)
    per_pixel = family.bytes_per_pixel(spec)
    core = tile_px * tile_px
    bands, classes = len(spec.channels), len(spec.classes)
    # The composite, the mask of pixels with data (with its temporaries) and the result.
    result = 2 * bands * (tile_px + 2 * halo) ** 2 + core * (bands + 2 + 4)
    if spec.pixelwise:
        stripe = min(core, max(_STRIPE_PIXELS, tile_px))
        return result + stripe * (4 * (bands + classes) + per_pixel)
    axis = _axis(tile_px, spec, family.step(spec))
    patch = axis.patch**2
    group = min(len(axis.starts) ** 2, max(1, _BATCH_PIXELS // patch))
    sums = 0 if len(axis.starts) == 1 else 4 * (2 * core + axis.inner**2)
    # Patches of a group are held as input and output; the network runs them one by one or some together.
    running = patch * per_pixel
    if family.together:
        running = max(running, min(group * patch * per_pixel, AT_ONCE_BYTES))
    return result + sums + patch * group * 4 * (bands + classes) + running + _FIXED_BYTES
