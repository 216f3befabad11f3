"""Local temporal mixing inside CLIP's blocks (UniFormerV2's local MHRA), for where the order of moments matters."""

from __future__ import annotations

from torch import Tensor, nn

from navloop.configs.encoders import VideoTowerConfig
from navloop.encoders.layers import Block, BlockStyle


class LocalMixer(nn.Module):
    """Mix each patch with itself one frame before and after, through a narrow bottleneck; starts at zero.

    Source: Li et al., UniFormerV2, ICCV 2023, section 3.2; `Local_MHRA` of the released code.
    """

    def __init__(self, width: int, reduction: float) -> None:
        super().__init__()
        inner = int(width / reduction)
        self.norm = nn.BatchNorm3d(width)
        self.reduce = nn.Conv3d(width, inner, 1)
        self.mix = nn.Conv3d(inner, inner, (3, 1, 1), padding=(1, 0, 0), groups=inner)
        self.expand = nn.Conv3d(inner, width, 1)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)  # type: ignore[arg-type]

    def forward(self, tokens: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Return what to add to the tokens (B * t, 1 + h * w, D) of a grid (t, h, w); nothing to class tokens."""
        video = tokens[:, 1:].unflatten(0, (-1, grid[0])).unflatten(2, grid[1:]).permute(0, 4, 1, 2, 3)
        mixed = self.expand(self.mix(self.reduce(self.norm(video)))).permute(0, 2, 3, 4, 1)  # (B, t, h, w, D)
        return nn.functional.pad(mixed.flatten(2, 3).flatten(0, 1), (0, 0, 1, 0))


class LocalBlock(Block):
    """CLIP's block with a local mixer before attention and, if `config.local` is double, another after it."""

    def __init__(self, config: VideoTowerConfig, style: BlockStyle, drop_path: float) -> None:
        super().__init__(config.trunk, style, drop_path)
        self.local1 = LocalMixer(config.trunk.width, config.local_reduction)
        double = config.local == "double"
        self.local2 = LocalMixer(config.trunk.width, config.local_reduction) if double else None
        self._frame = config.grid[1:]

    def forward(self, x: Tensor, num_slots: int) -> Tensor:  # type: ignore[override]  # a block over whole clips
        """Map (B * t, 1 + h * w, D) to the same shape, for clips of t slots of time."""
        grid = num_slots, *self._frame
        x = x + self.drop_path(self.local1(x, grid))
        x = x + self.drop_path(self.attention(self.norm1(x)))
        if self.local2 is not None:
            x = x + self.drop_path(self.local2(x, grid))
        return x + self.drop_path(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]
