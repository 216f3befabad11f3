"""Both branches as one encoder: cross-model attention between them, and the classifier that it is trained with.

The paper describes this stage in half a page and released no code for it. What it leaves open is decided here:

- The masked branch looks at the other one after as many equal stages as that has taps, first to first
  (`CoordinationConfig.stages`). What it sees of a tap is what the global block there reads: patches of all frames with
  their places, and the frames' class tokens.
- A module is as wide as what it changes, with that trunk's heads, norms and activation, and an MLP of its own
  (`hidden_ratio`). Its gates are scalars (`vector_gates`).
- The multimodal clip query looks at the masked branch's last tokens after the last global block, before it meets the
  mean of the frames' class tokens. The text-aligned embedding thus comes from the enhanced query.
- Heads read what they read in each branch's own fine-tuning: `MaskedEncoder.features`,
  `MultimodalEncoder.features`. Both get dropout (`dropout`).
- Scores are fused as (1 - w) * masked + w * multimodal, w the sigmoid of one number that starts at 0: their mean.

Source: InternVideo, arXiv 2212.03191, section 3.2 and Figure 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import Self

from navloop.configs.encoders import InternVideoConfig
from navloop.encoders.classifier import VideoClassifier
from navloop.encoders.cross_attention import CrossModelAttention
from navloop.encoders.drops import Dropout
from navloop.encoders.encoder import EncoderOutput, VideoEncoder
from navloop.encoders.layers import CLIP, CLIP_EXACT, VIDEOMAE, run, unit_vectors
from navloop.encoders.masked import MaskedEncoder
from navloop.encoders.multimodal import MultimodalEncoder
from navloop.encoders.pixels import as_frames


class BranchPixels(NamedTuple):
    """The same B clips as each branch was trained to see them; `InternVideo.to_pixels` makes them."""

    masked: Tensor
    """float (B, 3, T, size, size)."""
    multimodal: Tensor
    """float (B, 3, T / stride, size, size), of every stride-th frame and the newest; its size is this branch's own."""


@dataclass(frozen=True, slots=True)
class CoordinatedSight:
    """What the coordinated branches see in B clips, before anything is of unit length."""

    tokens: Tensor
    """float (B, N, D), after the masked branch's last block and module."""
    features: Tensor
    """float (B, D'), the multimodal branch's vector a clip, after its last norm and before the projection."""


