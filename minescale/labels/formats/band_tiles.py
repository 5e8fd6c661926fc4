"""One folder for each tile, one GeoTIFF for each band, and ``dataset_splits.csv``.

``tiles/<id>/B02.tif ... mask.tif``: bands are called as Sentinel-2's files are where the set says that it is, else by
their common names. Each may keep its own pixel size; read as a set they are brought to the finest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.errors import MinescaleError, StoreError, UsageError
from minescale.kernels.resample import block_mean
from minescale.labels.formats.sidecar import Flaw, parts_of, read_sidecar
from minescale.labels.sets.chips import check_id, geobox_of, read_tif, write_tif
from minescale.labels.sets.classes import BINARY, ClassMap
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.files import Header, header_of, with_places
from minescale.labels.sets.split import PARTS, Split
from minescale.sensors import SENTINEL2_L2A

NAME = "bandtiles"
SPLITS = "dataset_splits.csv"
COLUMNS = ("split", "data_path", "mask_path")
MASK = "mask.tif"
ORDER = (
    "red", "green", "blue", "nir",
    "rededge071", "rededge075", "rededge078", "nir08", "swir16", "swir22",
    "coastal", "nir09",
)  # fmt: skip
"""The fixed order of twelve bands: 10 m, then 20 m, then 60 m (B04 B03 B02 B08, B05 B06 B07 B8A B11 B12, B01 B09)."""
Resampling = Literal["cubic", "nearest"]
RESAMPLING: tuple[Resampling, ...] = ("cubic", "nearest")
_ONLY_SENTINEL = frozenset({"rededge071", "rededge075", "rededge078", "nir09"})
_FILES = {band.name: band.assets[0] for band in SENTINEL2_L2A.bands}
_BANDS = {file: name for name, file in _FILES.items()}


def file_stem(dataset: Dataset) -> dict[str, str]:
    """File stem of each band: ``B02`` for a set of Sentinel-2, else the common name."""
    said = {str(s) for s in dataset.samples.get("sensor", pd.Series(dtype=object)).dropna()}
    said |= {str(dataset.provenance["sensor"])} if "sensor" in dataset.provenance else set()
    sentinel = all(name.lower().startswith("sentinel-2") for name in said) if said else bool(
        _ONLY_SENTINEL & set(dataset.bands)
    )  # fmt: skip
    return {name: _FILES.get(name, name) if sentinel else name for name in dataset.bands}


def write(
    dataset: Dataset,
    folder: Path,
    split: Split | None = None,
    *,
    native: bool = False,
    resampling: Resampling = "cubic",
) -> tuple[Dataset, dict[str, Any]]:
    """Write a folder for each sample, and the table of splits with paths relative to the set.

    Parameters
    ----------
    native : bring bands that the sensor takes coarser back to their own pixel size, by means over whole blocks. For
        uint16 with nodata 0 at 10 m, in tiles whose edges are multiples of 20 and 60 m.
    resampling : how the reader brings coarser bands to the finest pixels.

    Raises
    ------
    UsageError
        for ids or bands that cannot name files, or tiles that do not divide into blocks.
    """
    if resampling not in RESAMPLING:
        raise UsageError("unknown resampling", got=resampling, expected=" | ".join(RESAMPLING))
    stems = file_stem(dataset)
    factors = {name: _factor(dataset, name) if native else 1 for name in dataset.bands}
    parts = parts_of(dataset, split)
    rows, shapes = [], []
    for row, name in enumerate(dataset.samples["id"].astype(str)):
        tile = folder / "tiles" / check_id(name)
        tile.mkdir(parents=True)
        image, mask = dataset.reader.image(row), dataset.reader.mask(row)
        place = geobox_of(dataset.samples.iloc[row].to_dict(), (image.shape[1], image.shape[2]))
        for band, pixels in zip(dataset.bands, image, strict=True):
            f = factors[band]
            kept = pixels if f == 1 else block_mean(np.ascontiguousarray(pixels), f)
            where = _coarser(place, f)
            tags = {"units": dataset.units}
            path = tile / f"{check_id(stems[band])}.tif"
            write_tif(path, kept[None], [band], geobox=where, nodata=dataset.nodata, tags=tags)
        if mask is not None:
            write_tif(tile / MASK, mask[None], ["mask"], geobox=place, nodata=dataset.classes.ignore)
        shapes.append(image.shape[1:])
        data = tile.relative_to(folder).as_posix()
        part = parts.iloc[row]
        rows.append(("" if pd.isna(part) else part, data, f"{data}/{MASK}" if mask is not None else ""))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.to_csv(folder / SPLITS, index=False, lineterminator="\n")
    samples = dataset.samples.assign(
        split=parts, file=table["data_path"], label_file=table["mask_path"].replace("", None),
        height=[s[0] for s in shapes], width=[s[1] for s in shapes],
    )  # fmt: skip
    return replace(dataset, samples=samples), {"files": stems, "factors": factors, "resampling": resampling}


def assets(options: dict[str, Any], entry: pd.Series) -> dict[str, str]:
    """Files of a sample by name."""
    found = {band: f"{entry['file']}/{stem}.tif" for band, stem in options["files"].items()}
    return found if pd.isna(entry["label_file"]) else {**found, "label": str(entry["label_file"])}


def recognise(root: Path) -> bool:
    return (root / SPLITS).is_file()


@dataclass(frozen=True, slots=True)
class BandReader:
    """Tiles whose bands lie in files of their own, perhaps of different pixel sizes."""

    root: Path
    tiles: tuple[str, ...]
    masks: tuple[str | None, ...]
    files: tuple[str, ...]
    """File stem of each band, in the set's order."""
    resampling: Resampling
    classes: ClassMap

    def image(self, row: int) -> NDArray[Any]:
        """(band, y, x) on the pixels of the finest band; coarser ones by cubic convolution (GDAL's, which leaves nodata
        out) or by repetition."""
        paths = [self.root / self.tiles[row] / f"{stem}.tif" for stem in self.files]
        shapes = [header_of(path).shape for path in paths]
        finest = max(shapes)
        return np.stack(
            [_resampled(path, shape, finest, self.resampling) for path, shape in zip(paths, shapes, strict=True)]
        )

    def band(self, row: int, position: int) -> NDArray[Any]:
        """(y, x) of one band as it lies in its file."""
        return read_tif(self.root / self.tiles[row] / f"{self.files[position]}.tif")[0]

    def mask(self, row: int) -> NDArray[np.uint8] | None:
        """(y, x) class values."""
        name = self.masks[row]
        if name is None:
            return None
        label = read_tif(self.root / name)[0].astype(np.uint8)
        self.classes.check(label, name)
        return label


