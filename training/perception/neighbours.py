"""k-NN: what class a clip's nearest neighbours have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navloop.configs.perception_tasks import NeighboursTaskConfig
from navloop.geometry import Vector
from navloop.training.manifests import check_class_folders, read_manifests
from navloop.training.overlaps import require_apart
from navloop.training.perception.classes import Labels, class_findings
from navloop.training.perception.features import Embedded
from navloop.training.perception.results import Findings
from navloop.training.perception.task import TASKS, Bench

_AT_ONCE = 1024
"""Clips whose similarities to all others are in memory together."""


@TASKS.register("knn")
def measure_neighbours(config: NeighboursTaskConfig, bench: Bench) -> Findings:
    """Return how often the nearest neighbours of a clip know its class."""
    known, seen = embed_pair(config.train, bench)
    if config.k > len(known.rows):
        raise ValueError(f"k is {config.k}, and there are {len(known.rows)} clips to find neighbours in; take fewer")
    count = class_count(known, seen)
    votes = neighbour_votes(known.values, known.labels, seen.values, config.k, config.temperature, count)
    return class_findings(votes, seen, bench, {"learned from": len(known.rows)})


def neighbour_votes(
    known: NDArray[np.float32], labels: Labels, asked: NDArray[np.float32], k: int, temperature: float, count: int
) -> Vector:
    """Return how much the k nearest vectors vote for each class, each with exp(cosine / temperature): float64 (N, count).

    Args:
        known: (M, D), of any length.
        labels: (M,), below `count`.
        asked: (N, D).
        k: Neighbours, at most M.
        temperature: Above 0.
        count: Classes.

    Source: Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, 2018, section 3.4; DINO, eval_knn.py.
    """
    near, far = _units(asked), _units(known)
    votes = np.zeros((len(asked), count))
    for first in range(0, len(asked), _AT_ONCE):
        cosines = near[first : first + _AT_ONCE] @ far.T
        nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        # Less the cosine 1, which scales all votes alike: at small temperatures exp would overflow.
        weights = np.exp((np.take_along_axis(cosines, nearest, 1) - 1) / temperature)
        part = votes[first : first + _AT_ONCE]
        np.add.at(part, (np.arange(len(part))[:, None], labels[nearest]), weights)
    return votes


def embed_pair(train: tuple[str, ...], bench: Bench) -> tuple[Embedded, Embedded]:
    """Return the features of what a task learns from, a view each, and of what it is measured on.

    Raises:
        ValueError: If the recipe says nothing to learn from, both show some of the same, or their class folders have other names.
    """
    lists = train or bench.recipe.train
    if not lists:
        raise ValueError("there is nothing to learn from; name lists of videos (train)")
    check_class_folders(bench.views(lists), bench.views())
    require_apart(read_manifests(bench.views()), read_manifests(bench.views(lists)), "measured clips", "learned from")
    known = bench.embed("features", role="train", manifest=lists, single_view=True, need=("label",))
    seen = bench.embed("features", need=("label",))
    return known, seen


def class_count(known: Embedded, seen: Embedded) -> int:
    """Return how many classes there are, as far as labels tell."""
    return int(max(known.labels.max(), seen.labels.max())) + 1


def _units(vectors: NDArray[np.float32]) -> Vector:
    wide = vectors.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12))
