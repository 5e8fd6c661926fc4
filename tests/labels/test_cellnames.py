"""Names of cells: R064 with the right answers to F16 and F17."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.errors import UsageError
from minescale.labels.cells.cellnames import CellName, decode, encode, quadkey

NAMES = st.builds(
    CellName,
    st.integers(-90_000, 90_000).map(lambda n: n / 1000),
    st.integers(-180_000, 180_000).map(lambda n: n / 1000),
    st.integers(0, 30),
    st.none() | st.integers(1, 1_000_000).map(lambda n: n / 1_000_000),
)


def test_r064_f16_the_seeds_example() -> None:
    """F16: the seed says x 100 and shows x 1000; 029500 is what its example needs."""
    assert encode(-29.5, 29.5, 14, None) == "029500_29500_14_neg"
    assert decode("029500_29500_14_neg") == CellName(-29.5, 29.5, 14, None)


@settings(deadline=None)
@given(NAMES)
def test_r064_names_survive_reading(cell: CellName) -> None:
    assert decode(encode(cell.lat, cell.lon, cell.zoom, cell.overlap)) == cell


@settings(deadline=None)
@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(1e-6, 1))
def test_r064_any_place_is_named_to_half_a_thousandth(lat: float, lon: float, overlap: float) -> None:
    cell = decode(encode(lat, lon, 16, overlap))
    assert cell.lat == pytest.approx(lat, abs=5.001e-4)
    assert cell.lon == pytest.approx(lon, abs=5.001e-4)
    assert cell.overlap == pytest.approx(overlap, abs=5.001e-7)


@pytest.mark.parametrize(
    ("overlap", "text"),
    [(0.001, "0.1"), (0.125, "12.5"), (1.0, "100.0"), (0.5, "50.0"), (0.123456, "12.3456"), (1e-6, "0.0001")],
)
def test_f17_percent_keeps_a_decimal(overlap: float, text: str) -> None:
    """F17: the cut is 0.1 %, which whole percents could not tell from nothing."""
    assert encode(0, 0, 15, overlap) == f"0_0_15_{text}"


def test_f17_zooms_are_those_of_the_grid() -> None:
    assert [decode(f"1_1_{zoom}_neg").zoom for zoom in (14, 15, 16)] == [14, 15, 16]


@pytest.mark.parametrize("value", [0.0, -0.0, 0.0004, -0.0004])
def test_zero_degrees_has_no_sign(value: float) -> None:
    assert encode(value, value, 14, None) == "0_0_14_neg"
    assert decode("0_0_14_neg").lat == 0


@pytest.mark.parametrize(
    "name",
    ["", "029500", "29500_29500_14", "0029500_1_14_neg", "-29500_1_14_neg", "00_1_14_neg", "1_1_14_NEG", "1_1_14_12",
     "1_1_14_12.50", "1_1_14_0.0", "1_1_14_012.5", "1_1_14_100.1", "1_1_014_neg", "1_1_31_neg", "90001_1_14_neg",
     "1_0180001_14_neg", "1_1_14_neg ", " 1_1_14_neg", "1_1_14_neg\n", "1_1_14_.5", "1_1_14_12.34567", "１_1_14_neg"],
)  # fmt: skip
def test_r064_the_decoder_is_strict(name: str) -> None:
    with pytest.raises(UsageError, match="name of a cell"):
        decode(name)


@pytest.mark.parametrize(
    ("lat", "lon", "zoom", "overlap"),
    [(91, 0, 14, None), (0, 181, 14, None), (0, 0, 31, None), (0, 0, 14, 1.1), (0, 0, 14, 0.0), (0, 0, 14, -0.1),
     (float("nan"), 0, 14, None)],
)  # fmt: skip
def test_values_that_have_no_name(lat: float, lon: float, zoom: int, overlap: float | None) -> None:
    with pytest.raises(UsageError):
        encode(lat, lon, zoom, overlap)


def test_quadkeys() -> None:
    assert quadkey(0.1, -0.1, 1) == "0"
    assert quadkey(-0.1, 0.1, 1) == "3"
    assert quadkey(52.4, 13.42, 3) == "120"
    for lat, lon in ((41.85, -87.65), (-33.9, 151.2), (85.05, 180.0), (-85.05, -180.0)):
        key = quadkey(lat, lon, 16)
        assert key is not None
        assert len(key) == 16
        assert key.startswith(str(quadkey(lat, lon, 7)))
    assert quadkey(41.85, -87.65, 7) == "0302222"
    assert quadkey(85.06, 0, 14) is None
