"""YOLO sets: ``images/{train,val,test}``, ``labels/{train,val,test}`` and ``data.yaml``.

A label file has a line for each object: ``class xc yc w h`` for boxes, ``class x1 y1 x2 y2 ...`` for segments, all in
shares of the picture's width and height. A picture without objects has an empty file: it teaches what is no mine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from shapely.geometry import Polygon, box

from minescale.errors import MinescaleError, StoreError, UsageError
from minescale.labels.formats.object_tiles import ObjectTiles, object_classes
from minescale.labels.formats.sidecar import Flaw, read_sidecar
from minescale.labels.rasters.objects import MIN_AREA_PX, MIN_VISIBLE, Object, fill, ring_of
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.files import header_of, is_image, read_image
from minescale.labels.sets.split import PARTS, Split
from minescale.labels.shapes.polygons import Polygons

NAME = "yolo"
DATA = "data.yaml"
Task = Literal["detect", "segment"]
TASKS: tuple[Task, ...] = ("detect", "segment")


def line_of(thing: Object, height: int, width: int, task: Task) -> str:
    """One line of a label file; six decimals place a vertex to 0.01 pixels in a picture of 10,000."""
    if task == "detect":
        left, top, right, bottom = thing.box
        numbers = [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width]
        numbers.append((bottom - top) / height)
    else:
        numbers = (ring_of(thing.shape) / (width, height)).ravel().tolist()
    return " ".join([str(thing.value - 1), *(f"{number:.6f}" for number in numbers)])


def read_labels(path: str | Path, height: int, width: int) -> list[Object]:
    """Objects of a label file; boxes become rectangles, and lines with cuts to holes stay one closed line.

    Raises
    ------
    UsageError
        for lines that are neither a box nor a segment within the picture.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {path}", got=error) from error
    found = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        try:
            value, shares = int(words[0]), np.array([float(word) for word in words[1:]])
        except ValueError:
            raise UsageError(f"{Path(path).name} line {number} holds more than numbers", got=line[:80]) from None
        if value < 0 or len(shares) < 4 or len(shares) % 2:
            raise UsageError(
                f"{Path(path).name} line {number} is no object",
                got=line[:80],
                expected="class xc yc w h, or class x1 y1 ...",
            )
        found.append(Object(value + 1, _shape(shares, height, width, f"{Path(path).name} line {number}")))
    return found


def write(
    dataset: Dataset,
    folder: Path,
    split: Split | None = None,
    *,
    task: Task = "detect",
    polygons: Mapping[str, Polygons] | None = None,
    classes: Sequence[str] | None = None,
    rgb: Sequence[str] | None = None,
    min_visible: float = MIN_VISIBLE,
    min_area_px: float = MIN_AREA_PX,
) -> tuple[Dataset, dict[str, Any]]:
    """Write pictures and label files; parameters as :class:`~minescale.labels.formats.object_tiles.ObjectTiles`.

    Pictures are 8-bit, stretched alike throughout the set by limits measured on its training part.
    """
    if task not in TASKS:
        raise UsageError("unknown task", got=task, expected=" | ".join(TASKS))
    maker = ObjectTiles(
        dataset, split, NAME, polygons=polygons, classes=classes, rgb=rgb,
        min_visible=min_visible, min_area_px=min_area_px,
    )  # fmt: skip
    for part in PARTS:
        (folder / "labels" / part).mkdir(parents=True)
    for tile, things in maker.write(folder):
        lines = [line_of(thing, tile.height, tile.width, task) + "\n" for thing in things]
        (folder / _label(tile.file)).write_text("".join(lines), encoding="utf-8")
    data = {part: f"images/{part}" for part in PARTS} | {"nc": len(maker.names), "names": dict(enumerate(maker.names))}
    (folder / DATA).write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return maker.written(lambda tile: _label(tile.file)), {"task": task, **maker.options()}


def tasks(options: dict[str, Any]) -> list[str]:
    """What the labels are for."""
    return ["segmentation"] if options["task"] == "segment" else ["detection"]


def recognise(root: Path) -> bool:
    return (root / DATA).is_file() and (root / "labels").is_dir()


@dataclass(frozen=True, slots=True)
class YoloReader:
    """Pictures, and for segments their masks."""

    root: Path
    files: tuple[str, ...]
    segments: bool
    """False: boxes only, which are no masks."""

    def image(self, row: int) -> NDArray[Any]:
        """uint8 (band, y, x)"""
        return read_image(self.root / self.files[row])

    def mask(self, row: int) -> NDArray[np.uint8] | None:
        """(y, x) class values; later objects lie on top. None in a set of boxes."""
        if not self.segments:
            return None
        shape = header_of(self.root / self.files[row]).shape
        things = read_labels(self.root / _label(self.files[row]), *shape)
        return fill([ring_of(thing.shape) for thing in things], [thing.value for thing in things], shape)

    def objects(self, row: int) -> list[Object]:
        """The objects of a sample, in pixels."""
        return read_labels(self.root / _label(self.files[row]), *header_of(self.root / self.files[row]).shape)


