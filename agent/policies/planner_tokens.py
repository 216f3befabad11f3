"""What a planner's decision is made over, as tokens: words, candidates, the stop, views, and the panoramas of the past.

Axes: B environments, C candidates, V views, L words, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from navloop.agent.policies.bert import EPS, BertLayer
from navloop.agent.policies.words import MissedWords
from navloop.agent.waypoints import DISTANCES, STEP, Candidates
from navloop.configs.planner import PlannerConfig
from navloop.encoders.panorama import NUM_VIEWS

VIEW, CANDIDATE, STOP = 0, 1, 2
"""What a token of the observation is."""
ANGLE_FEATURES = 4
"""Numbers that tell an angle, and numbers that tell a distance."""


@dataclass(frozen=True, slots=True)
class PanoramaFeatures:
    """What B environments see all around, views to the left."""

    rgb: Tensor
    """float (B, V, view_features)."""
    depth: Tensor
    """float (B, V, depth_features)."""


@dataclass(frozen=True, slots=True)
class Observations:
    """The tokens that a decision is made over: C candidates, the stop, V views."""

    rgb: Tensor
    """float (B, C + 1 + V, view_features)."""
    depth: Tensor
    """float (B, C + 1 + V, depth_features)."""
    angle: Tensor
    """float (B, C + 1 + V, 4)."""
    distance: Tensor
    """float (B, C + 1 + V, 4)."""
    kind: Tensor
    """int64 (B, C + 1 + V): `VIEW`, `CANDIDATE` or `STOP`."""
    valid: Tensor
    """bool (B, C + 1 + V), True where there is a token."""


def angle_features(angle: Tensor) -> Tensor:
    """Return what tells angles to the left, float32 (..., 4): sine and cosine to the right, and those of level sight."""
    right = -angle
    return torch.stack((right.sin(), right.cos(), torch.zeros_like(right), torch.ones_like(right)), -1).float()


def observe(seen: PanoramaFeatures, candidates: Candidates) -> Observations:
    """Return the tokens of a decision; the views in which candidates lie are not told a second time.

    Args:
        seen: Of B environments.
        candidates: Of the same.

    Source: InternVideo1/Downstream/Visual-Language-Navigation, trainer_HAMT.
    """
    batch, count = candidates.valid.shape
    device = seen.rgb.device
    rows = torch.arange(batch, device=device)[:, None]
    views = candidates.views
    rgb, depth = (
        torch.cat((part[rows, views], part.new_zeros(batch, 1, part.shape[-1]), part), 1)
        for part in (seen.rgb, seen.depth)
    )
    around = torch.arange(NUM_VIEWS, device=device, dtype=torch.float64) * (2 * math.pi / NUM_VIEWS)
    nothing = torch.zeros(batch, 1, ANGLE_FEATURES, device=device)
    angle = torch.cat((angle_features(candidates.angles), nothing, angle_features(around).expand(batch, -1, -1)), 1)
    metres = (candidates.distances / (DISTANCES * STEP)).float()[..., None].expand(-1, -1, ANGLE_FEATURES)
    distance = torch.cat((metres, nothing, nothing.expand(-1, NUM_VIEWS, -1)), 1)
    kinds = [CANDIDATE] * count + [STOP] + [VIEW] * NUM_VIEWS
    told = torch.zeros(batch, NUM_VIEWS + 1, dtype=torch.bool, device=device)
    told[rows, views.masked_fill(~candidates.valid, NUM_VIEWS)] = True  # the last column takes what is no candidate
    valid = torch.cat((candidates.valid, candidates.valid.new_ones(batch, 1), ~told[:, :NUM_VIEWS]), 1)
    return Observations(rgb, depth, angle, distance, torch.tensor(kinds, device=device).expand(batch, -1), valid)


class _Part(nn.Module):
    """A linear map and a norm: one of the sums that a token consists of."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(inputs, width), nn.LayerNorm(width, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))  # type: ignore[no-any-return]


def tell_apart(module: nn.Module) -> None:
    """Give the parts of tokens a bias to begin with, in place; for `nn.Module.apply`.

    Of a stop there is nothing to see, and the norm of nothing but zeros has gradients that drown all others.
    """
    if isinstance(module, _Part):
        nn.init.normal_(module.linear.bias, std=0.02)


