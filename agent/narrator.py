"""The network of a speaker: it reads what was seen and done on walks, and says word by word what they were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from navloop.agent.legs import find_legs
from navloop.agent.percepts import Layout
from navloop.agent.policies import ACTIONS
from navloop.agent.policies.parts import Reckoning
from navloop.agent.policies.sight import Sight, SightWidths
from navloop.agent.policies.words import PADDING, UNKNOWN, MissedWords
from navloop.configs.encoders import CaptionerConfig
from navloop.configs.speaker import NarratorConfig
from navloop.encoders.captioner import CaptionDecoder, LayerCache

LEG = 6
"""Numbers that a leg is told to the network by."""


@dataclass(frozen=True, slots=True)
class ToldWalks:
    """B walks as a narrator reads them: M looks and K legs each, however long they were."""

    percepts: Tensor
    """float (B, M, n, D), of any float type."""
    poses: Tensor
    """float (B, M, 4), where each look was taken, as of `Reckoning`."""
    legs: Tensor
    """float (B, K, LEG), zeros behind the last."""

    def __len__(self) -> int:
        return len(self.percepts)

    def to(self, device: torch.device | str) -> ToldWalks:
        """Return them on a device."""
        return ToldWalks(*(getattr(self, name).to(device) for name in ("percepts", "poses", "legs")))


class Narrator(nn.Module):
    """Predicts each word of a text from the words before it and a walk.

    Ids are a `Vocabulary`'s, and three more behind them: `start`, then comes what the text is about, `begin`, then the text, `end`. What to
    say is chosen before how to say it, and learned apart from it: of a hundred wordings it is the same.

    Args:
        config: How large.
        layout: Of the percepts.
        words: Ids of the vocabulary, padding and unknown included.
    """

    def __init__(self, config: NarratorConfig, layout: Layout, words: int) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.start, self.begin, self.end = words, words + 1, words + 2
        self.sight = Sight(layout, SightWidths(width, width, width // 2, width // 2), config.dropout)
        self.join_depth = nn.Linear(width // 2, width) if layout.depth else None
        self.reckoning = Reckoning(config.turn_deg, width)
        self.leg = nn.Linear(LEG, width)
        self.places = nn.Parameter(0.02 * torch.randn(config.looks + config.legs, width))
        self.walk = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, width // 32, 4 * width, config.dropout, F.gelu, batch_first=True, norm_first=True
            )
            for _ in range(config.walk_layers)
        )
        self.embedding = nn.Embedding(words + 3, width, padding_idx=PADDING)
        self.missed = MissedWords(config.missed_words)
        self.dropout = nn.Dropout(config.dropout)
        shape = CaptionerConfig(layers=config.word_layers, queries=config.queries)
        self.decoder = CaptionDecoder(shape, text_width=width, video_width=width, vocabulary=words + 3)

    def gather(
        self, percepts: Sequence[Tensor | NDArray[np.floating]], actions: Sequence[NDArray[np.int64]]
    ) -> ToldWalks:
        """Return walks as this narrator reads them.

        Args:
            percepts: Of each walk, float (S, n, D); S may differ.
            actions: Of each walk, int64 (S,), each taken at the sight of that step's percepts.

        Raises:
            ValueError: If a walk has no steps, or not a percept for each action.
        """
        rows = [self._gather(seen, done) for seen, done in zip(percepts, actions, strict=True)]
        return ToldWalks(*(torch.stack(column) for column in zip(*rows, strict=True)))

    def forward(self, walks: ToldWalks, ids: Tensor) -> Tensor:
        """Return logits of the word after each of ids (B, L), which begin with `start`: float (B, L, V)."""
        states = self.dropout(self.embedding(self.missed(ids)))
        return self.decoder(self.read(walks), states)  # type: ignore[no-any-return]

    def read(self, walks: ToldWalks) -> Tensor:
        """Return tokens of walks, float (B, M + K, W), for the decoder to pool."""
        batch, looks = walks.percepts.shape[:2]
        every = torch.ones(batch * looks, dtype=torch.bool, device=walks.percepts.device)
        seen = self.sight(walks.percepts.flatten(0, 1), every)
        vector = seen.vector
        if self.join_depth is not None:
            vector = vector + self.join_depth(seen.depth_vector)
        x = torch.cat((vector.unflatten(0, (batch, looks)) + self.reckoning(walks.poses), self.leg(walks.legs)), 1)
        x = x + self.places
        for layer in self.walk:
            x = layer(x)
        return x

    def _gather(self, seen: Tensor | NDArray[np.floating], done: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        if not len(done) or len(seen) != len(done):
            raise ValueError(
                f"a walk has {len(seen)} percepts and {len(done)} actions; one of each a step, one at least"
            )
        at = np.linspace(0, len(done) - 1, self.config.looks).round().astype(np.int64)
        previous = torch.from_numpy(np.concatenate([[ACTIONS], done[:-1]]))
        poses = self.reckoning.poses(previous[None])[0]
        looks = torch.as_tensor(np.asarray(seen[at]) if isinstance(seen, np.ndarray) else seen[torch.from_numpy(at)])
        return looks, poses[torch.from_numpy(at)], torch.from_numpy(self._legs(done))

    def _legs(self, done: NDArray[np.int64]) -> NDArray[np.float32]:
        legs = find_legs(done, self.reckoning.turn)[: self.config.legs]
        told = np.zeros((self.config.legs, LEG), dtype=np.float32)
        angles, steps, begins = legs.T
        columns = (np.sin(angles), np.cos(angles), angles / math.pi, steps / 10, begins / len(done), np.ones(len(legs)))
        told[: len(legs)] = np.stack(columns, 1)
        return told


ONCE = 5
"""Words in a row that no text says twice; of instructions by the houses' grammar fewer than one in 300 does."""


