"""Where the bytes lie: a folder or an object store, and how its failures are named."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import zarr
from zarr.abc.store import Store
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore

from minescale.errors import MinescaleError, StoreError

RESUME = "free the cause and repeat the same command: finished tiles are kept"

_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial$")
"""Zarr writes a chunk next to its place and renames it; a killed writer leaves such a file, which no reader opens."""


def is_url(path: str | Path) -> bool:
    return "://" in str(path)


def open_store(path: str | Path, *, read_only: bool) -> Store:
    """Zarr store of a local folder, or of a URL that fsspec knows (s3://, gs://, abfs://)."""
    if is_url(path):
        return FsspecStore.from_url(str(path), read_only=read_only)
    return LocalStore(Path(path), read_only=read_only)


def open_root(path: str | Path, *, read_only: bool, consolidated: bool | None = None) -> zarr.Group:
    """Root group. ``consolidated=False`` reads each node's own metadata, for code that is about to change it."""
    if not is_url(path) and not Path(path).is_dir():  # a writable LocalStore would create the folder
        raise FileNotFoundError(f"no such folder: {path}")
    store = open_store(path, read_only=read_only)
    return zarr.open_group(store, mode="r" if read_only else "r+", zarr_format=3, use_consolidated=consolidated)


def open_array(root: zarr.Group, path: str) -> zarr.Array:
    """Array of an open group. Chunks of nothing but fill values are not stored, whatever the user's Zarr settings."""
    return cast("zarr.Array", root[path]).with_config({"write_empty_chunks": False})


def remove_children(path: str | Path) -> None:
    """Delete everything below the root group, whole or half-made, but not the root's own metadata."""
    store = open_store(path, read_only=False)

    async def names() -> list[str]:
        return [name async for name in store.list_dir("")]

    for name in sync(names()):
        if name != "zarr.json" and not _PARTIAL.search(name):
            sync(store.delete_dir(name))


def consolidate(path: str | Path) -> zarr.Group:
    """Write consolidated metadata; returns the root group that carries it."""
    with warnings.catch_warnings():
        # Zarr v3 has no consolidated metadata in its specification yet; xarray and zarr-python read it.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        return zarr.consolidate_metadata(open_store(path, read_only=False), zarr_format=3)


def sweep(path: str | Path) -> int:
    """Remove what killed writers left behind in a local store; returns the number of files. No writer may be active."""
    if is_url(path):
        return 0
    count = 0
    for leftover in Path(path).rglob("*.partial"):
        if _PARTIAL.search(leftover.name):
            leftover.unlink(missing_ok=True)
            count += 1
    return count


def stored_blocks(array: zarr.Array, time: int) -> set[tuple[int, int]]:
    """(y, x) indices of the chunks, or shards, of one period that exist in the store."""

    async def keys() -> list[str]:
        return [key async for key in array.store.list_prefix(f"{array.path}/c/{time}/")]

    found = set()
    for key in sync(keys()):
        y, x = key.rsplit("/", 2)[-2:]
        if y.isdigit() and x.isdigit():
            found.add((int(y), int(x)))
    return found


@contextlib.contextmanager
def storing(path: str | Path, action: str) -> Iterator[None]:
    """Name what failed: full disk, read-only folder, missing permission, broken chunk become StoreError."""
    try:
        yield
    except MinescaleError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise StoreError(
            f"cannot {action} in {path}",
            got=f"{type(error).__name__}: {error}",
            expected="a store that can be read, and written where the run writes",
            fix=RESUME,
        ) from error
