"""The imagery of one window: a composite of a period's clear looks, or a mosaic of the least cloudy scenes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.config import CompositeConfig, MaskConfig, Resampling
from minescale.cube.compose import Composing, Composite, begin
from minescale.labels.imagery.bands import COUNT, STATE, BandList
from minescale.labels.imagery.scene_choice import COVERED, below_cloud_limit, by_cloud, choose_scenes, one_layer
from minescale.labels.rasters.upsample import coarse_grid, onto
from minescale.sensors import CLEAR, MASK, SENSORS, Sensor
from minescale.sources import reuse
from minescale.sources.failures import ReadFailure
from minescale.sources.reader import Reader
from minescale.sources.scenes import Scene, source_anchor
from minescale.types import Reason

Mode = Literal["composite", "scene"]
MODES: tuple[Mode, ...] = ("composite", "scene")
KERNELS: tuple[Resampling, ...] = ("nearest", "bilinear", "cubic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How windows become images."""

    mode: Mode
    sensor: str
    groups: tuple[tuple[float, BandList], ...]
    """Pixel edge in metres and bands of each image of a window: one, or one per native resolution."""
    resampling: Resampling = "nearest"
    """Kernel for coarser bands, and for scenes that do not lie on the window's grid."""
    cloud_below: float | None = None
    """Per cent of a whole scene, as its catalogue says."""
    aoi_cloud_below: float | None = None
    """Per cent of what a scene shows of the window, as its quality band says."""
    covered: float = COVERED
    mask: MaskConfig
    composite: CompositeConfig

    @property
    def quality(self) -> str:
        """Name of the quality plane that follows the bands."""
        return COUNT if self.mode == "composite" else STATE


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowImage:
    """What was made of one window."""

    images: tuple[NDArray[np.uint16], ...]
    """For each group (band, y, x): features, by-products, then the quality plane."""
    valid: dict[str, float]
    """Share of the window's pixels with a value, by feature."""
    scenes: tuple[str, ...]
    """Ids of the scenes that were used in single-scene images, best first; empty for composites."""
    dates: tuple[str, ...]
    """ISO days of those scenes."""
    figures: dict[str, Any]
    """Numbers for the sample's row."""
    failures: tuple[ReadFailure, ...]
    unmasked: tuple[str, ...]
    unread: bool
    """Ground is missing because scenes could not be read: nothing to conclude from."""
    bytes_read: int


def grids(geobox: GeoBox, recipe: Recipe, scenes: Sequence[Scene]) -> list[tuple[GeoBox, tuple[str, ...], int]]:
    """What to composite: (grid, bands, group). Bands that a kernel refines are composited on their own lattice."""
    sensor, anchor = SENSORS[recipe.sensor], source_anchor(scenes, str(geobox.crs))
    found = []
    for i, (pixel, bands) in enumerate(recipe.groups):
        target = resized(geobox, pixel)
        if recipe.resampling == "nearest":
            found.append((target, bands.read, i))
            continue
        sizes = {max(pixel, sensor.resolution(name)) for name in bands.read}
        for size in sorted(sizes):
            names = tuple(name for name in bands.read if max(pixel, sensor.resolution(name)) == size)
            found.append((target if size == pixel else coarse_grid(target, size, anchor), names, i))
    return found