class NarratorSteps:
    """A `StepModel` of texts about walks, which are read once. No text says the same `ONCE` words twice.

    Args:
        narrator: In eval mode.
        walks: B of them.
        capacity: Tokens of a text at most.
    """

    def __init__(self, narrator: Narrator, walks: ToldWalks, capacity: int) -> None:
        self._narrator = narrator
        self._pooled = narrator.decoder.pool(narrator.read(walks))
        self._caches: tuple[LayerCache, ...] = narrator.decoder.create_caches(capacity)
        self._ids: Tensor | None = None

    def step(self, ids: Tensor) -> Tensor:
        """Append int64 (R, n) to the texts and return logits of what comes next, float (R, V); what is no word is impossible."""
        narrator = self._narrator
        logits = narrator.decoder.decode(self._pooled, narrator.embedding(ids), self._caches)[:, -1]
        never = torch.tensor([PADDING, UNKNOWN, narrator.start], device=logits.device)
        self._ids = ids if self._ids is None else torch.cat((self._ids, ids), 1)
        return forbid_repeats(logits.index_fill(1, never, -torch.inf), self._ids, narrator.begin)

    def reorder(self, rows: Tensor) -> None:
        """Let text i go on from what text `rows[i]`, of the same walk, was; int64 (R,)."""
        for cache in self._caches:
            cache.text.reorder(rows)
        assert self._ids is not None
        self._ids = self._ids[rows]


def forbid_repeats(logits: Tensor, ids: Tensor, begin: int, once: int = ONCE) -> Tensor:
    """Return logits under which no text says as many words in a row again as it said before.

    Args:
        logits: Of what comes next, float (R, V).
        ids: The texts so far, int64 (R, L).
        begin: Token from which on a text counts; one that lacks it is free.
        once: Words in a row.
    """
    if ids.shape[1] < once:
        return logits
    runs = ids.unfold(1, once, 1)  # (R, W, once)
    told = (ids == begin).cumsum(1)[:, : runs.shape[1]] > 0
    again = told & (runs[..., :-1] == ids[:, None, 1 - once :]).all(-1)
    rows, places = again.nonzero(as_tuple=True)
    return logits.index_put((rows, runs[rows, places, -1]), logits.new_tensor(-torch.inf))
