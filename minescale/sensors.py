"""What each sensor's bands are called, how fine they are, and what its quality band means.

Bands are named by STAC common names, never by number. ``symbol`` is the letter that the
awesome-spectral-indices catalogue uses for the band.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from minescale.errors import UsageError

MASK = "mask"
"""Name under which a scene's quality band (SCL, QA_PIXEL) is read."""

# States a quality value decodes to. Kernels and readers share these codes.
NODATA, CLEAR, OBSCURED, UNUSABLE = 0, 1, 2, 3
"""No observation; ground seen; cloud or shadow (grows when dilated); snow or defect (does not grow)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    name: str
    """STAC common name."""
    symbol: str
    """Symbol in awesome-spectral-indices; empty where it has none."""
    resolution: float
    """Native pixel size in metres."""
    assets: tuple[str, ...]
    """Asset keys under which catalogues publish it."""
    wavelength_nm: float | None = None
    """Centre of the band; None for what is no band of light."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRule:
    """How a quality band decodes to NODATA / CLEAR / OBSCURED / UNUSABLE."""

    assets: tuple[str, ...]
    resolution: float
    classes: dict[int, int] | None = None
    """Class value -> state (Sentinel-2 SCL); a value that is not listed is OBSCURED."""
    obscured_bits: int = 0
    """Bit mask of cloud and shadow flags (Landsat QA_PIXEL)."""
    unusable_bits: int = 0
    fill_bit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    name: str
    collections: tuple[str, ...]
    """Collection ids under which catalogues publish it."""
    bands: tuple[Band, ...]
    mask: MaskRule
    aliases: dict[str, str] = field(default_factory=dict)
    """Band names that mean another band on this sensor."""
    max_dn: int = 65535
    ancillary: tuple[Band, ...] = ()
    """By-products that are no reflectance; read only where somebody names them, as digital numbers."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(b.name for b in self.bands)

    def band(self, name: str) -> Band:
        """Look a band up by common name or alias.

        Raises
        ------
        UsageError
            naming the bands the sensor has.
        """
        wanted = self.aliases.get(name, name)
        for band in (*self.bands, *self.ancillary):
            if band.name == wanted:
                return band
        raise UsageError(f"{self.name} has no band of that name", got=name, expected=", ".join(self.names))

    def resolution(self, name: str) -> float:
        """Native pixel size in metres of a band, or of the quality band under ``mask``."""
        return self.mask.resolution if name == MASK else self.band(name).resolution


def _bit(*bits: int) -> int:
    return sum(1 << b for b in bits)


SENTINEL2_L2A = Sensor(
    name="sentinel-2-l2a",
    collections=(
        "sentinel-2-l2a",
        "sentinel-2-c1-l2a",
        "sentinel-2-pre-c1-l2a",
        "sentinel-s2-l2a-cogs",
        "sentinel-s2-l2a",
    ),
    # Centres of Sentinel-2A; those of 2B differ by less than 4 nm, but for B12 (2186 nm).
    bands=(
        Band(name="coastal", symbol="A", resolution=60, assets=("B01", "coastal"), wavelength_nm=442.7),
        Band(name="blue", symbol="B", resolution=10, assets=("B02", "blue"), wavelength_nm=492.4),
        Band(name="green", symbol="G", resolution=10, assets=("B03", "green"), wavelength_nm=559.8),
        Band(name="red", symbol="R", resolution=10, assets=("B04", "red"), wavelength_nm=664.6),
        Band(name="rededge071", symbol="RE1", resolution=20, assets=("B05", "rededge1"), wavelength_nm=704.1),
        Band(name="rededge075", symbol="RE2", resolution=20, assets=("B06", "rededge2"), wavelength_nm=740.5),
        Band(name="rededge078", symbol="RE3", resolution=20, assets=("B07", "rededge3"), wavelength_nm=782.8),
        Band(name="nir", symbol="N", resolution=10, assets=("B08", "nir"), wavelength_nm=832.8),
        Band(name="nir08", symbol="N2", resolution=20, assets=("B8A", "nir08"), wavelength_nm=864.7),
        Band(name="nir09", symbol="WV", resolution=60, assets=("B09", "nir09"), wavelength_nm=945.1),
        Band(name="swir16", symbol="S1", resolution=20, assets=("B11", "swir16"), wavelength_nm=1613.7),
        Band(name="swir22", symbol="S2", resolution=20, assets=("B12", "swir22"), wavelength_nm=2202.4),
    ),
    # Aerosol optical thickness x 1000: a result of the atmospheric correction, interpolated over wide areas.
    ancillary=(Band(name="aot", symbol="", resolution=10, assets=("AOT", "aot")),),
    # Sen2Cor scene classification. Dark areas (2) and unclassified (7) are ground; snow (11) hides it.
    # Bare soil (5) stays clear: masking it would hide the very pits we look for.
    mask=MaskRule(
        assets=("SCL", "scl"),
        resolution=20,
        classes={
            0: NODATA,
            1: UNUSABLE,
            2: CLEAR,
            3: OBSCURED,
            4: CLEAR,
            5: CLEAR,
            6: CLEAR,
            7: CLEAR,
            8: OBSCURED,
            9: OBSCURED,
            10: OBSCURED,
            11: UNUSABLE,
        },
    ),
    aliases={"rededge": "rededge071", "B8A": "nir08"},
)

LANDSAT_C2_L2 = Sensor(
    name="landsat-c2-l2",
    collections=("landsat-c2-l2", "landsat-8-c2-l2", "landsat-c2l2-sr"),
    # Centres of OLI.
    bands=(
        Band(name="coastal", symbol="A", resolution=30, assets=("coastal", "SR_B1_OLI"), wavelength_nm=442.96),
        Band(name="blue", symbol="B", resolution=30, assets=("blue",), wavelength_nm=482.04),
        Band(name="green", symbol="G", resolution=30, assets=("green",), wavelength_nm=561.41),
        Band(name="red", symbol="R", resolution=30, assets=("red",), wavelength_nm=654.59),
        # OLI and TM have one NIR band; catalogues call it nir08, indices call it N.
        Band(name="nir08", symbol="N", resolution=30, assets=("nir08", "nir"), wavelength_nm=864.67),
        Band(name="swir16", symbol="S1", resolution=30, assets=("swir16",), wavelength_nm=1608.86),
        Band(name="swir22", symbol="S2", resolution=30, assets=("swir22",), wavelength_nm=2200.73),
    ),
    # Collection 2 QA_PIXEL: 0 fill, 1 dilated cloud, 2 cirrus, 3 cloud, 4 cloud shadow, 5 snow.
    mask=MaskRule(
        assets=("qa_pixel", "QA_PIXEL", "qa"),
        resolution=30,
        obscured_bits=_bit(1, 2, 3, 4),
        unusable_bits=_bit(5),
        fill_bit=_bit(0),
    ),
    aliases={"nir": "nir08"},
)

SENSORS: dict[str, Sensor] = {s.name: s for s in (SENTINEL2_L2A, LANDSAT_C2_L2)}


def sensor_of(collection: str) -> Sensor:
    """The sensor whose data a STAC collection holds.

    Raises
    ------
    UsageError
        for a collection minescale has no radiometry and quality rules for.
    """
    for sensor in SENSORS.values():
        if collection in sensor.collections:
            return sensor
    known = ", ".join(c for s in SENSORS.values() for c in s.collections)
    raise UsageError("unknown collection", got=collection, expected=known)
