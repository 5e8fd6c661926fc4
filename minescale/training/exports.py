"""Exports of a network for other programs: a folder with files, the specification and how far from torch they are."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from minescale.errors import ModelError
from minescale.labels.sets.new_folder import new_folder
from minescale.models.package import CARD, ITEM, ModelPackage
from minescale.models.predictor import ENGINES, need_libraries


def write_export(package: ModelPackage, out: str | Path, kind: str) -> dict[str, Any]:
    """Write ``pixels.onnx`` (or ``.xml`` and ``.bin``), for models of chips ``chips.onnx`` too; whole or not at all.

    ``export.json`` says what goes in and comes out; the model card and ``model.json`` lie beside it.

    Parameters
    ----------
    kind : ``onnx`` or ``openvino``.

    Returns
    -------
    dict
        what ``export.json`` holds.

    Raises
    ------
    ModelError
        for a model that is no network, a missing library, or an export that computes something else than torch.
    UsageError
        where ``out`` exists.
    """
    need_libraries(*ENGINES[kind])
    from minescale.models.engines import export, worst_difference
    from minescale.models.exported import Scorer
    from minescale.models.network import architectures

    spec = package.spec
    if spec.family not in architectures():
        raise ModelError(
            f"model {spec.name} is no network",
            got=f"family {spec.family}",
            expected=", ".join(architectures()),
            fix="minescale model band-math, for linear models",
        )
    facts: dict[str, Any] = {
        "model": spec.name,
        "version": spec.version,
        "digest": package.digest,
        "format": kind,
        "input": "reflectance: float32 (n, channel, y, x), 0-1, 0 = no data; scaling is part of the graph",
        "channels": list(spec.channels),
        "output": "probability: float32 (n, class, y, x); of chips (n, class)",
        "classes": list(spec.classes),
        "calibration": dict(spec.calibration),
        "context_px": spec.halo,
        # OpenVINO takes half precision where the processor has it, unless told otherwise.
        "settings": {"INFERENCE_PRECISION_HINT": "f32"} if kind == "openvino" else {},
        "differences": {},
    }
    with new_folder(out) as folder:
        for chips in (False, True) if spec.task == "chips" else (False,):
            made = export(package, folder, kind, chips=chips)
            name = "chips" if chips else "pixels"
            facts["differences"][name] = worst_difference(Scorer(package, chips=chips), package, made, kind)
            if kind == "onnx":
                made.rename(folder / f"{name}.onnx")
            else:
                _to_openvino(made, folder / f"{name}.xml")
        for file in (CARD, ITEM):
            shutil.copy(package.path / file, folder / file)
        (folder / "export.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def _to_openvino(made: Path, target: Path) -> None:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # see minescale.models.engines
    openvino: Any = importlib.import_module("openvino")
    # Weights stay float32: half precision would be a third of a per cent off.
    openvino.save_model(openvino.Core().read_model(made), target, compress_to_fp16=False)
    made.unlink()
