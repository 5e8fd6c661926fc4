"""A set at the coarser pixels of a model: images by the mean of whole blocks, masks by the share of the target."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import ModelError
from minescale.kernels.resample import block_mean, block_mode
from minescale.labels.rasters.masks import patch_means
from minescale.labels.sets.dataset import ChipReader, Dataset
from minescale.labels.sets.units import as_reflectance

_FILL = 255
"""Class value of what has no label, where the set has none of its own."""


def blocks_along(fine: float, resolution: float) -> int:
    """Pixels of ``fine`` metres along a pixel of the model.

    Raises
    ------
    ModelError
        where they do not divide it.
    """
    blocks = round(resolution / fine)
    if blocks < 1 or not math.isclose(blocks * fine, resolution, rel_tol=1e-3):
        raise ModelError(
            "pixels of the set do not divide those of the model",
            got=f"{fine:g} m and {resolution:g} m",
            expected=f"pixels of {resolution:g} m or a whole part of it",
        )
    return blocks


def whole_blocks(values: NDArray[Any], blocks: int, fill: int = 0) -> NDArray[Any]:
    """(..., y, x) filled up below and to the right with ``fill`` to whole blocks."""
    rows, cols = -values.shape[-2] % blocks, -values.shape[-1] % blocks
    if rows or cols:
        values = np.pad(values, [(0, 0)] * (values.ndim - 2) + [(0, rows), (0, cols)], constant_values=fill)
    return np.ascontiguousarray(values)


def coarser(dataset: Dataset, blocks: int, target: int) -> Dataset:
    """The set with squares of ``blocks`` pixels averaged, as reflectance x 1e4.

    Parameters
    ----------
    target : class value that a square has where at least half of its labelled pixels do; else it has the most frequent
        of the other classes.
    """
    if blocks == 1:
        return dataset
    images = as_reflectance(dataset)
    fine = dataset.resolution_m
    ignore = dataset.classes.ignore
    reader = _Coarser(images.reader, blocks, target, _FILL if ignore is None else ignore)
    return replace(images, reader=reader, resolution_m=None if fine is None else fine * blocks)


@dataclass(frozen=True, slots=True)
class _Coarser:
    reader: ChipReader
    blocks: int
    target: int
    ignore: int

    def image(self, row: int) -> NDArray[np.uint16]:
        return block_mean(whole_blocks(self.reader.image(row), self.blocks), self.blocks)

    def mask(self, row: int) -> NDArray[np.uint8] | None:
        fine = self.reader.mask(row)
        if fine is None:
            return None
        labels = whole_blocks(fine, self.blocks, self.ignore)
        share = (labels == self.target).astype(np.float32)
        share[labels == self.ignore] = np.nan
        others = np.where(labels == self.target, np.uint8(self.ignore), labels).astype(np.uint8)
        mask = block_mode(others, self.blocks, self.ignore)
        mask[patch_means(share, self.blocks) >= 0.5] = self.target
        return mask
