"""A linear classifier of whole chips on features that are not trained: statistics of bands, and a packaged network's.

For sets of a few hundred chips, of which a network of its own would learn the samples by heart. Features of a chip are

- mean and standard deviation over its pixels with data of ``ln(max(x, 0.005))`` of each band x and of
  ``(a - b) / (a + b + 0.001)`` of each pair of bands, at each date, and of their change where there are two dates;
- mean and maximum over the chip of the features of a package of family ``patchcnn`` (hyperparameter ``base``), at each
  date.

Like a ``patchcnn``, which was taught chips as well, it draws maps in one pass: a score for the square round each pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minescale.errors import ModelError
from minescale.models import patchcnn
from minescale.models.network import logarithm, options_of, scale
from minescale.models.package import ModelPackage
from minescale.models.patchcnn import STRIDE, pad_cells, to_pixels
from minescale.models.spec import HALO_STEP, ModelSpec

DARKEST = 0.005
"""Reflectance below this counts as this."""
CUT = 8.0
"""Scaled features are cut at plus and minus this, so that nothing unheard of outweighs all else."""
_PAIR = 1e-3
_KEYS = ("name", "digest", "licence", "bands", "classes", "chip", "clip", "mean", "std", "hyperparameters")


class Base(nn.Module):
    """The features of a packaged ``patchcnn``: (n, band, y, x) reflectance -> (n, feature, y / 8, x / 8)."""

    mean: Tensor
    inverse_std: Tensor

    def __init__(self, about: Mapping[str, Any]) -> None:
        super().__init__()
        options = about["hyperparameters"]
        self.network = patchcnn.build(
            len(about["bands"]),
            int(about["classes"]),
            int(about["chip"]),
            int(options.get("width", 32)),
            int(options.get("blocks", 1)),
            0.0,
            symmetric=bool(options.get("symmetric", False)),
            encoder=str(options.get("encoder") or ""),
        )
        self.width = self.network.head.in_features // 2
        self.clip, self.logarithm = about["clip"], bool(options.get("logarithm", False))
        shape = (1, len(about["bands"]), 1, 1)
        # What scales the input lies in the specification, not among the weights.
        self.register_buffer("mean", torch.tensor(about["mean"]).reshape(shape), persistent=False)
        self.register_buffer("inverse_std", 1 / torch.tensor(about["std"]).reshape(shape), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Base:  # noqa: ARG002  (torch's signature)
        """It is never trained, so that its norms keep their statistics."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        if self.clip is not None:
            x = x.clamp(max=self.clip)
        scaled = scale(logarithm(x) if self.logarithm else x, self.mean, self.inverse_std)
        features: Tensor = self.network.features(scaled)
        return features


