"""Train a toy in a process of its own: ``python -m tests.training.worker OUT [KEY=VALUE ...] [kill=EPOCH:STEP]``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from minescale.labels.sets.units import as_reflectance
from minescale.training.fitted import Fitted
from minescale.training.progress import Event, Listener, StepDone, silent
from minescale.training.torch_fit import fit_torch
from tests.training.toys import pixel_set, settings, split_of

BASE = {
    "run.epochs": 3,
    "batch.size": 3,
    "optimiser.ema": 0.9,
    "schedule.name": "one_cycle",
    "augment.noise": 0.01,
    "augment.brightness": 0.1,
}


def fit(out: Path, changes: dict[str, object], tell: Listener = silent, *, resume: bool = True) -> Fitted | None:
    """The toy that all tests of the loop train; the folder is made."""
    dataset = pixel_set(n=20, size=16)
    split = split_of(dataset)
    parts = [as_reflectance(split.of(dataset, part)) for part in ("train", "val")]
    config = settings("unet", **{**BASE, **changes})
    out.mkdir(parents=True, exist_ok=True)
    return fit_torch(dataset, *parts, config, out, device="cpu", tell=tell, resume=resume)


def main() -> None:
    out, *rest = sys.argv[1:]
    changes = dict(text.split("=", 1) for text in rest)
    at = tuple(int(part) for part in changes.pop("kill", "0:0").split(":"))

    def tell(event: Event) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    fit(Path(out), dict(changes), tell)


if __name__ == "__main__":
    main()
