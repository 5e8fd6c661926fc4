"""The read path: scenes and a GeoBox in, harmonised pixels out. The cube and the scan both use it.

Order of work for every scene: choose the overview, read the window as stored, turn digital numbers into
reflectance (or quality codes into states), and only then put it on the target grid. So nodata never bleeds
into a resampled value and quality codes are never averaged.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.config import ReadConfig
from minescale.errors import RemoteUnreachable, UsageError
from minescale.kernels import masking, scaling
from minescale.kernels.filling import Decoding, decoding
from minescale.sensors import MASK, SENSORS
from minescale.sources import handles, windows
from minescale.sources.access import Access
from minescale.sources.demand import Demand
from minescale.sources.failures import (
    Cause,
    ReadFailure,
    ask_server,
    backoff_s,
    classify,
    describe,
    max_attempts,
)
from minescale.sources.inflate import NotInflated
from minescale.sources.placement import Geometry, Piece, Placement
from minescale.sources.pool import computing, gather, start_all
from minescale.sources.probe import DARK_BANDS, ProbeVerdict, probe_offset
from minescale.sources.scenes import BandAsset, Layer, Scene

RESAMPLINGS = ("nearest", "bilinear", "cubic")
_FOOTPRINT_MARGIN = 0.02
"""Degrees by which a catalogue's footprint may be too small."""

_probed: set[tuple[str, str]] = set()
_probed_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class BandRead:
    """One band of a stack of layers on one GeoBox."""

    data: NDArray[Any]
    """(layer, y, x): uint16 reflectance x 1e4, 0 = nodata; or uint8 states for the quality band."""
    bytes_read: int
    """Compressed bytes of the source blocks decoded; GDAL's own caches do not change it."""
    requests: int
    """Source blocks decoded."""
    failures: tuple[ReadFailure, ...] = ()
    doubts: tuple[ProbeVerdict, ...] = ()
    """Scenes whose pixels contradict their metadata's offset; each is reported once per process."""


@dataclass(slots=True)
class _Tally:
    bytes_read: int = 0
    requests: int = 0
    failures: tuple[ReadFailure, ...] = ()
    doubts: tuple[ProbeVerdict, ...] = ()


@dataclass(frozen=True, slots=True)
class PendingRead:
    """A read on its way."""

    _data: NDArray[Any]
    _futures: Sequence[Future[_Tally]]

    def done(self) -> bool:
        """Whether :meth:`result` would not wait."""
        return all(future.done() for future in self._futures)

    def result(self) -> BandRead:
        """Wait for the read."""
        tallies = gather(self._futures)
        return BandRead(
            data=self._data,
            bytes_read=sum(t.bytes_read for t in tallies),
            requests=sum(t.requests for t in tallies),
            failures=tuple(f for t in tallies for f in t.failures),
            doubts=tuple(d for t in tallies for d in t.doubts),
        )