class WordTokens(nn.Module):
    """Words as tokens: the word, its place, what kind of token, and layers over them."""

    def __init__(self, config: PlannerConfig) -> None:
        super().__init__()
        width = config.width
        self.words, self.missed = nn.Embedding(config.vocabulary, width), MissedWords()
        self.positions = nn.Embedding(config.max_words, width)
        self.types = nn.Embedding(2, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps=EPS), nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(layer_of(config) for _ in range(config.text_layers))

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids (B, L), padded with 0, to (B, L, D)."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        heard = torch.cat((ids[:, :1], self.missed(ids[:, 1:])), 1)  # the first is no word, it begins every instruction
        x = self.dropout(self.norm(self.words(heard) + self.positions(positions) + self.types.weight[0]))
        for layer in self.layers:
            x = layer(x, (ids != 0)[:, None, None])
        return x  # type: ignore[no-any-return]


class ObservationTokens(nn.Module):
    """Candidates, the stop and views as tokens."""

    def __init__(self, config: PlannerConfig) -> None:
        super().__init__()
        width = config.width
        self.rgb, self.depth = _Part(width, width), _Part(config.depth_features, width)
        self.angle, self.distance = _Part(ANGLE_FEATURES, width), _Part(ANGLE_FEATURES, width)
        self.kinds = nn.Embedding(3, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps=EPS), nn.Dropout(config.dropout)

    def forward(self, rgb: Tensor, observations: Observations, kind_of_token: Tensor) -> Tensor:
        """Return (B, N, D)."""
        x = self.rgb(rgb) + self.depth(observations.depth) + self.angle(observations.angle)
        x = x + self.distance(observations.distance) + kind_of_token + self.kinds(observations.kind)
        return self.dropout(self.norm(x))  # type: ignore[no-any-return]


class HistoryTokens(nn.Module):
    """Past panoramas as tokens, one each, and the one that begins every history."""

    def __init__(self, config: PlannerConfig) -> None:
        super().__init__()
        width = config.width
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.ahead, self.angle = _Part(width, width), _Part(ANGLE_FEATURES, width)
        self.steps, self.kind = nn.Embedding(config.max_decisions, width), nn.Embedding(1, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps=EPS), nn.Dropout(config.dropout)
        self.view, self.view_angle = _Part(width, width), _Part(ANGLE_FEATURES, width)
        self.layers = nn.ModuleList(layer_of(config) for _ in range(config.panorama_layers))

    def begin(self, batch: int) -> Tensor:
        """Return the first token of B histories, (B, D)."""
        token: Tensor = self.dropout(self.norm(self.first[0] + self.kind.weight))
        return token.expand(batch, -1)

    def forward(self, rgb: Tensor, turned: Tensor, step: Tensor) -> Tensor:
        """Return a token (B, D) for panoramas (B, V, D), what tells the angles gone from there, and decisions' numbers."""
        around = torch.arange(NUM_VIEWS, device=rgb.device) * (2 * math.pi / NUM_VIEWS)
        views = self.dropout(self.view(rgb) + self.view_angle(angle_features(around)))
        for layer in self.layers:
            views = layer(views)
        x = self.ahead(rgb[:, 0]) + self.angle(turned) + self.steps(step) + self.kind.weight + views.mean(1)
        return self.dropout(self.norm(x))  # type: ignore[no-any-return]


def layer_of(config: PlannerConfig) -> BertLayer:
    """Return a layer of the planner's sizes."""
    return BertLayer(config.width, config.heads, config.hidden, config.dropout)


def action_angles(candidates: Candidates, chosen: Sequence[int]) -> Tensor:
    """Return the radians to the left that decisions went, float64 (B,): 0 for the stop."""
    index = torch.tensor(chosen, device=candidates.valid.device)
    count = candidates.valid.shape[1]
    rows = torch.arange(len(index), device=index.device)
    return torch.where(index < count, candidates.angles[rows, index.clamp_max(count - 1)], 0.0)
