"""An evaluation as a folder: figures and raw counts as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minescale.evaluation.evaluate import Evaluation
from minescale.labels.sets.new_folder import new_folder

FIGURES, CONFUSION = "evaluation.json", "confusion.json"


def write_evaluation(evaluation: Evaluation, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write all files of an evaluation, or none.

    Parameters
    ----------
    overwrite : replace an evaluation that is there.

    Raises
    ------
    UsageError
        where the folder exists and may not be replaced.
    StoreError
        where it cannot be written.
    """
    with new_folder(folder, overwrite=overwrite, marks=(FIGURES,)) as made:
        _write(made / FIGURES, evaluation.to_dict())
        _write(made / CONFUSION, dict(evaluation.confusion))
    return Path(folder)


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
