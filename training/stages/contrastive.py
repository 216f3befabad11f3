"""Contrast and captions: a clip finds its own text among the batch's, and says it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_gather
from torch.nn import functional as F

from navloop import encoders
from navloop.configs.encoders import MultimodalConfig, PixelsConfig, TransformerConfig, ViCLIPConfig
from navloop.configs.schema import Config
from navloop.configs.stages import ContrastivePretrainConfig
from navloop.encoders.convert import load_released
from navloop.encoders.drops import joined
from navloop.encoders.losses import caption_loss, matching_loss
from navloop.encoders.masking import random_mask
from navloop.encoders.multimodal import MultimodalEncoder
from navloop.encoders.pixels import to_pixels
from navloop.encoders.text import PADDING, tokenize
from navloop.encoders.viclip import ViCLIPEncoder
from navloop.encoders.zoo import save_encoder
from navloop.training.clips import ClipBatch
from navloop.training.stages.data import ClipSource, ClipStage
from navloop.training.stages.shapes import stage_shapes, with_parts
from navloop.training.stages.stage import CLIPS, Feed, Share

IMAGES = "images"
"""Name of the feed of images, and of the recipe's field."""

_HUBS = ("hf-hub:", "local-dir:")
"""Beginnings of names of CLIPs that have their weights with them."""

_TEXT = "encoder.text."
_BLOCK = re.compile(r"encoder\.(?:video|text)?\.?blocks\.(\d+)\.")


