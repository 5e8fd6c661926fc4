"""A first picture of a scan: what the ground looks like, and where the model sees mining or saw nothing."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import fsspec
import numpy as np
import pyproj
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from minescale.config import CompositeConfig
from minescale.cube.compose import compose
from minescale.cube.nesting import METRES_PER_DEGREE
from minescale.outputs.picture_scenes import TRUE_COLOUR, picture_bands, picture_scenes
from minescale.planning.plan import MOSAIC_FILE, ScanPlan
from minescale.planning.run_dir import RunDir
from minescale.sensors import SENSORS
from minescale.sources.access import Access
from minescale.sources.reader import Reader
from minescale.store.backend import storing
from minescale.store.codes import PROBABILITY_FILL, PROBABILITY_STEPS
from minescale.store.layout import MosaicLayout
from minescale.store.mosaic import Mosaic
from minescale.types import Reason

_INK, _PAPER, _MUTED = "#1d2329", "#ffffff", "#5c6670"
_Colour = tuple[float, float, float]
_HATCH_GROUND: _Colour = (0.87, 0.88, 0.90)
_HATCH_LINE: _Colour = (0.62, 0.65, 0.69)
_OUTSIDE: _Colour = (0.955, 0.96, 0.965)
_COARSE: _Colour = (0.30, 0.52, 0.78)
"""Tint of what only the coarse level decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layers:
    """What is drawn, all (y, x) on one overview of the mosaic."""

    geobox: GeoBox
    probability: NDArray[np.uint8]
    unseen: NDArray[np.bool_]
    """Processed, without a probability."""
    outside: NDArray[np.bool_]
    """Not part of the run, or not processed yet."""
    coarse: NDArray[np.bool_]
    """Decided by a coarser level than the finest."""


def draw_quicklook(plan: ScanPlan, folder: RunDir, out_png: str, max_px: int = 1000) -> None:
    """Draw the last period as a PNG: colour composite left, probability right, each at most ``max_px`` wide or high.

    The composite is made from the scenes' overviews, at most a few of the clearest scenes per grid tile. Where none
    of them can be read the left half says so.

    Raises
    ------
    StoreError
        where the mosaic cannot be read.
    OSError
        where ``out_png`` cannot be written.
    """
    layers = _mosaic_layers(plan, folder, max_px)
    colours, caption = _colours(plan, layers.geobox)
    image = _render(plan, layers, colours, caption)
    fs, path = fsspec.core.url_to_fs(str(out_png))
    partial = f"{path}.partial"
    with fs.open(partial, "wb") as file:
        file.write(image)
    fs.mv(partial, path)


def picture_overview(layout: MosaicLayout, max_px: int) -> int:
    """The finest group of the mosaic that is at most about ``max_px`` pixels long, else the coarsest."""
    for overview in range(layout.n_overviews + 1):
        if max(layout.overview_geobox(overview).shape) <= 1.1 * max_px:
            return overview
    return layout.n_overviews


def _mosaic_layers(plan: ScanPlan, folder: RunDir, max_px: int) -> _Layers:
    path = folder.path(MOSAIC_FILE)
    mosaic = Mosaic.open(path)
    overview, time = picture_overview(mosaic.layout, max_px), len(plan.periods) - 1
    with storing(path, "read an overview"):
        probability, reason, level = (
            np.asarray(mosaic.array(overview, name)[time]) for name in ("probability", "reason", "level")
        )
    outside = reason == Reason.NOT_PROCESSED
    seen = probability != PROBABILITY_FILL
    return _Layers(
        geobox=mosaic.layout.overview_geobox(overview),
        probability=probability,
        unseen=~seen & ~outside,
        outside=outside,
        coarse=seen & (level > 0),
    )


def _colours(plan: ScanPlan, geobox: GeoBox) -> tuple[NDArray[np.float32] | None, str]:
    """(y, x, 3) picture in 0-1, NaN = no clear look, and its caption; None where nothing could be read."""
    period = plan.periods[-1]
    candidates = [scene for scene in plan.scenes if period.contains(scene.datetime)]
    bands = picture_bands(candidates)
    scenes = picture_scenes(candidates, bands) if bands else ()
    if not scenes:
        return None, "no scene for a colour picture"
    read = plan.config.read
    made = compose(
        scenes,
        geobox,
        bands,
        sensor=SENSORS[plan.sensor],
        reader=Reader(Access.capture(read), read),
        mask=plan.config.mask,
        composite=CompositeConfig(method="median", max_scenes=6),
    )
    caption = "true colour" if bands == TRUE_COLOUR else "false colour " + "/".join(bands)
    if not made.data.any():
        return None, "no scene could be read for a colour picture"
    return stretch(made.data, together=bands == TRUE_COLOUR), caption


