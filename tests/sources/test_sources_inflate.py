"""Blocks decoded without GDAL's decoder are the blocks that GDAL decodes, or are left to GDAL."""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minescale.sources import handles, inflate
from minescale.sources.inflate import NotInflated
from minescale.sources.windows import Window, blocks

SHAPE = (300, 410)


def write(path: Path, dtype: str = "uint16", **options: Any) -> Path:
    rng = np.random.default_rng(3)
    bands = int(options.pop("count", 1))
    data = np.cumsum(rng.integers(-30, 31, (bands, *SHAPE)), axis=2) + 90
    profile = {"driver": "GTiff", "height": SHAPE[0], "width": SHAPE[1], "count": bands, "dtype": dtype}
    with rasterio.open(path, "w", **profile, **options) as target:
        target.write(data.astype(dtype))
    return path


def image_of(path: Path) -> handles.Image:
    return handles.File(str(path)).image(None, lambda: str(path))


TILED = {"tiled": True, "blockxsize": 128, "blockysize": 64, "compress": "deflate"}


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("bigtiff", ["YES", "NO"])
def test_every_block_is_what_gdal_decodes(tmp_path: Path, dtype: str, predictor: int, bigtiff: str) -> None:
    path = write(tmp_path / "a.tif", dtype, **TILED, predictor=predictor, bigtiff=bigtiff)
    image = image_of(path)
    assert image.inflater is not None
    grid = blocks(Window(0, *SHAPE[:1], 0, SHAPE[1]), image.block_shape)
    packed = image.inflater.fetch(grid)
    assert packed is not None
    for row, col in grid:
        found = np.empty(image.block_shape, dtype)
        image.inflater.inflate(packed, (row, col), found)
        extent = Window(row * 64, row * 64 + 64, col * 128, col * 128 + 128).clip(SHAPE)
        rows, cols = extent.shape
        np.testing.assert_array_equal(found[:rows, :cols], image._load(extent, np.empty(extent.shape, dtype)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 298), st.integers(0, 297), st.integers(0, 400), st.booleans(), st.data())
def test_windows_are_what_gdal_reads_whatever_ends_where(
    tmp_path: Path, height: int, row0: int, col0: int, uneven: bool, data: Any
) -> None:
    """Also where a block's first rows take nearly all of its bytes, or hardly any."""
    path = tmp_path / f"{uneven}.tif"
    if not path.exists():
        write(path, **TILED, predictor=2)
        if uneven:
            with rasterio.open(path) as source:
                values, profile = source.read(1), source.profile
            noise = np.random.default_rng(1).integers(0, 60_000, values.shape, dtype=np.uint16)
            top = np.arange(SHAPE[0])[:, None] % 64 < 20
            with rasterio.open(path, "w", **profile | {"predictor": 2}) as target:
                target.write(np.where(top, noise, 7), 1)
    window = Window(row0, min(row0 + height, SHAPE[0]), col0, min(col0 + data.draw(st.integers(1, 410)), SHAPE[1]))
    image = image_of(path)
    found = np.zeros(window.shape, np.uint16)
    parts = image.read(window)
    for part, pixels in parts.pieces:
        found[part.within(window)] = pixels
    np.testing.assert_array_equal(found, image._load(window, np.empty(window.shape, np.uint16)))
    whole = image._cost(blocks(window, image.block_shape))[0]
    assert parts.bytes_read <= whole


def streams() -> dict[str, tuple[bytes, bytes]]:
    """Content and deflate stream by kind: noise, which is stored as it is, long matches, and what is like a band."""
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, 300_000, dtype=np.uint8).tobytes()
    band = np.cumsum(rng.integers(-9, 10, 150_000)).astype(np.uint16).tobytes()
    half = band[:150_000] + bytes(150_000)
    kinds = {
        "noise": noise,
        "zeros": bytes(300_000),
        "band": band,
        "half": half,
        "mixed": band[:99_000] + noise[99_000:],
    }
    return {f"{name} {level}": (one, zlib.compress(one, level)) for name, one in kinds.items() for level in (0, 1, 9)}