class Probe(nn.Module):
    """(n, channel, y, x) reflectance -> (n, class, y, x) logits; ``chip`` -> (n, class) of the whole image."""

    middle: Tensor
    spread: Tensor

    def __init__(self, bands: int, dates: int, classes: int, chip: int, base: Base | None, taken: list[int]) -> None:
        super().__init__()
        self.window = chip // STRIDE
        self.bands, self.dates = bands, dates
        self.base, self.taken = base, taken
        first, second = zip(*combinations(range(bands), 2), strict=True) if bands > 1 else ((), ())
        self.first, self.second = list(first), list(second)
        count = 2 * (bands + len(first)) * (3 if dates == 2 else 1) + (2 * dates * base.width if base else 0)
        self.register_buffer("middle", torch.zeros(count))
        self.register_buffer("spread", torch.ones(count))
        self.head = nn.Linear(count, classes)

    def chip(self, x: Tensor) -> Tensor:
        return self._logits(self._whole(x))[:, :, 0, 0]

    def forward(self, x: Tensor) -> Tensor:
        size = self.window
        pixels, deep = self._cells(x)
        means = F.avg_pool2d(pad_cells(pixels, size), size, stride=1)
        peaks: list[Tensor] = []
        if deep is not None:
            padded = pad_cells(deep, size)
            peaks = [F.avg_pool2d(padded, size, stride=1), F.max_pool2d(padded, size, stride=1)]
        return to_pixels(self._logits(_joined(means, peaks)), x.shape[2], x.shape[3], corners=size % 2 == 0)

    def features(self, x: Tensor) -> Tensor:
        """(n, feature) of whole images, neither scaled nor cut."""
        return self._whole(x)[:, :, 0, 0]

    def _whole(self, x: Tensor) -> Tensor:
        pixels, deep = self._cells(x)
        peaks = [] if deep is None else [deep.mean(dim=(2, 3), keepdim=True), deep.amax(dim=(2, 3), keepdim=True)]
        return _joined(pixels.mean(dim=(2, 3), keepdim=True), peaks)

    def _cells(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of cells of 8 x 8 pixels means of values, of their squares and of what is seen, and the base's features."""
        seen = (x.amin(dim=1, keepdim=True) > 0).to(x.dtype)
        dates = [x[:, i * self.bands : (i + 1) * self.bands] for i in range(self.dates)]
        values = [self._values(date) for date in dates]
        if self.dates == 2:
            values.append(values[1] - values[0])
        every = torch.cat(values, dim=1) * seen
        deep = None if self.base is None else torch.cat([self.base(date[:, self.taken]) for date in dates], dim=1)
        return F.avg_pool2d(torch.cat([every, every.square(), seen], dim=1), STRIDE), deep

    def _values(self, x: Tensor) -> Tensor:
        one, other = x[:, self.first], x[:, self.second]
        return torch.cat([x.clamp(min=DARKEST).log(), (one - other) / (one + other + _PAIR)], dim=1)

    def _logits(self, features: Tensor) -> Tensor:
        scaled = ((features.permute(0, 2, 3, 1) - self.middle) / self.spread).clamp(-CUT, CUT)
        logits: Tensor = self.head(scaled).permute(0, 3, 1, 2)
        return logits


def _joined(pixels: Tensor, peaks: list[Tensor]) -> Tensor:
    """Features (n, feature, y, x) of means over squares: of values, their squares, and what is seen."""
    count = pixels.shape[1] // 2
    share = pixels[:, -1:].clamp(min=1e-6)
    mean, square = pixels[:, :count] / share, pixels[:, count:-1] / share
    return torch.cat([mean, (square - mean.square()).clamp(min=0).sqrt(), *peaks], dim=1)


def described(package: ModelPackage, bands: tuple[str, ...]) -> dict[str, Any]:
    """What a probe's specification says of the package whose features it takes, JSON values.

    Raises
    ------
    ModelError
        for a package of another family, or one that reads bands that are not among ``bands``, or two dates.
    """
    spec = package.spec
    if spec.family != "patchcnn" or spec.dates != 1:
        raise ModelError(
            "features are taken of a patch classifier of one date",
            got=f"{spec.name}: family {spec.family}, {spec.dates} dates",
            expected="family patchcnn, such as amw-patch-rgb",
        )
    if spec.mean is None or spec.std is None:
        raise ModelError(f"{spec.name} does not say how its input is scaled", expected="mean and std of its bands")
    if not set(spec.bands) <= set(bands):
        raise ModelError(
            f"{spec.name} reads bands that the set lacks",
            got=", ".join(bands),
            expected=", ".join(spec.bands),
            fix="--set hyperparameters.base=PKG of other bands, or --set hyperparameters.base=null",
        )
    return {
        "name": spec.name,
        "digest": package.digest,
        "licence": spec.licence,
        "bands": list(spec.bands),
        "classes": len(spec.classes),
        "chip": spec.chip,
        "clip": spec.clip,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "hyperparameters": dict(spec.hyperparameters),
    }


def from_spec(spec: ModelSpec) -> Probe:
    """The network of a specification, random weights.

    Raises
    ------
    ModelError
        for a base that is not described, or whose bands are not read.
    """
    about = options_of(spec)["base"]
    if spec.hyperparameters.get("logarithm"):
        raise ModelError(
            f"model {spec.name}: a probe takes reflectance as it is", got="logarithm true", expected="logarithm false"
        )
    if about is not None and (not isinstance(about, Mapping) or set(about) != set(_KEYS)):
        raise ModelError(
            f"model {spec.name}: base",
            got=sorted(about) if isinstance(about, Mapping) else about,
            expected=", ".join(_KEYS),
            fix="minescale train, which describes the package that hyperparameters.base names",
        )
    if not spec.chip:
        raise ModelError(f"model {spec.name}: a probe is of chips", got=f"chip {spec.chip}", expected="chip set")
    absent = [band for band in about["bands"] if band not in spec.bands] if about else []
    if absent:
        raise ModelError(f"model {spec.name}: base reads", got=", ".join(absent), expected=", ".join(spec.bands))
    taken = [spec.bands.index(band) for band in about["bands"]] if about else []
    return Probe(len(spec.bands), spec.dates, len(spec.classes), spec.chip, Base(about) if about else None, taken)


def halo_of(options: Mapping[str, Any], chip: int | None) -> int:
    """Half a chip and the interpolation's cell, and what the network's convolutions see."""
    base = options.get("base")
    if isinstance(base, Mapping):
        return patchcnn.halo_of({"blocks": 1, **base["hyperparameters"]}, chip)
    return int(math.ceil(((chip or 0) // 2 + STRIDE) / HALO_STEP) * HALO_STEP)
