"""Attention of the streaming policy: to its own past, with a cache that it writes step by step, and to words."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from navloop.agent.policies.words import Words


class Past:
    """Keys and values of the last steps of E environments of any age: a ring of fixed size, one a layer.

    Args:
        environments: Environments E.
        length: Steps that are kept, the newest included.
        width: Width of a head.
        like: A tensor of the type and on the device wanted.
    """

    def __init__(self, environments: int, length: int, width: int, like: Tensor) -> None:
        self.keys = like.new_zeros(environments, length, width)
        self.values = torch.zeros_like(self.keys)

    def write(self, keys: Tensor, values: Tensor, ages: Tensor) -> None:
        """Take in each environment's newest key and value, (E, d), at its age, int64 (E,)."""
        rows = torch.arange(len(ages), device=ages.device)
        slots = ages % self.keys.shape[1]
        self.keys[rows, slots] = keys
        self.values[rows, slots] = values


class CausalAttention(nn.Module):
    """Multi-head attention of each step to itself and those before it, no more than `memory` of them.

    Positions enter as rotations of queries and keys, so only distances in time count. All heads share keys and values,
    so that a long past is little to read.

    Args:
        width: Width W.
        heads: Number of heads.
        memory: Steps that it looks back, itself included.

    Source: Su et al., RoFormer, 2021 (rotary positions); Shazeer, Fast Transformer Decoding, 2019 (shared keys).
    """

    def __init__(self, width: int, heads: int, memory: int) -> None:
        super().__init__()
        self.heads, self.memory = heads, memory
        self.qkv = nn.Linear(width, width + 2 * (width // heads))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map walks (B, S, W) to (B, S, W)."""
        steps = x.shape[1]
        q, k, v = self._project(x)  # (B, S, heads, d), (B, S, 1, d) twice
        turns = rotations(torch.arange(steps, device=x.device), q.shape[-1])[:, None]
        q, k = rotate(q, turns).transpose(1, 2), rotate(k, turns).transpose(1, 2).expand(-1, self.heads, -1, -1)
        v = v.transpose(1, 2).expand(-1, self.heads, -1, -1)
        if steps <= self.memory:
            x = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            near = torch.ones(steps, steps, dtype=torch.bool, device=x.device).tril().triu(1 - self.memory)
            x = F.scaled_dot_product_attention(q, k, v, near)
        return self.proj(x.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def step(self, x: Tensor, past: Past, ages: Tensor, filled: int) -> Tensor:
        """Map one step (E, W) to (E, W), and write it into the past.

        Args:
            x: Of each environment.
            past: Of this layer.
            ages: int64 (E,), steps that each environment took before this one.
            filled: Slots of the past that any of them uses, this step included.
        """
        q, k, v = self._project(x)  # (E, heads, d), (E, 1, d) twice
        turns = rotations(ages, q.shape[-1])[:, None]
        past.write(rotate(k, turns)[:, 0], v[:, 0], ages)
        scores = rotate(q, turns) @ past.keys[:, :filled].mT * q.shape[-1] ** -0.5  # (E, heads, filled)
        there = torch.arange(filled, device=x.device) <= ages[:, None]  # all of them, once the ring is full
        weights = scores.masked_fill(~there[:, None], -torch.inf).softmax(-1)
        return self.proj((weights @ past.values[:, :filled]).flatten(1))  # type: ignore[no-any-return]

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        width = self.proj.in_features // self.heads
        q, k, v = self.qkv(x).unflatten(-1, (-1, width)).split((self.heads, 1, 1), -2)
        return q, k, v


class HeldWords(NamedTuple):
    """What one layer attends to of instructions: keys and values, (B, heads, L, d), and which are words, bool (B, L)."""

    keys: Tensor
    values: Tensor
    valid: Tensor


class WordAttention(nn.Module):
    """Multi-head attention of steps to the words of their instruction.

    Args:
        width: Width W of steps and words.
        heads: Number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def hold(self, words: Words) -> HeldWords:
        """Return keys and values of instructions; they serve for whole walks."""
        batch, length, _ = words.states.shape
        keys, values = self.key_value(words.states).view(batch, length, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return HeldWords(keys, values, words.valid)

    def forward(self, x: Tensor, held: HeldWords) -> Tensor:
        """Map steps (B, S, W) to what they take from the words, (B, S, W)."""
        q = self.query(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # (B, heads, S, d)
        taken = F.scaled_dot_product_attention(q, held.keys, held.values, held.valid[:, None, None])
        return self.proj(taken.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def rotations(positions: Tensor, width: int) -> Tensor:
    """Return the angles of positions (...,) for heads of an even width: cosines and sines, float (..., 2, width / 2)."""
    rates = 1000.0 ** (-torch.arange(width // 2, device=positions.device) / (width // 2))
    angles = positions[..., None] * rates
    return torch.stack((angles.cos(), angles.sin()), -2)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the halves of x (..., d) against each other by angles from `rotations`."""
    first, second = x.chunk(2, -1)
    cos, sin = turns.to(x.dtype).unbind(-2)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), -1)
