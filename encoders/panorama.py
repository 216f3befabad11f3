"""What an encoder sees all around: one clip a view, for planners that choose among directions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from navloop.encoders.encoder import VideoEncoder
from navloop.encoders.pixels import as_frames

NUM_VIEWS = 12
"""Views of a panorama, 30 degrees apart. Source: InternVideo1/Downstream/Visual-Language-Navigation."""


@torch.no_grad()
def encode_panorama(
    encoder: VideoEncoder, views: Tensor | NDArray[np.uint8], *, clips_at_once: int = NUM_VIEWS
) -> Tensor:
    """Return the features of each view's own clip.

    Order, in and out: view 0 is straight ahead, and they go on counter-clockwise, to the left, as headings in this
    library do; view k of V looks at heading + 2 pi k / V. The released agent keeps its video features in this order but
    its CLIP and depth features clockwise; to feed it, turn those with `clockwise`.

    Args:
        encoder: Any encoder.
        views: uint8 (B, V, T, H, W, 3), the last T frames of each view.
        clips_at_once: Clips that go through the encoder together; it bounds the memory.

    Returns:
        float (B, V, D), `VideoEncoder.features` of each view, not normalised.

    Raises:
        ValueError: If the views do not have this shape, or the encoder takes other clips.

    Source: InternVideo1/Downstream/Visual-Language-Navigation, `rgb_encoder` of the policy.
    """
    clips = as_frames(views)
    if clips.ndim != 6 or clips.shape[-1] != 3 or 0 in clips.shape:
        raise ValueError(f"views are {tuple(clips.shape)}, not (B, V, T, H, W, 3)")
    if clips_at_once < 1:
        raise ValueError(f"clips_at_once is {clips_at_once}; take 1 or more")
    parts = clips.flatten(0, 1).split(clips_at_once)
    features = torch.cat([encoder.features(encoder.to_pixels(part)) for part in parts])
    return features.view(*clips.shape[:2], -1)


def clockwise(features: Tensor) -> Tensor:
    """Return per-view features (B, V, ...) in the other sense of turning; view 0 stays. Twice is the identity."""
    return features.flip(1).roll(1, 1)
