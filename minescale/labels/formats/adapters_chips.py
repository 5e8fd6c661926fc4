"""Published chip sets in ``.npz`` files: Amazon Mining Watch galleries, mine emergence pairs, cloud reference scenes.

The files name no grid, so nothing is georeferenced beyond the middle of a chip. What a file does not tell stays null.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from minescale.errors import StoreError, UsageError
from minescale.labels.sets.classes import BINARY, ClassMap
from minescale.labels.sets.dataset import ArrayReader, Dataset

SAME_PLACE_M = 1000.0
"""Chips of 480 m whose middles are closer than this share ground, or the same diggings."""
KEYS = {
    "amw": {"chips", "label"},
    "emergence": {"t0", "t1", "label"},
    "ukis": {"img", "msk"},
}
"""Arrays that tell a set; it is read without its other ones too, and what they would say is then not known."""
_SET = re.compile(r"(?P<set>.+?)_S2L1C_clear[\d.]+_(?P<start>\d{4}-\d\d-\d\d)_(?P<end>\d{4}-\d\d-\d\d)(\.png)?")
_KINDS = {
    "random": "random",
    "riverbank": "riverbank",
    "industrial": "industry",
    "aquaculture": "aquaculture",
    "landslide": "landslide",
    "cloud_remnant": "cloud",
}
"""What the negatives of a set are, by a word in its name; other sets name no kind."""
_PAIR_BANDS = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "B11": "swir16", "B12": "swir22"}
_CLOUDS = {3: 0, 0: 1, 4: 2, 1: 3}
"""Values of the reference masks to ours."""


def kind_of(path: Path) -> str | None:
    """Which of the sets a file, or the first ``.npz`` file of a folder, holds; None for any other."""
    files = _files(path)
    if not files:
        return None
    try:
        with np.load(files[0], allow_pickle=False) as arrays:
            names = set(arrays.files)
    except (OSError, ValueError):
        return None
    return next((kind for kind, keys in KEYS.items() if keys <= names), None)


def read_amw(path: str | Path) -> Dataset:
    """Amazon Mining Watch's training galleries: chips of 48 x 48 pixels, 1 where somebody saw a mine.

    Images are uint8 (red, green, blue): top-of-atmosphere reflectance x 1e4 / 3000 x 255, so 255 is 0.30 and more.
    Columns beyond the usual: ``clear`` (share that had to be clear), ``set`` (the gallery without it and the period)
    and ``place_known``.

    The ``site`` of a chip with coordinates is the group of all chips that lie within :data:`SAME_PLACE_M` of one
    another, whatever set they are from. Chips without (all negatives, some positives) are one site for each ``set``: a
    set may show a place at two ``clear`` levels, and neither the order of the chips nor their content tells which (in
    the largest set 43 of 851 chips resemble any of the other level at a correlation above 0.8). Equal chips share a
    site in any case. That two sets show one place without coordinates cannot be known.
    """
    arrays = _load(path, "amw")
    n = len(arrays["label"])
    unknown = np.full(n, np.nan)
    arrays = {"source": np.full(n, "unknown"), "clear": unknown, "lon": unknown, "lat": unknown} | arrays
    names = [str(name) for name in arrays["source"]]
    found = [_SET.fullmatch(name) for name in names]
    sets = [m["set"] if m else name for m, name in zip(found, names, strict=True)]
    lon, lat = arrays["lon"], arrays["lat"]
    placed = np.isfinite(lon) & np.isfinite(lat)
    chips = np.ascontiguousarray(arrays["chips"].transpose(0, 3, 1, 2))
    label = arrays["label"].astype(np.int64)
    samples = pd.DataFrame(
        {
            "id": [f"amw-{i:05d}" for i in range(len(names))],
            "site": _sites(sets, lon, lat, placed, chips),
            "source": [name.removesuffix(".png") for name in names],
            "label": label,
            "lon": np.where(placed, lon, np.nan),
            "lat": np.where(placed, lat, np.nan),
            "image_date": [f"{m['start']}/{m['end']}" if m else None for m in found],
            "kind": [None if y else _kind(name) for y, name in zip(label, sets, strict=True)],
            "set": sets,
            "clear": np.round(arrays["clear"].astype(np.float64), 2),
            "place_known": placed,
        }
    )
    return Dataset(
        name="Amazon Mining Watch chips",
        samples=samples,
        bands=("red", "green", "blue"),
        classes=BINARY,
        reader=ArrayReader(chips),
        units="toa reflectance x 1e4 / 3000 x 255",
        nodata=None,
        resolution_m=10.0,
        licence="MIT AND CC-BY-4.0",
        provenance={
            "attribution": "Earth Genome / Amazon Mining Watch",
            "sensor": "sentinel-2-l1c",
            # The gallery (source) names the class; these say how its chips were acquired.
            "acquisition": ["clear", "image_date"],
            "site": f"places within {SAME_PLACE_M:g} m; chips without coordinates by set",
        },
    )


def read_emergence(path: str | Path) -> Dataset:
    """Pairs of yearly medians before and after, 48 x 48 pixels: 1 where a mine emerged between them.

    Images are int16 with twelve bands, ``t0_blue`` to ``t0_swir22`` and ``t1_blue`` to ``t1_swir22``, reflectance
    x 1e4, 0 where there is none. ``site`` is the published block of 2 x 2 degrees; ``category`` says what changed, and
    is the ``kind`` of negatives; ``source`` is the pair of periods.
    """
    arrays = _load(path, "emergence")
    n = len(arrays["label"])
    unknown, nothing = np.full(n, np.nan), np.full(n, "unknown")
    arrays = {"lon": unknown, "lat": unknown, "category": nothing, "t0_dates": nothing, "t1_dates": nothing} | arrays
    arrays = {"block": _blocks(arrays["lon"], arrays["lat"]), "bands": np.array(list(_PAIR_BANDS))} | arrays
    bands = [_PAIR_BANDS[name] for name in arrays["bands"].tolist()]
    images = np.concatenate([arrays["t0"], arrays["t1"]], axis=-1).transpose(0, 3, 1, 2)
    label = arrays["label"].astype(np.int64)
    category = arrays["category"].astype(str)
    samples = pd.DataFrame(
        {
            "id": [f"emergence-{i:03d}" for i in range(len(label))],
            "site": arrays["block"].astype(str),
            "source": [f"{a} then {b}" for a, b in zip(arrays["t0_dates"], arrays["t1_dates"], strict=True)],
            "label": label,
            "lon": arrays["lon"],
            "lat": arrays["lat"],
            "image_date": arrays["t1_dates"].astype(str),
            "kind": [None if y else name for y, name in zip(label, category, strict=True)],
            "block": arrays["block"].astype(str),
            "category": category,
            "t0_date": arrays["t0_dates"].astype(str),
        }
    )
    return Dataset(
        name="mine emergence pairs",
        samples=samples,
        bands=tuple(f"{time}_{band}" for time in ("t0", "t1") for band in bands),
        classes=ClassMap(("no new mine", "new mine"), BINARY.colours),
        reader=ArrayReader(np.ascontiguousarray(images)),
        units="reflectance x 1e4",
        nodata=0,
        resolution_m=10.0,
        licence="none",
        provenance={"sensor": "sentinel-2-l2a", "caveat": "some sites were already mined at t0"},
    )


def read_ukis(path: str | Path) -> Dataset:
    """Three scenes with reference masks of clouds: a check of quality masks, no mines.

    Images are float32 (blue, green, red, nir, swir16, swir22), top-of-atmosphere reflectance, 512 x 512 pixels.
    """
    files = _files(Path(path))
    images, masks = [], []
    for file in files:
        arrays = _load(file, "ukis")
        values = arrays["msk"][..., 0]
        strange = sorted(set(np.unique(values).tolist()) - set(_CLOUDS))
        if strange:
            raise UsageError(f"{file.name} has unknown classes", got=strange, expected=sorted(_CLOUDS))
        images.append(arrays["img"].transpose(2, 0, 1))
        masks.append(np.array([_CLOUDS.get(v, 0) for v in range(max(_CLOUDS) + 1)], np.uint8)[values])
    names = [file.stem for file in files]
    return Dataset(
        name="UKIS cloud reference",
        samples=pd.DataFrame({"id": names, "site": names, "source": names, "sensor": names}),
        bands=("blue", "green", "red", "nir", "swir16", "swir22"),
        classes=ClassMap(
            ("land", "shadow", "cloud", "water or snow"), ("#7a9a4a", "#303030", "#f0f0f0", "#3070c0"), None
        ),
        reader=ArrayReader(np.stack(images), np.stack(masks)),
        units="toa reflectance",
        nodata=None,
        resolution_m=None,
        licence="Apache-2.0",
        provenance={"attribution": "German Aerospace Center (DLR), UKIS"},
    )


def _sites(
    sets: list[str],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    placed: NDArray[np.bool_],
    chips: NDArray[np.uint8],
) -> list[str]:
    """Sites as connected groups: near places, equal chips, and for chips without a place the set."""
    n = len(sets)
    links = [_near(np.flatnonzero(placed), lon, lat), _equal([chip.tobytes() for chip in chips])]
    links.append(_equal([None if known else name for known, name in zip(placed, sets, strict=True)]))
    a, b = np.concatenate(links, axis=1)
    _, group = connected_components(coo_matrix((np.ones(len(a), np.int8), (a, b)), shape=(n, n)), directed=False)
    first: dict[int, str] = {}
    for i, g in enumerate(group.tolist()):
        # The set names a group with unplaced chips, else the place of its first chip.
        name = f"{lon[i]:.4f},{lat[i]:.4f}" if placed[i] else sets[i]
        if g not in first or (not placed[i] and "," in first[g]):
            first[g] = name
    return [first[g] for g in group.tolist()]


def _blocks(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.str_]:
    """Blocks of 2 x 2 degrees as the set names them; ``unknown`` where there is no place."""
    return np.array(
        [
            f"{x // 2:.0f}_{y // 2:.0f}" if np.isfinite(x) and np.isfinite(y) else "unknown"
            for x, y in zip(lon, lat, strict=True)
        ]
    )


def _near(rows: NDArray[np.intp], lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.intp]:
    """(2, n) pairs of rows whose middles are closer than :data:`SAME_PLACE_M`, as the crow flies."""
    to_space = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:4978", always_xy=True)
    space = np.column_stack(to_space.transform(lon[rows], lat[rows], np.zeros(len(rows))))
    pairs = cKDTree(space).query_pairs(SAME_PLACE_M, output_type="ndarray")
    return rows[pairs].T


def _equal(keys: list[Any]) -> NDArray[np.intp]:
    """(2, n) pairs of each row with the first that has the same key; None is like nothing."""
    first: dict[Any, int] = {}
    pairs = [(i, first.setdefault(key, i)) for i, key in enumerate(keys) if key is not None]
    return np.array([pair for pair in pairs if pair[0] != pair[1]], np.intp).reshape(-1, 2).T


def _kind(name: str) -> str | None:
    return next((kind for word, kind in _KINDS.items() if word in name), None)


def _files(path: Path) -> list[Path]:
    """The ``.npz`` files at a path, no more than two folders down: who looks at a folder does not walk a disk."""
    if path.is_file():
        return [path] if path.suffix == ".npz" else []
    return sorted(file for pattern in ("*.npz", "*/*.npz", "*/*/*.npz") for file in path.glob(pattern))


def _load(path: str | Path, kind: str) -> dict[str, NDArray[Any]]:
    files = _files(Path(path))
    if not files:
        raise UsageError("no chips there", got=str(path), expected="a .npz file, or a folder with one")
    file = files[0]
    try:
        with np.load(file, allow_pickle=False) as arrays:
            missing = KEYS[kind] - set(arrays.files)
            if missing:
                raise UsageError(
                    f"{file.name} is no {kind} file", got=sorted(arrays.files), expected=sorted(KEYS[kind])
                )
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise StoreError(f"cannot read {file}", got=error) from error
