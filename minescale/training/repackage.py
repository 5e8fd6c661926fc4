"""Weights that lie in a file, of a training or from elsewhere, as a package of a specification that is known."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import ModelError, UsageError
from minescale.labels.sets.new_folder import new_folder
from minescale.models.network import build_network, is_weight, load_weights
from minescale.models.package import CARD, ModelPackage, load_package, write_package
from minescale.training.folder import CONFIG, PACKAGE
from minescale.training.loop import BEST, FINAL

_HEADING = "## Repackaged"


def repackage(source: str | Path, out: str | Path, *, which: str = "best", like: str | None = None) -> ModelPackage:
    """A package of a training's weights, or of those in a safetensors file.

    A training's package carries the best weights, with threshold, calibration and scores that were measured with them.
    Others keep threshold and calibration and lose the scores, and the card says so; a keep-threshold
    was promised for the weights it was measured with, and is taken out.

    Parameters
    ----------
    source : folder of a training, or a ``.safetensors`` file.
    which : ``best`` or ``final`` weights of a training.
    like : package whose specification the weights of a file belong to.

    Raises
    ------
    ModelError
        for pickled weights, or tensors that do not fit the network.
    UsageError
        where the training is not finished, or it is not said what the weights of a file belong to.
    """
    path = Path(source)
    if path.is_dir() and (path / CONFIG).is_file():
        if not (path / PACKAGE).is_dir():
            raise UsageError(
                f"the training in {path} is not finished",
                expected=PACKAGE,
                fix="minescale train again, which goes on",
            )
        made = load_package(path / PACKAGE)
        file = path / (BEST if which == "best" else FINAL)
        if which == "best" or not file.is_file():
            if which != "best":
                raise UsageError(f"the training in {path} has no such weights", expected=file.name)
            with new_folder(out) as folder:
                shutil.copytree(made.path, folder, dirs_exist_ok=True)
            return load_package(out)
    elif path.suffix == ".safetensors":
        if like is None:
            raise UsageError(f"which model do the weights in {path} belong to?", fix="--like PKG")
        made, file = load_package(like), path
    else:
        load_package(path)  # which names pickles, and what to do with them
        raise UsageError(f"{path} is a package already", expected="the folder of a training, or a safetensors file")
    weights = _weights(file, made)
    card = (made.path / CARD).read_text(encoding="utf-8").partition(_HEADING)[0].rstrip()
    note = (
        f"{_HEADING}\n\nThe weights are those of `{file.name}`. Threshold and calibration are those of {made.spec.name}"
        " and were not measured with these weights; scores above are not theirs either, and no keep-threshold is set."
    )
    spec = made.spec.replace(keep_threshold=None, expected_survivors=None)
    with new_folder(out) as folder:
        write_package(folder, spec, weights, f"{card}\n\n{note}", {"weights": {"file": file.name, "like": made.digest}})
    return load_package(out)


def _weights(file: Path, package: ModelPackage) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not file.is_file():
        raise ModelError("weights do not exist", got=file, expected="a safetensors file")
    try:
        found = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"weights in {file} cannot be read", got=error, expected="safetensors") from error
    weights = {name: array.astype(np.float32) for name, array in found.items() if is_weight(name)}
    load_weights(build_network(package.spec), package.spec, weights)
    return weights
