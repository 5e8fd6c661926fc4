"""What ``doctor`` looks at. Each check tries the thing itself rather than guessing from a version."""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from minescale._version import __version__

PACKAGES = ("numpy", "xarray", "zarr", "dask", "distributed", "rasterio", "odc-geo", "numba", "torch", "pystac-client")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    name: str
    ok: bool
    text: str
    needed: bool = True
    """False: good to know, but a scan works without."""
    remote: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def installation() -> list[Check]:
    """Everything on this machine."""
    return [_versions(), _gdal(), _gdal_zarr(), _gdal_cog(), _numba(), _torch(), _machine()]


def writing(out: str) -> Check:
    """Whether a scan could write to ``out``: a small file there and back. Leaves nothing behind."""
    import fsspec

    name = f".minescale-doctor-{uuid.uuid4().hex}"
    try:
        fs, path = fsspec.core.url_to_fs(out)
        made = not fs.exists(path)
        fs.makedirs(path, exist_ok=True)
        fs.pipe_file(f"{path}/{name}", b"minescale")
        back = fs.cat_file(f"{path}/{name}")
        fs.rm_file(f"{path}/{name}")
        if made and "://" not in out:
            Path(path).rmdir()
    except (OSError, ValueError, ImportError) as error:
        return Check(name="write test", ok=False, text=f"{out}: {type(error).__name__}: {error}")
    return Check(name="write test", ok=back == b"minescale", text=out)


def catalogues() -> list[Check]:
    """Whether the public catalogues answer within ten seconds."""
    import requests

    from minescale.sources.catalogs import PRESETS

    checks = []
    for name, preset in PRESETS.items():
        try:
            answer = requests.get(preset.url, timeout=10)
            ok, text = answer.ok, f"{preset.url} answers {answer.status_code}"
        except requests.RequestException as error:
            ok, text = False, f"{preset.url}: {type(error).__name__}"
        checks.append(Check(name=name, ok=ok, text=text, remote=True))
    return checks


def _versions() -> Check:
    found, missing = [f"minescale {__version__}", f"python {platform.python_version()}"], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    text = ", ".join(found) + (f"; missing: {', '.join(missing)}" if missing else "")
    return Check(name="versions", ok=not missing, text=text)


def _gdal() -> Check:
    import rasterio
    from rasterio.drivers import raster_driver_extensions

    return Check(
        name="GDAL",
        ok="tif" in raster_driver_extensions(),
        text=f"{rasterio.__gdal_version__} with rasterio {rasterio.__version__}",
    )


def _gdal_cog() -> Check:
    import numpy as np
    import rasterio
    import rasterio.shutil
    from affine import Affine
    from rasterio.errors import RasterioError

    with _scratch() as folder:
        try:
            profile = {"driver": "GTiff", "height": 16, "width": 16, "count": 1, "dtype": "uint8"}
            profile["transform"] = Affine.scale(10, -10)
            with rasterio.open(folder / "a.tif", "w", **profile) as image:
                image.write(np.zeros((1, 16, 16), np.uint8))
            rasterio.shutil.copy(folder / "a.tif", folder / "b.tif", driver="COG", COMPRESS="DEFLATE")
        except (RasterioError, OSError) as error:
            return Check(name="COG export", ok=False, text=f"the COG driver fails: {error}", needed=False)
    return Check(name="COG export", ok=True, text="the COG driver writes", needed=False)


def _gdal_zarr() -> Check:
    import rasterio
    import zarr
    from rasterio.errors import RasterioError

    gdal = rasterio.__gdal_version__
    with _scratch() as folder:
        group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=3)
        array = group.create_array("a", shape=(8, 8), chunks=(8, 8), dtype="uint8", dimension_names=("y", "x"))
        array[:] = 7
        try:
            with warnings.catch_warnings(action="ignore"), rasterio.open(f'ZARR:"{folder / "a.zarr"}":/a') as image:
                ok = bool((image.read(1) == 7).all())
        except (RasterioError, OSError):
            ok = False
    text = f"GDAL {gdal} opens the mosaic" if ok else f"GDAL {gdal} cannot open Zarr v3 here; use minescale export"
    return Check(name="GDAL and Zarr", ok=ok, text=text, needed=False)


def _numba() -> Check:
    import numba
    import numpy as np

    from minescale.kernels.resample import repeat

    try:
        ok = bool((repeat(np.full((2, 2), 3, np.uint8), 2) == 3).all())
    except (numba.core.errors.NumbaError, OSError, RuntimeError) as error:
        return Check(name="numba", ok=False, text=f"{numba.__version__} does not compile: {error}")
    settings: Any = numba.config
    # Kernels are single-threaded and release the GIL; the layer only matters to other libraries in the process.
    text = f"{numba.__version__} compiles; threading {settings.THREADING_LAYER}, {settings.NUMBA_NUM_THREADS} threads"
    return Check(name="numba", ok=ok, text=f"{text}, cache {os.environ.get('NUMBA_CACHE_DIR', 'beside the code')}")


def _torch() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check(name="torch", ok=False, text=f"not importable: {error}", needed=False)
    if torch.cuda.is_available():
        device = f"cuda: {torch.cuda.get_device_name(0)}"
    else:
        device = f"cpu, {torch.get_num_threads()} threads"
    return Check(name="torch", ok=True, text=f"{torch.__version__} on {device}", needed=False)


def _machine() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    text = f"{os.cpu_count()} cores, {memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB memory free"
    return Check(name="machine", ok=True, text=text, needed=False)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="minescale-doctor-") as name:
        yield Path(name)
