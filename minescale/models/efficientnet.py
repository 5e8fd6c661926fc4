"""The encoder of EfficientNet-Lite, for networks that start from weights which were taught on photographs.

After Tan and Le 2019 (arXiv:1905.11946) in its Lite form: inverted residual blocks without squeeze and excitation,
activations cut at 6. Its convolutions pad as TensorFlow's do (stride 2: less before than behind), so that weights
published for it give what they gave. Written here so that packages depend on no other library's names and workers need
none; :data:`PUBLISHED` translates the names that such weights have in PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from minescale.models.network import Sometimes


@dataclass(frozen=True, slots=True)
class _Stage:
    """Blocks of one kernel and resolution; the first halves it where ``stride`` is 2."""

    blocks: int
    kernel: int
    stride: int
    widen: int
    outputs: int


Border = Literal["constant", "replicate"]
_STEM = 32
_LITE0 = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
SIZES: Mapping[str, tuple[float, float]] = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
"""Factors of the width and of the depth. Stem, first and last stage keep their depth, the stem its width."""

PUBLISHED: tuple[tuple[str, str], ...] = (
    (r"^_conv_stem\.", "encoder.stem."),
    (r"^_bn0\.", "encoder.stem_norm."),
    (r"^_blocks\.(\d+)\._bn0\.", r"encoder.blocks.\1.widen_norm."),
    (r"^_blocks\.(\d+)\._bn1\.", r"encoder.blocks.\1.depthwise_norm."),
    (r"^_blocks\.(\d+)\._bn2\.", r"encoder.blocks.\1.narrow_norm."),
    (r"^_blocks\.(\d+)\._expand_conv\.", r"encoder.blocks.\1.widen."),
    (r"^_blocks\.(\d+)\._depthwise_conv\.", r"encoder.blocks.\1.depthwise."),
    (r"^_blocks\.(\d+)\._project_conv\.", r"encoder.blocks.\1.narrow."),
)
"""Patterns that turn the tensor names of EfficientNet-Lite's weights for PyTorch into ours."""


class _Block(nn.Module):
    """Widen, look round channel by channel, narrow; and the way round where shapes allow."""

    def __init__(self, inputs: int, stage: _Stage, stride: int, drop: float, border: Border) -> None:
        super().__init__()
        wide = inputs * stage.widen
        self.stride, self.border, self.sometimes = stride, border, Sometimes(drop)
        self.direct = stride == 1 and inputs == stage.outputs
        self.pad = _padding(stage.kernel, stride)
        if stage.widen > 1:
            self.widen = nn.Conv2d(inputs, wide, 1, bias=False)
            self.widen_norm = _norm(wide)
        self.depthwise = nn.Conv2d(wide, wide, stage.kernel, stride=stride, groups=wide, bias=False)
        self.depthwise_norm = _norm(wide)
        self.narrow = nn.Conv2d(wide, stage.outputs, 1, bias=False)
        self.narrow_norm = _norm(stage.outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.widen_norm(self.widen(x))) if hasattr(self, "widen") else x
        y = F.relu6(self.depthwise_norm(self.depthwise(F.pad(y, self.pad, mode=self.border))))
        y = self.narrow_norm(self.narrow(y))
        return x + self.sometimes(y) if self.direct else y


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _padding(kernel: int, stride: int) -> tuple[int, int, int, int]:
    """Left, right, top, bottom, of edges that are multiples of the stride."""
    total = kernel - stride
    before, after = total // 2, total - total // 2
    return before, after, before, after


class Encoder(nn.Module):
    """(n, channel, y, x) -> features at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution; ``widths`` are their channels.

    Edges are multiples of 32. ``border``: what lies beyond the image, zeros (``constant``) or its border repeated.
    """

    def __init__(self, channels: int, size: str, drop_path: float, border: Border = "constant") -> None:
        super().__init__()
        self.border = border
        self.stem = nn.Conv2d(channels, _STEM, 3, stride=2, bias=False)
        self.stem_norm = _norm(_STEM)
        stages = _scaled(*SIZES[size])
        total, inputs = sum(stage.blocks for stage in stages), _STEM
        blocks: list[_Block] = []
        widths: list[int] = []
        for stage in stages:
            for number in range(stage.blocks):
                stride = 1 if number else stage.stride
                if stride > 1:
                    widths.append(inputs)
                blocks.append(_Block(inputs, stage, stride, drop_path * len(blocks) / total, border))
                inputs = stage.outputs
        self.blocks = nn.ModuleList(blocks)
        self.widths = (*widths, inputs)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem_norm(self.stem(F.pad(x, _padding(3, 2), mode=self.border))))
        found = []
        for block in self.blocks:
            if block.stride > 1:  # type: ignore[operator]
                found.append(x)
            x = block(x)
        return [*found, x]


def _scaled(width: float, depth: float) -> list[_Stage]:
    """The stages of a size: widths to the nearest multiple of 8, but no less than 90 %, depths rounded up."""
    stages = []
    for number, stage in enumerate(_LITE0):
        outputs = max(8, int(stage.outputs * width + 4) // 8 * 8)
        outputs += 8 if outputs < 0.9 * stage.outputs * width else 0
        blocks = stage.blocks if number in {0, len(_LITE0) - 1} else -int(-stage.blocks * depth // 1)
        stages.append(_Stage(blocks, stage.kernel, stage.stride, stage.widen, outputs))
    return stages
