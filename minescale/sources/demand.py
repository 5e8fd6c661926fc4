"""Which part of a target anybody will look at, cell by cell: blocks that only fill the rest need not be read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """Cells of one layer's target."""

    cells: NDArray[np.bool_]
    """(y, x) whether a pixel of the cell is looked at."""
    size: int
    """Target pixels along a cell's edge."""
    shift: int = 0
    """Columns by which the first cell begins before the target."""

    @property
    def everywhere(self) -> bool:
        """Whether every cell is looked at."""
        return bool(self.cells.all())

    def anywhere(self, row0: int, row1: int, col0: int, col1: int) -> bool:
        """Whether a pixel of these target rows and columns may be looked at."""
        across = slice((col0 + self.shift) // self.size, -(-(col1 + self.shift) // self.size))
        return bool(self.cells[row0 // self.size : -(-row1 // self.size), across].any())
