"""Scale reflectance and fold 2 x 2 pixels into channels: what the first layer of a U-Net reads, in one pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels._arrays import given, output
from minescale.kernels._jit import kernel


def scale_and_fold(
    image: NDArray[np.float32],
    mean: NDArray[np.float32],
    inverse_std: NDArray[np.float32],
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """``(x - mean) * inverse_std`` with the four pixels of each 2 x 2 block side by side, channels last.

    Parameters
    ----------
    image : float32 (band, y, x), reflectance, 0 = no data; y and x are even.
    mean, inverse_std : float32 (band,).
    out : float32 (y / 2, x / 2, 4 band).

    Returns
    -------
    float32 (y / 2, x / 2, 4 band); channel ``4 b + 2 dy + dx`` is band b of the block's pixel (dy, dx), as in
    PyTorch's ``pixel_unshuffle``. 0 (an average pixel) in all bands of a pixel of which any band is 0.

    Raises
    ------
    UsageError
        for other element types, odd sizes, or a scaling of another number of bands.
    """
    pixels = given(image, "image", (np.float32,), 3)
    bands, height, width = pixels.shape
    middle, slope = (given(v, "scaling", (np.float32,), 1) for v in (mean, inverse_std))
    if height % 2 or width % 2 or not middle.size == slope.size == bands:
        raise UsageError(
            "image cannot be folded",
            got=f"image {pixels.shape}, scaling of {middle.size} and {slope.size} bands",
            expected="even rows and columns, and a scaling of each band",
        )
    folded = output(out, (height // 2, width // 2, 4 * bands), np.float32)
    _fold(pixels, middle, slope, folded)
    return folded


@kernel
def _fold(image: NDArray, mean: NDArray, inverse_std: NDArray, out: NDArray) -> None:
    bands, height, width = image.shape
    half = width // 2
    seen = np.empty(width, np.float32)
    line = np.empty((4 * bands, half), np.float32)
    one, zero = np.float32(1), np.float32(0)
    for row in range(height // 2):
        for dy in range(2):
            y = 2 * row + dy
            seen[:] = one
            for b in range(bands):
                source = image[b, y]
                for x in range(width):
                    seen[x] = seen[x] if source[x] > zero else zero
            for b in range(bands):
                source, middle, slope = image[b, y], mean[b], inverse_std[b]
                left, right = line[4 * b + 2 * dy], line[4 * b + 2 * dy + 1]
                for x in range(half):
                    left[x] = (source[2 * x] - middle) * slope * seen[2 * x]
                    right[x] = (source[2 * x + 1] - middle) * slope * seen[2 * x + 1]
        target = out[row]
        for x in range(half):
            for c in range(4 * bands):
                target[x, c] = line[c, x]
