"""A network of one hidden layer on the pixel table, which becomes a ``pixel`` model."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.models.spec import ModelSpec
from minescale.training.fitted import Fitted
from minescale.training.tables.library import sklearn
from minescale.training.tables.scaling import Scaling
from minescale.training.tables.settings import Settings
from minescale.training.tables.table import PixelTable


def fit_perceptron(train: PixelTable, val: PixelTable, spec: ModelSpec, settings: Settings, seed: int) -> Fitted:
    """Train by Adam, epoch by epoch, and keep the epoch with the lowest loss on the validation images.

    The library's own early stopping is not used: it would hold out single pixels of images that it trains on.

    Raises
    ------
    UsageError
        where a part lacks one side.
    """
    train.require_both("training")
    val.require_both("validation")
    options = settings.options
    scaling = Scaling.of(train.x)
    x, held_out = scaling(train.x), scaling(val.x)
    model = sklearn("neural_network").MLPClassifier(
        hidden_layer_sizes=(options["hidden"],),
        alpha=options["l2"],
        batch_size=min(options["batch"], len(train)),
        learning_rate_init=options["learning_rate"],
        random_state=seed,
    )
    log_loss = sklearn("metrics").log_loss
    epochs: list[dict[str, Any]] = []
    best, lowest, waited = model, np.inf, 0
    for epoch in range(1, options["epochs"] + 1):
        model.partial_fit(x, train.inside, classes=[False, True])
        loss = float(log_loss(val.inside, model.predict_proba(held_out), labels=[False, True]))
        epochs.append({"epoch": epoch, "train_loss": float(model.loss_), "val_loss": loss})
        if loss < lowest:
            best, lowest, waited = copy.deepcopy(model), loss, 0
        else:
            waited += 1
            if waited >= options["patience"]:
                break
    return Fitted(
        spec=spec.replace(
            family="pixel", hyperparameters={"features": list(train.features), "hidden": options["hidden"]}
        ),
        weights={"mean": scaling.mean, "std": scaling.std, **_tensors(best)},
        history={"epochs": epochs},
        facts={
            "best_epoch": int(np.argmin([e["val_loss"] for e in epochs])) + 1,
            "epochs": len(epochs),
            "monitor": "val_loss",
            "log_loss": {"held_out": lowest},
        },
    )


def _tensors(model: Any) -> dict[str, NDArray[np.float32]]:
    (first, last), (hidden_bias, bias) = model.coefs_, model.intercepts_
    named = {"hidden.weight": first.T, "hidden.bias": hidden_bias, "weight": last.T, "bias": bias}
    return {name: np.ascontiguousarray(array, np.float32) for name, array in named.items()}