class Reader:
    """Reads bands. Holds only values: making one does no I/O, it can be pickled and shared by threads."""

    def __init__(
        self, access: Access | None = None, config: ReadConfig | None = None, *, cores: int | None = None
    ) -> None:
        self.config = config or ReadConfig()
        self.cores = cores or os.cpu_count() or 1
        """Cores of this process: as many threads, and one more, decode at a time."""
        self.access = access if access is not None else Access.capture(self.config)

    def read(
        self,
        layers: Sequence[Layer],
        geobox: GeoBox,
        band: str,
        *,
        resampling: str = "nearest",
        out: NDArray[Any] | None = None,
        ahead: Sequence[GeoBox] = (),
    ) -> BandRead:
        """:meth:`start` and wait."""
        return self.start(layers, geobox, band, resampling=resampling, out=out, ahead=ahead).result()

    def start(
        self,
        layers: Sequence[Layer],
        geobox: GeoBox,
        band: str,
        *,
        resampling: str = "nearest",
        out: NDArray[Any] | None = None,
        ahead: Sequence[GeoBox] = (),
        demands: Sequence[Demand] | None = None,
    ) -> PendingRead:
        """Begin to read one band of ``layers`` on ``geobox``.

        Each layer is one chain, read by one thread: its scenes are fused in order, the first with data wins,
        so the result never depends on timing. A scene that does not touch the geobox costs nothing. A scene
        that cannot be read is reported in ``failures`` and leaves its pixels at 0; it never raises.

        Parameters
        ----------
        band : STAC common name, or ``mask`` for the quality band decoded to states.
        resampling : nearest, bilinear or cubic; the quality band is always nearest.
        out : array (layer, y, x) to fill instead of a new one, uint16 (uint8 for ``mask``).
        ahead : geoboxes that this process will read next: source blocks that they share with this one are kept.
        demands : by layer, the part of the geobox that will be looked at. Elsewhere ``out`` may hold anything.

        Raises
        ------
        UsageError
            for an unknown band or resampling, a scene without the band, or an ``out`` that does not fit.
        """
        if resampling not in RESAMPLINGS:
            raise UsageError("unknown resampling", got=resampling, expected=" | ".join(RESAMPLINGS))
        dtype = np.uint8 if band == MASK else np.uint16
        shape = (len(layers), *geobox.shape.yx)
        if out is None:
            out = np.empty(shape, dtype)
        elif out.shape != shape or out.dtype != dtype:
            raise UsageError(
                "output array does not fit", got=f"{out.dtype} {out.shape}", expected=f"{np.dtype(dtype)} {shape}"
            )
        plan = [[(scene, *band_asset(scene, band)) for scene in layer.scenes] for layer in layers]
        geometry = Geometry(geobox, "nearest" if band == MASK else resampling, ahead)
        jobs = [
            (chain[0][2].href, partial(self._read_layer, chain, geometry, demands[i] if demands else None, out[i]))
            for i, chain in enumerate(plan)
        ]
        # A disk has no latency worth hiding, and more threads than cores only push each other out of the caches.
        near = all(handles.is_local(chain[0][2].href) for chain in plan)
        threads = min(self.config.threads, self.cores + 1) if near else self.config.threads
        return PendingRead(out, start_all(jobs, threads))

    def _read_layer(
        self,
        chain: Sequence[tuple[Scene, str, BandAsset]],
        geometry: Geometry,
        demand: Demand | None,
        out: NDArray[Any],
    ) -> _Tally:
        tally = _Tally()
        written = False
        for scene, band, asset in chain:
            if not touches(scene, asset, geometry):
                continue
            if written and out.all():
                break  # the layer is complete; later scenes could not change a pixel
            written |= self._read_scene(scene, band, asset, geometry, demand, tally, out, fresh=not written)
        if not written:
            out[:] = 0
        return tally

    def _read_scene(
        self,
        scene: Scene,
        band: str,
        asset: BandAsset,
        geometry: Geometry,
        demand: Demand | None,
        tally: _Tally,
        out: NDArray[Any],
        *,
        fresh: bool,
    ) -> bool:
        """Put the scene on ``out`` where that is still 0, or on all of it where it is ``fresh``, with retries by cause.

        Returns whether ``out`` was written; a failure leaves it as it was.
        """
        from rasterio.errors import RasterioError

        attempt, refused = 0, None
        while True:
            attempt += 1
            address = _Address(self.access, asset.href, scene.provider, refused)
            uncached = attempt > 1 or handles.is_broken(asset.href)
            file: handles.File | None = None
            try:
                self.access.hold()
                with (
                    self.access.restored(uncached=True) if uncached else nullcontext(),
                    handles.borrowed(asset.href) as file,
                ):
                    return self._read_once(scene, band, asset, file, address, geometry, demand, tally, out, fresh=fresh)
            except (RasterioError, RemoteUnreachable) as error:
                url = address.used or (file and file.url) or asset.href
                handles.mark_broken(asset.href)
                cause, message = self._cause(error, url), describe(error)
            if attempt >= max_attempts(cause, self.config.retries):
                tally.failures += (
                    ReadFailure(
                        scene_id=scene.id,
                        band=band,
                        href=asset.href,
                        cause=cause,
                        attempts=attempt,
                        message=message,
                    ),
                )
                return False
            refused = url if cause == "forbidden" else None
            time.sleep(backoff_s(cause, attempt, self.config.backoff_s))

    def _cause(self, error: Exception, url: str) -> Cause:
        if isinstance(error, RemoteUnreachable):
            return "unreachable"
        cause = classify(error)
        if cause in {"corrupt", "other"} and url.startswith(("http://", "https://")):
            return ask_server(url, self.config.timeout_s)
        return cause

    def _read_once(
        self,
        scene: Scene,
        band: str,
        asset: BandAsset,
        file: handles.File,
        address: handles.Address,
        geometry: Geometry,
        demand: Demand | None,
        tally: _Tally,
        out: NDArray[Any],
        *,
        fresh: bool,
    ) -> bool:
        image = file.image(None, address)
        crs = image.crs or scene.crs
        overview = windows.pick_overview(image.factors, geometry.ratio(image.transform, crs))
        if overview is not None:
            image = file.image(overview, address)
        landing = geometry.place(image.transform, image.shape, crs, image.block_shape)
        if landing.window.empty:
            return False
        next_windows = geometry.windows_ahead(image.transform, image.shape, crs)
        budget, idle = self.config.reuse_mb * 2**20, landing.idle(demand)
        for inflate in (True, False):
            parts = image.read(landing.window, next_windows, budget, landing.needed, idle, inflate=inflate)
            with computing(self.cores + 1):
                done = self._put(parts, landing, scene, band, asset, tally, out, fresh=fresh)
            tally.bytes_read += parts.bytes_read
            tally.requests += parts.decoded
            if done:
                break  # else the same again by GDAL, which overwrites what was put
        return True

    def _put(
        self,
        parts: handles.Parts,
        landing: Placement,
        scene: Scene,
        band: str,
        asset: BandAsset,
        tally: _Tally,
        out: NDArray[Any],
        *,
        fresh: bool,
    ) -> bool:
        """Decode the parts of a window and put them on ``out``; False where GDAL must decode them."""
        pieces: Iterable[Piece] = ((part, _codes(stored)) for part, stored in parts.pieces)
        try:
            probe = band in DARK_BANDS and (scene.id, band) not in _probed
            # What is there already must stay if a block turns out to be broken: then all are decoded first.
            if probe or not fresh:
                pieces = [(part, stored.copy()) for part, stored in pieces]
                if probe and pieces:
                    _probe(pieces, scene, band, asset, tally)
            # The only place where scale and offset are used.
            decode = _states(scene.sensor) if band == MASK else _reflectance(asset.scale, asset.offset, asset.nodata)
            landing.put(pieces, decode, out, fresh=fresh)
        except NotInflated:
            return False
        parts.release()
        return True


