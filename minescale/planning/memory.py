"""How much memory a tile needs, known before it is submitted.

The projection follows the steps of :func:`minescale.cube.compose.compose` and of the prediction; a test
compares it with the measured peak of worker processes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from minescale.config import Config
from minescale.cube import rooms
from minescale.cube.compose import LOOKS_BYTES, LOOKS_IN_FLIGHT
from minescale.cube.pieces import cut
from minescale.cube.units import PIECEWISE, most_pixels
from minescale.errors import PlanTooLarge
from minescale.kernels.composite import METHODS
from minescale.sources.handles import IDLE_BYTES

_MB = 1_000_000
PROCESS_BYTES = 320 * _MB
"""Resident memory of a worker with every library of a scan imported and kernels loaded, before its first tile."""
TORCH_BYTES = 260 * _MB
"""What importing torch and running a first batch adds."""
ALLOCATOR_BYTES = 120 * _MB
"""Room for freed memory in gaps between blocks in use, which the allocator keeps. A worker grew by 260 MB over its
first ten scans of one region and then stayed; the other terms are upper bounds and hold the rest of it."""
_TILES = 2
"""The tile that is worked on, and the one whose reads have begun."""
HANDLE_OVERHEAD = 1.5
"""Memory of open images beyond the decoded blocks they hold."""
WINDOW_COPIES = 3
"""A window in flight exists as read, as reflectance, and as warped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryProjection:
    """Peak bytes of one worker while it works on the plan's hungriest tile."""

    process: int
    allocator: int
    block_cache: int
    reuse: int
    """Decoded blocks kept for neighbouring tiles."""
    handles: int
    """Open files."""
    states: int
    stack: int
    windows: int
    composite: int
    model: int

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


def project_memory(
    *,
    config: Config,
    tile_px: int,
    halo: int,
    n_bands: int,
    n_channels: int,
    layers: int,
    mask_factor: int,
    model_bytes: int,
    uses_torch: bool,
) -> MemoryProjection:
    """Project a worker's peak.

    Parameters
    ----------
    n_bands, n_channels : bands that are read, and channels that they are composited to.
    layers : most acquisition days that cover one tile in one period.
    mask_factor : how much coarser than the tile its quality band is read (2 for SCL at 10 m, unless scenes warp).
    model_bytes : what one prediction of a tile needs, by the model's own estimate.
    """
    side = tile_px + 2 * halo
    pixels = side * side
    used = min(layers, config.composite.max_scenes)
    joint = METHODS[config.composite.method] == "bands"
    mask_pixels = pixels // mask_factor**2
    deep = used * (n_bands if joint else 1) * 2
    piece = _piece_pixels(config, side, halo, n_bands, used)
    reuse = store_bytes(config, tile_px=tile_px, halo=halo, n_bands=n_bands, layers=layers)
    return MemoryProjection(
        process=PROCESS_BYTES + (TORCH_BYTES if uses_torch else 0),
        allocator=ALLOCATOR_BYTES,
        block_cache=config.read.cache_mb * _MB,
        reuse=reuse,
        handles=int(IDLE_BYTES * HANDLE_OVERHEAD),
        # quality bands on their way or dilated, one bit for each look, and the states of the piece in work
        states=(min(layers * mask_pixels, LOOKS_BYTES) * (LOOKS_IN_FLIGHT + 1) + layers * mask_pixels // 8) * _TILES
        + used * piece // mask_factor**2,
        # all of two tiles may be on its way where kept blocks leave room for it
        stack=min(
            deep * pixels * (1 if joint else n_bands) * _TILES, max(rooms.BUDGET - reuse, rooms.LEAST * deep * piece)
        ),
        windows=config.read.threads * pixels * 2 * WINDOW_COPIES,
        composite=(n_channels * pixels * 2 + pixels * (2 + 1 + 1)) * _TILES,
        model=model_bytes,
    )


def store_bytes(config: Config, *, tile_px: int, halo: int, n_bands: int, layers: int) -> int:
    """Most that a worker keeps of blocks for neighbours: deep stacks leave less room for them. Arguments as above."""
    used = min(layers, config.composite.max_scenes)
    bands = n_bands if METHODS[config.composite.method] == "bands" else 1
    piece = _piece_pixels(config, tile_px + 2 * halo, halo, n_bands, used)
    return min(config.read.reuse_mb << 20, rooms.store_limit(2 * used * bands * piece))


def _piece_pixels(config: Config, side: int, halo: int, n_bands: int, used: int) -> int:
    """Pixels of the largest piece that a tile with ``side`` pixels along its edges is composited in."""
    if config.composite.resampling not in PIECEWISE:
        return side * side
    most = most_pixels(max(used, 1), n_bands if METHODS[config.composite.method] == "bands" else 1)
    return max(math.prod(piece.shape()) for piece in cut((side, side), most, (-halo, -halo)))


def check_memory(projection: MemoryProjection, limit: int, *, tile_px: int, layers: int) -> None:
    """Refuse a plan whose tiles cannot fit.

    Raises
    ------
    PlanTooLarge
        naming the projected and the allowed bytes and what would help.
    """
    if projection.total > limit:
        raise PlanTooLarge(
            "a tile needs more memory than a worker has",
            got=f"{projection.total / _MB:,.0f} MB for {tile_px} px tiles with {layers} layers",
            expected=f"at most {limit / _MB:,.0f} MB per worker",
            fix="a smaller --tile-size or --max-scenes, fewer --workers, or a higher --memory-limit",
        )
