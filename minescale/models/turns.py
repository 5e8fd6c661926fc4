"""Networks that see a place the same way however it is turned: weights tied over the eight symmetries of a square.

Group convolutions after Cohen and Welling 2016 (arXiv:1602.07576), for the group p4m. Channels come in groups of
eight: channel ``8 o + g`` is feature ``o`` looked for under symmetry ``g``, so a layer of n channels learns n / 8
features, not eight turned copies of each. A tied network is an ordinary one whose weights are computed from fewer
parameters, and :func:`untie` makes it one. What is left of a turn is rounding, where every layer's edges are even.

Norms take a batch's statistics channel by channel in training, those of all eight together in prediction. Ground has
one sun: train with turns all the same, so that the eight do not differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from minescale.errors import ModelError

Network = TypeVar("Network", bound=nn.Module)

SYMMETRIES = 8
"""Quarter turns, 0 to 3, and the same after a flip."""


def turned(image: Tensor, symmetry: int) -> Tensor:
    """The last two axes under one of the eight symmetries."""
    flipped = image.flip(-1) if symmetry >= 4 else image
    return torch.rot90(flipped, symmetry % 4, (-2, -1))


def _relations() -> list[list[int]]:
    """Entry (g, h): the symmetry that is h first and the inverse of g then."""
    probe = torch.arange(9).reshape(3, 3)
    every = [turned(probe, g) for g in range(SYMMETRIES)]

    def named(image: Tensor) -> int:
        return next(g for g, other in enumerate(every) if torch.equal(image, other))

    inverse = [next(h for h in range(SYMMETRIES) if named(turned(image, h)) == 0) for image in every]
    return [[named(turned(every[h], inverse[g])) for h in range(SYMMETRIES)] for g in range(SYMMETRIES)]


_RELATIONS = _relations()


class _First(nn.Module):
    """(feature, channel, y, x) kernels -> weights (8 feature, fold^2 channel, ...) of a convolution of a folded image.

    ``fold`` 2, or 4: by 2 and by 2 again, which orders channels otherwise than 4 at once.
    """

    def __init__(self, fold: int) -> None:
        super().__init__()
        self.fold = fold

    def forward(self, kernels: Tensor) -> Tensor:
        every = torch.stack([turned(kernels, g) for g in range(SYMMETRIES)], dim=1).flatten(0, 1)
        outputs, channels, rows, cols = every.shape
        across = self.fold // 2
        parts = every.reshape(outputs, channels, rows // self.fold, across, 2, cols // self.fold, across, 2)
        return parts.permute(0, 1, 4, 7, 3, 6, 2, 5).reshape(outputs, -1, rows // self.fold, cols // self.fold)

    def right_inverse(self, weight: Tensor) -> Tensor:
        first = weight[::SYMMETRIES]
        features, folded, rows, cols = first.shape
        across = self.fold // 2
        parts = first.reshape(features, folded // self.fold**2, 2, 2, across, across, rows, cols)
        return parts.permute(0, 1, 6, 4, 2, 7, 5, 3).reshape(features, -1, rows * self.fold, cols * self.fold)


class _Between(nn.Module):
    """(feature out, feature in, 8, y, x) kernels -> weights (8 out, 8 in, y, x); ``transposed`` swaps in and out."""

    def __init__(self, *, transposed: bool) -> None:
        super().__init__()
        self.transposed = transposed

    def forward(self, kernels: Tensor) -> Tensor:
        every = [turned(kernels[:, :, _RELATIONS[g]], g) for g in range(SYMMETRIES)]
        weight = torch.stack(every, dim=1).flatten(0, 1).flatten(1, 2)
        return weight.transpose(0, 1) if self.transposed else weight

    def right_inverse(self, weight: Tensor) -> Tensor:
        first = (weight.transpose(0, 1) if self.transposed else weight)[::SYMMETRIES]
        return first.reshape(first.shape[0], -1, SYMMETRIES, *first.shape[2:])


class _Map(nn.Module):
    """(class, feature, y, x) kernels -> weights (fold^2 class, 8 feature, 1, 1) of a map that is unfolded next."""

    def __init__(self, fold: int) -> None:
        super().__init__()
        self.fold = fold

    def forward(self, kernels: Tensor) -> Tensor:
        every = torch.stack([turned(kernels, g) for g in range(SYMMETRIES)], dim=2).flatten(1, 2)
        classes, channels, rows, cols = every.shape
        return every.permute(0, 2, 3, 1).reshape(classes * rows * cols, channels, 1, 1)

    def right_inverse(self, weight: Tensor) -> Tensor:
        parts = weight[:, ::SYMMETRIES, 0, 0].reshape(-1, self.fold, self.fold, weight.shape[1] // SYMMETRIES)
        return parts.permute(0, 3, 1, 2)


class _Same(nn.Module):
    """Values of features -> the same for all eight channels of each, along the last axis; ``shared`` divides by 8."""

    def __init__(self, *, shared: bool = False) -> None:
        super().__init__()
        self.share = SYMMETRIES if shared else 1

    def forward(self, values: Tensor) -> Tensor:
        return values.repeat_interleave(SYMMETRIES, dim=-1) / self.share

    def right_inverse(self, values: Tensor) -> Tensor:
        return values[..., ::SYMMETRIES] * self.share


class _SameForAll(nn.Module):
    """One bias for each class -> the same at each of the ``fold``^2 pixels that its channels are unfolded to."""

    def __init__(self, fold: int) -> None:
        super().__init__()
        self.pixels = fold**2

    def forward(self, values: Tensor) -> Tensor:
        return values.repeat_interleave(self.pixels)

    def right_inverse(self, values: Tensor) -> Tensor:
        return values[:: self.pixels]


def tie(network: nn.Module, entrances: Sequence[nn.Conv2d], head: nn.Module, fold: int) -> None:
    """Tie all weights of a network, in place.

    Parameters
    ----------
    entrances : its convolutions that are fed an image folded by ``fold``.
    head : its last layer: a linear one on features averaged over places, or a convolution of one pixel whose outputs
        are unfolded by ``fold``.
    fold : edge of the squares that the image is folded by: 2, or 4 as 2 and 2.

    Raises
    ------
    ModelError
        where a layer's channels are no multiple of eight.
    """
    for module in [module for module in network.modules() if isinstance(module, (*_TIED, type(head)))]:
        if isinstance(module, nn.Conv2d) and any(module is entrance for entrance in entrances):
            _check(module.out_channels)
            _register(module, "weight", _First(fold))
        elif module is head and isinstance(module, nn.Linear):
            _check(module.in_features)
            _register(module, "weight", _Same(shared=True))
        elif module is head:
            _register(module, "weight", _Map(fold))
            _register(module, "bias", _SameForAll(fold))
        elif isinstance(module, nn.BatchNorm2d):
            _check(module.num_features)
            for name in ("weight", "bias"):
                _register(module, name, _Same())
            module.register_forward_hook(_average)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            _check(module.in_channels)
            _check(module.out_channels)
            _register(module, "weight", _Between(transposed=isinstance(module, nn.ConvTranspose2d)))
            if module.bias is not None:
                _register(module, "bias", _Same())


def untie(network: Network) -> Network:
    """The same network with weights of its own, in place: for prediction, where computing them each time is a waste."""
    for module in network.modules():
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    return network


_TIED: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)


def _register(module: nn.Module, name: str, rule: nn.Module) -> None:
    parametrize.register_parametrization(module, name, rule)


def _check(channels: int) -> None:
    if channels % SYMMETRIES:
        raise ModelError(
            "a network of tied weights has channels in groups of eight",
            got=channels,
            expected="a width that is a multiple of 8",
        )


def _average(module: Any, inputs: Any, output: Any) -> None:  # noqa: ARG001  (torch calls it so)
    """Give the turns of a feature the same statistics, so that predictions do not depend on how ground lies."""
    if not module.training:
        return
    for values in (module.running_mean, module.running_var):
        groups = values.data.view(-1, SYMMETRIES)  # as data: backward keeps these values, without a use for them
        groups.copy_(groups.mean(dim=1, keepdim=True).expand_as(groups))
