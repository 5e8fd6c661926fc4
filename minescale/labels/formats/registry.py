"""Every format by one set of verbs: open what lies there, write, validate."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from minescale.errors import UsageError
from minescale.labels.formats import known_sets
from minescale.labels.formats.sidecar import SIDECAR, Flaw, parts_of, read_sidecar, without_layout, write_sidecar
from minescale.labels.formats.stac_labels import write_stac
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.folder import FolderReader, open_folder, write_folder
from minescale.labels.sets.folder_layout import BUILDING, CHIPS, DATASET, IMAGES, MASKS, SPLITS, read_split, write_split
from minescale.labels.sets.new_folder import new_folder
from minescale.labels.sets.split import Split

IMAGE, MASK = "image", "mask"
"""Arrays of the shared Zarr."""
NATIVE = ("folder", "zarr")
"""The project's own folder: one GeoTIFF for each sample, or all in one Zarr."""


@dataclass(frozen=True, slots=True)
class Format:
    """A module with ``recognise``, ``read``, ``write`` and ``validate`` under a name.

    It may have ``assets(options, entry)``, the files of a sample, and ``tasks(options)``, what its labels are for.
    """

    name: str
    title: str
    module: str
    checker: str = ""
    """Module that validates, where that is another one."""

    def load(self) -> ModuleType:
        return importlib.import_module(f"minescale.labels.formats.{self.module}")

    def validate(self, root: Path) -> list[Flaw]:
        module = importlib.import_module(f"minescale.labels.formats.{self.checker or self.module}")
        found: list[Flaw] = module.validate(root)
        return found


FORMATS = (
    Format("gmd", "Global Mining Dataset tree", "gmd", "gmd_check"),
    Format("folders", "positive, negative and augmented folders", "folders"),
    Format("pixels", "pixel table", "pixel_table"),
    Format("bandtiles", "per-band tile folders", "band_tiles"),
    Format("yolo", "YOLO boxes or segments", "yolo"),
    Format("coco", "COCO instances", "coco"),
    Format("seedtree", "the Sentinel-2 project's folders", "seed_tree"),
)
"""In the order in which a folder is looked at: what is rarest to be met by chance comes first."""
NAMES = (*(form.name for form in FORMATS), *NATIVE)


def recognise(path: str | Path) -> str:
    """Name of the format, or of the published set, that lies at ``path``.

    Raises
    ------
    UsageError
        listing what was found instead.
    """
    root = Path(path)
    if root.is_file() and root.name.endswith((".tar.gz", ".tgz")):
        raise UsageError(f"{root.name} is packed", fix=f"tar -xzf {root.name} into a folder of its own")
    if root.is_dir():
        if (root / DATASET).is_file() or (root / BUILDING).is_file():
            return NATIVE[0]
        for form in FORMATS:
            if form.load().recognise(root):
                return form.name
    known = known_sets.recognise(root)
    if known is not None:
        return known
    if not root.is_dir():
        raise UsageError("no dataset there", got=str(root), expected="a folder, or a published .npz file")
    there = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in root.iterdir())
    raise UsageError(
        f"{root} holds no dataset of a known format",
        got=", ".join(there[:12]) + (f" and {len(there) - 12} more" if len(there) > 12 else "") or "nothing",
        expected=f"{', '.join(NAMES)}, or one of the published sets {', '.join(known_sets.NAMES)}",
    )


def open_dataset(path: str | Path) -> Dataset:
    """Open a dataset of any format, found out by looking. Tables are read, pixels are not.

    Raises
    ------
    UsageError
        where nothing known lies there.
    StoreError
        where something does, and is broken.
    """
    name = recognise(path)
    if name in NATIVE:
        return open_folder(path)
    if name in known_sets.NAMES:
        return known_sets.read(Path(path), name)
    dataset: Dataset = _format(name).load().read(Path(path))
    return dataset


def open_split(path: str | Path) -> Split | None:
    """The split that a set was written with; None where it came without one, or keeps several, as the project's own
    folder may."""
    name = recognise(path)
    if name in NATIVE:
        kept = sorted((Path(path) / SPLITS).glob("*.json"))
        return read_split(path, kept[0].stem) if len(kept) == 1 else None
    described = None if name in known_sets.NAMES else read_sidecar(path, name)
    return None if described is None else described.split


