"""A network as an ONNX file: reflectance in, probabilities out, for images of any number and fitting size."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from minescale.errors import ModelError
from minescale.models.network import InputScaling, architecture, build_network, load_weights
from minescale.models.package import ModelPackage
from minescale.models.predictor import need_libraries
from minescale.models.turns import untie

INPUT, OUTPUT = "reflectance", "probability"
OPSET = 18
_MOST_IMAGES, _MOST_PIXELS = 4096, 8192
"""Largest number of images and edge that the file's shapes allow."""


class Scorer(nn.Module):
    """All that lies between (n, channel, y, x) reflectance 0-1, 0 = no data, and probabilities.

    ``chips``: (n, class) of whole chips, else (n, class, y, x).
    """

    def __init__(self, package: ModelPackage, *, chips: bool) -> None:
        super().__init__()
        self.network = untie(load_weights(build_network(package.spec), package.spec, package.weights()).eval())
        self.scaling = InputScaling(package.spec)
        self.chips = chips

    def forward(self, x: Tensor) -> Tensor:
        scaled = self.scaling(x)
        logits: Tensor = self.network.chip(scaled) if self.chips else self.network(scaled)  # type: ignore[operator]
        return torch.softmax(logits, dim=1)


def example_input(package: ModelPackage) -> Tensor:
    """Two images of the smallest uneven shape that shows a network at work, the same every time."""
    edge = max(architecture(package.spec.family).stride, 32)
    shape = (2, len(package.spec.channels), 2 * edge, 3 * edge)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.01


def write_onnx(scorer: Scorer, package: ModelPackage, path: Path) -> None:
    """Write the network as one ONNX file with its specification in the metadata (key ``minescale``).

    Input ``reflectance``: float32 (n, channel, y, x), 0-1, 0 = no data, edges multiples of the network's stride.
    Output ``probability``: float32 (n, class, y, x), of a scorer of chips (n, class).

    Raises
    ------
    ModelError
        where the libraries are not installed, or the network has a part that ONNX does not.
    """
    need_libraries("onnx", "onnxscript")
    import onnx

    stride = architecture(package.spec.family).stride
    most = _MOST_PIXELS // stride
    # The strides that all edges are multiples of are part of the shapes, so that no network has to guess them.
    shapes = {
        0: torch.export.Dim("n", min=1, max=_MOST_IMAGES),
        2: stride * torch.export.Dim("rows", min=1, max=most),
        3: stride * torch.export.Dim("cols", min=1, max=most),
    }
    try:
        with torch.inference_mode(False), _quiet():
            program = torch.onnx.export(
                scorer,
                (example_input(package),),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=(shapes,),
            )
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"model {package.spec.name} cannot be exported",
            got=str(error).strip().split("\n")[0][:300],
            expected="a network whose every operation ONNX has",
            fix="--device cpu or cuda",
        ) from error
    if program is None:
        raise ModelError(f"model {package.spec.name} cannot be exported", got="no program")
    model = program.model_proto
    onnx.helper.set_model_props(model, {"minescale": json.dumps(_facts(package, chips=scorer.chips), sort_keys=True)})
    onnx.save_model(model, path)


def _facts(package: ModelPackage, *, chips: bool) -> dict[str, object]:
    """What whoever runs the file has to know; JSON values."""
    spec = package.spec
    return {
        "name": spec.name,
        "version": spec.version,
        "digest": package.digest,
        "channels": list(spec.channels),
        "classes": list(spec.classes),
        "target": spec.target,
        "threshold": spec.threshold,
        "resolution_m": spec.resolution,
        "halo": spec.halo,
        "patch": spec.patch,
        "stride": architecture(spec.family).stride,
        "scores": "chips" if chips else "pixels",
        "input": "reflectance 0-1, 0 = no data; scaling is part of the graph",
        "calibration": dict(spec.calibration),
        "licence": spec.licence,
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of libraries that it does without, and of its own deprecated parts."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
