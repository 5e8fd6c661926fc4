"""Plans of areas that were never imaged: for tests of what planning and driving cost as areas grow."""

from __future__ import annotations

import datetime as dt

from shapely import box

from minescale import api
from minescale.config import load_config
from minescale.models.package import load_package
from minescale.planning.make import plan_scenes
from minescale.planning.plan import ScanPlan
from minescale.sensors import SENSORS
from minescale.sources.freeze import FrozenCatalog
from minescale.sources.scenes import BandAsset, Scene
from minescale.types import BBox

TILE = 64
SENSOR = "sentinel-2-l2a"


def granule(lon: float, lat: float, day: int) -> Scene:
    """A scene of 0.2 degrees from a corner on, on a day of 2024, in the neighbouring UTM zone."""
    bands = {
        band: BandAsset(
            href=f"https://example.org/{lon}-{lat}-{day}/{band}.tif",
            transform=(10.0, 0.0, round(lon * 1e5, -1), 0.0, -10.0, round(lat * 1e5, -1)),
            shape=(2400, 2400),
        )
        for band in ("blue", "green", "red", "nir", "swir16", "swir22", "mask")
    }
    return Scene(
        id=f"{lon:.1f}/{lat:.1f}/{day}",
        collection=SENSOR,
        provider="other",
        sensor=SENSOR,
        platform="sentinel-2a",
        datetime=dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=day),
        crs="EPSG:32629",
        footprint=box(lon, lat, lon + 0.22, lat + 0.22),
        bands=bands,
    )


def country(degrees: float, days: int = 2, *, pyramid: bool = False) -> ScanPlan:
    """A plan of a square west of Greenwich with tiles of 64 pixels: about 290 of them per 0.1 x 0.1 degrees."""
    west, south = -2.0, 6.0
    steps = [round(i * 0.2, 1) for i in range(int(degrees / 0.2) + 1)]
    scenes = tuple(granule(west + x, south + y, day) for day in range(days) for y in steps for x in steps)
    model = "demo" if pyramid else "baseline"
    wanted = api.request(
        catalog="none", bbox=BBox(west, south, west + degrees, south + degrees), datetime="2024", model=model
    )
    config = load_config(overrides={"grid.tile_size": TILE, "store.chunk": TILE})
    frozen = FrozenCatalog(scenes=scenes, excluded=())
    return plan_scenes(
        wanted, config, load_package(model), frozen, SENSORS[SENSOR], pyramid=pyramid, reason="for a test"
    )
