"""The folder of a training: what lies in it, and when an earlier one in it may be continued or replaced."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minescale.errors import StoreError, UsageError
from minescale.labels.sets.whole import whole

CONFIG, HISTORY, CURVES, PACKAGE = "config.json", "training_history.json", "curves.png", "package"
SPLIT = "split.json"


def check_folder(out: Path) -> None:
    """Refuse a folder that holds something else than a training.

    Raises
    ------
    UsageError
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is no folder", fix="another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / CONFIG).is_file():
        raise UsageError(f"{out} holds something else than a training", expected=CONFIG, fix="another --out")


def begin_folder(out: Path, record: Mapping[str, Any], *, resume: bool) -> None:
    """Make the folder and write what is trained; without ``resume`` an earlier training in it is removed first.

    Raises
    ------
    UsageError
        where it holds something else than a training.
    StoreError
        where it cannot be written.
    """
    check_folder(out)
    try:
        for path in () if resume else [*out.glob("*.safetensors"), out / CONFIG, out / HISTORY, out / CURVES]:
            path.unlink(missing_ok=True)
        if not resume:
            shutil.rmtree(out / PACKAGE, ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {out}", got=error, fix="a writable folder") from error
    write_json(out / CONFIG, record)


def write_json(path: Path, values: Any) -> None:
    """Write JSON values, whole or not at all.

    Raises
    ------
    StoreError
        where they cannot be written.
    """
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    try:
        with whole(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {path}", got=error, fix="a writable folder") from error
