"""Tiles that do nothing, in a module of their own so that workers of a real cluster can import them."""

from __future__ import annotations

from typing import Any

from minescale.engine.task import FillJob, FillResult, TileResult


def fake_result(job: Any, seconds: float, scores: Any = None) -> TileResult | FillResult:
    """A made-up answer of the real kind and size."""
    if isinstance(job, FillJob):
        return FillResult(time=job.time, rows=tuple((key, 0, 0, 0.0) for key in job.keys))
    return TileResult(
        time=job.time,
        key=job.key,
        n_scenes=len(job.scenes),
        layers_used=12,
        bytes_read=1,
        requests=1,
        seconds=seconds,
        cpu_seconds=seconds,
        max_probability=0.5,
        clear_share=1.0,
        seen_px=1,
        mine_px=0,
        scores=scores,
        losses=(),
        unmasked=(),
        doubts=(),
        peak_rss=1,
    )


def fake_tile(job: Any) -> TileResult | FillResult:
    """In place of ``process_tile``."""
    return fake_result(job, 0.0)


def fake_batch(jobs: tuple[Any, ...]) -> tuple[TileResult | FillResult, ...]:
    """In place of ``process_batch``."""
    return tuple(fake_tile(job) for job in jobs)
