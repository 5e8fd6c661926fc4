"""The Global Mining Dataset's tree: ``{train,val,test}/{images,labels,rgb}/<site_region>/NNNNN.{tif,png}``.

``filename_mapping.csv`` names what each file was. Splits are siblings; the published figure draws ``val`` and ``test``
inside ``train``, which the reader tolerates (F03).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from minescale.errors import StoreError, UsageError
from minescale.labels.formats.archive import sha256
from minescale.labels.formats.sidecar import need_parts, read_sidecar
from minescale.labels.pictures.previews import Stretch
from minescale.labels.pictures.rgb_png import PERCENTILES, Bands, colour_bands, shown, write_rgb_png
from minescale.labels.sets.chips import geobox_of, write_tif
from minescale.labels.sets.classes import THREE_CLASS
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.files import FileReader, common_bands, header_of, with_places
from minescale.labels.sets.label_png import write_label_png
from minescale.labels.sets.new_folder import new_folder
from minescale.labels.sets.split import PARTS, Split
from minescale.labels.shapes.sites import site_key, split_site

NAME = "gmd"
MAPPING = "filename_mapping.csv"
COLUMNS = ("split", "site", "region", "original_path", "new_path", "sensor", "datetime", "sha256")
KINDS = {"images": ".tif", "labels": ".png", "rgb": ".png"}
LAST = 99_999
"""Highest number that five digits hold."""


def plan_mapping(dataset: Dataset, split: Split | None) -> pd.DataFrame:
    """The mapping without its checksums, in the order of the files; index: the sample's row.

    Within a folder samples are numbered from 0 by date, then by original name.

    Raises
    ------
    UsageError
        where two places want one folder, a folder holds more than 100,000 samples, or no sample has a part.
    """
    samples = dataset.samples
    table = pd.DataFrame(
        {
            "split": need_parts(dataset, split, NAME),
            "site": samples["site"].astype(str),
            "region": _text(samples, "region"),
            "original_path": _text(samples, "original_path", "id"),
            "sensor": _text(samples, "sensor").replace("", str(dataset.provenance.get("sensor", ""))),
            "datetime": _text(samples, "image_date"),
        }
    )
    table = table[table["split"].notna()]
    twice = table["original_path"][table["original_path"].duplicated()]
    if len(twice):
        raise UsageError(f"dataset {dataset.name}: original paths repeat", got=twice.unique()[:5].tolist())
    table["folder"] = [folder_name(site, region) for site, region in zip(table["site"], table["region"], strict=True)]
    _check_folders(table)
    table["rank"] = table["split"].map(PARTS.index)
    table = table.sort_values(["rank", "folder", "datetime", "original_path"], kind="stable")
    number = table.groupby(["split", "folder"]).cumcount()
    if int(number.max()) > LAST:
        full = table["folder"][number > LAST].iloc[0]
        raise UsageError(
            "a folder has more samples than five digits count",
            got=f"{full}: {int((table['folder'] == full).sum()):,}",
            expected=f"at most {LAST + 1:,}",
            fix="a region column that divides the site",
        )
    table["new_path"] = [
        f"{part}/images/{folder}/{i:05d}.tif"
        for part, folder, i in zip(table["split"], table["folder"], number, strict=True)
    ]
    return table[[name for name in COLUMNS if name != "sha256"]]


def write(
    dataset: Dataset,
    folder: Path,
    split: Split | None = None,
    *,
    rgb: Sequence[str] | None = None,
    percentiles: tuple[float, float] = PERCENTILES,
) -> tuple[Dataset, dict[str, Any]]:
    """Write the tree into an empty ``folder``.

    Images are GeoTIFFs of all bands in the set's own numbers, with band names; labels are palettised PNGs, index =
    class; ``rgb`` are 8-bit pictures, stretched one by one between ``percentiles``, which each file records.

    Raises
    ------
    UsageError
        as :func:`plan_mapping`, and for a set without masks.
    """
    return _write(dataset, folder, plan_mapping(dataset, split), rgb, percentiles)


def rederive(
    mapping: str | Path, dataset: Dataset, folder: str | Path, *, rgb: Sequence[str] | None = None
) -> tuple[Dataset, dict[str, Any]]:
    """Write the tree that a ``filename_mapping.csv`` describes, from the set it was made of, and compare checksums.

    ``folder`` appears when all of it is right.

    Raises
    ------
    UsageError
        where the mapping is none, or names samples that the set lacks, or ``folder`` exists.
    StoreError
        where an image comes out different.
    """
    table = read_mapping(mapping)
    names = pd.Index(_text(dataset.samples, "original_path", "id"))
    rows = names.get_indexer(table["original_path"])
    if (rows < 0).any():
        raise UsageError(
            f"{Path(mapping).name} names samples that {dataset.name} lacks",
            got=table["original_path"][rows < 0].head(5).tolist(),
            expected="the set that the tree was made of",
        )
    with new_folder(folder) as partial:
        written = _write(dataset, partial, table.drop(columns="sha256").set_axis(rows), rgb, PERCENTILES)
        made = read_mapping(partial / MAPPING)
        changed = made["new_path"][made["sha256"].to_numpy() != table["sha256"].to_numpy()]
        if len(changed):
            raise StoreError("images differ from those that the mapping was made for", got=changed.head(5).tolist())
    return written


def read_mapping(path: str | Path) -> pd.DataFrame:
    """``filename_mapping.csv`` as text columns.

    Raises
    ------
    UsageError
        for other columns, or a path that stands there twice.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}", got=error) from error
    if tuple(table.columns) != COLUMNS:
        raise UsageError(f"{Path(path).name} has other columns", got=list(table.columns), expected=list(COLUMNS))
    for name in ("original_path", "new_path"):
        twice = table[name][table[name].duplicated()]
        if len(twice):
            raise UsageError(f"{Path(path).name} is not one to one", got=f"{name} {twice.iloc[0]} twice")
    return table


