"""Layers of BERT, which normalise after they add: what the waypoint predictor and the planner consist of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from navloop.encoders.name_tables import under

EPS = 1e-12
"""Added to the variance in layer norms. Source: Devlin et al., 2019."""


class Attention(nn.Module):
    """Multi-head attention from tokens to a context, then the sum with the tokens, normalised.

    Args:
        width: Width D of both.
        heads: Number of heads.
        dropout: Of the outcome and of the attention while training.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, context: Tensor, seen: Tensor | None = None) -> Tensor:
        """Map tokens (B, N, D) to (B, N, D).

        Args:
            x: Tokens (B, N, D).
            context: What they attend to, (B, M, D).
            seen: bool, broadcast to (B, heads, N, M), True where a token may look; None lets all see all.
        """
        batch, tokens, width = x.shape
        q, k, v = (
            part(of).view(batch, -1, self.heads, width // self.heads).transpose(1, 2)
            for part, of in ((self.query, x), (self.key, context), (self.value, context))
        )  # (B, heads, N or M, D / heads)
        rate = self.dropout.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, seen, rate).transpose(1, 2).reshape(batch, tokens, width)
        return self.norm(x + self.dropout(self.proj(mixed)))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """Two linear maps with a GELU between them, then the sum with the tokens, normalised."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        return self.norm(x + self.dropout(self.fc2(F.gelu(self.fc1(x)))))  # type: ignore[no-any-return]


class BertLayer(nn.Module):
    """Attention among the tokens, then the feed-forward part."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.mlp = FeedForward(width, hidden, dropout)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Map (B, N, D) to (B, N, D); `seen` as in `Attention`."""
        return self.mlp(self.attention(x, x, seen))  # type: ignore[no-any-return]


def initialise(module: nn.Module) -> None:
    """Give a part the weights that BERT starts from, in place; for `nn.Module.apply`."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def attention_names(inner: str, output: str) -> dict[str, str]:
    """Return their names of an attention, below those of its inner and its output module, to ours."""
    inputs = {f"{inner}.{part}.*": f"{part}.*" for part in ("query", "key", "value")}
    return {**inputs, f"{output}.dense.*": "proj.*", f"{output}.LayerNorm.*": "norm.*"}


def mlp_names(inner: str, output: str) -> dict[str, str]:
    """Return their names of a feed-forward part to ours."""
    return {f"{inner}.dense.*": "fc1.*", f"{output}.dense.*": "fc2.*", f"{output}.LayerNorm.*": "norm.*"}


LAYER_NAMES = {
    **under("attention.", "attention.", attention_names("self", "output")),
    **under("", "mlp.", mlp_names("intermediate", "output")),
}
"""Names of a BERT layer, theirs to ours."""
