"""Tiles for detectors: 8-bit pictures by part, each with the objects in it. What YOLO and COCO sets share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from minescale.errors import UsageError
from minescale.labels.formats.sidecar import need_parts
from minescale.labels.pictures.rgb_png import AS_IS, colour_bands, describe, shown, stretch_of_set, write_rgb_png
from minescale.labels.rasters.objects import MIN_AREA_PX, MIN_VISIBLE, Object, objects_of_mask, objects_of_shapes
from minescale.labels.sets.chips import check_id, geobox_of
from minescale.labels.sets.classes import ClassMap
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import PARTS, Split
from minescale.labels.shapes.polygons import Polygons


@dataclass(frozen=True, slots=True)
class Tile:
    """One written picture."""

    row: int
    """Row of the set that was written."""
    part: str
    file: str
    """Relative to the set."""
    height: int
    width: int


class ObjectTiles:
    """Writes the pictures of a set, and finds the objects in each.

    Parameters
    ----------
    polygons : outlines by class name, which may reach beyond a tile; default: the set's masks.
    classes : names of the classes whose pieces are objects; default: all but the first, which is the background.
    min_visible, min_area_px : see :func:`~minescale.labels.rasters.objects.objects_of_shapes`.
    rgb : bands to show.

    Raises
    ------
    UsageError
        where there is neither mask nor polygon to take objects from, or no split.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: Split | None,
        form: str,
        *,
        polygons: Mapping[str, Polygons] | None = None,
        classes: Sequence[str] | None = None,
        rgb: Sequence[str] | None = None,
        min_visible: float = MIN_VISIBLE,
        min_area_px: float = MIN_AREA_PX,
    ) -> None:
        self.dataset, self.parts = dataset, need_parts(dataset, split, form)
        self.names = tuple(classes or (polygons if polygons is not None else dataset.classes.names[1:]))
        self.polygons = polygons
        self.min_visible, self.min_area_px = min_visible, min_area_px
        self._rows: list[tuple[Tile, int]] = []
        self.left_out = 0
        """Polygons that touched a tile and showed too little of themselves."""
        self.bands = colour_bands(dataset, rgb)
        train = np.flatnonzero((self.parts == "train").to_numpy())
        rows = train if len(train) else np.flatnonzero(self.parts.notna().to_numpy())
        self.stretch = stretch_of_set(dataset, rows, self.bands)
        if polygons is None and dataset.reader.mask(int(rows[0])) is None:
            raise UsageError(
                f"{form} needs outlines, and {dataset.name} labels whole samples",
                fix="polygons={class name: polygons}, or format folders",
            )
        if polygons is not None and set(self.names) - set(polygons):
            raise UsageError("classes without polygons", got=list(self.names), expected=list(polygons))

    def write(self, folder: Path) -> Iterator[tuple[Tile, list[Object]]]:
        """Write ``images/<part>/<id>.png`` for every sample of a part, and tell what is in each.

        Values of objects are 1 for the first class, and so on.
        """
        for part in PARTS:
            (folder / "images" / part).mkdir(parents=True, exist_ok=True)
        rows = [row for part in PARTS for row in np.flatnonzero((self.parts == part).to_numpy()).tolist()]
        for row in rows:
            name, part = check_id(str(self.dataset.samples["id"].iloc[row])), self.parts.iloc[row]
            colours = shown(self.dataset, row, self.bands)
            file = f"images/{part}/{name}.png"
            write_rgb_png(folder / file, colours, self.dataset.nodata, self.stretch, self.bands)
            _, height, width = colours.shape
            tile = Tile(row, part, file, height, width)
            found = self._objects(row, (height, width))
            self._rows.append((tile, len(found)))
            yield tile, found

    def written(self, label_file: Callable[[Tile], str]) -> Dataset:
        """What one reads back: 8-bit pictures, and classes numbered from 1 in the order of their names."""
        tiles = [tile for tile, _ in self._rows]
        samples = self.dataset.samples.iloc[[tile.row for tile in tiles]].reset_index(drop=True)
        samples = samples.assign(
            split=[tile.part for tile in tiles],
            label=[int(count > 0) for _, count in self._rows],
            objects=[count for _, count in self._rows],
            file=[tile.file for tile in tiles],
            label_file=[label_file(tile) for tile in tiles],
            height=[tile.height for tile in tiles],
            width=[tile.width for tile in tiles],
        )
        return replace(
            self.dataset,
            samples=samples,
            bands=self.bands,
            classes=object_classes(self.names, self.dataset.classes),
            units=self.dataset.units if self.stretch == AS_IS else f"8-bit picture of {self.dataset.units}",
            nodata=None,
        )

    def options(self) -> dict[str, Any]:
        return {
            "classes": list(self.names),
            "stretch": describe(self.stretch, self.bands),
            "objects_from": "masks" if self.polygons is None else sorted(p.source for p in self.polygons.values()),
            "min_visible": self.min_visible,
            "min_area_px": self.min_area_px,
            "left_out": self.left_out,
        }

    def _objects(self, row: int, shape: tuple[int, int]) -> list[Object]:
        if self.polygons is None:
            mask = self.dataset.reader.mask(row)
            if mask is None:
                raise UsageError(f"sample {self.dataset.samples['id'].iloc[row]} has no mask", fix="polygons=...")
            values = [self.dataset.classes.value(name) for name in self.names]
            found = [o for o in objects_of_mask(mask, values) if o.area >= self.min_area_px]
            return [Object(values.index(o.value) + 1, o.shape) for o in found]
        place = geobox_of(self.dataset.samples.iloc[row].to_dict(), shape)
        if place is None:
            raise UsageError(
                f"sample {self.dataset.samples['id'].iloc[row]} lies nowhere, so polygons cannot be laid over it",
                fix="the set's own masks: leave polygons out",
            )
        found, left_out = objects_of_shapes(
            {i: self.polygons[name] for i, name in enumerate(self.names, 1)},
            place,
            min_visible=self.min_visible,
            min_area_px=self.min_area_px,
        )
        self.left_out += left_out
        return found


def object_classes(names: Sequence[str], known: ClassMap | None = None) -> ClassMap:
    """Background and the classes of objects, with the colours that the set had for them."""
    colours: tuple[str, ...] = ()
    if known is not None and known.colours and set(names) <= set(known.names[1:]):
        colours = (known.colours[0], *(known.colours[known.value(name)] for name in names))
    first = known.names[0] if known is not None and known.names[0] not in names else "background"
    return ClassMap((first, *names), colours)
