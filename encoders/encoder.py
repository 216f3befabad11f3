"""What every encoder is to the rest of the library: frames in, tokens and one unit vector out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from navloop.configs.encoders import PixelsConfig
from navloop.configs.schema import Config
from navloop.encoders.pixels import as_frames, to_pixels, whole_view

if TYPE_CHECKING:
    from navloop.encoders.convert import LoadReport


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """What an encoder sees in B clips."""

    tokens: Tensor
    """float (B, N, D), ordered time, row, column; class tokens are not among them."""
    pooled: Tensor
    """float (B, J), of unit length, of the type of the parameters even under autocast."""
    grid: tuple[int, int, int]
    """Tokens along (time, height, width); t * h * w = N unless tokens are hidden."""
    hidden: Tensor | None = None
    """bool (B, t * h * w), True where a token was withheld and so is not in `tokens`; None if all are there."""


class VideoEncoder(nn.Module, ABC):
    """A video encoder with the preprocessing it was trained with.

    Attributes:
        config: What it was made from.
        pixels: How frames become numbers.
        num_frames: Frames T of a clip.
        width: Width D of a token.
        joint_width: Width J of `pooled`.
        grid: Tokens along (time, height, width).
        loaded: What the weights are and what of them is not as one would think; None for random ones.
    """

    loaded: LoadReport | None = None
    config: Config
    pixels: PixelsConfig
    num_frames: int
    width: int
    joint_width: int
    grid: tuple[int, int, int]

    @abstractmethod
    def forward(self, pixels: Tensor) -> EncoderOutput:
        """Encode normalised pixels, float (B, 3, T, H, W)."""

    @abstractmethod
    def features(self, pixels: Tensor) -> Tensor:
        """Return a vector a clip, float (B, D), not normalised: what a classification head or a policy reads."""

    @torch.no_grad()
    def encode_video(self, frames: Tensor | NDArray[np.uint8]) -> EncoderOutput:
        """Encode clips as they come from a camera or a file, without gradients.

        Args:
            frames: uint8 (B, T, H, W, 3) RGB of any height and width, or one clip without B, on any device.

        Raises:
            ValueError: If the frames are not uint8, not RGB, or not T of them.
        """
        return self(self.to_pixels(frames))  # type: ignore[no-any-return]

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Return a unit vector a text, float (B, J), in the space of `EncoderOutput.pooled`.

        Raises:
            TypeError: If this encoder has no text tower.
        """
        raise TypeError(
            f"{type(self).__name__} has no text tower; take an encoder with one, such as internvideo_mm_base_p16_t8"
        )

    def similarity(self, videos: Tensor, texts: Tensor) -> Tensor:
        """Return the scaled cosine of each video (B, J) with each text (K, J), as logits (B, K).

        Raises:
            TypeError: If this encoder has no text tower.
        """
        raise TypeError(
            f"{type(self).__name__} has no text tower; take an encoder with one, such as internvideo_mm_base_p16_t8"
        )

    def to_pixels(self, frames: Tensor | NDArray[np.uint8], valid: Tensor | None = None) -> Tensor:
        """Return uint8 frames (B, T, H, W, 3) as this encoder's pixels, float (B, 3, T, H, W), on its device.

        Frames that are not `valid`, bool (B, T), pad a clip that is too short: they become 0, the mean colour.
        """
        clips = as_frames(frames)
        if clips.ndim == 4:
            clips = clips[None]
        if clips.ndim == 5 and clips.shape[1] != self.num_frames:
            raise ValueError(
                f"clips have {clips.shape[1]} frames, this encoder takes {self.num_frames}; "
                f"pick them with navloop.encoders.frame_indices({clips.shape[1]}, {self.num_frames})"
            )
        return to_pixels(clips, self.pixels, self.device, self.dtype, valid)

    def see_whole(self) -> None:
        """Take frames of any size whole from now on, in every branch, as an agent must: what it walks to may be at their edges.

        Only what the encoder makes of frames in this process changes, not its `config`: saved, it has the preset of its videos.
        """
        for part in self.modules():
            if isinstance(part, VideoEncoder):
                part.pixels = whole_view(part.pixels)

    def check_pixels(self, pixels: Tensor) -> None:
        """Refuse pixels of another shape than (B, 3, T, size, size), or of a type that the parameters do not take.

        Raises:
            ValueError: Naming both shapes, or both types.
        """
        size = self.pixels.size
        if pixels.ndim != 5 or pixels.shape[1:] != (3, self.num_frames, size, size):
            raise ValueError(
                f"pixels are {tuple(pixels.shape)}, this encoder takes (B, 3, {self.num_frames}, {size}, {size}); "
                "encode_video takes frames of any size"
            )
        if pixels.dtype != self.dtype and not _is_cast(pixels):
            raise ValueError(
                f"pixels are {pixels.dtype}, this encoder's parameters {self.dtype}: pass pixels.to(encoder.dtype), "
                "or uint8 frames to encode_video"
            )

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the parameters."""
        return next(self.parameters()).dtype


def _is_cast(pixels: Tensor) -> bool:
    """Return whether autocast is on and takes such pixels."""
    half_or_single = pixels.dtype in (torch.float32, torch.bfloat16, torch.float16)
    return half_or_single and torch.is_autocast_enabled(pixels.device.type)
