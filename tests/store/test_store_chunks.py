"""Whole chunks stored by us are the files that Zarr itself would have written."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from store_writer import files_of
from zarr.codecs import BloscCodec, BytesCodec, ZstdCodec

from minescale.store.chunks import write_whole


def group_of(folder: Path, shape: tuple[int, int], **options: object) -> list[zarr.Array]:
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    settings_ = {"chunks": (1, 8, 8), "compressors": [ZstdCodec(level=3)], **options}
    return [
        group.create_array(name, shape=(2, *shape), dtype=dtype, fill_value=fill, **settings_)  # type: ignore[arg-type]
        for name, dtype, fill in (
            ("a", "uint8", 255),
            ("b", "uint16", 65535),
            ("c", "float32", np.nan),
            ("d", "int64", 0),
        )
    ]


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    first=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    time=st.integers(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_files_equal_zarrs(
    shape: tuple[int, int], first: tuple[int, int], size: tuple[int, int], time: int, seed: int
) -> None:
    begin = [min(8 * f, (n - 1) // 8 * 8) for f, n in zip(first, shape, strict=True)]
    rows, cols = (slice(b, min(b + 8 * s, n)) for b, s, n in zip(begin, size, shape, strict=True))
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = (group_of(Path(folder, name), shape) for name in ("ours", "theirs"))
        for _ in range(2):  # the second time over what the first one left
            values = []
            for array in ours:
                image = rng.integers(0, 9, shape).astype(array.dtype)
                image[rng.random(shape) < 0.2] = array.fill_value
                image[: rng.integers(0, shape[0] + 1)] = array.fill_value  # whole empty chunks too
                values.append(image[rows, cols])
            write_whole((array, (time, rows, cols), image) for array, image in zip(ours, values, strict=True))
            for array, image in zip(theirs, values, strict=True):
                array[time, rows, cols] = image
            assert files_of(Path(folder, "ours")) == files_of(Path(folder, "theirs"))
            for array, image in zip(ours, values, strict=True):
                np.testing.assert_array_equal(array[time, rows, cols], image)


@pytest.mark.parametrize(
    "options",
    [
        {"shards": (1, 16, 16)},
        {"compressors": [BloscCodec(cname="lz4")]},
        {"compressors": None},
        {"serializer": BytesCodec(endian="big")},
    ],
)
def test_other_arrays_go_through_zarr(tmp_path: Path, options: dict[str, object]) -> None:
    ours, theirs = (group_of(tmp_path / name, (32, 32), **options) for name in ("ours", "theirs"))
    image = np.arange(1024).reshape(32, 32)
    where = (1, slice(0, 32), slice(0, 32))
    write_whole((array, where, image.astype(array.dtype)) for array in ours)
    for array in theirs:
        array[where] = image.astype(array.dtype)
    assert files_of(tmp_path / "ours") == files_of(tmp_path / "theirs")
