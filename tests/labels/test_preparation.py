"""R036-R039, R128: images matched, coarsened and augmented; their labels follow."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft

from minescale.errors import UsageError
from minescale.labels.preparation.augment import (
    FLIPS_AND_ROTATIONS,
    TURNS,
    Draw,
    SatelliteAugmentation,
    Turn,
    augmented,
    flips_and_rotations,
)
from minescale.labels.preparation.matching import KERNEL, TargetRange, match_image_to_stats, prepared, through
from minescale.labels.preparation.statistics import extract_statistics
from tests.labels.small_sets import make

TARGET = TargetRange(bands=("red", "nir"), low=(300.0, 800.0), high=(2500.0, 4200.0))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 50), st.floats(-500, 5000))
def test_r036_percentiles_equal_the_targets(seed: int, gain: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    image = (rng.gamma(2, 300, (2, 40, 40)) * gain + shift).astype(np.float32)
    image[:, rng.random((40, 40)) < 0.1] = np.nan
    matched = match_image_to_stats(image, TARGET)
    np.testing.assert_array_equal(np.isnan(matched), np.isnan(image))
    np.testing.assert_allclose(np.nanpercentile(matched, 2, axis=(1, 2)), TARGET.low, rtol=0.01)
    np.testing.assert_allclose(np.nanpercentile(matched, 98, axis=(1, 2)), TARGET.high, rtol=0.01)


def test_r036_still_within_a_percent_when_rounded_to_integers() -> None:
    image = np.random.default_rng(0).integers(1, 3000, (2, 64, 64)).astype(np.uint16)
    image[:, :5] = 0
    matched = match_image_to_stats(image, TARGET, nodata=0)
    assert np.isnan(matched[:, :5]).all()
    rounded = np.rint(matched[:, 5:])
    np.testing.assert_allclose(np.percentile(rounded, 2, axis=(1, 2)), TARGET.low, rtol=0.01)
    np.testing.assert_allclose(np.percentile(rounded, 98, axis=(1, 2)), TARGET.high, rtol=0.01)


def test_r036_constant_and_empty_bands_are_safe() -> None:
    image = np.full((2, 8, 8), 700.0)
    image[1] = np.nan
    matched = match_image_to_stats(image, TARGET)
    assert (matched[0] == (300 + 2500) / 2).all()
    assert np.isnan(matched[1]).all()
    image[0, 0, 0] = 900.0  # one pixel of 64 is beyond both percentiles
    assert np.isfinite(match_image_to_stats(image, TARGET)[0]).all()
    with pytest.raises(UsageError, match="fit"):
        match_image_to_stats(np.ones((3, 4, 4)), TARGET)
    with pytest.raises(UsageError, match="nir"):
        TargetRange(bands=("red", "nir"), low=(0.0, 5.0), high=(1.0, 5.0))


def test_r036_target_comes_from_a_reference_set() -> None:
    reference = make({"site": list("ab")})
    target = TargetRange.of(extract_statistics(reference))
    exact = np.percentile(reference.reader.images, (2, 98), axis=(0, 2, 3))
    np.testing.assert_allclose([target.low, target.high], exact)


def _sharp(size: int = 500) -> np.ndarray:
    rng = np.random.default_rng(7)
    image = rng.normal(1000, 200, (2, size, size))
    image[:, size // 3 : size // 2] += 1500
    return image


def test_r037_nothing_is_left_above_the_nyquist_limit_of_95_pixels() -> None:
    coarse = through(_sharp())
    assert coarse.shape == (2, 512, 512)
    spectrum = fft.dctn(coarse.astype(np.float64), axes=(1, 2), norm="ortho") ** 2
    beyond = spectrum.copy()
    beyond[:, :95, :95] = 0  # 95 cosines: up to 47 cycles per image
    assert beyond.sum() < 1e-9 * spectrum.sum()
    # By an ordinary Fourier spectrum too, of a window that does not jump at its edges.
    window = np.hanning(512)[:, None] * np.hanning(512)
    power = np.abs(np.fft.fft2((coarse - coarse.mean()) * window)) ** 2
    cycles = np.abs(np.fft.fftfreq(512, 1 / 512))
    high = np.maximum(cycles[:, None], cycles) > 95 / 2 + 2
    assert power[:, high].sum() < 1e-4 * power.sum()


def test_r037_what_lies_below_the_limit_stays() -> None:
    x = (np.arange(500) + 0.5) / 500
    wave = 1000 + 300 * np.cos(np.pi * 20 * x)[None, :] * np.cos(np.pi * 31 * x)[:, None]
    fine = (np.arange(512) + 0.5) / 512
    wanted = 1000 + 300 * np.cos(np.pi * 20 * fine)[None, :] * np.cos(np.pi * 31 * fine)[:, None]
    np.testing.assert_allclose(through(wave[None])[0], wanted, rtol=1e-5)
    np.testing.assert_allclose(through(_sharp()).mean(axis=(1, 2)), _sharp().mean(axis=(1, 2)), rtol=1e-5)


def test_r037_missing_pixels_stay_missing_and_do_not_darken_their_neighbours() -> None:
    image = np.full((1, 200, 200), 900.0)
    image[:, :, :60] = np.nan
    coarse = through(image)
    missing = np.isnan(coarse[0]).mean()
    assert missing == pytest.approx(0.3, abs=0.01)
    np.testing.assert_allclose(coarse[~np.isnan(coarse)], 900, rtol=1e-5)
    with pytest.raises(UsageError, match="coarser"):
        through(np.ones((1, 48, 48)))
    with pytest.raises(UsageError, match="px <= size"):
        through(np.ones((1, 600, 600)), 513, 512)


def test_r037_the_kernel_is_recorded_and_masks_follow() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(1, 3000, (2, 2, 128, 128)).astype(np.uint16)
    masks = np.zeros((2, 128, 128), np.uint8)
    masks[:, 32:64, 16:48] = 1
    dataset = make({"site": list("ab")}, images=images, masks=masks)
    ready = prepared(dataset, TARGET)
    image, mask = ready[0]
    assert image.shape == (2, 512, 512)
    assert mask.shape == (512, 512)
    np.testing.assert_array_equal(mask, masks[0].repeat(4, 0).repeat(4, 1))
    record = ready.provenance["preparation"]
    assert (record["kernel"], record["through_px"], record["size_px"]) == (KERNEL, 95, 512)
    assert record["matched"]["low"] == [300.0, 800.0]
    json.dumps(record)


def _unit(seed: int = 0, bands: int = 3, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 0.6, (bands, size, size)).astype(np.float32)


def test_r039_ranges_and_probabilities_are_the_seeds() -> None:
    how, rng = SatelliteAugmentation(), np.random.default_rng(0)
    draws = [how.draw(rng) for _ in range(8000)]
    brightness = np.array([d.brightness for d in draws])
    contrast = np.array([d.contrast for d in draws])
    for values in (brightness, contrast):
        assert 0.85 <= values.min() < 0.855
        assert 1.145 < values.max() <= 1.15
    hazy = np.array([d.transmission < 1 for d in draws])
    assert hazy.mean() == pytest.approx(0.30, abs=0.02)
    transmission = np.array([d.transmission for d in draws])[hazy]
    airlight = np.array([d.airlight for d in draws])
    assert 0.7 <= transmission.min() < 0.705
    assert 0.8 <= airlight.min() <= airlight.max() <= 1.0
    # The eight symmetries of the square, all equally likely; no other angle.
    kinds, counts = np.unique([TURNS.index(d.turn) for d in draws], return_counts=True)
    assert kinds.tolist() == list(range(8))
    assert counts.min() > 0.1 * 8000


def test_r039_noise_has_a_deviation_of_002_on_unit_values() -> None:
    flat = np.full((3, 200, 200), 0.5, np.float32)
    draw = Draw(turn=Turn(), noise=SatelliteAugmentation().noise, noise_seed=4)
    assert float(draw.image(flat).std()) == pytest.approx(0.02, abs=0.002)
    many = [SatelliteAugmentation().draw(np.random.default_rng(i)) for i in range(20)]
    for made in many:
        # Of a flat image everything else makes a flat image.
        assert float(made.image(flat * 0.8).std()) == pytest.approx(0.02, abs=0.002)


def test_r039_formulas() -> None:
    image = _unit()
    np.testing.assert_allclose(Draw(turn=Turn(), brightness=1.15).image(image), image * 1.15, rtol=1e-6)
    contrast = Draw(turn=Turn(), contrast=0.85).image(image)
    mean = image.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(contrast, mean + (image - mean) * 0.85, rtol=1e-5)
    hazy = Draw(turn=Turn(), transmission=0.7, airlight=0.9).image(image)
    np.testing.assert_allclose(hazy, image * 0.7 + 0.9 * 0.3, rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(16, 16), (10, 18)]))
def test_r039_labels_are_turned_as_their_image(seed: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 2, shape).astype(np.uint8)
    image = np.stack([0.2 + 0.6 * mask, np.full(shape, 0.5)]).astype(np.float32)
    draw = SatelliteAugmentation(noise=0.0).draw(rng)
    made, label = draw.image(image), draw.mask(mask)
    assert made.shape[1:] == label.shape
    # Whatever the light, what was bright is brighter than what was dark, at the same pixel.
    assert np.all((made[0] > made[0].mean()) == (label == 1)) or label.min() == label.max()
    assert 0 <= made.min() <= made.max() <= 1


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_r039_turns_are_rearrangements(turn: Turn) -> None:
    image = _unit()
    turned = turn(image)
    np.testing.assert_array_equal(np.sort(turned, axis=None), np.sort(image, axis=None))
    np.testing.assert_array_equal(turned[0], turn(image[0]))


def test_r039_flips_are_what_they_are_called() -> None:
    image = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(Turn(0, True)(image), np.fliplr(image))
    np.testing.assert_array_equal(Turn(2, True)(image), np.flipud(image))
    np.testing.assert_array_equal(Turn(1)(image), np.rot90(image))


@pytest.mark.parametrize("bad", [_unit() * 10_000, _unit() - 0.5, (_unit() - 0.45) / 0.2])
def test_f24_only_unit_values_are_augmented(bad: np.ndarray) -> None:
    with pytest.raises(UsageError, match="0 to 1"):
        SatelliteAugmentation().draw(np.random.default_rng(0)).image(bad)


def test_missing_pixels_stay_missing() -> None:
    image = _unit()
    image[:, :4] = np.nan
    made = Draw(turn=Turn(2), contrast=1.1, noise=0.02).image(image)
    assert np.isnan(made[:, -4:]).all()
    assert np.isfinite(made[:, :-4]).all()
    assert np.isnan(Draw(turn=Turn()).image(np.full((1, 2, 2), np.nan))).all()


def test_r038_five_copies_of_each_with_their_parents() -> None:
    dataset = make({"site": list("aab"), "crs": "EPSG:32630", "left": 0.0})
    copies = augmented(dataset, seed=3)
    assert len(copies) == 15
    assert copies.samples["id"].tolist()[:6] == [*(f"s0000_aug{i}" for i in range(1, 6)), "s0001_aug1"]
    assert copies.parents().tolist() == np.repeat(["s0000", "s0001", "s0002"], 5).tolist()
    assert copies.samples["site"].tolist() == list("a" * 10 + "b" * 5)
    assert "left" not in copies.samples, "a turned image does not lie where its parent lay"
    first = copies[0][0]
    assert first.dtype == dataset[0][0].dtype
    assert copies.provenance["augmentation"]["copies"] == 5
    twice = augmented(copies, 1)
    assert set(twice.parents()) == {"s0000", "s0001", "s0002"}, "grandchildren name the first sample"


def test_r038_copies_do_not_depend_on_order_but_on_the_seed() -> None:
    dataset = make({"site": list("aab")})
    one, other = augmented(dataset, 2, seed=1), augmented(dataset.subset([2, 0]), 2, seed=1)
    np.testing.assert_array_equal(one[4][0], other[0][0])
    np.testing.assert_array_equal(one[4][0], one[4][0])
    assert not np.array_equal(one[4][0], augmented(dataset, 2, seed=2)[4][0])


def test_r038_nodata_stays_and_no_pixel_becomes_it() -> None:
    images = np.full((1, 2, 16, 16), 40, np.uint16)
    images[:, :, :3] = 0
    for copy in range(5):
        made = augmented(make({"site": ["a"]}, images=images), 5)[copy][0]
        assert (made == 0).sum() == (images == 0).sum()
    with pytest.raises(UsageError, match="counts as 1"):
        augmented(make({"site": ["a"]}, images=images, units="digital number"))
    with pytest.raises(UsageError, match="copies"):
        augmented(make({"site": ["a"]}), 0)


def test_r128_39_tiles_become_195() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(1, 3000, (39, 4, 16, 16)).astype(np.uint16)
    masks = rng.integers(0, 4, (39, 16, 16)).astype(np.uint8)
    made = flips_and_rotations(make({"site": [f"t{i}" for i in range(39)]}, images=images, masks=masks))
    assert len(made) == 195
    assert made.samples["id"].is_unique
    assert made.parents().nunique() == 39, "F39: independent tiles are as many as before"
    assert len(set(FLIPS_AND_ROTATIONS)) == 5
    np.testing.assert_array_equal(made[0][0], images[0])
    for k, turn in enumerate(FLIPS_AND_ROTATIONS):
        image, mask = made[5 * 7 + k]
        np.testing.assert_array_equal(image, turn(images[7]))
        np.testing.assert_array_equal(mask, turn(masks[7]))