class CompositeWindow:
    """A composite on its way; its quality bands are being read once this exists."""

    def __init__(
        self, scenes: Sequence[Scene], geobox: GeoBox, recipe: Recipe, reader: Reader, ahead: Sequence[GeoBox] = ()
    ) -> None:
        self.geobox, self.recipe, self.reader, self.ahead = geobox, recipe, reader, ahead
        self.sensor: Sensor = SENSORS[recipe.sensor]
        self.failures: tuple[ReadFailure, ...] = ()
        self.bytes_read = 0
        self.scenes = below_cloud_limit(scenes, recipe.cloud_below)
        self.rejected = len(scenes) - len(self.scenes)
        if recipe.aoi_cloud_below is not None:
            self._look_first()
        self._begin()

    def _look_first(self) -> None:
        """Leave out scenes that are too cloudy here."""
        kept: list[Scene] = []
        for scene in self.scenes:
            # Each is asked by itself, so none is left out for being covered.
            choice = choose_scenes(
                [scene],
                self.geobox,
                self.recipe.groups[0][1].read[0],
                reader=self.reader,
                aoi_cloud_below=self.recipe.aoi_cloud_below,
            )
            self.failures += choice.failures
            kept += choice.scenes
        self.rejected += len(self.scenes) - len(kept)
        self.scenes = kept

    def _begin(self) -> None:
        recipe = self.recipe
        composite = CompositeConfig(
            method=recipe.composite.method,
            percentile=recipe.composite.percentile,
            max_scenes=recipe.composite.max_scenes,
            resampling=recipe.resampling,
        )
        self.parts = grids(self.geobox, recipe, self.scenes)
        self.coming: list[Composing] = [
            begin(
                self.scenes,
                grid,
                names,
                sensor=self.sensor,
                reader=self.reader,
                mask=recipe.mask,
                composite=composite,
                ahead=[resized(other, grid.resolution.x) for other in self.ahead],
            )
            for grid, names, _ in self.parts
        ]

    def advance(self) -> None:
        """Do what has become possible, without waiting."""
        for composing in self.coming:
            composing.advance()

    def finish(self, meanwhile: Callable[[], None] | None = None) -> WindowImage:
        """Wait for the image. A scene that fails for one band is left out of all, so that bands never mix dates."""
        while True:
            made = [composing.finish(meanwhile) for composing in self.coming]
            self.bytes_read += sum(one.bytes_read for one in made)
            self.failures += tuple(loss for one in made for loss in one.losses)
            lost = [{loss.scene_id for loss in one.losses} for one in made]
            gone = set().union(*lost)
            if all(one == gone for one in lost):
                return self._image(made)
            self.scenes = [scene for scene in self.scenes if scene.id not in gone]
            self._begin()

    def _image(self, made: list[Composite]) -> WindowImage:
        recipe = self.recipe
        images: list[NDArray[np.uint16]] = []
        valid: dict[str, float] = {}
        for i, (pixel, bands) in enumerate(recipe.groups):
            target = resized(self.geobox, pixel)
            parts = [(grid, one) for (grid, _, group), one in zip(self.parts, made, strict=True) if group == i]
            planes = {
                name: plane if grid == target else onto(plane, grid, target, recipe.resampling)
                for grid, one in parts
                for name, plane in zip(one.bands, one.data, strict=True)
            }
            valid |= {name: _share(planes[name]) for name in bands.features}
            grid, first = parts[0]
            count = first.clear_count if grid == target else _counts(first.clear_count, grid, target)
            images.append(np.concatenate([bands.stack(planes), count[None]]))
        first = made[0]
        reasons = (first.reason == Reason.READ_FAILED).any()
        return WindowImage(
            images=tuple(images),
            valid=valid,
            scenes=(),
            dates=(),
            figures={
                "layers_seen": first.layers_seen,
                "layers_used": first.layers_used,
                "scenes_rejected": self.rejected,
                "clear_mean": round(float(first.clear_count.mean()), 3),
                "clear_min": int(first.clear_count.min()),
                # Without a quality band nobody knows.
                "aoi_cloud": None
                if first.unmasked or not first.layers_seen
                else round(100 * (1 - first.clear_share), 2),
            },
            failures=self.failures,
            unmasked=first.unmasked,
            unread=bool(reasons),
            bytes_read=self.bytes_read,
        )


