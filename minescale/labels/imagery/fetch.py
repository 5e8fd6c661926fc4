"""One image round a coordinate, for notebooks and first looks: the same read path as an extraction, in this process."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from odc.geo.geobox import GeoBox

from minescale.config import Config
from minescale.errors import NothingMatched
from minescale.labels.imagery.extract_plan import ExtractPlan, ExtractRequest, find_scenes, make_plan
from minescale.labels.imagery.window import WindowImage, begin_window
from minescale.sources.access import Access
from minescale.sources.reader import Reader


def fetch_image(
    lon: float,
    lat: float,
    *,
    catalog: str = "planetary-computer",
    datetime: str = "2023/2025",
    bands: Sequence[str] = ("RGB", "nir"),
    side_m: float = 5000.0,
    cloud_below: float = 20.0,
    config: Config | None = None,
) -> tuple[WindowImage, GeoBox, ExtractPlan]:
    """One image round a coordinate from the least cloudy scenes, in this process: its pixels, place and plan.

    The image's last plane is the quality band's state.

    Raises
    ------
    NothingMatched
        where no scene is below the cloud limit (a scene at exactly ``cloud_below`` per cent is not).
    """
    config = config or Config()
    places = pd.DataFrame({"id": ["place"], "lon": [lon], "lat": [lat]})
    request = ExtractRequest(
        catalog=catalog, datetime=datetime, bands=tuple(bands), mode="scene", side_m=side_m, cloud_below=cloud_below
    )
    plan = make_plan(places, find_scenes(places, request), request, config)
    geobox = plan.windows.geobox(0)
    reader = Reader(Access.capture(config.read), config.read)
    made = begin_window(plan.scenes, geobox, plan.recipe, reader).finish()
    if not made.scenes:
        raise NothingMatched(
            "no scene shows the place with so little cloud",
            got=f"{len(plan.scenes)} scenes",
            expected=f"cloud below {cloud_below:g} %",
            fix="a longer datetime, or a higher cloud_below",
        )
    return made, geobox, plan
