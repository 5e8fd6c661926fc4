"""Labels and images of different times."""

from __future__ import annotations

import pandas as pd
import pytest

from minescale.errors import UsageError
from minescale.labels.rasters.epochs import GAP, check_gaps, gap_days, with_gaps


@pytest.mark.parametrize(
    ("label", "image", "days"),
    [
        (2019, "2019-07-01", 0),
        (2019, "2020-01-01", 1),
        (2019, "2018-12-30", 2),
        (2019, 2021, 366 + 1),
        ("2019-06", "2019-06-30", 0),
        ("2019-06", "2019-07-31", 31),
        ("2019-06-10", "2019-06-01T10:00:00Z", 9),
    ],
)
def test_r131_gaps_between_dates_of_any_precision(label: str | int, image: str | int, days: int) -> None:
    assert gap_days(label, image) == days
    assert gap_days(image, label) == days


def test_r131_gaps_are_stored_and_limited() -> None:
    """R131: labels move to an image of the same month; F51: outlines of 2019 do not describe imagery of 2023."""
    samples = pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "image_date": ["2019-06-03", "2023-02-01", "2020-01-02"],
            "label_date": ["2019-06", None, None],
            "label_epoch": [2018, 2019, 2019],
        }
    )
    table = with_gaps(samples)
    assert table[GAP].tolist() == [0, 1128, 2]
    assert check_gaps(samples.iloc[[0, 2]], 31)[GAP].tolist() == [0, 2]
    with pytest.raises(UsageError, match=r"1 of 3 labels.*\n.*1128 days, in b"):
        check_gaps(samples, 31)


def test_r131_unknown_dates_are_no_match() -> None:
    samples = pd.DataFrame({"id": ["a", "b"], "image_date": ["2019-06-03", None], "label_epoch": [None, 2019.0]})
    assert with_gaps(samples)[GAP].isna().all()
    with pytest.raises(UsageError, match="unknown"):
        check_gaps(samples, 10_000)
    with pytest.raises(UsageError, match="no dates"):
        with_gaps(samples.drop(columns="image_date"))
    with pytest.raises(UsageError, match="not understood"):
        gap_days("spring", "2019")
