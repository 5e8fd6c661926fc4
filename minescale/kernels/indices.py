"""Spectral indices: the named ones, fused in one pass over a composite, and all normalised pairs of bands.

Symbols are those of awesome-spectral-indices (Montero et al., Sci. Data 10, 197, 2023, doi 10.1038/s41597-023-02096-0):
B G R RE1 RE2 RE3 N N2 WV S1 S2 ..., in `minescale.sensors.Band.symbol`. Values are reflectance, 0-1.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.kernels._arrays import given, output
from minescale.kernels._jit import kernel
from minescale.kernels.expressions import CONSTANTS, evaluate, parse

__all__ = [
    "ALIASES",
    "CONSTANTS",
    "GEOLOGY",
    "INDICES",
    "SEED_INDICES",
    "SOURCES",
    "IndexKernel",
    "evaluate",
    "expression_of",
    "fused_indices",
    "index_kernel",
    "normalized_differences",
    "pair_names",
]


INDICES: dict[str, str] = {
    "NDVI": "(N-R)/(N+R)",
    "SeLI": "(N2-RE1)/(N2+RE1)",
    "GNDVI": "(N-G)/(N+G)",
    "NDMI": "(N-S1)/(N+S1)",
    "MSI": "S1/N",
    "NDWI": "(G-N)/(G+N)",
    "MNDWI": "(G-S1)/(G+S1)",
    "NBR": "(N-S2)/(N+S2)",
    "NBR2": "(S1-S2)/(S1+S2)",
    "NDBI": "(S1-N)/(S1+N)",
    "NDSI": "(G-S1)/(G+S1)",
    "NDVI705": "(RE2-RE1)/(RE2+RE1)",
    "NDCI": "(RE1-R)/(RE1+R)",
    "NDTI": "(R-G)/(R+G)",
    "IKAW": "(R-B)/(R+B)",
}
"""Expressions in band symbols, under the names that awesome-spectral-indices gives them."""

ALIASES: dict[str, str] = {
    "NDRE": "SeLI",
    "AMWI": "IKAW",
    "MSI_seed": "NDBI",
    "NDVI705_seed": "NDCI",
}
"""Other names in use, and the index they mean. The two ``_seed`` names are formulas that a wish list gave under the
names MSI and NDVI705, which mean something else in the literature. AMWI ("acid mine water") is a red/blue contrast:
read it over water only, on land it is high over any red soil."""

SEED_INDICES: tuple[str, ...] = (
    "NDVI",
    "NDRE",
    "GNDVI",
    "NDMI",
    "MSI_seed",
    "NDWI",
    "MNDWI",
    "NBR",
    "NBR2",
    "NDBI",
    "NDSI",
    "NDVI705_seed",
    "NDTI",
    "AMWI",
)
"""The fourteen names of the pixel pipeline's index table. Up to sign they are ten features: NDSI is MNDWI, MSI_seed
is NDBI, NDMI is -NDBI, GNDVI is -NDWI."""

GEOLOGY: dict[str, str] = {
    "iron_oxide": "R/B",
    "ferric_iron": "R/G",
    "ferrous_iron": "S2/N+G/R",
    "ferric_oxides": "S1/N",
    "ferrous_silicates": "S2/S1",
    "laterite": "S1/S2",
    "clay_hydroxyl": "S1/S2",
    "gossan": "S1/R",
}
"""Band ratios of exposed rock and soil, which awesome-spectral-indices does not list. They point at material, not at
minerals, and mean nothing under vegetation or water."""

_SABINS = "Sabins 1999, doi:10.1016/S0169-1368(99)00007-4"
_VAN_DER_MEER = "van der Meer et al. 2014, doi:10.1016/j.rse.2014.03.022"
SOURCES: dict[str, str] = {
    "NDVI": "Rouse et al. 1974, NASA SP-351",
    "SeLI": "doi:10.3390/s19040904",
    "GNDVI": "doi:10.1016/S0034-4257(96)00072-7",
    "NDMI": "doi:10.1016/S0034-4257(01)00318-2",
    "MSI": "doi:10.1016/0034-4257(89)90046-1",
    "NDWI": "doi:10.1080/01431169608948714",
    "MNDWI": "doi:10.1080/01431160600589179",
    "NBR": "doi:10.3133/ofr0211",
    "NBR2": "USGS Landsat Normalized Burn Ratio 2",
    "NDBI": "doi:10.1080/01431160304987",
    "NDSI": "doi:10.1109/IGARSS.1994.399618",
    "NDVI705": "doi:10.1016/S0176-1617(11)81633-0",
    "NDCI": "doi:10.1016/j.rse.2011.10.016",
    "NDTI": "doi:10.1016/j.rse.2006.07.012",
    "IKAW": "doi:10.1006/anbo.1997.0544",
    "iron_oxide": _SABINS,
    "clay_hydroxyl": _SABINS,
    "ferric_iron": _VAN_DER_MEER,
    "ferrous_iron": _VAN_DER_MEER,
    "ferric_oxides": _VAN_DER_MEER,
    "ferrous_silicates": _VAN_DER_MEER,
    "laterite": _VAN_DER_MEER,
    "gossan": _VAN_DER_MEER,
}
"""Where each index of INDICES and GEOLOGY was published."""


def expression_of(name: str) -> str:
    """Expression of a name in INDICES, ALIASES or GEOLOGY.

    Raises
    ------
    UsageError
        naming the known ones.
    """
    found = INDICES.get(ALIASES.get(name, name)) or GEOLOGY.get(name)
    if found is None:
        known = ", ".join([*INDICES, *ALIASES, *GEOLOGY])
        raise UsageError("unknown index", got=name, expected=known, fix="an expression in band symbols")
    return found


def pair_names(names: Sequence[str]) -> tuple[str, ...]:
    """``ND_<a>_<b>`` for each unordered pair of bands, in band order: the C(n, 2) names of `normalized_differences`."""
    if len(set(names)) != len(names):
        raise UsageError("band names repeat", got=", ".join(names), expected="distinct names")
    return tuple(f"ND_{a}_{b}" for i, a in enumerate(names) for b in names[i + 1 :])


def normalized_differences(bands: NDArray[np.float32], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """``(a - b) / (a + b)`` of each unordered pair of bands, a before b.

    Parameters
    ----------
    bands : float32 (band, y, x), NaN = no data.
    out : float32 (pair, y, x).

    Returns
    -------
    float32 (n (n - 1) / 2, y, x) in the order of `pair_names`; NaN where a + b is 0.
    """
    image = given(bands, "bands", (np.float32,), 3)
    n, height, width = image.shape
    pairs = output(out, (n * (n - 1) // 2, height, width), np.float32)
    _pairs(image.reshape(n, -1), pairs.reshape(len(pairs), -1))
    return pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexKernel:
    """Several two-band indices of a composite, computed in one pass. Built by `index_kernel`."""

    names: tuple[str, ...]
    first: tuple[int, ...]
    """Positions of a in (a - b) / (a + b) or a / b along the composite's band axis."""
    second: tuple[int, ...]
    ratio: tuple[bool, ...]
    """a / b instead of the normalised difference."""

    def __call__(self, composite: NDArray[np.uint16], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """float32 (index, y, x) from a uint16 (band, y, x) composite; see `fused_indices`."""
        return fused_indices(composite, self.first, self.second, self.ratio, out)


def index_kernel(names: Sequence[str], symbols: Sequence[str]) -> IndexKernel:
    """Prepare named indices for composites whose bands carry ``symbols``, in the order of the band axis.

    Raises
    ------
    UsageError
        for an unknown index, one that is neither ``(a-b)/(a+b)`` nor ``a/b`` (`evaluate` computes those), or a
        missing band.
    """
    first, second, ratio = [], [], []
    for name in names:
        a, b, divides = _two_bands(name)
        for symbol in (a, b):
            if symbol not in symbols:
                raise UsageError(
                    f"index {name} needs a band that is not there", got=", ".join(symbols), expected=symbol
                )
        first.append(list(symbols).index(a))
        second.append(list(symbols).index(b))
        ratio.append(divides)
    return IndexKernel(names=tuple(names), first=tuple(first), second=tuple(second), ratio=tuple(ratio))


def _two_bands(name: str) -> tuple[str, str, bool]:
    expression = expression_of(name)
    match parse(expression):
        case ast.BinOp(left=ast.Name(id=a), op=ast.Div(), right=ast.Name(id=b)):
            return a, b, True
        case ast.BinOp(
            left=ast.BinOp(left=ast.Name(id=a), op=ast.Sub(), right=ast.Name(id=b)),
            op=ast.Div(),
            right=ast.BinOp(left=ast.Name(id=c), op=ast.Add(), right=ast.Name(id=d)),
        ) if (a, b) == (c, d):
            return a, b, False
    raise UsageError(
        f"index {name} has no fused kernel", got=expression, expected="(a-b)/(a+b) or a/b", fix="evaluate()"
    )


def fused_indices(
    composite: NDArray[np.uint16],
    first: Sequence[int],
    second: Sequence[int],
    ratio: Sequence[bool] | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Two-band indices straight from a composite, reading each pixel once.

    Parameters
    ----------
    composite : uint16 (band, y, x), reflectance x 1e4, 0 = no data.
    first, second : band positions a and b of each index ``(a - b) / (a + b)``.
    ratio : True where the index is ``a / b`` instead; default: nowhere.
    out : float32 (index, y, x).

    Returns
    -------
    float32 (index, y, x), NaN where a or b has no data.
    """
    image = given(composite, "composite", (np.uint16,), 3)
    ratios = [False] * len(first) if ratio is None else list(ratio)
    if not len(first) == len(second) == len(ratios):
        raise UsageError("index positions differ in number", got=f"{len(first)}, {len(second)}, {len(ratios)}")
    if any(not 0 <= p < len(image) for p in (*first, *second)):
        raise UsageError("index position has no band", got=(*first, *second), expected=f"0 to {len(image) - 1}")
    result = output(out, (len(first), *image.shape[1:]), np.float32)
    _fused(
        image.reshape(len(image), -1),
        np.array(first, np.int64).reshape(-1),
        np.array(second, np.int64).reshape(-1),
        np.array(ratios, np.bool_).reshape(-1),
        result.reshape(len(result), -1),
    )
    return result


@kernel
def _pairs(bands: NDArray, out: NDArray) -> None:
    # Blocks of pixels, so that a block of all bands is read from memory once and then from the cache.
    n, pixels = bands.shape
    nan = np.float32(np.nan)
    for start in range(0, pixels, 1024):
        pair = 0
        for k in range(n):
            for m in range(k + 1, n):
                a, b = bands[k, start : start + 1024], bands[m, start : start + 1024]
                target = out[pair, start : start + 1024]
                for i in range(target.size):
                    total = a[i] + b[i]
                    target[i] = (a[i] - b[i]) / total if total != 0 else nan
                pair += 1


@kernel
def _fused(bands: NDArray, first: NDArray, second: NDArray, ratio: NDArray, out: NDArray) -> None:
    pixels = bands.shape[1]
    nan = np.float32(np.nan)
    for start in range(0, pixels, 1024):
        for j in range(first.size):
            a, b = bands[first[j], start : start + 1024], bands[second[j], start : start + 1024]
            target = out[j, start : start + 1024]
            divides = ratio[j]
            for i in range(target.size):
                one, two = np.float32(a[i]), np.float32(b[i])
                above, below = (one, two) if divides else (one - two, one + two)
                target[i] = above / below if (a[i] != 0) & (b[i] != 0) else nan
