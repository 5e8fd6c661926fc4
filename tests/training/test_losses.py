"""Losses: gradients, identities, weights, and labels that do not count."""

from __future__ import annotations

import pytest
import torch

from minescale.errors import ConfigError
from minescale.training.config import LossConfig
from minescale.training.losses import IGNORED, Loss, log_odds, parse_terms

TERMS = ("cross_entropy", "bce", "focal", "dice", "tversky", "lovasz")


def made(terms: str, target: int = 1, weights: list[float] | None = None, **settings: float) -> Loss:
    return Loss.of(LossConfig(terms=terms, **settings), target, weights)


def batch(classes: int = 2, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((3, classes, 4, 5), generator=generator, dtype=dtype)
    labels = torch.randint(classes, (3, 4, 5), generator=generator)
    labels[0, 0, :3] = IGNORED
    return logits, labels


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("terms", [*TERMS, "cross_entropy + 0.5 dice"])
def test_gradient(terms: str, classes: int) -> None:
    logits, labels = batch(classes, dtype=torch.float64)
    loss = made(terms, alpha=0.3, beta=0.7)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), logits.requires_grad_(), atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("terms", TERMS)
def test_ignored_labels_change_nothing(terms: str, classes: int) -> None:
    logits, labels = batch(classes)
    loss, counted = made(terms), labels != IGNORED
    other = torch.where(counted[:, None], logits, logits + 37.0 * torch.randn_like(logits))
    assert torch.allclose(loss(logits, labels), loss(other, labels))
    kept = logits.movedim(1, -1)[counted]
    assert torch.allclose(loss(logits, labels), loss(kept, labels[counted]))


@pytest.mark.parametrize("terms", TERMS)
def test_better_logits_cost_less(terms: str) -> None:
    _, labels = batch()
    right = torch.nn.functional.one_hot(labels.clamp(min=0), 2).movedim(-1, 1).float()
    loss = made(terms)
    values = [float(loss(sharpness * (right - 0.5), labels)) for sharpness in (-8, 0, 4, 40)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0, abs=1e-3)


def test_tversky_of_halves_is_dice() -> None:
    logits, labels = batch()
    halves = made("tversky", alpha=0.5, beta=0.5)
    assert torch.equal(halves(logits, labels), made("dice")(logits, labels))
    counted = labels != IGNORED
    p = torch.softmax(logits, 1)[:, 1][counted]
    truth = (labels[counted] == 1).float()
    by_hand = 1 - (2 * (p * truth).sum() + 2) / (p.sum() + truth.sum() + 2)
    assert torch.allclose(made("dice")(logits, labels), by_hand)


def test_alpha_weighs_false_positives_and_beta_misses() -> None:
    labels = torch.tensor([1, 0, 0, 0])
    alarms = torch.tensor([[-9.0, 9], [-9, 9], [-9, 9], [9, -9]])
    missed = torch.tensor([[9.0, -9], [9, -9], [9, -9], [9, -9]])
    counts = {"alarms": (1, 2, 0), "missed": (0, 0, 1)}
    for name, logits in (("alarms", alarms), ("missed", missed)):
        tp, fp, fn = counts[name]
        found = float(made("tversky", alpha=0.3, beta=0.7)(logits, labels))
        assert found == pytest.approx(1 - (tp + 1) / (tp + 0.3 * fp + 0.7 * fn + 1), abs=1e-5)


def test_focal_without_power_is_cross_entropy() -> None:
    logits, labels = batch(3)
    assert torch.allclose(made("focal", gamma=0.0)(logits, labels), made("cross_entropy")(logits, labels))
    assert made("focal", gamma=2.0)(logits, labels) < made("cross_entropy")(logits, labels)


def test_bce_of_two_classes_is_cross_entropy_and_of_one_logit_the_usual_one() -> None:
    logits, labels = batch()
    assert torch.allclose(made("bce")(logits, labels), made("cross_entropy")(logits, labels))
    z = torch.tensor([0.3, -2.0, 4.0])
    usual = torch.nn.functional.binary_cross_entropy_with_logits(z, torch.tensor([1.0, 0.0, 1.0]))
    both = torch.stack([torch.zeros(3), z], dim=1)
    assert torch.allclose(made("bce")(both, torch.tensor([1, 0, 1])), usual)


def test_lovasz_of_certain_answers_is_the_jaccard_loss() -> None:
    labels = torch.tensor([1, 1, 1, 0, 0, 0])
    answers = torch.tensor([1, 1, 0, 1, 0, 0])
    logits = 60.0 * (torch.nn.functional.one_hot(answers, 2) - 0.5)
    assert float(made("lovasz")(logits, labels)) == pytest.approx(1 - 2 / 4, abs=1e-5)


def test_weights_of_classes() -> None:
    logits, labels = batch()
    usual = torch.nn.functional.cross_entropy(logits, labels, torch.tensor([0.2, 0.8]), ignore_index=IGNORED)
    for terms in ("cross_entropy", "bce"):
        assert torch.allclose(made(terms, weights=[0.2, 0.8])(logits, labels), usual)


def test_a_batch_without_labels_costs_nothing() -> None:
    logits = torch.randn(2, 2, 3, 3, requires_grad=True)
    loss = made("cross_entropy + dice")(logits, torch.full((2, 3, 3), IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert float(logits.grad.abs().sum()) == 0


def test_log_odds_are_those_of_the_softmax() -> None:
    logits = torch.randn(5, 4)
    p = torch.softmax(logits, 1)[:, 2]
    assert torch.allclose(log_odds(logits, 2), torch.log(p / (1 - p)), atol=1e-5)


@pytest.mark.parametrize("text", ["", "dice +", "crossentropy", "dice * 2", "-1 dice"])
def test_terms_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_terms(text)


def test_an_unknown_loss_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="cross_entropy"):
        parse_terms("cross_entrpy + dice")
    assert parse_terms("cross_entropy + 0.5 dice+2*focal") == ((1, "cross_entropy"), (0.5, "dice"), (2, "focal"))
