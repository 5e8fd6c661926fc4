"""Fitting the two U-Nets, at 10 m and, as the screen, at 80 m. Seeded, nothing random beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from regions import BACKGROUND, IGNORE, MINE, Sample

from minescale.models.network import logarithm, scale
from minescale.models.spec import ModelSpec, trained_range
from minescale.models.unet import UNet, build_unet, default_halo
from minescale.types import Channel, physical_bands

Pair = tuple[np.ndarray, np.ndarray]
"""uint16 (band, y, x) composite and uint8 (y, x) labels."""
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def fine_pairs(samples: Sequence[Sample]) -> list[Pair]:
    return [(s.fine, s.label) for s in samples]


def coarse_pairs(samples: Sequence[Sample], share: float) -> list[Pair]:
    """A coarse pixel is MINE from a share of ``share`` on; with less of it, or where it is mined later, IGNORE."""
    pairs = []
    for sample in samples:
        mined, touched = sample.mine_share(), sample.mine_share(MINE, IGNORE)
        label = np.where(mined >= share, MINE, np.where(touched > 0, IGNORE, BACKGROUND)).astype(np.uint8)
        pairs.append((sample.coarse, label))
    return pairs


def band_statistics(pairs: Sequence[Pair], log: bool = False) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of reflectance, or of its ``log``, per band over all training pixels with data."""
    pixels = np.concatenate([i[:, (i != 0).all(axis=0)][:, ::7] for i, _ in pairs], axis=1) * np.float32(1e-4)
    if log:
        pixels = logarithm(torch.from_numpy(pixels)).numpy()
    mean, std = pixels.mean(axis=1, dtype=np.float64), pixels.std(axis=1, dtype=np.float64)
    return tuple(round(float(v), 5) for v in mean), tuple(round(float(v), 5) for v in std)


class Crops:
    """Draws crops, a share of them centred on mines, turned and mirrored at random."""

    def __init__(self, pairs: Sequence[Pair], options: Mapping[str, Any], seed: int) -> None:
        self.pairs, self.options = pairs, options
        self.rng = np.random.default_rng(seed)
        self.mines = [np.argwhere(label == MINE) for _, label in pairs]
        bands = physical_bands(options["bands"])
        self.band_of = [bands.index(Channel.parse(name).band) for name in options["bands"]]

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 (n, band, y, x) reflectance and uint8 (n, y, x) labels."""
        crops = [self._crop() for _ in range(self.options["batch"])]
        images, labels = zip(*crops, strict=True)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))

    def _crop(self) -> tuple[np.ndarray, np.ndarray]:
        rng, size = self.rng, self.options["crop"]
        which = int(rng.integers(len(self.pairs)))
        whole, labels = self.pairs[which]
        rows, cols = labels.shape
        if rng.random() < self.options["mine_crops"]:
            y, x = self.mines[which][rng.integers(len(self.mines[which]))] + rng.integers(-size // 2, size // 2, 2)
            y, x = y - size // 2, x - size // 2
        else:
            y, x = rng.integers(rows), rng.integers(cols)
        y, x = int(np.clip(y, 0, rows - size)), int(np.clip(x, 0, cols - size))
        image = whole[:, y : y + size, x : x + size]
        label = np.where((image == 0).any(axis=0), IGNORE, labels[y : y + size, x : x + size])
        gain = rng.uniform(1 - self.options["gain"], 1 + self.options["gain"], (max(self.band_of) + 1, 1, 1))
        gain = gain[self.band_of]  # channels of a band keep their ratios
        image = (image * np.float32(1e-4) * gain).astype(np.float32)
        turns = int(rng.integers(4))
        image, label = np.rot90(image, turns, (1, 2)), np.rot90(label, turns)
        if rng.random() < 0.5:
            image, label = image[:, :, ::-1], label[:, ::-1]
        return np.ascontiguousarray(image), np.ascontiguousarray(label.astype(np.uint8))


def train_unet(
    pairs: Sequence[Pair],
    options: Mapping[str, Any],
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
    loss_of: Loss | None = None,
) -> tuple[UNet, list[float]]:
    """A U-Net trained with ``loss_of`` (default: cross-entropy + Dice); returns it with its loss every 50 steps."""
    loss_of = loss_of or segmentation_loss
    torch.manual_seed(seed)
    network = build_unet(len(options["bands"]), 2, options["width"], options["depth"])
    network = network.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=options["learning_rate"], weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options["learning_rate"], total_steps=options["steps"])
    crops = Crops(pairs, options, seed)
    shape = (1, len(mean), 1, 1)
    centre, inverse = torch.tensor(mean).reshape(shape), 1 / torch.tensor(std).reshape(shape)
    history, recent = [], []
    for step in range(options["steps"]):
        image, label = crops.batch()
        if options.get("logarithm"):
            image = logarithm(image)
        logits = network(scale(image, centre, inverse).contiguous(memory_format=torch.channels_last))
        loss = loss_of(logits[:, 1] - logits[:, 0], label)
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


def screen_loss(mine_weight: float) -> Loss:
    """Cross-entropy in which a mine's pixel counts ``mine_weight`` times: a screen must not miss, so no Dice."""
    return partial(_weighted_entropy, weight=torch.tensor(mine_weight))


def _weighted_entropy(logit: torch.Tensor, label: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    known = (label != IGNORE).float()
    mine = (label == MINE).float()
    loss = F.binary_cross_entropy_with_logits(logit, mine, reduction="none", pos_weight=weight)
    return (loss * known).sum() / known.sum()


def shift_decision(network: UNet, threshold: float) -> None:
    """Move the head's bias so that the decision that fell at ``threshold`` falls at 0.5."""
    classes = network.head.out_channels // 4
    with torch.no_grad():
        network.head.bias.view(classes, 4)[1] -= float(np.log(threshold / (1 - threshold)))


def network_spec(
    name: str, version: str, options: Mapping[str, Any], mean: tuple, std: tuple, training: Mapping[str, Any], text: str
) -> ModelSpec:
    """What a package says of one of both networks; ``options`` are its part of the configuration."""
    return ModelSpec(
        name=name,
        version=version,
        family="unet",
        bands=tuple(options["bands"]),
        resolution=float(options["resolution"]),
        resolutions=trained_range(options["resolution"]),
        classes=("background", "mine"),
        target="mine",
        threshold=0.5,
        patch=options["patch"],
        halo=default_halo(options["depth"]),
        mean=mean,
        std=std,
        hyperparameters={key: options[key] for key in ("width", "depth", "logarithm") if key in options},
        training=training,
        licence="Apache-2.0",
        description=text,
    )
