"""A scan in another engine draws the same map under the same run id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from minescale import api
from minescale.planning.plan import ScanPlan


@pytest.mark.drill
@pytest.mark.timeout(400)
def test_engines_draw_the_same_map(make_plan: Callable[..., ScanPlan], tmp_path: Path) -> None:
    for library in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(library, reason="minescale[fast] is not installed")
    maps, ids = {}, set()
    for device in ("cpu", "openvino", "onnx"):
        plan = make_plan("demo", **{"pyramid.mode": "off", "engine.device": device})
        api.run(plan, tmp_path / device)
        maps[device] = zarr.open_group(tmp_path / device / "mosaic.zarr", mode="r")["0/probability"][:].astype(int)
        ids.add(plan.run_id)
    assert len(ids) == 1
    for device in ("openvino", "onnx"):
        difference = np.abs(maps[device] - maps["cpu"])
        # Probabilities agree to 1e-4, codes step by 4e-3: some lie on an edge.
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3
