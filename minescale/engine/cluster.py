"""Where tiles run: a local cluster, this process's threads, or a scheduler that is already there."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from minescale.config import EngineConfig
from minescale.errors import RemoteUnreachable, UsageError

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
"""A worker is one core's worth of compute; libraries that start their own threads would fight over it."""

_CONNECT_TIMEOUT_S = 20

OWN_CLUSTER = {"distributed.scheduler.work-stealing": False}
"""Dask's settings for a cluster that is there for one run. The driver deals tiles out; one that Dask carries off to an
idle worker leaves behind what its own worker is reading ahead for it, and the blocks kept for it."""


def worker_count(config: EngineConfig) -> int:
    """Workers of a local cluster."""
    return config.workers or os.cpu_count() or 1


def memory_limit_bytes(config: EngineConfig) -> int:
    """Memory each local worker may take."""
    if config.memory_limit_gb is not None:
        return int(config.memory_limit_gb * 1e9)
    return int(psutil.virtual_memory().total * 0.9 / worker_count(config))


@contextlib.contextmanager
def connect(config: EngineConfig) -> Iterator[Any]:
    """A ``distributed.Client`` for the configured cluster; a cluster that was started here is closed again.

    Raises
    ------
    RemoteUnreachable
        where a scheduler address or file does not lead to a scheduler.
    """
    import dask
    from distributed import Client, LocalCluster

    with contextlib.ExitStack() as stack:
        # Our tasks are deterministic: an error inside one repeats, so only a lost worker is retried for free.
        stack.enter_context(
            dask.config.set(
                {
                    "distributed.scheduler.allowed-failures": config.retries,
                    "distributed.worker.memory.target": False,
                    "distributed.worker.memory.spill": False,
                    "distributed.worker.memory.pause": False,
                    # Dask's sampling profiler keeps an hour of call trees in every worker: 10 kB for each small window.
                    "distributed.worker.profile.enabled": False,
                    "distributed.comm.timeouts.connect": f"{_CONNECT_TIMEOUT_S}s",
                }
            )
        )
        if config.cluster in {"local", "inline"}:
            stack.enter_context(dask.config.set(OWN_CLUSTER))
            cluster = LocalCluster(
                threads_per_worker=1, dashboard_address=":0", silence_logs=logging.ERROR, **_local_options(config)
            )
            client = stack.enter_context(Client(stack.enter_context(cluster)))
        else:
            client = stack.enter_context(_remote(Client, config.cluster))
        try:
            yield client
        except KeyboardInterrupt:
            _hush(stack)
            raise


def _hush(stack: contextlib.ExitStack) -> None:
    """Keep what loses its connection while an interrupted cluster is closed out of the log."""
    for name in ("distributed", "tornado.application"):
        logger = logging.getLogger(name)
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        # Closing waits for it: the level is put back once all is closed.
        closing = stack.pop_all()
        stack.callback(logger.setLevel, level)
        stack.push(closing)


def _local_options(config: EngineConfig) -> dict[str, Any]:
    if config.cluster == "inline":
        return {"n_workers": 1, "processes": False, "memory_limit": None}
    return {
        "n_workers": worker_count(config),
        "processes": True,
        "memory_limit": memory_limit_bytes(config),
        "env": dict.fromkeys(_ONE_THREAD, "1"),
        "preload": ["minescale.engine.worker_setup"],
    }


def dashboard_link(client: Any) -> str:
    """Address of the Dask dashboard; empty where bokeh, which draws it, is not installed."""
    return str(client.dashboard_link or "") if importlib.util.find_spec("bokeh") else ""


def _remote(client: Any, address: str) -> Any:
    try:
        if "://" in address:
            return client(address, timeout=_CONNECT_TIMEOUT_S)
        if Path(address).is_file():
            return client(scheduler_file=address, timeout=_CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise RemoteUnreachable(
            "no Dask scheduler answers", got=f"{address}: {error}", expected="a running scheduler"
        ) from error
    raise UsageError(
        "cluster is not understood", got=address, expected="local | inline | tcp://host:port | path of a scheduler file"
    )


def worker_slots(client: Any) -> dict[str, int]:
    """Threads by worker address; one nameless worker where none has joined yet."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {address: int(worker["nthreads"]) for address, worker in workers.items()} or {"": 1}


def has_gpus(client: Any) -> bool:
    """True where workers announce a ``GPU`` resource: then reading and inference run as chained tasks."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return any(worker.get("resources", {}).get("GPU", 0) > 0 for worker in workers)
