"""What local workers leave unsaid."""

from __future__ import annotations

import logging

import pytest
from distributed.comm.core import CommClosedError

from minescale.engine.worker_setup import _is_news


@pytest.mark.parametrize(("error", "told"), [(CommClosedError("gone"), False), (OSError("disk"), True), (None, True)])
def test_only_a_closed_connection_is_no_news(error: Exception | None, told: bool) -> None:
    info = (type(error), error, None) if error else None
    record = logging.LogRecord("distributed.worker", logging.ERROR, "f", 1, "failed", None, info)
    assert _is_news(record) is told
