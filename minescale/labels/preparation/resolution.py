"""What a pixel size allows: which model may run on a set, and which classes are large enough to be drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import ndimage

from minescale.errors import UsageError
from minescale.kernels.regions import label as regions
from minescale.labels.sets.dataset import Dataset
from minescale.models.spec import RESOLUTION_TOLERANCE, trained_range

MIN_PIXELS = 3
"""An object narrower than this is mixed pixels: its outline cannot be drawn, nor learned."""


def check_pixel_size(trained_m: float, images_m: float | None, *, force: bool = False) -> str:
    """Refuse images whose pixels are more than 1.5 times larger or smaller than those a model was trained on.

    Returns
    -------
    What scores must say where it is done all the same; empty where sizes fit.

    Raises
    ------
    UsageError
        for a mismatch, or an unknown size, without ``force``.
    """
    low, high = trained_range(trained_m)
    if images_m is not None and low * (1 - 1e-6) <= images_m <= high * (1 + 1e-6):
        return ""
    got = "pixels of unknown size" if images_m is None else f"pixels of {images_m:g} m"
    if not force:
        raise UsageError(
            f"a model trained at {trained_m:g} m does not fit these images",
            got=got,
            expected=f"{low:.4g} to {high:.4g} m, a factor of {RESOLUTION_TOLERANCE:g}",
            fix="resample the images, another model, or force=True (--force); every score then says so",
        )
    return f"run on {got} although it was trained at {trained_m:g} m"


def class_widths(dataset: Dataset) -> pd.DataFrame:
    """How wide the objects of each class are, measured in the masks.

    The width of an 8-connected object is twice the largest distance of its pixels to what is not its class, less one
    pixel: that of the widest place, so that a long road counts as narrow.

    Returns
    -------
    DataFrame, index class name (background left out): objects, median_px, and median_m (NaN where the pixel size is not
    known).

    Raises
    ------
    UsageError
        for a set without masks.
    """
    widths: dict[str, list[float]] = {name: [] for name in dataset.classes.names[1:]}
    for row in range(len(dataset)):
        mask = dataset.reader.mask(row)
        if mask is None:
            raise UsageError(f"dataset {dataset.name} labels whole samples", expected="masks, to measure objects in")
        for value, name in enumerate(dataset.classes.names[1:], 1):
            inside = mask == value
            labels, n = regions(inside)
            if n:
                # Beyond the edge the object may go on: a border would make it look narrower than it is.
                depth = ndimage.distance_transform_edt(np.pad(inside, 1, mode="edge"))[1:-1, 1:-1]
                deepest = ndimage.maximum(depth, labels, np.arange(1, n + 1))
                widths[name] += (2 * np.asarray(deepest) - 1).tolist()
    median = [float(np.median(found)) if found else np.nan for found in widths.values()]
    metres = np.array(median) * (np.nan if dataset.resolution_m is None else dataset.resolution_m)
    return pd.DataFrame(
        {"objects": [len(found) for found in widths.values()], "median_px": median, "median_m": metres},
        index=pd.Index(list(widths), name="class"),
    )


def too_small(widths: pd.DataFrame, pixel_m: float) -> list[str]:
    """A sentence for each class whose objects are too narrow at a pixel size; classes without objects have none.

    Parameters
    ----------
    widths : as :func:`class_widths` measures them, at whatever resolution the labels were drawn.
    pixel_m : pixel size of the images to be used, in metres.
    """
    return [
        f"{name}: half of its objects are at most {row.median_m:.3g} m wide, {row.median_m / pixel_m:.2g} pixels of "
        f"{pixel_m:g} m; {MIN_PIXELS * pixel_m:g} m can be drawn"
        for name, row in widths.iterrows()
        if row.median_m < MIN_PIXELS * pixel_m
    ]
