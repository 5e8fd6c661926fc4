"""Segment Anything with a learned projection of the bands and low-rank adapters: maps of classes, or masks for prompts.

After Kirillov et al. 2023 (arXiv:2304.02643), whose image encoder stays as it is but for low-rank adapters on its
attention (Hu et al. 2021, arXiv:2106.09685), while the projection and the mask decoder are trained. The architecture is
transformers', from a configuration; weights come from a user's path or are random, never from elsewhere.

Without prompts (``forward``) the decoder's own mask tokens stand for the classes: class 0 has logit 0, the others that
of their mask; with two classes it is the token that prompts of one mask use. With prompts see
:mod:`minescale.models.prompted`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minescale.errors import ModelError
from minescale.models.network import options_of
from minescale.models.spec import HALO_STEP, ModelSpec, nearest

CELL = 16
"""Pixels of the encoder's input that become one token, along an edge."""
_MASK_STRIDE = 4
_HALO_CELLS = 2
_ADAPTED = r"layers\.\d+\.attn\.(qkv|proj)"

PUBLISHED: tuple[tuple[str, str], ...] = (
    (r"^shared_image_embedding\.", "prompt_encoder.shared_embedding."),
    (r"^(vision_encoder\." + _ADAPTED + r")\.(weight|bias)$", r"\1.base_layer.\3"),
)
"""Patterns that turn the tensor names of published SAM checkpoints (transformers' layout) into ours."""


@dataclass(frozen=True, slots=True)
class Size:
    """An image encoder and the decoder that goes with it."""

    width: int
    layers: int
    heads: int
    everywhere: tuple[int, ...]
    """Layers whose attention sees the whole image; the others see windows."""
    embedding: int
    window: int
    image_px: int


SIZES: Mapping[str, Size] = {
    "mini": Size(64, 4, 4, (1, 3), 32, 7, 256),
    "base": Size(768, 12, 12, (2, 5, 8, 11), 256, 14, 1024),
    "large": Size(1024, 24, 16, (5, 11, 17, 23), 256, 14, 1024),
    "huge": Size(1280, 32, 16, (7, 15, 23, 31), 256, 14, 1024),
}
"""``mini`` is ours, for tests and small data; the others are the published ones."""


