"""SegFormer B0 to B5: a hierarchical transformer without positional encoding, for any number of bands and any size.

After Xie et al. 2021 (arXiv:2105.15203): four stages of overlapping patches at 1/4 to 1/32 of the resolution, attention
whose keys and values are reduced, a 3 x 3 depthwise convolution in each feed-forward part that tells positions apart,
and a decoder of linear layers alone. Written here so that packages depend on no other library's names and workers need
none; :data:`PUBLISHED` translates the names that published weights have.

The decoder's linear layers are applied before its features are brought to one resolution: interpolation and layers that
act on single pixels commute, so that the result is the paper's at a fraction of its memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from minescale.errors import ModelError
from minescale.models.network import Sometimes, options_of
from minescale.models.spec import ModelSpec, nearest

HALO = 64
"""Context in pixels. Attention sees a whole patch, so no halo makes tiles agree exactly; two cells of the coarsest
stage keep what convolutions see of a border away."""


@dataclass(frozen=True, slots=True)
class Size:
    """One of the paper's six."""

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    decoder: int


_WIDE = (64, 128, 320, 512)
SIZES: Mapping[str, Size] = {
    "b0": Size((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "b1": Size(_WIDE, (2, 2, 2, 2), 256),
    "b2": Size(_WIDE, (3, 4, 6, 3), 768),
    "b3": Size(_WIDE, (3, 4, 18, 3), 768),
    "b4": Size(_WIDE, (3, 8, 27, 3), 768),
    "b5": Size(_WIDE, (3, 6, 40, 3), 768),
}
HEADS, REDUCTIONS = (1, 2, 5, 8), (8, 4, 2, 1)
_EXPANSION = 4
_EPS = 1e-6

PUBLISHED: tuple[tuple[str, str], ...] = (
    (r"^segformer\.encoder\.", ""),
    (r"^patch_embeddings\.(\d)\.proj\.", r"stages.\1.fold."),
    (r"^patch_embeddings\.(\d)\.layer_norm\.", r"stages.\1.fold_norm."),
    (r"^layer_norm\.(\d)\.", r"stages.\1.norm."),
    (r"^block\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"\.layer_norm_1\.", ".before_attention."),
    (r"\.layer_norm_2\.", ".before_feed."),
    (r"\.attention\.self\.sr\.", ".attention.reduce."),
    (r"\.attention\.self\.layer_norm\.", ".attention.reduce_norm."),
    (r"\.attention\.self\.", ".attention."),
    (r"\.attention\.output\.dense\.", ".attention.out."),
    (r"\.mlp\.dense1\.", ".feed.widen."),
    (r"\.mlp\.dense2\.", ".feed.narrow."),
    (r"\.mlp\.dwconv\.dwconv\.", ".feed.depthwise."),
    (r"^decode_head\.linear_c\.(\d)\.proj\.", r"unify.\1."),
    (r"^decode_head\.linear_fuse\.", "fuse."),
    (r"^decode_head\.batch_norm\.", "fuse_norm."),
    (r"^decode_head\.classifier\.", "head."),
)
"""Patterns that turn the tensor names of published SegFormer checkpoints into ours, applied one after the other."""


class _Attention(nn.Module):
    """(n, y, x, width): every pixel looks at the reduced map."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.reduction = reduction
        if reduction > 1:
            self.reduce = nn.Conv2d(width, width, reduction, stride=reduction)
            self.reduce_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        n, rows, cols, width = x.shape
        seen = x
        if self.reduction > 1:
            seen = self.reduce_norm(self.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        query, key, value = self._split(self.query(x)), self._split(self.key(seen)), self._split(self.value(seen))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(n, rows, cols, width))

    def _split(self, x: Tensor) -> Tensor:
        """(n, y, x, width) -> (n, head, pixel, width of a head)."""
        return x.reshape(x.shape[0], -1, self.heads, x.shape[3] // self.heads).transpose(1, 2)


class _Feed(nn.Module):
    """The Mix-FFN: its depthwise convolution is what tells positions apart."""

    def __init__(self, width: int) -> None:
        super().__init__()
        wide = _EXPANSION * width
        self.widen, self.narrow = nn.Linear(width, wide), nn.Linear(wide, width)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.depthwise(self.widen(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.narrow(F.gelu(wide))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int, drop: float) -> None:
        super().__init__()
        self.before_attention, self.before_feed = nn.LayerNorm(width, eps=_EPS), nn.LayerNorm(width, eps=_EPS)
        self.attention, self.feed = _Attention(width, heads, reduction), _Feed(width)
        self.sometimes = Sometimes(drop)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.sometimes(self.attention(self.before_attention(x)))
        return x + self.sometimes(self.feed(self.before_feed(x)))


class _Stage(nn.Module):
    """(n, channel, y, x) -> (n, width, y / stride, x / stride)."""

    def __init__(self, inputs: int, width: int, number: int, drops: list[float]) -> None:
        super().__init__()
        kernel, stride = (3, 2) if number else (7, 4)
        self.fold = nn.Conv2d(inputs, width, kernel, stride=stride, padding=kernel // 2)
        self.fold_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(_Block(width, HEADS[number], REDUCTIONS[number], drop) for drop in drops)
        self.norm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fold_norm(self.fold(x).permute(0, 2, 3, 1))
        for block in self.blocks:
            x = block(x)
        return self.norm(x).permute(0, 3, 1, 2)


class SegFormer(nn.Module):
    """(n, channel, y, x) scaled reflectance -> (n, class, y, x) logits; any edges from 32 pixels."""

    def __init__(self, channels: int, classes: int, size: Size, dropout: float, drop_path: float) -> None:
        super().__init__()
        total = sum(size.depths)
        rates = [drop_path * i / (total - 1) for i in range(total)]
        stages: list[nn.Module] = []
        for number, (width, depth) in enumerate(zip(size.widths, size.depths, strict=True)):
            inputs = size.widths[number - 1] if number else channels
            first = sum(size.depths[:number])
            stages.append(_Stage(inputs, width, number, rates[first : first + depth]))
        self.stages = nn.ModuleList(stages)
        self.unify = nn.ModuleList(nn.Linear(width, size.decoder) for width in size.widths)
        self.fuse = nn.Conv2d(4 * size.decoder, size.decoder, 1, bias=False)
        self.fuse_norm = nn.BatchNorm2d(size.decoder)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(size.decoder, classes, 1)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        edges = x.shape[2:]
        fused: Tensor | None = None
        # The fusing layer's weights are for the coarsest stage first.
        shares = reversed(self.fuse.weight[:, :, 0, 0].chunk(4, dim=1))
        for stage, unify, share in zip(self.stages, self.unify, shares, strict=True):
            x = stage(x)
            part = F.linear(unify(x.permute(0, 2, 3, 1)), share).permute(0, 3, 1, 2)
            if fused is None:
                fused = part
            else:
                fused = fused + F.interpolate(part, size=fused.shape[2:], mode="bilinear", align_corners=False)
        logits = self.head(self.dropout(F.relu(self.fuse_norm(fused))))
        return F.interpolate(logits, size=edges, mode="bilinear", align_corners=False)


def _initialise(module: nn.Module) -> None:
    """Linear layers from a narrow normal, convolutions by their fan-out, as the paper's authors do."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, 0, (2 / fan) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def from_spec(spec: ModelSpec) -> SegFormer:
    """The network of a specification, random weights.

    Raises
    ------
    ModelError
        for an unknown size or rates out of range.
    """
    options = options_of(spec)
    name, dropout, drop_path = str(options["size"]), float(options["dropout"]), float(options["drop_path"])
    if name not in SIZES:
        raise ModelError(f"model {spec.name}: size of SegFormer", got=name, expected=nearest(name, SIZES))
    if not (0 <= dropout < 1 and 0 <= drop_path < 1):
        raise ModelError(
            f"model {spec.name}: segformer", got=f"dropout {dropout}, drop_path {drop_path}", expected="each in [0, 1)"
        )
    return SegFormer(len(spec.channels), len(spec.classes), SIZES[name], dropout, drop_path)


def halo_of(options: Mapping[str, Any], chip: int | None) -> int:  # noqa: ARG001  (families share a signature)
    return HALO
