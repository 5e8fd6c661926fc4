"""The interactive cube: a lazy xarray view of the same read path that the scan uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.config import CompositeConfig, Config
from minescale.cube.compose import compose
from minescale.errors import PlanTooLarge, UsageError
from minescale.grid import MosaicGrid, resolve_crs
from minescale.sensors import MASK, SENSORS, Sensor
from minescale.sources.access import Access
from minescale.sources.catalogs import search
from minescale.sources.freeze import freeze
from minescale.sources.reader import Reader
from minescale.sources.scenes import Layer, Scene, group_layers, source_anchor
from minescale.types import BBox, Period, PeriodRule

if TYPE_CHECKING:
    import xarray as xr

Engine = Literal["minescale", "stackstac"]
MAX_TASKS = 200_000
"""Beyond this many tasks Dask schedulers stall; a scan of the area is the way then."""


def open_cube(
    bbox: BBox | Sequence[float] | None = None,
    datetime: str | Period = "",
    bands: Sequence[str] = ("red", "green", "blue"),
    catalog: str = "planetary-computer",
    *,
    geobox: GeoBox | None = None,
    collections: Sequence[str] = (),
    query: Sequence[str] = (),
    composite: str | None = None,
    period: PeriodRule = "all",
    engine: Engine = "minescale",
    resolution: float | None = None,
    crs: str = "auto",
    chunk: int = 1024,
    config: Config | None = None,
) -> xr.Dataset:
    """Open an area as a lazy cube; nothing is read before ``.compute()`` or ``.load()``.

    Parameters
    ----------
    bbox, geobox : the area as W S E N in degrees, or exact pixels. One of the two.
    datetime : ``A/B``.
    bands : STAC common names.
    catalog : preset, STAC API, ``catalog.json`` or stac-geoparquet file, as for a scan.
    composite : None for one image per acquisition day, or a method of
        :class:`minescale.config.CompositeConfig` for one clear image per period.
    engine : ``minescale``, or ``stackstac`` behind the same signature.
    chunk : pixels per chunk edge.

    Returns
    -------
    xarray.Dataset
        ``reflectance`` (time, band, y, x) uint16, surface reflectance x 1e4, 0 = no data; and ``state``
        (time, y, x) uint8 (0 no data, 1 clear, 2 cloud or shadow, 3 snow or defect) where there is a quality
        band, or ``clear_count`` (time, y, x) uint16 with a composite.

    Raises
    ------
    NothingMatched, RemoteUnreachable, UsageError
    PlanTooLarge
        where the graph would hold more than 200,000 tasks.
    """
    config = config or Config()
    span = Period.parse(datetime)
    area = BBox.of(bbox) if bbox is not None else _extent(geobox)
    found = freeze(search(catalog, collections=collections, bbox=area, period=span, query=query), bands=bands)
    sensor = SENSORS[found.scenes[0].sensor]
    names = tuple(sensor.band(name).name for name in bands)
    if geobox is None:
        geobox = _grid(area, crs, resolution or min(sensor.resolution(n) for n in names), found.scenes).geobox
    longitude = area.center[0]
    layers = group_layers(found.scenes, longitude)
    tiles = -(-geobox.shape.y // chunk) * -(-geobox.shape.x // chunk)
    tasks = tiles * (len(layers) * (len(names) + 1) if composite is None else len(span.split(period)))
    if tasks > MAX_TASKS:
        raise PlanTooLarge(
            "the cube's graph is too large for a Dask scheduler",
            got=f"{tasks:,} tasks ({tiles:,} chunks x {len(layers)} days x {len(names) + 1} bands)",
            expected=f"at most {MAX_TASKS:,}",
            fix="minescale.scan for a large area, or a smaller area, period or a larger chunk",
        )
    settings = config.replace({"composite.method": composite}) if composite else config
    if engine == "stackstac":
        from minescale.cube.stackstac_engine import stackstac_cube

        cube = stackstac_cube(layers, geobox, names, chunk)
        if composite:
            cube = _reduce_lazily(cube, settings.composite, span.split(period))
    elif engine == "minescale":
        reader = Reader(Access.capture(config.read), config.read)
        if composite:
            cube = _composited(found.scenes, geobox, names, span.split(period), sensor, reader, settings, chunk)
        else:
            cube = _daily(layers, geobox, names, reader, config.composite, chunk)
    else:
        raise UsageError("unknown engine", got=engine, expected="minescale | stackstac")
    return _described(cube, geobox)


def _extent(geobox: GeoBox | None) -> BBox:
    if geobox is None:
        raise UsageError("open_cube needs an area", expected="bbox=(W, S, E, N) or geobox=")
    west, south, east, north = geobox.geographic_extent.boundingbox.bbox
    return BBox(west, south, east, north)


def _grid(area: BBox, crs: str, resolution: float, scenes: Sequence[Scene]) -> MosaicGrid:
    target = resolve_crs(crs, area)
    return MosaicGrid.around(
        area, crs=target, resolution=resolution, tile_size=512, anchor=source_anchor(scenes, target)
    )


def _blocks(geobox: GeoBox, chunk: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    def cut(n: int) -> tuple[int, ...]:
        return (*([chunk] * (n // chunk)), *([n % chunk] if n % chunk else []))

    return cut(geobox.shape.y), cut(geobox.shape.x)


def _daily(
    layers: Sequence[Layer],
    geobox: GeoBox,
    bands: tuple[str, ...],
    reader: Reader,
    composite: CompositeConfig,
    chunk: int,
) -> xr.Dataset:
    """One image per acquisition day; each Dask chunk is one call of the reader."""
    import dask.array as da
    import xarray as xr
    from dask import delayed

    rows, cols = _blocks(geobox, chunk)
    has_state = all(scene.has_mask for layer in layers for scene in layer.scenes)

    def block(band: str, layer: Layer, y: int, x: int) -> Any:
        window = geobox[y * chunk : y * chunk + rows[y], x * chunk : x * chunk + cols[x]]
        read = delayed(_read_chunk, pure=True)(reader, layer, window, band, composite.resampling)
        dtype = np.uint8 if band == MASK else np.uint16
        return da.from_delayed(read, (rows[y], cols[x]), dtype)

    def image(band: str, layer: Layer) -> Any:
        return da.block([[block(band, layer, y, x) for x in range(len(cols))] for y in range(len(rows))])

    reflectance = da.stack([da.stack([image(band, layer) for band in bands]) for layer in layers])
    variables: dict[str, Any] = {"reflectance": (("time", "band", "y", "x"), reflectance)}
    if has_state:
        variables["state"] = (("time", "y", "x"), da.stack([image(MASK, layer) for layer in layers]))
    return xr.Dataset(variables, coords={"time": _times(layers), "band": list(bands)})


def _read_chunk(
    reader: Reader, layer: Layer, window: GeoBox, band: str, resampling: Any
) -> NDArray[np.uint16] | NDArray[np.uint8]:
    read = reader.read([layer], window, band, resampling=resampling)
    if read.failures:
        import warnings

        for failure in read.failures:
            warnings.warn(f"{failure.scene_id} {failure.band} left out: {failure.cause}", stacklevel=2)
    return read.data[0]


def _composited(
    scenes: Sequence[Scene],
    geobox: GeoBox,
    bands: tuple[str, ...],
    periods: Sequence[Period],
    sensor: Sensor,
    reader: Reader,
    config: Config,
    chunk: int,
) -> xr.Dataset:
    """One clear image per period; each Dask chunk is one call of :func:`compose`."""
    import dask.array as da
    import xarray as xr
    from dask import delayed

    rows, cols = _blocks(geobox, chunk)

    def block(period: Period, y: int, x: int) -> Any:
        window = geobox[y * chunk : y * chunk + rows[y], x * chunk : x * chunk + cols[x]]
        chosen = [scene for scene in scenes if period.contains(scene.datetime)]
        made = delayed(_compose_chunk, pure=True)(chosen, window, bands, sensor, reader, config)
        return da.from_delayed(made, (len(bands) + 1, rows[y], cols[x]), np.uint16)

    def image(period: Period) -> Any:
        lines = [da.concatenate([block(period, y, x) for x in range(len(cols))], axis=2) for y in range(len(rows))]
        return da.concatenate(lines, axis=1)

    stack = da.stack([image(period) for period in periods])
    return xr.Dataset(
        {
            "reflectance": (("time", "band", "y", "x"), stack[:, :-1]),
            "clear_count": (("time", "y", "x"), stack[:, -1]),
        },
        coords={"time": [np.datetime64(p.start.replace(tzinfo=None), "ns") for p in periods], "band": list(bands)},
    )


def _compose_chunk(
    scenes: Sequence[Scene], window: GeoBox, bands: tuple[str, ...], sensor: Sensor, reader: Reader, config: Config
) -> NDArray[np.uint16]:
    """(band + 1, y, x): the composite, with the clear count as its last plane."""
    made = compose(scenes, window, bands, sensor=sensor, reader=reader, mask=config.mask, composite=config.composite)
    return np.concatenate([made.data, made.clear_count[None]])


def _reduce_lazily(cube: xr.Dataset, composite: CompositeConfig, periods: Sequence[Period]) -> xr.Dataset:
    """The xarray idiom of a masked median, for the stackstac engine: float32, lazy, unoptimised."""
    import xarray as xr

    if composite.method != "median":
        raise UsageError("the stackstac engine composites by median only", got=composite.method, expected="median")
    images, counts = [], []
    for period in periods:
        start, end = (np.datetime64(t.replace(tzinfo=None), "ns") for t in (period.start, period.end))
        part = cube.sel(time=slice(start, end))
        clear = part.state == 1 if "state" in part else part.reflectance.isel(band=0) > 0
        values = part.reflectance.where(clear & (part.reflectance > 0)).astype("float32")
        median = values.chunk(time=-1).median("time", skipna=True)
        images.append(np.floor(median + 0.5).fillna(0).astype("uint16"))
        counts.append(clear.sum("time").astype("uint16"))
    times = [np.datetime64(p.start.replace(tzinfo=None), "ns") for p in periods]
    joined = xr.Dataset({"reflectance": xr.concat(images, "time"), "clear_count": xr.concat(counts, "time")})
    return joined.assign_coords(time=times)


def _times(layers: Sequence[Layer]) -> list[np.datetime64]:
    return [np.datetime64(layer.scenes[0].datetime.replace(tzinfo=None), "ns") for layer in layers]


def _described(cube: xr.Dataset, geobox: GeoBox) -> xr.Dataset:
    """Coordinates, CRS and units."""
    from odc.geo.xr import xr_coords

    cube = cube.assign_coords(xr_coords(geobox))
    cube.reflectance.attrs = {
        "long_name": "surface reflectance",
        "units": "1e-4",
        "nodata": 0,
        "valid_range": [1, 65534],
        "grid_mapping": "spatial_ref",
    }
    if "state" in cube:
        cube.state.attrs = {
            "long_name": "what the quality band says",
            "flag_values": [0, 1, 2, 3],
            "flag_meanings": "no_data clear cloud_or_shadow snow_or_defect",
            "grid_mapping": "spatial_ref",
        }
    if "clear_count" in cube:
        cube.clear_count.attrs = {"long_name": "clear looks in the period", "units": "1", "grid_mapping": "spatial_ref"}
    return cube
