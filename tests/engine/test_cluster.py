"""Where tiles run: a scheduler that is already there, chained halves on GPU workers, addresses that lead nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from minescale import api
from minescale.config import EngineConfig
from minescale.engine.cluster import connect, memory_limit_bytes, worker_count
from minescale.errors import RemoteUnreachable, UsageError
from tests.engine.conftest import MakePlan
from tests.trees import mosaic_digests


def test_chained_halves_write_the_same_bytes(make_plan: MakePlan, tmp_path: Path) -> None:
    """Workers that announce a GPU get the model half as a task of its own (its arithmetic stays on the CPU here)."""
    from distributed import LocalCluster

    settings = {"grid.tile_size": 512, "store.chunk": 512}
    fused = make_plan(**settings)
    api.run(fused, tmp_path / "fused")
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", resources={"GPU": 1}
    ) as cluster:
        chained = make_plan(**settings, **{"engine.cluster": cluster.scheduler_address})
        assert "://" in cluster.scheduler_address
        api.run(chained, tmp_path / "chained")
    assert mosaic_digests(tmp_path / "fused" / "mosaic.zarr") == mosaic_digests(tmp_path / "chained" / "mosaic.zarr")


def test_scheduler_file_is_followed(make_plan: MakePlan, tmp_path: Path) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster:
        file = tmp_path / "scheduler.json"
        file.write_text(f'{{"address": "{cluster.scheduler_address}"}}')
        with connect(EngineConfig(cluster=str(file))) as client:
            assert client.submit(int, "7").result() == 7


def test_addresses_that_lead_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("minescale.engine.cluster._CONNECT_TIMEOUT_S", 1)
    with pytest.raises(RemoteUnreachable) as caught, connect(EngineConfig(cluster="tcp://127.0.0.1:9")):
        pass
    assert caught.value.exit_code == 5
    with pytest.raises(UsageError), connect(EngineConfig(cluster="kubernetes")):
        pass


def test_local_workers_share_the_machine() -> None:
    assert worker_count(EngineConfig(workers=3)) == 3
    assert memory_limit_bytes(EngineConfig(memory_limit_gb=1.5)) == 1_500_000_000
    half = memory_limit_bytes(EngineConfig(workers=4))
    assert half == pytest.approx(memory_limit_bytes(EngineConfig(workers=2)) / 2, rel=0.01)
