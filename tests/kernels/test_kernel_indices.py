"""Indices against awesome-spectral-indices (spyndex), and an evaluator that runs nothing but arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from minescale import kernels as K
from minescale.errors import UsageError
from minescale.kernels.expressions import CONSTANTS
from minescale.kernels.indices import ALIASES, GEOLOGY, INDICES, SEED_INDICES, SOURCES, expression_of
from minescale.sensors import SENTINEL2_L2A

spyndex = pytest.importorskip("spyndex")
SYMBOLS = [band.symbol for band in SENTINEL2_L2A.bands]
SEED_FORMULAS = {
    "NDVI": ("N", "R"),
    "NDRE": ("N2", "RE1"),
    "GNDVI": ("N", "G"),
    "NDMI": ("N", "S1"),
    "MSI_seed": ("S1", "N"),
    "NDWI": ("G", "N"),
    "MNDWI": ("G", "S1"),
    "NBR": ("N", "S2"),
    "NBR2": ("S1", "S2"),
    "NDBI": ("S1", "N"),
    "NDSI": ("G", "S1"),
    "NDVI705_seed": ("RE1", "R"),
    "NDTI": ("R", "G"),
    "AMWI": ("R", "B"),
}
OTHERS = (
    "EVI",
    "SAVI",
    "AWEIsh",
    "AWEInsh",
    "BI",
    "DBSI",
    "EMBI",
    "MBI",
    "NDSoI",
    "BaI",
    "NDPonI",
    "S2WI",
    "NBRSWIR",
    "BITM",
    "RI4XS",
    "ARVI",
    "WDRVI",
    "MCARIOSAVI",
    "IBI",
    "OSAVI",
    "MSAVI",
    "TriVI",
    "NIRv",
    "GEMI",
    "BAIM",
)


@pytest.fixture(scope="module")
def spectra():
    rng = np.random.default_rng(7)
    return {symbol: rng.uniform(0.02, 0.6, (5, 40)).astype(np.float32) for symbol in SYMBOLS}


def of_spyndex(name, spectra):
    index = spyndex.indices[name]
    wide = {k: v.astype(np.float64) for k, v in spectra.items()}
    constants = {c: spyndex.constants[c].default for c in index.bands if c in spyndex.constants}
    return spyndex.computeIndex(name, {**wide, **constants})


@pytest.mark.parametrize("name", [*INDICES])
def test_named_index_equals_spyndex(name, spectra):
    got = K.evaluate(INDICES[name], spectra)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, of_spyndex(name, spectra), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SEED_INDICES)
def test_seed_index_keeps_its_formula_under_its_right_name(name, spectra):
    a, b = (spectra[s].astype(np.float64) for s in SEED_FORMULAS[name])
    wanted = (a - b) / (a + b)
    np.testing.assert_allclose(K.evaluate(expression_of(name), spectra), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(of_spyndex(ALIASES.get(name, name), spectra), wanted, rtol=1e-12)


def test_conflicting_names_follow_the_literature(spectra):
    """F12: MSI is the ratio S1/N. F13: NDVI705 takes the second red edge. F14: 14 names, 10 features up to sign."""
    np.testing.assert_allclose(K.evaluate(INDICES["MSI"], spectra), spectra["S1"] / spectra["N"], rtol=1e-6)
    assert INDICES["NDVI705"] == "(RE2-RE1)/(RE2+RE1)"
    assert len(SEED_INDICES) == 14
    features = {frozenset(SEED_FORMULAS[n]) for n in SEED_INDICES}
    assert len(features) == 10


def test_every_index_names_its_source():
    assert set(SOURCES) == {*INDICES, *GEOLOGY}


@pytest.mark.parametrize("name", OTHERS)
def test_any_catalogue_expression_can_be_evaluated(name, spectra):
    index = spyndex.indices[name]
    got = K.evaluate(index.formula, spectra)
    np.testing.assert_allclose(got, of_spyndex(name, spectra), rtol=2e-3, atol=1e-4)


def test_every_expression_of_the_catalogue_is_understood():
    """All 280: with every symbol given, none is refused."""
    symbols = {}
    for index in spyndex.indices.values():
        symbols |= {b: np.full((2, 2), 0.3, np.float32) for b in index.bands if b not in CONSTANTS}
    for index in spyndex.indices.values():
        assert K.evaluate(index.formula, symbols).shape == (2, 2)


def test_constants_default_to_the_catalogue_and_can_be_given(spectra):
    for name, value in CONSTANTS.items():
        assert spyndex.constants[name].default == value
    half = K.evaluate("(1 + L) * (N - R) / (N + R + L)", spectra, {"L": 0.5})
    n, r = spectra["N"], spectra["R"]
    np.testing.assert_allclose(half, 1.5 * (n - r) / (n + r + 0.5), rtol=1e-5)


@pytest.mark.parametrize("name", [*GEOLOGY])
def test_geology_ratios_are_plain_arithmetic(name, spectra):
    assert np.isfinite(K.evaluate(GEOLOGY[name], spectra)).all()
    assert K.evaluate(GEOLOGY["ferrous_iron"], {"S2": 2.0, "N": 4.0, "G": 1.0, "R": 2.0}).item() == 1.0


def test_chunks_equal_the_whole(spectra):
    whole = K.evaluate("(N - R) ** 2 / (N + R) - -S1", spectra)
    chunks = [
        K.evaluate("(N - R) ** 2 / (N + R) - -S1", {k: v[:, c] for k, v in spectra.items()})
        for c in (slice(0, 13), slice(13, 40))
    ]
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), whole)


def test_division_by_zero_is_nan_and_nan_stays():
    got = K.evaluate("(N-R)/(N+R)", {"N": np.array([0.0, 0.1, np.nan]), "R": np.array([0.0, -0.1, 0.2])})
    assert np.isnan(got).all()
    assert K.evaluate("2 + 3 * 4", {}).item() == 14


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "N.real",
        "N[0]",
        "abs(N)",
        "N if R else B",
        "N > R",
        "N and R",
        "[N for N in R]",
        "lambda: 1",
        "(N := 1)",
        "'N'",
        "True + 1",
        "1j * N",
        "N // R",
        "N % R",
        "N @ R",
        "~N",
        "not N",
        "N; R",
        "N +",
        "",
        "f'{N}'",
        "(" * 300 + "N" + ")" * 300,
        "-" * 300 + "N",
        "+".join(["N"] * 3000),
        "9" * 400,
        "N\x00",
    ],
)
def test_anything_but_arithmetic_is_refused(expression):
    with pytest.raises(UsageError):
        K.evaluate(expression, {"N": np.ones(3), "R": np.ones(3), "B": np.ones(3)})


def test_towers_of_powers_end_at_once():
    assert not np.isfinite(K.evaluate("9**9**9**9 * N", {"N": np.ones(2)})).any()


def test_missing_symbols_and_uneven_bands_are_named():
    with pytest.raises(UsageError, match="expected: S2"):
        K.evaluate("N/S2", {"N": np.ones(3)})
    with pytest.raises(UsageError, match="shape"):
        K.evaluate("N/R", {"N": np.ones(3), "R": np.ones(4)})
    with pytest.raises(UsageError, match="NDVI"):
        expression_of("NVDI")


def test_pairs_have_names_in_band_order():
    names = SENTINEL2_L2A.names
    pairs = K.pair_names(names)
    assert len(pairs) == len(set(pairs)) == 66
    assert pairs[:2] == ("ND_coastal_blue", "ND_coastal_green")
    bands = np.random.default_rng(1).random((12, 2, 3)).astype(np.float32)
    differences = K.normalized_differences(bands)
    assert differences.shape == (66, 2, 3)
    red, nir = bands[names.index("red")], bands[names.index("nir")]
    np.testing.assert_allclose(differences[pairs.index("ND_red_nir")], (red - nir) / (red + nir), rtol=1e-5)
    with pytest.raises(UsageError):
        K.pair_names(["red", "red"])


@pytest.mark.parametrize("n", [2, 3, 12])
def test_r078_exactly_all_pairs_once_up_to_sign_and_safe_where_a_sum_is_zero(n):
    names = SENTINEL2_L2A.names[:n]
    pairs = K.pair_names(names)
    assert len(pairs) == n * (n - 1) // 2
    assert len({frozenset(p.removeprefix("ND_").split("_", 1)) for p in pairs}) == len(pairs)
    bands = np.random.default_rng(n).random((n, 3, 3)).astype(np.float32)
    bands[:, 0, 0] = 0.0
    bands[0, 1, 1], bands[1, 1, 1] = 0.25, -0.25
    values = K.normalized_differences(bands)
    assert len(values) == len(pairs)
    assert np.isnan(values[:, 0, 0]).all()
    assert np.isnan(values[0, 1, 1])
    assert not np.isinf(values).any()


def test_fused_kernel_equals_the_evaluator(spectra):
    names = [*INDICES, *SEED_INDICES, "laterite", "gossan"]
    composite = np.stack([np.round(spectra[s] * 1e4) for s in SYMBOLS]).astype(np.uint16)
    composite[3, 0, :5] = 0
    fused = K.index_kernel(names, SYMBOLS)
    got = fused(composite)
    assert fused.names == tuple(names)
    reflectance = {s: np.where(composite[i] == 0, np.nan, composite[i] / 1e4) for i, s in enumerate(SYMBOLS)}
    for layer, name in zip(got, names, strict=True):
        np.testing.assert_allclose(layer, K.evaluate(expression_of(name), reflectance), rtol=1e-4, atol=1e-6)
    assert np.isnan(got[0, 0, :5]).all()


@pytest.mark.parametrize(("names", "word"), [(["ferrous_iron"], "evaluate"), (["NDVI"], "N"), (["XYZ"], "unknown")])
def test_fused_kernel_refuses_what_it_cannot_do(names, word):
    with pytest.raises(UsageError, match=word):
        K.index_kernel(names, ["R", "G"])