def stretch(data: NDArray[np.uint16], *, together: bool) -> NDArray[np.float32]:
    """(band, y, x) reflectance x 1e4 to (y, x, band) in 0-1 for the eye; NaN where any band is 0.

    Limits are the 1st and 99th percentile, of all bands ``together`` (which keeps true colours true) or band by band.
    """
    seen = (data != 0).all(axis=0)
    picture = np.full((*data.shape[1:], data.shape[0]), np.nan, np.float32)
    limits = [np.percentile(data[:, seen] if together else band[seen], (1, 99)) for band in data]
    for i, (band, (low, high)) in enumerate(zip(data, limits, strict=True)):
        scaled = np.clip((band.astype(np.float32) - low) / max(float(high - low), 1.0), 0.0, 1.0)
        picture[..., i] = np.where(seen, scaled ** np.float32(0.75), np.nan)
    return picture


def _render(plan: ScanPlan, layers: _Layers, colours: NDArray[np.float32] | None, caption: str) -> bytes:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, cols = layers.probability.shape
    panel = 6.0
    width, height = (panel, panel * rows / cols) if cols >= rows else (panel * cols / rows, panel)
    width = max(width, 3.4)
    size = (2 * width + 1.6, height + 1.8)
    style: dict[Any, Any] = {"font.family": "sans-serif", "font.size": 9, "text.color": _INK, "axes.labelcolor": _INK}
    with mpl.rc_context(style):
        figure = Figure(figsize=size, dpi=150, facecolor=_PAPER)
        canvas: Any = FigureCanvasAgg(figure)
        left, bottom, gap = 0.35 / size[0], 0.98 / size[1], 0.3 / size[0]
        panels = [
            figure.add_axes((left + i * (width / size[0] + gap), bottom, width / size[0], height / size[1]))
            for i in range(2)
        ]
        _draw_colours(panels[0], layers, colours, caption)
        shown = _draw_probability(panels[1], layers)
        for axes in panels:
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set(color=_MUTED, linewidth=0.6)
        _scale_bar(panels[0], layers.geobox)
        _north(panels[0])
        x = left + 2 * width / size[0] + gap + 0.12 / size[0]
        _colour_bar(figure, shown, (x, bottom, 0.16 / size[0], height / size[1]))
        _legend(panels[1], layers)
        _words(figure, plan, size, left)
        buffer = io.BytesIO()
        canvas.print_png(buffer, metadata={"Software": "minescale"})
    return buffer.getvalue()


def _draw_colours(axes: Any, layers: _Layers, colours: NDArray[np.float32] | None, caption: str) -> None:
    axes.set_title(f"What was seen ({caption})", loc="left", fontsize=10.5, color=_INK, pad=6)
    # Hatched only where the scan saw nothing; a hole in the picture alone is plain, for it reads fewer scenes.
    blank = np.where(layers.unseen[..., None], _hatched(layers.probability.shape), np.asarray(_OUTSIDE, np.float32))
    if colours is None:
        axes.imshow(blank, interpolation="nearest")
        axes.text(0.5, 0.5, caption, transform=axes.transAxes, ha="center", va="center", color=_MUTED)
        return
    axes.imshow(np.where(np.isnan(colours), blank, colours), interpolation="nearest")


def _draw_probability(axes: Any, layers: _Layers) -> Any:
    import matplotlib as mpl

    axes.set_title("Probability of mining", loc="left", fontsize=10.5, color=_INK, pad=6)
    shown = mpl.cm.ScalarMappable(mpl.colors.Normalize(0.0, 1.0), mpl.colormaps["inferno"])
    values = layers.probability.astype(np.float32) / PROBABILITY_STEPS
    picture = np.asarray(shown.to_rgba(np.clip(values, 0.0, 1.0))[..., :3], np.float32)
    # A tint only where the map is dark: a bright coarse pixel keeps its colour.
    tint = (0.30 * np.clip(1.0 - values / 0.5, 0.0, 1.0))[..., None]
    picture = np.where(layers.coarse[..., None], picture * (1 - tint) + np.array(_COARSE, np.float32) * tint, picture)
    picture = np.where(layers.unseen[..., None], _hatched(layers.probability.shape), picture)
    picture[layers.outside] = _OUTSIDE
    axes.imshow(picture, interpolation="nearest")
    return shown


