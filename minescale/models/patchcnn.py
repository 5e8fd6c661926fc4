"""A small residual network that was taught whole chips and draws maps: one score for the square round each pixel.

Everything is a convolution or a mean, so a map costs one pass over the image, not one per position: features at an
eighth of the resolution are averaged over squares of the chip's size, then classified. Convolutions repeat the border
pixel instead of padding with zeros, so that a chip's border looks like ground, as it does inside a map.

Features are of a residual network of our own, or of EfficientNet-Lite on the image enlarged twofold, which can start
from weights that were taught on photographs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minescale.errors import ModelError
from minescale.models.efficientnet import PUBLISHED, SIZES, Encoder
from minescale.models.network import architecture, options_of
from minescale.models.spec import HALO_STEP, ModelSpec, nearest
from minescale.models.turns import tie

STRIDE = 8
COARSE = 16
"""Pixels between the coarsest features of EfficientNet on an image that is enlarged twofold."""
_SEEN = 96
"""Pixels to either side that features of EfficientNet on the enlarged image depend on for the most part, see
:mod:`minescale.models.efficientunet`."""
_DROP_PATH = 0.1

PUBLISHED_FEATURES = (*PUBLISHED, (r"^encoder\.", "features.encoder."))
"""Patterns for the tensor names of published weights of the encoder."""


class _Block(nn.Module):
    """Two convolutions and the way round them; ``stride`` 2 halves the resolution, ``symmetric`` with even kernels."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, symmetric: bool) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, stride, 4 if symmetric and stride > 1 else 3)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = _convolution(outputs, outputs, 1)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.way: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.way = nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first_norm(self.first(x)), inplace=True)
        return F.relu(self.second_norm(self.second(y)) + self.way(x), inplace=True)


def _convolution(inputs: int, outputs: int, stride: int, edge: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, edge, stride=stride, padding=1, bias=False, padding_mode="replicate")


