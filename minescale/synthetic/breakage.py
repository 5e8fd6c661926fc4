"""Scenes that are broken on purpose, one of each kind, beside the good ones."""

from __future__ import annotations

import copy
import datetime as dt
import os
import shutil
from pathlib import Path
from typing import Any

from minescale.synthetic.catalog import COLLECTION

KINDS = ("truncated", "empty-file", "missing-asset", "no-mask", "wrong-offset", "missing-file")
"""In the order in which they are added; each item names its kind under ``minescale:broken``."""


def break_scenes(folder: Path, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Damaged copies of good scenes, one day later: a truncated and an empty file, an item without its red band, one
    without a mask, one whose baseline contradicts its pixels, one whose near-infrared file is not there.

    Returns the new items; their files lie in ``folder`` already.
    """
    clear = sorted(items, key=lambda i: (i["properties"]["eo:cloud_cover"], i["id"]))
    without_offset = [i for i in clear if float(i["properties"]["s2:processing_baseline"]) < 4] or clear
    made = []
    for k, kind in enumerate(KINDS):
        source = without_offset[0] if kind == "wrong-offset" else clear[k % len(clear)]
        item = copy.deepcopy(source)
        moment = dt.datetime.fromisoformat(source["properties"]["datetime"]) + dt.timedelta(days=1, minutes=k)
        head, _, tail = source["id"].partition("_MSIL2A_")
        item["id"] = f"{head}_MSIL2A_{moment:%Y%m%dT%H%M%S}_{tail.split('_', 1)[1]}"
        item["properties"]["datetime"] = f"{moment:%Y-%m-%dT%H:%M:%S.024000Z}"
        item["properties"]["minescale:broken"] = kind
        home, origin = folder / COLLECTION / item["id"], folder / COLLECTION / source["id"]
        home.mkdir(parents=True)
        for file in origin.glob("*.tif"):
            _link(file, home / file.name)
        _damage(kind, item, home)
        made.append(item)
    return made


def _damage(kind: str, item: dict[str, Any], home: Path) -> None:
    red, nir = home / "B04.tif", home / "B08.tif"
    first = next(iter(sorted(home.glob("B*.tif"))))
    if kind == "truncated":
        target = red if red.exists() else first
        _own(target)
        with target.open("r+b") as file:
            file.truncate(target.stat().st_size * 2 // 5)
    elif kind == "empty-file":
        target = red if red.exists() else first
        target.unlink()
        target.touch()
    elif kind == "missing-asset":
        target = red if red.exists() else first
        del item["assets"][target.stem]
    elif kind == "no-mask":
        del item["assets"]["SCL"]
    elif kind == "wrong-offset":
        item["properties"]["s2:processing_baseline"] = "05.09"
    elif kind == "missing-file":
        (nir if nir.exists() else first).unlink()


def _link(source: Path, target: Path) -> None:
    """A hard link where the file system has them: the damaged scenes then cost almost no space."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _own(path: Path) -> None:
    """Replace a link by a copy, so that damage stays in this scene."""
    scratch = path.with_suffix(".copy")
    shutil.copyfile(path, scratch)
    scratch.replace(path)
