"""``minescale model detect``: two models look at an image; candidates come out as a table and as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox


@click.command(cls=Command, short_help="Candidates in an image, by two models.")
@click.argument("image", metavar="TIF")
@click.option("--segmenter", required=True, metavar="PKG", help="Package that gives every pixel a class.")
@click.option("--classifier", required=True, metavar="PKG", help="Package that judges each candidate.")
@click.option("--bands", metavar="A,B", help="Bands of TIF, in order; default: their descriptions.")
@click.option(
    "--suspicious", multiple=True, default=("barren",), show_default=True, metavar="CLASS", help="Class; repeatable."
)
@click.option("--radius-m", type=float, default=10.0, show_default=True, metavar="M", help="Of the smoothing disc.")
@click.option("--min-area-ha", type=float, default=0.1, show_default=True, metavar="HA", help="Of a candidate.")
@click.option("--threshold", type=float, metavar="P", help="Mining-like from here; default: the classifier's.")
@click.option("--truth", metavar="TIF", help="Raster on the same pixels, not 0 where mines are: recall of both stages.")
@click.option("--device", default="auto", show_default=True, metavar="D", help="auto, cpu, cuda, openvino or onnx.")
@click.option("--out", "-o", required=True, metavar="DIR", help="New folder.")
@json_option
@verbose_option
def detect(
    image: str,
    segmenter: str,
    classifier: str,
    bands: str | None,
    suspicious: tuple[str, ...],
    radius_m: float,
    min_area_ha: float,
    threshold: float | None,
    truth: str | None,
    device: str,
    out: str,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Find candidate zones in TIF (uint16 reflectance x 1e4, 0 = no data) and judge each; write a table and pictures.

    DIR gets candidates.geojson (longitude and latitude), three pictures with world files, and recall.json with --truth.
    A verdict says that a place looks like those the classifier was taught. It says nothing about permits or law.
    """
    import json

    from minescale.evaluation.candidate_pictures import draw_candidates
    from minescale.evaluation.candidates import detect as find
    from minescale.evaluation.candidates import stage_recall
    from minescale.labels.sets.new_folder import new_folder
    from minescale.models.package import load_package
    from minescale.models.predictor import load_predictor

    pixels, names, place = _read(image, bands)
    real = None if truth is None else _read(truth, None)[0][0] != 0
    found = find(
        pixels,
        names,
        place,
        load_predictor(load_package(segmenter), device),
        load_predictor(load_package(classifier), device),
        suspicious=suspicious,
        radius_m=radius_m,
        min_area_ha=min_area_ha,
        threshold=threshold,
    )
    recall = None if real is None else stage_recall(found, real, min_area_ha=min_area_ha)
    with new_folder(out) as folder:
        table = found.table().to_crs("EPSG:4326")
        (folder / "candidates.geojson").write_text(table.to_json() + "\n", encoding="utf-8")
        draw_candidates(found, pixels, names, folder)
        if recall is not None:
            (folder / "recall.json").write_text(json.dumps(recall.to_dict(), indent=1) + "\n", encoding="utf-8")
    positive = int(found.positive.sum())
    if as_json:
        told = {"candidates": len(found.scores), "mining_like": positive, "threshold": found.threshold, "out": out}
        echo_json({**told, "recall": None if recall is None else recall.to_dict()})
        return
    click.echo(f"{len(found.scores)} candidates, {positive} mining-like from {found.threshold:g}")
    if recall is not None:
        click.echo(str(recall))
    click.echo(out)


def _read(path: str, bands: str | None) -> tuple[NDArray[np.uint16], tuple[str, ...], GeoBox]:
    """Pixels (band, y, x), names of bands and place of a raster.

    Raises
    ------
    UsageError
        where it cannot be read, its numbers are no uint16, or it does not name its bands.
    """
    import numpy as np
    import rasterio
    from odc.geo.geobox import GeoBox
    from rasterio.errors import RasterioError

    from minescale.errors import UsageError

    try:
        with rasterio.open(path) as source:
            pixels: Any = source.read()
            place = GeoBox(source.shape, source.transform, source.crs)
            described = tuple(str(name or "") for name in source.descriptions)
    except (RasterioError, OSError) as error:
        raise UsageError(f"cannot read {path}", got=error, expected="a GeoTIFF") from error
    if pixels.dtype != np.uint16 and not (pixels.dtype.kind in "iub" and pixels.min() >= 0 and pixels.max() <= 65535):
        raise UsageError(f"numbers of {path}", got=pixels.dtype, expected="uint16, reflectance x 1e4, 0 = no data")
    names = tuple(name.strip() for name in bands.split(",")) if bands else described
    if len(names) != len(pixels):
        raise UsageError(f"bands of {path}", got=", ".join(names), expected=f"{len(pixels)} names", fix="--bands")
    return pixels.astype(np.uint16), names, place
