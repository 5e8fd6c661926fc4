"""Blocks that neighbouring tiles share are decoded once, and change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from minescale.config import ReadConfig
from minescale.sources import handles, reuse
from minescale.sources.access import Access
from minescale.sources.reader import Reader
from minescale.sources.windows import Window
from tests.sources.source_imagery import layer, scene_of, smooth, write_cog

BLOCK, SHAPE = 128, (600, 500)
CRS = "EPSG:32630"


@pytest.fixture(scope="module")
def cog(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    data = smooth(SHAPE)
    return write_cog(tmp_path_factory.mktemp("cog") / "a.tif", data, blocksize=BLOCK), data


@pytest.fixture(autouse=True)
def empty_store():
    forget()
    yield
    forget()


def forget() -> None:
    reuse._kept.clear()
    reuse.hold_to(1 << 30)


def read(image: handles.Image, window: Window, ahead: Sequence[Window], budget: int) -> tuple[np.ndarray, int, int]:
    """Pixels, compressed bytes and blocks decoded of one window."""
    parts = image.read(window, tuple(ahead), budget)
    pixels = np.zeros(window.shape, image.dtype)
    for part, piece in parts.pieces:
        pixels[part.within(window)] = piece
    parts.release()
    return pixels, parts.bytes_read, parts.decoded


windows = st.builds(
    lambda y, x, h, w: Window(y, min(y + h, SHAPE[0]), x, min(x + w, SHAPE[1])),
    st.integers(0, SHAPE[0] - 1),
    st.integers(0, SHAPE[1] - 1),
    st.integers(1, 300),
    st.integers(1, 300),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(windows, st.lists(windows, max_size=3)), min_size=1, max_size=6), st.integers(0, 6))
def test_any_order_of_windows_reads_the_same_pixels_within_the_budget(cog, reads, blocks_of_budget) -> None:
    path, data = cog
    forget()
    image = handles.File(str(path)).image(None, lambda: str(path))
    budget = blocks_of_budget * BLOCK * BLOCK * 2
    for window, ahead in reads:
        reuse.next_tile()
        pixels, _, decoded = read(image, window, ahead, budget)
        np.testing.assert_array_equal(pixels, data[window.row0 : window.row1, window.col0 : window.col1])
        touched = ((window.row1 - 1) // BLOCK - window.row0 // BLOCK + 1) * (
            (window.col1 - 1) // BLOCK - window.col0 // BLOCK + 1
        )
        assert 0 <= decoded <= touched
        assert reuse.kept_bytes() <= budget


def test_a_neighbour_decodes_only_what_is_new(cog) -> None:
    path, _ = cog
    image = handles.File(str(path)).image(None, lambda: str(path))
    left, right = Window(0, 200, 0, 200), Window(0, 200, 200, 400)
    whole = read(image, left, [right], 1 << 20)
    assert whole[2] == 4
    assert reuse.kept_bytes() == 200 * (256 - 200) * 2, (
        "what the right window needs of the two blocks that reach into it"
    )
    assert read(image, right, [], 1 << 20)[2] == 4, "columns 1 to 3 less the kept one"
    assert reuse.kept_bytes() == 0, "nobody ahead needs them any more"


def test_only_what_is_all_there_is_taken(cog) -> None:
    """A tile whose turn nobody foresaw needs more of a block than was kept of it: then the block is decoded."""
    path, data = cog
    image = handles.File(str(path)).image(None, lambda: str(path))
    foreseen, other = Window(0, 100, 100, 200), Window(0, 100, 90, 200)
    read(image, Window(0, 100, 0, 100), [foreseen], 1 << 20)
    pixels, _, decoded = read(image, other, [], 1 << 20)
    assert decoded == 2
    np.testing.assert_array_equal(pixels, data[:100, 90:200])
    read(image, Window(0, 100, 0, 100), [foreseen], 1 << 20)
    parts = image.read(Window(0, 128, 0, 256), (), 1 << 20, needed=foreseen)
    assert parts.decoded == 1, "of a window in whole blocks, the pixels in use are enough"


def test_the_store_grows_no_further_than_others_let_it(cog, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = cog
    image = handles.File(str(path)).image(None, lambda: str(path))
    monkeypatch.setattr(reuse, "_limit", 0)
    reuse.hold_to(BLOCK * BLOCK * 2)
    budget = 4 * BLOCK * BLOCK * 2 + 1
    read(image, Window(0, 256, 0, 256), [Window(0, 256, 0, 256)], budget)
    assert reuse.kept_bytes() == reuse.touched_bytes() == BLOCK * BLOCK * 2
    reuse.hold_to(budget)
    read(image, Window(0, 256, 0, 256), [Window(0, 256, 0, 256)], budget)
    assert reuse.kept_bytes() == 4 * BLOCK * BLOCK * 2


def test_left_overs_go_when_room_is_needed_and_fresh_blocks_stay(cog) -> None:
    path, _ = cog
    image = handles.File(str(path)).image(None, lambda: str(path))
    budget = 2 * BLOCK * BLOCK * 2
    read(image, Window(0, 200, 0, 200), [Window(0, 256, 128, 400)], budget)
    read(image, Window(256, 384, 0, 128), [Window(256, 384, 0, 128)], budget)
    assert {block for _, block in reuse._kept} == {(0, 1), (1, 1)}, "kept first, needed first"
    for _ in range(reuse.STALE_TURNS + 1):
        reuse.next_tile()
    read(image, Window(256, 384, 0, 128), [Window(300, 384, 0, 128)], budget)
    assert (2, 0) in {block for _, block in reuse._kept}


@pytest.mark.parametrize("crs", [CRS, "EPSG:32631"], ids=["own lattice", "warped"])
def test_a_strip_of_tiles_decodes_each_block_about_once(cog, crs: str) -> None:
    path, _ = cog
    scene = scene_of(path, crs=CRS)
    read = ReadConfig(threads=1)
    x0, y0 = (500_070, 699_930) if crs == CRS else _corner_in(crs)
    boxes = [
        GeoBox((96, 96), Affine(10, 0, x0 + 960 * col, 0, -10, y0 - 960 * row), crs)
        for col in range(5)
        for row in range(4)
    ]
    with_reuse, without = (Reader(Access.capture(c), c) for c in (read, ReadConfig(threads=1, reuse_mb=0)))
    decoded = {"with": 0, "without": 0}
    for i, box in enumerate(boxes):
        reuse.next_tile()
        kept = with_reuse.read([layer(scene)], box, "red", ahead=boxes[i + 1 : i + 6])
        plain = without.read([layer(scene)], box, "red", ahead=boxes[i + 1 : i + 6])
        np.testing.assert_array_equal(kept.data, plain.data)
        decoded["with"] += kept.requests
        decoded["without"] += plain.requests
    blocks_in_image = 5 * 4
    assert decoded["with"] <= blocks_in_image
    assert decoded["without"] > 2 * decoded["with"]


def _corner_in(crs: str) -> tuple[float, float]:
    import pyproj

    x, y = pyproj.Transformer.from_crs(CRS, crs, always_xy=True).transform(500_300, 699_700)
    return round(x, -1), round(y, -1)


def test_another_run_finds_nothing_kept(cog) -> None:
    path, _ = cog
    image = handles.File(str(path)).image(None, lambda: str(path))
    window = Window(0, 64, 0, 64)
    first = read(image, window, [window], 1 << 20)
    assert read(image, window, [window], 1 << 20)[1] == 0
    reuse.forget()
    assert reuse.kept_bytes() == 0
    assert read(image, window, [], 1 << 20)[1:] == first[1:]


def test_a_kept_block_among_missing_ones_is_not_decoded_by_gdal_again(cog) -> None:
    path, data = cog
    image = handles.File(str(path)).image(None, lambda: str(path))
    middle, all_round = Window(BLOCK, 2 * BLOCK, BLOCK, 2 * BLOCK), Window(0, 3 * BLOCK, 0, 3 * BLOCK)
    assert image.read(middle, (all_round,), 1 << 20, inflate=False).decoded == 1
    parts = image.read(all_round, (), 1 << 20, inflate=False)
    ((part, pixels),) = parts.pieces
    np.testing.assert_array_equal(pixels, data[: 3 * BLOCK, : 3 * BLOCK])
    assert (part, parts.decoded) == (all_round, 8)
