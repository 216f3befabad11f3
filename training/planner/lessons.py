"""Walks of planners as batches: an order that follows from a seed, and a wording drawn for each walk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from navloop.agent.planner_agent import PlannerAgent
from navloop.configs.planning import DecidingConfig
from navloop.records import Episode
from navloop.training.planned_walks import DecidedWalk
from navloop.training.planning import Lesson
from navloop.training.walk_batches import Tour


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
        self._order: tuple[tuple[int, ...], list[int]] = ((), [])

    def __len__(self) -> int:
        return math.ceil(len(self._walks) / self._config.batch)

    def batch(self, place: int, order: tuple[int, ...], wording: tuple[int, ...]) -> list[Lesson]:
        """Return a batch of an epoch.

        Args:
            place: Of the batch, in [0, len).
            order: Seed of the epoch's order.
            wording: Seed of which wording each walk is learned with.
        """
        if self._order[0] != order:
            self._order = order, np.random.default_rng(order).permutation(len(self._walks)).tolist()
        size, rng = self._config.batch, np.random.default_rng(wording)
        chosen = [self._walks[number] for number in self._order[1][place * size : (place + 1) * size]]
        if not self._config.wordings:
            return [walk.lesson for walk in chosen]
        return [replace(walk.lesson, ids=self._worded(walk, rng)) for walk in chosen]

    def _worded(self, walk: DecidedWalk, rng: np.random.Generator) -> Tensor:
        tour = walk.scene_id, walk.trajectory_id
        if tour not in self._ids:
            rows = self._agent.ids_of([episode.instruction.text for episode in self._tours[tour]])
            self._ids[tour] = [row[row != 0] for row in rows]
        return self._ids[tour][int(rng.integers(len(self._ids[tour])))]