def folder_name(site: str, region: str) -> str:
    """``site_region`` as a folder: lower case letters without accents, digits and ``_``."""
    name = site_key(f"{site}_{region}" if region else site)
    if not name:
        raise UsageError("site has no letter or digit for a folder's name", got=repr(site))
    return name


def base_of(root: Path, part: str) -> Path:
    """Folder of a part, beside the others or, as the published figure draws it, inside ``train``."""
    nested = root / "train" / part
    return nested if part != "train" and nested.is_dir() and not (root / part).is_dir() else root / part


def mapping_of(root: Path) -> Path | None:
    """The mapping, beside the parts or inside ``train``."""
    return next((path for path in (root / MAPPING, root / "train" / MAPPING) if path.is_file()), None)


def recognise(root: Path) -> bool:
    """True for a folder with ``<part>/images`` and ``<part>/labels`` that hold folders, one for each site."""
    return any(
        (base_of(root, part) / "labels").is_dir()
        and any(p.is_dir() for p in sorted((base_of(root, part) / "images").glob("*")))
        for part in PARTS
    )


def read(root: Path) -> Dataset:
    """Open a tree. What has no description beside it is read as Landsat-like images with three classes.

    Raises
    ------
    UsageError
        where images lack labels, or their bands differ.
    """
    described = read_sidecar(root, NAME)
    if described is not None:
        return described.dataset(FileReader.of(root, described.samples, described.spec.classes))
    rows = [row for part in PARTS for row in _listed(root, part)]
    headers = [header_of(root / row["file"]) for row in rows]
    samples = _with_mapping(pd.DataFrame(rows), root)
    missing = [name for name in samples["label_file"] if not (root / name).is_file()]
    if missing:
        raise UsageError(f"{root.name}: images without a label", got=missing[:5], expected="labels/<site>/NNNNN.png")
    return Dataset(
        name=root.name,
        samples=with_places(samples, headers),
        bands=common_bands(headers, root.name),
        classes=THREE_CLASS,
        reader=FileReader.of(root, samples, THREE_CLASS),
        units=headers[0].tags.get("units", "digital number"),
        nodata=headers[0].nodata,
        resolution_m=None,
        licence="none",
        provenance={"format": NAME},
    )


