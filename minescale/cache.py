"""What is made once and kept for later: the cache folder, and a lock so that one process makes it while others wait."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """``cache_dir``, else ``$MINESCALE_CACHE``, else the user's cache folder."""
    if cache_dir is not None:
        return Path(cache_dir).expanduser().absolute()
    if os.environ.get("MINESCALE_CACHE"):
        return Path(os.environ["MINESCALE_CACHE"]).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "minescale"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time per lock file. The system drops the lock with its process, so none goes stale."""
    try:
        import fcntl
    except ImportError:
        # Without file locks two callers may both make it; the rename still lets only whole things appear.
        yield
        return
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
