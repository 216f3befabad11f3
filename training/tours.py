"""Episodes by tour: those of one tour tell the same walk in other words, so that only one of them is walked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from navloop.records import Episode, Tour


def by_tour(episodes: Iterable[Episode]) -> dict[Tour, list[Episode]]:
    """Return the episodes of each tour, both in the order in which they come."""
    tours: dict[Tour, list[Episode]] = {}
    for episode in episodes:
        tours.setdefault(episode.tour, []).append(episode)
    return tours


def draw_parts(
    tours: Mapping[Tour, Sequence[Episode]], count: int, size: int, seed: Sequence[int]
) -> list[tuple[Episode, ...]]:
    """Draw tours, and of each one wording, in parts of few scenes.

    Args:
        tours: As of `by_tour`.
        count: How many are drawn, none of them twice.
        size: Episodes a part.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    names = sorted(tours)
    drawn = np.sort(rng.permutation(len(names))[:count]).tolist()
    chosen = [wordings[int(rng.integers(len(wordings)))] for wordings in (tours[names[i]] for i in drawn)]
    return [tuple(chosen[i : i + size]) for i in range(0, len(chosen), size)]
