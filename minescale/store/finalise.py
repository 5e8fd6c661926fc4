"""The end of a run: overviews, summary, consolidated metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minescale.store.backend import consolidate, open_root, storing, sweep
from minescale.store.layout import plain_json
from minescale.store.mosaic import Mosaic
from minescale.store.overviews import build_overviews

SUMMARY = "minescale:summary"
"""Root attribute that :func:`finalise` writes."""


def finalise(path: str | Path, summary: Mapping[str, Any]) -> None:
    """Make the store at ``path`` ready to publish. No writer may be active. Repeating it changes nothing.

    ``summary`` is JSON and becomes the root attribute ``minescale:summary``. Keep clocks and durations out of it: two
    runs of one plan are byte-identical only while it holds what follows from the plan and the pixels.

    Raises
    ------
    UsageError
        ``summary`` is not JSON.
    StoreError
        The store cannot be read or written.
    """
    plain = plain_json(summary, "summary")
    mosaic = Mosaic.open(path, "r+")
    with storing(path, "finalise the mosaic"):
        sweep(path)
        build_overviews(mosaic)
        open_root(path, read_only=False, consolidated=False).attrs.update({SUMMARY: plain})
        consolidate(path)
