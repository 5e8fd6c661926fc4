"""How pictures of datasets are drawn: one style, samples as the eye expects them, files that appear whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minescale.errors import StoreError
from minescale.labels.pictures.previews import Stretch
from minescale.labels.sets.classes import ClassMap
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.whole import whole

INK, MUTED, PALE, MINE = "#1d2329", "#5c6670", "#dfe3e8", "#d1372c"
UNKNOWN = (0.87, 0.88, 0.90)
"""Pixels without a label."""
_FALLBACK = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725", "#d1372c", "#5c6670", "#ff9d2e")
_DPI = 150


@contextmanager
def figure(path: Path, width: float, height: float, title: str) -> Iterator[Any]:
    """A matplotlib figure, ``width`` by ``height`` inches, written to ``path`` as PNG when the block ends.

    Raises
    ------
    StoreError
        where it cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "axes.linewidth": 0.6,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
    }
    with mpl.rc_context(style):
        made = Figure(figsize=(width, height), dpi=_DPI, facecolor="white", layout="constrained")
        canvas: Any = FigureCanvasAgg(made)
        made.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
        yield made
        try:
            with whole(path) as partial, partial.open("wb") as file:
                canvas.print_png(file, metadata={"Software": "minescale"})
        except OSError as error:
            raise StoreError(f"cannot write {path}", got=error, fix="a writable folder with space") from error


def picture(dataset: Dataset, row: int) -> tuple[NDArray[np.uint8], str]:
    """uint8 (y, x, 3) colours of a sample, stretched between its P2 and P98, and which bands they show.

    Red, green and blue where the set has them, else its first three bands, or its first as grey.
    """
    image = for_the_eye(dataset, dataset.reader.image(row))
    return Stretch.of(image, dataset.nodata).apply(image, dataset.nodata), "/".join(dict.fromkeys(eye_bands(dataset)))


def for_the_eye(dataset: Dataset, image: NDArray[Any]) -> NDArray[Any]:
    """The three bands (3, y, x) of an image (band, y, x) of the set that are shown."""
    return image[[dataset.bands.index(band) for band in eye_bands(dataset)]]


def eye_bands(dataset: Dataset) -> tuple[str, str, str]:
    """The three bands that a set is shown in; of pairs such as ``t0_red`` and ``t1_red`` those that come first."""
    for red in dataset.bands:
        before = red.removesuffix("red")
        if before != red and {f"{before}green", f"{before}blue"} <= set(dataset.bands):
            return red, f"{before}green", f"{before}blue"
    first, second, third = dataset.bands[:3] if len(dataset.bands) >= 3 else dataset.bands[:1] * 3
    return first, second, third


def class_colours(classes: ClassMap) -> tuple[str, ...]:
    """A colour for each class: the map's own, or fixed ones."""
    return classes.colours or tuple(_FALLBACK[i % len(_FALLBACK)] for i in range(len(classes.names)))


def coloured(mask: NDArray[np.uint8], classes: ClassMap) -> NDArray[np.float32]:
    """(y, x, 3) colours of a label; pixels that are ignored are grey."""
    import matplotlib as mpl

    table = np.tile(np.asarray(UNKNOWN, np.float32), (256, 1))
    for value, colour in enumerate(class_colours(classes)):
        table[value] = mpl.colors.to_rgb(colour)
    return table[mask]


def plain(axes: Any, image: NDArray[Any], caption: str) -> None:
    """An image without ticks, its caption above."""
    axes.imshow(image, interpolation="nearest")
    axes.set_title(caption, loc="left", fontsize=9, color=INK, pad=4)
    axes.set_xticks([])
    axes.set_yticks([])


def class_legend(axes: Any, classes: ClassMap) -> None:
    """Names of the classes below an image."""
    from matplotlib.patches import Patch

    named = [Patch(facecolor=c, label=n) for n, c in zip(classes.names, class_colours(classes), strict=True)]
    if classes.ignore is not None:
        named.append(Patch(facecolor=UNKNOWN, edgecolor=MUTED, linewidth=0.4, label="ignored"))
    axes.legend(
        handles=named,
        loc="upper left",
        bbox_to_anchor=(0.0, -0.02),
        ncols=min(3, len(named)),
        frameon=False,
        fontsize=8,
        borderaxespad=0.0,
        handlelength=1.2,
    )
