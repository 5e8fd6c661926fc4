"""The native dataset folder: ``dataset.json``, ``samples.parquet``, and chips as GeoTIFFs or one Zarr.

A folder under construction holds ``building.jsonl`` instead of ``dataset.json``: its first line says what is being
built, every further line is a finished sample. Chips appear whole or not at all, and a chip's line follows the chip, so
a killed writer leaves nothing half written and is continued by the same call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.errors import OutputMismatch, StoreError, UsageError
from minescale.labels.sets.chips import ChipStore, check_id, geobox_of, read_tif, write_tif
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.folder_layout import (
    BUILDING,
    CHIPS,
    DATASET,
    IMAGES,
    MASK_BAND,
    MASKS,
    SAMPLES,
    FolderSpec,
    Layout,
    load_document,
    replace_text,
)
from minescale.labels.sets.whole import whole


@dataclass(frozen=True, slots=True)
class ChipWriter:
    """Writes single chips into a folder under construction; a small value that can travel to workers."""

    folder: str
    spec: FolderSpec

    def put(
        self,
        name: str,
        position: int,
        image: NDArray[Any],
        mask: NDArray[np.uint8] | None = None,
        geobox: GeoBox | None = None,
    ) -> None:
        """Write a sample's chip.

        Parameters
        ----------
        position : row in the shared arrays of the ``zarr`` layout.
        image : (band, y, x) as :attr:`FolderSpec.stored` names them.
        mask : (y, x) class values; needed where the spec says so.

        Raises
        ------
        UsageError
            for arrays that are not what the spec says.
        StoreError
        """
        spec, root = self.spec, Path(self.folder)
        if image.ndim != 3 or len(image) != len(spec.stored):
            raise UsageError(
                f"sample {name} has other bands", got=image.shape, expected=f"({len(spec.stored)}, y, x) {spec.stored}"
            )
        if spec.masks != (mask is not None):
            what = "lacks the mask that the others have" if spec.masks else "has a mask, and the others have none"
            raise UsageError(f"sample {name} {what}", fix="masks for all samples of a set, or for none")
        if mask is not None and mask.shape != image.shape[1:]:
            raise UsageError(f"mask of sample {name} has another size", got=mask.shape, expected=image.shape[1:])
        if spec.layout == "zarr":
            ChipStore(root / CHIPS, writable=True).write(position, image, mask)
            return
        tags = {"units": spec.units, "sample": name}
        write_tif(
            root / IMAGES / f"{name}.tif",
            image,
            spec.stored,
            geobox=geobox,
            nodata=spec.nodata,
            tags=tags,
            band_tags=spec.band_tags,
        )
        if mask is not None:
            legend = {f"class_{value}": label for value, label in enumerate(spec.classes.names)}
            write_tif(
                root / MASKS / f"{name}.tif",
                mask[None],
                [MASK_BAND],
                geobox=geobox,
                nodata=spec.classes.ignore,
                tags={"sample": name},
                band_tags=[legend],
            )


class FolderWriter:
    """Builds a dataset folder, or continues one of the same spec.

    Parameters
    ----------
    capacity, shape, dtype : of the shared arrays; the ``zarr`` layout alone needs them. ``shape`` is (y, x).
    beside : names of the caller's own files that may lie in the folder already.

    Raises
    ------
    OutputMismatch
        where the folder holds something else, or is being built from other settings.
    """

    def __init__(
        self,
        path: str | Path,
        spec: FolderSpec,
        *,
        capacity: int = 0,
        shape: tuple[int, int] = (0, 0),
        dtype: str = "uint16",
        beside: Sequence[str] = (),
    ) -> None:
        self.path, self.spec = Path(path), spec
        self.chips = ChipWriter(str(self.path), spec)
        self.done: set[str] = set()
        """Ids that :meth:`record` was told of, by this process or an earlier one."""
        self.complete = (self.path / DATASET).is_file()
        if self.complete:
            self._check(load_document(self.path / DATASET))
            return
        header = json.dumps({"spec": spec.to_dict()}, sort_keys=True)
        building = self.path / BUILDING
        if building.is_file():
            self._continue(building, header)
        elif self.path.is_dir() and any(
            entry.name not in beside and not entry.name.startswith(".") for entry in self.path.iterdir()
        ):
            raise OutputMismatch(
                f"{self.path} is not empty and holds no dataset",
                expected="an empty or absent folder",
                fix="another folder",
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self.done:
                replace_text(building, header + "\n")
                self._make(capacity, shape, dtype)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}", got=str(error), fix="a writable folder") from error

    def _make(self, capacity: int, shape: tuple[int, int], dtype: str) -> None:
        """Places for chips; the folder says already what it is to become."""
        spec = self.spec
        if spec.layout == "tif":
            for name in (IMAGES, MASKS) if spec.masks else (IMAGES,):
                (self.path / name).mkdir(exist_ok=True)
            return
        ChipStore.create(
            self.path / CHIPS,
            samples=capacity,
            bands=spec.stored,
            shape=shape,
            dtype=dtype,
            nodata=spec.nodata,
            masks=spec.masks,
            fill_mask=spec.classes.ignore or 0,
        )

    def _continue(self, building: Path, header: str) -> None:
        lines = building.read_text(encoding="utf-8").split("\n")
        self._check(json.loads(lines[0])["spec"])
        # A line that a kill cut short has no end.
        self.done = {json.loads(line)["id"] for line in lines[1:-1]}
        replace_text(building, "\n".join([header, *lines[1:-1], ""]))

    def recorded(self) -> Iterator[dict[str, Any]]:
        """The rows that :meth:`record` was told, in the order of their end."""
        with (self.path / BUILDING).open(encoding="utf-8") as file:
            next(file)
            for line in file:
                yield json.loads(line)

    def _check(self, found: Mapping[str, Any]) -> None:
        wanted = json.loads(json.dumps(self.spec.to_dict()))
        here, there = _flat(found), _flat(wanted)
        different = sorted(key for key in {*here, *there} if here.get(key) != there.get(key))
        if different:
            raise OutputMismatch(
                f"{self.path} holds a dataset made in another way",
                got=", ".join(f"{key} {_short(here.get(key))}" for key in different[:3]),
                expected=", ".join(f"{key} {_short(there.get(key))}" for key in different[:3]),
                fix="another --out, or remove that folder",
            )

    def record(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Note samples whose chips are written. Each row is JSON and has an ``id``."""
        found = [dict(row) for row in rows]
        text = "".join(json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in found)
        try:
            with (self.path / BUILDING).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise StoreError(f"cannot write {self.path / BUILDING}", got=str(error)) from error
        self.done.update(row["id"] for row in found)

    def finish(self, samples: pd.DataFrame) -> Dataset:
        """Write the table and ``dataset.json``; the folder is a dataset from then on.

        Raises
        ------
        UsageError
            for a table that is none of a dataset.
        """
        kept = samples.reset_index(drop=True)
        dataset = self.spec.dataset(kept, FolderReader(self.path, self.spec, kept))
        try:
            with whole(self.path / SAMPLES) as partial:
                kept.to_parquet(partial, index=False)
            replace_text(self.path / DATASET, json.dumps(self.spec.to_dict(), indent=1) + "\n")
            (self.path / BUILDING).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}", got=str(error), fix="a writable folder with space") from error
        self.complete = True
        return dataset


