"""COCO instances: ``annotations/instances_{train,val,test}.json`` beside ``images/{train,val,test}``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from minescale.errors import MinescaleError, StoreError, UsageError
from minescale.labels.formats.object_tiles import ObjectTiles, object_classes
from minescale.labels.formats.sidecar import Flaw, read_sidecar
from minescale.labels.rasters.objects import MIN_AREA_PX, MIN_VISIBLE, Object, fill, ring_of
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.files import header_of, read_image
from minescale.labels.sets.split import PARTS, Split
from minescale.labels.shapes.polygons import Polygons

NAME = "coco"
FOLDER = "annotations"
PRECISION = 2
"""Decimals of coordinates: a hundredth of a pixel."""


def write(
    dataset: Dataset,
    folder: Path,
    split: Split | None = None,
    *,
    polygons: Mapping[str, Polygons] | None = None,
    classes: Sequence[str] | None = None,
    rgb: Sequence[str] | None = None,
    min_visible: float = MIN_VISIBLE,
    min_area_px: float = MIN_AREA_PX,
) -> tuple[Dataset, dict[str, Any]]:
    """Write pictures and one file of annotations for each part, also for a part without pictures.

    Parameters as :class:`~minescale.labels.formats.object_tiles.ObjectTiles`. Ids run from 1 in the order of the files;
    ``iscrowd`` is always 0; ``segmentation`` is one closed line, with cuts to holes.
    """
    maker = ObjectTiles(
        dataset, split, NAME, polygons=polygons, classes=classes, rgb=rgb,
        min_visible=min_visible, min_area_px=min_area_px,
    )  # fmt: skip
    images: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS}
    notes: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS}
    first = 1
    for number, (tile, things) in enumerate(maker.write(folder), 1):
        name = Path(tile.file).name
        size = {"width": tile.width, "height": tile.height}
        images[tile.part].append({"id": number, "file_name": name, **size, "license": 1})
        notes[tile.part] += [annotation(thing, i, number) for i, thing in enumerate(things, first)]
        first += len(things)
    (folder / FOLDER).mkdir()
    for part in PARTS:
        values = {
            "info": {"description": dataset.name, "version": "1"},
            "licenses": [{"id": 1, "name": dataset.licence, "url": ""}],
            "categories": [{"id": i, "name": name, "supercategory": "land"} for i, name in enumerate(maker.names, 1)],
            "images": images[part],
            "annotations": notes[part],
        }
        text = json.dumps(values, indent=1, allow_nan=False)
        _file(folder, part).write_text(text + "\n", encoding="utf-8")
    return maker.written(lambda tile: f"{FOLDER}/instances_{tile.part}.json"), maker.options()


def annotation(thing: Object, number: int, image: int) -> dict[str, Any]:
    """The annotation of an object: ``bbox`` is left, top, width, height; all in pixels."""
    left, top, right, bottom = thing.box
    line = ring_of(thing.shape).ravel().tolist()
    return {
        "id": number,
        "image_id": image,
        "category_id": thing.value,
        "bbox": [round(v, PRECISION) for v in (left, top, right - left, bottom - top)],
        "segmentation": [[round(v, PRECISION) for v in line]],
        "area": round(thing.area, PRECISION),
        "iscrowd": 0,
    }


def tasks(options: dict[str, Any]) -> list[str]:  # noqa: ARG001  (as every format's)
    """What the labels are for."""
    return ["detection", "segmentation"]


def recognise(root: Path) -> bool:
    return any((root / FOLDER / f"instances_{part}.json").is_file() for part in PARTS)


@dataclass(frozen=True, slots=True)
class CocoReader:
    """Pictures, and their masks from the segmentations."""

    root: Path
    files: tuple[str, ...]
    things: tuple[tuple[tuple[int, tuple[tuple[float, ...], ...]], ...], ...]
    """Of each sample: class value and lines x1, y1, x2, y2, ... of its objects."""

    def image(self, row: int) -> NDArray[Any]:
        """uint8 (band, y, x)"""
        return read_image(self.root / self.files[row])

    def mask(self, row: int) -> NDArray[np.uint8]:
        """(y, x) class values; later objects lie on top."""
        shape = header_of(self.root / self.files[row]).shape
        pairs = [(np.reshape(line, (-1, 2)), value) for value, lines in self.things[row] for line in lines]
        return fill([ring for ring, _ in pairs], [value for _, value in pairs], shape)


def read(root: Path) -> Dataset:
    """Open a set. Samples have the columns ``label`` (1: has an object) and ``objects`` (how many).

    Raises
    ------
    UsageError
        where parts differ in their categories, or an object has no polygon.
    """
    parts = {part: _load(root, part) for part in PARTS if _file(root, part).is_file()}
    names = _categories(parts)
    rows, things = [], []
    for part, values in parts.items():
        value_of = {c["id"]: names.index(c["name"]) + 1 for c in values["categories"]}
        of: dict[int, list[tuple[int, tuple[tuple[float, ...], ...]]]] = {image["id"]: [] for image in values["images"]}
        for note in values["annotations"]:
            if note.get("image_id") not in of or note.get("category_id") not in value_of:
                raise UsageError(f"annotation {note.get('id')} names a picture or category that is not there")
            of[note["image_id"]].append((value_of[note["category_id"]], _lines(note)))
        for image in values["images"]:
            rows.append(
                {"id": f"{part}-{image['id']}", "split": part, "file": _picture(root, part, image["file_name"])}
            )
            things.append(tuple(of[image["id"]]))
    if not rows:
        raise UsageError(f"{root} names no pictures", expected=f"{FOLDER}/instances_train.json with images")
    described = read_sidecar(root, NAME)
    if described is not None:
        by_file = {row["file"]: found for row, found in zip(rows, things, strict=True)}
        files = tuple(described.samples["file"])
        return described.dataset(CocoReader(root, files, tuple(by_file[file] for file in files)))
    samples = pd.DataFrame(rows)
    counts = [len(found) for found in things]
    # Which place a picture shows nobody says: each counts as its own, which an audit by place cannot vouch for.
    samples = samples.assign(site=samples["id"], source=root.name, objects=counts, label=[int(n > 0) for n in counts])
    return Dataset(
        name=root.name,
        samples=samples,
        bands=("red", "green", "blue"),
        classes=object_classes(names),
        reader=CocoReader(root, tuple(samples["file"]), tuple(things)),
        units="8-bit picture",
        nodata=None,
        resolution_m=None,
        licence="none",
        provenance={"format": NAME},
    )


def validate(root: Path) -> list[Flaw]:
    """Findings: missing keys or pictures, ids that repeat or point nowhere, boxes that leave their picture or do not
    fit their polygon, areas that are not the polygon's."""
    found: list[Flaw] = []
    seen: dict[str, set[int]] = {"images": set(), "annotations": set()}
    for part in (part for part in PARTS if _file(root, part).is_file()):
        name = f"{FOLDER}/instances_{part}.json"
        try:
            values = _load(root, part)
        except MinescaleError as error:
            found.append(Flaw(name, str(error).replace("\n", ";")))
            continue
        lacking = _lacking(values)
        if lacking:
            found.append(Flaw(name, lacking))
            continue
        for kind, ids in seen.items():
            for entry in values[kind]:
                if entry["id"] in ids:
                    found.append(Flaw(name, f"{kind} id {entry['id']} repeats"))
                ids.add(entry["id"])
        images = {image["id"]: image for image in values["images"]}
        for image in images.values():
            path = root / _picture(root, part, image["file_name"])
            if not path.is_file():
                found.append(Flaw(name, f"picture {image['file_name']} is missing"))
            elif header_of(path).shape != (image["height"], image["width"]):
                found.append(Flaw(name, f"picture {image['file_name']} has another size"))
        categories = {category["id"] for category in values["categories"]}
        for note in values["annotations"]:
            wrong = _wrong(note, images, categories)
            if wrong:
                found.append(Flaw(name, f"annotation {note['id']}: {wrong}"))
    return found


