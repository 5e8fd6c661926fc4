"""Workers of several threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from minescale.engine import run as engine
from minescale.engine.task import TileJob
from minescale.planning.run_dir import RunDir
from tests.engine.conftest import MakePlan


@pytest.mark.parametrize("threads", [1, 2])
def test_only_a_worker_of_one_thread_begins_its_next_tile(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    submitted: list[Any] = []
    submit = engine._Execution._submit

    def noting(self: Any, jobs: Any, *rest: Any) -> Any:
        submitted.extend(jobs)
        return submit(self, jobs, *rest)

    monkeypatch.setattr(engine._Execution, "_submit", noting)
    with LocalCluster(
        n_workers=1, threads_per_worker=threads, processes=False, dashboard_address=None, silence_logs=40
    ) as cluster:
        plan = make_plan(**{"engine.cluster": cluster.scheduler_address})
        folder = RunDir(str(tmp_path / "out"))
        folder.save_plan(plan)
        report = engine.run_plan(plan, folder)
    assert report.failed == report.remaining == 0
    tiles = [job for job in submitted if isinstance(job, TileJob)]
    assert len(tiles) > 4
    assert any(job.following for job in tiles) == (threads == 1)
