"""The caption decoder: frame tokens pooled to a few, and text states that read them and name the next token.

Its blocks are CoCa's: attention and MLP side by side, one key and value head for all query heads, rotary positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from navloop.configs.encoders import CaptionerConfig
from navloop.encoders.cache import KeyValueCache, attend_causally

HEAD_WIDTH = 64
"""Width of a head. Source: InternVideo1/Downstream/multi-modalities-downstream/CoTrain."""
ROTARY_BASE = 10000.0
"""Ratio of the longest to the shortest wavelength of the rotary positions. Source: Su et al., RoFormer, 2021."""
EXPANSION = 4
"""Hidden width of an MLP over its width. Source: as `HEAD_WIDTH`."""


@dataclass(slots=True)
class LayerCache:
    """What a layer need not compute again while texts grow."""

    text: KeyValueCache
    """Of the texts so far."""
    clip: Tensor | None = None
    """Keys and values of the pooled tokens, float (B, Q, 128); the same all along."""


class Pooler(nn.Module):
    """Cross-attention of learned queries to the tokens of a clip, without bias, without residual."""

    def __init__(self, width: int, token_width: int) -> None:
        super().__init__()
        self.norm_queries = nn.LayerNorm(width, bias=False)
        self.norm_tokens = nn.LayerNorm(token_width, bias=False)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(token_width, 2 * HEAD_WIDTH, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Map queries (Q, d), the same for all clips, and tokens (B, M, W) to (B, Q, d)."""
        q = self.to_q(self.norm_queries(queries)).expand(tokens.shape[0], -1, -1)
        return self.to_out(_attend(q, self.to_kv(self.norm_tokens(tokens))))  # type: ignore[no-any-return]


class SelfBlock(nn.Module):
    """Causal self-attention and a SwiGLU MLP side by side, from one norm and one fused projection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.parts = [width, HEAD_WIDTH, HEAD_WIDTH, 2 * EXPANSION * width]
        self.fused = nn.Linear(width, sum(self.parts), bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.mlp_out = nn.Linear(EXPANSION * width, width, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], cache: KeyValueCache | None = None) -> Tensor:
        """Map (R, n, d) to what is to be added to it; `rotation` is that of its n positions."""
        q, k, v, hidden = self.fused(self.norm(x)).split(self.parts, dim=-1)
        q = _rotate(q.unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2), rotation)  # (R, heads, n, 64)
        k, v = _rotate(k.unsqueeze(1), rotation), v.unsqueeze(1)  # (R, 1, n, 64)
        if cache is not None:
            k, v = cache.append(k, v)
        heads = q.shape[1]
        attended = attend_causally(q, k.expand(-1, heads, -1, -1), v.expand(-1, heads, -1, -1))
        attended = attended.transpose(1, 2).flatten(2)  # (R, n, d)
        return self.attention_out(attended) + self.mlp_out(_swiglu(hidden))  # type: ignore[no-any-return]


class CrossBlock(nn.Module):
    """Cross-attention to the pooled tokens of a clip and a SwiGLU MLP side by side, from one norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(width, 2 * HEAD_WIDTH, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)
        self.mlp_in = nn.Linear(width, 2 * EXPANSION * width, bias=False)
        self.mlp_out = nn.Linear(EXPANSION * width, width, bias=False)

    def forward(self, x: Tensor, pooled: Tensor, cache: LayerCache | None = None) -> Tensor:
        """Map (B * K, n, d) to what is to be added to it, reading the pooled tokens (B, Q, d)."""
        x = self.norm(x)
        keys_values = self._keys_values(pooled, cache)
        # The K texts of a clip ask as one long text: nothing masks them, and the clip's keys are not repeated.
        q = self.to_q(x).view(pooled.shape[0], -1, x.shape[-1])  # (B, K * n, d)
        attended = _attend(q, keys_values).view_as(x)
        return self.to_out(attended) + self.mlp_out(_swiglu(self.mlp_in(x)))  # type: ignore[no-any-return]

    def _keys_values(self, pooled: Tensor, cache: LayerCache | None) -> Tensor:
        if cache is None:
            return self.to_kv(pooled)  # type: ignore[no-any-return]
        if cache.clip is None:
            cache.clip = self.to_kv(pooled)
        return cache.clip


class CaptionLayer(nn.Module):
    """A self-attention block, then a cross-attention block, both residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.self_block = SelfBlock(width)
        self.cross_block = CrossBlock(width)

    def forward(
        self, x: Tensor, pooled: Tensor, rotation: tuple[Tensor, Tensor], cache: LayerCache | None = None
    ) -> Tensor:
        """Map (B * K, n, d) to (B * K, n, d)."""
        x = x + self.self_block(x, rotation, None if cache is None else cache.text)
        return x + self.cross_block(x, pooled, cache)  # type: ignore[no-any-return]


class Predictor(nn.Module):
    """From states to logits over the vocabulary, by two layers."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.vocabulary = nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., d) to (..., V)."""
        return self.vocabulary(self.norm2(F.gelu(self.hidden(self.norm1(x)))))  # type: ignore[no-any-return]


