"""The baseline on real scenes: it must find quarries, and it must not pretend to tell them from bare fields."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox

from minescale.cube.compose import compose
from minescale.models.package import load_package
from minescale.models.predictor import load_predictor
from minescale.models.windows import predict_tile
from minescale.outputs.evaluation import score_map
from minescale.sensors import SENTINEL2_L2A
from minescale.sources.catalogs import search
from minescale.sources.freeze import freeze
from minescale.sources.reader import Reader
from minescale.store.codes import encode_probability
from minescale.types import BBox, Period

QUARRY, UNLABELLED = 10, 0


@pytest.mark.parametrize(("day", "precision"), [("20210619", 0.7), ("20220619", 0.7), ("20221012", 0.1)])
def test_baseline_finds_quarries_in_summer_and_bare_fields_in_autumn(
    data_dir: Path, day: str, precision: float
) -> None:
    """Both processing baselines (with and without offset) must give the same picture."""
    with rasterio.open(data_dir / "strzegom" / "labels" / f"{day}.tif") as source:
        label = source.read(1)
        box = GeoBox(source.shape, source.transform, source.crs)
    predictor = load_predictor(load_package("baseline"))
    bands = predictor.spec.bands
    found = search(
        str(data_dir / "strzegom" / "catalog.json"),
        bbox=BBox(*box.geographic_extent.boundingbox.bbox),
        period=Period.parse(f"{day[:4]}-{day[4:6]}-{day[6:]}"),
    )
    image = compose(freeze(found, bands=bands).scenes, box, bands, sensor=SENTINEL2_L2A, reader=Reader())
    codes = encode_probability(predict_tile(predictor, image.data, 0))
    score = score_map(codes, label == QUARRY, 0.5, label != UNLABELLED)
    assert score.model.recall > 0.9
    assert score.model.precision > precision
    assert score.auprc > 1.5 * score.prevalence
    # Water, woods and built-up land stay low; the classes that may score high are bare ones.
    vegetation = codes[(label == 9) & (codes != 255)]
    assert np.mean(vegetation >= 125) < 0.05
