"""Does a folder hold a sound Global Mining Dataset tree? Every departure is named, not only the first."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from minescale.errors import MinescaleError
from minescale.labels.formats.archive import sha256
from minescale.labels.formats.gmd import KINDS, MAPPING, NAME, base_free, base_of, mapping_of, read_mapping
from minescale.labels.formats.sidecar import Flaw, read_sidecar
from minescale.labels.sets.classes import THREE_CLASS, ClassMap
from minescale.labels.sets.files import header_of
from minescale.labels.sets.label_png import is_palettised, palette_of, read_label_png
from minescale.labels.sets.split import PARTS


def validate(root: Path) -> list[Flaw]:
    """Findings; empty for a tree in which nothing departs from the format."""
    return [*_layout(root), *_stems(root), *_labels(root), *_mapping(root)]


def _layout(root: Path) -> Iterator[Flaw]:
    if not any(base_of(root, part).is_dir() for part in PARTS):
        yield Flaw(".", "none of the folders train, val, test")
    for part in PARTS:
        if base_of(root, part) != root / part:
            yield Flaw(f"train/{part}", "inside train; parts are siblings", severe=False)
    sites = defaultdict(list)
    for part in PARTS:
        for folder in sorted((base_of(root, part) / "images").glob("*")):
            sites[folder.name].append(part)
    for site, parts in sites.items():
        if len(parts) > 1:
            yield Flaw(site, f"in several parts: {', '.join(parts)}", severe=False)


def _stems(root: Path) -> Iterator[Flaw]:
    """Every stem has exactly one file of each kind, and numbers run from 00000 without a gap."""
    for part in PARTS:
        base = base_of(root, part)
        kinds: dict[str, Counter[str]] = defaultdict(Counter)
        for kind, suffix in KINDS.items():
            for path in sorted((base / kind).glob("*/*")):
                name = f"{part}/{kind}/{path.parent.name}/{path.name}"
                if path.suffix != suffix or not (len(path.stem) == 5 and path.stem.isdigit()):
                    yield Flaw(name, f"unexpected file; expected NNNNN{suffix}")
                    continue
                kinds[f"{path.parent.name}/{path.stem}"][kind] += 1
        for stem, found in sorted(kinds.items()):
            lacking = [kind for kind in KINDS if found[kind] != 1]
            if lacking:
                yield Flaw(f"{part}/*/{stem}", f"no file in {', '.join(lacking)}")
        numbers = defaultdict(list)
        for stem in sorted(kinds):
            site, _, number = stem.partition("/")
            numbers[site].append(int(number))
        for site, found_numbers in numbers.items():
            if found_numbers != list(range(len(found_numbers))):
                yield Flaw(f"{part}/images/{site}", "numbers do not run from 00000 without a gap", severe=False)


def _labels(root: Path) -> Iterator[Flaw]:
    classes = _classes(root)
    for part in PARTS:
        for path in sorted((base_of(root, part) / "labels").glob("*/*.png")):
            name = path.relative_to(root).as_posix()
            try:
                label = read_label_png(path, classes)
                if not is_palettised(path):
                    yield Flaw(name, "coloured, not palettised: classes are guessed from colours", severe=False)
                elif palette_of(path)[: len(classes.colours)] != list(classes.colours):
                    yield Flaw(name, f"palette {palette_of(path)[:3]}, expected {list(classes.colours)}", severe=False)
                image = path.parents[2] / "images" / path.parent.name / f"{path.stem}.tif"
                if image.is_file() and header_of(image).shape != label.shape:
                    yield Flaw(name, f"{label.shape} pixels; its image has {header_of(image).shape}")
                yield from _picture(root, path, label.shape)
            except (MinescaleError, OSError, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG
                yield Flaw(name, str(error).replace("\n", ";"))


def _picture(root: Path, label: Path, shape: tuple[int, ...]) -> Iterator[Flaw]:
    from PIL import Image

    path = label.parents[2] / "rgb" / label.parent.name / label.name
    if not path.is_file():
        return
    with Image.open(path) as picture:
        if picture.mode != "RGB" or np.asarray(picture).shape[:2] != shape:
            yield Flaw(
                path.relative_to(root).as_posix(), f"{picture.mode} of {picture.size}, expected 8-bit RGB of its image"
            )


def _mapping(root: Path) -> Iterator[Flaw]:
    path = mapping_of(root)
    if path is None:
        yield Flaw(MAPPING, "missing")
        return
    if path.parent != root:
        yield Flaw(path.relative_to(root).as_posix(), "inside train; belongs beside the parts", severe=False)
    try:
        table = read_mapping(path)
    except MinescaleError as error:
        yield Flaw(MAPPING, str(error).replace("\n", ";"))
        return
    there = {
        base_free(p.relative_to(root).as_posix()): p
        for part in PARTS
        for p in (base_of(root, part) / "images").glob("*/*.tif")
    }
    for name, digest in zip(table["new_path"], table["sha256"], strict=True):
        if name not in there:
            yield Flaw(MAPPING, f"names {name}, which is not there")
        elif digest != sha256(there[name]):
            yield Flaw(name, "its sha256 is not the one in the mapping")
    for name in sorted(set(there) - set(table["new_path"])):
        yield Flaw(MAPPING, f"does not name {name}")


def _classes(root: Path) -> ClassMap:
    described = read_sidecar(root, NAME)
    return THREE_CLASS if described is None else described.spec.classes
