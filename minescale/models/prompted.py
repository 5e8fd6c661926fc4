"""Boxes or points on the map to masks on the map, by a model of the family ``sam``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from torch import Tensor

from minescale.errors import ModelError
from minescale.models.network import NetworkPredictor
from minescale.models.predictor import Predictor
from minescale.models.sam import Sam
from minescale.models.windows import REFLECTANCE

Box = tuple[float, float, float, float]
"""left, bottom, right, top"""
Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptedMask:
    """What one prompt found, in the window that the model looked at."""

    probability: NDArray[np.float32]
    """(y, x), 0-1, NaN where any band has no data."""
    geobox: GeoBox
    """Where the window lies: pixels of the image that was given, in its coordinate system."""
    quality: float
    """The model's own guess of the mask's IoU, 0-1; worth reading where the weights came with a trained guess."""

    def polygons(self, threshold: float = 0.5) -> list[Any]:
        """Outlines of the pixels with at least that probability: shapely polygons in the geobox's coordinate system."""
        import shapely.geometry
        from rasterio.features import shapes

        mask = self.probability >= threshold
        found = shapes(mask.astype(np.uint8), mask=mask, connectivity=4, transform=self.geobox.affine)
        return [shapely.geometry.shape(outline) for outline, _ in found]


def segment(
    predictor: Predictor,
    image: NDArray[np.uint16],
    geobox: GeoBox,
    *,
    boxes: Iterable[Box] = (),
    points: Iterable[Point] = (),
) -> list[PromptedMask]:
    """A mask for each box, then for each point: every prompt is a question of its own.

    Parameters
    ----------
    predictor : of a model of the family ``sam``.
    image : uint16 (channel, y, x), reflectance x 1e4, 0 where there is no data; channels as in the specification.
    geobox : where the image lies.
    boxes : (left, bottom, right, top) in the geobox's coordinate system; at most as large as the model's window.
    points : (x, y) inside the object that is looked for, in the geobox's coordinate system.

    Raises
    ------
    ModelError
        for a model without prompts, an image that does not fit, or a prompt that is none, too large or outside.
    """
    spec = predictor.spec
    if not isinstance(predictor, NetworkPredictor) or not isinstance(predictor.network, Sam):
        raise ModelError(
            f"model {spec.name} takes no prompts", got=f"family {spec.family}", expected="sam, run by torch"
        )
    if image.dtype != np.uint16 or image.shape != (len(spec.channels), *geobox.shape):
        raise ModelError(
            f"image does not fit model {spec.name} and its place",
            got=f"{image.dtype} {image.shape}",
            expected=f"uint16 ({len(spec.channels)}, {geobox.shape[0]}, {geobox.shape[1]})",
        )
    asked = [_pixels(box, 4, geobox) for box in boxes] + [_pixels(point, 2, geobox) for point in points]
    if not asked:
        raise ModelError("nothing was asked", expected="boxes or points")
    return [_answer(predictor, predictor.network, image, geobox, corners) for corners in asked]


def _pixels(prompt: Sequence[float], count: int, geobox: GeoBox) -> NDArray[np.float64]:
    """Map coordinates to (corner, (x, y)) in pixels from the image's corner, upper left before lower right."""
    kind = "box" if count == 4 else "point"
    values = [float(value) for value in prompt]
    ordered = count == 2 or (len(values) == 4 and values[0] < values[2] and values[1] < values[3])
    if len(values) != count or not all(map(math.isfinite, values)) or not ordered:
        raise ModelError(
            f"that is no {kind}", got=tuple(prompt), expected="left, bottom, right, top" if count == 4 else "x, y"
        )
    inverse = ~geobox.affine
    corners = np.array([inverse * tuple(values[i : i + 2]) for i in range(0, count, 2)])
    corners = np.stack([corners.min(axis=0), corners.max(axis=0)]) if count == 4 else corners
    rows, cols = geobox.shape
    if (corners[-1] <= 0).any() or corners[0, 0] >= cols or corners[0, 1] >= rows:
        raise ModelError(
            f"the {kind} lies outside the image", got=tuple(prompt), expected=f"inside {geobox.boundingbox}"
        )
    return corners


def _answer(
    predictor: NetworkPredictor, network: Sam, image: NDArray[np.uint16], geobox: GeoBox, corners: NDArray[np.float64]
) -> PromptedMask:
    edge = network.window
    if (corners[-1] - corners[0] > edge).any():
        raise ModelError(
            "the box is larger than the model's window",
            got=f"{np.ceil(corners[-1] - corners[0]).astype(int).tolist()} pixels",
            expected=f"at most {edge}",
            fix="a smaller enlarge, or an image of coarser pixels",
        )
    # Round the prompt, and inside the image as far as that is large enough.
    left, top = (
        max(0, min(round(middle - edge / 2), size - edge))
        for middle, size in zip(corners.mean(axis=0), reversed(image.shape[1:]), strict=True)
    )
    part = image[:, top : top + edge, left : left + edge]
    rows, cols = part.shape[1:]
    window = np.zeros((1, len(image), edge, edge), np.float32)
    window[0, :, :rows, :cols] = part * REFLECTANCE
    # The prompt encoder adds half a pixel, for it counts from pixels' middles.
    inside = (corners - (left, top)) * network.enlarge - 0.5
    x = predictor.scaled(window)
    with torch.inference_mode():
        prompts = _embedded(network, torch.tensor(inside, dtype=torch.float32, device=x.device))
        masks, quality = network.decode(network.embed(x), prompts, several=False)
        probability = torch.sigmoid(network.to_pixels(masks[:, 0]))[0, 0, :rows, :cols].float().cpu().numpy()
    probability[(part == 0).any(axis=0)] = np.nan
    guess = float(quality.flatten()[0].clamp(0, 1))
    place = geobox[top : top + rows, left : left + cols]
    return PromptedMask(probability=probability, geobox=place, quality=guess)


def _embedded(network: Sam, corners: Tensor) -> Tensor:
    """(1, 1, token, width) of a box (two corners) or a point (one)."""
    shape = (1, 1, *corners.shape)
    if len(corners) == 2:
        sparse, _ = network.prompt_encoder(None, None, corners.reshape(1, 1, 4), None)
    else:
        labels = torch.ones((1, 1, 1), dtype=torch.int, device=corners.device)
        sparse, _ = network.prompt_encoder(corners.reshape(shape), labels, None, None)
    return sparse
