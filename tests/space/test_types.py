"""Areas and periods: what is accepted, and what the errors tell."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minescale.errors import UsageError
from minescale.types import BBox, Channel, Period, TileKey, physical_bands


def test_antimeridian_box_is_cut_in_two() -> None:
    box = BBox(178, -20, -178, -15)
    assert box.crosses_antimeridian
    assert [p.as_tuple() for p in box.parts()] == [(178, -20, 180, -15), (-180, -20, -178, -15)]
    assert box.center == (-180, -17.5)


@pytest.mark.parametrize(
    ("values", "tells"),
    [
        ((10, 0, 5, 1), "5.0 0.0 10.0 1.0"),  # west > east by mistake: the error offers the right order
        ((-10, 100, 5, 110), "swapped"),
        ((1, 5, 2, 4), "upside down"),
        ((1, 5, 1, 6), "empty"),
        ((1, 5, 2, 5), "empty"),
        ((-200, 0, 10, 1), "longitude"),
        ((float("nan"), 0, 1, 1), "not a number"),
        ((1, 2, 3), "four numbers"),
    ],
)
def test_impossible_boxes_say_what_to_pass(values: tuple[float, ...], tells: str) -> None:
    with pytest.raises(UsageError, match=tells) as caught:
        BBox.of(values)
    assert caught.value.exit_code == 2


def test_dates_of_lower_precision_mean_their_whole_span() -> None:
    period = Period.parse("2024-01/2024-06")
    assert period.start == dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    assert period.end == dt.datetime(2024, 6, 30, 23, 59, 59, tzinfo=dt.UTC)
    assert Period.parse("2024").isoformat() == "2024-01-01T00:00:00Z/2024-12-31T23:59:59Z"
    assert Period.parse("2024-02-29T10:00:00+02:00/2024-03-01").start.hour == 8


@pytest.mark.parametrize("text", ["", "2024-13", "yesterday", "2024-06/2024-01", "2024/..", "2023-02-30"])
def test_bad_dates_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Period.parse(text)


@given(
    start=st.dates(dt.date(2015, 1, 1), dt.date(2026, 12, 31)),
    days=st.integers(0, 900),
    rule=st.sampled_from(["all", "year", "quarter", "month"]),
)
def test_periods_tile_the_span(start: dt.date, days: int, rule: str) -> None:
    whole = Period.parse(f"{start}/{start + dt.timedelta(days=days)}")
    parts = whole.split(rule)  # type: ignore[arg-type]
    assert parts[0].start == whole.start
    assert parts[-1].end == whole.end
    for before, after in itertools.pairwise(parts):
        assert after.start - before.end == dt.timedelta(seconds=1)
    moment = whole.start + (whole.end - whole.start) / 3
    assert sum(p.contains(moment) for p in parts) == 1


def test_period_round_trips_through_its_text() -> None:
    period = Period.parse("2023-05/2024-02")
    assert Period.parse(period.isoformat()) == period


def test_tile_keys_have_no_negative_index() -> None:
    with pytest.raises(UsageError):
        TileKey(0, -1, 3)


@pytest.mark.parametrize("name", ["nir", "nir:p0", "swir16:p9", "swir16:p10", "red:p100"])
def test_channels_round_trip_through_their_names(name: str) -> None:
    assert str(Channel.parse(name)) == name


@pytest.mark.parametrize("name", ["nir:", "nir:p", "nir:p101", "nir:p07", "nir:p2.5", "nir:max", "nir:p10:p9"])
def test_unknown_statistics_say_what_to_pass(name: str) -> None:
    with pytest.raises(UsageError, match="nir:p10"):
        Channel.parse(name)


def test_a_band_is_read_once_for_all_its_channels() -> None:
    assert physical_bands(("nir:p90", "red", "nir", "red:p10", "blue")) == ("nir", "red", "blue")
