"""Folders that are there whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from minescale.errors import MinescaleError, StoreError, UsageError


@contextlib.contextmanager
def new_folder(path: str | Path, *, overwrite: bool = False, marks: tuple[str, ...] = ()) -> Iterator[Path]:
    """A hidden sibling to write into, which becomes ``path`` where the block ends well and vanishes where it does not.

    Parameters
    ----------
    overwrite : replace what is there, which then must hold one of the files ``marks``, so that a slip of the hand
        does not replace a folder that nobody here wrote.

    Raises
    ------
    UsageError
        where ``path`` exists and may not be replaced.
    StoreError
        where the folder cannot be written.
    """
    target = Path(path)
    if target.exists():
        if not overwrite:
            raise UsageError(f"{target} exists", fix="another folder, or overwrite")
        if not any((target / mark).is_file() for mark in marks):
            raise UsageError(
                f"{target} is not replaced", got="a folder without a dataset's description", expected=" or ".join(marks)
            )
    partial = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        partial.mkdir(parents=True)
        yield partial
        if target.exists():
            old = partial.with_suffix(".old")
            target.rename(old)
            partial.rename(target)
            shutil.rmtree(old)
        else:
            partial.rename(target)
    except MinescaleError:
        raise
    except OSError as error:
        raise StoreError(f"cannot write {target}", got=error, fix="free space, or write access") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
