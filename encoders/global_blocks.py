"""Global cross-attention: one query a clip asks the tokens of all its frames (UniFormerV2's global MHRA)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from navloop.configs.encoders import TransformerConfig
from navloop.encoders.cross_attention import folded_attention
from navloop.encoders.drops import DropPath
from navloop.encoders.layers import MLP, BlockStyle


class PooledAttention(nn.Module):
    """Multi-head cross-attention with a single query, folded: see `folded_attention`.

    The bias of the keys adds the same number to every score, which softmax ignores; released weights hold one.

    Args:
        width: Width D.
        heads: Number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        """Return what the query (B, D) takes from the tokens (B, N, D), float (B, D)."""
        w_q, w_k, w_v = self.qkv.weight.chunk(3)
        b_q, _, b_v = self.qkv.bias.chunk(3)
        q = F.linear(query, w_q, b_q).view(len(query), self.heads, -1)  # (B, heads, d)
        return self.proj(folded_attention(q, w_k, w_v, tokens).flatten(1) + b_v)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class PlacedFrame:
    """What a global block makes of B single frames, in the parts that add up to `GlobalBlock.place`."""

    alone: Tensor
    """float (B, 1 + h * w, D), placed among its own tokens, as if it had no neighbours in time."""
    to_before: Tensor
    """float (B, 1 + h * w, D), what it adds to the frame before it."""
    to_after: Tensor
    """float (B, 1 + h * w, D), what it adds to the frame after it."""


class GlobalBlock(nn.Module):
    """Place a tap's tokens in space and time, then let the clip's query look at them.

    It starts as the identity on the query: the last layers of both branches are zero.

    Args:
        config: Width, heads and hidden width.
        style: Norms and activation of the video tower.
        dropout: In the MLP, after the activation.
        drop_path: Share of clips whose attention, or MLP, is skipped while training.

    Source: InternVideo1/Pretrain/Multi-Modalities-Pretraining, `Extractor` and `dpe` of the video encoder.
    """

    def __init__(
        self, config: TransformerConfig, style: BlockStyle, dropout: float = 0.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        width = config.width
        self.position = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.LayerNorm(width, eps=style.eps)
        self.norm_tokens = nn.LayerNorm(width, eps=style.eps)
        self.attention = PooledAttention(width, config.heads)
        self.norm2 = nn.LayerNorm(width, eps=style.eps)
        self.mlp = MLP(width, config.hidden, style.activation, dropout)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self._start_as_identity()

    def _start_as_identity(self) -> None:
        nn.init.zeros_(self.position.bias)  # type: ignore[arg-type]
        nn.init.xavier_uniform_(self.mlp.fc1.weight)
        for last in (self.attention.proj, self.mlp.fc2):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def place(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Add to patch tokens what their neighbours in space and time say about where they are.

        Args:
            tokens: float (B, T, 1 + h * w, D); each frame's class token comes first and is left alone.
            grid: Tokens along (height, width).

        Returns:
            float (B, T, 1 + h * w, D).
        """
        return tokens + self._near(tokens, grid, self.position.bias, reach=1)

    def place_frame(self, tokens: Tensor, grid: tuple[int, int]) -> PlacedFrame:
        """Place single frames, for a window that moves: `place` gives the sum of the parts.

        Args:
            tokens: float (B, 1 + h * w, D), the class token first.
            grid: Tokens along (height, width).
        """
        before, own, after = self._near(tokens[:, None], grid, None, reach=2).unbind(1)
        own[:, 1:] += self.position.bias  # type: ignore[arg-type]
        return PlacedFrame(tokens + own, before, after)

    def _near(self, tokens: Tensor, grid: tuple[int, int], bias: Tensor | None, reach: int) -> Tensor:
        """Convolve (B, T, 1 + h * w, D) over space and time, `reach` - 1 slots beyond its ends; class tokens get 0."""
        patches = tokens[:, :, 1:].unflatten(2, grid).permute(0, 4, 1, 2, 3)  # (B, D, T, h, w), channels last in memory
        weight = self.position.weight.contiguous(memory_format=torch.channels_last_3d)  # 3x faster on a CPU
        near = F.conv3d(patches, weight, bias, padding=(reach, 1, 1), groups=len(weight))
        return F.pad(near.permute(0, 2, 3, 4, 1).flatten(2, 3), (0, 0, 1, 0))

    def forward(self, query: Tensor, placed: Tensor) -> Tensor:
        """Return the clip's query (B, D) after it looked at the placed tokens (B, N, D)."""
        query = query + self.drop_path(self.attention(self.norm1(query), self.norm_tokens(placed)))
        return query + self.drop_path(self.mlp(self.norm2(query)))  # type: ignore[no-any-return]
