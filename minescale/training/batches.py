"""Batches: random crops and changes for training, whole images in a fixed order for validation.

What an epoch draws follows from the seed and its number alone, so that a training goes on after a kill as if nothing
had happened, and processes that share an epoch need not talk about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minescale.errors import ModelError
from minescale.models.network import middle
from minescale.models.windows import REFLECTANCE
from minescale.training.augmentation import Augmentation
from minescale.training.config import BatchConfig
from minescale.training.losses import IGNORED
from minescale.training.parallel import World
from minescale.training.samples import Samples, counted

VAL_EDGE = 1024
"""Of images with a longer edge the middle is validated on."""
VAL_PIXELS = 1 << 20
"""Pixels that are validated on at once."""
_ORDER, _STEP, _MIX = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Batch:
    images: Tensor
    """float32 (n, channel, y, x) reflectance 0-1, 0 = no data."""
    labels: Tensor
    """int64 (n, y, x), or (n,) of whole chips; :data:`~minescale.training.losses.IGNORED` where there is none."""
    names: tuple[str, ...]
    """Ids of the samples."""
    others: Tensor | None = None
    """Labels of the samples that were mixed into these; None where none were."""
    share: float = 1.0
    """Share of a sample's own image, and weight of its own label, at least a half."""

    def pieces(self, count: int) -> Iterator[Batch]:
        """The batch in ``count`` parts, or in single samples where it has fewer."""
        size = -(-len(self.names) // count)
        for start in range(0, len(self.names), size):
            part = slice(start, start + size)
            others = None if self.others is None else self.others[part]
            yield Batch(self.images[part], self.labels[part], self.names[part], others, self.share)


def mixed(batch: Batch, mixup: float, rng: np.random.Generator) -> Batch:
    """Each image mixed with another of the batch by a share drawn from Beta(mixup, mixup): Zhang et al. 2018,
    arXiv:1710.09412. Where either has no data there is none, and where either has no label; 0 mixes nothing."""
    if not mixup:
        return batch
    share = float(rng.beta(mixup, mixup))
    share = max(share, 1 - share)
    order = torch.from_numpy(rng.permutation(len(batch.names))).to(batch.images.device)
    images, others = batch.images, batch.images[order]
    seen = (images.amin(dim=1, keepdim=True) > 0) & (others.amin(dim=1, keepdim=True) > 0)
    labels, second = batch.labels, batch.labels[order]
    if labels.ndim > 1:
        gone = ~seen[:, 0] | (labels == IGNORED) | (second == IGNORED)
        labels, second = (values.masked_fill(gone, IGNORED) for values in (labels, second))
    return Batch((share * images + (1 - share) * others) * seen, labels, batch.names, second, share)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainBatches:
    """What one process trains on."""

    samples: Samples
    has_target: NDArray[np.bool_]
    """(sample,)"""
    target: int
    settings: BatchConfig
    augmentation: Augmentation
    seed: int
    stride: int
    """Edges are padded to multiples of this."""
    device: torch.device
    world: World

    @property
    def steps(self) -> int:
        """Steps of an epoch; the samples that fill no whole step are left for another epoch."""
        return max(1, len(self.samples) * self.settings.crops // self._step_size)

    @property
    def _step_size(self) -> int:
        return self.settings.size * self.settings.accumulate * self.world.size

    def epoch(self, number: int) -> Iterator[list[Batch]]:
        """The batches of each step."""
        order = self._order(number)
        for step in range(self.steps):
            rng = np.random.default_rng([self.seed, _STEP, number, step])
            where = rng.random((self._step_size, 4))
            draws = self.augmentation.draw(rng, self._step_size)
            rows = order[step * self._step_size : (step + 1) * self._step_size]
            step_batches = []
            for part in range(self.settings.accumulate):
                place = part * self.world.size + self.world.rank
                start = place * self.settings.size
                mine = slice(start, start + self.settings.size)
                images, labels = self._cut(rows[mine], where[mine])
                names = tuple(self.samples.name(row) for row in rows[mine])
                changed = Batch(*self.augmentation(images, labels, draws.part(mine)), names)
                mixing = np.random.default_rng([self.seed, _MIX, number, step, place])
                step_batches.append(mixed(changed, self.augmentation.settings.mixup, mixing))
            yield step_batches

    def _order(self, number: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self.seed, _ORDER, number])
        n, wanted = len(self.samples), max(self._step_size, len(self.samples) * self.settings.crops)
        if self.settings.positives:
            share = np.where(self.has_target, self.settings.positives / self.has_target.sum(), 0.0)
            rest = ~self.has_target
            share[rest] = (1 - self.settings.positives) / max(1, rest.sum())
            return rng.choice(n, wanted, p=share / share.sum())
        passes = [rng.permutation(n) for _ in range(-(-wanted // n))]
        return np.concatenate(passes)[:wanted]

    def _cut(self, rows: NDArray[np.int64], where: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        cuts = []
        for row, u in zip(rows.tolist(), where, strict=True):
            image, label = self.samples[row]
            values = counted(label, image, self.samples.ignore, IGNORED)
            if self.settings.crop:
                y, x = self._corner(image.shape[1:], values, u)
                window = (slice(y, y + self.settings.crop), slice(x, x + self.settings.crop))
                image = _filled(image[:, *window], self.settings.crop, 0)
                values = _filled(values[window], self.settings.crop, IGNORED) if values.ndim else values
            cuts.append((image, values))
        shapes = {image.shape for image, _ in cuts}
        if len(shapes) > 1:
            names = ", ".join(self.samples.name(row) for row in rows.tolist()[:5])
            raise ModelError(
                f"images of {self.samples.dataset.name} differ in size",
                got=f"{sorted(shapes)} among {names}",
                expected="one size",
                fix="--set batch.crop=256",
            )
        return stacked(cuts, self.stride, self.device)

    def _corner(self, shape: tuple[int, ...], values: NDArray[np.int64], u: NDArray[np.float64]) -> tuple[int, int]:
        crop = self.settings.crop
        space = [max(0, edge - crop) for edge in shape]
        if values.ndim and u[0] < self.settings.positive_share:
            hits = np.flatnonzero(values == self.target)
            if len(hits):
                middle = np.unravel_index(hits[int(u[1] * len(hits))], values.shape)
                jitter = (u[2:] - 0.5) * crop / 2
                wanted = [int(m + j) - crop // 2 for m, j in zip(middle, jitter, strict=True)]
                y, x = (min(max(w, 0), room) for w, room in zip(wanted, space, strict=True))
                return y, x
        return int(u[2] * (space[0] + 1)), int(u[3] * (space[1] + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class ValBatches:
    """What is validated on: every sample once, whole, unchanged, in the same batches each time."""

    samples: Samples
    size: int
    stride: int
    device: torch.device
    world: World

    def __iter__(self) -> Iterator[Batch]:
        """This process's share."""
        for number, rows in enumerate(self._groups()):
            if number % self.world.size == self.world.rank:
                yield self._batch(rows)

    def _batch(self, rows: list[int]) -> Batch:
        cuts = []
        for row in rows:
            image, label = self.samples[row]
            values = counted(label, image, self.samples.ignore, IGNORED)
            window = tuple(slice(max(0, edge - VAL_EDGE) // 2, None) for edge in image.shape[1:])
            window = tuple(slice(w.start, w.start + VAL_EDGE) for w in window)
            cuts.append((image[:, *window], values[window] if values.ndim else values))
        return Batch(*stacked(cuts, self.stride, self.device), tuple(self.samples.name(row) for row in rows))

    def _groups(self) -> Iterator[list[int]]:
        """Rows of images of one size that follow one another."""
        group: list[int] = []
        shape: tuple[int, ...] = ()
        for row in range(len(self.samples)):
            here = self.samples[row][0].shape
            pixels = min(here[1], VAL_EDGE) * min(here[2], VAL_EDGE)
            if group and (here != shape or len(group) >= self.size or len(group) * pixels >= VAL_PIXELS):
                yield group
                group = []
            group.append(row)
            shape = here
        if group:
            yield group


def stacked(
    cuts: list[tuple[NDArray[np.uint16], NDArray[np.int64]]], stride: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Images and labels of one size as tensors, padded at the lower right to multiples of ``stride``: no data.

    Of whole chips the middle is taken instead.
    """
    images = np.stack([image for image, _ in cuts]) * REFLECTANCE
    labels = np.stack([label for _, label in cuts])
    if labels.ndim == 3:
        down, right = -images.shape[2] % stride, -images.shape[3] % stride
        if down or right:
            images = np.pad(images, ((0, 0), (0, 0), (0, down), (0, right)))
            labels = np.pad(labels, ((0, 0), (0, down), (0, right)), constant_values=IGNORED)
    else:
        rows, cols = middle(images.shape[2:], stride)
        images = np.ascontiguousarray(images[:, :, rows, cols])
    return torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)


def _filled(array: NDArray, edge: int, value: int) -> NDArray:
    """The last two axes filled up to ``edge``."""
    down, right = edge - array.shape[-2], edge - array.shape[-1]
    if not (down or right):
        return array
    return np.pad(array, [(0, 0)] * (array.ndim - 2) + [(0, down), (0, right)], constant_values=value)