class ContrastiveStage(ClipStage):
    """Video-language pretraining.

    "contrastive" is the symmetric cross-entropy over the texts and clips of all processes, whose gradients flow back to each;
    "caption" the mean cross-entropy of each next token; "loss" their weighted sum. "accuracy" is the share of clips whose own
    text is the nearest of the batch. Each process contrasts its own clips and texts with those of all; the whole is their mean.

    With `engine.accumulate`, each part is contrasted with itself alone. With images, whole steps are of images, one frame
    each, and each metric but "loss" and "scale" says what it is of: "video_contrastive", "image_contrastive".

    Args:
        config: The recipe.
        source: Where clips with captions come from.
        images: Where images with captions come from, as clips of one frame; needed if the recipe says when they are taken.

    Raises:
        ValueError: If the encoder has no text tower, the recipe says what it ignores (mask_ratio, captions, a CLIP that starts
            another encoder), or images are not both given and wanted.

    Source: paper, section 3.1.2; InternVideo1/Downstream/multi-modalities-downstream/CoTrain.
    """

    def __init__(self, config: ContrastivePretrainConfig, source: ClipSource, images: ClipSource | None = None) -> None:
        super().__init__(source)
        if (images is None) != (config.images is None):
            raise ValueError("the recipe's field images and a source of images come together; one of them is missing")
        self.config, self.images = config, images
        self.encoder = _create_encoder(config)
        if config.weights is not None:
            load_released(self.encoder, config.weights)
        if config.freeze_text:
            self.encoder.text.requires_grad_(False)
        if self.encoder.text.mask_token is not None:
            # No loss reads it: processes would wait for its gradient, and no checkpoint would have its moments.
            self.encoder.text.mask_token.requires_grad_(False)
        if not config.captions_weight and isinstance(self.encoder, MultimodalEncoder) and self.encoder.captioner:
            self.encoder.captioner.requires_grad_(False)  # or weight decay would wear down what no loss holds

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the towers and the caption decoder."""
        return dict(self.encoder.named_children())

    def feeds(self) -> Mapping[str, Feed]:
        """Return the videos and, if there are any, the images.

        Raises:
            ValueError: If a batch of images does not divide among the processes.
        """
        if self.images is None:
            return super().feeds()
        return {
            **super().feeds(),
            IMAGES: Feed(self._image_share(), self.images.clips_per_epoch(), self.images.training),
        }

    def feed_of(self, step: int) -> str:
        """Return where a step takes its clips from, as the recipe's turns say."""
        return IMAGES if self.config.images is not None and self.config.images.takes(step) else CLIPS

    def held_out(self) -> Iterable[ClipBatch]:
        """Return the batches of the recipe's lists of held-out videos, and then of images."""
        return chain(super().held_out(), () if self.images is None else self.images.held_out(self._image_share()))

    def _image_share(self) -> Share:
        assert self.config.images is not None
        batch, parts = self.config.images.batch, self.share.world * self.config.engine.accumulate
        if batch % parts:
            raise ValueError(
                f"images.batch {batch} does not divide among {self.share.world} processes x "
                f"{self.config.engine.accumulate} parts (engine.accumulate); take a multiple of {parts}"
            )
        return Share(batch // parts, self.share.rank, self.share.world)

    def losses(self, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return "loss", its parts, "accuracy" and "scale".

        Raises:
            ValueError: If the clips have no captions.
        """
        if batch.texts is None:
            raise ValueError(f"clips have no captions, such as {batch.sources[0]}; contrast needs a list with them")
        ids = tokenize(batch.texts, self.encoder.text.config.context)
        # Words see only those before them. The end has the largest id; "!" may be one with padding.
        longest = int(ids.argmax(1).max()) + 1
        ids = ids[:, :longest].to(batch.frames.device)
        text = self.encoder.text(ids)
        if isinstance(self.encoder, MultimodalEncoder):
            sight = self.encoder.see(self._pixels(batch))
            features, captions = sight.features, self._caption(sight.frame_tokens, text.states, ids)
        else:
            features, captions = self._masked_features(batch, generator), {}
        videos, texts = F.normalize(features @ self.encoder.video_proj, dim=-1), F.normalize(text.pooled, dim=-1)
        contrast, accuracy = self._contrast(videos, texts)
        loss = contrast + self.config.captions_weight * captions.get("caption", 0.0)
        found = {"contrastive": contrast, **captions, "accuracy": accuracy}
        return {"loss": loss, **self._named(found, loss, batch), "scale": self.encoder.scale().detach()}

    def _contrast(self, videos: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss and accuracy of this process's unit vectors (B, J) among those of all, of which it makes no table (N, N)."""
        first = (distributed.get_rank() if joined() else 0) * len(videos)
        videos, texts, scale = videos.float(), texts.float(), self.encoder.scale().float()
        with torch.autocast(
            videos.device.type, enabled=False
        ):  # bf16 is off by up to 0.1 where a scale of 100 multiplies
            texts_of_videos = scale * videos @ gather(texts).T  # (B, N)
            videos_of_texts = scale * texts @ gather(videos).T  # (B, N)
        own = torch.arange(first, first + len(videos), device=videos.device)
        accuracy = (texts_of_videos.argmax(1) == own).float().mean()
        return matching_loss(texts_of_videos, videos_of_texts, first), accuracy

    def pair_bytes(self, clips: int) -> int:
        """Return the bytes of the two tables, float32, of so many clips of this process and those of all."""
        rows = clips * self.config.clips.repeats
        return 2 * 4 * rows * rows * self.share.world

    def _named(self, found: dict[str, Tensor], loss: Tensor, batch: ClipBatch) -> dict[str, Tensor]:
        if self.images is None:
            return found
        kind = "image" if self._are_images(batch) else "video"
        return {f"{kind}_{name}": value for name, value in {"loss": loss, **found}.items()}

    def _are_images(self, batch: ClipBatch) -> bool:
        return self.images is not None and batch.frames.shape[1] == 1

    def _pixels(self, batch: ClipBatch) -> Tensor:
        if self._are_images(batch):  # which an encoder takes from nobody who may have meant a clip
            return to_pixels(batch.frames, self.encoder.pixels, self.encoder.device, self.encoder.dtype)
        return self.encoder.to_pixels(batch.frames, batch.valid_frames)

    def _caption(self, frame_tokens: Tensor, states: Tensor, ids: Tensor) -> dict[str, Tensor]:
        assert isinstance(self.encoder, MultimodalEncoder)
        if self.encoder.captioner is None or not self.config.captions_weight:
            return {}
        logits = self.encoder.captioner(frame_tokens.flatten(1, 2), states[:, :-1])
        # The mean over the tokens of all processes, not the mean of their means: captions differ in length.
        tokens = (ids[:, 1:] != PADDING).sum()
        return {"caption": caption_loss(logits, ids) * tokens / mean_over_processes(tokens)}

    def _masked_features(self, batch: ClipBatch, generator: torch.Generator) -> Tensor:
        assert isinstance(self.encoder, ViCLIPEncoder)
        pixels, hidden = self._pixels(batch), None
        if self.config.mask_ratio and self.training:
            grid = (pixels.shape[2], *self.encoder.grid[1:])  # of an image, one frame
            drawn = random_mask(grid, self.config.mask_ratio, len(batch) * self.share.world, generator)
            hidden = self.share.mine(drawn).to(pixels.device)
        return self.encoder.features(pixels, hidden)

    def save(self, folder: Path) -> None:
        """Write encoder.safetensors, for `load_encoder` and the next stages."""
        save_encoder(self.encoder, folder / "encoder.safetensors")

    def layer_of(self, name: str) -> int:
        """Return L + 1 for all after the blocks, and one less for each step down from there, in either tower: L is its last block.

        What embeds patches or words comes below a tower's first block: at 0 in the deeper tower, of L blocks.
        """
        video = self.encoder.video if isinstance(self.encoder, MultimodalEncoder) else self.encoder
        text = self.encoder.text
        top = max(len(video.blocks), len(text.blocks)) + 1
        bottom = top - 1 - len((text if name.startswith(_TEXT) else video).blocks)
        block = _BLOCK.match(name)
        if block:
            return bottom + 1 + int(block[1])
        embeds = name.split(".")[-2:]
        if {"patch", "tokens", "positions", "temporal_positions", "class_token", "norm_pre"} & set(embeds):
            return bottom
        return top


def gather(rows: Tensor) -> Tensor:
    """Return the rows (B, ...) of all processes, as many of each, in the order of their ranks; gradients flow back to each."""
    return torch.cat(all_gather(rows.contiguous())) if joined() else rows


@torch.no_grad()
def mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a number over all processes, as a float."""
    if not joined():
        return value.float()
    total = value.float()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def _create_encoder(config: ContrastivePretrainConfig) -> MultimodalEncoder | ViCLIPEncoder:
    shapes = stage_shapes(config)
    if isinstance(shapes, ViCLIPConfig):
        _refuse_what_viclip_lacks(config)
        return ViCLIPEncoder(shapes)
    shapes = _multimodal_shapes(shapes, config)
    if config.clip is None:
        return MultimodalEncoder(shapes)
    hub = config.clip.startswith(_HUBS)
    name, _, tag = (config.clip, "", "") if hub else config.clip.partition(":")
    start = encoders.from_open_clip(name, tag or None, frames=config.clips.frames)
    require_same_start(start.config, shapes, config)
    encoder = MultimodalEncoder(_multimodal_shapes(start.config, config))
    encoder.load_state_dict({**encoder.state_dict(), **start.state_dict()})
    return encoder


def _multimodal_shapes(shapes: Config, config: ContrastivePretrainConfig) -> MultimodalConfig:
    if not isinstance(shapes, MultimodalConfig):
        raise ValueError(  # noqa: TRY004 - it is the recipe's value that is wrong
            f"encoder: {config.encoder} has no text tower; take a multimodal one, such as internvideo_mm_base_p16_t8"
        )
    if config.mask_ratio:
        raise ValueError(
            f"mask_ratio {config.mask_ratio:g}: {config.encoder} sees all of a clip; leave it 0, or take a ViCLIP"
        )
    captioner = config.captioner or shapes.captioner
    if captioner is None and config.captions_weight:
        raise ValueError(
            f"captions_weight {config.captions_weight:g}: {config.encoder} has no caption decoder; give it one (captioner), or take 0"
        )
    return with_parts(shapes, TransformerConfig, checkpointing=config.recompute).model_copy(
        update={"captioner": captioner}
    )


def _refuse_what_viclip_lacks(config: ContrastivePretrainConfig) -> None:
    """Refuse fields that say something to other encoders alone.

    Raises:
        ValueError: Naming the first of them.
    """
    if config.clip is not None:
        raise ValueError(f"clip: {config.clip} starts a multimodal encoder, not {config.encoder}; take clip=null")
    if config.captioner is not None or config.captions_weight:
        field = "captioner" if config.captioner is not None else f"captions_weight {config.captions_weight:g}"
        raise ValueError(f"{field}: {config.encoder} says no captions; take captioner=null and captions_weight=0")


def require_same_start(start: Config, named: Config, config: ContrastivePretrainConfig) -> None:
    """Refuse a CLIP that is the start of another encoder, or of one for pictures of another size, than the recipe names.

    Raises:
        ValueError: Naming what differs.
    """
    one, other = (dict(_shapes_of(shapes)) for shapes in (start, named))
    differ = [
        f"{name} {one.get(name)} and not {other.get(name)}" for name in one | other if one.get(name) != other.get(name)
    ]
    if differ:
        raise ValueError(
            f"clip: {config.clip} starts an encoder with {', '.join(differ[:3])}, as {config.encoder} has at clips.size "
            f"{config.clips.size}; name the encoder and the size that it starts, or another CLIP"
        )


def _shapes_of(config: Config, place: str = "") -> Iterator[tuple[str, object]]:
    """Yield each field of a multimodal encoder that a CLIP decides, by its dotted name."""
    for name, value in config:
        if isinstance(value, PixelsConfig):
            yield f"{place}{name}.size", value.size  # how pixels are prepared is the CLIP's own
        elif isinstance(value, Config):
            yield from () if name == "captioner" else _shapes_of(value, f"{place}{name}.")
        elif name not in ("mask_token", "checkpointing", "captioner"):
            yield f"{place}{name}", value
