"""From a request to a plan: search once, resolve the grid, decide on the pyramid, check that it fits."""

from __future__ import annotations

from collections.abc import Sequence

from minescale.config import Config
from minescale.errors import UsageError
from minescale.grid import SNAP_PX, MosaicGrid, resolve_crs
from minescale.models.package import ModelPackage, check_fits, load_package
from minescale.models.predictor import find_family, resolve_device
from minescale.models.windows import peak_bytes, work_of_tile
from minescale.planning.cost import Prices, price_plan
from minescale.planning.memory import MemoryProjection, check_memory, project_memory
from minescale.planning.plan import LevelSpec, ScanPlan, ScanRequest
from minescale.planning.pyramid import expected_survivors, pyramid_pays
from minescale.sensors import MASK, SENSORS, Sensor
from minescale.sources.catalogs import search
from minescale.sources.freeze import FrozenCatalog, freeze, scenes_digest
from minescale.sources.scenes import source_anchor
from minescale.types import Channel, physical_bands

FLAT_TILE, PYRAMID_TILE = 1024, 512
"""Default tile edges: large tiles read whole source blocks; small ones prune more finely."""


def make_plan(request: ScanRequest, config: Config, *, catalog: str, memory_limit: int) -> ScanPlan:
    """Plan a scan. Reads catalogue pages and a few headers, never pixels.

    Parameters
    ----------
    catalog : where ``request.catalog`` is found (the demo's name resolves to a path).
    memory_limit : bytes a worker may take.

    Raises
    ------
    NothingMatched, RemoteUnreachable, UsageError, ModelError, PlanTooLarge
    """
    package = load_package(request.model)
    if config.engine.device != "auto" and not config.engine.device.startswith("cuda"):
        # Whether there is a GPU is known to the workers only.
        resolve_device(package.spec, config.engine.device)
    bands = _needed_bands(package)
    found = search(
        catalog, collections=request.collections, bbox=request.bbox, period=request.period, query=request.query
    )
    frozen = freeze(found, bands=bands)
    sensor = _one_sensor(frozen)
    flat = plan_scenes(request, config, package, frozen, sensor, pyramid=False, reason="")
    _check_fits_memory(flat, package, memory_limit)
    reason = _no_pyramid(config, package)
    if reason:
        return flat.because(reason)
    coarse = plan_scenes(request, config, package, frozen, sensor, pyramid=True, reason="as asked")
    _check_fits_memory(coarse, package, memory_limit)
    if config.pyramid.mode == "on":
        return coarse
    prices = Prices.sample(coarse)
    measured = package.screen.spec.expected_survivors if package.screen else None
    survivors = expected_survivors(config.pyramid, coarse.keep_threshold, measured)
    behind, alone = price_plan(coarse, prices, survivors=survivors), price_plan(flat, prices, survivors=1.0)
    pays, why = pyramid_pays(
        len(coarse.index(0)), survivors, behind.bytes / max(alone.bytes, 1), behind.seconds / max(alone.seconds, 1e-9)
    )
    return (coarse if pays else flat).because(why)


def _no_pyramid(config: Config, package: ModelPackage) -> str:
    """Why there can be no pyramid; empty where there can."""
    if config.pyramid.mode == "off":
        return "switched off"
    if package.screen is None:
        if config.pyramid.mode == "on":
            raise UsageError(
                "a pyramid needs a coarse model, and the package has none",
                got=package.spec.name,
                expected="a package with a screen/ folder",
                fix="--pyramid off, or another --model",
            )
        return f"package {package.spec.name} has no screen"
    return ""


def _needed_bands(package: ModelPackage) -> tuple[str, ...]:
    screen = package.screen.spec.bands if package.screen else ()
    return physical_bands((*package.spec.bands, *screen))


def _one_sensor(frozen: FrozenCatalog) -> Sensor:
    names = sorted({scene.sensor for scene in frozen.scenes})
    if len(names) > 1:
        raise UsageError(
            "one scan reads one sensor",
            got=", ".join(names),
            expected="collections of one sensor",
            fix=f"--collection {SENSORS[names[0]].collections[0]}",
        )
    return SENSORS[names[0]]


