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

SCREEN_CARD = """# demo-screen 1.0.0

**Coarse level of the package `demo`. Synthetic, no evidence of skill on real scenes.**

Single pixels of 80 m: one hidden layer on bands, all normalised differences and a few indices. It decides which tiles
of 512 x 512 pixels of 10 m are looked at closely: those with a pixel that scores at least {keep}.

That threshold was set by conformal risk control on {n} tiles with at least 0.5 ha of mines, from regions not trained
on: the expected share of mine area missed in such a tile is at most {bound}, for tiles like those. Smaller mines are
less than one pixel of 80 m, and nothing is promised for a tile that holds no others. Tiles of one region share rivers
and weather, so they are less independent than the bound assumes. On the calibration tiles a share of {missed} of the
mine area lay in tiles below the threshold, on the test regions {test_missed}; there a share of {holding} of all
tiles held mines, {reached} reached the threshold, and with the ring of one tile {refined} were refined. Mines are that
dense in the synthetic regions, so a scan of one has nothing to skip. The bias was moved so that the threshold lies
near 0.5; scores are no probabilities.
"""
