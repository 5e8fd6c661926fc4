"""``minescale calibrate``: how low a coarse score may be before a tile is skipped, for a stated recall of mine area."""

from __future__ import annotations

import click

from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="Set a screen's threshold for a stated recall of mine area.")
@click.option("--model", required=True, metavar="PKG", help="Package, or folder of one.")
@click.option("--screen", is_flag=True, help="Calibrate the package's screen instead of the package itself.")
@click.option("--data", required=True, metavar="PATH", help="Dataset with labels, of sites no model was trained on.")
@click.option("--split", "split_name", metavar="FILE|NAME", help="Split of the dataset, for --part.")
@click.option("--part", type=click.Choice(["train", "val", "test"]), help="Part of the split; default: all samples.")
@click.option("--out", "-o", required=True, metavar="DIR", help="New folder for the calibrated package.")
@click.option("--recall", type=float, default=0.99, show_default=True, help="Of mine area.")
@click.option(
    "--confidence",
    type=float,
    default=0.95,
    show_default=True,
    help="Share of resamples of the sites in which the recall holds; 0: on average only.",
)
@click.option("--cap-ha", type=float, default=20.0, show_default=True, help="Mine area that a site counts at most.")
@click.option(
    "--unit",
    type=click.Choice(["site", "tile"]),
    default="site",
    show_default=True,
    help="What the next survey draws anew.",
)
@click.option("--tile-m", type=float, default=5120.0, show_default=True, metavar="M", help="Edge of a scan's tile.")
@click.option("--mine", multiple=True, metavar="CLASS", help="Class that is a mine; repeatable. Default: the target.")
@click.option(
    "--mine-tiles", type=float, metavar="SHARE", help="Share of tiles with mines where the model will be used."
)
@click.option("--run", metavar="DIR", help="A planned scan with a pyramid: what it would cost with the threshold.")
@click.option(
    "--reflectance-factor", type=float, metavar="F", help="Reflectance of the number 1, where units do not tell."
)
@click.option("--force", is_flag=True, help="Calibrate on samples that the model was trained on all the same.")
@click.option("--device", default="auto", show_default=True, metavar="D", help="auto, cpu, cuda, openvino or onnx.")
@json_option
@verbose_option
def calibrate(
    model: str,
    screen: bool,
    data: str,
    split_name: str | None,
    part: str | None,
    out: str,
    recall: float,
    confidence: float,
    cap_ha: float,
    unit: str,
    tile_m: float,
    mine: tuple[str, ...],
    mine_tiles: float | None,
    run: str | None,
    reflectance_factor: float | None,
    force: bool,
    device: str,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Choose the score below which a pyramid skips a tile, so that a stated share of mine area is kept.

    The threshold, the expected survivors and the evidence go into a copy of the package. A scan reads the threshold of
    a package's screen alone: a coarse model that is calibrated by itself becomes one with minescale model screen.

    \b
    minescale calibrate --model PKG --screen --data sites/ --recall 0.99 --out PKG-calibrated
    """
    from minescale.cli.dataset.opening import need_split, open_both
    from minescale.errors import UsageError
    from minescale.evaluation.calibrated import price, screen_of, write_calibrated
    from minescale.evaluation.evaluate import trained_on
    from minescale.evaluation.screening import calibrate_screen, tile_scores
    from minescale.models.package import load_package
    from minescale.models.predictor import load_predictor
    from minescale.planning.run_dir import RunDir

    package = load_package(model)
    chosen = screen_of(package, screen=screen)
    plan = RunDir(run).load_plan() if run is not None else None
    dataset, split = open_both(data, split_name)
    if part is not None:
        dataset = need_split(split).of(dataset, part)
    if trained_on(chosen.spec, dataset) and not force:
        raise UsageError(
            f"{chosen.spec.name} was trained on this set",
            got=dataset.name,
            expected="sites that no part of the model has seen",
            fix="--part test, another set, or --force",
        )
    tiles = tile_scores(load_predictor(chosen, device), dataset, mine=mine, tile_m=tile_m, factor=reflectance_factor)
    found = calibrate_screen(
        tiles,
        recall=recall,
        cap_ha=cap_ha,
        confidence=confidence or None,
        by_site=unit == "site",
        mine_tiles=mine_tiles,
    )
    cost = None if plan is None else price(plan, found.expected_survivors)
    facts = {
        "data": dataset.name,
        "licence_of_data": dataset.licence,
        "tile_m": tile_m,
        "unit_of_resampling": unit,
        "cost": cost,
    }
    made = write_calibrated(package, out, found, facts, screen=screen)
    if as_json:
        echo_json({**found.to_dict(), **facts, "package": out, "digest": made.digest})
        return
    click.echo(f"threshold          {found.threshold:.3f} for a recall of {recall:g} of mine area")
    pieces = found.tiles - found.whole_tiles
    smaller = f" ({pieces} of them smaller than a scan's)" if pieces else ""
    click.echo(
        f"evidence           {found.tiles} tiles{smaller} of {found.sites} sites, {found.sites_with_mines} with mines"
    )
    click.echo(f"recall here        {found.recall_here:.4f}; as many random tiles hold {found.kept:.4f}")
    click.echo(f"expected survivors {found.expected_survivors:.1%} of tiles, from {found.survivors_from}")
    if cost:
        shares = f"{cost['bytes_share']:.0%} of a flat scan's bytes, {cost['seconds_share']:.0%} of its time"
        click.echo(f"cost               {shares}")
    else:
        click.echo("cost               not priced: give --run DIR of a planned scan")
    if not screen:
        click.echo(f"in a scan          once it is a screen: minescale model screen PKG {out} --out NEW")
    click.echo(out)