class InternVideo(VideoEncoder):
    """The masked and the multimodal branch, each frozen and looking at the other.

    Tokens, features and grid are the masked branch's, enhanced; `pooled` is the multimodal one's, enhanced, in the
    space of texts. As it starts, all of them are what the branches give by themselves. Only `trainable_parameters`
    get gradients, though these run through frozen blocks; the branches stay in eval mode. Pixels are `BranchPixels`:
    each branch has its own `PixelsConfig`, and `self.pixels` is the masked one's.

    Args:
        config: Both branches and their coordination.

    Raises:
        ValueError: If the stages do not fit the branches.
    """

    config: InternVideoConfig

    def __init__(self, config: InternVideoConfig) -> None:
        super().__init__()
        self.config = config
        self.stages = coordinated_stages(config)
        self.masked = MaskedEncoder(config.masked)
        self.multimodal = MultimodalEncoder(config.multimodal)
        self.pixels, self.num_frames, self.grid = self.masked.pixels, self.masked.num_frames, self.masked.grid
        self.width, self.joint_width = self.masked.width, self.multimodal.joint_width
        masked, video, coordination = config.masked.trunk, config.multimodal.video, config.coordination
        self.cross = nn.ModuleList(
            CrossModelAttention(masked, video.trunk.width, VIDEOMAE, coordination) for _ in self.stages
        )
        style = CLIP if video.quick_gelu else CLIP_EXACT
        self.class_cross = CrossModelAttention(video.trunk, masked.width, style, coordination)
        self.freeze()
        self.train()

    def freeze(self) -> None:
        """Leave gradients to the cross-attention modules and the multimodal clip query alone."""
        self.requires_grad_(False)
        for part in (self.cross, self.class_cross):
            part.requires_grad_(True)
        self.multimodal.video.query.requires_grad_(True)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that get gradients, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the cross-attention modules; the frozen branches stay in eval mode."""
        super().train(mode)
        self.masked.eval()
        self.multimodal.eval()
        return self

    def forward(self, pixels: BranchPixels) -> EncoderOutput:  # type: ignore[override]  # two branches, two tensors
        """Encode what `to_pixels` gives."""
        return self.output(self.see(pixels))

    def features(self, pixels: BranchPixels) -> Tensor:  # type: ignore[override]
        """Return the mean of the enhanced masked tokens, normalised by that branch's layer norm, float (B, D)."""
        return self.masked.pool(self.see(pixels).tokens)

    def see(self, pixels: BranchPixels) -> CoordinatedSight:
        """Run both branches and what coordinates them."""
        self.check_pixels(pixels)
        frames = self.multimodal.video.encode_frames(pixels.multimodal)
        placed = self.multimodal.video.place(frames.taps)
        tokens = self.enhance_tokens(pixels.masked, placed)
        return CoordinatedSight(tokens, self.enhance_features(placed, frames.last[:, :, 0], tokens))

    def enhance_tokens(self, pixels: Tensor, placed: Sequence[Tensor]) -> Tensor:
        """Run the masked branch over its pixels, looking at the multimodal one's placed taps on the way.

        Args:
            pixels: float (B, 3, T, size, size), this branch's.
            placed: float (B, t, 1 + h * w, D') each, from `VideoTower.place`.

        Returns:
            float (B, N, D), not normalised.
        """
        checkpointing = self.config.masked.trunk.checkpointing
        x = self.masked.embed(pixels)
        for number, block in enumerate(self.masked.blocks, start=1):
            x = run(block, x, checkpointing=checkpointing)
            if number in self.stages:
                stage = self.stages.index(number)
                x = run(self.cross[stage], x, placed[stage].flatten(1, 2), checkpointing=checkpointing)
        return x

    def enhance_features(self, placed: Sequence[Tensor], class_tokens: Tensor, tokens: Tensor) -> Tensor:
        """Finish the multimodal branch, its clip query looking at the masked one's tokens.

        Args:
            placed: float (B, t, 1 + h * w, D') each, from `VideoTower.place`.
            class_tokens: float (B, t, D'), the frames' class tokens after the last block.
            tokens: float (B, N, D), from `enhance_tokens`.

        Returns:
            float (B, D'), after the last norm and before the projection.
        """
        checkpointing = self.config.multimodal.video.trunk.checkpointing

        def look(query: Tensor) -> Tensor:
            return run(self.class_cross, query[:, None], tokens, checkpointing=checkpointing)[:, 0]

        return self.multimodal.norm_post(self.multimodal.video.fuse(placed, class_tokens, look))  # type: ignore[no-any-return]

    def output(self, sight: CoordinatedSight) -> EncoderOutput:
        """Return what is seen as every encoder does."""
        pooled = unit_vectors(sight.features @ self.multimodal.video_proj, self.dtype)
        return EncoderOutput(self.masked.finish(sight.tokens).tokens, pooled, self.grid)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Return a unit vector a text, float (B, J), in the space of `EncoderOutput.pooled`."""
        return self.multimodal.encode_text(texts)

    def similarity(self, videos: Tensor, texts: Tensor) -> Tensor:
        """Return the scaled cosine of each video (B, J) with each text (K, J), as logits (B, K)."""
        return self.multimodal.similarity(videos, texts)

    def to_pixels(self, frames: Tensor | NDArray[np.uint8], valid: Tensor | None = None) -> BranchPixels:  # type: ignore[override]
        """Return uint8 frames (B, T, H, W, 3) as each branch's pixels; they cross to the device once. `valid` as any encoder takes it."""
        clips = as_frames(frames).to(self.device, non_blocking=True)
        masked = self.masked.to_pixels(clips, valid)  # checks them
        taken = slice(self.config.stride - 1, None, self.config.stride)
        seen = None if valid is None else valid[..., taken]
        return BranchPixels(masked, self.multimodal.to_pixels(clips[..., taken, :, :, :], seen))

    def check_pixels(self, pixels: BranchPixels) -> None:  # type: ignore[override]
        """Refuse pixels of other shapes than the branches', or not as many clips for each.

        Raises:
            TypeError: If they are one tensor.
            ValueError: Naming both shapes.
        """
        if not isinstance(pixels, BranchPixels):
            raise TypeError(
                f"pixels are {type(pixels).__name__}, this encoder takes BranchPixels, one tensor a branch; "
                "to_pixels makes them of uint8 frames"
            )
        self.masked.check_pixels(pixels.masked)
        self.multimodal.check_pixels(pixels.multimodal)
        if len(pixels.masked) != len(pixels.multimodal):
            raise ValueError(f"pixels are of {len(pixels.masked)} masked and {len(pixels.multimodal)} multimodal clips")