class Residual(nn.Sequential):
    """(n, channel, y, x) -> (n, feature, y / 8, x / 8): residual blocks on the image folded by 2."""

    def __init__(self, channels: int, width: int, blocks: int, *, symmetric: bool) -> None:
        stages: list[nn.Module] = [
            _convolution(4 * channels, width, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        inputs = width
        for stage in range(3):
            for block in range(blocks):
                outputs = width << stage
                stages.append(_Block(inputs, outputs, 2 if stage and not block else 1, symmetric=symmetric))
                inputs = outputs
        super().__init__(*stages)
        self.outputs = inputs

    def forward(self, x: Tensor) -> Tensor:
        x = F.pixel_unshuffle(x, 2)
        for layer in self:
            x = layer(x)
        return x


class Enlarged(nn.Module):
    """(n, channel, y, x) -> (n, feature, y / 8, x / 8): EfficientNet-Lite on the image enlarged twofold.

    Its features at a sixteenth and at a thirty-second together, the coarser ones repeated. Where the image has no whole
    cells of 16 pixels, its border is repeated to the right and below.
    """

    def __init__(self, channels: int, size: str) -> None:
        super().__init__()
        self.encoder = Encoder(channels, size, _DROP_PATH, border="replicate")
        self.outputs = sum(self.encoder.widths[-2:])

    def forward(self, x: Tensor) -> Tensor:
        rows, cols = (edge // STRIDE for edge in x.shape[2:])
        x = F.pad(x, (0, -x.shape[3] % COARSE, 0, -x.shape[2] % COARSE), mode="replicate")
        enlarged = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        *_, fine, coarse = self.encoder(enlarged)
        features = torch.cat([fine, F.interpolate(coarse, scale_factor=2.0, mode="nearest")], dim=1)
        return features[:, :, :rows, :cols]


class PatchCNN(nn.Module):
    """(n, channel, y, x) scaled reflectance -> (n, class, y, x) logits; ``chip`` -> (n, class) of the whole image.

    ``features`` gives ``features.outputs`` channels at an eighth of the resolution.
    """

    def __init__(self, features: Residual | Enlarged, classes: int, chip: int, dropout: float) -> None:
        super().__init__()
        self.window = chip // STRIDE
        self.features = features
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * features.outputs, classes)

    def chip(self, x: Tensor) -> Tensor:
        features = self.features(x)
        pooled = [features.mean(dim=(2, 3)), features.amax(dim=(2, 3))]
        return self.head(self.dropout(torch.cat(pooled, dim=1)))

    def forward(self, x: Tensor) -> Tensor:
        size = self.window
        padded = pad_cells(self.features(x), size)
        pooled = torch.cat([F.avg_pool2d(padded, size, stride=1), F.max_pool2d(padded, size, stride=1)], dim=1)
        logits = F.linear(pooled.permute(0, 2, 3, 1), self.head.weight, self.head.bias).permute(0, 3, 1, 2)
        return to_pixels(logits, x.shape[2], x.shape[3], corners=size % 2 == 0)


def build(
    channels: int, classes: int, chip: int, width: int, blocks: int, dropout: float, *, symmetric: bool, encoder: str
) -> PatchCNN:
    """The network, random weights.

    ``symmetric``: weights are tied, so that a chip's logits are the same however it is turned or mirrored. ``encoder``:
    a size of EfficientNet-Lite in the place of the residual blocks, or empty.
    """
    if encoder:
        return PatchCNN(Enlarged(channels, encoder), classes, chip, dropout)
    features = Residual(channels, width, blocks, symmetric=symmetric)
    network = PatchCNN(features, classes, chip, dropout)
    if symmetric:
        tie(network, [features[0]], network.head, fold=2)  # type: ignore[list-item]
    return network


def pad_cells(cells: Tensor, size: int) -> Tensor:
    """Cells (n, feature, y, x) padded with their border, so that every square of ``size`` of them has its middle in the
    image: at the corners between cells, corner k at pixel 8 k, or in cells where ``size`` is odd."""
    before, after = size // 2, size - size // 2 if size % 2 == 0 else size // 2
    return F.pad(cells, (before, after, before, after), mode="replicate")


def to_pixels(logits: Tensor, rows: int, cols: int, *, corners: bool) -> Tensor:
    """Bilinear to every pixel, from values at the corners of cells (one more than cells) or at their middles."""
    if not corners:
        return F.interpolate(logits, size=(rows, cols), mode="bilinear", align_corners=False)
    # With the corners at pixels 0, 8, ..., n: n + 1 samples, of which the middles of pixels are means of neighbours.
    whole = F.interpolate(logits, size=(rows + 1, cols + 1), mode="bilinear", align_corners=True)
    return F.avg_pool2d(whole, 2, stride=1)


def from_spec(spec: ModelSpec) -> PatchCNN:
    """The network of a specification, random weights.

    Raises
    ------
    ModelError
        for options out of range.
    """
    options, usual = options_of(spec), architecture(spec.family).options
    width, blocks, dropout = int(options["width"]), int(options["blocks"]), float(options["dropout"])
    symmetric, encoder = bool(options["symmetric"]), str(options["encoder"] or "")
    if not (4 <= width <= 128 and 1 <= blocks <= 4 and 0 <= dropout < 1) or not spec.chip:
        raise ModelError(
            f"model {spec.name}: patchcnn",
            got=f"width {width}, blocks {blocks}, dropout {dropout}, chip {spec.chip}",
            expected="width 4 to 128, blocks 1 to 4, dropout in [0, 1), chip set",
        )
    if encoder and encoder not in SIZES:
        raise ModelError(f"model {spec.name}: encoder of patchcnn", got=encoder, expected=nearest(encoder, SIZES))
    unheeded = [name for name in ("width", "blocks", "symmetric") if options[name] != usual[name]]
    if encoder and unheeded:
        raise ModelError(
            f"model {spec.name}: hyperparameters that encoder {encoder} does not heed",
            got=", ".join(unheeded),
            fix="leave them out, or leave out encoder",
        )
    return build(
        len(spec.channels),
        len(spec.classes),
        spec.chip,
        width,
        blocks,
        dropout,
        symmetric=symmetric,
        encoder=encoder,
    )


def halo_of(options: Mapping[str, Any], chip: int | None) -> int:
    """Half a chip, the interpolation's cell, and what the convolutions see; of EfficientNet, most of it."""
    blocks = int(options["blocks"])
    reach = 2  # the fold and the first convolution, at half resolution
    for stage in range(3):
        step = 2 << stage
        for block in range(blocks):
            reach += (step // 2 if stage and not block else step) + step
    if options.get("encoder"):
        reach = _SEEN
    total = (chip or 0) // 2 + STRIDE + reach
    return int(math.ceil(total / HALO_STEP) * HALO_STEP)