@pytest.mark.parametrize("kind", streams())
def test_heads_hold_what_is_wanted_or_are_refused(kind: str) -> None:
    """However early a stream is cut: what libdeflate makes of the cut is never taken for pixels."""
    library = inflate._library()
    assert library is not None
    content, stream = streams()[kind]
    cuts = np.random.default_rng(6).integers(16, len(stream), 150)
    held = 0
    for wanted in (90_000, 150_000, 260_000):
        for cut in (*cuts, len(stream) - 1):
            raw = np.frombuffer(stream[:cut], np.uint8).copy()
            room = np.full(len(content), 0x77, np.uint8)
            if inflate.inflate_head(library, (raw.ctypes.data, raw.size), room, wanted):
                held += 1
                assert room[:wanted].tobytes() == content[:wanted], (wanted, cut)
    assert held or kind.endswith(" 0") or kind.startswith(("noise", "zeros"))


def test_heads_of_usual_blocks_are_what_gdal_decodes(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    data = (np.cumsum(rng.integers(-30, 31, (1024, 1024)), axis=1) % 4000 + 90).astype(np.uint16)
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "height": 1024, "width": 1024, "count": 1, "dtype": "uint16"} | TILED
    with rasterio.open(path, "w", **profile | {"blockxsize": 512, "blockysize": 512, "predictor": 2}) as target:
        target.write(data, 1)
    image = image_of(path)
    whole = image._cost([(1, 1)])[0]
    for rows in (20, 150, 256, 400, 480, 505):
        window = Window(512, 512 + rows, 512, 1024)
        parts = image.read(window)
        found = np.zeros(window.shape, np.uint16)
        for part, pixels in parts.pieces:
            found[part.within(window)] = pixels
        np.testing.assert_array_equal(found, data[512 : 512 + rows, 512:])
        assert parts.bytes_read <= min(whole, whole * rows / 512 * 1.1 + 5000)


def test_where_a_request_takes_time_blocks_are_read_whole(tmp_path: Path) -> None:
    image = image_of(write(tmp_path / "a.tif", **TILED | {"blockysize": 256}))
    assert image.inflater is not None
    rows = {(0, 0): 30, (0, 1): 30}
    assert image.inflater.fetch(list(rows), rows).heads == rows
    image.inflater._far = True
    assert not image.inflater.fetch(list(rows), rows).heads


def test_a_libdeflate_that_leaves_nothing_when_full_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    real = inflate._library()
    assert real is not None

    class Other:
        libdeflate_alloc_decompressor = real.libdeflate_alloc_decompressor

        def libdeflate_zlib_decompress(self, *arguments: Any) -> int:
            return 3

    assert inflate._check(real)
    assert not inflate._check.__wrapped__(Other())


def test_a_broken_head_is_read_whole_and_then_left_to_gdal(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", **TILED)
    image = image_of(path)
    offset = int(image.dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    raw = bytearray(path.read_bytes())
    raw[offset + 8 : offset + 24] = bytes(16)
    broken = tmp_path / "broken.tif"
    broken.write_bytes(raw)
    with pytest.raises(NotInflated):
        list(image_of(broken).read(Window(0, 10, 0, 100)).pieces)


def test_strips_are_blocks_as_well(tmp_path: Path) -> None:
    image = image_of(write(tmp_path / "a.tif", compress="deflate", predictor=2, blockysize=100))
    assert image.inflater is not None
    room = np.empty((100, SHAPE[1]), np.uint16)
    packed = image.inflater.fetch([(1, 0)])
    assert packed is not None
    image.inflater.inflate(packed, (1, 0), room)
    np.testing.assert_array_equal(room, image._load(Window(100, 200, 0, SHAPE[1]), np.empty_like(room)))


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("uint16", {**TILED, "compress": "lzw"}),
        ("uint16", {**TILED, "compress": "zstd"}),
        ("uint16", {"tiled": True, "blockxsize": 128, "blockysize": 64}),
        ("int16", TILED),
        ("float32", {**TILED, "predictor": 3}),
        ("uint16", {**TILED, "nbits": 12}),
        ("uint16", {**TILED, "count": 2}),
        ("uint16", {**TILED, "endianness": "BIG", "predictor": 2}),
    ],
)
def test_anything_else_is_left_to_gdal(tmp_path: Path, dtype: str, options: dict[str, Any]) -> None:
    path = write(tmp_path / "a.tif", dtype, **options)
    image = image_of(path)
    assert image.inflater is None
    parts = image.read(Window(10, 200, 20, 300))
    pixels = np.zeros((190, 280), dtype)
    for part, piece in parts.pieces:
        pixels[part.within(Window(10, 200, 20, 300))] = piece
    with rasterio.open(path) as source:
        np.testing.assert_array_equal(pixels, source.read(1)[10:200, 20:300])


