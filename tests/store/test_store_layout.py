"""Layouts and pixel codes: what is refused, what survives a round trip."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from store_writer import small_layout

from minescale.errors import UsageError
from minescale.grid import MosaicGrid
from minescale.store.codes import FINE_CODES, decode_probability, encode_probability
from minescale.store.layout import MosaicLayout
from minescale.types import Period


def test_layout_survives_json() -> None:
    layout = small_layout(shards=2, provenance={"run_id": "ab12", "model": {"name": "m", "bands": ("red", "nir")}})
    again = MosaicLayout.from_dict(json.loads(json.dumps(layout.to_dict())))
    assert again == layout
    assert again.provenance["model"]["bands"] == ["red", "nir"]
    assert layout.differences(again) == ()


def test_differences_name_the_fields() -> None:
    mine, theirs = small_layout(), small_layout(chunk=256, crs="EPSG:32631", provenance={"run_id": "x"})
    assert [text.split(":")[0] for text in mine.differences(theirs)] == ["grid.crs", "chunk", "provenance.run_id"]


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        ({"chunk": 96}, "256 px, chunks of 96 px"),
        ({"chunk": 128, "shards": 3}, "256 px, shards of 384 px"),
        ({"chunk": 128, "shards": 4}, "256 px, shards of 512 px"),
        ({"chunk": 0}, "chunk"),
        ({"periods": ()}, "period"),
        ({"provenance": {"when": float("nan")}}, "JSON"),
    ],
)
def test_misaligned_layouts_are_refused(changes: dict[str, object], numbers: str) -> None:
    with pytest.raises(UsageError, match=numbers):
        small_layout(**changes)


def test_factor_that_cuts_tiles_is_refused() -> None:
    grid = MosaicGrid(crs="EPSG:32630", resolution=10, left=0, top=0, shape=(768, 768), tile_size=256, factors=(1, 3))
    with pytest.raises(UsageError, match="factor 3"):
        MosaicLayout(grid=grid, periods=(Period.parse("2024"),), chunk=128)


@pytest.mark.parametrize(("side", "count"), [(8, 0), (512, 0), (520, 1), (1024, 1), (1032, 2), (100_000, 8)])
def test_overviews_end_at_512_px(side: int, count: int) -> None:
    layout = small_layout(shape=(8, side))
    assert layout.n_overviews == count
    assert max(layout.overview_geobox(count).shape) <= 512


def test_known_codes() -> None:
    values = np.array([0, 0.004, 0.5, 1, np.nan, -0.01, 1.02, np.inf], np.float32)
    assert encode_probability(values).tolist() == [0, 1, 125, 250, 255, 0, 250, 250]
    assert np.isnan(decode_probability(np.array([255], np.uint8))).all()


@given(hnp.arrays(np.float32, (3, 5), elements=st.floats(0, 1, width=32) | st.just(float("nan"))))
def test_probability_round_trip(values: np.ndarray) -> None:
    codes = encode_probability(values)
    back = decode_probability(codes)
    assert codes.dtype == np.uint8
    assert back.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(back), np.isnan(values))
    np.testing.assert_allclose(back, values, atol=0.002 + 1e-6)
    np.testing.assert_array_equal(encode_probability(back), codes)


def test_fill_values_are_no_valid_codes() -> None:
    assert {code.name: code.fill for code in FINE_CODES} == {
        "probability": 255,
        "clear_count": 65535,
        "level": 255,
        "reason": 255,
    }
