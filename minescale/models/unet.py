"""A small U-Net that two CPU cores can run as fast as they can decode pixels.

Follows Ronneberger et al. 2015 (doi:10.1007/978-3-319-24574-4_28) with three changes for speed. The input is
folded 2 x 2 into channels first, and unfolded last (Shi et al. 2016, arXiv:1609.05158), so that no layer works
at full resolution and no pixel is lost. Decoders have one convolution. Batch norms are folded into their
convolutions for inference. There is no group or instance norm: their statistics depend on the size of the
window, so a tiled prediction would differ from an untiled one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from minescale.errors import ModelError
from minescale.kernels.folding import scale_and_fold
from minescale.models.network import InputScaling, channels_last, load_weights, logarithm, options_of
from minescale.models.package import ModelPackage
from minescale.models.spec import HALO_STEP, ModelSpec
from minescale.models.turns import tie, untie

FOLDS = (2, 4)
MAX_STRIDE = 32
_GPU_BATCH = 16

# The layers of a patch take 6 to 13 MB each. Workers have the system map such blocks afresh every time: in huge pages
# that is a few faults, not thousands. PyTorch reads this when it first allocates memory, not when it is imported.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _way(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=False)


class UNet(nn.Module):
    """(n, band, y, x) scaled reflectance -> (n, class, y, x) logits; y and x are multiples of ``stride_of``.

    ``symmetric``: weights are tied, so that a turned or mirrored image gives the map turned or mirrored.
    """

    def __init__(
        self, in_bands: int, classes: int, width: int, depth: int, fold: int, *, residual: bool, symmetric: bool
    ) -> None:
        super().__init__()
        self.depth, self.fold, self.residual = depth, fold, residual
        widths = [width << level for level in range(depth)]
        inputs = [fold**2 * in_bands, *widths[:-1]]
        self.encoders = nn.ModuleList(
            nn.Sequential(_convolution(i, w), _convolution(w, w)) for i, w in zip(inputs, widths, strict=True)
        )
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.decoders = nn.ModuleList(_convolution(2 * w, w) for w in widths[:-1])
        self.head = nn.Conv2d(width, fold**2 * classes, 1)
        if residual:
            self.down_ways = nn.ModuleList(_way(i, w) for i, w in zip(inputs, widths, strict=True))
            self.up_ways = nn.ModuleList(_way(2 * w, w) for w in widths[:-1])
        if symmetric:
            tie(self, self.entrances, self.head, fold)

    @property
    def entrances(self) -> list[nn.Conv2d]:
        """The convolutions that are fed the folded image."""
        first: nn.Conv2d = self.encoders[0][0][0]  # type: ignore[index]
        return [first, self.down_ways[0]] if self.residual else [first]  # type: ignore[list-item]

    def forward(self, x: Tensor) -> Tensor:
        return self.from_folded(F.pixel_unshuffle(x, 2))

    def from_folded(self, x: Tensor) -> Tensor:
        """The rest, from (n, 4 band, y / 2, x / 2), as ``pixel_unshuffle`` folds it."""
        if self.fold > 2:
            x = F.pixel_unshuffle(x, self.fold // 2)
        skips = []
        for level, encoder in enumerate(self.encoders):
            x = F.max_pool2d(x, 2) if level else x
            x = encoder(x) + self.down_ways[level](x) if self.residual else encoder(x)
            skips.append(x)
        for level in reversed(range(len(self.decoders))):
            x = torch.cat([self.ups[level](x), skips[level]], dim=1)
            x = self.decoders[level](x) + self.up_ways[level](x) if self.residual else self.decoders[level](x)
        return F.pixel_shuffle(self.head(x), self.fold)


def build_unet(
    in_bands: int,
    classes: int,
    width: int = 16,
    depth: int = 3,
    fold: int = 2,
    *,
    residual: bool = False,
    symmetric: bool = False,
) -> UNet:
    """A U-Net with random weights.

    Parameters
    ----------
    in_bands, classes : channels in and out.
    width : channels at the finest resolution; doubled at every further halving.
    depth : number of resolutions, the finest being that of the folded input.
    fold : edge of the squares that the input is folded by, 2 or 4. With 4 the network costs a quarter and sees twice as
        far: for things of many pixels, such as ponds.
    residual : linear ways round the convolutions of each resolution, without norm or activation, after He et al. 2016
        (arXiv:1512.03385).
    symmetric : tie weights over the eight symmetries of a square; width is a multiple of 8 then.

    Raises
    ------
    ModelError
        for numbers that are not positive or a width or depth beyond what is meant to be small.
    """
    for name, value, limit in (("bands", in_bands, 64), ("classes", classes, 64), ("width", width, 128)):
        if not 1 <= value <= limit:
            raise ModelError(f"U-Net: {name}", got=value, expected=f"1 to {limit}")
    if not 1 <= depth <= 5:
        raise ModelError("U-Net: depth", got=depth, expected="1 to 5")
    if fold not in FOLDS or stride_of(depth, fold) > MAX_STRIDE:
        raise ModelError("U-Net: fold", got=f"{fold} at depth {depth}", expected="2, or 4 up to depth 4")
    return UNet(in_bands, classes, width, depth, fold, residual=residual, symmetric=symmetric)


def from_spec(spec: ModelSpec) -> UNet:
    """The U-Net of a specification, random weights."""
    options = options_of(spec)
    shape = (int(options[name]) for name in ("width", "depth", "fold"))
    switches = {name: bool(options[name]) for name in ("residual", "symmetric")}
    return build_unet(len(spec.channels), len(spec.classes), *shape, **switches)


def halo_of(options: Mapping[str, Any], chip: int | None) -> int:  # noqa: ARG001  (families share a signature)
    return default_halo(int(options["depth"]), int(options["fold"]))


def stride_of(depth: int, fold: int = 2) -> int:
    """Pixels of the input to one of the coarsest resolution."""
    return int(fold << (depth - 1))


def receptive_radius(depth: int, fold: int = 2) -> int:
    """Pixels that a prediction can depend on, to either side: the exact bound, over all positions in a block.

    The needed interval is followed from an output pixel back to the input: a 3 x 3 convolution widens it by one,
    pooling and folding double it, up-sampling halves it.
    """
    reach = 0
    for position in range(stride_of(depth, fold)):
        low = high = position // fold
        need: dict[int, tuple[int, int]] = {}
        for level in range(depth - 1):
            low, high = low - 1, high + 1
            need[level] = (low, high)
            low, high = low // 2, high // 2
        for level in reversed(range(depth)):
            if level < depth - 1:
                low, high = min(2 * low, need[level][0]), max(2 * high + 1, need[level][1])
            low, high = low - 2, high + 2
        reach = max(reach, position - fold * low, fold * (high + 1) - 1 - position)
    return reach


def default_halo(depth: int, fold: int = 2) -> int:
    """The receptive radius, rounded up to whole strides."""
    step = max(HALO_STEP, stride_of(depth, fold))
    return int(math.ceil(receptive_radius(depth, fold) / step) * step)


class UNetPredictor:
    """A trained U-Net on one device. Thread-safe: weights are only read, PyTorch serialises what it must."""

    def __init__(self, package: ModelPackage, device: str) -> None:
        spec = package.spec
        network = from_spec(spec)
        load_weights(network, spec, package.weights())
        self._spec = spec
        self._device = torch.device(device)
        self._net = fold_norms(untie(network.eval())).to(self._device)
        channels_last(self._net)
        self._scaling = InputScaling(spec, self._device)
        self._stride = stride_of(network.depth, network.fold)

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`minescale.models.predictor.Predictor`. On a GPU the batch is cut into equal micro-batches.

        Edges are padded with no data to what the network needs.
        """
        n, (rows, cols) = len(batch), batch.shape[2:]
        down, right = -rows % self._stride, -cols % self._stride
        if down or right:
            padded = np.pad(batch, [(0, 0), (0, 0), (0, down), (0, right)])
            return np.ascontiguousarray(self.predict(padded)[:, :, :rows, :cols])
        step = min(_GPU_BATCH, n) if self._device.type == "cuda" else 1
        out = np.empty((n, len(self._spec.classes), rows, cols), np.float32)
        with torch.inference_mode():
            for start in range(0, n, step):
                part = batch[start : start + step]
                logits = self._on_gpu(part, step) if self._device.type == "cuda" else self._on_cpu(part[0])
                out[start : start + step] = torch.softmax(logits, dim=1).cpu().numpy()[: n - start]
        return out

    def _on_cpu(self, image: NDArray[np.float32]) -> Tensor:
        scaling = self._scaling
        if scaling.clip is not None:
            image = np.minimum(image, np.float32(scaling.clip))
        if scaling.logarithm:
            image = logarithm(torch.from_numpy(image)).numpy()
        folded = scale_and_fold(image, scaling.mean.numpy().ravel(), scaling.inverse_std.numpy().ravel())
        return self._net.from_folded(torch.from_numpy(folded[np.newaxis]).permute(0, 3, 1, 2))

    def _on_gpu(self, images: NDArray[np.float32], step: int) -> Tensor:
        part = torch.from_numpy(images)
        if len(part) < step:
            part = torch.cat([part, part.new_zeros((step - len(part), *part.shape[1:]))])
        part = part.to(self._device, memory_format=torch.channels_last)
        x = self._scaling(part)
        with torch.autocast("cuda", dtype=torch.float16):
            return self._net(x).float()


def fold_norms(network: UNet) -> UNet:
    """Put every batch norm into the convolution before it; in place, for inference only."""
    for child in network.modules():
        if isinstance(child, nn.Sequential) and len(child) == 3:
            convolution, norm = child[0], child[1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                child[0] = fuse_conv_bn_eval(convolution, norm)
                child[1] = nn.Identity()
    return network
