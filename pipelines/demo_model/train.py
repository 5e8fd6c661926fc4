"""Train the built-in package `demo` (U-Net at 10 m, screen at 80 m) on synthetic regions, score it, write it."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fit
import numpy as np
import torch
import yaml
from card import CARD, SCREEN_CARD
from regions import FACTOR, IGNORE, MINE, TILE, Sample, samples
from scipy.ndimage import binary_dilation
from scipy.special import expit, logit

from minescale.kernels.indices import evaluate, expression_of
from minescale.models.package import BUILTIN, ModelPackage, write_package
from minescale.models.predictor import Predictor, load_predictor
from minescale.models.spec import ModelSpec, trained_range
from minescale.models.symbols import band_symbols
from minescale.models.unet import default_halo, state_arrays
from minescale.models.windows import predict_tile
from minescale.outputs.evaluation import SYNTHETIC_LABEL, score_map
from minescale.planning.calibration import Calibration, conformal_threshold
from minescale.store.codes import PROBABILITY_FILL, PROBABILITY_STEPS, encode_probability

HERE = Path(__file__).parent
BASELINE_INDICES = ("NDVI", "NBR2", "MNDWI", "IKAW", "NDTI", "NDBI")
log = logging.getLogger("demo_model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=HERE / "config.yaml")
    parser.add_argument("--out", type=Path, default=BUILTIN / "demo", help="package folder to write")
    parser.add_argument("--work", type=Path, required=True, help="folder for scenes and composites (about 2 GB)")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    log.setLevel(logging.INFO)
    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config["threads"])
    torch.use_deterministic_algorithms(True)
    run(config, arguments.work, arguments.out)


def run(config: Mapping[str, Any], work: Path, out: Path) -> None:
    bands, seed = config["unet"]["bands"], config["seed"]
    train = list(samples("train", config, bands, work))
    validate = list(samples("validate", config, bands, work))
    log.info("regions ready: %d to train on, %d to validate", len(train), len(validate))

    mean, std = fit.band_statistics(train)
    network, history = fit.train_unet(train, config["unet"], mean, std, seed)
    log.info("U-Net loss: %s", history)
    spec = unet_spec(config, train, mean, std)
    draft = write_package(work / "draft", spec, state_arrays(network), "draft", {})
    threshold = best_threshold(load_predictor(draft, "cpu"), validate)
    fit.shift_decision(network, threshold)
    log.info("decision threshold %.3f moved to 0.5", threshold)

    screen = screen_spec(config, train)
    weights = fit.train_screen(train, screen, config["screen"], seed)
    calibration, survivors, calibrated_on = calibrate(config, screen, weights, bands, work)
    log.info("screen: %s, survivors %.3f", calibration, survivors)
    screen = screen.replace(keep_threshold=calibration.threshold, expected_survivors=round(survivors, 4))

    package = write_package(work / "final", spec, state_arrays(network), "draft", {})
    final_screen = write_package(work / "final-screen", screen, weights, "draft", {})
    scores = evaluate_all(config, package, final_screen, train, bands, work)
    log.info("test: %s", scores["unet"])
    prevalence = float(np.mean([(s.label == MINE).mean() for s in train]))
    facts = {"prevalence": prevalence, "threshold": threshold, "scores": scores, "calibration": calibration}
    training = {"loss_every_50_steps": history, "validation_threshold": threshold, "config": config}
    calibrated = {
        **asdict(calibration),
        "survivors_with_ring": survivors,
        "tiles": calibrated_on,
        "min_mine_px": config["screen"]["min_mine_px"],
        "label": SYNTHETIC_LABEL,
    }
    write_package(out, spec, state_arrays(network), card(CARD, facts), {"test": scores, "training": training})
    write_package(
        out / "screen", screen, weights, card(SCREEN_CARD, facts), {"calibration": calibrated, "test": scores["screen"]}
    )


def unet_spec(config: Mapping[str, Any], train: Sequence[Sample], mean: tuple, std: tuple) -> ModelSpec:
    options = config["unet"]
    return ModelSpec(
        name="demo",
        version="1.0.0",
        family="unet",
        bands=tuple(options["bands"]),
        resolution=float(options["resolution"]),
        resolutions=trained_range(options["resolution"]),
        classes=("background", "mine"),
        target="mine",
        threshold=0.5,
        patch=options["patch"],
        halo=default_halo(options["depth"]),
        mean=mean,
        std=std,
        hyperparameters={"width": options["width"], "depth": options["depth"]},
        training=provenance(train),
        licence="Apache-2.0",
        description="Small U-Net trained on synthetic regions only: it shows the machinery, no skill on real scenes.",
    )


def screen_spec(config: Mapping[str, Any], train: Sequence[Sample]) -> ModelSpec:
    options = config["screen"]
    return ModelSpec(
        name="demo-screen",
        version="1.0.0",
        family="pixel",
        bands=tuple(options["bands"]),
        resolution=float(options["resolution"]),
        resolutions=trained_range(options["resolution"]),
        classes=("background", "mine"),
        target="mine",
        threshold=0.5,
        hyperparameters={"features": fit.screen_features(options), "hidden": options["hidden"]},
        training=provenance(train),
        licence="Apache-2.0",
        description="Coarse level of the package demo: pixels of 80 m, trained on synthetic regions only.",
    )


def provenance(train: Sequence[Sample]) -> dict[str, Any]:
    boxes = np.array([s.bbox for s in train])
    bbox = [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]
    return {
        "data": "minescale.synthetic",
        "split": "by region: training, validation, calibration and test regions share no seed",
        "prevalence": round(float(np.mean([(s.label == MINE).mean() for s in train])), 5),
        "region": "synthetic; no real place",
        "bbox": [round(float(v), 4) for v in bbox],
        "start": "2024-01-01T00:00:00Z",
        "end": "2024-12-31T23:59:59Z",
        "seeds": [int(s.name.rpartition("-")[2]) for s in train],
    }


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


def tile_scores(predictor: Predictor, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Highest coarse probability (-1: nothing seen) and mine pixels of each whole tile of 512 fine pixels."""
    halo = predictor.spec.halo
    image = np.pad(sample.coarse, ((0, 0), (halo, halo), (halo, halo)))
    probability = np.nan_to_num(predict_tile(predictor, image, halo), nan=-1.0)
    cell = TILE // FACTOR
    rows, cols = probability.shape[0] // cell, probability.shape[1] // cell
    score = probability[: rows * cell, : cols * cell].reshape(rows, cell, cols, cell).max(axis=(1, 3))
    label = sample.label[: rows * TILE, : cols * TILE] == MINE
    return score, label.reshape(rows, TILE, cols, TILE).sum(axis=(1, 3))


