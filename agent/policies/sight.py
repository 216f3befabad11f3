"""What policies make of percepts: standardised channels, projected tokens that know their place, one vector a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from navloop.agent.percepts import DEPTH_SIDE, Layout

CALIBRATION_BATCHES = 20
"""Training batches that the statistics of the channels are taken from; they stay as they are from then on."""

REDUCED = 16
"""Channels that each token gives to the vector."""


class Seen(NamedTuple):
    """What is seen at each of N steps."""

    tokens: Tensor
    """float (N, m, w), the frame's places, its summary, and the clip."""
    depth: Tensor | None
    """float (N, 16, w'), a 4 x 4 grid over the depth frame."""
    vector: Tensor
    """float (N, W), all tokens together, each in its own way."""
    depth_vector: Tensor | None
    """float (N, W')."""


class SightWidths(NamedTuple):
    """How wide the things are that are made of percepts."""

    tokens: int
    """Width w of a token."""
    vector: int
    """Width W of the vector."""
    depth_tokens: int
    """Width w' of a token of depth."""
    depth_vector: int
    """Width W' of the vector of depth."""


class Standardise(nn.Module):
    """Bring each channel of each kind of token to mean 0 and variance 1, as they are in the first training batches.

    Frozen features have channels a hundred times as large as others; what learns from them sees those alone, unless
    they are scaled. The statistics are saved with the policy.

    Args:
        kinds: Kinds of token.
        width: Channels.
    """

    count: Tensor
    batches: Tensor
    mean: Tensor
    square: Tensor

    def __init__(self, kinds: int, width: int) -> None:
        super().__init__()
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.register_buffer("count", torch.zeros(kinds, 1, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(kinds, width, dtype=torch.float64))
        self.register_buffer("square", torch.zeros(kinds, width, dtype=torch.float64))

    def forget(self) -> None:
        """Begin anew: the statistics are taken from the next training batches."""
        for statistic in (self.batches, self.count, self.mean, self.square):
            statistic.zero_()

    @torch.no_grad()
    def learn(self, tokens: Tensor, kind: int) -> None:
        """Take tokens (..., width) of a kind into the statistics."""
        flat = tokens.detach().flatten(0, -2).double()
        if not len(flat):
            return
        total = self.count[kind] + len(flat)
        self.mean[kind] += (flat.mean(0) - self.mean[kind]) * len(flat) / total
        self.square[kind] += (flat.square().mean(0) - self.square[kind]) * len(flat) / total
        self.count[kind] = total

    def forward(self, tokens: Tensor, kind: int) -> Tensor:
        """Return tokens (..., width) of a kind, standardised; as they are before there are statistics."""
        if not self.count[kind]:
            return tokens
        mean = self.mean[kind]
        deviation = (self.square[kind] - mean.square()).clamp(min=0).sqrt()
        floor = 1e-3 * deviation.mean() + 1e-6  # a channel that hardly moves is noise
        return ((tokens - mean.to(tokens)) / deviation.clamp(min=floor).to(tokens)).clamp(-8, 8)


class Sight(nn.Module):
    """Project percepts.

    Args:
        layout: Of the percepts.
        widths: Of what comes of them.
        dropout: Share of the channels of each token that are blanked while training, drawn for each step.
    """

    def __init__(self, layout: Layout, widths: SightWidths, dropout: float) -> None:
        super().__init__()
        width = widths.tokens
        self.dropout = nn.Dropout(dropout)
        self.layout = layout
        self.standardise = Standardise(2 + layout.clip, layout.width)
        self.project = nn.Linear(layout.width, width)
        self.project_clip = nn.Linear(layout.width, width) if layout.clip else None
        self.places = nn.Parameter(0.5 * torch.randn(layout.visual, width))
        self.reduce = nn.Linear(width, REDUCED)
        self.join = nn.Linear(layout.visual * REDUCED, widths.vector)
        self.depth = DepthSight(widths.depth_tokens, widths.depth_vector) if layout.depth else None

    def forward(self, percepts: Tensor, valid: Tensor | None = None) -> Seen:
        """Look at percepts (N, n, D); in training, those of valid steps, bool (N,), may enter the statistics."""
        if percepts.shape[-2:] != (self.layout.tokens, self.layout.width):
            raise ValueError(
                f"percepts are {tuple(percepts.shape)}, this policy takes (..., {self.layout.tokens}, {self.layout.width}); "
                "its perception is another one"
            )
        percepts = percepts.to(self.project.weight.dtype)
        kinds = percepts[:, : self.layout.visual].split(self._lengths(), dim=1)
        frames = percepts[:, self.layout.visual :].flatten(1)[:, : DEPTH_SIDE**2]
        if self.training and valid is not None:
            self._learn_statistics(kinds, frames, valid)
        even = [self.dropout(self.standardise(tokens, kind)) for kind, tokens in enumerate(kinds)]
        projected = self.project(torch.cat(even[:2], 1))
        if self.project_clip is not None:
            projected = torch.cat((projected, self.project_clip(even[2])), 1)
        tokens = projected + self.places  # (N, m, w)
        vector = self.join(F.gelu(self.reduce(F.gelu(tokens))).flatten(1))
        if self.depth is None:
            return Seen(tokens, None, vector, None)
        deep, deep_vector = self.depth(frames)
        return Seen(tokens, deep, vector, deep_vector)

    def _learn_statistics(self, kinds: Sequence[Tensor], frames: Tensor, valid: Tensor) -> None:
        """Take valid steps into the statistics, of the encoder's percepts and of depth: each has its own batches, for a new encoder brings no new depth."""
        if int(self.standardise.batches) < CALIBRATION_BATCHES:
            for kind, tokens in enumerate(kinds):
                self.standardise.learn(tokens[valid], kind)
            self.standardise.batches += 1
        depth = None if self.depth is None else self.depth.standardise
        if depth is None or int(depth.batches) >= CALIBRATION_BATCHES:
            return
        if depth.count.any() and not depth.batches:  # agents of earlier versions counted both by the encoder's
            depth.batches.fill_(CALIBRATION_BATCHES)
            return
        depth.learn(frames[valid][..., None], 0)
        depth.batches += 1

    def _lengths(self) -> list[int]:
        return [self.layout.grid**2, 1] + [1] * self.layout.clip


class DepthSight(nn.Module):
    """A small convolutional network over the depth frame.

    Args:
        width: Width w' of its 4 x 4 tokens.
        vector_width: Width W' of its vector.
    """

    def __init__(self, width: int, vector_width: int) -> None:
        super().__init__()
        self.standardise = Standardise(1, 1)
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 16, 5, 2, 2),
            nn.GELU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(32, 32, 3, 2, 1),
            nn.GELU(),
        )
        self.project = nn.Linear(32, width)
        self.places = nn.Parameter(0.5 * torch.randn((DEPTH_SIDE // 8) ** 2, width))
        self.reduce = nn.Linear(width, REDUCED)
        self.join = nn.Linear(REDUCED * (DEPTH_SIDE // 8) ** 2, vector_width)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens (N, 16, w') and a vector (N, W') of depth frames (N, side * side), metres."""
        frames = self.standardise(frames[..., None], 0).view(-1, 1, DEPTH_SIDE, DEPTH_SIDE)
        x = self.convolutions(frames).flatten(2).mT  # (N, 16, 32)
        tokens = self.project(x) + self.places  # (N, 16, w')
        return tokens, self.join(F.gelu(self.reduce(F.gelu(tokens))).flatten(1))