def read(root: Path) -> Dataset:
    """Open a set. One from elsewhere is read in the fixed :data:`ORDER`, masks 0 and 1.

    Raises
    ------
    UsageError
        for a table with other columns, or tiles with different bands.
    """
    described = read_sidecar(root, NAME)
    if described is not None:
        samples, options = described.samples, described.options
        masks = tuple(None if pd.isna(name) else str(name) for name in samples["label_file"])
        stems = tuple(options["files"][band] for band in described.spec.bands)
        reader = BandReader(root, tuple(samples["file"]), masks, stems, options["resampling"], described.spec.classes)
        return described.dataset(reader)
    table = read_splits(root)
    stems = _common_files(root, table["data_path"].tolist())
    samples = pd.DataFrame(
        {
            "id": [path.strip("/").replace("/", "-") for path in table["data_path"]],
            "site": table["data_path"],
            "source": root.name,
            "split": table["split"].replace({"": None, "validation": "val"}),
            "file": table["data_path"],
            "label_file": table["mask_path"].replace("", None),
        }
    )
    headers = [_finest(root / path, stems) for path in table["data_path"]]
    masks = tuple(None if name == "" else name for name in table["mask_path"])
    return Dataset(
        name=root.name,
        samples=with_places(samples, headers),
        bands=tuple(_BANDS.get(stem, stem) for stem in stems),
        classes=BINARY,
        reader=BandReader(root, tuple(table["data_path"]), masks, stems, "cubic", BINARY),
        units=headers[0].tags.get("units", "digital number"),
        nodata=headers[0].nodata,
        resolution_m=None,
        licence="none",
        provenance={"format": NAME},
    )


