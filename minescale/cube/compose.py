"""One clear image of one place and period: read, mask, composite.

The interactive cube and the country scan both go through :func:`compose`, so what a notebook shows is what
a run used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.config import CompositeConfig, MaskConfig
from minescale.kernels import composite as kernels
from minescale.kernels import masking
from minescale.kernels.resample import repeat
from minescale.sensors import CLEAR, MASK, NODATA, Sensor
from minescale.sources import reuse
from minescale.sources.failures import ReadFailure
from minescale.sources.probe import ProbeVerdict
from minescale.sources.reader import Reader
from minescale.sources.scenes import Layer, Scene, group_layers
from minescale.types import Reason

METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """A clear image on one GeoBox."""

    data: NDArray[np.uint16]
    """(band, y, x) reflectance x 1e4; 0 = no clear look."""
    bands: tuple[str, ...]
    clear_count: NDArray[np.uint16]
    """(y, x) clear looks in the period, whether or not the composite needed them all."""
    reason: NDArray[np.uint8]
    """(y, x) :class:`minescale.types.Reason`."""
    layers_seen: int
    """Layers (acquisition days) that cover the place."""
    layers_used: int
    """Layers that went into the composite."""
    n_scenes: int
    """Scenes whose bands were read."""
    bytes_read: int
    requests: int
    losses: tuple[ReadFailure, ...]
    """Scenes that were dropped because they could not be read."""
    unmasked: tuple[str, ...]
    """Scenes used without a quality band."""
    doubts: tuple[ProbeVerdict, ...]
    """Scenes whose pixels contradict the radiometry their metadata leads to."""


def compose(
    scenes: Sequence[Scene],
    geobox: GeoBox,
    bands: Sequence[str],
    *,
    sensor: Sensor,
    reader: Reader,
    mask: MaskConfig | None = None,
    composite: CompositeConfig | None = None,
    ahead: Sequence[GeoBox] = (),
) -> Composite:
    """Composite the scenes' clear looks on ``geobox``.

    A scene of which any band fails to read is left out whole, so that bands never mix dates; the loss is
    reported in the result. Without a single readable scene the result is all nodata with its reason.

    Parameters
    ----------
    scenes : candidate scenes of one sensor; those that do not touch the geobox cost nothing.
    geobox : target pixels, halo included.
    bands : STAC common names, in the order of the result.
    ahead : neighbouring geoboxes that this process composites next, halo included: what both read is kept for them.
    """
    reuse.next_tile()
    mask = mask or MaskConfig()
    composite = composite or CompositeConfig()
    remaining = list(scenes)
    losses: list[ReadFailure] = []
    doubts: list[ProbeVerdict] = []
    bytes_read = requests = 0
    while True:
        attempt = _Attempt(remaining, geobox, tuple(bands), sensor, reader, mask, composite, ahead)
        attempt.run()
        bytes_read += attempt.bytes_read
        requests += attempt.requests
        doubts.extend(attempt.doubts)
        if not attempt.failures:
            break
        lost = {failure.scene_id for failure in attempt.failures}
        losses.extend(attempt.failures)
        remaining = [scene for scene in remaining if scene.id not in lost]
    return Composite(
        data=attempt.data,
        bands=tuple(bands),
        clear_count=attempt.clear_count,
        reason=_reason(attempt.data, attempt.observed & (attempt.clear_count == 0), bool(losses)),
        layers_seen=attempt.layers_seen,
        layers_used=len(attempt.used),
        n_scenes=sum(len(layer.scenes) for layer in attempt.used),
        bytes_read=bytes_read,
        requests=requests,
        losses=tuple(losses),
        unmasked=attempt.unmasked,
        doubts=tuple(doubts),
    )


class _Attempt:
    """One pass over the scenes. Stops at the first band (or mask) of which a scene fails."""

    def __init__(
        self,
        scenes: Sequence[Scene],
        geobox: GeoBox,
        bands: tuple[str, ...],
        sensor: Sensor,
        reader: Reader,
        mask: MaskConfig,
        composite: CompositeConfig,
        ahead: Sequence[GeoBox],
    ) -> None:
        self.scenes, self.geobox, self.bands, self.sensor = scenes, geobox, bands, sensor
        self.reader, self.mask, self.composite, self.ahead = reader, mask, composite, ahead
        shape = geobox.shape.yx
        self.data = np.zeros((len(bands), *shape), np.uint16)
        self.clear_count = np.zeros(shape, np.uint16)
        self.observed = np.zeros(shape, bool)
        self.layers_seen = 0
        self.used: tuple[Layer, ...] = ()
        self.unmasked: tuple[str, ...] = ()
        self.bytes_read = self.requests = 0
        self.failures: tuple[ReadFailure, ...] = ()
        self.doubts: tuple[ProbeVerdict, ...] = ()
        self._room = np.empty(0, np.uint16)

    def run(self) -> None:
        longitude = self.geobox.geographic_extent.centroid.coords[0][0] if self.scenes else 0.0
        layers = group_layers(self.scenes, longitude)
        if not layers:
            return
        factor = 1
        if self._masked(self.scenes):
            factor = native_factor(self.scenes, self.geobox, MASK)
        states = self._states(layers, factor)
        if self.failures:
            return
        self.layers_seen = int(np.count_nonzero(states.any(axis=(1, 2))))
        self.clear_count = repeat(masking.clear_count(states), factor)
        self.observed = repeat(masking.observed(states).astype(np.uint8), factor).astype(bool)
        chosen = choose_layers(states, self.composite.max_scenes)
        self.used = tuple(layers[i] for i in chosen)
        if chosen:
            self._composite(np.ascontiguousarray(states[chosen]), factor)

    def _masked(self, scenes: Sequence[Scene]) -> bool:
        return self.mask.enabled and all(scene.has_mask for scene in scenes)

    def _read(
        self, layers: Sequence[Layer], band: str, factor: int = 1, pad: int = 0, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """A band ``factor`` times coarser than the geobox, with ``pad`` of its pixels more on every side."""
        target, *ahead = (zoom_out(geobox, factor).pad(pad) for geobox in (self.geobox, *self.ahead))
        read = self.reader.read(layers, target, band, resampling=self.composite.resampling, ahead=ahead, out=out)
        self.bytes_read += read.bytes_read
        self.requests += read.requests
        self.failures += read.failures
        self.doubts += read.doubts
        return read.data

    def _states(self, layers: tuple[Layer, ...], factor: int) -> NDArray[np.uint8]:
        """(layer, y/factor, x/factor) states, clouds dilated as if the image had no border."""
        coarse = zoom_out(self.geobox, factor)
        radius = round(self.mask.dilate_m / pixel_metres(coarse)) if self.mask.enabled else 0
        rows, cols = coarse.shape.yx
        with_mask = [i for i, layer in enumerate(layers) if self._masked(layer.scenes)]
        without = [i for i in range(len(layers)) if i not in set(with_mask)]
        states = np.zeros((len(layers), rows + 2 * radius, cols + 2 * radius), np.uint8)
        if with_mask:
            states[with_mask] = self._read([layers[i] for i in with_mask], MASK, factor, radius)
        if without:
            # No quality band: wherever there is data, the ground counts as seen. The caller warns.
            data = self._read([layers[i] for i in without], self.bands[0], factor, radius)
            states[without] = np.where(data > 0, CLEAR, NODATA).astype(np.uint8)
            if self.mask.enabled:
                self.unmasked = tuple(scene.id for i in without for scene in layers[i].scenes if not scene.has_mask)
        if radius and with_mask and not self.failures:
            states = masking.dilate(states, radius)[:, radius:-radius, radius:-radius]
        elif radius:
            states = states[:, radius:-radius, radius:-radius]
        return np.ascontiguousarray(states)

    def _composite(self, states: NDArray[np.uint8], mask_factor: int) -> None:
        if kernels.METHODS[self.composite.method] == "bands":
            self._composite_jointly(states, mask_factor)
            return
        scenes = [scene for layer in self.used for scene in layer.scenes]
        for i, band in enumerate(self.bands):
            factor = math.gcd(native_factor(scenes, self.geobox, band), mask_factor)
            stack = self._read(self.used, band, factor, out=self._stack(factor))
            if self.failures:
                return
            image = self._reduce(stack, states, mask_factor // factor)
            self.data[i] = repeat(image, factor) if factor > 1 else image

    def _stack(self, factor: int) -> NDArray[np.uint16]:
        """Room for one band of all layers, the same for every band: fresh pages cost as much as the composite."""
        shape = (len(self.used), *zoom_out(self.geobox, factor).shape.yx)
        size = math.prod(shape)
        if size > self._room.size:
            self._room = np.empty(size, np.uint16)
        return self._room[:size].reshape(shape)

    def _reduce(self, stack: NDArray[np.uint16], states: NDArray[np.uint8], factor: int) -> NDArray[np.uint16]:
        match self.composite.method:
            case "percentile":
                return kernels.percentile(stack, states, factor, self.composite.percentile)
            case "latest":
                return kernels.latest(stack, states, factor)
            case _:
                return kernels.median(stack, states, factor)

    def _composite_jointly(self, states: NDArray[np.uint8], mask_factor: int) -> None:
        """Methods that choose one date, or one point in spectral space, for all bands at once."""
        shape = self.geobox.shape.yx
        stack = np.zeros((len(self.used), len(self.bands), *shape), np.uint16)
        for i, band in enumerate(self.bands):
            stack[:, i] = self._read(self.used, band)
            if self.failures:
                return
        full = np.ascontiguousarray(repeat(states, mask_factor)) if mask_factor > 1 else states
        reduce = kernels.geomedian if self.composite.method == "geomedian" else kernels.medoid
        self.data = reduce(stack, full)


def choose_layers(states: NDArray[np.uint8], limit: int) -> list[int]:
    """Indices, oldest first, of at most ``limit`` layers: the clearest, but none that would leave ground unseen.

    ``states`` is (layer, y, x). A plain "clearest first" drops the only look at a corner that one orbit alone
    covers; so while another layer sees pixels that no chosen one sees, it takes the place of the least clear
    chosen layer whose going costs less than it brings.
    """
    clear = masking.clear_per_layer(states)
    order = [int(i) for i in np.lexsort((np.arange(len(clear)), -clear)) if clear[i] > 0]
    chosen, spare = order[:limit], order[limit:]
    if spare:
        looks = (states[chosen] == CLEAR).sum(axis=0, dtype=np.uint16)
        for candidate in spare:
            fresh = states[candidate] == CLEAR
            gain = int(np.count_nonzero(fresh & (looks == 0)))
            if gain == 0:
                continue
            losses = [int(np.count_nonzero((states[i] == CLEAR) & (looks == 1) & ~fresh)) for i in chosen]
            victim = min(range(len(chosen)), key=lambda j: (losses[j], clear[chosen[j]]))
            if losses[victim] < gain:
                looks += fresh
                looks -= states[chosen[victim]] == CLEAR
                chosen[victim] = candidate
    return sorted(chosen)


def native_factor(scenes: Sequence[Scene], geobox: GeoBox, band: str) -> int:
    """How many times coarser than the geobox a band can be read without changing a single pixel.

    A 20 m band on a 10 m mosaic is read and composited at 20 m, and each pixel repeated 2 x 2 afterwards: the
    same values for a quarter of the work. It holds only where every scene lies on the coarser lattice; a scene
    that must be warped is warped straight to the geobox.
    """
    factor = 0
    target = geobox.resolution.x
    for scene in scenes:
        asset = scene.bands.get(band)
        if asset is None or asset.transform is None or geobox.crs is None or str(geobox.crs) != scene.crs:
            return 1
        size, _, left, _, negative, top = asset.transform
        ratio = round(size / target)
        aligned = (
            ratio >= 1
            and _whole(size / (ratio * target), 1.0)
            and _whole(-negative / (ratio * target), 1.0)
            and _whole_number((geobox.transform.c - left) / size)
            and _whole_number((top - geobox.transform.f) / size)
        )
        if not aligned:
            return 1
        factor = math.gcd(factor, ratio)
    rows, cols = geobox.shape.yx
    return math.gcd(factor, rows, cols) or 1


def zoom_out(geobox: GeoBox, factor: int) -> GeoBox:
    """The same ground with pixels ``factor`` times as large; the shape must divide."""
    if factor == 1:
        return geobox
    rows, cols = geobox.shape.yx
    return GeoBox((rows // factor, cols // factor), geobox.affine * Affine.scale(factor), geobox.crs)


def pixel_metres(geobox: GeoBox) -> float:
    """Pixel size in metres; degrees are counted at the equator's length."""
    size = abs(geobox.resolution.y)
    if geobox.crs is not None and geobox.crs.geographic:
        return float(size * METRES_PER_DEGREE)
    return float(size)


def _whole(value: float, wanted: float) -> bool:
    return abs(value - wanted) < 1e-6


def _whole_number(value: float) -> bool:
    return abs(value - round(value)) < 0.01


def _reason(data: NDArray[np.uint16], clouded: NDArray[np.bool_], losses: bool) -> NDArray[np.uint8]:
    seen = (data != 0).all(axis=0)
    reason = np.where(clouded, np.uint8(Reason.NEVER_CLEAR), np.uint8(Reason.NO_SCENE))
    if losses:
        reason[:] = Reason.READ_FAILED
    reason[seen] = Reason.SEEN_WITH_LOSSES if losses else Reason.SEEN
    return reason
