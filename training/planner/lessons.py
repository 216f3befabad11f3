"""Walks of planners as batches: an order that follows from a seed, and a wording drawn for each walk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from navloop.agent.planner_agent import PlannerAgent
from navloop.configs.planning import DecidingConfig
from navloop.records import Episode, Tour
from navloop.training.planned_walks import DecidedWalk
from navloop.training.planning import Lesson


class DecisionLessons:
    """All walks so far; its length is that of an epoch, in batches.

    Args:
        walks: To learn from.
        tours: Episodes of each tour, whose texts are its wordings.
        agent: Who reads them.
        config: How they are learned from.
    """

    def __init__(
        self,
        walks: Sequence[DecidedWalk],
        tours: Mapping[Tour, Sequence[Episode]],
        agent: PlannerAgent,
        config: DecidingConfig,
    ) -> None:
        self._walks, self._tours, self._agent, self._config = walks, tours, agent, config
        self._ids: dict[Tour, list[Tensor]] = {}

    def __len__(self) -> int:
        return math.ceil(len(self._walks) / self._config.batch)

    def order(self, seed: Sequence[int]) -> list[list[int]]:
        """Return the batches of a pass as places of walks; every walk is in one."""
        drawn, size = np.random.default_rng(seed).permutation(len(self._walks)).tolist(), self._config.batch
        return [drawn[i : i + size] for i in range(0, len(drawn), size)]

    def batch(self, places: Sequence[int], seed: Sequence[int]) -> list[Lesson]:
        """Return walks as a batch; wordings are drawn with the seed."""
        rng = np.random.default_rng(seed)
        chosen = [self._walks[place] for place in places]
        if not self._config.wordings:
            return [walk.lesson for walk in chosen]
        return [replace(walk.lesson, ids=self._worded(walk, rng)) for walk in chosen]

    def _worded(self, walk: DecidedWalk, rng: np.random.Generator) -> Tensor:
        tour = walk.tour
        if tour not in self._ids:
            rows = self._agent.ids_of([episode.instruction.text for episode in self._tours[tour]])
            self._ids[tour] = [row[row != 0] for row in rows]
        return self._ids[tour][int(rng.integers(len(self._ids[tour])))]