class CoordinatedClassifier(nn.Module):
    """A linear head on each coordinated branch, and one number that weighs their scores.

    As it starts, its logits are the mean of what the branches' own classifiers give; copy those with `start_from`.

    Args:
        encoder: The coordinated branches.
        num_classes: Number of classes.

    Raises:
        ValueError: If there is no class.

    Source: InternVideo, arXiv 2212.03191, section 3.2: only the heads, the query and what is new are trained.
    """

    def __init__(self, encoder: InternVideo, num_classes: int) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"{num_classes} classes are none to tell apart; take 1 or more")
        self.encoder = encoder
        self.dropout = Dropout(encoder.config.coordination.dropout)
        self.masked_head = nn.Linear(encoder.masked.width, num_classes)
        self.multimodal_head = nn.Linear(encoder.multimodal.width, num_classes)
        self.fusion = nn.Parameter(torch.zeros(()))

    def forward(self, pixels: BranchPixels) -> Tensor:
        """Return the logits of what `encoder.to_pixels` gives, (B, num_classes)."""
        return self.classify(self.encoder.see(pixels))

    def classify(self, sight: CoordinatedSight) -> Tensor:
        """Return the logits of what the encoder sees, (B, num_classes)."""
        masked = self.masked_head(self.dropout(self.encoder.masked.pool(sight.tokens)))
        multimodal = self.multimodal_head(self.dropout(sight.features))
        weight = self.fusion.sigmoid()
        return (1 - weight) * masked + weight * multimodal  # type: ignore[no-any-return]

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that get gradients, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def start_from(self, masked: VideoClassifier, multimodal: VideoClassifier) -> None:
        """Copy the weights of each branch and of its head from its own fine-tuned classifier.

        Raises:
            RuntimeError: If a weight is missing, unexpected, or of another shape.
            ValueError: If a head has a norm: both branches have their own.
        """
        if any(classifier.norm.state_dict() for classifier in (masked, multimodal)):
            raise ValueError("a head has a norm, but both branches have their own; fine-tune them with norm=False")
        self.encoder.masked.load_state_dict(masked.encoder.state_dict())
        self.encoder.multimodal.load_state_dict(multimodal.encoder.state_dict())
        self.masked_head.load_state_dict(masked.head.state_dict())
        self.multimodal_head.load_state_dict(multimodal.head.state_dict())


def coordinated_stages(config: InternVideoConfig) -> tuple[int, ...]:
    """Return the masked branch's blocks, counted from 1, after which it looks at the multimodal one's taps in turn.

    Raises:
        ValueError: If there are more of them than taps, or they are not increasing block numbers.
    """
    stages, depth = config.coordination.stages, config.masked.trunk.depth
    num_taps = len(config.multimodal.video.taps)
    if stages is None:
        if num_taps > depth:
            raise ValueError(
                f"{depth} masked blocks are fewer than the {num_taps} taps; name the stages, {depth} at most"
            )
        return tuple(depth * (i + 1) // num_taps for i in range(num_taps))
    if list(stages) != sorted(set(stages)) or not set(stages) <= set(range(1, depth + 1)):
        raise ValueError(f"stages {stages} are not increasing block numbers from 1 to {depth}")
    if len(stages) > num_taps:
        raise ValueError(f"{len(stages)} stages {stages} are more than the {num_taps} taps they look at")
    return stages
