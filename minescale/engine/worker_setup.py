"""What a local worker process does first. Dask calls :func:`dask_setup` because ``cluster`` names this module."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:  # noqa: ARG001  (Dask's signature)
    """Leave Ctrl-C to the driver.

    A terminal sends it to the whole process group. The driver writes its ledger and then closes the workers;
    one that died by itself would only add its traceback, and lose the tile that it was about to finish.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
