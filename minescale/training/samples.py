"""A part of a set as training takes it: images and labels checked sample by sample, decoded once where they fit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import psutil
from numpy.typing import NDArray

from minescale.errors import ModelError
from minescale.labels.sets.dataset import Dataset
from minescale.models.spec import Task

MEMORY_SHARE = 0.4
"""Of the free memory that decoded images may take; a larger set is read anew in every epoch."""

Sample = tuple[NDArray[np.uint16], NDArray[np.uint8]]
"""Image (band, y, x), reflectance x 1e4, 0 = no data; labels (y, x), or () for a whole chip."""


@dataclass(slots=True)
class Samples:
    """Images of one part with their labels; raises :class:`ModelError` that names the sample where one is unusable."""

    dataset: Dataset
    """As :func:`minescale.labels.sets.units.as_reflectance` gives it."""
    task: Task
    ignore: int | None = None
    _kept: dict[int, Sample] = field(default_factory=dict)
    _keep: bool = False

    @classmethod
    def of(cls, dataset: Dataset, task: Task) -> Samples:
        """The samples of a set.

        Raises
        ------
        ModelError
            where the set's labels are not what the task needs.
        """
        masked = dataset.reader.mask(0) is not None
        if masked != (task == "pixels"):
            raise ModelError(
                f"this family is taught {task}, and {dataset.name} labels {'pixels' if masked else 'whole chips'}",
                fix="a family of the other task, or another set",
            )
        if not masked and "label" not in dataset.samples:
            raise ModelError(f"dataset {dataset.name} has no labels", expected="masks, or a column label")
        found = cls(dataset, task, dataset.classes.ignore)
        bytes_each = dataset.reader.image(0).size * (3 if masked else 2)
        found._keep = bytes_each * len(dataset) < MEMORY_SHARE * psutil.virtual_memory().available
        return found

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> Sample:
        """Image and labels of a row; pixels without data carry no label where the set has a value for that."""
        if row in self._kept:
            return self._kept[row]
        image = np.ascontiguousarray(self.dataset.reader.image(row))
        sample = image, self._label(row, image)
        if not image.any():
            raise ModelError(f"sample {self.name(row)} has no pixel with data", fix="leave it out of the split")
        if self._keep:
            self._kept[row] = sample
        return sample

    def __iter__(self) -> Iterator[Sample]:
        return (self[row] for row in range(len(self)))

    def name(self, row: int) -> str:
        return str(self.dataset.samples["id"].iloc[row])

    def _label(self, row: int, image: NDArray[np.uint16]) -> NDArray[np.uint8]:
        name, classes = self.name(row), self.dataset.classes
        if self.task == "chips":
            label = self.dataset.samples["label"].iloc[row]
            if label is None or label != label:  # noqa: PLR0124  (NaN)
                raise ModelError(f"sample {name} has no label", fix="leave it out of the split")
            value = np.array(int(label))
            classes.check(value, f"sample {name}")
            if value == self.ignore:
                raise ModelError(f"sample {name} is labelled as to be ignored", fix="leave it out of the split")
            return value.astype(np.uint8)
        mask = self.dataset.reader.mask(row)
        if mask is None:
            raise ModelError(f"sample {name} has no mask", fix="leave it out of the split")
        if mask.shape != image.shape[1:]:
            raise ModelError(f"sample {name}: image and mask differ", got=mask.shape, expected=image.shape[1:])
        classes.check(mask, f"the mask of sample {name}")
        return np.ascontiguousarray(mask, np.uint8)


def counted(label: NDArray[np.uint8], image: NDArray[np.uint16], ignore: int | None, code: int) -> NDArray[np.int64]:
    """Labels as int64 with ``code`` where there is none: ignored pixels, and those without data in some band."""
    values = label.astype(np.int64)
    if ignore is not None:
        values[values == ignore] = code
    if label.ndim:
        values[(image == 0).any(axis=0)] = code
    return values


def class_counts(samples: Samples) -> tuple[NDArray[np.int64], NDArray[np.bool_], str]:
    """What a training part holds.

    Returns
    -------
    (class,) labels that count, (sample, class) whether a sample has any, and the SHA-256 of all labels.

    Raises
    ------
    ModelError
        naming the classes without a label: nothing could be learned of them.
    """
    names = samples.dataset.classes.names
    each = np.zeros((len(samples), len(names)), np.int64)
    checksum = hashlib.sha256()
    for row, (image, label) in enumerate(samples):
        checksum.update(label.tobytes())
        values = counted(label, image, samples.ignore, -1).ravel()
        each[row] = np.bincount(values[values >= 0], minlength=len(names))
    total = each.sum(axis=0)
    if not total.all():
        empty = [name for name, count in zip(names, total, strict=True) if not count]
        raise ModelError(
            f"the training part of {samples.dataset.name} has no label of a class",
            got=", ".join(empty),
            expected="every class",
            fix="another split",
        )
    return total, each > 0, checksum.hexdigest()