def test_overviews_are_left_to_gdal(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", **TILED)
    with rasterio.open(path, "r+") as target:
        target.build_overviews([2])
    file = handles.File(str(path))
    assert file.image(0, lambda: str(path)).inflater is None
    assert file.image(None, lambda: str(path)).inflater is not None


def test_a_block_that_was_never_written_or_is_broken_goes_to_gdal(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    profile = {"driver": "GTiff", "height": 256, "width": 256, "count": 1, "dtype": "uint16", "sparse_ok": True}
    with rasterio.open(path, "w", **profile, tiled=True, blockxsize=128, blockysize=128, compress="deflate") as target:
        target.write(np.full((128, 128), 7, np.uint16), 1, window=rasterio.windows.Window(0, 0, 128, 128))
    image = image_of(path)
    assert image.inflater is not None
    assert image.inflater.fetch([(0, 0), (1, 1)]) is None
    parts = image.read(Window(0, 256, 0, 256))
    assert sum(int(piece.astype(np.int64).sum()) for _, piece in parts.pieces) == 7 * 128 * 128

    offset = int(image.dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    raw = bytearray(path.read_bytes())
    raw[offset + 8 : offset + 24] = bytes(16)
    broken = tmp_path / "broken.tif"
    broken.write_bytes(raw)
    image = image_of(broken)
    assert image.inflater is not None
    with pytest.raises(NotInflated):
        list(image.read(Window(0, 128, 0, 128)).pieces)
    with pytest.raises(rasterio.errors.RasterioIOError):
        image.read(Window(0, 128, 0, 128), inflate=False)


def test_where_libdeflate_cannot_be_reached_gdal_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "_library", lambda: None)
    image = image_of(write(tmp_path / "a.tif", **TILED))
    assert image.inflater is None


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30_000)), min_size=1, max_size=12), st.randoms())
def test_ranges_hold_every_place(gaps_and_sizes: list[tuple[int, int]], random: Any) -> None:
    places, offset = [], 8
    for gap, size in gaps_and_sizes:
        offset += gap * 1000
        places.append((offset, size))
        offset += size
    random.shuffle(places)
    ranges, starts = inflate._coalesce(places)
    held = np.concatenate([np.arange(first, first + size) for first, size in ranges])
    for (place, size), start in zip(places, starts, strict=True):
        np.testing.assert_array_equal(held[start : start + size], np.arange(place, place + size))
    gaps = [b[0] - sum(a) for a, b in itertools.pairwise(ranges)]
    assert all(gap > inflate._GAP_BYTES for gap in gaps)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/data/a.tif", "/data/a.tif"),
        ("file:///data/a.tif", "/data/a.tif"),
        ("https://host/a.tif?sig=1", "/vsicurl/https://host/a.tif?sig=1"),
        ("http://host/a.tif", "/vsicurl/http://host/a.tif"),
        ("s3://bucket/key.tif", "/vsis3/bucket/key.tif"),
        ("zip+https://host/a.zip!/b.tif", None),
    ],
)
def test_addresses_by_gdals_names(url: str, path: str | None) -> None:
    assert inflate._gdal_path(url) == path