class CaptionDecoder(nn.Module):
    """Says what comes next in a text about a clip.

    Training calls it with whole texts: `forward(video_tokens, text_states[:, :-1])` predicts the tokens from the second
    on. Generation pools a clip once, and then calls `decode` with caches for the tokens as they come.

    Args:
        config: Depth and number of pooled tokens.
        text_width: Width d of the text states, a multiple of 64.
        video_width: Width W of the video tokens.
        vocabulary: Tokens V that can come next.

    Raises:
        ValueError: If `text_width` is not a multiple of 64.

    Source: InternVideo, arXiv 2212.03191, section 3.1.2; Yu et al., CoCa, TMLR 2022.
    """

    def __init__(self, config: CaptionerConfig, *, text_width: int, video_width: int, vocabulary: int) -> None:
        super().__init__()
        if text_width % HEAD_WIDTH or text_width < HEAD_WIDTH:
            nearest = max(round(text_width / HEAD_WIDTH), 1) * HEAD_WIDTH
            raise ValueError(f"text_width {text_width} is not a multiple of {HEAD_WIDTH}; the nearest one is {nearest}")
        self.text_width, self.video_width = text_width, video_width
        self.queries = nn.Parameter(torch.randn(config.queries, text_width) * text_width**-0.5)
        self.pooler = Pooler(text_width, video_width)
        self.pooled_norm = nn.LayerNorm(text_width)
        self.text_norm = nn.LayerNorm(text_width)
        self.layers = nn.ModuleList(CaptionLayer(text_width) for _ in range(config.layers))
        self.predictor = Predictor(text_width, vocabulary)

    def forward(self, video_tokens: Tensor, text_states: Tensor) -> Tensor:
        """Predict the token after each position of each text.

        Args:
            video_tokens: float (B, M, W), all tokens of all frames of a clip, class tokens too, before any final norm;
                their order does not matter.
            text_states: float (B * K, L, d) of the text tower, after its final norm, before its projection; the K texts
                of a clip are adjacent (K is 1 in training).

        Returns:
            float (B * K, L, V), logits.

        Raises:
            ValueError: If a shape does not fit.
        """
        return self.decode(self.pool(video_tokens), text_states)

    def pool(self, video_tokens: Tensor) -> Tensor:
        """Return the tokens (B, M, W) of a clip as a few, (B, Q, d)."""
        if video_tokens.ndim != 3 or video_tokens.shape[-1] != self.video_width:
            raise ValueError(f"video_tokens are {tuple(video_tokens.shape)}, not (B, M, {self.video_width})")
        return self.pooled_norm(self.pooler(self.queries, video_tokens))  # type: ignore[no-any-return]

    def decode(self, pooled: Tensor, text_states: Tensor, caches: Sequence[LayerCache] | None = None) -> Tensor:
        """Predict the token after each of n further positions of texts whose earlier ones are in `caches`.

        Args:
            pooled: float (B, Q, d), from `pool`; with caches that are in use, the same as before.
            text_states: float (B * K, n, d), as for `forward`, of the positions that follow those in the caches.
            caches: From `create_caches`; they take the new positions in. None: these are the texts' first positions.

        Returns:
            float (B * K, n, V), logits.

        Raises:
            ValueError: If a shape does not fit.
        """
        clips = pooled.shape[0]
        if text_states.ndim != 3 or text_states.shape[-1] != self.text_width or text_states.shape[0] % clips:
            raise ValueError(
                f"text_states are {tuple(text_states.shape)}, not (R, L, {self.text_width}) with R a multiple of the "
                f"{clips} clips"
            )
        start = caches[0].text.length if caches else 0
        x = self.text_norm(text_states)
        rotation = _rotation(start, x)
        for i, layer in enumerate(self.layers):
            x = layer(x, pooled, rotation, caches[i] if caches else None)
        return self.predictor(x)  # type: ignore[no-any-return]

    def create_caches(self, capacity: int) -> tuple[LayerCache, ...]:
        """Return empty caches for `decode`, one a layer, for texts of up to `capacity` tokens."""
        return tuple(LayerCache(KeyValueCache(capacity)) for _ in self.layers)


def _attend(q: Tensor, keys_values: Tensor) -> Tensor:
    """Attend with the heads of q (B, n, d) to one shared head of keys and one of values, (B, M, 128)."""
    k, v = keys_values.unsqueeze(1).chunk(2, dim=-1)  # (B, 1, M, 64) each
    # With nothing masked, heads that share their keys are no more than further queries.
    q_rows = q.reshape(q.shape[0], 1, -1, HEAD_WIDTH)  # (B, 1, n * heads, 64)
    return F.scaled_dot_product_attention(q_rows, k, v).view(q.shape)


def _swiglu(hidden: Tensor) -> Tensor:
    value, gate = hidden.chunk(2, dim=-1)
    return value * F.silu(gate)


def _rotation(start: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosine and sine (n, 64) for the positions from `start` on of `like` (R, n, d), in its type."""
    steps = torch.arange(0, HEAD_WIDTH, 2, device=like.device, dtype=torch.float32) / HEAD_WIDTH
    positions = torch.arange(start, start + like.shape[1], device=like.device, dtype=torch.float32)
    angles = torch.outer(positions, 1.0 / ROTARY_BASE**steps).repeat(1, 2)  # (n, 64)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate (R, heads, n, 64) by its positions; number i is paired with number i + 32."""
    cosine, sine = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine
