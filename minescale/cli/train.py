"""``minescale train``: from a labelled set and settings to a package with scores that stand beside baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minescale.cli.dataset.opening import split_option
from minescale.cli.group import Command
from minescale.cli.params import echo_json, json_option, progress_option, verbose_option

if TYPE_CHECKING:
    from minescale.labels.sets.dataset import Dataset
    from minescale.labels.sets.split import Split
    from minescale.training.config import TrainConfig


@click.command(cls=Command, short_help="Train a model on a labelled set.")
@click.option("--data", metavar="PATH", help="Dataset: a folder, or a published file.")
@split_option
@click.option("--by", metavar="RULE", help="Make a split on the fly instead: site, block, image or a column.")
@click.option("--preset", metavar="NAME", help="Settings that come with minescale; --list-presets names them.")
@click.option("--config", "config_file", metavar="FILE", help="Settings in a YAML file.")
@click.option("--out", "-o", metavar="DIR", help="Folder of the training; the package becomes DIR/package.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="One setting, as run.epochs=3; repeatable.")
@click.option("--epochs", type=int, metavar="N", help="Short for --set run.epochs=N.")
@click.option("--seed", type=int, metavar="N", help="Short for --set seed=N.")
@click.option("--device", default="auto", show_default=True, metavar="D", help="auto, cpu, cuda or cuda:N.")
@click.option("--force", is_flag=True, help="Train although the audit fails; every score then says so.")
@click.option("--no-resume", is_flag=True, help="Start anew where DIR holds a training.")
@click.option("--list-presets", "listing", is_flag=True, help="Name the presets and stop.")
@progress_option
@json_option
@verbose_option
def train(
    data: str | None,
    split_name: str | None,
    by: str | None,
    preset: str | None,
    config_file: str | None,
    out: str | None,
    changes: tuple[str, ...],
    epochs: int | None,
    seed: int | None,
    device: str,
    force: bool,
    no_resume: bool,
    listing: bool,
    progress: str,
    as_json: bool,
    verbose: int,
) -> None:
    """Train a model on the samples of a labelled set, set its threshold on val, and judge it on test.

    The split is audited first: where it would make scores better than the model, nothing is trained unless you say
    --force. The same command continues a training that was stopped.

    \b
    minescale train --data set --split split.json --preset unet_small --out model
    torchrun --nproc-per-node 4 -m minescale train ...        several GPUs
    """
    from minescale.cli.params import set_logging
    from minescale.errors import UsageError

    set_logging(verbose, quiet=False)
    if listing:
        _list_presets(as_json=as_json)
        return
    if data is None or out is None:
        raise UsageError("which data, and where to?", expected="--data PATH and --out DIR")
    config = _settings(preset, config_file, changes, {"run.epochs": epochs, "seed": seed})
    dataset, split = _opened(data, split_name, by, config)

    from minescale.training.api import train as fit
    from minescale.training.progress import shown

    with shown(progress) as tell:  # type: ignore[arg-type]  # click has checked the choice
        made = fit(dataset, split, config, Path(out), force=force, resume=not no_resume, device=device, tell=tell)
    if made is None:
        return
    if as_json:
        echo_json({"package": made.package.path, "digest": made.package.digest, "metrics": made.metrics})
        return
    for text in table(made.metrics):
        click.echo(text)
    click.echo(made.package.path)


def table(metrics: dict[str, Any]) -> list[str]:
    """Scores of val and test beside those of trivial answers, as lines for people."""
    lines: list[str] = []
    for part in ("val", "test"):
        if part not in metrics:
            continue
        found = metrics[part]
        lines.append(f"{part}: {found['n']:,} samples of {found['sites']:,} sites; {found['val']}")
        lines += [f"CAVEAT: {found['caveat']}"] if found["caveat"] else []
        lines += [f"NO SKILL: {reason}" for reason in found["no_skill_reasons"]]
        lines.append(f"  {'':<34}{'F1':>8}{'IoU':>8}{'AUC':>8}{'precision':>11}{'recall':>8}")
        lines.append(_row("the model", {**found["at_threshold"], "auc": found["auc"]}))
        for name, baseline in found["baselines"].items():
            if baseline is not None and "f1" in baseline:
                label = name.replace("_", " ") + (f": {baseline['feature']}" if "feature" in baseline else "")
                lines.append(_row(label, baseline))
        if found.get("classes") is not None:
            lines += [_row(f"class {name}", values) for name, values in found["classes"]["per_class"].items()]
            lines.append(_row("mean over classes", {"iou": found["classes"]["mean_iou"]}))
    return lines


def _row(label: str, values: dict[str, Any]) -> str:
    def number(name: str, width: int) -> str:
        value = values.get(name)
        return ("-" if value is None else f"{value:.3f}").rjust(width)

    shown = label if len(label) <= 34 else label[:33] + "…"
    columns = (("f1", 8), ("iou", 8), ("auc", 8), ("precision", 11), ("recall", 8))
    return f"  {shown:<34}" + "".join(number(name, width) for name, width in columns)


def _list_presets(*, as_json: bool) -> None:
    from minescale.training.config import list_presets, load_preset

    found = {name: load_preset(name) for name in list_presets()}
    if as_json:
        echo_json({name: config.to_dict() for name, config in found.items()})
        return
    for name, config in found.items():
        click.echo(f"{name:<18}{config.family:<12}{config.description}")


def _settings(
    preset: str | None, file: str | None, changes: tuple[str, ...], short: dict[str, int | None]
) -> TrainConfig:
    """Settings of a preset or a file, then single changes over them."""
    from minescale.errors import UsageError
    from minescale.training.config import list_presets, load_config, load_preset

    if (preset is None) == (file is None):
        raise UsageError("settings", expected="one of --preset and --config", fix=f"--preset {list_presets()[0]}")
    config = load_preset(preset) if preset is not None else load_config(str(file))
    single: dict[str, Any] = {}
    for text in changes:
        path, equals, value = text.partition("=")
        if not equals:
            raise UsageError("--set takes KEY=VALUE", got=text, fix="--set run.epochs=3")
        single[path.strip()] = value.strip()
    return config.replace({**single, **{key: value for key, value in short.items() if value is not None}})


def _opened(data: str, split_name: str | None, by: str | None, config: TrainConfig) -> tuple[Dataset, Split]:
    """The set and its split: as named, as made on the fly, as the set came, or as the preset would make it."""
    from minescale.cli.dataset.opening import need_split, open_both
    from minescale.errors import UsageError
    from minescale.labels.auditing.splitting import split_by

    if by is not None and split_name is not None:
        raise UsageError("two splits", got=f"--split {split_name} and --by {by}", expected="one of them")
    dataset, split = open_both(data, split_name)
    rule = by or (config.split.by if split is None else "")
    if rule:
        split = split_by(dataset, rule, config.split.fractions, seed=config.split.seed)
    return dataset, need_split(split)
