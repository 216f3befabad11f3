"""Attention to the tokens of another model: what lets one frozen branch look at the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from navloop.configs.encoders import CoordinationConfig, TransformerConfig
from navloop.encoders.layers import MLP, BlockStyle


class CrossAttention(nn.Module):
    """Multi-head attention to tokens of another width.

    Keys have no bias: it would add the same number to all scores of a query, which softmax ignores.

    Args:
        width: Width D of what asks.
        other_width: Width D' of the tokens asked.
        heads: Number of heads; they divide D.
    """

    def __init__(self, width: int, other_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(other_width, width, bias=False)
        self.value = nn.Linear(other_width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return what x (B, N, D) takes from the other tokens (B, M, D'), float (B, N, D)."""
        q = self._split(self.query(x))  # (B, N, heads, d)
        if x.shape[1] == 1:
            taken = folded_attention(q[:, 0], self.key.weight, self.value.weight, other)[:, None]
            return self.proj(taken.flatten(2) + self.value.bias)  # type: ignore[no-any-return]
        k, v = self._split(self.key(other)), self._split(self.value(other))  # (B, M, heads, d)
        taken = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return self.proj(taken.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1)


def folded_attention(query: Tensor, key_weight: Tensor, value_weight: Tensor, tokens: Tensor) -> Tensor:
    """Return multi-head attention with a single query, at the cost of a pooling.

    With one query the projections of keys and values need not touch the tokens: a head's score of token x is
    q . (W_k x) = (W_k' q) . x, and its value is W_v applied to the weighted mean of the tokens.

    Args:
        query: float (B, heads, d), projected, not scaled.
        key_weight: W_k of all heads, float (heads * d, D').
        value_weight: W_v of all heads, float (heads * d, D').
        tokens: float (B, M, D').

    Returns:
        float (B, heads, d), without the bias of the values: the weights sum to 1, so it can be added after.
    """
    heads, head_width = query.shape[1:]
    w_k, w_v = (weight.view(heads, head_width, -1) for weight in (key_weight, value_weight))  # (heads, d, D')
    folded = torch.einsum("bhd,hdw->bhw", query * head_width**-0.5, w_k)
    weights = (folded @ tokens.mT).softmax(-1)  # (B, heads, M)
    return torch.einsum("bhw,hdw->bhd", weights @ tokens, w_v)


class CrossModelAttention(nn.Module):
    """Add to the tokens of one frozen model what they find in another's, behind gates that start closed.

    x + tanh(a) * attention(norm x, norm other), then x + tanh(b) * MLP(norm x), where a = b = 0 at the start: the module
    is the identity, bit for bit, and only its gates get gradients other than zero, until they open.

    Args:
        receiver: Trunk that x is from; its heads are the module's.
        other_width: Width D' of the other model's tokens.
        style: Norms and activation, those of the trunk that x is from.
        config: Width of the MLP, and a gate a channel or one for all.

    Source: InternVideo, arXiv 2212.03191, section 3.2; gates after Flamingo, NeurIPS 2022, section 2.2.
    """

    def __init__(
        self, receiver: TransformerConfig, other_width: int, style: BlockStyle, config: CoordinationConfig
    ) -> None:
        super().__init__()
        width, gate = receiver.width, (receiver.width,) if config.vector_gates else ()
        self.norm1 = nn.LayerNorm(width, eps=style.eps)
        self.norm_other = nn.LayerNorm(other_width, eps=style.eps)
        self.attention = CrossAttention(width, other_width, receiver.heads)
        self.attention_gate = nn.Parameter(torch.zeros(gate))
        self.norm2 = nn.LayerNorm(width, eps=style.eps)
        self.mlp = MLP(width, round(width * config.hidden_ratio), style.activation)
        self.mlp_gate = nn.Parameter(torch.zeros(gate))
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return x (B, N, D) after it looked at the other model's tokens (B, M, D')."""
        x = x + self.attention_gate.tanh() * self.attention(self.norm1(x), self.norm_other(other))
        return x + self.mlp_gate.tanh() * self.mlp(self.norm2(x))  # type: ignore[no-any-return]