class _Address:
    """Signs where a file is opened, and remembers what it gave out: a refused signature must not come again."""

    def __init__(self, access: Access, href: str, provider: str, refused: str | None) -> None:
        self._sign = partial(access.sign, href, provider, refused=refused)
        self.used: str | None = None

    def __call__(self) -> str:
        self.used = self._sign()
        return self.used


def band_asset(scene: Scene, band: str) -> tuple[str, BandAsset]:
    """A scene's asset for a band name or alias, with the name it is kept under.

    Raises
    ------
    UsageError
        where the sensor or the scene has no such band.
    """
    name = band if band == MASK else SENSORS[scene.sensor].band(band).name
    asset = scene.bands.get(name)
    if asset is None:
        raise UsageError(
            f"scene {scene.id} lacks a band",
            got=band,
            expected=", ".join(scene.bands),
            fix="exclude the scene when freezing the catalogue, or ask for its bands only",
        )
    return name, asset


def touches(scene: Scene, asset: BandAsset, geometry: Geometry) -> bool:
    """Whether a scene can have pixels on the geobox, from its metadata alone (no I/O)."""
    if asset.transform is not None and asset.shape is not None:
        return geometry.touches(Affine(*asset.transform), asset.shape, scene.crs)
    west, south, east, north = scene.footprint.bounds
    if east - west > 180:
        return True  # a footprint across the antimeridian, written the long way round
    margin = _FOOTPRINT_MARGIN
    extent = geometry.geobox.geographic_extent.boundingbox
    clear_of = extent.bottom > north + margin or extent.top < south - margin
    shifts = (-360.0, 0.0, 360.0)
    meets = any(extent.left + s <= east + margin and extent.right + s >= west - margin for s in shifts)
    return meets and not clear_of


def _codes(stored: NDArray[Any]) -> NDArray[Any]:
    """Digital numbers, uint8 or uint16: what does not fit is nodata or saturated."""
    if stored.dtype in (np.uint8, np.uint16):
        return stored
    if stored.dtype.kind not in "iu":
        from rasterio.errors import RasterioError

        raise RasterioError(f"raster is {stored.dtype}, not digital numbers: decode error")
    clipped: NDArray[np.uint16] = np.clip(stored, 0, 65535).astype(np.uint16)
    return clipped


@lru_cache(maxsize=8)
def _states(sensor: str) -> Decoding:
    """State of every possible quality value."""
    return decoding(masking.decode(np.arange(65536, dtype=np.uint16), SENSORS[sensor].mask))


@lru_cache(maxsize=64)
def _reflectance(scale: float, offset: float, nodata: int | None) -> Decoding:
    return decoding(scaling.reflectance_table(scale, offset, nodata))


def _probe(pieces: Sequence[Piece], scene: Scene, band: str, asset: BandAsset, tally: _Tally) -> None:
    """Probe a scene's band, unless the window is too small to tell."""
    dn = np.concatenate([stored.reshape(-1) for _, stored in pieces])
    verdict = probe_offset(
        dn, scale=asset.scale, offset=asset.offset, nodata=asset.nodata, scene_id=scene.id, band=band
    )
    if verdict is None:
        return
    with _probed_lock:
        first = (scene.id, band) not in _probed
        _probed.add((scene.id, band))
    if first and verdict.contradicts:
        tally.doubts += (verdict,)
