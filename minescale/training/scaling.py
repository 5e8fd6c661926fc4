"""The constants by which a network's input is scaled: of the training part alone, or as the settings fix them."""

from __future__ import annotations

import numpy as np

from minescale.errors import ModelError
from minescale.labels.preparation.statistics import Statistics
from minescale.training.samples import Samples

Constants = tuple[tuple[float, ...], tuple[float, ...]]


def constants(train: Samples, clip: float, *, logarithm: bool) -> Constants:
    """Mean and deviation of each channel over the pixels with data of a training part.

    Parameters
    ----------
    clip : reflectance above this counts as this.
    logarithm : of ``ln(1 + 1e4 x) / 10`` instead of reflectance x.

    Raises
    ------
    ModelError
        naming bands without an observation, or with one value only.
    """
    bands = train.dataset.bands
    seen = Statistics(bands, nodata=0)
    for image, _ in train:
        seen.add(image)
    counts = seen.counts.astype(np.float64)
    values = np.minimum(np.arange(counts.shape[1]) * 1e-4, clip)
    if logarithm:
        values = np.log1p(values * 1e4) / 10
    total = counts.sum(axis=1)
    mean = (counts @ values) / np.maximum(total, 1)
    deviation = np.sqrt(np.maximum((counts @ values**2) / np.maximum(total, 1) - mean**2, 0))
    useless = [b for b, n, s in zip(bands, total, deviation, strict=True) if n == 0 or s < 1e-9]
    if useless:
        raise ModelError(
            "bands cannot be scaled: no observation in the training part, or one value only",
            got=", ".join(useless),
            fix="leave them out: --set bands=...",
        )
    return tuple(mean.tolist()), tuple(deviation.tolist())
