"""ResNet-34 with a head of one layer: it is taught whole chips, resized, and draws maps of the squares round pixels.

After He et al. 2016 (doi:10.1109/CVPR.2016.90), with the tensor names that ImageNet weights usually have. Convolutions
repeat the border pixel instead of padding with zeros, so that a chip's border looks like ground, as inside a map.

A chip of ``chip`` pixels is resized bilinearly to ``input_px``. For a map the image is enlarged by the same factor,
features are averaged over squares of a chip's size, classified, and the logits interpolated to the pixels: one pass,
not one per position. Features lie 32 enlarged pixels apart; where ``input_px / chip`` is a multiple of 4 they lie on
the same ground in every tile, and tiles agree exactly. Elsewhere (224 / 48) they agree as far as interpolation does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minescale.errors import ModelError
from minescale.models.network import options_of
from minescale.models.spec import HALO_STEP, ModelSpec

STRIDE = 32
_DEPTHS = (3, 4, 6, 3)
_WIDTH = 64
_REACH = 449
"""Enlarged pixels to either side that a feature depends on."""


class _Block(nn.Module):
    """Two convolutions and the way round them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = _convolution(outputs, outputs, 3, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x), inplace=True)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    made = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False, padding_mode="replicate")
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made


class ResNet34(nn.Module):
    """(n, channel, y, x) scaled reflectance -> (n, class, y, x) logits; ``chip`` -> (n, class) of the whole image."""

    def __init__(self, channels: int, outputs: int, chip: int, input_px: int, dropout: float) -> None:
        super().__init__()
        self.chip_px, self.input_px = chip, input_px
        self.conv1 = _convolution(channels, _WIDTH, 7, 2)
        self.bn1 = nn.BatchNorm2d(_WIDTH)
        inputs = _WIDTH
        for stage, depth in enumerate(_DEPTHS):
            outputs_of = _WIDTH << stage
            blocks = [_Block(outputs_of if i else inputs, outputs_of, 1 if i or not stage else 2) for i in range(depth)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            inputs = outputs_of
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(inputs, outputs)

    def features(self, x: Tensor) -> Tensor:
        """(n, channel, y, x), enlarged -> (n, 512, y / 32, x / 32)."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for stage in range(len(_DEPTHS)):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return x

    def single(self, x: Tensor) -> Tensor:
        """The head's own output for whole images: (n, outputs), one column where ``outputs`` is 1."""
        edges = (self.input_px, self.input_px)
        if x.shape[2:] != edges:
            smaller = x.shape[2] > self.input_px
            x = F.interpolate(x, size=edges, mode="bilinear", align_corners=False, antialias=smaller)
        return self.fc(self.dropout(self.features(x).mean(dim=(2, 3))))

    def chip(self, x: Tensor) -> Tensor:
        return _as_classes(self.single(x))

    def forward(self, x: Tensor) -> Tensor:
        rows, cols = x.shape[2:]
        factor, window = self.input_px / self.chip_px, self.input_px // STRIDE
        if self.input_px != self.chip_px:
            x = F.interpolate(
                x,
                scale_factor=factor,
                mode="bilinear",
                align_corners=False,
                recompute_scale_factor=False,
                antialias=factor < 1,
            )
        x = F.pad(x, (0, -x.shape[3] % STRIDE, 0, -x.shape[2] % STRIDE), mode="replicate")
        margin = window // 2
        padded = F.pad(self.features(x), (margin,) * 4, mode="replicate")
        pooled = F.avg_pool2d(padded, window, stride=1)
        logits = _as_classes(F.linear(pooled.permute(0, 2, 3, 1), self.fc.weight, self.fc.bias).permute(0, 3, 1, 2))
        # The middle of square k lies this far from the image's border, in pixels.
        step, first = STRIDE / factor, (window / 2 - margin) * STRIDE / factor
        down = _interpolation(rows, logits.shape[2], step, first).to(logits)
        across = _interpolation(cols, logits.shape[3], step, first).to(logits)
        return torch.einsum("yr,ncrs,xs->ncyx", down, logits, across)


def _as_classes(logits: Tensor) -> Tensor:
    """One output z becomes the logits (0, z) of two classes: their softmax is the sigmoid of z."""
    if logits.shape[1] > 1:
        return logits
    return torch.cat([torch.zeros_like(logits), logits], dim=1)


def _interpolation(pixels: int, samples: int, step: float, first: float) -> Tensor:
    """Linear interpolation as a matrix (pixel, sample): sample k lies at ``first + k step``, pixel i at ``i + 0.5``."""
    where = ((torch.arange(pixels) + 0.5 - first) / step).clamp(0, samples - 1)
    return (1 - (where[:, None] - torch.arange(samples)[None]).abs()).clamp(min=0)


def from_spec(spec: ModelSpec) -> ResNet34:
    """The network of a specification, random weights.

    Raises
    ------
    ModelError
        for options out of range, or one output for more than two classes.
    """
    options = options_of(spec)
    input_px, dropout, outputs = int(options["input_px"]), float(options["dropout"]), int(options["outputs"])
    if not (STRIDE <= input_px <= 1024 and input_px % STRIDE == 0 and 0 <= dropout < 1) or not spec.chip:
        raise ModelError(
            f"model {spec.name}: resnet34",
            got=f"input_px {input_px}, dropout {dropout}, chip {spec.chip}",
            expected=f"input_px a multiple of {STRIDE} to 1024, dropout in [0, 1), chip set",
        )
    classes = len(spec.classes)
    if outputs not in {0, classes} and not (outputs == 1 and classes == 2):
        raise ModelError(
            f"model {spec.name}: outputs of resnet34",
            got=outputs,
            expected=f"0 or {classes}, one for each class" + ("; or 1" if classes == 2 else ""),
        )
    return ResNet34(len(spec.channels), outputs or classes, spec.chip, input_px, dropout)


def halo_of(options: Mapping[str, Any], chip: int | None) -> int:
    """Half a chip, one cell of the interpolation, and what features see."""
    factor = int(options["input_px"]) / (chip or int(options["input_px"]))
    total = (chip or 0) / 2 + (STRIDE + _REACH) / factor
    return int(math.ceil(total / HALO_STEP) * HALO_STEP)
