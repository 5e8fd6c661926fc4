"""A U-Net whose encoder is EfficientNet-Lite: for few labels, started from weights that were taught on photographs.

The decoder brings features back to half the resolution, two convolutions and a way round them at each (He et al. 2016,
arXiv:1512.03385); logits are interpolated to pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minescale.errors import ModelError
from minescale.models.efficientnet import PUBLISHED, SIZES, Encoder
from minescale.models.network import options_of
from minescale.models.spec import ModelSpec, nearest

HALO = 192
"""Context in pixels. Features of the coarsest stages can depend on 500 pixels to either side, and of a trained network
some do on more than this: no halo short of that makes tiles agree exactly."""
PUBLISHED_ENCODER = (*PUBLISHED, (r"^features\.encoder\.", "encoder."))
"""Patterns for the tensor names of published weights of the encoder, and of a chip classifier's."""
_DECODER = (32, 48, 64, 128)
"""Channels of the decoder at 1/2 to 1/16 of the resolution."""


class _Decoder(nn.Module):
    """Coarse features, brought to the resolution of finer ones and joined: two convolutions and a linear way round."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout2d(dropout)
        self.way = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        brought = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False)
        x = torch.cat([brought, fine], dim=1)
        y = F.relu(self.first_norm(self.first(x)), inplace=True)
        y = F.relu(self.second_norm(self.second(y)), inplace=True)
        return self.dropout(y) + self.way(x)


class EfficientUNet(nn.Module):
    """(n, channel, y, x) scaled reflectance -> (n, class, y, x) logits; y and x are multiples of 32."""

    def __init__(self, channels: int, classes: int, size: str, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.encoder = Encoder(channels, size, drop_path)
        inputs, decoders = self.encoder.widths[-1], []
        for level in reversed(range(len(_DECODER))):
            # Coarse features are many and much alike: they are thinned out, fine ones are not.
            rate = dropout if level > 1 else 0.0
            decoders.append(_Decoder(inputs + self.encoder.widths[level], _DECODER[level], rate))
            inputs = _DECODER[level]
        self.decoders = nn.ModuleList(decoders)
        self.head = nn.Conv2d(inputs, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        *skips, features = self.encoder(x)
        for decoder in self.decoders:
            features = decoder(features, skips.pop())
        return F.interpolate(self.head(features), scale_factor=2.0, mode="bilinear", align_corners=False)


def from_spec(spec: ModelSpec) -> EfficientUNet:
    """The network of a specification, random weights.

    Raises
    ------
    ModelError
        for an unknown size or rates out of range.
    """
    options = options_of(spec)
    size, dropout, drop_path = str(options["size"]), float(options["dropout"]), float(options["drop_path"])
    if size not in SIZES:
        raise ModelError(f"model {spec.name}: size of EfficientNet", got=size, expected=nearest(size, SIZES))
    if not (0 <= dropout < 1 and 0 <= drop_path < 1):
        raise ModelError(
            f"model {spec.name}: efficientunet",
            got=f"dropout {dropout}, drop_path {drop_path}",
            expected="each in [0, 1)",
        )
    return EfficientUNet(len(spec.channels), len(spec.classes), size, dropout, drop_path)


def halo_of(options: Mapping[str, Any], chip: int | None) -> int:  # noqa: ARG001  (families share a signature)
    return HALO
