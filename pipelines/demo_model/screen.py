"""The screen: a U-Net at 80 m, the threshold below which a tile is skipped, and what that misses on other regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fit
import numpy as np
import torch
from card import SCREEN_CARD
from regions import FACTOR, MINE, TILE, Sample, provenance, samples, specs
from scipy.special import expit, logit

from minescale.models.network import state_arrays
from minescale.models.package import write_package
from minescale.models.predictor import Predictor, load_predictor
from minescale.models.spec import ModelSpec
from minescale.models.unet import UNet
from minescale.models.windows import predict_tile
from minescale.outputs.evaluation import SYNTHETIC_LABEL
from minescale.planning.calibration import Calibration, area_threshold
from minescale.store.codes import PROBABILITY_STEPS, encode_probability

HA_PER_PIXEL = 0.01
UNSEEN = -1


def make_screen(config: Mapping[str, Any], work: Path, out: Path) -> None:
    """Train, calibrate and test the screen; write its package to ``out``."""
    options, bands = config["screen"], config["screen"]["bands"]
    torch.set_num_threads(options["threads"])
    train = [s for role in ("screen_train", "screen_train_year") for s in samples(role, config, bands, work)]
    pairs = fit.coarse_pairs(train, options["share"])
    mean, std = fit.band_statistics(pairs, options["logarithm"])
    network, history = fit.train_unet(
        pairs, options, mean, std, config["seed"], fit.screen_loss(options["mine_weight"])
    )
    text = "Coarse level of the package demo: 80 m, trained on synthetic regions only."
    spec = fit.network_spec("demo-screen", "3.0.0", options, mean, std, provenance(train), text)
    calibration = calibrate(config, spec, network, work)
    spec = spec.replace(keep_threshold=calibration.threshold)
    draft = load_predictor(write_package(work / "final-screen", spec, state_arrays(network), "draft", {}))
    scores = test(config, draft, work)
    spec = spec.replace(expected_survivors=round(scores["survey"]["share_refined"], 4))
    calibrated = {**asdict(calibration), "unit": "ha", "label": SYNTHETIC_LABEL}
    write_package(
        out,
        spec,
        state_arrays(network),
        screen_card(config, calibration, scores),
        {"calibration": calibrated, "test": scores, "training": {"loss_every_50_steps": history, "config": config}},
    )


def tile_scores(predictor: Predictor, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Highest coarse probability (UNSEEN: nothing seen) and mine hectares of each whole tile, flat.

    Tiles lie as in a scan; the rest at the region's right and lower edge is left out.
    """
    halo = predictor.spec.halo
    image = np.pad(sample.coarse, ((0, 0), (halo, halo), (halo, halo)))
    probability = np.nan_to_num(predict_tile(predictor, image, halo), nan=UNSEEN)
    cell = TILE // FACTOR
    rows, cols = probability.shape[0] // cell, probability.shape[1] // cell
    score = probability[: rows * cell, : cols * cell].reshape(rows, cell, cols, cell).max(axis=(1, 3))
    mines = (sample.label[: rows * TILE, : cols * TILE] == MINE).reshape(rows, TILE, cols, TILE).sum(axis=(1, 3))
    return score.ravel(), mines.ravel() * HA_PER_PIXEL


def as_codes(score: np.ndarray) -> np.ndarray:
    """int16 codes of tile scores as a scan stores them; UNSEEN where nothing was seen."""
    codes = encode_probability(np.maximum(score, 0).astype(np.float32))
    return np.where(score < 0, UNSEEN, codes).astype(np.int16)


def calibrate(config: Mapping[str, Any], spec: ModelSpec, network: UNet, work: Path) -> Calibration:
    """Set the threshold by what a scan would skip, and move the network's bias so that it falls near 0.5.

    There the mosaic's steps of 0.004 are finest in terms of the network's output.
    """
    options = config["screen"]
    alpha, cap = 1 - options["recall"], options["cap_ha"]
    predictor = load_predictor(write_package(work / "draft-screen", spec, state_arrays(network), "draft", {}))
    roles = ("screen_calibrate", "screen_dense")
    measured = [tile_scores(predictor, s) for role in roles for s in samples(role, config, spec.bands, work)]
    scores, areas = (np.concatenate(column) for column in zip(*measured, strict=True))
    raw = area_threshold(scores, areas, alpha=alpha, cap=cap).threshold
    fit.shift_decision(network, raw)
    # Calibrated on the codes a scan stores; half a code lower, so that no rounding moves a tile across.
    moved = np.where(scores < 0, UNSEEN, expit(logit(np.clip(scores, 1e-7, 1 - 1e-7)) - logit(raw)))
    found = area_threshold(as_codes(moved), areas, alpha=alpha, cap=cap)
    return replace(found, threshold=(max(found.threshold, 1) - 0.5) / PROBABILITY_STEPS)


def test(config: Mapping[str, Any], predictor: Predictor, work: Path) -> dict[str, Any]:
    """What the threshold keeps and misses on test regions, by their share of mines; ``survey``: regions as the demo."""
    shares = [spec.mine_share for spec in specs("screen_test", config)]
    tiles = [tile_scores(predictor, s) for s in samples("screen_test", config, predictor.spec.bands, work)]
    keep = predictor.spec.keep_threshold or 0.0

    def numbers(chosen: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float | None]:
        score, area = (np.concatenate(column) for column in zip(*chosen, strict=True))
        kept = as_codes(score) / PROBABILITY_STEPS >= keep
        return {
            "tiles": len(area),
            "share_with_mines": float((area > 0).mean()),
            "share_refined": float(kept.mean()),
            "share_refined_of_tiles_without_mines": float(kept[area == 0].mean()) if (area == 0).any() else None,
            "recall_of_mine_area": float(area[kept].sum() / area.sum()),
            # Trivial beside it: as many tiles, picked at random.
            "recall_of_random_tiles": float(kept.mean()),
        }

    by_share = {
        f"{share:g}": numbers([t for t, s in zip(tiles, shares, strict=True) if s == share])
        for share in sorted(set(shares))
    }
    survey = by_share[f"{config['screen']['survey_share']:g}"]
    return {"all": numbers(tiles), "by_mine_share": by_share, "survey": survey, "label": SYNTHETIC_LABEL}


def screen_card(config: Mapping[str, Any], calibration: Calibration, scores: Mapping[str, Any]) -> str:
    def percent(share: float | None) -> str:
        return "no such tile" if share is None else f"{share:.0%}"

    rows = "\n".join(
        f"| {float(share):.1%} | {found['share_with_mines']:.0%} | {found['share_refined']:.0%} |"
        f" {percent(found['share_refined_of_tiles_without_mines'])} | {found['recall_of_mine_area']:.4f} |"
        f" {found['recall_of_random_tiles']:.2f} |"
        for share, found in scores["by_mine_share"].items()
    )
    return SCREEN_CARD.format(
        width=config["screen"]["width"],
        recall=config["screen"]["recall"],
        keep=f"{calibration.threshold:.3f}",
        n=calibration.n,
        area=f"{calibration.counted_area:.0f}",
        cap=f"{calibration.cap:g}",
        missed=f"{calibration.missed_area:.4f}",
        bound=f"{calibration.bound:.4f}",
        rows=rows,
    )
