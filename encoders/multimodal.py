"""The multimodal branch: videos and texts in one space, captions (InternVideo-MM); the tower alone (UniFormerV2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from navloop.configs.encoders import MultimodalConfig, UniFormerConfig
from navloop.configs.generation import Beam, Greedy, Nucleus
from navloop.encoders.captioner import CaptionDecoder
from navloop.encoders.encoder import EncoderOutput, VideoEncoder
from navloop.encoders.generation import caption
from navloop.encoders.layers import CLIP, CLIP_EXACT, unit_vectors
from navloop.encoders.pixels import as_frames, to_pixels
from navloop.encoders.text import TextTower, detokenize
from navloop.encoders.tower import VideoTower

MAX_LOGIT_SCALE = math.log(100)
"""Largest logarithm of the temperature's inverse. Source: CoTrain's clamp; Radford et al., CLIP, section 2.5."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the multimodal branch sees in B clips, before anything is of unit length."""

    frame_tokens: Tensor
    """float (B, t, 1 + h * w, D) after the last block, a class token before each frame's patches; for captions."""
    features: Tensor
    """float (B, D), one vector a clip, after the last norm."""


class MultimodalEncoder(VideoEncoder):
    """InternVideo's multimodal branch.

    With the weights of a CLIP model and global blocks as they start, it is CLIP on the frames' mean class token.

    Args:
        config: Sizes and options.

    Source: InternVideo1/Pretrain/Multi-Modalities-Pretraining; paper, section 3.1.2.
    """

    def __init__(self, config: MultimodalConfig) -> None:
        super().__init__()
        self.config = config
        self.pixels = config.video.pixels
        self.num_frames = config.video.frames
        self.width, self.joint_width, self.grid = config.video.trunk.width, config.joint_width, config.video.grid
        self.video = VideoTower(config.video)
        self.norm_post = nn.LayerNorm(self.width, eps=(CLIP if config.video.quick_gelu else CLIP_EXACT).eps)
        self.video_proj = nn.Parameter(self.width**-0.5 * torch.randn(self.width, self.joint_width))
        self.text = TextTower(config.text, self.joint_width)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.captioner = (
            None
            if config.captioner is None
            else CaptionDecoder(
                config.captioner,
                text_width=config.text.trunk.width,
                video_width=self.width,
                vocabulary=config.text.vocabulary,
            )
        )

    def see(self, pixels: Tensor) -> Sight:
        """Run the video tower over pixels (B, 3, T, H, W): what contrast and captioning both start from."""
        fused, frame_tokens = self.video(pixels)
        return Sight(frame_tokens, self.norm_post(fused))

    def features(self, pixels: Tensor) -> Tensor:
        """Return a vector a clip, float (B, D), after the last norm and before the projection."""
        self.check_pixels(pixels)
        return self.see(pixels).features

    def output(self, sight: Sight) -> EncoderOutput:
        """Return what is seen in the joint space; the tokens are the last block's patches."""
        pooled = unit_vectors(sight.features @ self.video_proj, self.dtype)
        return EncoderOutput(sight.frame_tokens[:, :, 1:].flatten(1, 2), pooled, self.grid)

    def forward(self, pixels: Tensor) -> EncoderOutput:
        """Encode normalised pixels, float (B, 3, T, H, W)."""
        self.check_pixels(pixels)
        return self.output(self.see(pixels))

    @torch.no_grad()
    def encode_images(self, images: Tensor | NDArray[np.uint8]) -> Tensor:
        """Return a unit vector an image, float (B, J), without gradients.

        Args:
            images: uint8 (B, H, W, 3), RGB of any height and width.

        Raises:
            ValueError: If the images are not uint8, not RGB, or not (B, H, W, 3).
        """
        batch = as_frames(images)
        if batch.ndim != 4 or batch.shape[-1] != 3:
            hint = "; one image is images[None]" if batch.ndim == 3 else ""
            raise ValueError(f"images are {tuple(batch.shape)}, not (B, H, W, 3) RGB{hint}")
        pixels = to_pixels(batch[:, None], self.pixels, self.device, self.dtype)
        return unit_vectors(self.see(pixels).features @ self.video_proj, self.dtype)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Return a unit vector a text, float (B, J), without gradients; `text.encode` keeps them."""
        return self.text.encode(texts)

    @torch.no_grad()
    def caption(
        self,
        frames: Tensor | NDArray[np.uint8],
        strategy: Greedy | Beam | Nucleus | None = None,
        *,
        length: int | None = None,
        generator: torch.Generator | None = None,
        valid: Tensor | None = None,
    ) -> list[str]:
        """Say what is to be seen in clips.

        Args:
            frames: uint8 (B, T, H, W, 3), as for `encode_video`.
            strategy: How words are chosen; its `count` captions of a clip are adjacent. None takes a beam of 5.
            length: Tokens of a caption at most; None takes the text tower's context.
            generator: Source of randomness, on this encoder's device; only `Nucleus` needs it.
            valid: bool (B, T), as for `to_pixels`.

        Raises:
            TypeError: If this encoder has no caption decoder.
        """
        if self.captioner is None:
            raise TypeError(
                "this encoder has no caption decoder; create it with weights that hold one, "
                "create_encoder(name, weights), or from a configuration with a captioner, "
                "encoder_config(name).model_copy(update={'captioner': CaptionerConfig()})"
            )
        video_tokens = self.see(self.to_pixels(frames, valid)).frame_tokens.flatten(1, 2)
        said = caption(self.text, self.captioner, video_tokens, strategy or Beam(), length=length, generator=generator)
        return detokenize(said.ids)

    def similarity(self, videos: Tensor, texts: Tensor) -> Tensor:
        """Return the scaled cosine of each video (B, J) with each text (K, J), as logits (B, K)."""
        return self.scale() * videos @ texts.mT

    def scale(self) -> Tensor:
        """Return the factor of the cosines, at most 100.

        A logarithm out of range counts as its end but keeps its gradient: that of OpenAI's CLIPs stands on the end itself, and
        float32's ln 100 is above it. Training calls `clamp_temperature`, or the logarithm would run on where nobody sees it.
        """
        beyond = (self.logit_scale.clamp(0, MAX_LOGIT_SCALE) - self.logit_scale).detach()
        return (self.logit_scale + beyond).exp()

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Put the logarithm of the factor, where it is trained, back into its range [0, ln 100], as it is due after each step."""
        if self.logit_scale.requires_grad:
            self.logit_scale.clamp_(0, MAX_LOGIT_SCALE)


class UniFormer(VideoEncoder):
    """UniFormerV2: the video tower by itself; `VideoClassifier` puts a head on it.

    Source: Li et al., UniFormerV2, ICCV 2023; InternVideo1/Downstream/UniFormerV2.
    """

    def __init__(self, config: UniFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.pixels = config.video.pixels
        self.num_frames = config.video.frames
        self.width = self.joint_width = config.video.trunk.width
        self.grid = config.video.grid
        self.video = VideoTower(config.video)

    def features(self, pixels: Tensor) -> Tensor:
        """Return the fused vector of each clip, float (B, D)."""
        self.check_pixels(pixels)
        return self.video(pixels)[0]  # type: ignore[no-any-return]

    def forward(self, pixels: Tensor) -> EncoderOutput:
        """Encode normalised pixels, float (B, 3, T, H, W)."""
        self.check_pixels(pixels)
        fused, frame_tokens = self.video(pixels)
        return EncoderOutput(frame_tokens[:, :, 1:].flatten(1, 2), unit_vectors(fused, self.dtype), self.grid)
