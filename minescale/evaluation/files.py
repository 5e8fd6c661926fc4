"""An evaluation as a folder: figures and raw counts as JSON, a page to look at, its cases as pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from minescale.evaluation.cases import find_cases
from minescale.evaluation.evaluate import Evaluation
from minescale.evaluation.page import write_page
from minescale.labels.auditing.audit import Audit
from minescale.labels.sets.new_folder import new_folder

FIGURES, CONFUSION, PAGE, CASES = "evaluation.json", "confusion.json", "report.html", "cases"


def write_evaluation(
    evaluation: Evaluation, folder: str | Path, *, audit: Audit | None = None, overwrite: bool = False
) -> Path:
    """Write all files of an evaluation, or none.

    Parameters
    ----------
    audit : of the split whose part was evaluated.
    overwrite : replace an evaluation that is there.

    Raises
    ------
    UsageError
        where the folder exists and may not be replaced.
    StoreError
        where it cannot be written.
    """
    from PIL import Image

    cases = find_cases(evaluation)
    with new_folder(folder, overwrite=overwrite, marks=(FIGURES,)) as made:
        _write(made / FIGURES, {**evaluation.to_dict(), "audit": None if audit is None else audit.to_dict()})
        _write(made / CONFUSION, dict(evaluation.confusion))
        write_page(evaluation, made / PAGE, audit, cases)
        (made / CASES).mkdir()
        for title, group in cases.items():
            name = re.sub(r"[^a-z]+", "-", title.lower()).strip("-")
            for k, case in enumerate(group, 1):
                strip = np.concatenate([picture for _, picture in case.pictures], axis=1)
                Image.fromarray(strip, "RGB").save(made / CASES / f"{name}-{k}.png")
    return Path(folder)


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
