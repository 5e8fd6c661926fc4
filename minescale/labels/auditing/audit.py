"""The audit of a split: may a model be trained on it, and what must its scores say if it is all the same?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from minescale.errors import UsageError
from minescale.labels.auditing import content as audit_content
from minescale.labels.auditing import leaks as audit_leaks
from minescale.labels.auditing.confounding import MARGIN
from minescale.labels.auditing.survey import Finding, Survey, survey
from minescale.labels.sets.dataset import Dataset
from minescale.labels.sets.split import PARTS, Split

MAX_GAP_DAYS = 365
"""Between label and image; a pit grows within a year. Dates of lower precision count as their whole span."""
_ORDER = ("error", "warning", "note")


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was found. A set whose audit holds an error is not to be trained on."""

    dataset: str
    rule: str
    """The split's."""
    val_mode: Literal["seen", "unseen"]
    """Whether val holds sites that train has seen: by the samples, whatever the split says of itself."""
    findings: tuple[Finding, ...]
    """Errors first."""
    parts: dict[str, dict[str, int]] = field(default_factory=dict)
    """Per part: samples, parents (samples that are no augmented copy of another), sites."""

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "error")

    @property
    def val_sentence(self) -> str:
        """Belongs beside every validation score."""
        return f"val: {self.val_mode} sites"

    @property
    def caveat(self) -> str:
        """The sentence that scores of a model trained on this split carry; empty where the audit found no error."""
        if self.ok:
            return ""
        causes = "; ".join(f.message for f in self.failures)
        return f"trained although the audit of {self.dataset} failed, so this score is no evidence of skill: {causes}"

    def require(self, *, force: bool = False) -> str:
        """Refuse a set that fails, unless told explicitly.

        Returns
        -------
        :attr:`caveat`: what every score must then say.

        Raises
        ------
        UsageError
            listing what failed.
        """
        if not self.ok and not force:
            raise UsageError(
                f"dataset {self.dataset} fails its audit, split by {self.rule}",
                got="; ".join(f"{f.check}: {f.message}" for f in self.failures),
                expected="no finding of severity error",
                fix="another split, or force=True (--force); every score then says that the audit failed",
            )
        return self.caveat

    def to_dict(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "rule": self.rule,
            "ok": self.ok,
            "val": self.val_sentence,
            "caveat": self.caveat,
            "parts": self.parts,
            "findings": [asdict(f) for f in self.findings],
        }

    def to_text(self) -> str:
        """The findings as lines for people."""
        verdict = "passes" if self.ok else "FAILS"
        lines = [f"{self.dataset}, split by {self.rule}: {verdict} its audit; {self.val_sentence}"]
        for part, n in self.parts.items():
            lines.append(f"  {part:5} {n['samples']} samples, {n['parents']} independent, {n['sites']} sites")
        lines += [f"  {f.severity:7} {f.check}: {f.message}" for f in self.findings]
        return "\n".join(lines)


def audit(
    dataset: Dataset,
    split: Split,
    *,
    near_m: float | None = None,
    max_gap_days: int = MAX_GAP_DAYS,
    acquisition: Sequence[str] | None = None,
    margin: float = MARGIN,
    pixels: bool = True,
) -> Audit:
    """Look for whatever would make the scores of a split better than the model.

    Errors: sites, siblings or equal pixels on both sides; samples of different parts that are nearer than ``near_m``;
    acquisition that predicts the class; labels and images further apart than ``max_gap_days``; a part that is empty
    or lacks a class. Between train and val the first two are notes where the split says that val sites are seen.
    Samples that belong to no part are not looked at.

    Parameters
    ----------
    near_m : metres between middles; default: the edge of a sample, below which two of them overlap, or 1000.
    acquisition : columns that say how samples were acquired; default:
        :func:`minescale.labels.auditing.confounding.acquisition_columns`.
    margin : how far above chance acquisition alone may predict the class.
    pixels : compare samples pixel by pixel, turned and mirrored too; reads every image once.

    Raises
    ------
    UsageError
        where no sample of the set has a part.
    """
    seen = survey(dataset, split, pixels=pixels)
    shared = audit_leaks.shared_sites(seen)
    findings = [
        *audit_content.coverage(seen),
        *audit_leaks.sites(seen, shared),
        *audit_leaks.neighbours(seen, near_m),
        *audit_leaks.siblings(seen),
        *audit_leaks.equal_pixels(seen),
        *audit_content.acquisition(seen, acquisition, margin),
        *audit_content.epochs(seen, max_gap_days),
        *audit_content.prevalence(seen),
        *audit_content.negatives(seen),
        *audit_content.continents(seen),
    ]
    return Audit(
        dataset=dataset.name,
        rule=split.rule,
        val_mode="seen" if shared.get(("train", "val")) else "unseen",
        findings=tuple(sorted(findings, key=lambda f: _ORDER.index(f.severity))),
        parts=_sizes(seen),
    )


def _sizes(seen: Survey) -> dict[str, dict[str, int]]:
    sizes = {}
    for part in PARTS:
        here = seen.table[seen.table["part"] == part]
        if len(here):
            sizes[part] = {
                "samples": len(here),
                "parents": int(here["parent"].nunique()),
                "sites": int(here["site"].nunique()),
            }
    return sizes