def plan_scenes(
    request: ScanRequest,
    config: Config,
    package: ModelPackage,
    frozen: FrozenCatalog,
    sensor: Sensor,
    *,
    pyramid: bool,
    reason: str,
) -> ScanPlan:
    """The plan for scenes that are already found, with or without a coarse level; ``reason`` says why."""
    resolution = config.grid.resolution or package.spec.resolution
    packages: Sequence[ModelPackage] = (package,)
    factors: tuple[int, ...] = (1,)
    if pyramid and package.screen is not None:
        packages = (package, package.screen)
        factors = (1, max(round(package.screen.spec.resolution / resolution), 2))
    for found, factor in zip(packages, factors, strict=True):
        check_fits(found.spec, sensor, resolution * factor)
    crs = resolve_crs(config.grid.crs, request.bbox)
    tile_size = config.grid.tile_size or (PYRAMID_TILE if pyramid else FLAT_TILE)
    on_source = any(scene.crs == crs for scene in frozen.scenes)
    grid = MosaicGrid.around(
        request.bbox,
        crs=crs,
        resolution=resolution,
        tile_size=tile_size,
        factors=factors,
        anchor=source_anchor(frozen.scenes, crs),
        align_px=tile_size if on_source else SNAP_PX,
        lead_px=package.spec.halo if on_source else 0,
    )
    threshold = config.pyramid.threshold
    if threshold is None and package.screen is not None:
        threshold = package.screen.spec.keep_threshold
    return ScanPlan(
        request=request,
        config=config,
        sensor=sensor.name,
        grid=grid,
        periods=request.period.split(request.period_rule),
        levels=tuple(
            LevelSpec(
                level=i,
                resolution=grid.level_resolution(i),
                family=found.spec.family,
                bands=_channels(found.spec.bands, sensor),
                halo=found.spec.halo,
                model_digest=found.digest,
                work=work_of_tile(found.spec, round(tile_size * grid.resolution / grid.level_resolution(i))),
            )
            for i, found in enumerate(packages)
        ),
        threshold=package.spec.threshold,
        keep_threshold=threshold or 0.0,
        pyramid_reason=reason,
        scenes_digest=scenes_digest(frozen.scenes),
        scenes=frozen.scenes,
        excluded=frozen.excluded,
    )


def _channels(names: Sequence[str], sensor: Sensor) -> tuple[str, ...]:
    """The same channels by the sensor's own band names."""
    channels = (Channel.parse(name) for name in names)
    return tuple(str(Channel(sensor.band(c.band).name, c.percentile)) for c in channels)


def plan_memory(plan: ScanPlan, package: ModelPackage) -> MemoryProjection:
    """The hungriest tile of the plan, over its levels."""
    packages = [found for found in (package, package.screen) if found is not None][: len(plan.levels)]
    sensor = SENSORS[plan.sensor]
    projections = []
    for level, found in zip(plan.levels, packages, strict=True):
        # Where a scene must be warped, or has no quality band, masks are made at the tile's own resolution.
        plain = all(scene.has_mask and scene.crs == plan.grid.crs for scene in plan.scenes)
        factor = max(int(sensor.resolution(MASK) // level.resolution), 1) if plain else 1
        projections.append(
            project_memory(
                config=plan.config,
                tile_px=plan.grid.tile_size,
                halo=level.halo,
                n_bands=len(level.physical_bands),
                n_channels=len(level.bands),
                layers=most_layers(plan, level.level),
                mask_factor=factor,
                model_bytes=peak_bytes(found.spec, plan.grid.tile_size, level.halo),
                uses_torch=any(find_family(other.family).torch for other in plan.levels),
            )
        )
    return max(projections, key=lambda p: p.total)


def most_layers(plan: ScanPlan, level: int) -> int:
    """Most acquisition days that cover one tile in one period."""
    return int(plan.index(level).looks(plan.periods).max(initial=0))


def _check_fits_memory(plan: ScanPlan, package: ModelPackage, limit: int) -> None:
    layers = most_layers(plan, 0)
    check_memory(plan_memory(plan, package), limit, tile_px=plan.grid.tile_size, layers=layers)