def _write(
    dataset: Dataset, folder: Path, mapping: pd.DataFrame, rgb: Sequence[str] | None, percentiles: tuple[float, float]
) -> tuple[Dataset, dict[str, Any]]:
    bands = colour_bands(dataset, rgb)
    digests, shapes = [], []
    for row, new_path in zip(mapping.index, mapping["new_path"], strict=True):
        shapes.append(_write_sample(dataset, int(row), folder, new_path, bands, percentiles))
        digests.append(sha256(folder / new_path))
    table = mapping.assign(sha256=digests)[list(COLUMNS)]
    table.to_csv(folder / MAPPING, index=False, lineterminator="\n")
    samples = dataset.samples.iloc[mapping.index].reset_index(drop=True)
    files = table["new_path"].to_numpy()
    samples = samples.assign(
        split=table["split"].to_numpy(), file=files, label_file=[_kind(f, "labels") for f in files]
    )
    samples = samples.assign(height=[y for y, _ in shapes], width=[x for _, x in shapes])
    return replace(dataset, samples=samples), {"rgb": list(bands), "percentiles": list(percentiles)}


def _write_sample(
    dataset: Dataset,
    row: int,
    folder: Path,
    new_path: str,
    bands: Bands,
    percentiles: tuple[float, float],
) -> tuple[int, int]:
    image, mask = dataset.reader.image(row), dataset.reader.mask(row)
    if mask is None:
        raise UsageError(
            f"{NAME} holds labels for pixels, and {dataset.name} has none",
            got=f"sample {dataset.samples['id'].iloc[row]} without a mask",
            fix="format folders, for labels of whole samples",
        )
    paths = {kind: folder / _kind(new_path, kind) for kind in KINDS}
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    place = geobox_of(dataset.samples.iloc[row].to_dict(), (image.shape[1], image.shape[2]))
    tags = {"units": dataset.units}
    write_tif(paths["images"], image, dataset.bands, geobox=place, nodata=dataset.nodata, tags=tags)
    write_label_png(paths["labels"], mask, dataset.classes)
    colours = shown(dataset, row, bands)
    write_rgb_png(paths["rgb"], colours, dataset.nodata, Stretch.of(colours, dataset.nodata, percentiles), bands)
    return mask.shape[0], mask.shape[1]


def _kind(new_path: str, kind: str) -> str:
    """The path of the same sample's file of another kind."""
    *parts, _, site, name = new_path.split("/")
    return "/".join([*parts, kind, site, Path(name).stem + KINDS[kind]])


def _text(samples: pd.DataFrame, *names: str) -> pd.Series:
    """The first of these columns that is there, as text; empty where it is null."""
    for name in names:
        if name in samples:
            return samples[name].map(lambda value: "" if pd.isna(value) else str(value))
    return pd.Series("", index=samples.index)


def _check_folders(table: pd.DataFrame) -> None:
    places = table.groupby("folder")[["site", "region"]].nunique().max(axis=1)
    shared = places.index[places > 1]
    if len(shared):
        clash = table[table["folder"] == shared[0]][["site", "region"]].drop_duplicates().to_numpy().tolist()
        raise UsageError("two places want one folder", got=f"{clash} -> {shared[0]}", fix="another site name")


def _listed(root: Path, part: str) -> list[dict[str, Any]]:
    base = base_of(root, part)
    rows = []
    for path in sorted((base / "images").glob("*/*.tif")):
        site, region = split_site(path.parent.name)
        rows.append(
            {
                "id": f"{part}-{path.parent.name}-{path.stem}",
                "site": site,
                "region": None if region is None else f"agm_region_{region}",
                "source": "global mining dataset",
                "split": part,
                "file": path.relative_to(root).as_posix(),
                "label_file": _kind(path.relative_to(root).as_posix(), "labels"),
            }
        )
    return rows


def _with_mapping(samples: pd.DataFrame, root: Path) -> pd.DataFrame:
    """What the mapping knows of each file, if there is one: the original name, the sensor and the date."""
    path = mapping_of(root)
    if path is None:
        return samples
    known = read_mapping(path).replace({"": np.nan}).set_index("new_path")
    files = [base_free(name) for name in samples["file"]]
    found = known.reindex(files).reset_index(drop=True)
    return samples.assign(
        original_path=found["original_path"],
        sensor=found["sensor"],
        image_date=found["datetime"],
        site=found["site"].fillna(samples["site"]),
        region=found["region"].fillna(samples["region"]),
    )


def base_free(file: str) -> str:
    """The path as the mapping writes it: parts as siblings."""
    return re.sub(r"^train/(?=(val|test)/)", "", file)
