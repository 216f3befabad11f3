"""A history-enhanced planner: of the places that one may walk to, and stopping, it scores which the instruction means.

Three kinds of tokens meet the words in cross-modal layers: the candidates and the stop, the views between them, and one token for each
panorama of the past. Axes: B environments, C candidates, V views, H history tokens, L words, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from navloop.agent.policies.bert import EPS, Attention, initialise
from navloop.agent.policies.planner_tokens import (
    STOP,
    VIEW,
    HistoryTokens,
    Observations,
    ObservationTokens,
    PanoramaFeatures,
    WordTokens,
    angle_features,
    layer_of,
    tell_apart,
)
from navloop.configs.planner import PlannerConfig


class CrossLayer(nn.Module):
    """Words ask what is seen and it asks them, by the same weights; each then among itself, and through a layer of its own."""

    def __init__(self, config: PlannerConfig) -> None:
        super().__init__()
        self.across = Attention(config.width, config.heads, config.dropout)
        self.words, self.sights = layer_of(config), layer_of(config)

    def forward(self, words: Tensor, sights: Tensor, word_there: Tensor, sight_there: Tensor) -> tuple[Tensor, Tensor]:
        """Map words (B, L, D) and sights (B, N, D) to the same; the masks are bool (B, 1, 1, L) and (B, 1, 1, N)."""
        asked, asking = self.across(words, sights, sight_there), self.across(sights, words, word_there)
        return self.words(asked, word_there), self.sights(asking, sight_there)


class Planner(nn.Module):
    """Scores candidates and stopping, from an instruction, a panorama and those before it.

    Args:
        config: Sizes. `PlannerConfig()` is the published network with the base video encoder.

    Source: Chen et al., HAMT, NeurIPS 2021; InternVideo1/Downstream/Visual-Language-Navigation; differs in: none of what is computed.
    """

    def __init__(self, config: PlannerConfig) -> None:
        super().__init__()
        self.config = config
        self.view_projection = nn.Linear(config.view_features, config.rgb_features)
        self.projection = nn.Linear(config.rgb_features, config.width)
        self.feature_dropout = nn.Dropout(config.feature_dropout)
        self.text, self.observations, self.history = (
            WordTokens(config),
            ObservationTokens(config),
            HistoryTokens(config),
        )
        self.layers = nn.ModuleList(CrossLayer(config) for _ in range(config.cross_layers))
        width = config.width
        self.head = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.LayerNorm(width, eps=EPS),
            nn.Dropout(config.dropout),
            nn.Linear(width, 1),
        )
        self.apply(initialise)
        self.apply(tell_apart)

    def read(self, ids: Tensor) -> Tensor:
        """Return words as tokens, (B, L, D); once an episode.

        Args:
            ids: int64 (B, L), padded with 0; the first of each row stands for the whole.

        Raises:
            ValueError: If there are more words than the network has places for.
        """
        if ids.shape[1] > self.config.max_words:
            raise ValueError(
                f"an instruction has {ids.shape[1]} words, the planner reads {self.config.max_words}; cut it"
            )
        return self.text(ids)  # type: ignore[no-any-return]

    def remember(self, seen: PanoramaFeatures, angle: Tensor, step: Tensor) -> Tensor:
        """Return the history token (B, D) of a decision.

        Args:
            seen: The panorama that it was made in.
            angle: Radians to the left that it went, (B,).
            step: Its number, int64 (B,), from 0.

        Raises:
            ValueError: If there were more decisions than the network has places for.
        """
        if int(step.max()) >= self.config.max_decisions:
            raise ValueError(
                f"decision {int(step.max())} is beyond the {self.config.max_decisions} that are remembered"
            )
        return self.history(self._rgb(seen.rgb), angle_features(angle), step)  # type: ignore[no-any-return]

    def forward(
        self, words: Tensor, word_there: Tensor, history: Tensor, history_there: Tensor, observations: Observations
    ) -> Tensor:
        """Return scores (B, C + 1 + V); -inf for all but the candidates that are there and the stop.

        Args:
            words: Of `read`, (B, L, D).
            word_there: bool (B, L), True where there is a word.
            history: Tokens (B, H, D): `history.begin`'s, then those of `remember`.
            history_there: bool (B, H), True where there is one.
            observations: Of `observe`.
        """
        kind = self.text.types.weight[1]
        tokens = self.observations(self._rgb(observations.rgb, observations.kind == STOP), observations, kind)
        sights = torch.cat((history, tokens), 1)
        sight_there = torch.cat((history_there, observations.valid), 1)[:, None, None]
        for layer in self.layers:
            words, sights = layer(words, sights, word_there[:, None, None], sight_there)
        scores = self.head(sights[:, history.shape[1] :] * words[:, :1])[..., 0]
        may = observations.valid & (observations.kind != VIEW)
        return scores.masked_fill(~may, -math.inf)  # type: ignore[no-any-return]

    def _rgb(self, features: Tensor, nothing: Tensor | None = None) -> Tensor:
        """Return RGB features as wide as tokens; where `nothing` is to be seen, nothing goes into the last map."""
        brought = self.view_projection(features)
        if nothing is not None:
            brought = brought.masked_fill(nothing[..., None], 0.0)
        return self.projection(self.feature_dropout(brought))  # type: ignore[no-any-return]
