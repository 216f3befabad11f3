"""Global cross-attention: one query a clip asks the tokens of all its frames (UniFormerV2's global MHRA)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from navloop.configs.encoders import TransformerConfig
from navloop.encoders.layers import MLP, BlockStyle


class PooledAttention(nn.Module):
    """Multi-head cross-attention with a single query, at the cost of a pooling.

    With one query the projections of keys and values need not touch the tokens: a head's score of token x is
    q . (W_k x) = (W_k' q) . x, and its value is W_v applied to the weighted mean of the tokens. The bias of the keys
    adds the same number to every score, which softmax ignores; it is kept because released weights hold one.

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
        batch, width = query.shape
        w_q, w_k, w_v = self.qkv.weight.chunk(3)
        b_q, b_k, b_v = self.qkv.bias.chunk(3)
        q = F.linear(query, w_q, b_q).view(batch, self.heads, -1)  # (B, heads, d)
        q = q * q.shape[-1] ** -0.5
        w_k, w_v = w_k.view(self.heads, -1, width), w_v.view(self.heads, -1, width)  # (heads, d, D)
        folded = torch.einsum("bhd,hdw->bhw", q, w_k)
        constant = (q * b_k.view(self.heads, -1)).sum(-1, keepdim=True)  # (B, heads, 1)
        weights = (folded @ tokens.mT + constant).softmax(-1)  # (B, heads, N)
        pooled = weights @ tokens  # (B, heads, D)
        values = torch.einsum("bhw,hdw->bhd", pooled, w_v).flatten(1)
        return self.proj(values + b_v)  # type: ignore[no-any-return]


class GlobalBlock(nn.Module):
    """Place a tap's tokens in space and time, then let the clip's query look at them.

    It starts as the identity on the query: the last layers of both branches are zero.

    Args:
        config: Width, heads and hidden width.
        style: Norms and activation of the video tower.
        dropout: In the MLP, after the activation.

    Source: InternVideo1/Pretrain/Multi-Modalities-Pretraining, `Extractor` and `dpe` of the video encoder.
    """

    def __init__(self, config: TransformerConfig, style: BlockStyle, dropout: float) -> None:
        super().__init__()
        width = config.width
        self.position = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.LayerNorm(width, eps=style.eps)
        self.norm_tokens = nn.LayerNorm(width, eps=style.eps)
        self.attention = PooledAttention(width, config.heads)
        self.norm2 = nn.LayerNorm(width, eps=style.eps)
        self.mlp = MLP(width, config.hidden, style.activation, dropout)
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
        patches = tokens[:, :, 1:].unflatten(2, grid).permute(0, 4, 1, 2, 3)  # (B, D, T, h, w), channels last in memory
        weight = self.position.weight.contiguous(memory_format=torch.channels_last_3d)  # 3x faster on a CPU
        near = F.conv3d(patches, weight, self.position.bias, padding=1, groups=len(weight))
        return tokens + F.pad(near.permute(0, 2, 3, 4, 1).flatten(2, 3), (0, 0, 1, 0))

    def forward(self, query: Tensor, placed: Tensor) -> Tensor:
        """Return the clip's query (B, D) after it looked at the placed tokens (B, N, D)."""
        query = query + self.attention(self.norm1(query), self.norm_tokens(placed))
        return query + self.mlp(self.norm2(query))  # type: ignore[no-any-return]
