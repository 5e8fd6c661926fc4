"""Is a score better than what needs no model, sites that vary and the best single index included?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from minescale.errors import UsageError
from minescale.outputs.evaluation import PixelScore, no_skill_reasons, trivial_scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """The verdict on one table of counts, and what it is compared with."""

    score: PixelScore
    baselines: dict[str, PixelScore]
    """``all_positive``, ``all_negative``, and the expectation of ``prevalence_random``."""
    reasons: tuple[str, ...]
    """Why no skill is shown; empty where it is."""

    @property
    def no_skill(self) -> bool:
        return bool(self.reasons)

    def to_dict(self) -> dict[str, Any]:
        return {
            "score": asdict(self.score),
            "baselines": {name: asdict(score) for name, score in self.baselines.items()},
            "no_skill": self.no_skill,
            "reasons": list(self.reasons),
        }


def skill_of_confusion(tp: float, fp: float, fn: float, tn: float) -> Skill:
    """Judge counts of yes/no calls alone, such as those behind a published precision, recall and prevalence.

    Raises
    ------
    UsageError
        for counts below 0, or none at all.
    """
    if min(tp, fp, fn, tn) < 0 or tp + fp + fn + tn <= 0:
        raise UsageError("counts", got=f"tp {tp}, fp {fp}, fn {fn}, tn {tn}", expected="0 or more, not all 0")
    score = PixelScore.of(tp, fp, fn, tn)
    return Skill(score=score, baselines=trivial_scores(round(tp + fn), round(fp + tn)), reasons=no_skill_reasons(score))


def reasons_against(
    score: PixelScore,
    auc: float | None,
    auprc: float | None,
    auc_interval: tuple[float, float] | None,
    index: Mapping[str, Any] | None,
) -> list[str]:
    """Every reason why figures show no skill, in words.

    Parameters
    ----------
    score : at the decision threshold.
    auc, auprc : None where a class is missing.
    auc_interval : 95 %, None where there is none.
    index : the best single index, as :mod:`minescale.evaluation.baselines` gives it; None where there is none.
    """
    if auc is None or auprc is None:
        return ["one class is missing, so skill cannot be shown"]
    reasons = list(no_skill_reasons(score, auc))
    if auc > 0.5 and auc_interval is not None and auc_interval[0] <= 0.5:
        reasons.append(f"the 95 % interval of AUC, {auc_interval[0]:.3f} to {auc_interval[1]:.3f}, includes 0.5")
    if index is not None and index["auc"] is not None and auc <= index["auc"] and auprc <= index["auprc"]:
        reasons.append(
            f"not above {index['feature']} alone: AUC {auc:.3f} against {index['auc']:.3f} ({index['chosen_on']})"
        )
    return reasons


def warnings_about(
    metadata: Mapping[str, Any] | None, resolution: float | None, trained: tuple[float, float]
) -> list[str]:
    """What makes figures doubtful without proving them empty, in words.

    Parameters
    ----------
    metadata : the baseline of acquisition data; None where there is none.
    resolution : metres of the set's pixels, where known.
    trained : smallest and largest pixel that the model was made for.
    """
    doubts = []
    if metadata is not None and metadata["balanced_accuracy"] >= metadata["model_balanced_accuracy"]:
        doubts.append(
            f"the way samples were acquired ({', '.join(metadata['columns'])}) tells their classes apart as well as "
            f"the model does: balanced accuracy {metadata['balanced_accuracy']:.3f} against "
            f"{metadata['model_balanced_accuracy']:.3f}; a score on them may be one of archives"
        )
    if resolution is not None and not trained[0] * (1 - 1e-6) <= resolution <= trained[1] * (1 + 1e-6):
        doubts.append(
            f"pixels of {resolution:g} m, and the model was made for {trained[0]:.4g} to {trained[1]:.4g} m: a scan "
            "would refuse it"
        )
    return doubts