def calibrate(
    config: Mapping[str, Any], screen: ModelSpec, weights: dict[str, np.ndarray], bands: Sequence[str], work: Path
) -> tuple[Calibration, float, int]:
    """Move the screen's bias so that its keep-threshold falls near 0.5, and say what that threshold promises.

    Returns the calibration, the share of tiles that a scan with its ring of one would refine, and the number of
    tiles. ``weights["bias"]`` is changed in place: scores of balanced training crowd near 1, where the mosaic's
    steps of 0.004 would blur them.
    """
    options = config["screen"]
    predictor = load_predictor(write_package(work / "draft-screen", screen, weights, "draft", {}))
    measured = [tile_scores(predictor, sample) for sample in samples("calibrate", config, bands, work)]
    areas = np.concatenate([area.ravel() for _, area in measured])
    areas = np.where(areas >= options["min_mine_px"], areas, 0)
    alpha = 1 - options["recall"]
    raw = conformal_threshold(np.concatenate([s.ravel() for s, _ in measured]), alpha, areas).threshold
    shift = float(logit(raw))
    weights["bias"] = (weights["bias"] - shift).astype(np.float32)
    # Calibrated on the codes a scan stores; half a code lower, so that no rounding moves a tile across.
    coded = [as_codes(np.where(s < 0, s, expit(logit(np.maximum(s, 0)) - shift))) for s, _ in measured]
    found = conformal_threshold(np.concatenate([c.ravel() for c in coded]), alpha, areas)
    code = max(found.threshold, 1)
    kept = [binary_dilation(grid >= code, np.ones((3, 3), bool)) for grid in coded]
    survivors = float(np.concatenate([k.ravel() for k in kept]).mean())
    return replace(found, threshold=(code - 0.5) / PROBABILITY_STEPS), survivors, areas.size


def as_codes(score: np.ndarray) -> np.ndarray:
    """int16 codes of tile scores as a scan stores them; -1 where nothing was seen."""
    return np.where(score < 0, -1, encode_probability(np.maximum(score, 0).astype(np.float32))).astype(np.int16)


def evaluate_all(
    config: Mapping[str, Any],
    package: ModelPackage,
    screen: ModelPackage,
    train: Sequence[Sample],
    bands: Sequence[str],
    work: Path,
) -> dict[str, Any]:
    """Scores on the test regions: the U-Net, the best single index, and the screen's pruning."""
    predictor, coarse = load_predictor(package, "cpu"), load_predictor(screen)
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
    kept = tiles = missed = total = lost = reached = holding = 0
    for sample in test:
        tile, area = tile_scores(coarse, sample)
        hot = as_codes(tile) / PROBABILITY_STEPS >= screen.spec.keep_threshold
        ringed = binary_dilation(hot, np.ones((3, 3), bool))
        kept += int(ringed.sum())
        reached += int(hot.sum())
        holding += int((area > 0).sum())
        missed += int(area[~hot].sum())
        lost += int(area[~ringed].sum())
        total += int(area.sum())
        tiles += tile.size
    score["screen"] = {
        "tiles": tiles,
        "share_with_mines": holding / tiles,
        "share_reaching_threshold": reached / tiles,
        "share_refined_with_ring": kept / tiles,
        "mine_area_in_tiles_below_threshold": missed / total,
        "mine_area_in_tiles_not_refined": lost / total,
        "label": SYNTHETIC_LABEL,
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
    scores, calibration = facts["scores"], facts["calibration"]
    unet, index = scores["unet"], scores["best_single_index"]
    values = {
        "prevalence": f"{facts['prevalence']:.4f}",
        "test_prevalence": f"{unet['prevalence']:.4f}",
        "auprc": f"{unet['auprc']:.3f}",
        "index_auprc": f"{index['auprc']:.3f}",
        "index": index["index"],
        "threshold": f"{facts['threshold']:.3f}",
        "keep": f"{calibration.threshold:.3f}",
        "bound": f"{calibration.bound:.4f}",
        "n": calibration.n,
        "missed": f"{calibration.missed_area:.5f}",
        "test_missed": f"{scores['screen']['mine_area_in_tiles_below_threshold']:.5f}",
        "refined": f"{scores['screen']['share_refined_with_ring']:.2f}",
        "reached": f"{scores['screen']['share_reaching_threshold']:.2f}",
        "holding": f"{scores['screen']['share_with_mines']:.2f}",
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
