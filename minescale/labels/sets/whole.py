"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file that takes the place of ``path`` at the end; after an error nothing is left of it.

    Raises
    ------
    OSError
        where it cannot take that place; what was there stays.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)  # noqa: PTH105  (atomic by contract)
    finally:
        partial.unlink(missing_ok=True)