def write_dataset(
    dataset: Dataset,
    path: str | Path,
    *,
    format: str,  # noqa: A002  (the word every exporter uses)
    split: Split | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Dataset:
    """Write a dataset in a format, whole or not at all, with its description and STAC documents, and open it.

    Parameters
    ----------
    format : one of :data:`NAMES`.
    split : who trains and who tests; default: the parts in the set's own column ``split``.
    overwrite : replace what is there, where that is a dataset.
    options : the format's own, see its module's ``write``.

    Raises
    ------
    UsageError
        for an unknown format or option, a target that is there, or a set that does not fit the format.
    StoreError
        where it cannot be written.
    """
    dataset = without_layout(dataset)
    if format in NATIVE:
        _only(options, ())
        with new_folder(path, overwrite=overwrite, marks=(DATASET, SIDECAR)) as folder:
            write_folder(dataset, folder, layout="zarr" if format == "zarr" else "tif")
            write_stac(folder, _native_files(dataset, split, zarr=format == "zarr"), _files, _tasks(dataset))
            if split is not None:
                write_split(folder, "published", split)
        return open_folder(path)
    module = _format(format).load()
    _only(options, _parameters(module.write))
    with new_folder(path, overwrite=overwrite, marks=(DATASET, SIDECAR)) as folder:
        written, said = module.write(dataset, folder, split, **options)
        tasks = module.tasks(said) if hasattr(module, "tasks") else _tasks(dataset)
        write_sidecar(folder, written, form=format, split=split, options=said, masks="segmentation" in tasks)
        write_stac(folder, written, _assets(module, said), tasks)
    return open_dataset(path)


def validate(path: str | Path) -> list[Flaw]:
    """Everything that departs from the format of what lies at ``path``; empty for a sound set."""
    name, root = recognise(path), Path(path)
    if name in (*NATIVE, *known_sets.NAMES):
        return _chips(root, open_dataset(root))
    return _format(name).validate(root)


def _chips(root: Path, dataset: Dataset) -> list[Flaw]:
    """Findings where a description says all: chips that cannot be read, or are not what it says."""
    reader, found = dataset.reader, []
    for row, name in enumerate(dataset.samples["id"]):
        try:
            image, mask = reader.image(row), reader.mask(row)
            if mask is not None:
                dataset.classes.check(mask, str(name))
                if mask.shape != image.shape[1:]:
                    found.append(Flaw(str(name), f"mask of {mask.shape} pixels, image of {image.shape[1:]}"))
            if len(image) != len(dataset.bands):
                found.append(Flaw(str(name), f"{len(image)} bands, expected {len(dataset.bands)}"))
        except (UsageError, OSError) as error:
            found.append(Flaw(str(name), str(error).replace("\n", ";")))
    if isinstance(reader, FolderReader) and reader.spec.layout == "tif":
        stems = {p.stem for p in (root / "images").glob("*.tif")}
        found += [
            Flaw(f"images/{s}.tif", "not in the table", severe=False)
            for s in sorted(stems - set(dataset.samples["id"]))
        ]
    return found


def _format(name: str) -> Format:
    for form in FORMATS:
        if form.name == name:
            return form
    raise UsageError("unknown format", got=name, expected=" | ".join(NAMES))


def _assets(module: ModuleType, options: dict[str, Any]) -> Callable[[pd.Series], dict[str, str]]:
    if hasattr(module, "assets"):
        return lambda entry: dict(module.assets(options, entry))

    return _files


def _tasks(dataset: Dataset) -> list[str]:
    return ["classification" if dataset.reader.mask(0) is None else "segmentation"]


def _files(entry: pd.Series) -> dict[str, str]:
    label = entry.get("label_file")
    return {"image": str(entry["file"])} | ({} if label is None or pd.isna(label) else {"label": str(label)})


def _native_files(dataset: Dataset, split: Split | None, *, zarr: bool) -> Dataset:
    """The set with the columns that say which files of the project's own folder hold a sample."""
    ids = dataset.samples["id"].astype(str)
    shapes = [dataset.reader.image(row).shape[1:] for row in range(len(dataset))]
    masks = dataset.reader.mask(0) is not None
    samples = dataset.samples.assign(
        split=parts_of(dataset, split),
        height=[s[0] for s in shapes],
        width=[s[1] for s in shapes],
        file=f"{CHIPS}/{IMAGE}" if zarr else f"{IMAGES}/" + ids + ".tif",
        label_file=None if not masks else f"{CHIPS}/{MASK}" if zarr else f"{MASKS}/" + ids + ".tif",
    )
    return replace(dataset, samples=samples)


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    import inspect

    return tuple(p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY)


def _only(options: dict[str, Any], known: tuple[str, ...]) -> None:
    strange = sorted(set(options) - set(known))
    if strange:
        raise UsageError("format has no such option", got=strange, expected=", ".join(known) or "none")
