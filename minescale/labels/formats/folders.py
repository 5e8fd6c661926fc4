"""Four folders of whole-image labels: ``positive``, ``negative``, ``pos_augmented`` and ``neg_augmented``.

Every augmented file names the image that it was made from, in a tag of its own and in ``parents.csv``: without that a
split could put copies of one image on both sides (F21).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from minescale.errors import MinescaleError, UsageError
from minescale.labels.formats.sidecar import Flaw, parts_of, read_sidecar
from minescale.labels.sets.chips import check_id, geobox_of, write_tif
from minescale.labels.sets.classes import BINARY
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.files import TIFF, FileReader, common_bands, header_of, is_image, read_image, with_places
from minescale.labels.sets.split import Split

NAME = "folders"
PARENTS = "parents.csv"
PLAIN = ("negative", "positive")
"""Folder of originals by class value."""
AUGMENTED = ("neg_augmented", "pos_augmented")
FOLDERS = (*PLAIN, *AUGMENTED)
PARENT_TAG = "parent"
_COPY = re.compile(r"(?P<parent>.+?)[-_]aug(mented)?[-_]?\d+")
"""How copies are commonly named where nothing else tells their parent."""


def whole_labels(dataset: Dataset) -> pd.Series:
    """Label of each whole sample, 0 or 1: the column ``label``, else whether any pixel has a class above background.

    Raises
    ------
    UsageError
        for samples without any label, or with classes beyond two.
    """
    if "label" in dataset.samples:
        labels = dataset.samples["label"]
    else:
        masks = (dataset.reader.mask(row) for row in range(len(dataset)))
        labels = pd.Series([None if mask is None else int(_positive(dataset, mask)) for mask in masks])
    strange = labels[~labels.isin([0, 1])]
    if len(strange):
        raise UsageError(
            f"dataset {dataset.name} is not positive or negative, sample by sample",
            got=f"{len(strange)} labels such as {strange.iloc[0]}",
            expected="0 or 1",
            fix="choose the samples with a label first",
        )
    return labels.astype(int)


def write(dataset: Dataset, folder: Path, split: Split | None = None) -> tuple[Dataset, dict[str, Any]]:
    """Write every sample into the folder of its class as ``<id>.tif``; masks are not part of this format.

    Raises
    ------
    UsageError
        for samples without a class, ids that cannot name files, or copies whose parent is not in the set.
    """
    labels, parents = whole_labels(dataset), dataset.parents().astype(str)
    ids = dataset.samples["id"].astype(str)
    orphans = sorted(set(parents) - set(ids))
    if orphans:
        raise UsageError(f"dataset {dataset.name} lacks parents of its copies", got=orphans[:5], fix="keep originals")
    files, shapes = [], []
    for row, (name, label, parent) in enumerate(zip(ids, labels, parents, strict=True)):
        where = (PLAIN if parent == name else AUGMENTED)[label]
        path = folder / where / f"{check_id(name)}.tif"
        path.parent.mkdir(exist_ok=True)
        image = dataset.reader.image(row)
        place = geobox_of(dataset.samples.iloc[row].to_dict(), (image.shape[1], image.shape[2]))
        tags = {"units": dataset.units, PARENT_TAG: parent}
        write_tif(path, image, dataset.bands, geobox=place, nodata=dataset.nodata, tags=tags)
        files.append(path.relative_to(folder).as_posix())
        shapes.append(image.shape[1:])
    for where in FOLDERS:
        (folder / where).mkdir(exist_ok=True)
    table = pd.DataFrame({"file": files, "id": ids, "parent": parents, "label": labels})
    table.sort_values("file").to_csv(folder / PARENTS, index=False, lineterminator="\n")
    samples = dataset.samples.assign(
        label=labels, parent=parents, file=files, split=parts_of(dataset, split),
        height=[s[0] for s in shapes], width=[s[1] for s in shapes],
    )  # fmt: skip
    return replace(dataset, samples=samples), {}


def tasks(options: dict[str, Any]) -> list[str]:  # noqa: ARG001  (as every format's)
    """What the labels are for."""
    return ["classification"]


def recognise(root: Path) -> bool:
    return all((root / name).is_dir() for name in PLAIN)


def read(root: Path) -> Dataset:
    """Open the folders.

    Raises
    ------
    UsageError
        where augmented files do not say what they were made from.
    """
    described = read_sidecar(root, NAME)
    if described is not None:
        return described.dataset(FileReader.of(root, described.samples, described.spec.classes))
    paths = [path for name in FOLDERS for path in sorted((root / name).glob("*")) if is_image(path)]
    if not paths:
        raise UsageError(f"{root} holds no images", expected=f"files in {', '.join(FOLDERS)}")
    parents = _parents(root, paths)
    orphans = [p.relative_to(root).as_posix() for p, parent in zip(paths, parents, strict=True) if parent is None]
    if orphans:
        raise UsageError(
            "augmented files do not say what they were made from, so no split could keep copies together",
            got=f"{len(orphans)}, such as {orphans[:3]}",
            expected=f"a tag {PARENT_TAG!r}, a row in {PARENTS}, or a name <parent>_aug<n>",
        )
    samples = pd.DataFrame(
        {
            "id": [path.stem for path in paths],
            "site": parents,
            "source": [path.parent.name.removesuffix("_augmented") for path in paths],
            "label": [int(path.parent.name.startswith("pos")) for path in paths],
            "parent": parents,
            "file": [path.relative_to(root).as_posix() for path in paths],
        }
    )
    headers = [header_of(path) for path in paths]
    bands = common_bands(headers, root.name)
    pictures = all(path.suffix.lower() not in TIFF for path in paths)
    return Dataset(
        name=root.name,
        samples=with_places(samples, headers),
        bands=("red", "green", "blue") if pictures and len(bands) == 3 else bands,
        classes=BINARY,
        reader=FileReader.of(root, samples, BINARY),
        units=headers[0].tags.get("units", "digital number"),
        nodata=headers[0].nodata,
        resolution_m=None,
        licence="none",
        provenance={"format": NAME},
    )


def validate(root: Path) -> list[Flaw]:
    """Findings: missing folders, broken images, stray files, augmented files without a known parent of their class."""
    found = [Flaw(name, "missing", severe=name in PLAIN) for name in FOLDERS if not (root / name).is_dir()]
    paths = []
    for name in FOLDERS:
        for path in sorted((root / name).glob("*")):
            relative = path.relative_to(root).as_posix()
            if not is_image(path):
                found.append(Flaw(relative, "no image"))
                continue
            try:
                read_image(path)
                paths.append(path)
            except MinescaleError as error:
                found.append(Flaw(relative, str(error).replace("\n", ";")))
    originals = {(p.stem, p.parent.name[:3]) for p in paths if p.parent.name in PLAIN}
    for path, parent in zip(paths, _parents(root, paths), strict=True):
        relative = path.relative_to(root).as_posix()
        if parent is None:
            found.append(Flaw(relative, "does not say what it was made from"))
        elif (parent, path.parent.name[:3]) not in originals:
            found.append(Flaw(relative, f"its parent {parent} is not among the originals of its class"))
    return found


def _positive(dataset: Dataset, mask: np.ndarray) -> bool:
    return bool(((mask > 0) & (mask != dataset.classes.ignore)).any())


def _parents(root: Path, paths: list[Path]) -> list[str | None]:
    """Id of each file's parent: its own for originals, None where nothing says."""
    table = {}
    if (root / PARENTS).is_file():
        listed = pd.read_csv(root / PARENTS, dtype=str)
        table = dict(zip(listed["file"], listed["parent"], strict=True))
    found: list[str | None] = []
    for path in paths:
        if path.parent.name in PLAIN:
            found.append(path.stem)
            continue
        said = header_of(path).tags.get(PARENT_TAG) or table.get(path.relative_to(root).as_posix())
        name = _COPY.fullmatch(path.stem)
        found.append(said or (name["parent"] if name else None))
    return found
