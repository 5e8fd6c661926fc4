"""The loop: the same seed gives the same weights, whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from minescale.errors import ModelError
from minescale.labels.sets.units import as_reflectance
from minescale.models.network import InputScaling, build_network, out_of_memory
from minescale.models.unet import UNet
from minescale.training.batches import ValBatches
from minescale.training.checkpoint import CHECKPOINT
from minescale.training.loop import BEST, FINAL
from minescale.training.losses import Loss
from minescale.training.parallel import World
from minescale.training.progress import EpochDone, Event, Note
from minescale.training.samples import Samples
from tests.training.toys import pixel_set, split_of
from tests.training.worker import fit


def spawn(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.worker", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def weights(folder: Path, name: str = FINAL) -> dict[str, np.ndarray]:
    return load_file(folder / name)


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        np.testing.assert_array_equal(tensor, other[name], err_msg=name)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As many as in the processes beside: sums in another order are other sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    fit(folder, {})
    return folder


def test_the_same_seed_gives_the_same_weights(trained: Path, tmp_path: Path) -> None:
    fit(tmp_path / "again", {})
    assert_equal(weights(trained), weights(tmp_path / "again"))
    fit(tmp_path / "other", {"seed": 1})
    assert any(
        (a != b).any() for a, b in zip(weights(trained).values(), weights(tmp_path / "other").values(), strict=True)
    )


def test_a_killed_training_goes_on_to_the_same_weights(trained: Path, tmp_path: Path) -> None:
    victim = spawn(tmp_path, "kill=2:2")
    _, said = victim.communicate(timeout=240)
    assert victim.returncode == -signal.SIGKILL, said
    events: list[Event] = []
    fitted = fit(tmp_path, {}, events.append)
    assert len([e for e in events if isinstance(e, EpochDone)]) == 2
    assert [e.message for e in events if isinstance(e, Note)] == ["continuing after epoch 1"]
    assert_equal(weights(trained), weights(tmp_path))
    assert_equal(weights(trained, BEST), weights(tmp_path, BEST))
    assert fitted is not None
    assert [record["epoch"] for record in fitted.history["epochs"]] == [1, 2, 3]


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Each has half of what one process would take in two batches; running statistics of norms apart."""
    fit(tmp_path / "one", {"batch.accumulate": 2, "optimiser.ema": 0, "run.epochs": 2})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared = (tmp_path / "two", "optimiser.ema=0", "run.epochs=2")
    processes = [spawn(*shared, RANK=str(rank), LOCAL_RANK=str(rank), **group) for rank in (0, 1)]
    for process in processes:
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    learnt = [name for name in one if "running" not in name and "batches" not in name]
    assert len(learnt) > 10
    for name in learnt:
        np.testing.assert_allclose(one[name], two[name], atol=1e-5, err_msg=name)


def test_best_weights_give_the_loss_they_were_chosen_by(trained: Path, tmp_path: Path) -> None:
    fitted = fit(tmp_path, {})
    assert fitted is not None
    best = min(record["val_loss"] for record in fitted.history["epochs"])
    network = build_network(fitted.spec)
    network.load_state_dict({k: torch.from_numpy(v) for k, v in weights(tmp_path, BEST).items()})
    network.eval()
    dataset = pixel_set(n=20, size=16)
    samples = Samples.of(as_reflectance(split_of(dataset).of(dataset, "val")), "pixels")
    loss, scaling = Loss.of(_settings(), 1), InputScaling(fitted.spec)
    cpu = torch.device("cpu")
    batches = ValBatches(samples=samples, size=3, stride=32, device=cpu, world=World())
    with torch.inference_mode():
        values = [(float(loss(network(scaling(b.images)), b.labels)), len(b.names)) for b in batches]
    assert sum(v * n for v, n in values) / sum(n for _, n in values) == pytest.approx(best, abs=1e-6)


def _settings():
    from tests.training.toys import settings

    return settings("unet").loss


def test_a_loss_that_is_no_number_names_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loss, "__call__", lambda self, logits, labels: logits.sum() * float("nan"))
    with pytest.raises(ModelError, match=r"no number in epoch 1(?s:.)*s0\d\d, s0\d\d"):
        fit(tmp_path, {})
    assert not (tmp_path / BEST).exists()


