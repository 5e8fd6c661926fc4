"""``minescale evaluate``: how good is a model, beside what needs no model?"""

from __future__ import annotations

from typing import Any

import click

from minescale.cli.dataset.opening import split_option
from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, verbose_option


@click.command(cls=Command, short_help="Judge a model on labelled samples.")
@click.option("--model", required=True, metavar="PKG", help="Built-in package or folder of one.")
@click.option("--data", required=True, metavar="PATH", help="Dataset: a folder, or a published .npz file.")
@split_option
@click.option(
    "--part", type=click.Choice(["train", "val", "test"]), help="Part of --split to judge on; default with it: test."
)
@click.option(
    "--reference-part",
    type=click.Choice(["train", "val", "test"]),
    help="Part on which the best single index is chosen; default: train, where a split is given.",
)
@click.option("--threshold", type=float, metavar="T", help="Decision threshold; default: the model's.")
@click.option("--out", "-o", metavar="DIR", help="Write evaluation.json, confusion.json, report.html and pictures.")
@click.option("--overwrite", is_flag=True, help="Replace an evaluation in DIR.")
@click.option("--bootstrap", type=int, default=200, show_default=True, metavar="N", help="Resamples of sites; 0: none.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the resamples.")
@click.option(
    "--reflectance-factor", "factor", type=float, metavar="F", help="Reflectance of the number 1, if units do not tell."
)
@click.option("--device", default="auto", show_default=True, metavar="D", help="auto, cpu, cuda or cuda:N.")
@json_option
@verbose_option
def evaluate(
    model: str,
    data: str,
    split_name: str | None,
    part: str | None,
    reference_part: str | None,
    threshold: float | None,
    out: str | None,
    overwrite: bool,
    bootstrap: int,
    seed: int,
    factor: float | None,
    device: str,
    as_json: bool,
    verbose: int,  # noqa: ARG001  (read by Command)
) -> None:
    """Judge the model PKG on the labelled samples of PATH: all of them, or one part of a split.

    Every score stands beside what calling everything mining, nothing, or one band with one threshold reaches on the
    same samples; a model that is no better is flagged. With a split, the split's audit is run, and a failed one is
    said with every figure.
    """
    from minescale.cli.dataset.opening import need_split, open_both
    from minescale.errors import UsageError
    from minescale.evaluation.evaluate import evaluate as judge
    from minescale.evaluation.files import write_evaluation
    from minescale.labels.auditing.audit import audit
    from minescale.labels.formats.registry import open_dataset

    found, samples, reference = None, None, None
    if split_name is None and part is None:
        if reference_part is not None:
            raise UsageError("--reference-part needs a split", fix="--split FILE, or --part of the set's own split")
        samples = open_dataset(data)
    else:
        dataset, split = open_both(data, split_name)
        split, part, named = need_split(split), part or "test", reference_part or "train"
        if named == part and reference_part is not None:
            raise UsageError("--reference-part is the part that is judged", got=part, expected="another one")
        samples = split.of(dataset, part)
        if named != part and len(split.rows(dataset, named)):
            reference = split.of(dataset, named)
        found = audit(dataset, split)
    made = judge(
        model,
        samples,
        device=device,
        threshold=threshold,
        caveat="" if found is None else found.caveat,
        reference=reference,
        bootstrap=bootstrap,
        seed=seed,
        factor=factor,
    )
    if out is not None:
        write_evaluation(made, out, audit=found, overwrite=overwrite)
    figures = made.to_dict()
    if as_json:
        echo_json(figures)
        return
    for line in table(figures):
        click.echo(line)
    if out is not None:
        click.echo(out)


def table(figures: dict[str, Any]) -> list[str]:
    """The figures that matter most, as lines for people."""
    unit, at = figures["unit"], figures["at_threshold"]
    lines = [
        f"{figures['model']['name']} on {figures['data']['name']}",
        (
            f"{figures['n']:,} samples of {figures['sites']:,} sites, {figures['units']['positive']:,} positive "
            f"{unit}s ({_share(figures['prevalence'])})"
        ),
    ]
    lines += [f"CAVEAT: {figures['caveat']}"] if figures["caveat"] else []
    lines += [f"NO SKILL: {reason}" for reason in figures["no_skill_reasons"]]
    lines += [f"warning: {warning}" for warning in figures["warnings"]]
    for name in ("auc", "auprc"):
        lines.append(f"{name.upper():<28}{_number(figures[name])}{_interval(figures['intervals'].get(name))}")
    for specificity, value in figures["sensitivity_at_specificity"].items():
        interval = figures["intervals"].get(f"sensitivity_at_specificity_{specificity}")
        lines.append(f"{'sensitivity at ' + specificity:<28}{_number(value)}{_interval(interval)}")
    lines.append(f"at threshold {figures['threshold']:.3f}")
    for name in ("precision", "recall", "specificity", "f1", "iou", "mcc"):
        lines.append(f"  {name:<26}{_number(at[name])}{_interval(figures['intervals'].get(name))}")
    lines.append(f"{'ECE':<28}{_number(figures['calibration']['ece'])}")
    for prevalence, value in figures["ppv"].items():
        lines.append(f"{f'precision at {float(prevalence):.1%} mining':<28}{_number(value)}")
    lines.append(f"{'without a model':<26}{'F1':>8}{'IoU':>8}{'AUC':>8}")
    for name, baseline in figures["baselines"].items():
        if baseline is not None and "f1" in baseline:
            label = name.replace("_", " ") + (f": {baseline['feature']}" if "feature" in baseline else "")
            auc = _number(baseline["auc"]) if "auc" in baseline else "-"
            lines.append(f"  {label:<24}{baseline['f1']:>8.3f}{baseline['iou']:>8.3f}{auc:>8}")
    metadata = figures["baselines"]["metadata_only"]
    if metadata is not None:
        lines.append(
            f"  acquisition data alone: balanced accuracy {metadata['balanced_accuracy']:.3f}, the model "
            f"{metadata['model_balanced_accuracy']:.3f}"
        )
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _interval(pair: list[float] | None) -> str:
    return "" if pair is None else f"  [{pair[0]:.3f}, {pair[1]:.3f}]"
