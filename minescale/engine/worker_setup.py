"""What a local worker process does first. Dask calls :func:`dask_setup` because ``cluster`` names this module."""

from __future__ import annotations

import logging
import signal
from typing import Any


def dask_setup(worker: Any) -> None:  # noqa: ARG001  (Dask's signature)
    """Leave Ctrl-C to the driver, and say nothing of a scheduler that has gone.

    A terminal sends Ctrl-C to the whole process group. The driver writes its ledger and then closes the workers;
    one that died by itself would only add its traceback, and lose the tile that it was about to finish. And a
    heartbeat that is under way when the run ends is no news either: what goes wrong in a tile comes back with it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("distributed.worker").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    from distributed.comm.core import CommClosedError

    return not (record.exc_info and isinstance(record.exc_info[1], CommClosedError))
