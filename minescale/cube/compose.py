"""One clear image of one place and period: read, mask, composite.

The interactive cube and the country scan both go through :func:`compose`, so what a notebook shows is what
a run used.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.config import CompositeConfig, MaskConfig
from minescale.cube import rooms
from minescale.cube.looks import Looks, choose_layers
from minescale.cube.nesting import native_factor, pixel_metres, zoom_out
from minescale.cube.pieces import Piece
from minescale.cube.rooms import Room
from minescale.cube.units import Unit, lay_out
from minescale.kernels import composite as kernels
from minescale.kernels import masking
from minescale.kernels.resample import repeat
from minescale.sensors import CLEAR, MASK, NODATA, Sensor
from minescale.sources import reuse
from minescale.sources.failures import ReadFailure
from minescale.sources.probe import ProbeVerdict
from minescale.sources.reader import PendingRead, Reader
from minescale.sources.scenes import Layer, Scene, group_layers
from minescale.sources.windows import centre_longitude
from minescale.types import Channel, Reason, physical_bands

LOOKS_BYTES = 8 << 20
"""Quality bands that are read together."""
LOOKS_IN_FLIGHT = 2
"""Groups of them on their way at a time."""
_LOOKS_AT_ONCE = 4 << 20
"""Bytes of them that are dilated together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """A clear image on one GeoBox."""

    data: NDArray[np.uint16]
    """(channel, y, x) reflectance x 1e4; 0 = no clear look."""
    bands: tuple[str, ...]
    """Channels: bands, or ``band:statistic``."""
    clear_count: NDArray[np.uint16]
    """(y, x) clear looks in the period, whether or not the composite needed them all."""
    reason: NDArray[np.uint8]
    """(y, x) :class:`minescale.types.Reason`."""
    layers_seen: int
    """Layers (acquisition days) that cover the place."""
    layers_used: int
    """Layers that went into the composite."""
    clear_share: float
    """Of all observations (layer and pixel of the quality band), the share that is clear; NaN where there are none."""
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
    bands : channels in the order of the result: STAC common names, reduced by the composite's method, or percentiles
        of a band's clear looks such as ``nir:p10`` (:class:`minescale.types.Channel`). A band is read once for all of
        its channels. `geomedian` and `medoid` join the bands named without a statistic.
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
            bands=attempt.names,
            clear_count=attempt.clear_count,
            reason=_reason(attempt.data, attempt.observed & (attempt.clear_count == 0), bool(losses)),
            layers_seen=attempt.layers_seen,
            layers_used=len(attempt.used),
            clear_share=attempt.clear / attempt.observations if attempt.observations else float("nan"),
            n_scenes=sum(len(layer.scenes) for layer in attempt.used),
            bytes_read=bytes_read,
            requests=requests,
            losses=tuple(losses),
            unmasked=attempt.unmasked,
            doubts=tuple(doubts),
        )


