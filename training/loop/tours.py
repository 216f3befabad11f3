"""Which labelled tours of the training houses are walked when: by the first agent, in each round, and by the expert who is the control."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from navloop.envs.episodes import ground_truth_path, read_episodes, write_episodes, write_ground_truth
from navloop.envs.simulator import Action
from navloop.records import Episode, Tour
from navloop.training.tours import by_tour

_ORDER, _ROUND, _FREE, _EXPERT = range(31, 35)
"""Purposes of draws, beside the seed."""


class LabelledTours:
    """The training tours of a data set, in an order that the seed decides.

    Args:
        file: Episode file.
        share: Of the tours that the first agent learns from; the others come first when rounds want some.
        seed: Of all draws.

    Raises:
        EpisodeError: If the file cannot be read.
    """

    def __init__(self, file: Path, share: float, seed: int) -> None:
        self._seed = seed
        self._episodes = by_tour(read_episodes(file).episodes)
        names = sorted(self._episodes)
        order = [names[i] for i in self._rng(_ORDER).permutation(len(names)).tolist()]
        count = math.ceil(share * len(order))
        self._known, self._fresh = order[:count], order[count:]

    @cached_property
    def first(self) -> list[Episode]:
        """All wordings of the tours that the first agent learns from."""
        return [episode for tour in sorted(self._known) for episode in self._episodes[tour]]

    def for_round(self, number: int, count: int) -> list[Episode]:
        """Return the tours of a round, one wording of each: those that nobody walked yet, then any.

        Args:
            number: Of the round, from 1.
            count: How many; fewer if there are fewer.
        """
        rng = self._rng(_ROUND, number)
        fresh = self._fresh[(number - 1) * count : number * count]
        others = [tour for tour in self._shuffled(rng) if tour not in set(fresh)]
        return self._told([*fresh, *others][:count], rng)

    def for_free(self, number: int, count: int) -> list[Episode]:
        """Return tours whose instructions the agent is told when it walks alone, one wording of each."""
        rng = self._rng(_FREE, number)
        return self._told(self._shuffled(rng)[:count], rng)

    def for_expert(self, number: int, tours: int, frames: int, stop_within: float | None = None) -> list[Episode]:
        """Return tours whose expert walks have so many frames together, the nearest number to it that whole walks give.

        After those of the round come tours that nobody walked, then those that the first agent or earlier rounds learned from, then their
        other wordings: the control learns as much that is new as there is.

        Args:
            number: Of the round.
            tours: How many its source of tours walks: the same ones come first.
            frames: In all. Where all wordings of all tours have fewer, all are returned.
            stop_within: Metres from the goal at which the expert stops; None: where the recorded walks do.
        """
        rng = self._rng(_EXPERT, number)
        same = self.for_round(number, tours) if tours else []
        known = {episode.episode_id for episode in same}
        every = [e for tour in self._shuffled(rng) for e in self._episodes[tour] if e.episode_id not in known]
        turns = Counter(episode.tour for episode in same)
        learned = {*self._known, *self._fresh[: (number - 1) * tours]}
        ranks = []
        for episode in every:
            tour = episode.tour
            ranks.append((turns[tour], tour in learned))
            turns[tour] += 1
        queue = [*same, *(every[i] for i in sorted(range(len(every)), key=ranks.__getitem__))]
        ends = np.cumsum([expert_frames(episode, stop_within) for episode in queue])
        return queue[: 1 + int(np.abs(ends - frames).argmin())] if queue else []

    def _shuffled(self, rng: np.random.Generator) -> list[Tour]:
        names = sorted(self._episodes)
        return [names[i] for i in rng.permutation(len(names)).tolist()]

    def _told(self, tours: Sequence[Tour], rng: np.random.Generator) -> list[Episode]:
        return [self._episodes[tour][int(rng.integers(len(self._episodes[tour])))] for tour in tours]

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, *purpose))


def write_tours(path: Path, episodes: Sequence[Episode]) -> Path:
    """Write episodes with their ground truth beside them, and return the file.

    Raises:
        OSError: If it cannot be written.
    """
    write_ground_truth(ground_truth_path(path), episodes)
    write_episodes(path, episodes)
    return path


def expert_frames(episode: Episode, stop_within: float | None) -> int:
    """Return how many actions an expert takes, the stop included."""
    truth = episode.ground_truth
    if truth is None or truth.actions is None:
        raise ValueError(
            f"episode {episode.episode_id}: has no recorded actions, so nobody knows how long an expert walks; generate the data set again"
        )
    if stop_within is None:
        return len(truth.actions)
    moves = truth.actions == Action.FORWARD
    way = float(np.linalg.norm(np.diff(truth.locations, axis=0), axis=1).sum())
    left = np.cumsum(moves[::-1])[::-1] * (way / max(int(moves.sum()), 1))
    return int(np.argmax(left <= stop_within)) + 1
