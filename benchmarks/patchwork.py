"""A large area over many dates from a few small files: real TIFFs whose tables name the same blocks again and again.

A TIFF finds its blocks through a table of offsets, and nothing keeps two entries apart: a granule of 100 km needs the
bytes of a small one and a longer table. Further dates are hard links, so that every date has a file of its own name.
Reading, decoding and compositing cost what they always do; only the disk is spared, and the ground repeats.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shapely.geometry import mapping

FIRST = dt.date(2023, 1, 1)
STEP_DAYS = 3
PATCH = {10: 4, 20: 2}
"""Blocks of the pattern along each axis, by pixel size: the same ground for all bands."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 12: 8}
"""Bytes per value of the TIFF field types in use."""
_WIDTH, _LENGTH, _OFFSETS, _COUNTS, _TIEPOINT = 256, 257, 324, 325, 33922
_EDGES = (322, 323)

Fields = dict[int, tuple[int, int, bytes]]
"""(type, number of values, values) by tag."""


@dataclass(frozen=True, kw_only=True)
class Patchwork:
    catalog: Path
    center: tuple[float, float]
    """Longitude and latitude."""

    def bbox(self, east_km: float, north_km: float, shift_km: float) -> tuple[float, float, float, float]:
        """West, south, east, north of a box ``shift_km`` north of the centre."""
        lon, lat = self.center[0], self.center[1] + shift_km / 110.6
        half_x, half_y = east_km / 2 / 110.6, north_km / 2 / 110.6
        return (lon - half_x, lat - half_y, lon + half_x, lat + half_y)

    @staticmethod
    def period(dates: int) -> str:
        return f"{FIRST}/{FIRST + dt.timedelta(days=STEP_DAYS * dates - 1)}"


def make(folder: Path, base: Any, edge_px: int, dates: int) -> Patchwork:
    """``dates`` dates over ``edge_px`` x ``edge_px`` pixels of 10 m, from the files of a small region."""
    from minescale.synthetic.catalog import COLLECTION, rounded, write_catalog
    from minescale.synthetic.geometry import lay_out, lonlat

    spec = replace(base.spec, name="patchwork", width_px=edge_px, height_px=edge_px, n_dates=1)
    frames = {frame.crs: frame for frame in lay_out(spec).tiles}
    sources: dict[str, list[tuple[Path, dict[str, Any]]]] = {crs: [] for crs in frames}
    for file in sorted((base.path / COLLECTION).glob("*/*.json")):
        item = json.loads(file.read_text())
        sources[item["properties"]["proj:code"]].append((file.parent, item))
    items = []
    for crs, frame in frames.items():
        for number, (home, item) in enumerate(sources[crs]):
            for key, asset in item["assets"].items():
                size = int(asset["proj:transform"][0])
                shape = [n * 10 // size for n in frame.shape]
                target = folder / "blocks" / frame.mgrs / str(number) / f"{key}.tif"
                repeat_blocks(home / f"{key}.tif", target, shape, (frame.left, frame.top), PATCH[size])
                asset["proj:shape"], asset["proj:bbox"] = shape, list(frame.outline.bounds)
                asset["proj:transform"] = list(frame.transform(size))[:6]
            footprint = lonlat(frame.outline, crs)
            item["bbox"], item["geometry"] = list(footprint.bounds), rounded(mapping(footprint))
        for date in range(dates):
            number = date % len(sources[crs])
            item = json.loads(json.dumps(sources[crs][number][1]))
            day = FIRST + dt.timedelta(days=STEP_DAYS * date)
            item["id"] = f"{frame.mgrs}-{day}"
            item["properties"] |= {"datetime": f"{day}T14:30:00Z", "s2:mgrs_tile": frame.mgrs}
            place = folder / COLLECTION / item["id"]
            place.mkdir(parents=True)
            for key in item["assets"]:
                os.link(folder / "blocks" / frame.mgrs / str(number) / f"{key}.tif", place / f"{key}.tif")
            items.append(item)
    write_catalog(folder, spec, items)
    return Patchwork(catalog=folder / "catalog.json", center=base.bbox.center)


def repeat_blocks(source: Path, target: Path, shape: list[int], corner: tuple[float, float], patch: int) -> None:
    """Write a tiled TIFF of ``shape`` (y, x) from the first ``patch`` x ``patch`` whole blocks of another."""
    raw = source.read_bytes()
    fields = _fields(raw)
    cols, rows = (_numbers(fields[tag])[0] for tag in (_WIDTH, _LENGTH))
    edge_x, edge_y = (_numbers(fields[tag])[0] for tag in _EDGES)
    offsets, counts = _numbers(fields[_OFFSETS]), _numbers(fields[_COUNTS])
    wide, high = min(patch, cols // edge_x), min(patch, rows // edge_y)
    stride = -(-cols // edge_x)
    picked = [row * stride + col for row in range(high) for col in range(wide)]
    many = [-(-n // edge) for n, edge in zip(shape, (edge_y, edge_x), strict=True)]
    pattern = [(row % high) * wide + col % wide for row in range(many[0]) for col in range(many[1])]
    total = len(pattern)
    fields[_WIDTH], fields[_LENGTH] = ((4, 1, struct.pack("<I", n)) for n in (shape[1], shape[0]))
    fields[_TIEPOINT] = (12, 6, struct.pack("<6d", 0, 0, 0, *corner, 0))
    fields[_COUNTS] = (4, total, struct.pack(f"<{total}I", *(counts[picked[i]] for i in pattern)))
    # The tables' length is known before their content: lay out with zeros, then with the blocks' places.
    fields[_OFFSETS] = (4, total, bytes(4 * total))
    starts, at = [], len(_header(fields))
    for i in picked:
        starts.append(at)
        at += counts[i]
    fields[_OFFSETS] = (4, total, struct.pack(f"<{total}I", *(starts[i] for i in pattern)))
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        file.write(_header(fields))
        for i in picked:
            file.write(raw[offsets[i] : offsets[i] + counts[i]])


def _fields(raw: bytes) -> Fields:
    """The first directory of a little-endian classic TIFF."""
    assert raw[:4] == b"II*\0", "the synthetic regions' files are classic TIFFs"
    (at,) = struct.unpack_from("<I", raw, 4)
    (number,) = struct.unpack_from("<H", raw, at)
    found: Fields = {}
    for entry in range(at + 2, at + 2 + 12 * number, 12):
        tag, kind, count = struct.unpack_from("<HHI", raw, entry)
        size = _SIZES[kind] * count
        (start,) = struct.unpack_from("<I", raw, entry + 8) if size > 4 else (entry + 8,)
        found[tag] = (kind, count, raw[start : start + size])
    return found


def _numbers(field: tuple[int, int, bytes]) -> tuple[int, ...]:
    kind, count, values = field
    return struct.unpack(f"<{count}{'H' if kind == 3 else 'I'}", values)


def _header(fields: Fields) -> bytes:
    """A TIFF's first bytes: one directory, and the values that do not fit into it."""
    entries, values = b"", b""
    after = 8 + 2 + 12 * len(fields) + 4
    for tag, (kind, count, value) in sorted(fields.items()):
        entries += struct.pack("<HHI", tag, kind, count)
        if len(value) <= 4:
            entries += value.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", after + len(values))
            values += value + bytes(len(value) % 2)
    return struct.pack("<4sIH", b"II*\0", 8, len(fields)) + entries + bytes(4) + values
