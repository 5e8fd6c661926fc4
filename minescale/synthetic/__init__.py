"""Deterministic regions with mines, written as real COGs with a static STAC catalogue and the truth.

``ensure_region()`` generates one on first use; ``training_regions()`` names regions to train on that are not the demo.
"""

from typing import TYPE_CHECKING

from minescale.synthetic.spec import DEMO, SMALL, RegionSpec, training_regions
from minescale.synthetic.spectra import Cover

if TYPE_CHECKING:
    from minescale.synthetic.region import Region, ensure_region

__all__ = ["DEMO", "SMALL", "Cover", "Region", "RegionSpec", "ensure_region", "training_regions"]


def __getattr__(name: str) -> object:
    # Region and ensure_region bring numba and rasterio: loaded when asked for.
    if name in {"Region", "ensure_region"}:
        from minescale.synthetic import region

        return getattr(region, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
