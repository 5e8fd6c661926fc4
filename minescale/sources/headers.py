"""How a scene's file is laid out, from its header: what planning needs to price a run before it reads."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from minescale.config import ReadConfig
from minescale.sources import handles
from minescale.sources.access import Access
from minescale.sources.reader import band_asset
from minescale.sources.scenes import BandAsset, Scene
from minescale.sources.windows import pick_overview

SAMPLE = 64
"""Blocks looked at: enough for a mean, few enough for a remote file's tables."""
METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSummary:
    """One band of one scene at the level (full resolution or overview) that a read at some resolution takes."""

    factor: int
    """Decimation of that level, 1 for full resolution."""
    block: tuple[int, int]
    """(y, x) pixels per block of that level."""
    block_bytes: float
    """Mean compressed size of its blocks."""
    decoded_bytes: int
    """Size of a block once decoded."""
    overviews: tuple[int, ...]
    """Decimation factors the file offers."""
    transform: tuple[float, float, float, float, float, float]
    """Affine (a, b, c, d, e, f) of the full resolution."""
    shape: tuple[int, int]
    """(y, x) of the full resolution."""

    def matches(self, asset: BandAsset) -> bool:
        """Whether another scene's asset has the same pixel size, so that its file is probably laid out alike."""
        return asset.transform is None or (
            math.isclose(asset.transform[0], self.transform[0]) and math.isclose(asset.transform[4], self.transform[4])
        )


def block_sample(
    scene: Scene,
    band: str,
    resolution: float,
    *,
    access: Access | None = None,
    config: ReadConfig | None = None,
) -> BlockSummary | None:
    """Open one header; None where it cannot be opened (the run itself will say why).

    Parameters
    ----------
    resolution : pixel size of the planned read, in metres or degrees; taken over to the file's own unit.
    """
    config = config or ReadConfig()
    reach = access or Access.capture(config)
    _, asset = band_asset(scene, band)

    def look() -> BlockSummary | None:
        from rasterio.errors import RasterioError

        from minescale.errors import RemoteUnreachable

        try:
            with reach.restored(uncached=handles.is_broken(asset.href)):
                return _summarise(asset.href, resolution, lambda: reach.sign(asset.href, scene.provider))
        except (RasterioError, RemoteUnreachable):
            handles.mark_broken(asset.href)
            return None
        finally:
            handles.close_idle(asset.href)

    # GDAL's options are per thread except on the main one: a thread of its own leaves the caller's untouched.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(look).result()


def _summarise(href: str, resolution: float, address: handles.Address) -> BlockSummary:
    import numpy as np

    with handles.borrowed(href) as file:
        base = file.image(None, address)
        overview = pick_overview(base.factors, _own_unit(resolution, base) / abs(base.transform.e))
        image = file.image(overview, address)
        rows, cols = (-(-n // b) for n, b in zip(image.shape, image.block_shape, strict=True))
        picked = range(0, rows * cols, max(1, rows * cols // SAMPLE))
        sizes = [image.block_cost(*divmod(i, cols)) for i in picked]
    return BlockSummary(
        factor=1 if overview is None else base.factors[overview],
        block=image.block_shape,
        block_bytes=sum(sizes) / len(sizes),
        decoded_bytes=image.block_shape[0] * image.block_shape[1] * np.dtype(image.dtype).itemsize,
        overviews=base.factors,
        transform=tuple(base.transform)[:6],
        shape=base.shape,
    )


def _own_unit(resolution: float, image: handles.Image) -> float:
    """A pixel of more than a degree, or of less than a centimetre, is in the other unit."""
    size = abs(image.transform.e)
    if size < 0.01 and resolution > 1:
        return resolution / METRES_PER_DEGREE
    if size > 1 and resolution < 0.01:
        return resolution * METRES_PER_DEGREE
    return resolution
