"""Train the built-in package `demo` (U-Net at 10 m, screen at 80 m) on synthetic regions, score it, write it."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fit
import numpy as np
import torch
import yaml
from card import CARD
from regions import IGNORE, MINE, TILE, Sample, provenance, samples
from screen import make_screen

from minescale.kernels.indices import evaluate, expression_of
from minescale.models.network import state_arrays
from minescale.models.package import BUILTIN, ModelPackage, write_package
from minescale.models.predictor import Predictor, load_predictor
from minescale.models.spec import ModelSpec
from minescale.models.symbols import band_symbols
from minescale.models.windows import predict_tile
from minescale.outputs.evaluation import SYNTHETIC_LABEL, score_map
from minescale.store.codes import PROBABILITY_FILL, PROBABILITY_STEPS, encode_probability

HERE = Path(__file__).parent
BASELINE_INDICES = ("NDVI", "NBR2", "MNDWI", "IKAW", "NDTI", "NDBI")
log = logging.getLogger("demo_model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=HERE / "config.yaml")
    parser.add_argument("--out", type=Path, default=BUILTIN / "demo", help="package folder to write")
    parser.add_argument("--only", choices=("unet", "screen"), help="leave the other model as it is")
    parser.add_argument("--work", type=Path, required=True, help="folder for scenes and composites (about 2 GB)")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    log.setLevel(logging.INFO)
    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config["threads"])
    torch.use_deterministic_algorithms(True)
    if arguments.only != "screen":
        make_unet(config, arguments.work, arguments.out)
    if arguments.only != "unet":
        make_screen(config, arguments.work, arguments.out / "screen")


def make_unet(config: Mapping[str, Any], work: Path, out: Path) -> None:
    bands, seed = config["unet"]["bands"], config["seed"]
    train = list(samples("train", config, bands, work))
    validate = list(samples("validate", config, bands, work))
    log.info("regions ready: %d to train on, %d to validate", len(train), len(validate))

    pairs = fit.fine_pairs(train)
    mean, std = fit.band_statistics(pairs)
    network, history = fit.train_unet(pairs, config["unet"], mean, std, seed)
    log.info("U-Net loss: %s", history)
    text = "Small U-Net trained on synthetic regions only: it shows the machinery, no skill on real scenes."
    spec = fit.network_spec("demo", "1.0.0", config["unet"], mean, std, provenance(train), text)
    draft = write_package(work / "draft", spec, state_arrays(network), "draft", {})
    threshold = best_threshold(load_predictor(draft, "cpu"), validate)
    fit.shift_decision(network, threshold)
    log.info("decision threshold %.3f moved to 0.5", threshold)

    package = write_package(work / "final", spec, state_arrays(network), "draft", {})
    scores = evaluate_all(config, package, train, bands, work)
    log.info("test: %s", scores["unet"])
    prevalence = float(np.mean([(s.label == MINE).mean() for s in train]))
    facts = {"prevalence": prevalence, "threshold": threshold, "scores": scores}
    training = {"loss_every_50_steps": history, "validation_threshold": threshold, "config": config}
    write_package(out, spec, state_arrays(network), card(CARD, facts), {"test": scores, "training": training})


def predict_fine(predictor: Predictor, sample: Sample) -> np.ndarray:
    """uint8 codes (y, x) of a whole region, tile by tile as a scan does it."""
    halo = predictor.spec.halo
    padded = np.pad(sample.fine, ((0, 0), (halo, halo), (halo, halo)))
    out = np.empty(sample.label.shape, np.uint8)
    for y in range(0, out.shape[0], TILE):
        for x in range(0, out.shape[1], TILE):
            core = out[y : y + TILE, x : x + TILE]
            tile = padded[:, y : y + core.shape[0] + 2 * halo, x : x + core.shape[1] + 2 * halo]
            core[:] = encode_probability(predict_tile(predictor, tile, halo))
    return out


def best_threshold(predictor: Predictor, validate: Sequence[Sample]) -> float:
    """The threshold of the best F1 over the validation regions together."""
    codes = np.concatenate([predict_fine(predictor, s).ravel() for s in validate])
    label = np.concatenate([s.label.ravel() for s in validate])
    return best_code(codes, label) / PROBABILITY_STEPS


def best_code(codes: np.ndarray, label: np.ndarray) -> int:
    """The code from which "mine" scores the best F1."""
    known = (codes != PROBABILITY_FILL) & (label != IGNORE)
    mine = np.bincount(codes[known & (label == MINE)], minlength=256)[::-1].cumsum()[::-1]
    other = np.bincount(codes[known & (label != MINE)], minlength=256)[::-1].cumsum()[::-1]
    f1 = 2 * mine / np.maximum(mine + other + mine[0], 1)
    return int(np.clip(f1[1:PROBABILITY_STEPS].argmax() + 1, 1, PROBABILITY_STEPS - 1))


def evaluate_all(
    config: Mapping[str, Any],
    package: ModelPackage,
    train: Sequence[Sample],
    bands: Sequence[str],
    work: Path,
) -> dict[str, Any]:
    """Scores on the test regions: the U-Net and the best single index."""
    predictor = load_predictor(package, "cpu")
    test = list(samples("test", config, bands, work))
    images = [predict_fine(predictor, sample) for sample in test]
    for sample, image in zip(test, images, strict=True):
        np.save(work / f"probability-{sample.name}.npy", image)
    codes, label = stacked(images, PROBABILITY_FILL), stacked([s.label for s in test], IGNORE)
    known = label != IGNORE
    name, sign, cut, index_images = best_index(package.spec, train, test)
    score = {
        "unet": score_map(codes, label == MINE, 0.5, known, label=SYNTHETIC_LABEL).to_dict(),
        "best_single_index": {
            "index": f"{'-' if sign < 0 else ''}{name}",
            "chosen_on": "training regions",
            **score_map(
                stacked(index_images, PROBABILITY_FILL), label == MINE, cut / PROBABILITY_STEPS, known
            ).to_dict(),
        },
    }
    score["truth"] = "mined on at least half of the dates; pixels mined later are left out"
    return score


def best_index(
    spec: ModelSpec, train: Sequence[Sample], test: Sequence[Sample]
) -> tuple[str, int, int, list[np.ndarray]]:
    """Index, sign and threshold of the best F1 on the training regions, and its codes on the test regions."""

    def codes(sample: Sample, name: str, sign: int) -> np.ndarray:
        pixels = dict(zip(band_symbols(spec), sample.fine * np.float32(1e-4), strict=True))
        value = evaluate(expression_of(name), pixels)
        value[(sample.fine == 0).any(axis=0)] = np.nan
        return encode_probability((sign * value + 1) / 2)

    def f1(name: str, sign: int) -> tuple[float, int]:
        values = np.concatenate([codes(s, name, sign).ravel() for s in train])
        label = np.concatenate([s.label.ravel() for s in train])
        cut, known = best_code(values, label), (values != PROBABILITY_FILL) & (label != IGNORE)
        hits = int(((values >= cut) & known & (label == MINE)).sum())
        called, mines = int(((values >= cut) & known).sum()), int((known & (label == MINE)).sum())
        return 2 * hits / (called + mines), cut

    tried = {(name, sign): f1(name, sign) for name in BASELINE_INDICES for sign in (1, -1)}
    name, sign = max(tried, key=lambda key: tried[key][0])
    return name, sign, tried[name, sign][1], [codes(s, name, sign) for s in test]


def stacked(images: Sequence[np.ndarray], fill: int) -> np.ndarray:
    """Regions below one another, apart by a row of ``fill``, so that no object reaches from one into the next."""
    width = max(image.shape[1] for image in images)
    padded = [np.pad(i, ((0, 1), (0, width - i.shape[1])), constant_values=fill) for i in images]
    return np.concatenate(padded)


def card(template: str, facts: Mapping[str, Any]) -> str:
    scores = facts["scores"]
    unet, index = scores["unet"], scores["best_single_index"]
    values = {
        "prevalence": f"{facts['prevalence']:.4f}",
        "test_prevalence": f"{unet['prevalence']:.4f}",
        "auprc": f"{unet['auprc']:.3f}",
        "index_auprc": f"{index['auprc']:.3f}",
        "index": index["index"],
        "threshold": f"{facts['threshold']:.3f}",
        "objects": unet["objects"],
        "found": unet["objects_found"],
    }
    rows = {"unet": unet["model"], "index": index["model"], **unet["baselines"]}
    for row, result in rows.items():
        for key in ("precision", "recall", "f1", "iou"):
            values[f"{row}_{key}"] = f"{result[key]:.3f}"
    return template.format(**values)


if __name__ == "__main__":
    main()
