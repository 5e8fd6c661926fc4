"""Linear models as text: numexpr itself, and QGIS' and Earth Engine's text read by a small evaluator.

Neither QGIS nor Earth Engine runs here. Their text is translated operator by operator to Python and evaluated with
NumPy, which shows that it says the right thing, not that their parsers accept it.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from model_specs import SIX, pixel_spec, pixel_weights

from minescale.errors import ModelError, UsageError
from minescale.models.band_math import SYNTAXES, band_math
from minescale.models.package import ModelPackage, write_package
from minescale.models.predictor import load_predictor
from minescale.models.windows import predict_tile

FEATURES = [
    "red", "swir16", "NDVI", "MSI", "ND_nir_red", "ND_green_swir16", "2.5 * (N - R) / (N + 6 * R - 7.5 * B + 1)",
    "-(S1 / N) ** 2 + G",
]  # fmt: skip


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    weights = pixel_weights(0, len(FEATURES))
    weights["weight"][0, 1] = 0  # a feature that needs no text
    weights["std"][0] = 0.002  # so that scaled values are cut
    spec = pixel_spec(0, hyperparameters={"features": FEATURES, "hidden": 0})
    return write_package(tmp_path / "linear", spec, weights, "card", {})


@pytest.fixture(scope="module")
def composite() -> np.ndarray:
    image = np.random.default_rng(2).integers(1, 6000, (6, 40, 30)).astype(np.uint16)
    image[:, 0, :10] = 1
    return image


def by_numexpr(text: str, bands: dict[str, np.ndarray]) -> np.ndarray:
    numexpr = pytest.importorskip("numexpr", reason="numexpr evaluates the text")
    values = dict(bands)
    for line in text.splitlines():
        name, expression = line.split(" = ", 1)
        values[name] = numexpr.evaluate(expression, values, {})
    return values["probability"]


def by_translation(text: str, bands: dict[str, np.ndarray]) -> np.ndarray:
    known = {"max": np.maximum, "min": np.minimum, "exp": np.exp, "__builtins__": {}}
    with np.errstate(all="raise", under="ignore"):
        return eval(compile(text, "band math", "eval"), known, bands)  # noqa: S307  (our own text)


def by_qgis(text: str, bands: dict[str, np.ndarray]) -> np.ndarray:
    names = list(bands)
    assert not re.search(r"\d[eE][+-]?\d|==|\*\*|exp|where|\n.", text)
    text = re.sub(r'"scene@(\d+)"', lambda m: names[int(m[1]) - 1], text)
    return by_translation(text.replace(" = 0", " == 0").replace("^", "**").strip(), bands)


def by_earthengine(text: str, bands: dict[str, np.ndarray]) -> np.ndarray:
    lines = re.findall(r'^    "(.*)"', text, flags=re.MULTILINE)
    assert re.match(r"// image: bands [\w, ]+\nfunction probability\(image\) \{\n  return image\.expression\(\n", text)
    assert text.endswith("\n  ).rename('probability');\n}\n")
    return by_translation(re.sub(r"b\('(\w+)'\)", r"\1", "".join(lines)), bands)


READERS = {"numexpr": by_numexpr, "qgis": by_qgis, "earthengine": by_earthengine}


@pytest.mark.parametrize("unit", [1.0, 1e-4])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_text_gives_the_models_values(syntax: str, unit: float, package: ModelPackage, composite: np.ndarray) -> None:
    text = band_math(package, syntax, unit=unit, layer="scene")  # type: ignore[arg-type]
    numbers = composite.astype(np.float64) * 1e-4 / unit
    found = READERS[syntax](text, dict(zip(SIX, numbers, strict=True)))
    wanted = predict_tile(load_predictor(package), composite, 0)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.ptp(wanted) > 0.02
    assert "swir16" not in text.split("v = ")[1] if syntax == "numexpr" else True


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_feature_without_a_value_counts_as_average(syntax: str, package: ModelPackage) -> None:
    pixels = np.zeros((1, 6, 1, 3), np.float32)
    pixels[0, :, 0, 1] = 0.2
    pixels[0, :, 0, 2] = [0.1, 0.1, 0.0, 0.0, 0.3, 0.2]
    wanted = load_predictor(package).predict(pixels)[0, 1]
    text = band_math(package, syntax, layer="scene")  # type: ignore[arg-type]
    found = READERS[syntax](text, dict(zip(SIX, pixels[0].astype(np.float64), strict=True)))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_temperature_is_part_of_the_text(syntax: str, package: ModelPackage, composite: np.ndarray, tmp_path) -> None:
    spec = package.spec.replace(calibration={"method": "temperature", "temperature": 2.5})
    cooled = write_package(tmp_path / "cooled", spec, package.weights(), "card", {})
    text = band_math(cooled, syntax, layer="scene")  # type: ignore[arg-type]
    found = READERS[syntax](text, dict(zip(SIX, composite * 1e-4, strict=True)))
    np.testing.assert_allclose(found, predict_tile(load_predictor(cooled), composite, 0), atol=1e-5)


def test_sixty_features_fit(tmp_path: Path, composite: np.ndarray) -> None:
    from minescale.kernels.indices import pair_names

    names = [*SIX, *pair_names(SIX)] * 3
    spec = pixel_spec(0, hyperparameters={"features": names, "hidden": 0})
    weights = pixel_weights(0, len(names))
    package = write_package(tmp_path / "wide", spec, weights, "card", {})
    found = by_numexpr(band_math(package, "numexpr"), dict(zip(SIX, composite * 1e-4, strict=True)))
    np.testing.assert_allclose(found, predict_tile(load_predictor(package), composite, 0), atol=1e-5)


def test_what_is_no_formula_is_refused(package: ModelPackage, tmp_path: Path) -> None:
    hidden = write_package(tmp_path / "hidden", pixel_spec(4), pixel_weights(4), "card", {})
    with pytest.raises(ModelError, match="no formula"):
        band_math(hidden, "qgis")
    table = {"method": "isotonic", "score": [0.0, 1.0], "probability": [0.1, 0.9]}
    calibrated = package.spec.replace(calibration=table)
    other = write_package(tmp_path / "isotonic", calibrated, package.weights(), "card", {})
    with pytest.raises(ModelError, match="isotonic"):
        band_math(other, "numexpr")
    with pytest.raises(UsageError, match="unknown syntax"):
        band_math(package, "sql")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="above 0"):
        band_math(package, "qgis", unit=0)
    with pytest.raises(UsageError, match="name of a layer"):
        band_math(package, "qgis", layer='a"b')
