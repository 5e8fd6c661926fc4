"""Pixel tables: one row for each pixel of each sample, as Parquet or CSV.

Columns: ``id`` of the sample, ``row`` and ``col`` from 0, every band, ``distance_m`` to the nearest edge of a polygon
(negative inside) where polygons were given, and ``label``. Samples are written one after the other, so memory does not
grow with their number; a split goes by ``id``, so that pixels of one image stay together.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv

from minescale.errors import MinescaleError, StoreError, UsageError
from minescale.labels.formats.sidecar import SIDECAR, Flaw, parts_of, read_sidecar
from minescale.labels.rasters.masks import far_from_edges, signed_distance
from minescale.labels.sets.chips import geobox_of
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import Split
from minescale.labels.shapes.polygons import Polygons

NAME = "pixels"
TABLES = {"parquet": "pixels.parquet", "csv": "pixels.csv"}
DISTANCE, LABEL = "distance_m", "label"
KEYS = ("id", "row", "col")
NO_FEATURES = frozenset(
    {"visual", "tci", "tcir", "tcig", "tcib", "tci_r", "tci_g", "tci_b", "tclr", "tclg", "tclb", "aot"}
)
"""Bands that are kept for display and are no predictors by default: the true-colour picture is a stretched copy of
red, green and blue with saturation (F07), and the aerosol product is a by-product of the correction (F08)."""
Target = Literal["label", "distance"]


def feature_bands(bands: Sequence[str]) -> tuple[str, ...]:
    """Bands that are predictors by default."""
    return tuple(name for name in bands if name.lower() not in NO_FEATURES)


def sample_rows(
    dataset: Dataset, row: int, polygons: Polygons | None = None, buffer_m: float = 0.0
) -> tuple[pa.Table, tuple[int, int]]:
    """The table of one sample, pixels in the order of their rows, and the image's shape (y, x).

    Parameters
    ----------
    polygons : whose edges distances are measured to; those outside the sample count too.
    buffer_m : pixels closer than this to an edge are left out.

    Raises
    ------
    UsageError
        where distances are asked of a sample that lies nowhere, or a buffer without polygons.
    """
    image, mask = dataset.reader.image(row), dataset.reader.mask(row)
    shape = (int(image.shape[1]), int(image.shape[2]))
    name = str(dataset.samples["id"].iloc[row])
    ys, xs = np.indices(shape, np.int32)
    columns: dict[str, Any] = {"row": ys.ravel(), "col": xs.ravel()}
    columns |= {band: pixels.ravel() for band, pixels in zip(dataset.bands, image, strict=True)}
    if polygons is not None:
        place = geobox_of(dataset.samples.iloc[row].to_dict(), shape)
        if place is None:
            raise UsageError(f"sample {name} lies nowhere, so nothing is far from it", fix="leave polygons out")
        columns[DISTANCE] = signed_distance(polygons, place).ravel()
    columns[LABEL] = _labels(dataset, row, mask, columns.get(DISTANCE), shape[0] * shape[1])
    kept = np.ones(ys.size, np.bool_)
    if buffer_m:
        if polygons is None:
            raise UsageError("a buffer needs edges to keep away from", got=f"{buffer_m} m", fix="polygons=...")
        kept = far_from_edges(columns[DISTANCE], buffer_m)
    ids = pa.DictionaryArray.from_arrays(np.zeros(int(kept.sum()), np.int32), [name])
    return pa.table({"id": ids, **{key: values[kept] for key, values in columns.items()}}), shape


def write(
    dataset: Dataset,
    folder: Path,
    split: Split | None = None,
    *,
    table: Literal["parquet", "csv"] = "parquet",
    polygons: Polygons | None = None,
    buffer_m: float = 0.0,
) -> tuple[Dataset, dict[str, Any]]:
    """Write ``pixels.parquet`` (a row group for each sample) or ``pixels.csv``; parameters as :func:`sample_rows`.

    Raises
    ------
    UsageError
        as :func:`sample_rows`, and for bands that are called like another column.
    """
    if table not in TABLES:
        raise UsageError("unknown kind of table", got=table, expected=" | ".join(TABLES))
    clash = sorted({*KEYS, DISTANCE, LABEL} & set(dataset.bands))
    if clash:
        raise UsageError("bands are called like other columns", got=clash, expected="other band names")
    places = []
    with _Writer(folder / TABLES[table]) as out:
        for row in range(len(dataset)):
            pixels, shape = sample_rows(dataset, row, polygons, buffer_m)
            places.append({"height": shape[0], "width": shape[1], **out.write(pixels)})
    samples = dataset.samples.assign(**pd.DataFrame(places), split=parts_of(dataset, split), file=TABLES[table])
    options = {
        "table": table,
        "features": list(feature_bands(dataset.bands)),
        "distance_to": None if polygons is None else polygons.source,
        "buffer_m": buffer_m,
        "dtype": str(dataset.reader.image(0).dtype),
        "masks": dataset.reader.mask(0) is not None,
    }
    return replace(dataset, samples=samples), options


def pixels_for(
    root: str | Path,
    samples: pd.DataFrame,
    *,
    features: Sequence[str],
    target: Target = "label",
    ignore: int | None = None,
) -> Iterator[tuple[NDArray[np.float32], NDArray[Any]]]:
    """Features (n, k) float32 and target (n,) of each of ``samples``, one sample at a time.

    The target is the class (uint8, pixels with the value ``ignore`` left out) or the distance in metres (float32).

    Raises
    ------
    UsageError
        for features or a target that the table does not have.
    """
    wanted = DISTANCE if target == "distance" else LABEL
    if target not in ("label", "distance"):
        raise UsageError("unknown target", got=target, expected="label | distance")
    for _, entry in samples.iterrows():
        pixels = read_rows(Path(root), entry)
        missing = sorted({*features, wanted} - set(pixels.column_names))
        if missing:
            raise UsageError("pixel table lacks columns", got=missing, expected=", ".join(pixels.column_names))
        x = np.column_stack([pixels[band].to_numpy().astype(np.float32) for band in features])
        y = pixels[wanted].to_numpy()
        kept = np.ones(len(y), np.bool_) if target == "distance" or ignore is None else y != ignore
        yield x[kept], y[kept]


@dataclass(frozen=True, slots=True)
class PixelReader:
    """Images put together again from a table; pixels that are not in it are nodata and ignored."""

    root: Path
    samples: pd.DataFrame
    bands: tuple[str, ...]
    dtype: str
    nodata: float | None
    ignore: int | None
    masks: bool

    def image(self, row: int) -> NDArray[Any]:
        """(band, y, x)"""
        pixels, shape = self._pixels(row)
        full = np.full((len(self.bands), *shape), 0 if self.nodata is None else self.nodata, self.dtype)
        at = pixels["row"].to_numpy(), pixels["col"].to_numpy()
        for band, target in zip(self.bands, full, strict=True):
            target[at] = pixels[band].to_numpy()
        return full

    def mask(self, row: int) -> NDArray[np.uint8] | None:
        """(y, x) class values."""
        if not self.masks:
            return None
        pixels, shape = self._pixels(row)
        full = np.full(shape, 0 if self.ignore is None else self.ignore, np.uint8)
        full[pixels["row"].to_numpy(), pixels["col"].to_numpy()] = pixels[LABEL].to_numpy()
        return full

    def _pixels(self, row: int) -> tuple[pa.Table, tuple[int, int]]:
        entry = self.samples.iloc[row]
        return read_rows(self.root, entry), (int(entry["height"]), int(entry["width"]))


def read_rows(root: Path, entry: pd.Series) -> pa.Table:
    """The table of one sample; ``entry`` is its row in the set's table.

    Raises
    ------
    StoreError
        where the table does not hold it.
    """
    path = root / str(entry["file"])
    try:
        found = _csv_rows(path, entry) if path.suffix == ".csv" else _parquet_rows(path, entry)
        # pyarrow's own errors are ValueErrors and OSErrors.
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}", got=error, fix="build the table again") from error
    if (
        len(found) != int(entry["n_rows"])
        or pc.unique(found["id"].cast(pa.string())).to_pylist() != [str(entry["id"])][: len(found)]
    ):
        raise StoreError(f"{path} does not hold sample {entry['id']} where its description says")
    return found


def validate(root: Path) -> list[Flaw]:
    """Findings: samples that are not where they should be, pixels outside their image or there twice, strange labels,
    features that are no predictors."""
    described = read_sidecar(root, NAME)
    if described is None:
        return [Flaw(SIDECAR, "missing: the table does not say which rows belong to which image")]
    found = [
        Flaw(SIDECAR, f"feature {name} is a display band", severe=False)
        for name in described.options["features"]
        if not feature_bands([name])
    ]
    for _, entry in described.samples.iterrows():
        try:
            pixels = read_rows(root, entry)
            described.spec.classes.check(pixels[LABEL].to_numpy(), str(entry["id"]))
        except MinescaleError as error:
            found.append(Flaw(str(entry["id"]), str(error).replace("\n", ";")))
            continue
        rows, cols = pixels["row"].to_numpy(), pixels["col"].to_numpy()
        if len(rows) and (
            min(rows.min(), cols.min()) < 0 or rows.max() >= entry["height"] or cols.max() >= entry["width"]
        ):
            found.append(Flaw(str(entry["id"]), "pixels outside its image"))
        elif len(np.unique(rows.astype(np.int64) * int(entry["width"]) + cols)) != len(rows):
            found.append(Flaw(str(entry["id"]), "pixels that are there twice"))
    return found


def recognise(root: Path) -> bool:
    return any((root / name).is_file() for name in TABLES.values())


def read(root: Path) -> Dataset:
    """Open a table as the images it was made of.

    Raises
    ------
    UsageError
        for a table without its description: rows alone do not tell the size of an image.
    """
    described = read_sidecar(root, NAME)
    if described is None:
        raise UsageError(
            f"{root} holds a pixel table without its description", expected=f"{SIDECAR} and samples.parquet beside it",
            fix="pandas, for the bare table",
        )  # fmt: skip
    spec, options = described.spec, described.options
    return described.dataset(
        PixelReader(
            root, described.samples, spec.bands, options["dtype"], spec.nodata, spec.classes.ignore, options["masks"]
        )
    )


class _Writer:
    """One file that grows sample by sample."""

    def __init__(self, path: Path) -> None:
        self._path, self._rows = path, 0
        self._out: Any = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._out is not None:
            self._out.close()

    def write(self, pixels: pa.Table) -> dict[str, int]:
        """Append, and tell where: the first row and the number of rows; in CSV also the first byte and their number."""
        place = {"first_row": self._rows, "n_rows": len(pixels)}
        self._rows += len(pixels)
        if self._path.suffix == ".parquet":
            # Samples differ in their one id, and the schema in nothing.
            self._out = self._out or pq.ParquetWriter(self._path, pixels.schema, compression="zstd")
            self._out.write_table(pixels, row_group_size=max(len(pixels), 1))
            return place
        self._out = self._out or self._path.open("wb")
        plain = pixels.set_column(0, "id", pixels.column("id").cast(pa.string()))  # CSV has no dictionaries
        if self._out.tell() == 0:
            csv.write_csv(plain.slice(0, 0), self._out)
        begin = self._out.tell()
        csv.write_csv(plain, self._out, csv.WriteOptions(include_header=False))
        return {**place, "first_byte": begin, "n_bytes": self._out.tell() - begin}


def _csv_rows(path: Path, entry: pd.Series) -> pa.Table:
    with path.open("rb") as file:
        header = file.readline()
        file.seek(int(entry["first_byte"]))
        lines = file.read(int(entry["n_bytes"]))
    return csv.read_csv(
        io.BytesIO(header + lines),
        convert_options=csv.ConvertOptions(column_types={"id": pa.string()}),
    )


def _parquet_rows(path: Path, entry: pd.Series) -> pa.Table:
    file, ends = _opened(path, path.stat().st_mtime_ns)
    first, count = int(entry["first_row"]), int(entry["n_rows"])
    begin, end = np.searchsorted(ends, [first, first + count], side="right")
    groups = list(range(int(begin), min(int(end) + 1, len(ends)))) if count else []
    before = int(ends[begin - 1]) if begin else 0
    return file.read_row_groups(groups).slice(first - before, count)


@functools.lru_cache(maxsize=8)
def _opened(path: Path, changed: int) -> tuple[pq.ParquetFile, NDArray[np.int64]]:  # noqa: ARG001  (part of the key)
    """The open file, and the number of rows up to and including each row group."""
    file = pq.ParquetFile(path)
    groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    return file, np.cumsum(groups, dtype=np.int64)


def _labels(
    dataset: Dataset, row: int, mask: NDArray[np.uint8] | None, distance: NDArray[np.float32] | None, n: int
) -> NDArray[np.uint8]:
    """Class of each of ``n`` pixels: of the mask, else of the whole sample, else inside or outside of the polygons."""
    if mask is not None:
        return mask.ravel()
    label = dataset.samples["label"].iloc[row] if "label" in dataset.samples else None
    if label is not None and not pd.isna(label):
        return np.full(n, int(label), np.uint8)
    if distance is not None:
        return (distance < 0).astype(np.uint8)
    raise UsageError(f"sample {dataset.samples['id'].iloc[row]} has no label", fix="polygons, or a set with labels")
