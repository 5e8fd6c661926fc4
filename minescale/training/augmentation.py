"""Changes to training samples, drawn sample by sample so that they do not depend on how a batch is cut up.

On reflectance from 0 to 1, before it is scaled for the network: a noise of 0.02 means nothing on standardised numbers.
Pixels without data (0 in some band) stay without; no other pixel becomes 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from minescale.errors import ConfigError
from minescale.labels.preparation.atmosphere import atmosphere
from minescale.training.config import AugmentConfig
from minescale.training.losses import IGNORED

SUN_ZENITH = (20.0, 50.0)
"""Degrees; what Sentinel-2 meets in the tropics over a year."""
AEROSOL = (0.0, 0.015)
"""Path reflectance at 550 nm."""
DARKEST = 1e-4


@dataclass(frozen=True, slots=True)
class Draws:
    """The numbers that samples are changed with; every array's first axis is the sample."""

    turn: NDArray[np.int64]
    """Quarter turns, 4 more where it is mirrored."""
    scale: NDArray[np.float32]
    shift: NDArray[np.float32]
    """(n, 2) of half an image."""
    gain: NDArray[np.float32]
    """(n, band) factor; then (n, band) summand."""
    offset: NDArray[np.float32]
    contrast: NDArray[np.float32]
    air_gain: NDArray[np.float32]
    """(n, band) factor and summand of the change of atmosphere, and of haze."""
    air_offset: NDArray[np.float32]
    noise_seed: NDArray[np.int64]

    def part(self, rows: slice) -> Draws:
        return Draws(*(getattr(self, name)[rows] for name in self.__slots__))


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    settings: AugmentConfig
    bands: tuple[str, ...]
    toa: bool
    """Whether the set's reflectance is that at the top of the atmosphere."""

    def draw(self, rng: np.random.Generator, n: int) -> Draws:
        """Numbers for ``n`` samples."""
        how, width = self.settings, len(self.bands)
        bright = rng.uniform(1 - how.brightness, 1 + how.brightness, (n, 1))
        gain = bright * (1 + how.band_gain * rng.standard_normal((n, width))).clip(0.2, 5)
        air_gain, air_offset = self._air(rng, n)
        return Draws(
            turn=rng.integers(8, size=n) if how.turns else np.zeros(n, np.int64),
            scale=np.exp(how.zoom * rng.standard_normal(n).clip(-2, 2)).astype(np.float32),
            shift=(0.8 * how.zoom * rng.standard_normal((n, 2)).clip(-2, 2)).astype(np.float32),
            gain=gain.astype(np.float32),
            offset=(how.band_offset * rng.standard_normal((n, width))).astype(np.float32),
            contrast=rng.uniform(1 - how.contrast, 1 + how.contrast, n).astype(np.float32),
            air_gain=air_gain.astype(np.float32),
            air_offset=air_offset.astype(np.float32),
            noise_seed=rng.integers(2**62, size=n),
        )

    def _air(self, rng: np.random.Generator, n: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Factor and summand, (n, band): another product's atmosphere first, then haze."""
        how = self.settings
        gain, offset = np.ones((n, len(self.bands))), np.zeros((n, len(self.bands)))
        changed, sun, aerosol = rng.random(n), rng.uniform(*SUN_ZENITH, n), rng.uniform(*AEROSOL, n)
        if how.atmosphere:
            air = atmosphere(self.bands, sun, aerosol)
            path, through = air.path, air.transmission
            other = (1 / through, -path / through) if self.toa else (through, path)
            chosen = (changed < how.atmosphere)[:, None]
            gain, offset = np.where(chosen, other[0], gain), np.where(chosen, other[1], offset)
        hazy = (rng.random(n) < how.haze)[:, None]
        t, light = (rng.uniform(pair[0], pair[1], n)[:, None] for pair in (how.transmission, how.airlight))
        t = np.where(hazy, t, 1.0)
        return gain * t, offset * t + light * (1 - t)

    def __call__(self, images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Change a batch.

        Parameters
        ----------
        images : float32 (n, channel, y, x) reflectance, 0 = no data.
        labels : int64 (n, y, x), or (n,) of whole chips.

        Returns
        -------
        Both, changed alike; reflectance 0.0001 to 1, 0 = no data.
        """
        images, labels = _turned(images, labels, draws.turn)
        if self.settings.zoom:
            images, labels = _zoomed(images, labels, draws)
        seen = images.amin(dim=1, keepdim=True) > 0

        def each(values: NDArray[np.float32]) -> Tensor:
            return torch.from_numpy(values).to(images.device).reshape(len(images), -1, 1, 1)

        x = images.clamp(max=1.0) * each(draws.air_gain) + each(draws.air_offset)
        if self.settings.contrast:
            count = seen.sum(dim=(2, 3), keepdim=True).clamp(min=1)
            middle = (x * seen).sum(dim=(2, 3), keepdim=True) / count
            x = middle + (x - middle) * each(draws.contrast)
        x = x * each(draws.gain) + each(draws.offset)
        if self.settings.noise:
            x = x + self.settings.noise * _noise(x, draws.noise_seed)
        return x.clamp(DARKEST, 1.0) * seen, labels


def check_airlight(settings: AugmentConfig) -> None:
    """Refuse ranges of haze that are none.

    Raises
    ------
    ConfigError
    """
    for name in ("transmission", "airlight"):
        low, high = getattr(settings, name)
        if not 0 < low <= high <= 1:
            raise ConfigError(f"setting augment.{name}", got=(low, high), expected="two numbers from 0 to 1, rising")


def _turned(images: Tensor, labels: Tensor, turn: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Flips and quarter turns; images that are not square are turned by halves."""
    square = images.shape[2] == images.shape[3]
    out, moved = torch.empty_like(images), labels.clone()
    for i, code in enumerate(turn.tolist()):
        quarters = code % 4 if square else 2 * (code % 2)
        mirrored = code >= 4
        out[i] = _moved(images[i], quarters, mirrored=mirrored)
        if labels.ndim == 3:
            moved[i] = _moved(labels[i], quarters, mirrored=mirrored)
    return out, moved


def _moved(array: Tensor, quarters: int, *, mirrored: bool) -> Tensor:
    return torch.rot90(array.flip(-1) if mirrored else array, quarters, (-2, -1))


def _zoomed(images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Scaled and shifted; the border is mirrored, labels there do not count."""
    n = len(images)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.from_numpy(draws.scale)
    theta[:, :, 2] = torch.from_numpy(draws.shift)
    grid = F.affine_grid(theta, [*images.shape], align_corners=False).to(images.device)
    seen = (images.amin(dim=1, keepdim=True) > 0).float()
    both = torch.cat([images, seen], dim=1)
    moved = F.grid_sample(both, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    # A pixel beside a gap is a mixture with nothing: it is taken for a part of the gap.
    images = moved[:, :-1] * (moved[:, -1:] > 0.999)
    if labels.ndim == 3:
        nearest = F.grid_sample(
            labels[:, None].to(images.dtype), grid, mode="nearest", padding_mode="zeros", align_corners=False
        )
        inside = (grid.abs() <= 1).all(dim=-1)
        labels = torch.where(inside, nearest[:, 0].round().long(), IGNORED)
    return images, labels


def _noise(like: Tensor, seeds: Sequence[int] | NDArray[np.int64]) -> Tensor:
    noise = torch.empty_like(like)
    generator = torch.Generator(device=like.device)
    for row, seed in zip(noise, seeds, strict=True):
        generator.manual_seed(int(seed))
        row.normal_(generator=generator)
    return noise