_FIELDS = {
    "images": ("id", "file_name", "width", "height"),
    "categories": ("id", "name"),
    "annotations": ("id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd"),
}


def _lacking(values: Mapping[str, Any]) -> str | None:
    for kind, fields in _FIELDS.items():
        for number, entry in enumerate(values[kind]):
            missing = [field for field in fields if not isinstance(entry, dict) or field not in entry]
            if missing:
                return f"entry {number} of {kind} lacks {', '.join(missing)}"
    return None


def _wrong(note: Mapping[str, Any], images: Mapping[int, Any], categories: set[int]) -> str | None:
    if note["image_id"] not in images or note["category_id"] not in categories:
        return "names a picture or category that is not there"
    try:
        points = np.concatenate([np.reshape(line, (-1, 2)) for line in _lines(note)])
    except (MinescaleError, ValueError) as error:
        return str(error).replace("\n", ";")
    left, top, width, height = note["bbox"]
    image = images[note["image_id"]]
    if min(left, top, width, height) < 0 or left + width > image["width"] or top + height > image["height"]:
        return "its box leaves the picture"
    bounds = [*points.min(axis=0), *points.max(axis=0)]
    if not np.allclose(bounds, [left, top, left + width, top + height], atol=0.02):
        return "its box is not that of its polygon"
    area = sum(_area(np.reshape(line, (-1, 2))) for line in _lines(note))
    return (
        None if np.isclose(area, note["area"], rtol=0.01, atol=1) else f"area {note['area']}, its polygon has {area:g}"
    )


def _area(ring: NDArray[np.float64]) -> float:
    x, y = ring.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def _file(root: Path, part: str) -> Path:
    return root / FOLDER / f"instances_{part}.json"


def _load(root: Path, part: str) -> dict[str, Any]:
    path = _file(root, part)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}", got=error) from error
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(values.get(key), list)]
    if missing:
        raise UsageError(f"{path.name} is no COCO file", got=list(values), expected=f"lists {', '.join(missing)}")
    return dict(values)


def _categories(parts: Mapping[str, Any]) -> tuple[str, ...]:
    found = {tuple(c["name"] for c in sorted(v["categories"], key=lambda c: c["id"])) for v in parts.values()}
    if len(found) != 1:
        raise UsageError("parts have different categories", got=sorted(found), expected="the same in every part")
    return found.pop()


def _lines(note: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    lines = note.get("segmentation")
    if not isinstance(lines, list) or not lines or any(len(line) < 6 or len(line) % 2 for line in lines):
        raise UsageError(
            f"annotation {note.get('id')} has no polygon", got=type(lines).__name__, expected="[[x1, y1, x2, y2, ...]]"
        )
    return tuple(tuple(float(v) for v in line) for line in lines)


def _picture(root: Path, part: str, file_name: str) -> str:
    """Path of a picture: below ``images/<part>``, as written here, else below ``images`` or beside the annotations."""
    for base in (f"images/{part}", "images", part, "."):
        if (root / base / file_name).is_file():
            return f"{base}/{file_name}".removeprefix("./")
    return f"images/{part}/{file_name}"
