"""Texts of the two model cards; figures are filled in by the training script."""
# ruff: noqa: E501  (rows of Markdown tables cannot be broken)

CARD = """# demo 1.0.0

**Trained and tested on synthetic regions only. The figures below show that the machinery works. They are no evidence
of skill on real scenes, and the model must not be used on any.**

| | |
|---|---|
| Architecture | U-Net, three resolutions (20, 40, 80 m inside), 16 channels at the finest; batch norms, no tile statistics |
| Input | surface reflectance 0-1 at 10 m (6.7 to 15 m): blue, green, red, nir, swir16, swir22; median composites |
| Output | background, mine |
| Context | halo of 48 pixels, patches of up to 640 |
| Training data | `minescale.synthetic`, seeds in `model.json`; share of mine pixels {prevalence} |
| Label | mined on at least half of the dates; pixels mined later are left out of training and scores |
| Decision | 0.5; the validation threshold {threshold} was moved there by the head's bias, so scores are no calibrated probabilities |
| Licence | Apache-2.0 |

## Scores on regions of other seeds (share of mine pixels {test_prevalence})

| map | precision | recall | F1 | IoU |
|---|---|---|---|---|
| this model | {unet_precision} | {unet_recall} | {unet_f1} | {unet_iou} |
| best single index ({index}, chosen and cut on training regions) | {index_precision} | {index_recall} | {index_f1} | {index_iou} |
| everything is a mine | {all_positive_precision} | {all_positive_recall} | {all_positive_f1} | {all_positive_iou} |
| nothing is a mine | {all_negative_precision} | {all_negative_recall} | {all_negative_f1} | {all_negative_iou} |

Average precision {auprc}; of the index {index_auprc}; of chance {test_prevalence}. Training and test regions come from
one generator, which is far easier than another place or year. Of {objects} mines of at least
0.5 ha, {found} were touched by a detection. `metrics/test.json` has the counts.

## Made by

`pipelines/demo_model/train.py` with its `config.yaml` (copied into `metrics/training.json`). The same file on the same
machine gives the same bytes.
"""

SCREEN_CARD = """# demo-screen 3.0.0

**Coarse level of the package `demo`. Trained, calibrated and tested on synthetic regions only: no evidence of skill on
real scenes.**

A U-Net of two resolutions (160 and 320 m inside, {width} channels at the finer) at 80 m, halo of 24 pixels. Of every band
it reads the logarithm of the composite (a median) and of the 10th and 90th percentile of the clear looks: through a year
fields green up and rivers rise over their bars, while pits stay bare. It decides which tiles of 512 x 512 pixels of 10 m are looked at
closely: those with a pixel that scores at least {keep}.

That threshold was set by conformal risk control on {n} tiles with mines, from regions with 12 looks in a year that were
not trained on (though the last designs were compared on 24 of the 40): of the mine area, counted up to {cap} ha per tile
({area} ha in all), at most a share of {bound} is expected in skipped tiles (recall {recall}), for tiles like those. Of
all their mine area {missed} lay in skipped tiles. The promise is about area: small mines are skipped far more often than large ones, so where
all mines are small the recall is lower; so it is with fewer looks, of which designs were seen to miss mines with two to
four clear ones. Tiles of one region share rivers and weather, so they are less independent than the bound assumes. The
bias was moved so that the threshold lies near 0.5; scores are no probabilities.

## On regions of other seeds

| mines | tiles with mines | tiles refined | of those without mines | recall of mine area | of as many random tiles |
|---|---|---|---|---|---|
{rows}
"""
