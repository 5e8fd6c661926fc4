"""An evaluation as one HTML file to look at: no script, no request, light and dark."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from minescale.evaluation.cases import MISSED, RIGHT, UNKNOWN, WRONG, Case, Picture, find_cases
from minescale.evaluation.evaluate import Evaluation
from minescale.evaluation.page_charts import charts
from minescale.evaluation.page_style import STYLE
from minescale.labels.auditing.audit import Audit
from minescale.labels.sets.whole import whole

_ROWS = 40
"""Rows of a table by site; those with most units stay."""
_FIGURES = ("auc", "auprc", "f1", "iou", "precision", "recall", "specificity", "mcc", "accuracy")
_NAMES = {"auc": "AUC", "auprc": "AUPRC", "f1": "F1", "iou": "IoU", "mcc": "MCC", "n": "n"}


def write_page(
    evaluation: Evaluation,
    path: str | Path,
    audit: Audit | None = None,
    cases: Mapping[str, Sequence[Case]] | None = None,
) -> None:
    """Write the page, whole or not at all.

    Parameters
    ----------
    audit : of the split whose part was evaluated; None: it says that none was made.
    cases : samples to show; default: :func:`minescale.evaluation.cases.find_cases`.

    Raises
    ------
    OSError
        where it cannot be written.
    """
    shown = find_cases(evaluation) if cases is None else cases
    figures = evaluation.to_dict()
    title = f"{figures['model']['name']} on {figures['data']['name']}"
    body = [
        f"<h1>{escape(title)}</h1>",
        _banners(figures),
        _headline(figures),
        _section("Beside what needs no model", _baselines(figures)),
        _section("Curves", f'<div class="charts">{"".join(charts(figures))}</div>'),
        _section("What a detection is worth where mines are rare", _worth(figures)),
        _section("Classes", _classes(figures)),
        _section("Mines as objects", _objects(figures)),
        _section("By place and kind", _strata(figures)),
        _section("Cases", _cases(shown, figures["unit"])),
        _section("Audit of the split", _audit(audit)),
        _section("Model and data", _about(figures)),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )
    with whole(Path(path)) as partial:
        partial.write_text(page, encoding="utf-8")


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>" if content else ""


def _banners(figures: Mapping[str, Any]) -> str:
    parts = []
    if figures["caveat"]:
        parts.append(f'<p class="banner bad"><b>Caveat.</b> {escape(figures["caveat"])}</p>')
    if figures["no_skill"]:
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in figures["no_skill_reasons"])
        parts.append(f'<div class="banner bad"><b>No skill shown.</b><ul>{reasons}</ul></div>')
    parts += [f'<p class="banner">{escape(text[:1].upper() + text[1:])}.</p>' for text in figures["warnings"]]
    parts += [
        f'<p class="banner">Null figures: {escape(why)}.</p>' for why in sorted(set(figures["undefined"].values()))
    ]
    return "".join(parts)


def _headline(figures: Mapping[str, Any]) -> str:
    unit, sites = figures["unit"], "site" if figures["sites"] == 1 else "sites"
    tiles = [(name, figures[name]) for name in ("auc", "auprc")]
    tiles += [("iou" if unit == "pixel" else "f1", figures["at_threshold"]["iou" if unit == "pixel" else "f1"])]
    cards = "".join(
        f"<div><span>{_NAMES[name]}</span><b>{_number(value)}</b><small>{_interval(figures['intervals'].get(name))}"
        "</small></div>"
        for name, value in tiles
    )
    return (
        f'<div class="cards">{cards}</div><p>{figures["n"]:,} samples of {figures["sites"]:,} {sites}, '
        f"{figures['units']['positive']:,} of {figures['units']['positive'] + figures['units']['negative']:,} {unit}s "
        f"mined ({_percent(figures['prevalence'])}); calls from {figures['threshold']:.3f} upward. "
        f"95 % intervals: {escape(figures['bootstrap']['note'])}"
        + (f", {figures['bootstrap']['resamples']} times" if figures["intervals"] else "")
        + ".</p>"
    )


def _baselines(figures: Mapping[str, Any]) -> str:
    base, index = figures["baselines"], figures["baselines"]["best_single_index"]
    chance = {"auc": 0.5, "auprc": figures["prevalence"]} if figures["auc"] is not None else {}
    own = {**figures["at_threshold"], "auc": figures["auc"], "auprc": figures["auprc"]}
    columns = [("model", own), *([("best single index", index)] if index else [])]
    columns += [
        (n.replace("_", " "), {**base[n], **chance}) for n in ("all_positive", "all_negative", "prevalence_random")
    ]
    rows = []
    for name in _FIGURES:
        interval = _interval(figures["intervals"].get(name))
        values = [_number(column.get(name)) for _, column in columns]
        rows.append([_NAMES.get(name, name), f"{values[0]} {interval}".strip(), *values[1:]])
    text = _table(["", *(name for name, _ in columns)], rows)
    if index:
        text += (
            f"<p>Best single index: {escape(index['feature'])} {escape(index['direction'])} {index['threshold']:.4g}, "
            f"{_chosen(index['chosen_on'])}.</p>"
        )
    metadata = base["metadata_only"]
    if metadata:
        text += (
            f"<p>A classifier of acquisition data alone ({escape(', '.join(metadata['columns']))}) reaches "
            f"a balanced accuracy of {metadata['balanced_accuracy']:.3f} on sites it has not seen; chance is "
            f"{metadata['chance']:.2f}, the model {_number(metadata['model_balanced_accuracy'])}.</p>"
        )
    return text


def _chosen(where: str) -> str:
    return escape(where if "optimistic" in where else f"chosen on {where}")


def _worth(figures: Mapping[str, Any]) -> str:
    rows = [[f"{float(share):.1%}", _percent(value)] for share, value in figures["ppv"].items()]
    shares = figures["sample_shares"]
    spread = f" {_interval(shares['mined_interval'])}" if shares["mined_interval"] else ""
    found = _table(["share of ground that is mined", "detections that are right"], rows)
    found += (
        "<p>By Bayes' rule from sensitivity and specificity at the threshold; it holds as far as the negatives are "
        f"like those of the country. Of the judged {figures['unit']}s {_percent(shares['called'])} are called, "
        f"and {_percent(shares['mined'])} are mined{spread} ({escape(shares['note'])}).</p>"
    )
    ece, before = figures["calibration"]["ece"], figures["calibration"]["before"]
    was = f", {before['ece']:.3f} before calibration" if before else ""
    return found + f"<p>Expected calibration error {ece:.3f}{was}.</p>"


def _classes(figures: Mapping[str, Any]) -> str:
    found = figures["classes"]
    if not found:
        return ""
    names = ("precision", "recall", "f1", "iou")
    rows = [[n, f"{row['n']:,}", *(_number(row[k]) for k in names)] for n, row in found["per_class"].items()]
    confusion = [[n, *(f"{v:,}" for v in row)] for n, row in zip(found["names"], found["confusion"], strict=True)]
    return (
        _table(["class", "n", *(_NAMES.get(n, n) for n in names)], rows)
        + f"<p>Mean IoU {_number(found['mean_iou'])}; overall accuracy {_number(found['overall_accuracy'])}, and "
        f"{_number(found['largest_class'])} for calling everything the commonest class.</p>"
        + _table(["labelled, then called", *found["names"]], confusion)
    )


def _objects(figures: Mapping[str, Any]) -> str:
    found = figures["objects"]
    if not found:
        return ""
    words = {"touched": "any common pixel", "centroid": "middle inside", "iou": "IoU of 0.5 or more"}
    rows = [
        [
            words[rule],
            *(
                f"{_number(found[rule][k]['value'])} {_interval(found[rule][k]['interval'])}"
                for k in ("recall", "precision")
            ),
        ]
        for rule in words
    ]
    sizes = [
        [
            f"{row['low']:g} to {row['high']:g} ha" if row["high"] else f"over {row['low']:g} ha",
            f"{row['n']:,}",
            f"{_number(row['touched'])} {_interval(row['interval'])}",
            _number(row["iou"]),
        ]
        for row in found["by_size"]
    ]
    return (
        f"<p>{found['objects']:,} true objects and {found['detections']:,} detections of at least 0.5 ha; "
        "ground without a label belongs to neither.</p>"
        + _table(["a match is", "recall", "precision"], rows)
        + _table(["size of the true object", "n", "touched", "matched by IoU"], sizes)
    )


def _strata(figures: Mapping[str, Any]) -> str:
    text = ""
    if figures["false_alarms"]:
        rows = [
            [
                row["kind"],
                f"{row['n']:,}",
                f"{row['false_alarms']:,}",
                f"{_percent(row['rate'])} {_interval([row['low'], row['high']] if row['n'] else None)}",
            ]
            for row in figures["false_alarms"]
        ]
        text += "<h3>False alarms by kind of ground</h3>" + _table(["kind", "samples", "called", "rate"], rows)
    for column, rows_of in figures["by"].items():
        if len(rows_of) < 2:
            continue
        most = sorted(rows_of, key=lambda r: -(r["tp"] + r["fp"] + r["fn"] + r["tn"]))[:_ROWS]
        rows = [
            [
                row[column],
                f"{row['samples']:,}",
                f"{row['tp'] + row['fn']:,}",
                f"{_number(row['recall'])} {_interval(row.get('recall_interval'))}",
                f"{_number(row['false_positive_rate'])} {_interval(row.get('false_positive_rate_interval'))}",
                *(_number(row[k]) for k in ("precision", "iou", "auc")),
            ]
            for row in most
        ]
        more = f" (the largest {_ROWS} of {len(rows_of)})" if len(rows_of) > _ROWS else ""
        heads = [
            column,
            "samples",
            f"mined {figures['unit']}s",
            "recall",
            "false-positive rate",
            "precision",
            "IoU",
            "AUC",
        ]
        text += f"<h3>By {escape(column)}{more}</h3>" + _table(heads, rows)
    return text


def _cases(cases: Mapping[str, Sequence[Case]], unit: str) -> str:
    text = ""
    if unit == "pixel" and cases:
        keys = (
            (RIGHT, "mining, found"),
            (WRONG, "false alarm"),
            (MISSED, "mining, missed"),
            (UNKNOWN, "does not count"),
        )
        text += '<p class="legend">' + "".join(
            f'<span><i class="key" style="background:rgb{colour}"></i>{name}</span>' for colour, name in keys
        )
        text += "</p>"
    for title, group in cases.items():
        text += f'<h3>{escape(title)}</h3><div class="cases {unit}">' + "".join(map(_case, group)) + "</div>"
    return text


def _case(case: Case) -> str:
    pictures = "".join(
        f'<span><img alt="{escape(title)} of {escape(case.id)}" src="data:image/png;base64,{_png(picture)}">'
        f"<small>{escape(title)}</small></span>"
        for title, picture in case.pictures
    )
    return f'<div class="case"><p><b>{escape(case.caption)}</b> {escape(case.id)}</p><div>{pictures}</div></div>'


def _png(picture: Picture) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture, "RGB").save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _audit(audit: Audit | None) -> str:
    if audit is None:
        return "<p>No split was given: nothing here says that the model has not seen these places.</p>"
    rows = [[f.severity, f.check, f.message] for f in audit.findings]
    parts = [[name, *(f"{n[k]:,}" for k in ("samples", "parents", "sites"))] for name, n in audit.parts.items()]
    verdict = "passes" if audit.ok else "fails"
    return (
        f"<p>{escape(audit.dataset)}, split by {escape(audit.rule)}, <b>{verdict}</b> its audit; "
        f"{escape(audit.val_sentence)}.</p>"
        + _table(["part", "samples", "independent", "sites"], parts)
        + (_table(["severity", "check", "finding"], rows) if rows else "")
    )


def _about(figures: Mapping[str, Any]) -> str:
    text = ""
    for name in ("model", "data"):
        rows = [[key, _words(value)] for key, value in figures[name].items() if value not in (None, "", {}, [])]
        text += f"<h3>{name.capitalize()}</h3>" + _table(["", ""], rows)
    return text


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_words(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(entry) for entry in value)
    return str(value)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in heads) if any(heads) else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _interval(pair: Sequence[float] | None) -> str:
    return "" if pair is None else f"({pair[0]:.3f} to {pair[1]:.3f})"