@dataclass(frozen=True, slots=True)
class FolderReader:
    """Chips of a dataset folder, read when they are asked for."""

    path: Path
    spec: FolderSpec
    samples: pd.DataFrame

    def image(self, row: int) -> NDArray[Any]:
        """(band, y, x) of the feature bands."""
        return self._read(row, range(len(self.spec.bands)))

    def mask(self, row: int) -> NDArray[np.uint8] | None:
        """(y, x) class values; None in a set without masks."""
        if not self.spec.masks:
            return None
        if self.spec.layout == "zarr":
            return ChipStore(self.path / CHIPS).mask(self._position(row))
        return read_tif(self.path / MASKS / f"{self.samples['id'].iloc[row]}.tif")[0].astype(np.uint8)

    def ancillary(self, row: int, name: str) -> NDArray[Any]:
        """(y, x) of a band that is stored beside the features.

        Raises
        ------
        UsageError
            for a name that is not.
        """
        if name not in self.spec.ancillary:
            raise UsageError(
                f"dataset {self.spec.name} has no such ancillary band",
                got=name,
                expected=", ".join(self.spec.ancillary) or "none",
            )
        return self._read(row, [self.spec.stored.index(name)])[0]

    def geobox(self, row: int, shape: tuple[int, int]) -> GeoBox | None:
        """Where a sample of ``shape`` (y, x) lies; None where nobody knows."""
        return geobox_of(self.samples.iloc[row].to_dict(), shape)

    def _read(self, row: int, bands: Iterable[int]) -> NDArray[Any]:
        if self.spec.layout == "zarr":
            return ChipStore(self.path / CHIPS).image(self._position(row), list(bands))
        return read_tif(self.path / IMAGES / f"{self.samples['id'].iloc[row]}.tif", list(bands))

    def _position(self, row: int) -> int:
        return int(self.samples["chip"].iloc[row]) if "chip" in self.samples else row


