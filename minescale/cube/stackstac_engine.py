"""stackstac behind the cube's signature.

stackstac reads raw digital numbers on the cube's own grid; radiometry, quality states and the fusing of one
day's scenes follow here, per scene, from the same tables as the reader's. Its graph carries signed hrefs, so
it suits an interactive session, not a run of hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
from odc.geo.geobox import GeoBox

from minescale.errors import UsageError
from minescale.kernels.masking import decode
from minescale.kernels.scaling import apply_table, reflectance_table
from minescale.sensors import MASK, SENSORS
from minescale.sources.access import sign
from minescale.sources.scenes import Layer, Scene

if TYPE_CHECKING:
    import xarray as xr


def stackstac_cube(layers: Sequence[Layer], geobox: GeoBox, bands: tuple[str, ...], chunk: int) -> xr.Dataset:
    """One image per acquisition day, as :func:`minescale.cube.api.open_cube` describes it."""
    import stackstac
    import xarray as xr
    from rasterio.enums import Resampling

    code = pyproj.CRS(str(geobox.crs)).to_epsg()
    if code is None:
        raise UsageError("stackstac needs a CRS with an EPSG code", got=str(geobox.crs)[:60], expected="crs='EPSG:…'")
    with_state = all(scene.has_mask for layer in layers for scene in layer.scenes)
    assets = [*bands, *([MASK] if with_state else [])]
    scenes = [scene for layer in layers for scene in layer.scenes]
    stack = stackstac.stack(
        [_item(scene, code, assets) for scene in scenes],
        assets=assets,
        epsg=code,
        resolution=(abs(geobox.resolution.x), abs(geobox.resolution.y)),
        bounds=tuple(geobox.boundingbox.bbox),
        snap_bounds=False,
        chunksize=chunk,
        dtype=np.dtype("uint16"),
        fill_value=np.uint16(0),
        rescale=False,
        resampling=Resampling.nearest,
        sortby_date=False,
        xy_coords=False,
    )
    raw = dict(zip((scene.id for scene in scenes), stack.data, strict=True))
    days, states = [], []
    for layer in layers:
        images = [_harmonised(raw[scene.id], scene, assets) for scene in layer.scenes]
        day = images[0]
        for image in images[1:]:
            day = _first_with_data(day, image)
        days.append(day[: len(bands)])
        states.append(day[len(bands)].astype("uint8") if with_state else None)
    import dask.array as da

    variables: dict[str, Any] = {"reflectance": (("time", "band", "y", "x"), da.stack(days))}
    if with_state:
        variables["state"] = (("time", "y", "x"), da.stack(states))
    times = [np.datetime64(layer.scenes[0].datetime.replace(tzinfo=None), "ns") for layer in layers]
    return xr.Dataset(variables, coords={"time": times, "band": list(bands)})


def _item(scene: Scene, code: int, assets: Sequence[str]) -> dict[str, Any]:
    """A plain STAC dict: stackstac reads ``proj:epsg`` only, which pystac would rewrite to ``proj:code``."""
    epsg = pyproj.CRS(scene.crs).to_epsg() or code
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": scene.id,
        "bbox": list(scene.footprint.bounds),
        "geometry": scene.footprint.__geo_interface__,
        "properties": {"datetime": scene.datetime.isoformat(), "proj:epsg": epsg},
        "assets": {
            name: {
                "href": sign(scene.bands[name].href, scene.provider),
                "type": "image/tiff; application=geotiff",
                **({"proj:transform": list(scene.bands[name].transform or ())} if scene.bands[name].transform else {}),
                **({"proj:shape": list(scene.bands[name].shape or ())} if scene.bands[name].shape else {}),
            }
            for name in assets
        },
        "links": [],
    }


def _harmonised(image: Any, scene: Scene, assets: Sequence[str]) -> Any:
    """(asset, y, x) digital numbers to reflectance x 1e4, the quality band to states."""
    import dask.array as da

    rule = SENSORS[scene.sensor].mask
    planes = []
    for i, name in enumerate(assets):
        asset = scene.bands[name]
        if name == MASK:
            planes.append(image[i].map_blocks(lambda block: decode(block, rule).astype("uint16"), dtype="uint16"))
        else:
            table = reflectance_table(asset.scale, asset.offset, asset.nodata)
            planes.append(
                image[i].map_blocks(
                    lambda block, table=table: apply_table(np.ascontiguousarray(block), table), dtype="uint16"
                )
            )
    return da.stack(planes)


def _first_with_data(first: Any, second: Any) -> Any:
    import dask.array as da

    return da.where(first != 0, first, second)
