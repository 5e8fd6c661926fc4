"""One clear image of one place and period: read, mask, composite.

The interactive cube and the country scan both go through :func:`compose`, so what a notebook shows is what
a run used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.config import CompositeConfig, MaskConfig
from minescale.cube.nesting import native_factor, pixel_metres, zoom_out
from minescale.kernels import composite as kernels
from minescale.kernels import masking
from minescale.kernels.resample import repeat
from minescale.sensors import CLEAR, MASK, NODATA, Sensor
from minescale.sources import reuse
from minescale.sources.failures import ReadFailure
from minescale.sources.probe import ProbeVerdict
from minescale.sources.reader import PendingRead, Reader
from minescale.sources.scenes import Layer, Scene, group_layers
from minescale.types import Reason

BANDS_IN_FLIGHT = 2
"""Bands on their way at a time, the one being composited included."""


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
) -> Composite:
    """Composite the scenes' clear looks on ``geobox``.

    A scene of which any band fails to read is left out whole, so that bands never mix dates; the loss is
    reported in the result. Without a single readable scene the result is all nodata with its reason.

    Parameters
    ----------
    scenes : candidate scenes of one sensor; those that do not touch the geobox cost nothing.
    geobox : target pixels, halo included.
    bands : STAC common names, in the order of the result.
    """
    return begin(scenes, geobox, bands, sensor=sensor, reader=reader, mask=mask, composite=composite).finish()


def begin(
    scenes: Sequence[Scene],
    geobox: GeoBox,
    bands: Sequence[str],
    *,
    sensor: Sensor,
    reader: Reader,
    mask: MaskConfig | None = None,
    composite: CompositeConfig | None = None,
    ahead: Sequence[GeoBox] = (),
) -> Composing:
    """Begin a composite: its quality bands are being read when this returns.

    Parameters
    ----------
    ahead : neighbouring geoboxes that this process composites next, halo included: what both read is kept for them.

    The others as for :func:`compose`.
    """
    reuse.next_tile()
    attempt = partial(
        _Attempt,
        geobox=geobox,
        bands=tuple(bands),
        sensor=sensor,
        reader=reader,
        mask=mask or MaskConfig(),
        composite=composite or CompositeConfig(),
        ahead=ahead,
    )
    return Composing(scenes, attempt)


class Composing:
    """A composite on its way. Reads go on by themselves; :meth:`advance` follows them up."""

    def __init__(self, scenes: Sequence[Scene], attempt: Callable[[Sequence[Scene]], _Attempt]) -> None:
        self._remaining = list(scenes)
        self._try = attempt
        self._attempt = attempt(self._remaining)

    def advance(self) -> None:
        """Do what has become possible, without waiting: once the quality bands are in, the first bands are read."""
        self._attempt.advance()

    def finish(self, meanwhile: Callable[[], None] | None = None) -> Composite:
        """Wait for the composite; ``meanwhile`` is called now and then, for other composites on their way."""
        losses: list[ReadFailure] = []
        doubts: list[ProbeVerdict] = []
        bytes_read = requests = 0
        while True:
            attempt = self._attempt
            attempt.finish(meanwhile)
            bytes_read += attempt.bytes_read
            requests += attempt.requests
            doubts.extend(attempt.doubts)
            if not attempt.failures:
                break
            lost = {failure.scene_id for failure in attempt.failures}
            losses.extend(attempt.failures)
            self._remaining = [scene for scene in self._remaining if scene.id not in lost]
            self._attempt = self._try(self._remaining)
        return Composite(
            data=attempt.data,
            bands=attempt.bands,
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
        longitude = geobox.geographic_extent.centroid.coords[0][0] if scenes else 0.0
        self._layers = group_layers(scenes, longitude)
        self._factor = native_factor(scenes, geobox, MASK) if self._masked(scenes) else 1
        self._states = np.empty(0, np.uint8)
        self._looks = self._start_looks() if self._layers else []
        """Reads of quality bands, with the positions of their layers; emptied when they have been taken in."""
        self._reads: list[PendingRead] = []
        """Reads of bands, in the order of the bands."""
        self._rooms = [np.empty(0, np.uint16) for _ in range(BANDS_IN_FLIGHT)]

    def advance(self) -> None:
        if self._looks and all(read.done() for _, read in self._looks):
            self._take_looks()
        if self.used and not self._reads and not self.failures:
            self._start_bands(0)

    def finish(self, meanwhile: Callable[[], None] | None = None) -> None:
        if self._looks:
            self._take_looks()
        if not self.used or self.failures:
            return
        if kernels.METHODS[self.composite.method] == "bands":
            self._composite_jointly(meanwhile)
        else:
            self._composite_by_band(meanwhile)

    def _masked(self, scenes: Sequence[Scene]) -> bool:
        return self.mask.enabled and all(scene.has_mask for scene in scenes)

    def _start(
        self, layers: Sequence[Layer], band: str, factor: int = 1, pad: int = 0, out: NDArray[Any] | None = None
    ) -> PendingRead:
        """A band ``factor`` times coarser than the geobox, with ``pad`` of its pixels more on every side."""
        target, *ahead = (zoom_out(geobox, factor).pad(pad) for geobox in (self.geobox, *self.ahead))
        return self.reader.start(layers, target, band, resampling=self.composite.resampling, ahead=ahead, out=out)

    def _take(self, pending: PendingRead) -> NDArray[Any]:
        read = pending.result()
        self.bytes_read += read.bytes_read
        self.requests += read.requests
        self.failures += read.failures
        self.doubts += read.doubts
        return read.data

    def _start_looks(self) -> list[tuple[list[int], PendingRead]]:
        """Begin to read what tells clear ground: quality bands, or else whether there is data at all."""
        radius = self._radius()
        with_mask = [i for i, layer in enumerate(self._layers) if self._masked(layer.scenes)]
        without = [i for i in range(len(self._layers)) if i not in set(with_mask)]
        return [
            (which, self._start([self._layers[i] for i in which], band, self._factor, radius))
            for which, band in ((with_mask, MASK), (without, self.bands[0]))
            if which
        ]

    def _radius(self) -> int:
        """Pixels by which clouds grow."""
        metres = pixel_metres(zoom_out(self.geobox, self._factor))
        return round(self.mask.dilate_m / metres) if self.mask.enabled else 0

    def _take_looks(self) -> None:
        """Turn the quality bands into states, clouds dilated as if the image had no border, and choose layers."""
        radius, factor = self._radius(), self._factor
        rows, cols = (n // factor + 2 * radius for n in self.geobox.shape.yx)
        states = np.zeros((len(self._layers), rows, cols), np.uint8)
        masked = False
        for which, pending in self._looks:
            read = self._take(pending)
            if read.dtype == np.uint8:
                states[which] = read
                masked = True
                continue
            # No quality band: wherever there is data, the ground counts as seen. The caller warns.
            states[which] = np.where(read > 0, CLEAR, NODATA).astype(np.uint8)
            if self.mask.enabled:
                scenes = [scene for i in which for scene in self._layers[i].scenes]
                self.unmasked = tuple(scene.id for scene in scenes if not scene.has_mask)
        self._looks = []
        if self.failures:
            return
        if radius and masked:
            states = masking.dilate(states, radius)
        if radius:
            states = np.ascontiguousarray(states[:, radius:-radius, radius:-radius])
        self.layers_seen = int(np.count_nonzero(states.any(axis=(1, 2))))
        self.clear_count = repeat(masking.clear_count(states), factor)
        self.observed = repeat(masking.observed(states).astype(np.uint8), factor).astype(bool)
        chosen = choose_layers(states, self.composite.max_scenes)
        self.used = tuple(self._layers[i] for i in chosen)
        self._states = np.ascontiguousarray(states[chosen])

    def _start_bands(self, done: int) -> None:
        """Have ``BANDS_IN_FLIGHT`` bands on their way after the ``done`` first ones."""
        joint = kernels.METHODS[self.composite.method] == "bands"
        for i in range(len(self._reads), min(done + BANDS_IN_FLIGHT, len(self.bands))):
            factor = 1 if joint else self._band_factor(self.bands[i])
            self._reads.append(self._start(self.used, self.bands[i], factor, out=self._room(i, factor)))

    def _band_factor(self, band: str) -> int:
        scenes = [scene for layer in self.used for scene in layer.scenes]
        return math.gcd(native_factor(scenes, self.geobox, band), self._factor)

    def _next_band(self, i: int, meanwhile: Callable[[], None] | None) -> NDArray[np.uint16]:
        """Band ``i`` of all layers, while the next ones are read; its array serves again ``BANDS_IN_FLIGHT`` later."""
        self._start_bands(i)
        if meanwhile is not None:
            meanwhile()
        stack: NDArray[np.uint16] = self._take(self._reads[i])
        if self.failures:
            for pending in self._reads[i + 1 :]:
                self._take(pending)
        return stack

    def _composite_by_band(self, meanwhile: Callable[[], None] | None) -> None:
        for i, band in enumerate(self.bands):
            stack = self._next_band(i, meanwhile)
            if self.failures:
                return
            factor = self._band_factor(band)
            image = self._reduce(stack, self._states, self._factor // factor)
            self.data[i] = repeat(image, factor) if factor > 1 else image

    def _room(self, i: int, factor: int) -> NDArray[np.uint16]:
        """Room for one band of all layers, used in turn: fresh pages cost as much as the composite."""
        shape = (len(self.used), *zoom_out(self.geobox, factor).shape.yx)
        size, turn = math.prod(shape), i % BANDS_IN_FLIGHT
        if size > self._rooms[turn].size:
            self._rooms[turn] = np.empty(size, np.uint16)
        return self._rooms[turn][:size].reshape(shape)

    def _reduce(self, stack: NDArray[np.uint16], states: NDArray[np.uint8], factor: int) -> NDArray[np.uint16]:
        match self.composite.method:
            case "percentile":
                return kernels.percentile(stack, states, factor, self.composite.percentile)
            case "latest":
                return kernels.latest(stack, states, factor)
            case _:
                return kernels.median(stack, states, factor)

    def _composite_jointly(self, meanwhile: Callable[[], None] | None) -> None:
        """Methods that choose one date, or one point in spectral space, for all bands at once."""
        stack = np.empty((len(self.used), len(self.bands), *self.geobox.shape.yx), np.uint16)
        for i in range(len(self.bands)):
            stack[:, i] = self._next_band(i, meanwhile)
            if self.failures:
                return
        states = self._states
        full = np.ascontiguousarray(repeat(states, self._factor)) if self._factor > 1 else states
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


def _reason(data: NDArray[np.uint16], clouded: NDArray[np.bool_], losses: bool) -> NDArray[np.uint8]:
    seen = (data != 0).all(axis=0)
    reason = np.where(clouded, np.uint8(Reason.NEVER_CLEAR), np.uint8(Reason.NO_SCENE))
    if losses:
        reason[:] = Reason.READ_FAILED
    reason[seen] = Reason.SEEN_WITH_LOSSES if losses else Reason.SEEN
    return reason
