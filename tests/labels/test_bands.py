"""R066, R115 and defects F05 to F08: bands by name, in a declared order; what a product lacks is absent, not zero."""

from __future__ import annotations

import numpy as np
import pytest

from minescale.errors import UsageError
from minescale.labels.imagery.bands import L2A, STACK_12, BandList, band_tags, reorder, require_order, true_colour
from minescale.sensors import LANDSAT_C2_L2, SENTINEL2_L2A


def test_r066_f05_the_published_table_as_level_2a_can_have_it() -> None:
    """R066, F05: Table 1 lists B10 with AOT and TCI, which no product has together; B01 is missing from it."""
    asked = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12", "AOT", "TCI"]
    found = BandList.parse(asked, SENTINEL2_L2A)
    assert found.features == L2A[1:]
    assert found.ancillary == ("aot", "tci_r", "tci_g", "tci_b")
    assert list(found.absent) == ["cirrus"]
    assert "Level-1C" in found.absent["cirrus"]
    assert len(L2A) == 12
    assert "coastal" in L2A
    assert "cirrus" not in L2A


def test_r066_names_wavelengths_and_native_resolutions_are_in_the_tags() -> None:
    """R066."""
    tags = band_tags(("coastal", "red", "nir08", "aot", "tci_r", "clear_count"), SENTINEL2_L2A, "cubic")
    assert tags[0] == {"native_m": "60", "resampling": "cubic", "name": "B01", "wavelength_nm": "442.7"}
    assert (tags[1]["native_m"], tags[1]["wavelength_nm"]) == ("10", "664.6")
    assert (tags[2]["name"], tags[2]["native_m"]) == ("B8A", "20")
    assert ["no feature" in t.get("role", "") for t in tags] == [False, False, False, True, True, True]


def test_f06_no_band_is_thermal() -> None:
    """F06: B11 and B12 are short-wave infrared; thermal infrared begins beyond 3 micrometres."""
    centres = {band.name: band.wavelength_nm for band in SENTINEL2_L2A.bands}
    assert max(centres.values()) == centres["swir22"] < 3000
    assert min(centres.values()) == centres["coastal"]


def test_f07_the_picture_is_a_copy_of_three_bands() -> None:
    """F07: it never is a feature, it is made of the bands, and it saturates."""
    found = BandList.parse(["TCI", "nir"], SENTINEL2_L2A)
    assert found.features == ("nir",)
    assert found.read == ("nir", "red", "green", "blue")
    planes = {
        name: np.full((1, 1), value, np.uint16) for name, value in zip(found.read, (9, 0, 1000, 5000), strict=True)
    }
    assert found.stack(planes)[:, 0, 0].tolist() == [9, 0, 128, 255]
    values = np.arange(0, 4000, dtype=np.uint16)
    picture = true_colour(values)
    assert (picture[0], picture[1], picture[2000], picture[3999]) == (0, 1, 255, 255)
    assert (np.diff(picture.astype(int)) >= 0).all()


def test_f07_the_picture_of_a_median_is_the_median_of_pictures() -> None:
    """F07: which is why the picture costs no read."""
    looks = np.random.default_rng(0).integers(1, 3000, (7, 50)).astype(np.uint16)
    median = np.median(looks, axis=0).astype(np.uint16)
    np.testing.assert_array_equal(true_colour(median), np.median(true_colour(looks), axis=0))


def test_f08_aerosol_is_a_by_product() -> None:
    """F08: kept beside the features where asked for, and no feature by any name."""
    assert BandList.parse(["red", "AOT"], SENTINEL2_L2A).features == ("red",)
    assert "aot" not in SENTINEL2_L2A.names
    with pytest.raises(UsageError, match="feature"):
        BandList.parse(["aot"], SENTINEL2_L2A)
    with pytest.raises(UsageError, match="no band of that name"):
        BandList.parse(["red", "aot"], LANDSAT_C2_L2)


def test_bands_that_all_scenes_lack_are_declared_absent() -> None:
    found = BandList.parse(["red", "blue", "coastal", "TCI"], SENTINEL2_L2A).without(["coastal", "green"], "not there")
    assert found.features == ("red", "blue")
    assert found.ancillary == ("tci_r", "tci_b")
    assert found.absent == {"coastal": "not there", "tci_g": "not there"}
    with pytest.raises(UsageError, match="none of the bands"):
        BandList.parse(["coastal"], SENTINEL2_L2A).without(["coastal"], "not there")


@pytest.mark.parametrize("names", [["red", "B04"], ["nope"], []])
def test_lists_that_cannot_be(names: list[str]) -> None:
    with pytest.raises(UsageError):
        BandList.parse(names, SENTINEL2_L2A)


def test_r115_the_twelve_band_stack_has_one_order_and_another_is_an_error() -> None:
    """R115: B04 B03 B02 B08, B05 B06 B07 B8A B11 B12, B01 B09."""
    found = BandList.parse(["STACK12"], SENTINEL2_L2A)
    assert found.features == STACK_12
    assert STACK_12 == (
        "red", "green", "blue", "nir", "rededge071", "rededge075", "rededge078", "nir08", "swir16", "swir22",
        "coastal", "nir09",
    )  # fmt: skip
    require_order(STACK_12, found.features, "here")
    with pytest.raises(UsageError, match="position 0"):
        require_order(L2A, STACK_12, "the set")
    with pytest.raises(UsageError, match="position 11"):
        require_order(STACK_12[:11], STACK_12, "the set")
    image = np.arange(12)[:, None, None] * np.ones((1, 2, 2), int)
    moved = reorder(image, L2A, STACK_12)
    assert moved[:, 0, 0].tolist() == [L2A.index(name) for name in STACK_12]
    with pytest.raises(UsageError, match="nir09"):
        reorder(image[:2], ("red", "nir"), ("red", "nir09"))
