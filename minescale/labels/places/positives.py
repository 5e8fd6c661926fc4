"""The positive class from what is at hand: local images and coordinates, sampled in one pass whatever their number."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from minescale.errors import StoreError, UsageError
from minescale.labels.cells.sampling import reservoir_sample
from minescale.labels.places.negatives import POINT_COLUMNS, SIDE_M, point_table
from minescale.labels.sets.whole import whole

IMAGE_ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg")


def list_images(folder: str | Path) -> Iterator[Path]:
    """Images under a folder, one by one: any number of them takes no memory. The order is the file system's.

    Raises
    ------
    StoreError
        where the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from list_images(entry.path)
                elif entry.name.lower().endswith(IMAGE_ENDINGS):
                    yield Path(entry.path)
    except OSError as error:
        raise StoreError(f"cannot list {folder}", got=error, expected="a folder of images") from error


def build_positive_class(
    images: Iterable[Path],
    coordinates: Iterable[tuple[float, float]],
    k: int,
    seed: int = 0,
    *,
    source: str = "positives",
    side_m: float = SIDE_M,
) -> pd.DataFrame:
    """At most ``k`` positives, uniform over local images and coordinates together: reservoir sampling, one pass.

    Parameters
    ----------
    images : files that are there already.
    coordinates : longitude and latitude in degrees of places to fetch.

    Returns
    -------
    Columns of :data:`~minescale.labels.places.negatives.POINT_COLUMNS` and ``image``. A row has either an image, to be
    copied by :func:`copy_images` (its place is not known: null), or a place, to be fetched by ``minescale dataset
    extract``.

    Raises
    ------
    UsageError
        where there is neither image nor coordinate, or a coordinate is not on the globe.
    """

    def stream() -> Iterator[Path | tuple[float, float]]:
        yield from images
        yield from coordinates

    chosen = reservoir_sample(stream(), k, seed)
    if not chosen:
        raise UsageError("there is no positive to choose from", expected="images, or coordinates")
    places = [item for item in chosen if not isinstance(item, Path)]
    files = [item for item in chosen if isinstance(item, Path)]
    lon, lat = np.array(places, np.float64).reshape(-1, 2).T
    fetched = point_table(lon, lat, prefix=f"positive-{seed}", source=source, label=1, kind=None, side_m=side_m)
    local = pd.DataFrame({"id": [f"image-{seed}-{i:05d}" for i in range(len(files))], "image": [str(f) for f in files]})
    local = local.assign(source=source, **{"class": 1})
    local["site"] = local["id"]
    table = pd.concat([local, fetched.assign(image=None)], ignore_index=True)
    return table.reindex(columns=[*POINT_COLUMNS, "image"])


def copy_images(table: pd.DataFrame, folder: str | Path) -> list[Path]:
    """Copy the local images of a table into ``folder``, each under its row's id.

    Raises
    ------
    StoreError
        where one cannot be copied; it is not left half written.
    """
    copied = []
    for row in table[table["image"].notna()].itertuples():
        image = Path(str(row.image))
        target = Path(folder) / f"{row.id}{image.suffix.lower()}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole(target) as partial:
                shutil.copyfile(image, partial)
        except OSError as error:
            raise StoreError(f"cannot copy {image.name}", got=error, fix="a readable image and free space") from error
        copied.append(target)
    return copied