def _hatched(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """(y, x, 3) diagonal stripes, as wide for any size of picture."""
    period = max(4, round(max(shape) / 90))
    y, x = np.ogrid[: shape[0], : shape[1]]
    line = (x + y) % period < max(1, period // 3)
    return np.where(line[..., None], np.asarray(_HATCH_LINE, np.float32), np.asarray(_HATCH_GROUND, np.float32))


def _legend(axes: Any, layers: _Layers) -> None:
    from matplotlib.patches import Patch

    entries = [
        Patch(facecolor=_HATCH_GROUND, edgecolor=_HATCH_LINE, hatch="/////", label="not seen (no statement)"),
    ]
    if layers.coarse.any():
        dark = (0.30 * _COARSE[0], 0.30 * _COARSE[1], 0.30 * _COARSE[2])
        entries.append(Patch(facecolor=dark, edgecolor=dark, label="decided at the coarse level only"))
    if layers.outside.any():
        entries.append(Patch(facecolor=_OUTSIDE, edgecolor=_MUTED, linewidth=0.5, label="not scanned"))
    axes.legend(
        handles=entries,
        loc="upper left",
        bbox_to_anchor=(0.0, -0.012),
        ncols=len(entries),
        frameon=False,
        fontsize=8.5,
        borderaxespad=0.0,
        handlelength=1.8,
        borderpad=0.2,
        columnspacing=1.4,
    )


def _colour_bar(figure: Any, shown: Any, where: tuple[float, float, float, float]) -> None:
    bar = figure.colorbar(shown, cax=figure.add_axes(where))
    bar.outline.set(linewidth=0.6, edgecolor=_MUTED)
    bar.ax.tick_params(length=2.5, width=0.6, labelsize=8.5, color=_MUTED)
    bar.set_ticks([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


def _scale_bar(axes: Any, geobox: GeoBox) -> None:
    """A round length of about a fifth of the width, on a strip that is readable over any picture."""
    pixel_m = ground_metres(geobox)
    rows, cols = geobox.shape.yx
    length = round_length(cols * pixel_m / 5)
    px = length / pixel_m
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    x0, y0 = 0.03 * cols, rows - 0.04 * max(rows, cols)
    pad = 0.012 * max(rows, cols)
    from matplotlib.patches import Rectangle

    box = (x0 - pad, y0 - 3.2 * pad)
    axes.add_patch(Rectangle(box, px + 2 * pad, 4.4 * pad, facecolor="white", alpha=0.75, linewidth=0))
    axes.plot([x0, x0 + px], [y0, y0], color=_INK, linewidth=2.2, solid_capstyle="butt")
    axes.text(x0 + px / 2, y0 - 0.6 * pad, label, ha="center", va="bottom", fontsize=8.5, color=_INK)


def _north(axes: Any) -> None:
    axes.text(
        0.965,
        0.965,
        "\N{BLACK UP-POINTING TRIANGLE}\nN",
        transform=axes.transAxes,
        ha="center",
        va="top",
        fontsize=9.5,
        fontweight="bold",
        linespacing=1.05,
        color=_INK,
        bbox={"boxstyle": "round,pad=0.3", "facecolor": "white", "alpha": 0.75, "linewidth": 0},
    )


def _words(figure: Any, plan: ScanPlan, size: tuple[float, float], left: float) -> None:
    top = 1.0 - 0.28 / size[1]
    figure.text(left, top, f"Mining scan, {_span(plan)}", fontsize=14, fontweight="bold", va="center", color=_INK)
    ny, nx = plan.grid.shape
    km = plan.grid.pixel_area_ha() / 100.0
    details = (
        f"{plan.sensor}  ·  {_crs_name(plan.grid.crs)}  ·  {plan.grid.resolution:g} {_unit(plan.grid.crs)} pixels  ·  "
        f"{ny * nx * km:,.0f} km² mosaic  ·  model {PurePath(plan.request.model).name}  ·  run {plan.run_id}"
    )
    figure.text(left, 0.42 / size[1], details, fontsize=8, color=_MUTED, va="center")
    note = (
        "Probabilities are evidence to be checked on the ground, not verdicts; hatched ground was not seen, "
        "which says nothing about mines."
    )
    figure.text(left, 0.20 / size[1], note, fontsize=8, color=_MUTED, va="center")


def ground_metres(geobox: GeoBox) -> float:
    """Width of a pixel on the ground in metres, at the middle of the picture."""
    size = abs(float(geobox.resolution.x))
    crs = pyproj.CRS(str(geobox.crs))
    if crs.is_geographic:
        middle = float(geobox.transform.f + geobox.transform.e * geobox.shape[0] / 2)
        return size * METRES_PER_DEGREE * max(math.cos(math.radians(middle)), 0.01)
    return size * float(crs.axis_info[0].unit_conversion_factor)


def round_length(metres: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is at most ``metres``."""
    power = 10.0 ** math.floor(math.log10(metres))
    return next(step * power for step in (5.0, 2.0, 1.0) if step * power <= metres * (1 + 1e-9))


def _span(plan: ScanPlan) -> str:
    period = plan.periods[-1]
    return f"{period.start:%Y-%m-%d} to {period.end:%Y-%m-%d}"


def _crs_name(crs: str) -> str:
    return crs if len(crs) < 30 else str(pyproj.CRS(crs).name)


def _unit(crs: str) -> str:
    return "degree" if pyproj.CRS(crs).is_geographic else "m"