def read(root: Path) -> Dataset:
    """Open a set. Samples have the columns ``label`` (1: has an object) and ``objects`` (how many).

    Raises
    ------
    UsageError
        where ``data.yaml`` names no classes, or there are no pictures.
    """
    described = read_sidecar(root, NAME)
    if described is not None:
        segments = described.options["task"] == "segment"
        return described.dataset(YoloReader(root, tuple(described.samples["file"]), segments))
    names = _names(root)
    rows: list[dict[str, Any]] = []
    segments = True
    for part in PARTS:
        for path in sorted(p for p in (root / "images" / part).glob("*") if is_image(p)):
            file = path.relative_to(root).as_posix()
            label = root / _label(file)
            lines = label.read_text(encoding="utf-8").split("\n") if label.is_file() else []
            things = [line for line in lines if line.strip()]
            segments &= all(len(line.split()) != 5 for line in things)
            rows.append({"id": f"{part}-{path.stem}", "split": part, "file": file, "objects": len(things)})
    if not rows:
        raise UsageError(f"{root} holds no pictures", expected="images/{train,val,test}/*.png")
    samples = pd.DataFrame(rows)
    # Which place a picture shows nobody says: each counts as its own, which an audit by place cannot vouch for.
    samples = samples.assign(site=samples["id"], source=root.name, label=(samples["objects"] > 0).astype(int))
    header = header_of(root / rows[0]["file"])
    return Dataset(
        name=root.name,
        samples=samples,
        bands=("red", "green", "blue") if len(header.bands) == 3 else header.bands,
        classes=object_classes(names),
        reader=YoloReader(root, tuple(samples["file"]), segments and bool(samples["objects"].sum())),
        units="8-bit picture",
        nodata=None,
        resolution_m=None,
        licence="none",
        provenance={"format": NAME},
    )


def validate(root: Path) -> list[Flaw]:
    """Findings: pictures without a label file or the reverse, broken lines, unknown classes, no negatives."""
    found = []
    try:
        names: tuple[str, ...] = _names(root)
    except MinescaleError as error:
        return [Flaw(DATA, str(error).replace("\n", ";"))]
    empty = total = 0
    for part in PARTS:
        images = {p.stem: p for p in sorted((root / "images" / part).glob("*")) if is_image(p)}
        labels = {p.stem: p for p in sorted((root / "labels" / part).glob("*.txt"))}
        found += [Flaw(f"labels/{part}/{s}.txt", "missing") for s in images if s not in labels]
        found += [Flaw(f"labels/{part}/{s}.txt", "has no picture") for s in labels if s not in images]
        for stem in sorted(set(images) & set(labels)):
            try:
                things = read_labels(labels[stem], *header_of(images[stem]).shape)
            except MinescaleError as error:
                found.append(Flaw(f"labels/{part}/{stem}.txt", str(error).replace("\n", ";")))
                continue
            strange = sorted({t.value - 1 for t in things if t.value > len(names)})
            if strange:
                found.append(Flaw(f"labels/{part}/{stem}.txt", f"classes {strange} are not in {DATA}"))
            empty += not things
            total += 1
    if total and not empty:
        found.append(Flaw("labels", "no empty label file: the set has no negatives", severe=False))
    return found


def _names(root: Path) -> tuple[str, ...]:
    try:
        values = yaml.safe_load((root / DATA).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise StoreError(f"cannot read {root / DATA}", got=error) from error
    names = values.get("names") if isinstance(values, dict) else None
    if isinstance(names, dict) and sorted(names) == list(range(len(names))) and names:
        return tuple(str(names[i]) for i in range(len(names)))
    if isinstance(names, list) and names:
        return tuple(str(name) for name in names)
    raise UsageError(f"{DATA} names no classes", got=names, expected="names: {0: ..., 1: ...}")


def _label(file: str) -> str:
    return f"labels/{Path(file).parent.name}/{Path(file).stem}.txt"


def _shape(shares: NDArray[np.float64], height: int, width: int, where: str) -> Polygon:
    if not np.isfinite(shares).all() or shares.min() < 0 or shares.max() > 1:
        raise UsageError(f"{where} leaves the picture", got=f"{shares.min()} to {shares.max()}", expected="0 to 1")
    if len(shares) == 4:
        xc, yc, w, h = shares * (width, height, width, height)
        return box(xc - w / 2, yc - h / 2, xc + w / 2, yc + h / 2)
    return Polygon(shares.reshape(-1, 2) * (width, height))