class SceneWindow:
    """A mosaic of single scenes, clouds and all; made when it is asked for."""

    def __init__(
        self, scenes: Sequence[Scene], geobox: GeoBox, recipe: Recipe, reader: Reader, ahead: Sequence[GeoBox] = ()
    ) -> None:
        self.all, self.geobox, self.recipe, self.reader, self.ahead = scenes, geobox, recipe, reader, ahead

    def advance(self) -> None:
        """Nothing is on its way yet."""

    def finish(self, meanwhile: Callable[[], None] | None = None) -> WindowImage:
        """Choose scenes, read their bands; a scene that fails for one band is left out and the choice made again."""
        reuse.next_tile()
        recipe = self.recipe
        left = by_cloud(below_cloud_limit(self.all, recipe.cloud_below))
        failures: tuple[ReadFailure, ...] = ()
        bytes_read = 0
        while True:
            choice = choose_scenes(
                left,
                self.geobox,
                recipe.groups[0][1].read[0],
                reader=self.reader,
                covered=recipe.covered,
                aoi_cloud_below=recipe.aoi_cloud_below,
            )
            failures += choice.failures
            if meanwhile is not None:
                meanwhile()
            images, valid, lost, size = self._read(choice.scenes)
            bytes_read += size
            failures += lost
            if not lost:
                break
            gone = {failure.scene_id for failure in lost}
            left = [scene for scene in left if scene.id not in gone]
        chosen = choice.scenes
        clouds = [scene.cloud_cover for scene in chosen if scene.cloud_cover is not None]
        return WindowImage(
            images=images,
            valid=valid,
            scenes=tuple(scene.id for scene in chosen),
            dates=tuple(scene.datetime.date().isoformat() for scene in chosen),
            figures={
                "layers_seen": len(left),
                "layers_used": len(chosen),
                "scenes_rejected": len(self.all) - len(chosen),
                "cloud_cover": max(clouds) if clouds else None,
                "aoi_cloud": None if math.isnan(choice.cloud_share) else round(100 * choice.cloud_share, 2),
            },
            failures=failures,
            unmasked=tuple(scene.id for scene in chosen if not scene.has_mask),
            unread=bool(failures) and min(valid.values()) < 1,
            bytes_read=bytes_read,
        )

    def _read(
        self, chosen: Sequence[Scene]
    ) -> tuple[tuple[NDArray[np.uint16], ...], dict[str, float], tuple[ReadFailure, ...], int]:
        images: list[NDArray[np.uint16]] = []
        valid: dict[str, float] = {}
        lost: tuple[ReadFailure, ...] = ()
        size = 0
        for pixel, bands in self.recipe.groups:
            target = resized(self.geobox, pixel)
            masked = bool(chosen) and all(scene.has_mask for scene in chosen)
            names = [*bands.read, *([MASK] if masked else [])]
            layers = [one_layer(chosen)] if chosen else []
            ahead = [resized(other, pixel) for other in self.ahead]
            pending = [
                self.reader.start(layers, target, name, resampling=self.recipe.resampling, ahead=ahead)
                for name in names
            ]
            reads = [one.result() for one in pending]
            size += sum(read.bytes_read for read in reads)
            lost += tuple(failure for read in reads for failure in read.failures)
            blank = np.zeros(target.shape.yx, np.uint16)
            planes = {name: read.data[0] if chosen else blank for name, read in zip(names, reads, strict=True)}
            valid |= {name: _share(planes[name]) for name in bands.features}
            # Without a quality band, what has data counts as seen.
            state = planes[MASK] if masked else np.where(planes[names[0]] > 0, CLEAR, 0)
            images.append(np.concatenate([bands.stack(planes), state[None].astype(np.uint16)]))
        return tuple(images), valid, lost, size


def begin_window(
    scenes: Sequence[Scene], geobox: GeoBox, recipe: Recipe, reader: Reader, ahead: Sequence[GeoBox] = ()
) -> CompositeWindow | SceneWindow:
    """Begin the image of a window.

    Parameters
    ----------
    ahead : windows that this process makes next: source blocks that they share are kept for them.
    """
    made: type[CompositeWindow | SceneWindow] = CompositeWindow if recipe.mode == "composite" else SceneWindow
    return made(scenes, geobox, recipe, reader, ahead)


def resized(geobox: GeoBox, pixel: float) -> GeoBox:
    """The same ground in pixels of another size, which has to divide it."""
    if geobox.resolution.x == pixel:
        return geobox
    scale = pixel / geobox.resolution.x
    rows, cols = (round(n / scale) for n in geobox.shape.yx)
    return GeoBox((rows, cols), geobox.affine * Affine.scale(scale), geobox.crs)


def _share(plane: NDArray[np.uint16]) -> float:
    return float(np.count_nonzero(plane) / plane.size)


def _counts(count: NDArray[np.uint16], source: GeoBox, target: GeoBox) -> NDArray[np.uint16]:
    """Counts on a finer grid; as 0 is a count, they travel one higher."""
    moved = onto(count + np.uint16(1), source, target, "nearest")
    return np.where(moved > 0, moved - 1, 0).astype(np.uint16)
