"""A split as a value: who trains, who validates, who tests, and by which rule that was decided."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.sets.dataset import Dataset

PARTS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Samples by part.

    Made by :mod:`minescale.labels.auditing.splitting`, judged by :mod:`minescale.labels.auditing.audit`.
    """

    parts: dict[str, str]
    """Sample id to one of :data:`PARTS`; an id that is missing belongs to none."""
    rule: str
    """How it was made: ``site``, ``block``, ``image``, ``column:country``, ``published``."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Fractions, seed, block size: enough to make it again."""

    def __post_init__(self) -> None:
        strange = sorted(set(self.parts.values()) - set(PARTS))
        if strange:
            raise UsageError("unknown part of a split", got=strange, expected=" | ".join(PARTS))

    def rows(self, dataset: Dataset, part: str) -> NDArray[np.intp]:
        """Rows of the dataset that belong to a part."""
        if part not in PARTS:
            raise UsageError("unknown part of a split", got=part, expected=" | ".join(PARTS))
        wanted = dataset.samples["id"].map(self.parts) == part
        return np.flatnonzero(wanted.to_numpy())

    def of(self, dataset: Dataset, part: str) -> Dataset:
        """The part as a dataset.

        Raises
        ------
        UsageError
            where no sample belongs to it.
        """
        return dataset.subset(self.rows(dataset, part), f"{dataset.name}/{part}")

    def to_json(self) -> str:
        return json.dumps({"rule": self.rule, "settings": self.settings, "parts": self.parts}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Split:
        values: Mapping[str, Any] = json.loads(text)
        return cls(parts=dict(values["parts"]), rule=values["rule"], settings=dict(values["settings"]))
