"""What running a model of each family costs, by its specification alone: memory, work, and the grid of its strides.

``*_bytes`` are upper estimates of the memory that a pixel of a patch takes beyond its input. ``*_work`` is what a
pixel costs as a multiple of the U-Net of 16 channels that plans are priced by, in multiplications and additions; of
families without PyTorch, of an index model. ``*_step`` are pixels that origins of patches are multiples of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minescale.models.spec import HALO_STEP, ModelSpec


def unet_work(spec: ModelSpec) -> float:
    options = spec.hyperparameters
    width, depth, fold = (int(options.get(key, usual)) for key, usual in (("width", 16), ("depth", 3), ("fold", 2)))
    total, inputs = 2.0 * width * len(spec.classes), fold**2 * len(spec.channels)
    way = 1 if options.get("residual") else 0
    for level in range(depth):
        w = width << level
        up = 2 * w * w + (9 + way) * 2 * w * w if level < depth - 1 else 0
        total += 2 * (9 * w * (inputs + w) + way * inputs * w + up) / (fold << level) ** 2
        inputs = w
    return total / _REFERENCE


def patchcnn_work(spec: ModelSpec) -> float:
    return _patchcnn_multiplications(len(spec.channels), spec.hyperparameters) / _REFERENCE


def _patchcnn_multiplications(channels: int, options: Mapping[str, Any]) -> float:
    if options.get("encoder"):
        return _ENCODER_MULTIPLICATIONS.get(str(options["encoder"]), _ENCODER_MULTIPLICATIONS["lite2"])
    width, blocks = int(options.get("width", 32)), int(options.get("blocks", 1))
    down = 16 if options.get("symmetric") else 9  # kernels that halve the resolution
    total = 2.0 * 9 * channels * width
    for stage in range(3):
        w, before = width << stage, (width << stage) // 2
        first = (down * before + 9 * w + before) * w if stage else 18 * w * w
        total += 2 * (first + (blocks - 1) * 18 * w * w) / (2 << stage) ** 2
    return total


def trees_work(spec: ModelSpec) -> float:
    # A hundred of depth 12 take some microseconds a pixel, an index model a twentieth of one.
    return 0.6 * int(spec.hyperparameters.get("trees", 100))


def ensemble_work(spec: ModelSpec) -> float:
    # Of one that does not say what its members cost, at least their number.
    options = spec.hyperparameters
    return float(options.get("work", len(options.get("members", ())) * int(options.get("views", 1))))


def two_stage_work(spec: ModelSpec) -> float:
    return float(spec.hyperparameters.get("work", 1.0))


def probe_work(spec: ModelSpec) -> float:
    # Logarithms, quotients and means are no multiplications; timed beside the U-Net on one core.
    bands, base = len(spec.bands), spec.hyperparameters.get("base")
    values = bands * (bands + 1) // 2 * (3 if spec.dates == 2 else 1)
    deep = _patchcnn_multiplications(len(base["bands"]), base["hyperparameters"]) if base else 0
    return 0.17 * values + spec.dates * deep / _REFERENCE


def segformer_work(spec: ModelSpec) -> float:
    return _SEGFORMER_WORK.get(str(spec.hyperparameters.get("size", "b0")), _SEGFORMER_WORK["b5"])


def efficientunet_work(spec: ModelSpec) -> float:
    return _EFFICIENTUNET_WORK.get(str(spec.hyperparameters.get("size", "lite0")), _EFFICIENTUNET_WORK["lite2"])


def resnet34_work(spec: ModelSpec) -> float:
    input_px = int(spec.hyperparameters.get("input_px", 224))
    return 13.1 * (input_px / (spec.chip or input_px)) ** 2


def sam_work(spec: ModelSpec) -> float:
    # As if all attention were in windows: a few global layers cost more where a patch is larger than the encoder's own.
    options, size = spec.hyperparameters, str(spec.hyperparameters.get("size", "mini"))
    own = int(options.get("image_px", 0)) or _SAM_SIZES.get(size, _SAM_SIZES["huge"])[2]
    edge = max(spec.patch * int(options.get("enlarge", 1)), own)
    return _SAM_WORK.get(size, _SAM_WORK["huge"]) * (edge / spec.patch) ** 2


_REFERENCE = 11520.0
"""Multiplications and additions for a pixel of the U-Net of 16 channels, six bands and two classes."""
# Counted on patches of 640 pixels, and of the encoder's own edge.
_SEGFORMER_WORK = {"b0": 3.7, "b1": 9.1, "b2": 24.5, "b3": 36.3, "b4": 48.2, "b5": 59.4}
_ENCODER_VALUES = 4 * 96 // 4
"""For a pixel of EfficientNet-Lite's input: 96 features at half the resolution, as they come, padded, as they go, and a
workspace."""
_ENCODER_MULTIPLICATIONS = {"lite0": 59000.0, "lite1": 78000.0, "lite2": 89000.0}
"""On the image enlarged twofold."""
_EFFICIENTUNET_WORK = {"lite0": 4.1, "lite1": 4.5, "lite2": 4.8}
_SAM_WORK = {"mini": 0.3, "base": 81.0, "large": 240.0, "huge": 480.0}


def unet_bytes(spec: ModelSpec) -> int:
    # Scaled input and its folded copy, features at half the resolution (input, output, joined, workspace, and half as
    # much again that huge pages waste), scores. Folded by 4 there is a quarter of the features.
    width = int(spec.hyperparameters.get("width", 16))
    copies = 5 if spec.hyperparameters.get("logarithm") else 4
    return 4 * (copies * len(spec.channels) + 3 * width + 6 * len(spec.classes))


def unet_step(spec: ModelSpec) -> int:
    options = spec.hyperparameters
    return max(HALO_STEP, int(options.get("fold", 2)) << (int(options.get("depth", 3)) - 1))


def index_bytes(spec: ModelSpec) -> int:
    rules = spec.hyperparameters.get("rules", ())
    return 4 * (2 * len(spec.bands) + sum(len(rule["ramps"]) for rule in rules) + 8)


def pixel_bytes(spec: ModelSpec) -> int:
    return 4 * (2 * len(spec.bands) + 6)


def patchcnn_bytes(spec: ModelSpec) -> int:
    return 4 * (5 * len(spec.channels) + _patchcnn_features(spec.hyperparameters) + 6 * len(spec.classes))


def _patchcnn_features(options: Mapping[str, Any]) -> int:
    """Values for a pixel: the widest features with their workspace."""
    # Of EfficientNet on the enlarged image, whose pixels are four times as many, and half as much for what the
    # allocator keeps: windows of 384 pixels took 260 to 394 MB from run to run.
    return 6 * _ENCODER_VALUES if options.get("encoder") else 3 * int(options.get("width", 32))


def patchcnn_step(spec: ModelSpec) -> int:
    return _patchcnn_step(spec.hyperparameters)


def probe_step(spec: ModelSpec) -> int:
    base = spec.hyperparameters.get("base")
    return _patchcnn_step(base["hyperparameters"]) if base else HALO_STEP


def _patchcnn_step(options: Mapping[str, Any]) -> int:
    return 16 if options.get("encoder") else HALO_STEP


def probe_bytes(spec: ModelSpec) -> int:
    # Logarithms and pairs of each date, their change and squares; a packaged network's features; logits and scores.
    base = spec.hyperparameters.get("base") or {}
    bands = len(spec.bands)
    values = bands * (bands + 1) // 2 * (3 if spec.dates == 2 else 1)
    features = 5 * len(base["bands"]) + _patchcnn_features(base["hyperparameters"]) if base else 0
    return 4 * (4 * len(spec.channels) + 5 * values + features + 6 * len(spec.classes))


def feature_bytes(spec: ModelSpec) -> int:
    # The stripe and its scores; features are held for a few thousand pixels at a time.
    return 4 * (2 * len(spec.bands) + 8 + len(spec.hyperparameters.get("features", ())))


def segformer_bytes(spec: ModelSpec) -> int:
    # At a quarter of the resolution: four copies of the first stage's widened features, or five of the decoder's.
    size = str(spec.hyperparameters.get("size", "b0"))
    first, decoder = (32 if size == "b0" else 64), (256 if size in {"b0", "b1"} else 768)
    features = max(4 * 4 * first + 6 * first, 5 * decoder + 2 * first) // 16
    return 4 * (5 * len(spec.channels) + features + 6 * len(spec.classes))


def efficientunet_bytes(spec: ModelSpec) -> int:
    return 4 * (5 * len(spec.channels) + _ENCODER_VALUES + 6 * len(spec.classes))


def resnet34_bytes(spec: ModelSpec) -> int:
    # The enlarged input with its padded copy, and two of the first layer's 64 features at half the resolution.
    input_px = int(spec.hyperparameters.get("input_px", 224))
    area = (input_px / (spec.chip or input_px)) ** 2
    return int(4 * (5 * len(spec.channels) + area * (4 * len(spec.channels) + 3 * 16) + 6 * len(spec.classes)))


def two_stage_bytes(spec: ModelSpec) -> int:
    # The larger of two networks as wide as ours get, a class map, labels, and the image once more for each stage.
    return 4 * (8 * len(spec.channels) + 3 * 64 + 6 * 8 + 4)


def ensemble_bytes(spec: ModelSpec) -> int:
    # Members run one after the other, on a turned copy; beside them the sum of scores, and one that is corrected.
    member = spec.hyperparameters.get("bytes_per_pixel", 0)
    return int(member) + 4 * (len(spec.channels) + 4 * len(spec.classes))


def ensemble_step(spec: ModelSpec) -> int:
    return int(spec.hyperparameters.get("step", HALO_STEP))


def sam_bytes(spec: ModelSpec) -> int:
    # Attention over all tokens, with its bias, of every head; or the widened features of a layer.
    options = spec.hyperparameters
    width, heads, image_px = _SAM_SIZES.get(str(options.get("size", "mini")), _SAM_SIZES["huge"])
    enlarge = int(options.get("enlarge", 1))
    image_px = int(options.get("image_px", 0)) or image_px
    edge = max(spec.patch * enlarge, image_px)
    tokens = (edge / 16) ** 2
    network = 4 * tokens * (3 * heads * tokens + 12 * width + 256 * 3)
    return int(4 * (5 * len(spec.channels) + 9 * enlarge**2 + 6 * len(spec.classes)) + network / spec.patch**2)


_SAM_SIZES = {"mini": (64, 4, 256), "base": (768, 12, 1024), "large": (1024, 16, 1024), "huge": (1280, 16, 1024)}
"""Width, heads and edge of the image, as in :mod:`minescale.models.sam`, which imports torch."""
