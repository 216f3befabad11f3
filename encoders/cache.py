"""Attention that remembers: keys and values of the tokens so far, so that a causal model can go on token by token."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class KeyValueCache:
    """Keys and values that one causal attention layer has seen of R texts.

    Args:
        capacity: The most tokens a text will have; memory for them is taken once.

    Attributes:
        length: Tokens seen so far.
    """

    def __init__(self, capacity: int) -> None:
        self.length = 0
        self._capacity = capacity
        self._stored: Tensor | None = None  # keys and values, (2, R, heads, capacity, d)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of n further tokens, each (R, heads, n, d), and return those of all tokens so far.

        Raises:
            ValueError: If there is no room for them.
        """
        length = self.length + keys.shape[-2]
        if length > self._capacity:
            raise ValueError(f"{length} tokens do not fit a cache for {self._capacity}")
        if self._stored is None:
            self._stored = keys.new_empty((2, *keys.shape[:-2], self._capacity, keys.shape[-1]))
        self._stored[0, ..., self.length : length, :] = keys
        self._stored[1, ..., self.length : length, :] = values
        self.length = length
        return self._stored[0, ..., :length, :], self._stored[1, ..., :length, :]

    def reorder(self, rows: Tensor) -> None:
        """Let text i go on from what text `rows[i]` was, int64 (new R,); texts may be repeated or dropped."""
        if self._stored is not None:
            self._stored = self._stored.index_select(1, rows)


def attend_causally(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attend from the last n of M tokens to themselves and all before them.

    Args:
        queries: float (R, heads, n, d).
        keys: float (R, heads, M, d); M = n unless earlier tokens come from a cache.
        values: float (R, heads, M, d).

    Returns:
        float (R, heads, n, d).
    """
    num_queries, num_keys = queries.shape[-2], keys.shape[-2]
    if num_queries == num_keys:
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    if num_queries == 1:
        return F.scaled_dot_product_attention(queries, keys, values)
    # is_causal aligns the first query with the first key; here the last one belongs to the last.
    allowed = torch.ones(num_queries, num_keys, dtype=torch.bool, device=queries.device).tril(num_keys - num_queries)
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=allowed)
