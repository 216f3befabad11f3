"""Transformer layers that the branches share: attention, MLP, pre-norm blocks. They differ in `BlockStyle` alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from navloop.configs.encoders import TransformerConfig
from navloop.encoders.cache import KeyValueCache, attend_causally
from navloop.encoders.drops import Dropout, DropPath


class QuickGELU(nn.Module):
    """CLIP's GELU, x * sigmoid(1.702 x). Source: openai/CLIP, clip/model.py."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to each number; by SiLU, which is one pass and keeps one tensor for the gradient."""
        return F.silu(1.702 * x) / 1.702


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockStyle:
    """What tells one family's blocks from another's."""

    eps: float
    """Added to the variance in layer norms."""
    activation: Callable[[], nn.Module]
    key_bias: bool
    """Whether keys have a bias. VideoMAE stores one for queries and one for values only."""


VIDEOMAE = BlockStyle(eps=1e-6, activation=nn.GELU, key_bias=False)
CLIP = BlockStyle(eps=1e-5, activation=QuickGELU, key_bias=True)
CLIP_EXACT = BlockStyle(eps=1e-5, activation=nn.GELU, key_bias=True)
"""open_clip's models that were not trained with OpenAI's QuickGELU."""


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection.

    Args:
        width: Width D.
        heads: Number of heads.
        key_bias: Whether keys have a bias; without it the parameters are `q_bias` and `v_bias`.
    """

    def __init__(self, width: int, heads: int, key_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=key_bias)
        self.q_bias = None if key_bias else nn.Parameter(torch.zeros(width))
        self.v_bias = None if key_bias else nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def _bias(self) -> Tensor | None:
        if self.q_bias is None or self.v_bias is None:
            return self.qkv.bias
        return torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))

    def forward(self, x: Tensor, causal: bool = False, cache: KeyValueCache | None = None) -> Tensor:
        """Attend from each token of (B, N, D) to all, or with `causal` to itself and those before it.

        With a cache, those before it begin with the tokens that the cache holds; it takes these in.
        """
        batch, num_tokens, width = x.shape
        qkv = F.linear(x, self.qkv.weight, self._bias())
        q, k, v = qkv.view(batch, num_tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B, heads, N, d) each
        if cache is not None:
            k, v = cache.append(k, v)
        x = attend_causally(q, k, v) if causal else F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(batch, num_tokens, width))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Two linear layers with an activation and, after it, dropout."""

    def __init__(self, width: int, hidden: int, activation: Callable[[], nn.Module], dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.activation = activation()
        self.dropout = Dropout(dropout) if dropout else nn.Identity()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        return self.fc2(self.dropout(self.activation(self.fc1(x))))  # type: ignore[no-any-return]


class Block(nn.Module):
    """A pre-norm transformer block: x + attention(norm x), then x + MLP(norm x)."""

    def __init__(self, config: TransformerConfig, style: BlockStyle, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=style.eps)
        self.attention = SelfAttention(config.width, config.heads, style.key_bias)
        self.norm2 = nn.LayerNorm(config.width, eps=style.eps)
        self.mlp = MLP(config.width, config.hidden, style.activation)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor, causal: bool = False, cache: KeyValueCache | None = None) -> Tensor:
        """Map (B, N, D) to (B, N, D)."""
        x = x + self.drop_path(self.attention(self.norm1(x), causal, cache))
        return x + self.drop_path(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]


def create_blocks(config: TransformerConfig, style: BlockStyle) -> nn.ModuleList:
    """Return `config.depth` blocks whose rate of drop path rises linearly from 0 to `config.drop_path`."""
    return nn.ModuleList(Block(config, style, rate) for rate in drop_path_rates(config.drop_path, config.depth))


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Return each block's rate of drop path, from 0 in the first to `last` in the last of several."""
    return [last * i / max(depth - 1, 1) for i in range(depth)]


def initialise_blocks(blocks: nn.ModuleList) -> None:
    """Give blocks the weights that CLIP's transformers start from, in place.

    Source: openai/CLIP, clip/model.py, CLIP.initialize_parameters.
    """
    for block in blocks:
        assert isinstance(block, Block)
        width = block.attention.proj.in_features
        residual_std = width**-0.5 * (2 * len(blocks)) ** -0.5
        nn.init.normal_(block.attention.qkv.weight, std=width**-0.5)
        nn.init.normal_(block.attention.proj.weight, std=residual_std)
        nn.init.normal_(block.mlp.fc1.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(block.mlp.fc2.weight, std=residual_std)
        for linear in (block.attention.qkv, block.attention.proj, block.mlp.fc1, block.mlp.fc2):
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)


def unit_vectors(vectors: Tensor, dtype: torch.dtype) -> Tensor:
    """Return vectors (..., D) at unit length, of `dtype`; their lengths are taken in float32 or better."""
    return F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=-1).to(dtype)


def run(block: nn.Module, x: Tensor, *args: object, checkpointing: bool) -> Tensor:
    """Return `block(x, *args)`; with `checkpointing`, recompute what it needs in the backward pass."""
    if not checkpointing or not torch.is_grad_enabled():
        return block(x, *args)  # type: ignore[no-any-return]
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    if norms:
        contexts = partial(_recomputation, norms)
        return checkpoint(block, x, *args, use_reentrant=False, context_fn=contexts)  # type: ignore[no-any-return]
    return checkpoint(block, x, *args, use_reentrant=False)  # type: ignore[no-any-return]


def _recomputation(
    norms: Sequence[_BatchNorm],
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return contexts for the forward pass and its recomputation, which must not count a batch a second time."""
    return nullcontext(), _without_statistics(norms)


@contextmanager
def _without_statistics(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Leave running statistics as they are. In training mode the outputs do not depend on them."""
    before = [(norm.momentum, None if (n := norm.num_batches_tracked) is None else n.clone()) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, (momentum, num_batches) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None and num_batches is not None:
                norm.num_batches_tracked.copy_(num_batches)
