"""Regions on disk: made once, found again by the digest of their spec."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from minescale.cache import cache_root, locked
from minescale.errors import StoreError
from minescale.sensors import SENTINEL2_L2A
from minescale.synthetic.breakage import break_scenes
from minescale.synthetic.catalog import COLLECTION, Json, asset_key, item_id, make_item, write_catalog
from minescale.synthetic.geometry import Geometry, TileFrame, lay_out
from minescale.synthetic.landscape import build_ground
from minescale.synthetic.rasters import write_cog
from minescale.synthetic.reflectance import TileGround, look_up
from minescale.synthetic.render import render
from minescale.synthetic.spec import DEMO, RegionSpec
from minescale.synthetic.spectra import Surface
from minescale.synthetic.truth import COVERS, POLYGONS, TRUTH, write_truth
from minescale.synthetic.weather import Look, cloudy_share, looks, seen_outline, sky
from minescale.types import BBox, Period

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""

_BYTES_PER_PIXEL = 8.0
"""Disk bytes per 10 m pixel and date with six bands, generously."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A finished region on disk. All paths are absolute; links inside the catalogue are relative."""

    spec: RegionSpec
    path: Path
    bbox: BBox
    """Area of interest; every date's two tiles cover it, apart from the swath's edge on some dates."""
    period: Period
    dates: tuple[dt.date, ...]
    """Acquisition days; the truth raster counts them from 1."""

    @property
    def catalog(self) -> Path:
        return self.path / "catalog.json"

    @property
    def truth_raster(self) -> Path:
        """uint8 on the lattice of ``MosaicGrid.around(bbox, crs=auto_crs(bbox), resolution=10)``.

        0 = never mined, k = mined from date index k - 1 on; no nodata value.
        """
        return self.path / TRUTH

    @property
    def truth_polygons(self) -> Path:
        """GeoJSON, longitude/latitude, one feature per connected mine."""
        return self.path / POLYGONS

    @property
    def cover_raster(self) -> Path:
        """uint8 land cover on the last date, same lattice; values of ``Cover``, legend in the band's tags."""
        return self.path / COVERS

    @property
    def size_bytes(self) -> int:
        """Disk space of all files; hard links count once."""
        seen = {(s.st_dev, s.st_ino): s.st_size for s in (f.stat() for f in self.path.rglob("*") if f.is_file())}
        return sum(seen.values())


def ensure_region(
    spec: RegionSpec = DEMO,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
    *,
    threads: int | None = None,
) -> Region:
    """The region of ``spec``, generated on first use.

    Written beside its final place and renamed when complete, so that a killed call leaves no half region behind;
    concurrent calls wait for the first. The bytes depend on the spec alone, not on ``threads``.

    Raises
    ------
    StoreError
        where the cache folder cannot be written or its disk is too small.
    """
    geometry = lay_out(spec)
    dates = looks(spec, geometry, len(Surface))
    folder = cache_root(cache_dir) / "synthetic" / f"{spec.name}-{spec.digest}"
    region = Region(
        spec=spec,
        path=folder,
        bbox=geometry.bbox,
        period=Period.parse(f"{dates[0].moment:%Y-%m-%d}/{dates[-1].moment:%Y-%m-%d}"),
        dates=tuple(look.moment.date() for look in dates),
    )
    if region.catalog.exists():
        return region
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_suffix(".lock")):
            if region.catalog.exists():
                return region
            _check_space(folder.parent, spec)
            scratch = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            try:
                _generate(spec, geometry, dates, scratch, progress, threads)
                scratch.chmod(0o755)
                scratch.rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"synthetic region {spec.name} could not be written to {folder.parent}",
            got=f"{type(error).__name__}: {error}",
            fix="cache_dir=... or MINESCALE_CACHE naming a writable folder with space",
        ) from error
    return region


def _check_space(folder: Path, spec: RegionSpec) -> None:
    need = spec.width_px * spec.height_px * spec.n_dates * _BYTES_PER_PIXEL * max(len(spec.bands), 2) / 6
    free = shutil.disk_usage(folder).free
    if free < need:
        raise StoreError(
            f"disk is too small for synthetic region {spec.name}",
            got=f"{free / 1e9:.2f} GB free in {folder}",
            expected=f"about {need / 1e9:.2f} GB",
            fix="cache_dir=... or MINESCALE_CACHE on a larger disk, or a smaller RegionSpec",
        )


def _generate(
    spec: RegionSpec,
    geometry: Geometry,
    dates: tuple[Look, ...],
    folder: Path,
    progress: Progress | None,
    threads: int | None,
) -> None:
    workers = threads or min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2, 8)
    scenes = [(look, k) for look in dates for k in range(2)]
    steps = len(scenes) + 2
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, steps)

    with ThreadPoolExecutor(workers) as pool:
        ground = build_ground(spec, geometry.ground_shape, geometry.aoi, pool, spec.n_dates)
        step()
        views = list(pool.map(lambda t: look_up(ground.records, t), geometry.tiles))
        truth = pool.submit(write_truth, folder, ground, geometry, dates, spec.block)
        jobs = [pool.submit(_scene, spec, geometry, look, k, views[k], folder) for look, k in scenes]
        items: list[Json] = []
        for job in jobs:
            item = job.result()
            if item is not None:
                items.append(item)
            step()
        truth.result()
        step()
    if spec.broken:
        items += break_scenes(folder, items)
    write_catalog(folder, spec, items)


def _scene(spec: RegionSpec, geometry: Geometry, look: Look, k: int, ground: TileGround, folder: Path) -> Json | None:
    """Render and write one tile of one date; None where the swath misses the tile."""
    tile: TileFrame = geometry.tiles[k]
    seen = seen_outline(look, tile)
    if seen is None:
        return None
    view = sky(look, tile)
    home = folder / COLLECTION / item_id(look, k, tile)
    home.mkdir(parents=True)
    rendered = render(ground, look, view, tile, spec.bands)
    for band, pixels in rendered.bands.items():
        transform = tile.transform(int(SENTINEL2_L2A.resolution(band)))
        write_cog(home / f"{asset_key(band)}.tif", pixels, crs=tile.crs, transform=transform, block=spec.block)
    write_cog(
        home / "SCL.tif",
        rendered.classes,
        crs=tile.crs,
        transform=tile.transform(20),
        block=spec.block,
        average=False,
    )
    return make_item(look, k, tile, seen, spec.bands, cloudy_share(view, rendered.classes > 0))