class _Attempt:
    """One pass over the scenes. Stops at the first unit (or at the masks) of which a scene fails."""

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
        self.scenes, self.geobox, self.sensor = scenes, geobox, sensor
        self.names, self.bands = bands, physical_bands(bands)
        self._channels = [Channel.parse(name) for name in bands]
        self.reader, self.mask, self.composite, self.ahead = reader, mask, composite, ahead
        shape = geobox.shape.yx
        self.data = np.zeros((len(bands), *shape), np.uint16)
        self.clear_count = np.zeros(shape, np.uint16)
        self.observed = np.zeros(shape, bool)
        self.layers_seen = self.observations = self.clear = 0
        self.used: tuple[Layer, ...] = ()
        self.bytes_read = self.requests = 0
        self.failures: tuple[ReadFailure, ...] = ()
        self.doubts: tuple[ProbeVerdict, ...] = ()
        longitude = centre_longitude(geobox) if scenes else 0.0
        self._layers = group_layers(scenes, longitude)
        self._factor = native_factor(scenes, geobox, MASK) if self._masked(scenes) else 1
        self._looks = Looks(len(self._layers), zoom_out(geobox, self._factor).shape.yx)
        with_mask = [i for i, layer in enumerate(self._layers) if self._masked(layer.scenes)]
        without = sorted(set(range(len(self._layers))) - set(with_mask))
        # No quality band: wherever there is data, the ground counts as seen. The caller warns.
        unmasked = [scene for i in without for scene in self._layers[i].scenes if self.mask.enabled]
        self.unmasked = tuple(scene.id for scene in unmasked if not scene.has_mask)
        self._to_look = [*self._groups(with_mask, MASK), *self._groups(without, self.bands[0])]
        """Layers whose quality bands, or what stands in for them, are yet to be read."""
        self._looking: deque[tuple[list[int], PendingRead]] = deque()
        self._units: list[Unit] = []
        self._reads: list[tuple[list[PendingRead], Room]] = []
        """Reads of the first units."""
        self._states: tuple[Piece, NDArray[np.uint8]] | None = None
        self._start_looks()

    def advance(self) -> None:
        while self._looking and self._looking[0][1].done():
            self._take_look()
        self._start_units(0, must=False)

    def finish(self, meanwhile: Callable[[], None] | None = None) -> None:
        while self._looking:
            self._take_look()
        for i, unit in enumerate(self._units):
            self._start_units(i, must=True)
            if meanwhile is not None:
                meanwhile()
            pending, room = self._reads[i]
            for read in pending:
                self._take(read)
            if self.failures:
                self._abandon(i + 1)
            else:
                self._composite(unit, room)
            rooms.give_back(room)
            if self.failures:
                return

    def _abandon(self, first: int) -> None:
        """Wait for the reads from ``first`` on, for what they say, and end the use of their rooms."""
        for pending, room in self._reads[first:]:
            for read in pending:
                self._take(read)
            rooms.give_back(room)

    def _masked(self, scenes: Sequence[Scene]) -> bool:
        return self.mask.enabled and all(scene.has_mask for scene in scenes)

    def _take(self, pending: PendingRead) -> NDArray[Any]:
        read = pending.result()
        self.bytes_read += read.bytes_read
        self.requests += read.requests
        self.failures += read.failures
        self.doubts += read.doubts
        return read.data

    def _groups(self, which: Sequence[int], band: str) -> list[tuple[list[int], str]]:
        """Layers so few that their quality bands fit into ``LOOKS_BYTES``."""
        rows, cols = (n + 2 * self._radius() for n in self._looks.shape)
        size = max(1, LOOKS_BYTES // (rows * cols * (1 if band == MASK else 2)))
        return [(list(which[i : i + size]), band) for i in range(0, len(which), size)]

    def _start_looks(self) -> None:
        while self._to_look and len(self._looking) < LOOKS_IN_FLIGHT:
            which, band = self._to_look.pop(0)
            layers = [self._layers[i] for i in which]
            target, *ahead = (zoom_out(g, self._factor).pad(self._radius()) for g in (self.geobox, *self.ahead))
            resampling = self.composite.resampling
            self._looking.append((which, self.reader.start(layers, target, band, resampling=resampling, ahead=ahead)))

    def _radius(self) -> int:
        """Pixels by which clouds grow."""
        metres = pixel_metres(zoom_out(self.geobox, self._factor))
        return round(self.mask.dilate_m / metres) if self.mask.enabled else 0

    def _take_look(self) -> None:
        """Turn quality bands into clear looks, clouds dilated as if the image had no border."""
        which, pending = self._looking.popleft()
        states = self._take(pending)
        self._start_looks()
        if not self.failures:
            radius, step = self._radius(), max(1, _LOOKS_AT_ONCE // states[0].size)
            for first in range(0, len(which), step):
                self._looks.add(which[first : first + step], _dilated(states[first : first + step], radius))
        if not self._looking and not self.failures:
            self._choose()

    def _choose(self) -> None:
        """Choose layers, and lay out what is to be read of them."""
        looks, factor = self._looks, self._factor
        self.observations, self.clear = int(looks.observations.sum()), int(looks.clear.sum())
        self.layers_seen = int(np.count_nonzero(looks.observations))
        self.clear_count = repeat(looks.clear_count, factor)
        self.observed = repeat(looks.observed.astype(np.uint8), factor).astype(bool)
        chosen = choose_layers(looks, self.composite.max_scenes)
        self.used = tuple(self._layers[i] for i in chosen)
        looks.keep(chosen)
        self._units = lay_out(self.used, self.geobox, self.bands, factor, self.composite)

    def _start_units(self, done: int, *, must: bool) -> None:
        """Have as many units on their way as there is room for; with ``must``, one after the ``done`` first ones."""
        for unit in self._units[len(self._reads) :]:
            room = rooms.borrow(math.prod(unit.shape), must=must and len(self._reads) == done)
            if room is None:
                return
            ahead = [self._ground(unit, piece) for piece in unit.ahead]
            ahead += [zoom_out(geobox, unit.factor) for geobox in self.ahead]
            stack = room.stack(unit.shape)
            demands = self._looks.demands(unit.piece, self._factor // unit.factor)
            reads = [
                self.reader.start(
                    self.used,
                    self._ground(unit, unit.piece),
                    self.bands[band],
                    resampling=self.composite.resampling,
                    ahead=ahead,
                    out=stack[:, i],
                    demands=demands,
                )
                for i, band in enumerate(unit.bands)
            ]
            self._reads.append((reads, room))

    def _ground(self, unit: Unit, piece: Piece) -> GeoBox:
        return zoom_out(self.geobox, unit.factor)[piece.slices(self._factor // unit.factor)]

    def _composite(self, unit: Unit, room: Room) -> None:
        stack, states = room.stack(unit.shape), self._states_of(unit.piece)
        target, factor = unit.piece.slices(self._factor), self._factor // unit.factor
        joint = self._joint(stack, states) if kernels.METHODS[self.composite.method] == "bands" else {}
        for i, band in enumerate(unit.bands):
            name = self.bands[band]
            for position, channel in enumerate(self._channels):
                if channel.band != name:
                    continue
                if channel.percentile is None and name in joint:
                    image = joint[name]
                else:
                    image = self._reduce(stack[:, i], states, factor, channel.percentile)
                self.data[position][target] = repeat(image, unit.factor) if unit.factor > 1 else image

    def _joint(self, stack: NDArray[np.uint16], states: NDArray[np.uint8]) -> dict[str, NDArray[np.uint16]]:
        """Images of the bands that have a channel without a statistic, joined by the composite's method."""
        plain = {channel.band for channel in self._channels if channel.percentile is None}
        names = [name for name in self.bands if name in plain]
        if not names:
            return {}
        full = np.ascontiguousarray(repeat(states, self._factor)) if self._factor > 1 else states
        reduce = kernels.geomedian if self.composite.method == "geomedian" else kernels.medoid
        which = [self.bands.index(name) for name in names]
        return dict(zip(names, reduce(stack if len(names) == len(self.bands) else stack[:, which], full), strict=True))

    def _states_of(self, piece: Piece) -> NDArray[np.uint8]:
        """States of the chosen layers; those of one piece serve all bands."""
        if self._states is None or self._states[0] != piece:
            self._states = None
            self._states = (piece, self._looks.states(piece))
        return self._states[1]

    def _reduce(
        self, stack: NDArray[np.uint16], states: NDArray[np.uint8], factor: int, percentile: int | None
    ) -> NDArray[np.uint16]:
        if percentile is not None:
            return kernels.percentile(stack, states, factor, percentile)
        match self.composite.method:
            case "percentile":
                return kernels.percentile(stack, states, factor, self.composite.percentile)
            case "latest":
                return kernels.latest(stack, states, factor)
            case _:
                return kernels.median(stack, states, factor)


def _dilated(states: NDArray[Any], radius: int) -> NDArray[np.uint8]:
    """uint8 (layer, y, x) states less the border of ``radius`` that clouds grow in from; of reflectance, 0 is none."""
    if states.dtype != np.uint8:
        states = np.where(states > 0, CLEAR, NODATA).astype(np.uint8)
    elif radius:
        states = masking.dilate(states, radius)
    return np.ascontiguousarray(states[:, radius:-radius, radius:-radius]) if radius else states


def _reason(data: NDArray[np.uint16], clouded: NDArray[np.bool_], losses: bool) -> NDArray[np.uint8]:
    seen = (data != 0).all(axis=0)
    reason = np.where(clouded, np.uint8(Reason.NEVER_CLEAR), np.uint8(Reason.NO_SCENE))
    if losses:
        reason[:] = Reason.READ_FAILED
    reason[seen] = Reason.SEEN_WITH_LOSSES if losses else Reason.SEEN
    return reason
