"""CLIP's text side: strings to token ids and back, and the causal transformer over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from navloop.configs.encoders import TextConfig
from navloop.encoders.cache import KeyValueCache
from navloop.encoders.layers import CLIP, CLIP_EXACT, create_blocks, initialise_blocks, run, unit_vectors

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer

VOCABULARY = 49408  # of CLIP's byte-pair encoding
START, END, PADDING = 49406, 49407, 0


@dataclass(frozen=True, slots=True)
class TextOutput:
    """What the text tower makes of B texts."""

    states: Tensor
    """float (B, L, D), after the last norm and before the projection. State n has seen ids 0 to n."""
    pooled: Tensor
    """float (B, J), the state at the end token, projected; not of unit length."""


class TextTower(nn.Module):
    """CLIP's text transformer: each token sees those before it, and the end token stands for the text.

    Weights start as CLIP's do: normal, narrower in what writes to the residual stream as the tower gets deeper.

    Args:
        config: Sizes of the transformer, context and vocabulary.
        joint_width: Width J of the space that videos and texts share.

    Source: Radford et al., CLIP, ICML 2021; openai/CLIP, clip/model.py.
    """

    def __init__(self, config: TextConfig, joint_width: int) -> None:
        super().__init__()
        self.config = config
        width = config.trunk.width
        self.tokens = nn.Embedding(config.vocabulary, width)
        self.positions = nn.Parameter(torch.empty(config.context, width))
        style = CLIP if config.quick_gelu else CLIP_EXACT
        self.blocks = create_blocks(config.trunk, style)
        self.norm = nn.LayerNorm(width, eps=style.eps)
        self.proj = nn.Parameter(torch.empty(width, joint_width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width)) if config.mask_token else None
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)
        nn.init.normal_(self.proj, std=self.config.trunk.width**-0.5)
        initialise_blocks(self.blocks)

    def forward(self, ids: Tensor) -> TextOutput:
        """Encode token ids.

        Args:
            ids: int64 or int32 (B, L), from `tokenize`; L may be less than the context. The largest id of a row is
                its end, at its first occurrence.

        Raises:
            ValueError: If `ids` are not integers, not (B, L), or longer than the context.
        """
        states = self.states(ids)
        end = ids.argmax(dim=1)
        pooled = states[torch.arange(len(ids), device=ids.device), end] @ self.proj  # (B, J)
        return TextOutput(states=states, pooled=pooled)

    def states(self, ids: Tensor, caches: Sequence[KeyValueCache] | None = None) -> Tensor:
        """Return the state of each token, float (B, n, D), after the last norm.

        Args:
            ids: int64 or int32 (B, n), that follow the tokens in `caches`.
            caches: From `create_caches`; they take the new tokens in, without gradients. None: the texts start here.

        Raises:
            ValueError: As for `forward`.
        """
        start = caches[0].length if caches else 0
        self._check(ids, start)
        x = self.tokens(ids) + self.positions[start : start + ids.shape[1]]  # (B, n, D)
        for i, block in enumerate(self.blocks):
            if caches:
                x = block(x, True, caches[i])
            else:
                x = run(block, x, True, checkpointing=self.config.trunk.checkpointing)
        return self.norm(x)  # type: ignore[no-any-return]

    def create_caches(self, capacity: int) -> tuple[KeyValueCache, ...]:
        """Return empty caches for `states`, one a block, for texts of up to `capacity` tokens."""
        return tuple(KeyValueCache(capacity) for _ in self.blocks)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return a unit vector a text, float (B, J), with gradients; texts are cut to the context by `tokenize`.

        Raises:
            TypeError: If `texts` is one string.
            ValueError: If there are no texts, or this tower's vocabulary is not CLIP's.
        """
        if self.config.vocabulary != VOCABULARY:
            raise ValueError(
                f"this text tower knows {self.config.vocabulary} tokens, not CLIP's {VOCABULARY}; give it ids, not texts"
            )
        ids = tokenize(texts, self.config.context).to(self.positions.device)
        return unit_vectors(self(ids).pooled, self.proj.dtype)

    def _check(self, ids: Tensor, start: int = 0) -> None:
        if ids.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"token ids are {ids.dtype}, not torch.int64; make them with navloop.encoders.text.tokenize"
            )
        room = self.config.context - start
        if ids.ndim != 2 or 0 in ids.shape or ids.shape[1] > room:
            raise ValueError(
                f"token ids are {tuple(ids.shape)}, not (B, L) with B >= 1 and L from 1 to the context of "
                f"{self.config.context}" + (f", of which {start} are taken" if start else "")
            )


def tokenize(texts: Sequence[str], context: int) -> Tensor:
    """Return CLIP's byte-pair tokens of each text: start, the lower-cased words, end, padding.

    A text that does not fit loses its last words, never its end token.

    Args:
        texts: One or more texts.
        context: Tokens L of each, start and end included; at least 2.

    Returns:
        int64 (B, L), from 0 to 49407: start 49406, end 49407, padding 0.

    Raises:
        TypeError: If `texts` is one string.
        ValueError: If `texts` is empty, or `context` is less than 2.

    Source: openai/CLIP, clip/simple_tokenizer.py, as kept by open_clip with its vocabulary.
    """
    if isinstance(texts, str):
        raise TypeError(f"texts is one string, {texts[:40]!r}; pass a list of strings")
    if not texts:
        raise ValueError("texts is empty: there is nothing to tokenize")
    if context < 2:
        raise ValueError(f"a context of {context} has no room for the start and end tokens; it is at least 2")
    ids: Tensor = _tokenizer()(list(texts), context_length=context)
    return ids


def detokenize(ids: Tensor) -> list[str]:
    """Return the text of each row of token ids, without start, end and padding.

    Case and spacing are gone since tokenizing; words, numbers and signs come back apart.

    Args:
        ids: Integers (B, L). What follows a row's first end token does not count.

    Raises:
        ValueError: If `ids` are not (B, L) or not from 0 to 49407.
    """
    if ids.ndim != 2 or ids.is_floating_point():
        raise ValueError(f"token ids are {ids.dtype} {tuple(ids.shape)}, not integers (B, L)")
    return [_text(row) for row in ids.tolist()]


def _text(row: list[int]) -> str:
    length = row.index(END) if END in row else len(row)
    while END not in row and length and row[length - 1] == PADDING:  # a text cut short may have padding and no end
        length -= 1
    unknown = [i for i in row[:length] if not 0 <= i < VOCABULARY]
    if unknown:
        raise ValueError(f"token id {unknown[0]} is not from 0 to {VOCABULARY - 1}")
    return _tokenizer().decode([i for i in row[:length] if i != START]).strip()  # type: ignore[no-any-return]


@cache
def _tokenizer() -> SimpleTokenizer:
    from open_clip.tokenizer import SimpleTokenizer  # seconds to import, and needed for texts alone

    return SimpleTokenizer()
