"""The model card: data and licence, split, scores beside baselines, what the model is for, and what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minescale.labels.auditing.audit import Audit
from minescale.models.spec import ModelSpec

_UNLICENSED = (
    "**Not to be passed on.** Nobody granted a licence on the data, so there is none on these weights: test and "
    "evaluate with them, but do not redistribute them."
)


def model_card(spec: ModelSpec, metrics: Mapping[str, Any], audit: Audit, facts: Mapping[str, Any]) -> str:
    """The text of ``model_card.md``.

    Parameters
    ----------
    metrics : evaluations of ``val`` and, where there is one, ``test``.
    facts : what the fit found out.
    """
    lines = [f"# {spec.name} {spec.version}", ""]
    lines += [spec.description, ""] if spec.description else []
    lines += [f"> {audit.caveat}", ""] if audit.caveat else []
    for part in ("test", "val"):
        for reason in metrics.get(part, {}).get("no_skill_reasons", ()):
            lines += [f"> **No skill** on {part}: {reason}.", ""]
    lines += _data(spec, metrics)
    lines += _scores(metrics)
    lines += _model(spec, facts)
    lines += _use(spec)
    return "\n".join(lines)


def _data(spec: ModelSpec, metrics: Mapping[str, Any]) -> list[str]:
    known = spec.training
    lines = ["## Data", "", f"- Set: {known.get('data', known.get('dataset', 'not named'))}"]
    lines += [f"- Attribution: {known['attribution']}"] if "attribution" in known else []
    if "base" in known:
        owed = f", attribution: {known['base_attribution']}" if "base_attribution" in known else ""
        lines.append(f"- Features are in part those of {known['base']}{owed}")
    lines += [f"- Of it: {known['base_caveat']}"] if "base_caveat" in known else []
    lines.append(f"- Licence of the data: {known.get('data_licence', spec.licence)}; of the weights: {spec.licence}")
    sizes = ", ".join(
        f"{part} {n} samples of {known['sites'][part]} sites" for part, n in known.get("samples", {}).items()
    )
    lines.append(f"- Split by {known.get('split')}: {sizes}")
    for part in ("val", "test"):
        if part in metrics:
            lines.append(f"- Prevalence of {spec.target} in {part}: {_share(metrics[part]['prevalence'])}")
    if "start" in known:
        lines.append(f"- Images from {known['start'][:10]} to {known['end'][:10]}")
    if "bbox" in known:
        lines.append("- Within longitudes and latitudes " + ", ".join(f"{edge:g}" for edge in known["bbox"]))
    return [*lines, "", *([_UNLICENSED, ""] if spec.licence == "none" else [])]


def _scores(metrics: Mapping[str, Any]) -> list[str]:
    parts = [part for part in ("val", "test") if part in metrics]
    lines = [
        "## Scores",
        "",
        f"Threshold and calibration were set on val ({metrics['val']['val']}); its scores flatter.",
    ]
    lines += [] if "test" in parts else ["There is no test part: nothing here is evidence of skill elsewhere."]
    lines += ["", "| part | what | F1 | IoU | AUC | precision | recall |", "|---|---|---|---|---|---|---|"]
    for part in parts:
        found = metrics[part]
        at = found["at_threshold"]
        lines.append(_row(part, "**this model**", {**at, "auc": found["auc"]}))
        for name, baseline in found["baselines"].items():
            if baseline is not None and "f1" in baseline:
                label = name.replace("_", " ") + (f" ({baseline['feature']})" if "feature" in baseline else "")
                lines.append(_row(part, label, baseline))
    for part in parts:
        if metrics[part].get("classes") is not None:
            lines += [_row(part, name, values) for name, values in metrics[part]["classes"]["per_class"].items()]
            lines.append(_row(part, "mean over classes", {"iou": metrics[part]["classes"]["mean_iou"]}))
    lines.append("")
    for part in parts:
        pairs = metrics[part]["sensitivity_at_specificity"].items()
        told = ", ".join(f"{_number(value)} at specificity {name}" for name, value in pairs)
        lines.append(f"- {part}: sensitivity {told}; AUPRC {_number(metrics[part]['auprc'])}")
        ppv = metrics[part]["ppv"].items()
        told = ", ".join(f"{_number(value)} where {float(name):.1%} is mining" for name, value in ppv)
        lines.append(f"- {part}: expected precision of alarms {told}")
    return [*lines, ""]


def _model(spec: ModelSpec, facts: Mapping[str, Any]) -> list[str]:
    low, high = spec.resolutions
    lines = [
        "## Model",
        "",
        f"- Family {spec.family}, task {spec.task}, bands {', '.join(spec.channels)}",
        f"- Pixels of {spec.resolution:g} m; runs from {low:.3g} to {high:.3g} m",
        f"- Classes {', '.join(spec.classes)}; the map holds the probability of {spec.target}",
        f"- Threshold {spec.threshold:.3f}; calibration: {spec.calibration.get('method', 'none')}",
    ]
    if "best_epoch" in facts:
        how = "the last" if facts["monitor"] == "last" else f"chosen by {facts['monitor']}"
        lines.append(f"- Weights of epoch {facts['best_epoch']} of {facts['epochs']}, {how}")
    return [*lines, ""]


def _use(spec: ModelSpec) -> list[str]:
    return [
        "## Intended use and limits",
        "",
        f"Screening imagery for ground that looks like {spec.target}; every find is a candidate for a person to look",
        "at. A map says nothing about who works there or whether they may. Scores hold for sites like those of the",
        "set; other regions, seasons, sensors and look-alikes that it lacks were not tested. Where a scan saw no",
        "clear ground the map says so and nothing else.",
        "",
    ]


def _row(part: str, what: str, values: Mapping[str, Any]) -> str:
    names = ("f1", "iou", "auc", "precision", "recall")
    return f"| {part} | {what} | " + " | ".join(_number(values.get(name)) for name in names) + " |"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
