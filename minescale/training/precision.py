"""Number formats of forward passes: float32, or half as wide on devices that are faster with it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_WIDTHS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(slots=True)
class Precision:
    """Autocast, and for float16 the scaling of gradients that would vanish otherwise."""

    device: torch.device
    width: torch.dtype | None
    """None: float32."""
    scaler: Any

    @classmethod
    def of(cls, name: str, device: torch.device) -> Precision:
        """``auto``: bfloat16 on a GPU that has it, else float32."""
        if name == "auto":
            name = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
        scaler = torch.amp.GradScaler(device.type, enabled=name == "float16" and device.type == "cuda")
        return cls(device, _WIDTHS.get(name), scaler)

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=self.width or torch.bfloat16, enabled=self.width is not None)

    def scaled(self, loss: Tensor) -> Tensor:
        scaled: Tensor = self.scaler.scale(loss)
        return scaled

    def unscale(self, optimiser: torch.optim.Optimizer) -> None:
        self.scaler.unscale_(optimiser)

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        self.scaler.step(optimiser)
        self.scaler.update()

    def state(self) -> dict[str, Any]:
        return dict(self.scaler.state_dict())

    def load(self, state: Mapping[str, Any]) -> None:
        if state:
            self.scaler.load_state_dict(dict(state))