def open_folder(path: str | Path) -> Dataset:
    """Open a dataset folder. Tables are read, pixels are not.

    Raises
    ------
    UsageError
        where there is no dataset, or one that is still being built.
    """
    root = Path(path)
    if not (root / DATASET).is_file():
        building = (root / BUILDING).is_file()
        raise UsageError(
            f"{root} holds no finished dataset",
            got=f"{BUILDING}: it is still being built" if building else None,
            expected=DATASET,
            fix="repeat the command that builds it: it continues" if building else "a folder that minescale built",
        )
    spec = FolderSpec.from_dict(load_document(root / DATASET))
    try:
        samples = pd.read_parquet(root / SAMPLES)
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {root / SAMPLES}", got=str(error), fix="build the dataset again") from error
    return spec.dataset(samples, FolderReader(root, spec, samples))


def write_folder(dataset: Dataset, path: str | Path, *, layout: Layout = "tif") -> Dataset:
    """Copy any dataset into a folder and open that. A call that was cut short is continued by the same call.

    Chips get a place on earth where the table has :data:`minescale.labels.sets.chips.GEO_COLUMNS`.

    Raises
    ------
    OutputMismatch
        where ``path`` holds something else.
    UsageError
        for ids that cannot name files, or chips of several shapes in the ``zarr`` layout.
    """
    names = [check_id(str(name)) for name in dataset.samples["id"]]
    first = dataset.reader.image(0)
    spec = FolderSpec.of(dataset, masks=dataset.reader.mask(0) is not None, layout=layout)
    shape = (int(first.shape[1]), int(first.shape[2]))
    writer = FolderWriter(path, spec, capacity=len(dataset), shape=shape, dtype=first.dtype.name)
    if writer.complete:
        kept = open_folder(path)
        if kept.samples["id"].tolist() != names:
            raise OutputMismatch(f"{path} holds a dataset of other samples", fix="another folder")
        return kept
    for row, name in enumerate(names):
        if name in writer.done:
            continue
        image = dataset.reader.image(row)
        place = geobox_of(dataset.samples.iloc[row].to_dict(), (image.shape[1], image.shape[2]))
        writer.chips.put(name, row, image, dataset.reader.mask(row), place)
        writer.record([{"id": name}])
    return writer.finish(dataset.samples.drop(columns="chip", errors="ignore"))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
