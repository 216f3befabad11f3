"""The video tower of the multimodal branch: CLIP's blocks on each frame, global blocks over all of them.

All but the global blocks works on one frame at a time, so a stream of frames pays for the new one alone
(`navloop.encoders.streaming`); local mixing and halved time, which UniFormerV2 uses for short actions, give that up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from navloop.configs.encoders import VideoTowerConfig
from navloop.encoders.global_blocks import GlobalBlock
from navloop.encoders.layers import CLIP, CLIP_EXACT, create_blocks, drop_path_rates, initialise_blocks, run
from navloop.encoders.local import LocalBlock


@dataclass(frozen=True, slots=True)
class FrameTokens:
    """What the per-frame part of a tower makes of B clips of t frames; a class token precedes each frame's patches."""

    taps: tuple[Tensor, ...]
    """float (B, t, 1 + h * w, D) after each tapped block."""
    last: Tensor
    """float (B, t, 1 + h * w, D) after the last block."""


class VideoTower(nn.Module):
    """CLIP's vision transformer with global cross-attention blocks ("only global" UniFormerV2, or the whole of it).

    Args:
        config: Sizes and options.

    Source: InternVideo1/Pretrain/Multi-Modalities-Pretraining, video encoder; UniFormerV2, ICCV 2023.
    """

    def __init__(self, config: VideoTowerConfig) -> None:
        super().__init__()
        self.config = config
        width, depth = config.trunk.width, 3 if config.halve_time else 1
        stride = (2 if config.halve_time else 1, config.patch, config.patch)
        kernel = (depth, config.patch, config.patch)
        self.patch = nn.Conv3d(3, width, kernel, stride, padding=(depth // 2, 0, 0), bias=False)
        _, height, columns = config.grid
        self.class_token = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positions = nn.Parameter(width**-0.5 * torch.randn(height * columns + 1, width))
        style = CLIP if config.quick_gelu else CLIP_EXACT
        self.norm_pre = nn.LayerNorm(width, eps=style.eps)
        if config.local == "none":
            self.blocks = create_blocks(config.trunk, style)
        else:
            rates = drop_path_rates(config.trunk.drop_path, config.trunk.depth)
            self.blocks = nn.ModuleList(LocalBlock(config, style, rate) for rate in rates)
        initialise_blocks(self.blocks)
        self.query = nn.Parameter(torch.zeros(1, 1, width))
        self.global_blocks = nn.ModuleList(
            GlobalBlock(config.trunk, style, config.global_dropout, rate)
            for rate in drop_path_rates(config.global_drop_path, len(config.taps))
        )
        self.balance = nn.Parameter(torch.zeros(width)) if config.balance else None

    def encode_frames(self, pixels: Tensor) -> FrameTokens:
        """Run the per-frame part over pixels (B, 3, T, H, W), for any T."""
        patches = self.patch(pixels)  # (B, D, t, h, w)
        batch, _, num_slots = patches.shape[:3]
        x = patches.flatten(3).permute(0, 2, 3, 1).flatten(0, 1)  # (B * t, h * w, D)
        x = torch.cat((self.class_token.expand(len(x), 1, -1), x), 1) + self.positions  # (B * t, 1 + h * w, D)
        x = self.norm_pre(x)
        slots = () if self.config.local == "none" else (num_slots,)  # local mixers must not mix clips
        taps = []
        for i, block in enumerate(self.blocks):
            x = run(block, x, *slots, checkpointing=self.config.trunk.checkpointing)
            if i in self.config.taps:
                taps.append(x.unflatten(0, (batch, num_slots)))
        return FrameTokens(tuple(taps), x.unflatten(0, (batch, num_slots)))

    def place(self, taps: Sequence[Tensor]) -> list[Tensor]:
        """Return the taps (B, t, 1 + h * w, D) with what tells where and when their tokens are."""
        grid = self.config.grid[1:]
        return [block.place(tap, grid) for block, tap in zip(self.global_blocks, taps, strict=True)]  # type: ignore[operator]

    def fuse(
        self, placed: Sequence[Tensor], class_tokens: Tensor, update: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Return one vector a clip.

        Args:
            placed: A placed tap a global block, float (B, t, 1 + h * w, D).
            class_tokens: Each frame's class token after the last block, float (B, t, D).
            update: Changes the clip's query (B, D) after the last global block, before it meets the frames' mean.

        Returns:
            float (B, D), not normalised.
        """
        query = self.query[0].repeat(len(class_tokens), 1)  # a view would require a gradient even where none is kept
        for block, tokens in zip(self.global_blocks, placed, strict=True):
            query = run(block, query, tokens.flatten(1, 2), checkpointing=self.config.trunk.checkpointing)
        if update is not None:
            query = update(query)
        if self.balance is None:
            return query
        weight = self.balance.sigmoid()
        return (1 - weight) * query + weight * class_tokens.mean(1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fused vectors (B, D) and the last block's tokens (B, t, 1 + h * w, D)."""
        frames = self.encode_frames(pixels)
        return self.fuse(self.place(frames.taps), frames.last[:, :, 0]), frames.last
