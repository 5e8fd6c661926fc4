"""What the numbers in a label raster mean: class names, the value to ignore, colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError

IGNORE = 255
"""Pixels that neither train nor count: edges, unlabelled ground."""


@dataclass(frozen=True, slots=True)
class ClassMap:
    """Classes by their value in a uint8 label raster: ``names[0]`` is value 0."""

    names: tuple[str, ...]
    colours: tuple[str, ...] = ()
    """``#rrggbb`` for each class, for palettes and previews; empty: no palette."""
    ignore: int | None = IGNORE
    """Value of pixels without a label; None: every pixel has one."""

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise UsageError("classes need different names", got=list(self.names), expected="one name for each value")
        if self.colours and len(self.colours) != len(self.names):
            raise UsageError(
                "classes and colours differ in number", got=f"{len(self.colours)} colours", expected=len(self.names)
            )
        if self.ignore is not None and not len(self.names) <= self.ignore <= 255:
            raise UsageError(
                "the ignore value is the value of a class, or no uint8",
                got=self.ignore,
                expected=f"{len(self.names)} to 255",
            )

    def value(self, name: str) -> int:
        """The value of a class.

        Raises
        ------
        UsageError
            for a class that is not in the map.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise UsageError("unknown class", got=name, expected=" | ".join(self.names)) from None

    def check(self, label: NDArray[Any], where: str) -> None:
        """Refuse a label raster with values that mean nothing.

        Parameters
        ----------
        label : array of integers, any shape.
        where : what it is, for the message.

        Raises
        ------
        UsageError
            naming the values that are neither a class nor the ignore value.
        """
        known = [*range(len(self.names)), *([] if self.ignore is None else [self.ignore])]
        strange = np.setdiff1d(np.unique(label), known)
        if strange.size:
            raise UsageError(
                f"{where} has values that are no class",
                got=strange[:10].tolist(),
                expected=", ".join(f"{value} {name}" for value, name in enumerate(self.names))
                + ("" if self.ignore is None else f", {self.ignore} ignored"),
            )

    def to_dict(self) -> dict[str, Any]:
        return {"names": list(self.names), "colours": list(self.colours), "ignore": self.ignore}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClassMap:
        return cls(tuple(values["names"]), tuple(values["colours"]), values["ignore"])


BINARY = ClassMap(("background", "mining"), ("#440154", "#fde725"))
THREE_CLASS = ClassMap(("background", "cloud", "mining"), ("#440154", "#21918c", "#fde725"), None)
"""The first seed's labels; colours are matplotlib's viridis at 0, 1/2 and 1."""
ASGM = ClassMap(("background", "asgm", "hauling road", "hut"), ("#440154", "#fde725", "#35b779", "#31688e"))
"""Artisanal and small-scale gold mining as the fifth seed delineates it."""
LOVEDA = ClassMap(
    ("background", "building", "road", "water", "barren", "forest", "agricultural"),
    ("#ffffff", "#ff0000", "#ffff00", "#0000ff", "#9f81b7", "#00ff00", "#ffc380"),
)
"""Land cover of LoveDA (Wang et al. 2021, arXiv:2110.08733), after :func:`from_loveda`."""


def from_loveda(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """LoveDA's own rasters, 0 = ignore and classes 1 to 7, to the values of :data:`LOVEDA`, any shape.

    Raises
    ------
    UsageError
        for any other value.
    """
    shifted = np.where(label == 0, IGNORE, label.astype(np.int16) - 1).astype(np.uint8)
    LOVEDA.check(shifted, "a label raster of LoveDA, once 0 became 255 and the others one less,")
    return shifted
