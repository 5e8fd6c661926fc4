"""Several processes that train one model, each on its share of every step, as ``torchrun`` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from minescale.errors import ModelError


@dataclass(frozen=True, slots=True)
class World:
    """This process among its peers."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Number of the process on its machine: which GPU is its own."""

    @property
    def first(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    def average(self, parameters: Iterable[Tensor]) -> None:
        """Replace gradients by their mean over all processes: one message, whatever the number of tensors."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def same_buffers(self, network: torch.nn.Module) -> None:
        """Replace running statistics by their mean over all processes, so that all validate one network."""
        if self.size == 1:
            return
        for buffer in network.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer.div_(self.size)

    def gathered(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks, on each of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def any(self, value: bool) -> bool:
        """Whether it is true for some process."""
        return any(self.gathered(value))

    def wait(self) -> None:
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, by its environment; alone where it started none.

    Raises
    ------
    ModelError
        where the environment does not make sense.
    """
    if int(os.environ.get("WORLD_SIZE") or "1") == 1:
        yield World()
        return
    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local = int(os.environ.get("LOCAL_RANK", rank))
    except (KeyError, ValueError) as error:
        raise ModelError("WORLD_SIZE is set, but not as torchrun does", got=error, fix="torchrun ...") from error
    if device == "cuda":
        torch.cuda.set_device(local)  # else all processes' messages between GPUs go by the first
    mine = not dist.is_initialized()
    if mine:
        dist.init_process_group("gloo" if device == "cpu" else "nccl", rank=rank, world_size=size)
    try:
        yield World(rank, size, local)
    finally:
        if mine:
            dist.destroy_process_group()
