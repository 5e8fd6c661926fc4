"""How far apart in time a label and its image lie."""

from __future__ import annotations

import pandas as pd

from minescale.errors import UsageError
from minescale.types import Period

GAP = "gap_days"
"""Column with the days between label and image; null where either date is unknown."""


def gap_days(label: str | int, image: str | int) -> int:
    """Days between two dates, 0 where they may be the same day.

    A date of lower precision means its whole span: a label of 2019 has no gap to any image of 2019, a label of
    2019-06 none to an image of that month, and 30 days to one of 31 July.

    Raises
    ------
    UsageError
        for a date that is none.
    """
    first, second = Period.parse(str(label)), Period.parse(str(image))
    apart = max(first.start.date(), second.start.date()) - min(first.end.date(), second.end.date())
    return max(apart.days, 0)


def with_gaps(samples: pd.DataFrame) -> pd.DataFrame:
    """The table with the column `GAP`: from ``label_date`` where there is one, else from ``label_epoch``.

    Parameters
    ----------
    samples : a dataset's table with ``image_date`` and one of the two; see `minescale.labels.sets.dataset`.

    Raises
    ------
    UsageError
        where a column is missing.
    """
    given = [c for c in ("label_date", "label_epoch") if c in samples]
    if "image_date" not in samples or not given:
        raise UsageError(
            "samples have no dates to compare",
            got=", ".join(map(str, samples.columns)),
            expected="image_date, and label_date or label_epoch",
        )
    labels = samples[given[0]].astype(object)
    if len(given) == 2:
        labels = labels.where(labels.notna(), samples["label_epoch"])
    gaps = [
        None if pd.isna(label) or pd.isna(image) else gap_days(_text(label), _text(image))
        for label, image in zip(labels, samples["image_date"], strict=True)
    ]
    return samples.assign(**{GAP: pd.array(gaps, dtype="Int64")})


def check_gaps(samples: pd.DataFrame, max_days: int) -> pd.DataFrame:
    """`with_gaps`, refused where a label is farther from its image than ``max_days``, or either date is unknown.

    Raises
    ------
    UsageError
        naming the samples that are too far apart.
    """
    table = with_gaps(samples)
    late = table[table[GAP].isna() | (table[GAP] > max_days).fillna(False)]
    if len(late):
        worst = "unknown" if late[GAP].isna().all() else f"{late[GAP].max()} days"
        raise UsageError(
            f"{len(late)} of {len(table)} labels are not of their image's time",
            got=f"a gap of up to {worst}, in {', '.join(map(str, late['id'].head(5)))}",
            expected=f"at most {max_days} days",
            fix="imagery of the labels' time, a larger limit, or leave them out",
        )
    return table


def _text(value: object) -> str:
    """A date as text; years that pandas turned to floats, because one is missing, as whole numbers."""
    return str(int(value)) if isinstance(value, float) else str(value)
