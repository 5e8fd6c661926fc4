"""Fitting the two models: a U-Net at 10 m and a screen of single pixels at 80 m. Seeded, nothing random beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from regions import IGNORE, MINE, Sample

from minescale.kernels.indices import pair_names
from minescale.models.features import compile_features
from minescale.models.pixel import features_of
from minescale.models.spec import ModelSpec
from minescale.models.unet import UNet, build_unet, scale


def band_statistics(samples: Sequence[Sample]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of reflectance per band over all training pixels with data."""
    pixels = np.concatenate([s.fine[:, (s.fine != 0).all(axis=0)][:, ::7] for s in samples], axis=1) * np.float32(1e-4)
    mean, std = pixels.mean(axis=1, dtype=np.float64), pixels.std(axis=1, dtype=np.float64)
    return tuple(round(float(v), 5) for v in mean), tuple(round(float(v), 5) for v in std)


class Crops:
    """Draws crops, a share of them centred on mines, turned and mirrored at random."""

    def __init__(self, samples: Sequence[Sample], options: Mapping[str, Any], seed: int) -> None:
        self.samples, self.options = samples, options
        self.rng = np.random.default_rng(seed)
        self.mines = [np.argwhere(s.label == MINE) for s in samples]

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 (n, band, y, x) reflectance and uint8 (n, y, x) labels."""
        crops = [self._crop() for _ in range(self.options["batch"])]
        images, labels = zip(*crops, strict=True)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))

    def _crop(self) -> tuple[np.ndarray, np.ndarray]:
        rng, size = self.rng, self.options["crop"]
        which = int(rng.integers(len(self.samples)))
        sample = self.samples[which]
        rows, cols = sample.label.shape
        if rng.random() < self.options["mine_crops"]:
            y, x = self.mines[which][rng.integers(len(self.mines[which]))] + rng.integers(-size // 2, size // 2, 2)
            y, x = y - size // 2, x - size // 2
        else:
            y, x = rng.integers(rows), rng.integers(cols)
        y, x = int(np.clip(y, 0, rows - size)), int(np.clip(x, 0, cols - size))
        image = sample.fine[:, y : y + size, x : x + size]
        label = np.where((image == 0).any(axis=0), IGNORE, sample.label[y : y + size, x : x + size])
        gain = rng.uniform(1 - self.options["gain"], 1 + self.options["gain"], (len(image), 1, 1))
        image = (image * np.float32(1e-4) * gain).astype(np.float32)
        turns = int(rng.integers(4))
        image, label = np.rot90(image, turns, (1, 2)), np.rot90(label, turns)
        if rng.random() < 0.5:
            image, label = image[:, :, ::-1], label[:, ::-1]
        return np.ascontiguousarray(image), np.ascontiguousarray(label.astype(np.uint8))


def train_unet(
    samples: Sequence[Sample],
    options: Mapping[str, Any],
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
) -> tuple[UNet, list[float]]:
    """A U-Net trained with cross-entropy + Dice; returns it with its loss every 50 steps."""
    torch.manual_seed(seed)
    network = build_unet(len(options["bands"]), 2, options["width"], options["depth"])
    network = network.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=options["learning_rate"], weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options["learning_rate"], total_steps=options["steps"])
    crops = Crops(samples, options, seed)
    shape = (1, len(mean), 1, 1)
    centre, inverse = torch.tensor(mean).reshape(shape), 1 / torch.tensor(std).reshape(shape)
    history, recent = [], []
    for step in range(options["steps"]):
        image, label = crops.batch()
        logits = network(scale(image, centre, inverse).contiguous(memory_format=torch.channels_last))
        loss = segmentation_loss(logits[:, 1] - logits[:, 0], label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        recent.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            history.append(round(float(np.mean(recent)), 5))
            recent = []
    return network.eval(), history


def segmentation_loss(logit: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy plus Dice over the pixels that are not IGNORE."""
    known = (label != IGNORE).float()
    mine = (label == MINE).float()
    entropy = (F.binary_cross_entropy_with_logits(logit, mine, reduction="none") * known).sum() / known.sum()
    probability = torch.sigmoid(logit) * known
    overlap = 2 * (probability * mine).sum() + 1
    return entropy + 1 - overlap / (probability.sum() + mine.sum() + 1)


def shift_decision(network: UNet, threshold: float) -> None:
    """Move the head's bias so that the decision that fell at ``threshold`` falls at 0.5."""
    classes = network.head.out_channels // 4
    with torch.no_grad():
        network.head.bias.view(classes, 4)[1] -= float(np.log(threshold / (1 - threshold)))


def screen_features(options: Mapping[str, Any]) -> list[str]:
    """Bands, all normalised differences of two, and the named indices."""
    return [*options["bands"], *pair_names(options["bands"]), *options["features"]]


def train_screen(
    samples: Sequence[Sample], spec: ModelSpec, options: Mapping[str, Any], seed: int
) -> dict[str, np.ndarray]:
    """Weights of the screen: one hidden layer on scaled features, trained on all mine pixels and a draw of others."""
    rng = np.random.default_rng(seed)
    program = compile_features(spec.hyperparameters["features"], spec)
    rows, targets = [], []
    for sample in samples:
        share = sample.mine_share().ravel()
        pixels = sample.coarse.reshape(len(sample.coarse), -1)
        seen = (pixels != 0).all(axis=0)
        positive = np.flatnonzero(seen & (share >= options["share"]))
        other = np.flatnonzero(seen & (share == 0))
        drawn = rng.choice(other, min(len(other), options["negatives"] * max(len(positive), 200)), replace=False)
        chosen = np.concatenate([positive, drawn])
        rows.append(features_of(np.ascontiguousarray(pixels[:, chosen] * np.float32(1e-4)), program))
        targets.append(share[chosen] >= options["share"])
    values, target = np.nan_to_num(np.concatenate(rows, axis=1)), np.concatenate(targets)
    mean, std = values.mean(axis=1), np.maximum(values.std(axis=1), 1e-6)
    x = torch.from_numpy(np.clip((values - mean[:, None]) / std[:, None], -8, 8).T.copy())
    y = torch.from_numpy(target.astype(np.float32))
    torch.manual_seed(seed)
    hidden, output = torch.nn.Linear(len(values), options["hidden"]), torch.nn.Linear(options["hidden"], 1)
    parameters = [*hidden.parameters(), *output.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=options["learning_rate"], weight_decay=1e-3)
    weight = torch.tensor(float((~target).sum()) / float(target.sum()))
    for _ in range(options["epochs"]):
        order = torch.from_numpy(rng.permutation(len(y)))
        for part in order.split(4096):
            logit = output(torch.relu(hidden(x[part])))[:, 0]
            loss = F.binary_cross_entropy_with_logits(logit, y[part], pos_weight=weight)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return {
        "mean": mean.astype(np.float32),
        "std": std.astype(np.float32),
        "hidden.weight": hidden.weight.detach().numpy(),
        "hidden.bias": hidden.bias.detach().numpy(),
        "weight": output.weight.detach().numpy(),
        "bias": output.bias.detach().numpy(),
    }
