"""A package with a screen: the coarse model that decides which tiles of a scan the package looks at."""

from __future__ import annotations

import shutil
from pathlib import Path

from minescale.errors import ModelError, UsageError
from minescale.models.package import CARD, SCREEN, ModelPackage, check_fits, load_package, write_package
from minescale.models.spec import ModelSpec
from minescale.sensors import SENSORS, Sensor
from minescale.types import physical_bands

HEADING = "## Screen"


def write_screened(folder: Path, package: ModelPackage, screen: ModelPackage, *, replace: bool = False) -> ModelPackage:
    """Write a copy of a package whose ``screen/`` is a copy of another, which a pyramid scan then runs first.

    The screen keeps its own card, licence and evidence; the package's card names it.

    Parameters
    ----------
    folder : exists, empty.
    replace : the package may have a screen already.

    Raises
    ------
    UsageError
        where the package has a screen, or the screen has no keep-threshold or a screen of its own.
    ModelError
        where the screen is not coarser, or no sensor has the bands of both.
    """
    _check(package, screen, replace=replace)
    shutil.copytree(package.path, folder, dirs_exist_ok=True, ignore=lambda _, names: {SCREEN} & set(names))
    shutil.copytree(screen.path, folder / SCREEN)
    card = (folder / CARD).read_text(encoding="utf-8").partition(HEADING)[0].rstrip()
    write_package(folder, package.spec, package.weights() or None, f"{card}\n\n{_section(screen.spec)}", {})
    return load_package(folder)


def _check(package: ModelPackage, screen: ModelPackage, *, replace: bool) -> None:
    fine, coarse = package.spec, screen.spec
    if package.screen is not None and not replace:
        raise UsageError(
            f"package {fine.name} has a screen", got=package.screen.spec.name, fix="--replace, to take another"
        )
    if screen.screen is not None:
        raise UsageError(
            f"{coarse.name} has a screen of its own, and a pyramid has two levels", got=screen.screen.spec.name
        )
    if coarse.keep_threshold is None:
        raise UsageError(
            f"{coarse.name} has no keep-threshold: a scan would refine every tile behind it",
            fix="minescale calibrate --model SCREEN --data PATH --out NEW, on sites that it has not seen",
        )
    if coarse.resolution <= fine.resolution:
        raise ModelError(
            f"screen {coarse.name} is not coarser than {fine.name}",
            got=f"{coarse.resolution:g} m",
            expected=f"more than {fine.resolution:g} m",
        )
    both = [sensor for sensor in SENSORS.values() if _takes(fine, sensor) and _takes(coarse, sensor)]
    if not both:
        raise ModelError(
            f"no sensor has what {fine.name} and {coarse.name} need",
            got=", ".join(sorted({*physical_bands(fine.bands), *physical_bands(coarse.bands)})),
            expected=f"bands of one of {', '.join(SENSORS)} that both take",
        )
    # The coarse level of a scan has a whole number of fine pixels along each of its own.
    check_fits(coarse, both[0], fine.resolution * max(round(coarse.resolution / fine.resolution), 2))


def _takes(spec: ModelSpec, sensor: Sensor) -> bool:
    if spec.sensors and sensor.name not in spec.sensors:
        return False
    try:
        return all(bool(sensor.band(band)) for band in physical_bands(spec.bands))
    except UsageError:
        return False


def _section(screen: ModelSpec) -> str:
    survivors = "an unknown share" if screen.expected_survivors is None else f"{screen.expected_survivors:.1%}"
    return f"""{HEADING}

A pyramid scan looks with {screen.name} at {screen.resolution:g} m first, and with this model only at tiles of which any
pixel reaches {screen.keep_threshold:.3f} there: {survivors} of tiles are expected to. What that misses, and on which
sites it was counted, says its own card in `{SCREEN}/`. Its licence is {screen.licence}.
"""