def test_a_failed_allocation_is_short_memory() -> None:
    with pytest.raises(RuntimeError) as failed:
        torch.empty(10**14)
    assert out_of_memory(failed.value)
    for text in ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling", "CUDA error: out of memory"):
        assert out_of_memory(RuntimeError(text))
    assert not out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_short_memory_makes_batches_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, most = UNet.forward, 1

    def short(self: UNet, x: torch.Tensor) -> torch.Tensor:
        if self.training and len(x) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, x)

    monkeypatch.setattr(UNet, "forward", short)
    events: list[Event] = []
    fitted = fit(tmp_path, {"run.epochs": 1}, events.append)
    assert fitted is not None
    said = [event.message for event in events if isinstance(event, Note)]
    assert said == [f"out of memory: {n} samples at once from here on, gradients accumulated" for n in (2, 1)]
    assert [note.partition(": ")[2] for note in fitted.facts["notes"]] == said

    most = 0
    with pytest.raises(ModelError, match="memory is too short"):
        fit(tmp_path / "hopeless", {"run.epochs": 1})


def test_short_memory_in_validation_makes_its_batches_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, most = UNet.forward, 1
    whole = fit(tmp_path / "whole", {"run.epochs": 1})

    def short(self: UNet, x: torch.Tensor) -> torch.Tensor:
        if not self.training and len(x) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, x)

    monkeypatch.setattr(UNet, "forward", short)
    fitted = fit(tmp_path / "short", {"run.epochs": 1})
    assert whole is not None
    assert fitted is not None
    assert len(fitted.facts["notes"]) == 2
    (one,), (other,) = whole.history["epochs"], fitted.history["epochs"]
    assert one["val_accuracy"] == other["val_accuracy"]

    most = 0
    with pytest.raises(ModelError, match="memory is too short to validate"):
        fit(tmp_path / "hopeless", {"run.epochs": 1})


def test_a_validation_that_gives_no_number_names_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = UNet.forward

    def broken(self: UNet, x: torch.Tensor) -> torch.Tensor:
        return forward(self, x) * (1.0 if self.training else float("nan"))

    monkeypatch.setattr(UNet, "forward", broken)
    with pytest.raises(ModelError, match=r"loss on val is no number in epoch 1(?s:.)*s003"):
        fit(tmp_path, {})
    assert not (tmp_path / BEST).exists()


def test_early_stopping_counts_epochs_without_a_better_one(tmp_path: Path) -> None:
    fitted = fit(tmp_path, {"run.epochs": 30, "run.patience": 2, "optimiser.lr": 1e-8, "run.monitor": "val_auc"})
    assert fitted is not None
    epochs = fitted.history["epochs"]
    assert len(epochs) < 30
    assert len(epochs) == fitted.facts["best_epoch"] + 2


def test_the_last_epoch_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    changes = {"run.epochs": 6, "run.monitor": "last", "optimiser.lr": 1e-8}
    fitted = fit(tmp_path, changes)
    assert fitted is not None
    assert fitted.facts["best_epoch"] == 6
    losses = [epoch["val_loss"] for epoch in fitted.history["epochs"]]
    assert losses[-1] > min(losses), "the last epoch is the best here: no test"
    assert_equal(weights(tmp_path, BEST), weights(tmp_path, FINAL))


def test_another_training_is_not_continued(trained: Path) -> None:
    with pytest.raises(ModelError, match="other settings"):
        fit(trained, {"optimiser.lr": 0.02})


def test_a_broken_checkpoint_is_told(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    with pytest.raises(ModelError, match="cannot be read"):
        fit(tmp_path, {})
    fit(tmp_path, {"run.epochs": 1}, resume=False)
    assert (tmp_path / FINAL).is_file()


def test_history_is_json(trained: Path) -> None:
    fitted = fit(trained, {})
    assert fitted is not None
    for record in json.loads(json.dumps(fitted.history, allow_nan=False))["epochs"]:
        assert set(record) == {
            *("epoch", "lr", "seconds", "train_loss", "train_accuracy"),
            *("val_loss", "val_accuracy", "val_f1", "val_auc"),
        }
