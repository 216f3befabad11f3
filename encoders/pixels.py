"""From uint8 frames to an encoder's pixels: the only place that scales, resizes, normalises and moves the channel."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from navloop.configs.encoders import PixelsConfig

VERSION = 3
"""Raised when the same frames become other pixels: features that were kept from before are then not taken for today's."""


def to_pixels(
    frames: Tensor,
    config: PixelsConfig,
    device: torch.device | str,
    dtype: torch.dtype,
    valid: Tensor | None = None,
) -> Tensor:
    """Resize, scale and normalise frames.

    They cross to the device as uint8, a quarter of the bytes. Frames that have the encoder's size are taken as they are: they were cut to it
    before, by augmentation, as a view to test on, or by the camera, and enlarging them to crop them again would lose their edges.

    Args:
        frames: uint8 (B, T, H, W, 3), RGB.
        config: Size, mean, standard deviation, and how to resize.
        device: Where the result is.
        dtype: Type of the result; the arithmetic is float32.
        valid: bool (B, T), False where a frame pads a clip that is too short; None: all are real.

    Returns:
        float (B, 3, T, size, size), 0 where a frame pads: the mean colour, which is what the released retrieval pads with.

    Raises:
        ValueError: If `frames` are not uint8 (B, T, H, W, 3), or `valid` is not (B, T).
    """
    if frames.dtype != torch.uint8:
        raise ValueError(f"frames are {frames.dtype}, not torch.uint8: pass the camera's bytes, 0 to 255")
    if frames.ndim != 5 or frames.shape[-1] != 3:
        raise ValueError(f"frames are {tuple(frames.shape)}, not (B, T, H, W, 3) RGB")
    batch, num_frames = frames.shape[:2]
    if 0 in frames.shape:
        raise ValueError(f"frames are {tuple(frames.shape)}: there is nothing to encode")
    if valid is not None and valid.shape != frames.shape[:2]:
        raise ValueError(
            f"valid is {tuple(valid.shape)}, not {tuple(frames.shape[:2])} as the frames' clips and times are"
        )
    images = frames.to(device, non_blocking=True).flatten(0, 1).permute(0, 3, 1, 2).float()  # (B*T, 3, H, W)
    images = _resized(images, config)
    mean = torch.tensor(config.mean, device=images.device).view(3, 1, 1)
    std = torch.tensor(config.std, device=images.device).view(3, 1, 1)
    images = (images / 255 - mean) / std
    if valid is not None:
        images.masked_fill_(~valid.to(images.device).reshape(-1, 1, 1, 1), 0.0)
    return images.to(dtype).view(batch, num_frames, *images.shape[1:]).transpose(1, 2)  # (B, 3, T, H, W)


def whole_view(config: PixelsConfig) -> PixelsConfig:
    """Return a configuration that takes frames of any size whole, smoothly squashed to the encoder's: nothing at the edges is cut off."""
    changes = {"resize": "squash", "resize_to": None, "interpolation": "bilinear", "antialias": True}
    return config.model_copy(update=changes)


def _resized(images: Tensor, config: PixelsConfig) -> Tensor:
    size, (height, width) = config.size, images.shape[-2:]
    if (height, width) == (size, size):
        return images
    side, short = config.resize_to or size, min(height, width)
    target = (side, side) if config.resize == "squash" else (height * side // short, width * side // short)
    if target != (height, width):
        smooth = config.antialias and config.interpolation != "nearest"
        images = F.interpolate(images, target, mode=config.interpolation, antialias=smooth)
        images = images.clamp(0, 255)  # bicubic overshoots
    top, left = (round((length - size) / 2) for length in target)  # as torchvision and the released code round
    return images[..., top : top + size, left : left + size]


def as_frames(frames: Tensor | NDArray[np.uint8]) -> Tensor:
    """Return frames as a tensor of the same memory; a copy of arrays that torch cannot share.

    Those are arrays that run backwards, such as `clip[::-1]` or OpenCV's BGR as `image[..., ::-1]`, and read-only ones.
    """
    if isinstance(frames, np.ndarray) and (not frames.flags.writeable or min(frames.strides, default=0) < 0):
        frames = np.array(frames, order="C")
    return torch.as_tensor(frames)


def frame_indices(num_frames: int, wanted: int) -> Tensor:
    """Return which frames of a video to take: the middle of each of `wanted` equal parts, int64 (wanted,), rising.

    A video shorter than that repeats frames.

    Raises:
        ValueError: If either number is not positive.
    """
    if num_frames < 1 or wanted < 1:
        raise ValueError(f"cannot take {wanted} of {num_frames} frames")
    return (2 * torch.arange(wanted) + 1) * num_frames // (2 * wanted)
