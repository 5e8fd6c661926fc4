"""Sampled pixels of a dataset as one table, each row with the image that it is of."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels.resample import block_mean
from minescale.labels.rasters.masks import far_from_edges, patch_means
from minescale.labels.sets.dataset import Dataset
from minescale.models.spec import ModelSpec
from minescale.training.tables.columns import columns
from minescale.training.tables.distance import mask_distance
from minescale.training.tables.settings import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelTable:
    """Pixels of several images; an image is always one group, so that no fold holds pixels of it on both sides."""

    features: tuple[str, ...]
    x: NDArray[np.float32]
    """(pixel, feature), unscaled, NaN for no value."""
    share: NDArray[np.float32]
    """(pixel,) share of the target in the pixel, 0-1; NaN where there is no label."""
    distance: NDArray[np.float32] | None
    """(pixel,) metres to the target's edge, negative inside, cut at the sampling's ``clip_m``; None: not asked for."""
    group: NDArray[np.int64]
    """(pixel,) number of the group that its image belongs to."""
    groups: tuple[str, ...]
    """Names of the groups: sites where the set has several, else images."""

    def __len__(self) -> int:
        return len(self.x)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(pixel,) whether at least half of it is target."""
        return self.share >= 0.5

    def require_both(self, part: str) -> None:
        """Refuse a table that lacks one side.

        Raises
        ------
        UsageError
        """
        n = int(self.inside.sum())
        if not 0 < n < len(self):
            raise UsageError(
                f"the {part} part has pixels of one side only",
                got=f"{n:,} inside, {len(self) - n:,} outside",
                expected="both",
                fix="another split, more samples per image, or a smaller buffer_m",
            )


def pixel_size(dataset: Dataset) -> float:
    """Edge of the set's pixels in metres.

    Raises
    ------
    UsageError
        where the set does not tell.
    """
    if dataset.resolution_m is None:
        raise UsageError(
            f"pixels of {dataset.name} have no known size", expected="resolution_m", fix="resolution: metres"
        )
    return dataset.resolution_m


def sample_table(
    dataset: Dataset,
    features: Sequence[str],
    spec: ModelSpec,
    sampling: Sampling,
    *,
    target: int | None,
    seed: int = 0,
    distances: bool = False,
    labelled: bool = True,
) -> PixelTable:
    """Draw pixels of every image.

    Which pixels of an image are drawn depends on the seed and its id, not on the other images. Only pixels with data in
    every band count.

    Parameters
    ----------
    dataset : reflectance x 1e4 in the bands of ``spec`` (see :func:`minescale.labels.sets.units.as_reflectance`).
    target : class value that is to be found; None: labels are not looked at.
    distances : measure distances to the target's edge.
    labelled : leave out pixels without a label.

    Raises
    ------
    UsageError
        where no pixel is left, or distances are asked of samples that are labelled whole.
    """
    measured = distances or sampling.buffer_m > 0
    ids = dataset.samples["id"].astype(str).tolist()
    named = groups_of(dataset)
    parts: list[tuple[NDArray[np.uint16], NDArray[np.float32], NDArray[np.float32] | None]] = []
    for row, name in enumerate(ids):
        image, share, distance = _maps(dataset, row, target, sampling, measured)
        usable = (image != 0).all(axis=0)
        if labelled:
            usable &= np.isfinite(share)
        if distance is not None and sampling.buffer_m:
            usable &= far_from_edges(distance, sampling.buffer_m)
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        chosen = _draw(np.flatnonzero(usable), share.ravel() >= 0.5, sampling, random)
        parts.append(
            (
                image.reshape(len(image), -1)[:, chosen],
                share.ravel()[chosen],
                None if distance is None else np.clip(distance.ravel()[chosen], -sampling.clip_m, sampling.clip_m),
            )
        )
    counts = [part[0].shape[1] for part in parts]
    if not sum(counts):
        raise UsageError(
            f"no pixel of {dataset.name} can be used",
            expected="pixels with data in every band" + (" and a label" if labelled else ""),
            fix="a smaller buffer_m, or another part of the set",
        )
    groups = tuple(dict.fromkeys(named))
    number = {name: i for i, name in enumerate(groups)}
    return PixelTable(
        features=tuple(features),
        x=columns(np.concatenate([part[0] for part in parts], axis=1), features, spec),
        share=np.concatenate([part[1] for part in parts]),
        distance=np.concatenate([part[2] for part in parts if part[2] is not None]) if distances else None,
        group=np.repeat([number[name] for name in named], counts).astype(np.int64),
        groups=groups,
    )


def groups_of(dataset: Dataset) -> list[str]:
    """Name of each sample's group: its site, or where there is one site only, the image it was made of."""
    sites = dataset.samples["site"].astype(str)
    return (sites if sites.nunique() > 1 else dataset.parents().astype(str)).tolist()


def _maps(
    dataset: Dataset, row: int, target: int | None, sampling: Sampling, measured: bool
) -> tuple[NDArray[np.uint16], NDArray[np.float32], NDArray[np.float32] | None]:
    """Image (band, y, x), share of the target and distance (y, x), averaged over patches where that is asked for."""
    image = dataset.reader.image(row)
    share = _share(dataset, row, (int(image.shape[1]), int(image.shape[2])), target, sampling.centre, measured)
    distance = None
    if measured:
        distance = mask_distance(share, pixel_size(dataset))
    k = sampling.patch
    if k == 1:
        return image, share, distance
    share = patch_means(share, k)
    height, width = share.shape[0] * k, share.shape[1] * k
    if distance is not None:
        # An image without an edge is infinitely far from one, which has no mean with the unlabelled.
        distance = patch_means(np.clip(distance, -sampling.clip_m, sampling.clip_m), k)
    return block_mean(np.ascontiguousarray(image[:, :height, :width]), k), share, distance


def _share(
    dataset: Dataset, row: int, shape: tuple[int, int], target: int | None, centre: int, measured: bool
) -> NDArray[np.float32]:
    """1 target, 0 other, NaN no label."""
    mask = dataset.reader.mask(row)
    if mask is not None and target is not None:
        share = (mask == target).astype(np.float32)
        if dataset.classes.ignore is not None:
            share[mask == dataset.classes.ignore] = np.nan
        return share
    share = np.full(shape, np.nan, np.float32)
    label = dataset.samples["label"].iloc[row] if "label" in dataset.samples else None
    if mask is not None or label is None or label != label:  # noqa: PLR0124  (NaN)
        return share
    if measured:
        raise UsageError(
            f"samples of {dataset.name} are labelled whole, so pixels have no distance to an edge",
            fix="family logistic, forest, boosting or mlp, and buffer_m 0",
        )
    tall, wide = (min(centre, edge) or edge for edge in shape)
    top, left = (shape[0] - tall) // 2, (shape[1] - wide) // 2
    share[top : top + tall, left : left + wide] = float(target is not None and int(label) == target)
    return share


def _draw(
    usable: NDArray[np.int64], inside: NDArray[np.bool_], sampling: Sampling, random: np.random.Generator
) -> NDArray[np.int64]:
    """Places of the chosen pixels, in the order of the image."""
    n = min(sampling.samples_per_image, int(np.ceil(len(usable) * sampling.percent / 100)))
    if not sampling.balance:
        return np.sort(random.permutation(usable)[:n])
    pools = [random.permutation(usable[inside[usable] == side]) for side in (True, False)]
    take = min(n // 2, *(len(pool) for pool in pools)) if min(len(p) for p in pools) else 0
    if not take:
        return np.sort(random.permutation(usable)[:n])
    return np.sort(np.concatenate([pool[:take] for pool in pools]))
