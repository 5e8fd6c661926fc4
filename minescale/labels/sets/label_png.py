"""Label rasters as PNG: the number is the class, the colour is only how it looks.

A picture that was coloured before it was saved no longer holds classes. Such pictures exist, so they are read as well,
by the nearest class colour; they are never written.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minescale.errors import UsageError
from minescale.labels.sets.classes import ClassMap

IGNORED = "#808080"
"""Colour of the ignore value."""
FARTHEST = 48.0
"""Distance in RGB (of 442 from black to white) up to which a colour still stands for a class."""


def write_label_png(path: str | os.PathLike[str], label: NDArray[np.uint8], classes: ClassMap) -> None:
    """Write class values as a palettised PNG.

    Parameters
    ----------
    label : uint8 (y, x), class values of ``classes`` or its ignore value.
    classes : with colours; the palette has exactly these, and grey for the ignore value.

    Raises
    ------
    UsageError
        for values that are no class, or classes without colours.
    """
    from PIL import Image

    classes.check(label, str(path))
    picture = Image.fromarray(np.ascontiguousarray(label, dtype=np.uint8), mode="L")
    picture.putpalette(_palette(classes))
    picture.save(path, format="PNG")


def read_label_png(path: str | os.PathLike[str], classes: ClassMap) -> NDArray[np.uint8]:
    """Read class values, uint8 (y, x).

    Palettised and grey pictures hold the values themselves; in RGB and RGBA pictures each pixel becomes the class whose
    colour is nearest. A legacy picture that was coloured between the lowest and highest value *present* shows cloud in
    the colour of mining where there is no mining: nothing in it tells, so ``validate`` points at every RGB label.

    Raises
    ------
    UsageError
        for values or colours that are no class.
    """
    from PIL import Image

    with Image.open(path) as picture:
        if picture.mode in {"P", "L", "1"}:
            label = np.asarray(picture.convert("L") if picture.mode == "1" else picture, np.uint8)
            label = label // 255 if picture.mode == "1" else label
        elif picture.mode in {"RGB", "RGBA"}:
            label = _nearest(np.asarray(picture.convert("RGB"), np.uint8), classes, Path(path).name)
        else:
            raise UsageError(f"{Path(path).name} is no label picture", got=picture.mode, expected="P, L, RGB or RGBA")
    classes.check(label, Path(path).name)
    return label


def is_palettised(path: str | os.PathLike[str]) -> bool:
    """True where the file's numbers are classes, as :func:`write_label_png` writes them."""
    from PIL import Image

    with Image.open(path) as picture:
        return bool(picture.mode == "P")


def palette_of(path: str | os.PathLike[str]) -> list[str]:
    """Colours of a palettised picture as ``#rrggbb``, in the order of their values; empty for other pictures."""
    from PIL import Image

    with Image.open(path) as picture:
        flat = picture.getpalette("RGB") or []
    return ["#" + bytes(flat[i : i + 3]).hex() for i in range(0, len(flat), 3)]


def colour(text: str) -> tuple[int, int, int]:
    """``#rrggbb`` as three numbers."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _colours(classes: ClassMap) -> dict[int, tuple[int, int, int]]:
    """Colour of each value."""
    if not classes.colours:
        raise UsageError(
            "classes have no colours for a palette", got=list(classes.names), fix="ClassMap(names, colours=...)"
        )
    colours = {value: colour(text) for value, text in enumerate(classes.colours)}
    return colours if classes.ignore is None else {**colours, classes.ignore: colour(IGNORED)}


def _palette(classes: ClassMap) -> bytes:
    colours = _colours(classes)
    return b"".join(bytes(colours.get(value, (0, 0, 0))) for value in range(max(colours) + 1))


def _nearest(picture: NDArray[np.uint8], classes: ClassMap, name: str) -> NDArray[np.uint8]:
    colours = _colours(classes)
    found, where = np.unique(picture.reshape(-1, 3), axis=0, return_inverse=True)
    apart = np.linalg.norm(found[:, None].astype(np.float64) - np.array(list(colours.values())), axis=2)
    far = found[apart.min(axis=1) > FARTHEST]
    if len(far):
        raise UsageError(
            f"{name} has colours that stand for no class",
            got=["#" + bytes(c).hex() for c in far[:5]],
            expected=", ".join(f"{text} {label}" for label, text in zip(classes.names, classes.colours, strict=True)),
        )
    values = np.array(list(colours), np.uint8)[apart.argmin(axis=1)]
    return values[where].reshape(picture.shape[:2])
