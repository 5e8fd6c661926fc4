"""A dataset as PyTorch's data loaders want it: a length, items by number, transforms on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.sets.dataset import Dataset

if TYPE_CHECKING:
    import torch

Transform = Callable[[NDArray[Any], NDArray[np.uint8] | int], tuple[NDArray[Any], NDArray[np.uint8] | int]]
"""Image (band, y, x) and mask (y, x) or class in, both out: what moves the image has to move the mask alike."""


@dataclass(frozen=True, slots=True)
class MiningDataset:
    """A map-style dataset over any :class:`~minescale.labels.sets.dataset.Dataset`; travels to loader processes.

    Images keep the set's numbers, as float32: normalisation belongs to the training, with constants of its own part.
    """

    dataset: Dataset
    transforms: tuple[Transform, ...] = ()
    """Applied in order."""

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Image float32 (band, y, x), and the mask int64 (y, x) or the class int64 ().

        Raises
        ------
        UsageError
            for a sample without a label.
        """
        import torch

        image, label = self.dataset[row]
        if label is None:
            raise UsageError(
                f"sample {self.dataset.samples['id'].iloc[row]} has no label", fix="subset the samples that have one"
            )
        for transform in self.transforms:
            image, label = transform(image, label)
        # Copies: flips are views that torch refuses, and nobody may write into the set's own pixels.
        pixels, target = np.array(image, np.float32, order="C"), np.array(label, np.int64, order="C")
        return torch.from_numpy(pixels), torch.from_numpy(target)

    def label_balance(self) -> dict[str, float]:
        """Share of each class: of samples where they are labelled whole, else of pixels that count."""
        names, ignore = self.dataset.classes.names, self.dataset.classes.ignore
        counts = np.zeros(256, np.int64)
        if "label" in self.dataset.samples and self.dataset.reader.mask(0) is None:
            labels = self.dataset.samples["label"].dropna().to_numpy(np.int64)
            counts += np.bincount(labels, minlength=256)
        else:
            for row in range(len(self)):
                mask = self.dataset.reader.mask(row)
                if mask is not None:
                    counts += np.bincount(mask.ravel(), minlength=256)
        if ignore is not None:
            counts[ignore] = 0
        total = int(counts.sum())
        if not total:
            raise UsageError(f"dataset {self.dataset.name} has no labels to count")
        return {name: float(counts[value] / total) for value, name in enumerate(names)}
