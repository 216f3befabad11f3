"""How a step's percepts lie in their tokens: what `Perception` writes and policies read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Depth = Tensor | NDArray[np.float32] | None

DEPTH_SIDE = 32
"""Height and width that a depth frame is pooled to."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The n tokens of one step, each of width D, in this order.

    The newest frame's patches pooled to grid x grid, row by row from the top left; a summary of that frame; the vector
    of the clip, if there is one; the depth frame of `DEPTH_SIDE` x `DEPTH_SIDE` metres, written on through as many
    tokens as it takes. What is narrower than a token ends in zeros.

    Attributes:
        grid: Tokens along the height and along the width of the frame.
        width: Width D of a token.
        clip: Whether the clip's vector is there.
        depth: Whether the depth frame is there.
    """

    grid: int
    width: int
    clip: bool = False
    depth: bool = False

    @property
    def visual(self) -> int:
        """Tokens before the depth frame's."""
        return self.grid**2 + 1 + self.clip

    @property
    def tokens(self) -> int:
        """Tokens n of a step."""
        return self.visual + (-(-(DEPTH_SIDE**2) // self.width) if self.depth else 0)

    def write(self, parts: Sequence[tuple[Tensor, Tensor]], clip: Tensor | None) -> Tensor:
        """Lay out what an encoder made of N frames.

        Args:
            parts: Patches (N, h * h, D') and summary (N, D') of each branch; branches come side by side in a token.
            clip: Vector (N, D'') of the clip, if it is asked for.

        Returns:
            float32 (N, visual, D).
        """
        seen = torch.cat([self._pooled(patches, summary) for patches, summary in parts], -1).float()
        seen = F.pad(seen, (0, self.width - seen.shape[-1]))
        if clip is None:
            return seen
        return torch.cat((seen, F.pad(clip.float(), (0, self.width - clip.shape[-1]))[:, None]), 1)

    def add_depth(self, seen: Tensor, depth: Depth) -> Tensor:
        """Put depth frames (N, H, W, 1) of metres behind what was written, if depth is looked at; float32 (N, n, D).

        Raises:
            ValueError: If depth is looked at and did not come, or not as one frame each.
        """
        if not self.depth:
            return seen
        if depth is None:
            raise ValueError("depth is looked at, but no depth frames came; take a protocol with a depth camera")
        metres = torch.as_tensor(depth).to(seen.device).float()
        if metres.ndim != 4 or metres.shape[-1] != 1 or len(metres) != len(seen):
            raise ValueError(f"depth is {tuple(metres.shape)}, not ({len(seen)}, H, W, 1) metres")
        small = F.adaptive_avg_pool2d(metres.permute(0, 3, 1, 2), DEPTH_SIDE).flatten(1)
        rows = self.tokens - self.visual
        small = F.pad(small, (0, rows * self.width - small.shape[1]))
        return torch.cat((seen, small.view(len(seen), rows, -1)), 1)

    def _pooled(self, patches: Tensor, summary: Tensor) -> Tensor:
        side = int(patches.shape[1] ** 0.5)
        if side != self.grid:
            image = patches.mT.unflatten(2, (side, side))
            patches = F.adaptive_avg_pool2d(image, self.grid).flatten(2).mT
        return torch.cat((patches, summary[:, None]), 1)