class Sam(nn.Module):
    """(n, channel, y, x) scaled reflectance -> (n, class, y, x) logits of the same edges."""

    def __init__(self, channels: int, classes: int, parts: Any, image_px: int, enlarge: int) -> None:
        super().__init__()
        self.classes, self.image_px, self.enlarge = classes, image_px, enlarge
        self.projection = nn.Conv2d(channels, 3, 1)
        self.vision_encoder: Any = parts.vision_encoder
        self.prompt_encoder: Any = parts.prompt_encoder
        self.mask_decoder: Any = parts.mask_decoder

    @property
    def window(self) -> int:
        """Edge in pixels of the image that fills the encoder."""
        return self.image_px // self.enlarge

    def embed(self, x: Tensor) -> Tensor:
        """(n, channel, y, x) -> (n, width, cells, cells). Less than the encoder's image is filled up with no data."""
        x = self.projection(x)
        if self.enlarge > 1:
            x = F.interpolate(x, scale_factor=float(self.enlarge), mode="bilinear", align_corners=False)
        down, across = (max(self.image_px, -(-edge // CELL) * CELL) - edge for edge in x.shape[2:])
        tokens = self.vision_encoder.patch_embed.projection(F.pad(x, (0, across, 0, down))).permute(0, 2, 3, 1)
        places = self.vision_encoder.pos_embed
        if tokens.shape[1:3] != places.shape[1:3]:
            size = list(tokens.shape[1:3])
            resized = F.interpolate(places.permute(0, 3, 1, 2), size=size, mode="bilinear", align_corners=False)
            places = resized.permute(0, 2, 3, 1)
        tokens = tokens + places
        for layer in self.vision_encoder.layers:
            tokens = layer(tokens)
        return self.vision_encoder.neck(tokens)

    def decode(self, embedding: Tensor, prompts: Tensor | None, *, several: bool) -> tuple[Tensor, Tensor]:
        """Logits of masks (n, prompt, mask, 4 cells, 4 cells) and the decoder's own guess of their quality.

        Parameters
        ----------
        prompts : embedded points and boxes, (n, prompt, token, width); None: one prompt without any.
        several : the masks of all further tokens instead of the first one's.
        """
        n, _, rows, cols = embedding.shape
        middles = [(torch.arange(edge, device=embedding.device) + 0.5) / edge for edge in (rows, cols)]
        down, across = torch.meshgrid(*middles, indexing="ij")
        places = self.prompt_encoder.shared_embedding(torch.stack([across, down], dim=-1)).permute(2, 0, 1)
        no_mask = self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        masks, quality = self.mask_decoder(
            image_embeddings=embedding,
            image_positional_embeddings=places.expand(n, -1, -1, -1).to(embedding.dtype),
            sparse_prompt_embeddings=prompts,
            dense_prompt_embeddings=no_mask.expand(n, -1, rows, cols),
            multimask_output=several,
        )
        return masks, quality

    def forward(self, x: Tensor) -> Tensor:
        rows, cols = x.shape[2:]
        masks, _ = self.decode(self.embed(x), None, several=self.classes > 2)
        logits = self.to_pixels(masks[:, 0, : self.classes - 1])[:, :, :rows, :cols]
        return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)

    def to_pixels(self, masks: Tensor) -> Tensor:
        """(n, mask, y, x) of the decoder -> of the image's pixels, bilinear."""
        factor = _MASK_STRIDE / self.enlarge
        if factor == 1:
            return masks
        return F.interpolate(
            masks, scale_factor=factor, mode="bilinear", align_corners=False, recompute_scale_factor=False
        )


def from_spec(spec: ModelSpec) -> Sam:
    """The network of a specification, random weights; the projection begins with red, green and blue where it has them.

    Raises
    ------
    ModelError
        for options out of range, or where transformers or peft are not installed.
    """
    options = options_of(spec)
    name, rank, enlarge = str(options["size"]), int(options["lora_rank"]), int(options["enlarge"])
    if name not in SIZES:
        raise ModelError(f"model {spec.name}: size of SAM", got=name, expected=nearest(name, SIZES))
    size = SIZES[name]
    image_px, alpha = int(options["image_px"]) or size.image_px, int(options["lora_alpha"])
    step = CELL * max(1, enlarge)
    if not (0 <= rank <= 256 and 1 <= enlarge <= 8 and 64 <= image_px <= 2048 and alpha > 0) or image_px % step:
        raise ModelError(
            f"model {spec.name}: sam",
            got=f"lora_rank {rank}, lora_alpha {alpha}, enlarge {enlarge}, image_px {image_px}",
            expected=f"rank 0 to 256, alpha above 0, enlarge 1 to 8, image_px 64 to 2048 and a multiple of {step}",
        )
    network = Sam(len(spec.channels), len(spec.classes), _parts(size, image_px, len(spec.classes)), image_px, enlarge)
    _begin_with_colours(network.projection, spec.channels)
    if rank:
        _adapt(network, rank, alpha)
    # What a map of classes never asks: the decoder's guess of a mask's quality.
    network.mask_decoder.iou_prediction_head.requires_grad_(False)
    return network


def _parts(size: Size, image_px: int, classes: int) -> Any:
    try:
        from transformers import SamConfig, SamModel
    except ImportError as error:
        raise ModelError("sam needs transformers", got=error, fix="pip install 'minescale[train]'") from error
    vision = {
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "global_attn_indexes": list(size.everywhere),
        "window_size": size.window,
        "output_channels": size.embedding,
        "num_pos_feats": size.embedding // 2,
        "image_size": image_px,
        "patch_size": CELL,
        # The library's own default leaves an encoder without weights from elsewhere with all but zeros.
        "initializer_range": 0.02,
    }
    prompt = {"hidden_size": size.embedding, "image_size": image_px, "patch_size": CELL}
    decoder = {
        "hidden_size": size.embedding,
        "mlp_dim": 8 * size.embedding,
        "iou_head_hidden_dim": size.embedding,
        "num_multimask_outputs": max(3, classes - 1),
    }
    return SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder))


def _begin_with_colours(projection: nn.Conv2d, channels: tuple[str, ...]) -> None:
    """Red, green and blue as the encoder expects them; the mean of all bands where one of them is missing."""
    with torch.no_grad():
        projection.weight.zero_()
        if projection.bias is not None:
            projection.bias.zero_()
        for row, colour in enumerate(("red", "green", "blue")):
            if {"red", "green", "blue"} <= set(channels):
                projection.weight[row, channels.index(colour)] = 1
            else:
                projection.weight[row] = 1 / len(channels)


def _adapt(network: Sam, rank: int, alpha: int) -> None:
    """Freeze the encoders and put adapters beside the image encoder's attention; in place."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ModelError(
            "adapters need peft", got=error, fix="pip install 'minescale[train]', or lora_rank 0"
        ) from error
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=rf".*{_ADAPTED}")
    network.vision_encoder = inject_adapter_in_model(config, network.vision_encoder)
    for name, parameter in network.vision_encoder.named_parameters():
        parameter.requires_grad_(re.search(r"\.lora_[AB]\.", name) is not None)
    network.prompt_encoder.requires_grad_(False)


def halo_of(options: Mapping[str, Any], chip: int | None) -> int:  # noqa: ARG001  (families share a signature)
    """Two tokens. Attention sees a whole patch, so no halo makes tiles agree exactly."""
    pixels = _HALO_CELLS * CELL // int(options["enlarge"])
    return max(HALO_STEP, -(-pixels // HALO_STEP) * HALO_STEP)
