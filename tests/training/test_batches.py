"""Batches: what an epoch draws, what validation sees, and which samples are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minescale.errors import ModelError, UsageError
from minescale.labels.preparation.atmosphere import atmosphere, rayleigh_depth, to_surface, to_toa, wavelength_nm
from minescale.labels.sets.dataset import Dataset
from minescale.training.augmentation import Augmentation, check_airlight
from minescale.training.batches import Batch, TrainBatches, ValBatches, mixed
from minescale.training.config import AugmentConfig, BatchConfig, ConfigError
from minescale.training.losses import IGNORED
from minescale.training.parallel import World
from minescale.training.samples import Samples, class_counts
from minescale.training.scaling import constants
from tests.training.toys import BANDS, chip_set, pixel_set

CPU = torch.device("cpu")
PLAIN = AugmentConfig(turns=False)


def batches(dataset: Dataset, how: AugmentConfig = PLAIN, world: World | None = None, **changes: Any) -> TrainBatches:
    samples = Samples.of(dataset, "pixels" if dataset.reader.mask(0) is not None else "chips")
    return TrainBatches(
        samples=samples,
        has_target=class_counts(samples)[1][:, 1],
        target=1,
        settings=BatchConfig(**{"size": 4, **changes}),
        augmentation=Augmentation(settings=how, bands=dataset.bands, toa=False),
        seed=3,
        stride=8,
        device=CPU,
        world=world or World(),
    )


def names(drawn: TrainBatches, epoch: int = 1) -> list[str]:
    return [name for step in drawn.epoch(epoch) for batch in step for name in batch.names]


def same(one: Batch, other: Batch) -> bool:
    if one.others is not None and not (other.others is not None and torch.equal(one.others, other.others)):
        return False
    tensors = (one.images, one.labels), (other.images, other.labels)
    return (one.names, one.share) == (other.names, other.share) and all(map(torch.equal, *tensors))


def test_an_epoch_draws_every_sample_once_in_another_order_each_time() -> None:
    drawn = batches(chip_set(n=20))
    first = names(drawn)
    assert sorted(first) == [f"s{i:03d}" for i in range(20)]
    assert names(drawn) == first
    assert names(drawn, 2) != first
    assert len(names(batches(chip_set(n=20), crops=3))) == 60


def test_a_set_smaller_than_a_step_fills_it() -> None:
    drawn = batches(chip_set(n=15), size=16, accumulate=2)
    assert drawn.steps == 1
    assert len(names(drawn)) == 32
    assert set(names(drawn)) == {f"s{i:03d}" for i in range(15)}


def test_processes_share_a_step() -> None:
    how = AugmentConfig(noise=0.01, brightness=0.1, mixup=0.4)
    alone = [b for step in batches(pixel_set(n=16, size=16), how, accumulate=2).epoch(1) for b in step]
    shared = [
        [b for step in batches(pixel_set(n=16, size=16), how, World(rank, 2)).epoch(1) for b in step] for rank in (0, 1)
    ]
    for number, batch in enumerate(alone):
        assert same(batch, shared[number % 2][number // 2])


def test_crops_are_centred_on_the_target_as_often_as_asked() -> None:
    dataset = pixel_set(n=12, size=64)

    def share(wanted: float) -> float:
        drawn = batches(dataset, size=12, crop=8, crops=20, positive_share=wanted)
        labels = torch.cat([b.labels for step in drawn.epoch(1) for b in step])
        assert labels.shape[1:] == (8, 8)
        return float((labels == 1).flatten(1).any(dim=1).float().mean())

    assert share(0.0) < 0.25
    assert share(1.0) > 0.95


def test_chips_with_the_target_are_drawn_as_often_as_asked() -> None:
    labels = torch.cat([b.labels for s in batches(chip_set(), crops=20, positives=0.7).epoch(1) for b in s])
    assert float((labels == 1).float().mean()) == pytest.approx(0.7, abs=0.04)


def test_small_images_are_filled_up_and_large_steps_padded() -> None:
    ((batch,), *_) = batches(pixel_set(size=16), crop=20).epoch(1)
    assert batch.images.shape == (4, 4, 24, 24)
    assert (batch.images[:, :, 16:] == 0).all()
    assert (batch.labels[:, :, 16:] == IGNORED).all()


def test_validation_is_whole_unchanged_and_the_same_each_time() -> None:
    dataset = pixel_set(n=5, size=20)
    val = ValBatches(samples=Samples.of(dataset, "pixels"), size=3, stride=8, device=CPU, world=World())
    first, second = list(val), list(val)
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    assert [len(b.names) for b in first] == [3, 2]
    np.testing.assert_allclose(first[0].images[1, :, :20, :20], dataset.reader.image(1) * 1e-4, rtol=1e-6)
    assert (first[0].labels[:, 20:] == IGNORED).all()
    halves = [list(ValBatches(samples=val.samples, size=3, stride=8, device=CPU, world=World(r, 2))) for r in (0, 1)]
    assert [h[0].names for h in halves] == [b.names for b in first]


def test_pixels_without_data_do_not_count() -> None:
    dataset = pixel_set(n=8, size=16)
    dataset.reader.images[:, 2, :4] = 0  # type: ignore[attr-defined]
    ((batch,), *_) = batches(dataset, AugmentConfig(noise=0.05, band_offset=0.05, zoom=0.2)).epoch(1)
    unseen = (batch.images == 0).any(dim=1)
    assert unseen.any()
    assert (batch.images.amax(dim=1)[unseen] == 0).all()
    ((still,), *_) = batches(dataset).epoch(1)
    assert (still.labels[:, :4] == IGNORED).all()


def test_turns_move_labels_with_the_image() -> None:
    dataset = pixel_set(n=16, size=16)
    bright = 0.17
    for step in batches(dataset, AugmentConfig(turns=True), size=8).epoch(1):
        for batch in step:
            assert torch.equal(batch.images[:, 2] > bright, batch.labels == 1)
    plain = {name: b.images[i] for s in batches(dataset).epoch(1) for b in s for i, name in enumerate(b.names)}
    moved = [
        torch.equal(image, plain[name])
        for s in batches(dataset, AugmentConfig(turns=True)).epoch(1)
        for b in s
        for name, image in zip(b.names, b.images, strict=True)
    ]
    assert not all(moved)


def test_changes_do_not_depend_on_how_a_batch_is_cut() -> None:
    how = AugmentConfig(noise=0.01, brightness=0.2, contrast=0.2, haze=0.5, band_gain=0.1, zoom=0.1, atmosphere=0.5)
    augmentation = Augmentation(settings=how, bands=BANDS, toa=True)
    draws = augmentation.draw(np.random.default_rng(0), 6)
    images, labels = torch.rand(6, 4, 8, 8) * 0.5 + 0.01, torch.zeros(6, 8, 8, dtype=torch.int64)
    whole, _ = augmentation(images, labels, draws)
    for part in (slice(0, 2), slice(2, 6)):
        torch.testing.assert_close(augmentation(images[part], labels[part], draws.part(part))[0], whole[part])
    assert float(whole.min()) > 0
    assert float(whole.max()) <= 1
    assert not torch.allclose(whole, images)


@given(st.integers(2, 9), st.floats(0.05, 5), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_mixtures_are_of_two_samples_with_their_labels(n: int, mixup: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.uniform(0.01, 1, (n, 2, 3, 3)).astype(np.float32))
    images[0, 1, 2, 2] = 0.0
    batch = Batch(images, torch.arange(n), tuple("abcdefghi"[:n]))
    found = mixed(batch, mixup, np.random.default_rng(seed))
    assert found.others is not None
    assert 0.5 <= found.share <= 1
    assert sorted(found.others.tolist()) == list(range(n))
    for row, other in enumerate(found.others.tolist()):
        wanted = found.share * images[row] + (1 - found.share) * images[other]
        if 0 in (row, other):
            wanted[:, 2, 2] = 0.0
        torch.testing.assert_close(found.images[row], wanted)
    parts = list(found.pieces(2))
    assert torch.cat([part.others for part in parts if part.others is not None]).equal(found.others)
    assert mixed(batch, 0.0, rng) is batch


def test_mixed_pixels_have_data_and_a_label_in_both() -> None:
    images = torch.full((3, 2, 2, 2), 0.5)
    images[0, 1, 0, 0] = 0.0
    labels = torch.tensor([[[IGNORED, 1], [1, 1]], [[0, 0], [0, IGNORED]], [[1, 1], [0, 0]]])
    found = mixed(Batch(images, labels, ("a", "b", "c")), 0.4, np.random.default_rng(1))
    assert found.others is not None
    counted = found.labels != IGNORED
    assert counted.equal(found.others != IGNORED)
    assert counted.equal((found.images.amin(dim=1) > 0) & counted)
    assert 0 < counted.sum() < counted.numel()


def test_another_atmosphere_is_blue_and_the_same_for_all_pixels() -> None:
    images, labels = torch.full((50, 4, 8, 8), 0.12), torch.zeros(50, dtype=torch.int64)
    for toa, rising in ((False, True), (True, False)):
        how = Augmentation(settings=AugmentConfig(turns=False, atmosphere=1.0), bands=BANDS, toa=toa)
        changed, _ = how(images, labels, how.draw(np.random.default_rng(1), 50))
        shift = (changed - images).mean(dim=(2, 3))
        assert (shift[:, 0] > 0).all() == rising
        assert (shift[:, 0].abs() > shift[:, 3].abs()).all()
        assert float(changed.std(dim=(2, 3)).max()) < 1e-6


def test_f24_haze_is_one_transmission_and_airlight_for_a_chip_before_any_scaling() -> None:
    """x t + A (1 - t) on reflectance, t of U(0.7, 1) and A of U(0.8, 1) unless settings say otherwise."""
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.uniform(0.02, 0.5, (200, 4, 2, 2)).astype(np.float32))
    how = Augmentation(settings=AugmentConfig(turns=False, haze=1.0), bands=BANDS, toa=False)
    changed, _ = how(images, torch.zeros(200, dtype=torch.int64), how.draw(rng, 200))
    flat, hazy = images.reshape(200, -1).double(), changed.reshape(200, -1).double()
    spread = flat - flat.mean(dim=1, keepdim=True)
    t = (spread * hazy).sum(dim=1) / (spread * spread).sum(dim=1)
    rest = hazy - flat * t[:, None]
    torch.testing.assert_close(rest, rest[:, :1].expand_as(rest), atol=1e-5, rtol=0)  # one for all bands and pixels
    airlight = rest[:, 0] / (1 - t)
    assert 0.7 - 1e-4 <= float(t.min()) < 0.72
    assert 0.98 < float(t.max()) <= 1 + 1e-4
    clear = t < 0.99  # beyond, the airlight is a quotient of two small numbers
    assert 0.8 - 1e-3 <= float(airlight[clear].min()) < 0.82
    assert 0.98 < float(airlight[clear].max()) <= 1 + 1e-3


@pytest.mark.parametrize("pair", [(0.0, 1.0), (0.9, 0.7), (0.5, 1.5)])
def test_haze_that_is_none(pair: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="transmission"):
        check_airlight(AugmentConfig(transmission=pair))


def test_optical_depth_of_the_air() -> None:
    """Against Hansen and Travis 1974 (doi:10.1007/BF00168069), eq. 2.30, for sea level."""
    micrometres = np.array([0.443, 0.49, 0.56, 0.665, 0.842, 1.61])
    other = 0.008569 * micrometres**-4 * (1 + 0.0113 * micrometres**-2 + 0.00013 * micrometres**-4)
    np.testing.assert_allclose(rayleigh_depth(micrometres * 1000), other, rtol=0.01)


def test_there_and_back_through_the_air() -> None:
    air = atmosphere(("blue", "red", "swir16"), np.array([20.0, 45.0]), np.array([0.0, 0.01]))
    ground = np.random.default_rng(0).uniform(0.01, 0.6, (2, 3, 4, 4))
    np.testing.assert_allclose(to_surface(to_toa(ground, air), air), ground, atol=1e-12)
    black = to_toa(np.zeros((2, 3, 1, 1)), air)[:, :, 0, 0]
    assert (np.diff(black, axis=1) < 0).all()
    assert 0.03 < black[0, 0] < 0.09
    assert black[0, 2] < 0.001


def test_air_that_cannot_be() -> None:
    assert wavelength_nm("t1_red") == wavelength_nm("red") == pytest.approx(665, abs=5)
    for zenith, aerosol in ((85.0, 0.0), (30.0, -0.1)):
        with pytest.raises(UsageError, match="zenith"):
            atmosphere(("red",), zenith, aerosol)
    with pytest.raises(UsageError, match="not known"):
        atmosphere(("infrablue",), 30.0)


def test_constants_are_those_of_the_pixels_with_data() -> None:
    dataset = pixel_set(n=4, size=16)
    images = dataset.reader.images  # type: ignore[attr-defined]
    images[:, :, :2] = 0
    mean, std = constants(Samples.of(dataset, "pixels"), 0.2, logarithm=False)
    seen = np.minimum(images[:, :, 2:] * 1e-4, 0.2)
    np.testing.assert_allclose(mean, seen.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std, seen.std(axis=(0, 2, 3)), rtol=1e-6)
    images[:, 1] = 700
    with pytest.raises(ModelError, match="green"):
        constants(Samples.of(dataset, "pixels"), 1.0, logarithm=True)


def spoilt(**changes: Any) -> Dataset:
    dataset = changes.pop("dataset")
    for name, value in changes.items():
        array = getattr(dataset.reader, name)
        array[2] = value
    return dataset


def test_unusable_samples_are_named() -> None:
    empty = Samples.of(spoilt(dataset=pixel_set(n=4), images=0), "pixels")
    with pytest.raises(ModelError, match="s002 has no pixel with data"):
        class_counts(empty)
    strange = Samples.of(spoilt(dataset=pixel_set(n=4), masks=7), "pixels")
    with pytest.raises(UsageError, match="s002"):
        class_counts(strange)
    unlabelled = chip_set(n=6)
    unlabelled.samples["label"] = [0, 1, None, 0, 1, 0]
    with pytest.raises(ModelError, match="s002 has no label"):
        class_counts(Samples.of(unlabelled, "chips"))
    one_sided = pixel_set(n=4)
    one_sided.reader.masks[:] = 0  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="mining"):
        class_counts(Samples.of(one_sided, "pixels"))


def test_labels_of_the_other_kind() -> None:
    with pytest.raises(ModelError, match="taught chips"):
        Samples.of(pixel_set(n=4), "chips")
    with pytest.raises(ModelError, match="taught pixels"):
        Samples.of(chip_set(n=4), "pixels")


def test_images_of_several_sizes_need_a_crop() -> None:
    dataset, images = pixel_set(n=4, size=16), [np.full((4, s, s), 900, np.uint16) for s in (16, 16, 24, 24)]
    masks = [np.pad(np.ones((8, 8), np.uint8), (0, s - 8)) for s in (16, 16, 24, 24)]

    class Sizes:
        def image(self, row: int) -> np.ndarray:
            return images[row]

        def mask(self, row: int) -> np.ndarray:
            return masks[row]

    object.__setattr__(dataset, "reader", Sizes())
    with pytest.raises(ModelError, match=r"batch\.crop"):
        list(batches(dataset).epoch(1))
    assert len(list(batches(dataset, crop=16).epoch(1))) == 1
    val = ValBatches(samples=Samples.of(dataset, "pixels"), size=4, stride=8, device=CPU, world=World())
    assert [b.images.shape[2] for b in val] == [16, 24]
