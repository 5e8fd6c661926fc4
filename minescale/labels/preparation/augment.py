"""Augmented copies of samples: turned, mirrored, lit, hazed and noisy, their labels turned and mirrored alike.

All of it happens on values from 0 to 1, before any mean and deviation are applied: a haze of white light and a noise of
0.02 mean nothing on standardised numbers. Split a set before it is augmented; the audit finds siblings on both sides.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.sets.dataset import ChipReader, Dataset

COPIES = 5
PLACED = ("crs", "left", "top", "pixel_x", "pixel_y", "chip")
"""Columns that say where the pixels of a sample lie; no longer true of one that was turned or mirrored."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A flip from left to right, or none, then quarter turns counter-clockwise: the eight symmetries of a square."""

    quarters: int = 0
    mirrored: bool = False

    def __call__(self, array: NDArray[Any]) -> NDArray[Any]:
        """The last two axes (y, x) turned; where they differ in length an odd number of quarters swaps them."""
        return np.rot90(array[..., ::-1] if self.mirrored else array, self.quarters, (-2, -1))


TURNS = tuple(Turn(quarters, mirrored) for mirrored in (False, True) for quarters in range(4))
FLIPS_AND_ROTATIONS = (Turn(), Turn(1), Turn(2), Turn(3), Turn(0, True))
"""The original, three rotations and a flip: 39 tiles become 195. Which flips the fifth seed used it does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteAugmentation:
    """The second seed's transforms and their ranges; applied in this order."""

    flip: float = 0.5
    """Probability of a horizontal flip, and of a vertical one; then 0, 90, 180 or 270 degrees, equally likely."""
    brightness: float = 0.15
    """Factor from 1 - this to 1 + this, for all bands alike: the height of the sun."""
    contrast: float = 0.15
    """Distance from each band's mean, times a factor from 1 - this to 1 + this."""
    haze: float = 0.30
    """Probability of haze, ``x t + A (1 - t)`` (Koschmieder's law): transmission t and airlight A for all bands."""
    transmission: tuple[float, float] = (0.7, 1.0)
    airlight: tuple[float, float] = (0.8, 1.0)
    noise: float = 0.02
    """Standard deviation of the sensor's noise, drawn for each pixel and band."""

    def draw(self, rng: np.random.Generator) -> Draw:
        """What one copy will be made with."""
        flip_h, flip_v = rng.random(2) < self.flip
        # Upside down is mirrored and turned by half.
        turn = Turn(int(rng.integers(4) + 2 * flip_v) % 4, bool(flip_h ^ flip_v))
        hazy = rng.random() < self.haze
        transmission, airlight = rng.uniform(*self.transmission), rng.uniform(*self.airlight)
        return Draw(
            turn=turn,
            brightness=rng.uniform(1 - self.brightness, 1 + self.brightness),
            contrast=rng.uniform(1 - self.contrast, 1 + self.contrast),
            transmission=transmission if hazy else 1.0,
            airlight=airlight,
            noise=self.noise,
            noise_seed=int(rng.integers(2**63)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """The numbers that one augmented copy is made with."""

    turn: Turn
    brightness: float = 1.0
    contrast: float = 1.0
    transmission: float = 1.0
    airlight: float = 1.0
    noise: float = 0.0
    noise_seed: int = 0

    def image(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Augment an image.

        Parameters
        ----------
        image : (band, y, x) from 0 to 1, NaN = no data.

        Returns
        -------
        float32 (band, y, x), clipped to 0-1; NaN where there was no data.

        Raises
        ------
        UsageError
            for values outside 0-1, such as digital numbers or standardised ones.
        """
        low, high = (float(np.nanmin(image)), float(np.nanmax(image))) if np.isfinite(image).any() else (0.0, 0.0)
        if low < 0 or high > 1:
            raise UsageError(
                "augmentation works on values from 0 to 1, before they are standardised",
                got=f"{low:g} to {high:g}",
                expected="0 to 1",
                fix="divide by what a value of 1 is, 10000 for reflectance x 1e4, and clip",
            )
        x = self.turn(image).astype(np.float32) * np.float32(self.brightness)
        flat = x.reshape(len(x), -1)
        seen = np.isfinite(flat)
        means = np.where(seen, flat, 0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        middle = means.astype(np.float32)[:, None, None]
        x = middle + (x - middle) * np.float32(self.contrast)
        x = x * np.float32(self.transmission) + np.float32(self.airlight * (1 - self.transmission))
        if self.noise:
            rng = np.random.default_rng(self.noise_seed)
            x += np.float32(self.noise) * rng.standard_normal(x.shape, np.float32)
        return np.clip(x, 0, 1)

    def mask(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The labels (y, x), turned and mirrored as the image was."""
        return np.ascontiguousarray(self.turn(mask))


def augmented(
    dataset: Dataset,
    copies: int = COPIES,
    *,
    seed: int = 0,
    how: SatelliteAugmentation | None = None,
    full_scale: float | None = None,
) -> Dataset:
    """``copies`` augmented copies of each sample, without the samples themselves; made when they are read.

    A copy is called ``<id>_aug1`` and so on, and its ``parent`` is the sample, or that sample's own parent. What it
    looks like depends on the seed and its name, not on the order or number of the others. Images keep units and
    element type.

    Parameters
    ----------
    full_scale : what counts as 1; default: 255 for uint8, 10,000 for reflectance x 1e4, 1 for reflectance. Brighter
        values are clipped.

    Raises
    ------
    UsageError
        where the units do not say what counts as 1.
    """
    if copies < 1:
        raise UsageError("number of copies", got=copies, expected="1 or more")
    chosen = how or SatelliteAugmentation()
    ids = [str(i) for i in dataset.samples["id"]]
    draws = [
        [chosen.draw(np.random.default_rng([seed, zlib.crc32(name.encode()), copy])) for copy in range(copies)]
        for name in ids
    ]
    record = {"preset": "satellite", "copies": copies, "seed": seed, **asdict(chosen)}
    return _copied(dataset, draws, record, full_scale or _full_scale(dataset))


def flips_and_rotations(dataset: Dataset) -> Dataset:
    """The fifth seed's set: each sample as it is, turned by 90, 180 and 270 degrees, and mirrored. Pixels are exact.

    The first of each five keeps the sample's id. The number of independent samples stays what it was.
    """
    draws = [[Draw(turn=turn) for turn in FLIPS_AND_ROTATIONS]] * len(dataset)
    return _copied(dataset, draws, {"preset": "flips and rotations", "copies": 5, "original": True}, None)


def _copied(dataset: Dataset, draws: Sequence[Sequence[Draw]], record: dict[str, Any], scale: float | None) -> Dataset:
    each = len(draws[0])
    rows = np.repeat(np.arange(len(dataset)), each)
    table = dataset.samples.iloc[rows].drop(columns=[c for c in PLACED if c in dataset.samples])
    table = table.reset_index(drop=True)
    table["parent"] = dataset.parents().to_numpy()[rows]
    kept = scale is None
    names = ["" if kept and k == 0 else f"_aug{k + (not kept)}" for k in range(each)]
    table["id"] = [f"{name}{suffix}" for name in dataset.samples["id"] for suffix in names]
    flat = tuple(draw for per_sample in draws for draw in per_sample)
    return replace(
        dataset,
        name=f"{dataset.name}-augmented",
        samples=pd.DataFrame(table),
        reader=_Augmented(dataset.reader, rows, flat, dataset.nodata, scale),
        provenance=dataset.provenance | {"augmentation": record},
    )


@dataclass(frozen=True, slots=True)
class _Augmented:
    reader: ChipReader
    rows: NDArray[np.intp]
    draws: tuple[Draw, ...]
    nodata: float | None
    scale: float | None
    """What counts as 1; None: images are turned only."""

    def image(self, row: int) -> NDArray[Any]:
        image, draw = self.reader.image(int(self.rows[row])), self.draws[row]
        if self.scale is None:
            return np.ascontiguousarray(draw.turn(image))
        unit = np.clip(image / np.float32(self.scale), 0, 1).astype(np.float32)
        if self.nodata is not None:
            unit[image == self.nodata] = np.nan
        made = draw.image(unit) * np.float32(self.scale)
        missing = np.isnan(made)
        if image.dtype.kind in "iu":
            # A dark pixel must not become the value that says "no data".
            made = np.rint(np.where(missing, 0, made))
            if self.nodata == 0:
                made = np.maximum(made, 1)
        filler = np.nan if self.nodata is None else self.nodata
        return np.where(missing, filler, made).astype(image.dtype) if missing.any() else made.astype(image.dtype)

    def mask(self, row: int) -> NDArray[np.uint8] | None:
        mask = self.reader.mask(int(self.rows[row]))
        return None if mask is None else self.draws[row].mask(mask)


def _full_scale(dataset: Dataset) -> float:
    dtype = dataset.reader.image(0).dtype
    if dtype == np.uint8:
        return 255.0
    if dataset.units.startswith("reflectance x 1e4"):
        return 10_000.0
    if dataset.units.startswith("reflectance") and dtype.kind == "f":
        return 1.0
    raise UsageError(
        f"which value of {dataset.name} counts as 1?", got=f"{dtype}, {dataset.units}", fix="full_scale=, --full-scale"
    )
