"""What is nearly the same: walks from and to the same places, texts of the same words, frames of the same look."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TypeAlias

import numpy as np

from navloop.agent.policies.words import split_words
from navloop.geometry import Vector
from navloop.records import Episode, Trajectory

Pairs: TypeAlias = "Counter[tuple[str, str]]"


def word_pairs(text: str) -> Pairs:
    """Return the pairs of words that follow each other in a text, and how often; signs are left out, a single word pairs with nothing."""
    words = [word for word in split_words(text) if word[0].isalnum()]
    return Counter(itertools.pairwise(words) if len(words) > 1 else ((word, "") for word in words))


def overlap(first: Pairs, second: Pairs) -> float:
    """Return the share of pairs that two texts have in common (Dice), each as often as it is there, in [0, 1]; 1 for two empty ones."""
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 1.0


class Fingers:
    """Remembers walks, and finds the twin of another.

    Args:
        apart: Metres, start and end both nearer than which make walks of one scene twins; None asks nothing.
        text: Overlap of word pairs from which texts of one scene are twins; None asks nothing.
        frames: Cosine of features from which walks are twins; None asks nothing.
    """

    def __init__(self, *, apart: float | None, text: float | None, frames: float | None) -> None:
        self._apart, self._text, self._frames = apart, text, frames
        self._ends: dict[str, list[Vector]] = {}
        self._texts: dict[str, list[Pairs]] = {}
        self._features: list[Vector] = []

    def add(self, key: str, episode: Episode, trajectory: Trajectory, features: Vector | None) -> None:
        """Remember a walk.

        Raises:
            ValueError: If frames are compared and there are no features, or none that have a direction.
        """
        scene = episode.scene_id
        self._ends.setdefault(scene, []).append(_ends(trajectory))
        self._texts.setdefault(scene, []).append(word_pairs(episode.instruction.text))
        if self._frames is not None:
            self._features.append(_unit(key, features))

    def twin(self, key: str, episode: Episode, trajectory: Trajectory, features: Vector | None) -> str:
        """Return in what one that is remembered is its twin: "walk again", "text again", "frames again"; "" if none is.

        Raises:
            ValueError: As `add`.
        """
        scene = episode.scene_id
        if self._apart is not None and (others := self._ends.get(scene)):
            gaps = np.linalg.norm(np.stack(others) - _ends(trajectory), axis=2).max(1)
            if gaps.min() < self._apart:
                return "walk again"
        if self._text is not None:
            pairs = word_pairs(episode.instruction.text)
            if any(overlap(pairs, other) >= self._text for other in self._texts.get(scene, ())):
                return "text again"
        if self._frames is not None and self._features:
            cosine = float((np.stack(self._features) @ _unit(key, features)).max())
            return "frames again" if cosine >= self._frames else ""
        return ""


def _ends(trajectory: Trajectory) -> Vector:
    """Return start and end, float64 (2, 3)."""
    return trajectory.positions[[0, -1]]


def _unit(key: str, features: Vector | None) -> Vector:
    size = 0.0 if features is None else float(np.linalg.norm(features))
    if features is None or not (np.isfinite(size) and size > 0):
        raise ValueError(f"candidate {key}: has no features of its frames to compare; give them, or leave frames out")
    unit: Vector = np.asarray(features, dtype=np.float64) / size
    return unit