def read_splits(root: Path) -> pd.DataFrame:
    """``dataset_splits.csv`` as text columns.

    Raises
    ------
    UsageError
        for other columns.
    """
    try:
        table = pd.read_csv(root / SPLITS, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {root / SPLITS}", got=error) from error
    if not set(COLUMNS) <= set(table.columns):
        raise UsageError(f"{SPLITS} has other columns", got=list(table.columns), expected=list(COLUMNS))
    return table[list(COLUMNS)]


def validate(root: Path) -> list[Flaw]:
    """Findings: unknown parts, missing or broken files, tiles with other bands, masks of another size or with strange
    values, pixel sizes that do not nest."""
    try:
        table, dataset = read_splits(root), read(root)
        stems = dataset.reader.files  # type: ignore[attr-defined]  # a BandReader
    except MinescaleError as error:
        return [Flaw(SPLITS, str(error).replace("\n", ";"))]
    found = []
    for row, entry in enumerate(table.itertuples(index=False)):
        if entry.split not in (*PARTS, ""):
            found.append(Flaw(SPLITS, f"{entry.data_path} is of part {entry.split}"))
        try:
            shapes = {stem: header_of(root / entry.data_path / f"{stem}.tif").shape for stem in stems}
            finest = max(shapes.values())
            odd = [s for s, shape in shapes.items() if finest[0] % shape[0] or finest[1] % shape[1]]
            if odd:
                found.append(Flaw(entry.data_path, f"pixels of {', '.join(odd)} do not nest in the finest"))
            dataset.reader.image(row)
            mask = dataset.reader.mask(row)
            if mask is not None and mask.shape != finest:
                found.append(Flaw(entry.mask_path, f"{mask.shape} pixels; its tile has {finest}"))
        except MinescaleError as error:
            found.append(Flaw(entry.data_path, str(error).replace("\n", ";")))
    return found


def _factor(dataset: Dataset, band: str) -> int:
    """How many of the set's pixels make one of the band's own."""
    if dataset.nodata != 0 or dataset.reader.image(0).dtype != np.uint16 or not dataset.resolution_m:
        raise UsageError(
            "bands cannot be brought to their own pixel size",
            got=f"nodata {dataset.nodata}, {dataset.resolution_m} m",
            expected="uint16 with nodata 0 and a known pixel size",
            fix="native=False",
        )
    f = SENTINEL2_L2A.resolution(band) / dataset.resolution_m
    if f < 1 or f != int(f):
        raise UsageError("pixels of a band are no multiple of the set's", got=f"{band} x {f:g}", fix="native=False")
    return int(f)


def _coarser(place: GeoBox | None, f: int) -> GeoBox | None:
    return place if place is None or f == 1 else place.zoom_out(f)


def _resampled(path: Path, shape: tuple[int, int], finest: tuple[int, int], how: Resampling) -> NDArray[Any]:
    if shape == finest:
        return read_tif(path)[0]
    import rasterio
    from rasterio.enums import Resampling as Kernel

    with rasterio.open(path) as image:
        return np.asarray(image.read(1, out_shape=finest, resampling=getattr(Kernel, how)))


def _common_files(root: Path, tiles: Sequence[str]) -> tuple[str, ...]:
    """File stems that every tile has, known bands in the fixed order."""
    found = {frozenset(p.stem for p in (root / tile).glob("*.tif") if p.name != MASK) for tile in tiles}
    if len(found) != 1 or not next(iter(found)):
        shown = [sorted(stems) for stems in found][:3]
        raise UsageError(f"tiles of {root.name} have different bands", got=shown, expected="the same in every tile")
    stems = found.pop()
    rank = {_FILES[name]: i for i, name in enumerate(ORDER)}
    return tuple(sorted(stems, key=lambda stem: (rank.get(stem, len(rank)), stem)))


def _finest(tile: Path, stems: Sequence[str]) -> Header:
    return max((header_of(tile / f"{stem}.tif") for stem in stems), key=lambda header: header.shape)
