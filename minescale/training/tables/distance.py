"""How far each pixel of a mask lies from the edge of its target, negative inside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mask_distance(share: NDArray[np.float32], resolution: float) -> NDArray[np.float32]:
    """Signed distance from pixel centres to the target's edge: half a pixel beside it, one and a half behind that.

    For masks what :func:`minescale.labels.rasters.masks.signed_distance` is for polygons.

    Distances are Euclidean on square pixels (the exact transform of scipy). Pixels without a label are neither side:
    an edge lies only between the target and what is known to be something else. What lies beyond the image is not
    known, so that distances near its border are upper bounds.

    Parameters
    ----------
    share : (y, x), 1 target, 0 other, NaN unlabelled.
    resolution : pixel edge in metres.

    Returns
    -------
    float32 (y, x), metres; infinite where the image lacks the other side, NaN where there is no label.
    """
    from scipy import ndimage

    inside, outside = share >= 0.5, share < 0.5

    def to(side: NDArray[np.bool_]) -> NDArray[np.float64]:
        if not side.any():
            return np.full(side.shape, np.inf)
        found: NDArray[np.float64] = ndimage.distance_transform_edt(~side)
        return found - 0.5

    signed = np.where(inside, -to(outside), to(inside)) * resolution
    signed[np.isnan(share)] = np.nan
    return signed.astype(np.float32)
