"""How often a class is right: top-1, top-5, and the mean over classes, however probabilities come about."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from navloop.configs.perception_tasks import ClassificationTaskConfig
from navloop.geometry import Vector
from navloop.training.labels import read_labels
from navloop.training.perception.features import Embedded
from navloop.training.perception.results import Findings, Groups, Score, measure, measure_mean, unit_of
from navloop.training.perception.task import TASKS, Bench

TOP = (1, 5)
"""Ranks up to which a right class counts."""

Labels = NDArray[np.int64]


@TASKS.register("classification")
def measure_classification(config: ClassificationTaskConfig, bench: Bench) -> Findings:
    """Return how often a classifier names the class of a video, its probabilities averaged over the views."""
    seen = bench.embed("logits", need=("label",))
    return class_findings(mean_probabilities(seen.values), seen, bench)


def mean_probabilities(logits: NDArray[np.float32]) -> Vector:
    """Return the softmax of each view's logits (N, views, classes), averaged over views, float64 (N, classes).

    Source: InternVideo1/Pretrain/VideoMAE, engine_for_finetuning.py, merge.
    """
    return np.asarray(softmax(logits.astype(np.float64), axis=2).mean(1))


def class_findings(
    probabilities: Vector, seen: Embedded, bench: Bench, protocol: dict[str, Any] | None = None
) -> Findings:
    """Return top-1, top-5 and mean-class accuracy, and the accuracy of each class.

    Args:
        probabilities: (N, classes), or any scores that rank the classes of each video.
        seen: The N videos.
        bench: Of the task.
        protocol: What to keep beside the numbers.

    Raises:
        ValueError: If a label is not among the classes.
    """
    count = probabilities.shape[1]
    labels = labels_below(count, seen)
    ranks = ranks_of(probabilities, labels)
    return Findings(
        scores=tuple(class_scores(ranks, labels, count, seen.groups, bench.rng)),
        protocol={"classes": count, **(protocol or {})},
        details={
            "classes": _each_class(ranks, labels, _names(bench)),
            "videos": [{**unit_of(row), "rank": rank} for row, rank in zip(seen.rows, ranks.tolist(), strict=True)],
        },
    )


def labels_below(count: int, seen: Embedded) -> Labels:
    """Return the labels of videos, (N,).

    Raises:
        ValueError: If one has none, or it is not below `count`, naming its place.
    """
    labels = seen.labels
    if labels.max() >= count:
        row = seen.rows[int(labels.argmax())]
        raise ValueError(
            f"{row.place}: label {row.label} is out of range; the scores are of {count} classes, from 0 on"
        )
    return labels


def class_scores(ranks: Labels, labels: Labels, count: int, groups: Groups, rng: np.random.Generator) -> list[Score]:
    """Return the scores that follow from the rank of each video's class; chance is always naming the most frequent classes."""
    often = np.sort(np.bincount(labels))[::-1] / len(labels)
    scores = [
        measure_mean(f"top-{k}", ranks <= k, groups, rng, chance=float(often[:k].sum()))
        for k in TOP
        if k == 1 or k < count
    ]
    hits = (ranks == 1).astype(np.float64)
    present = len(np.unique(labels))
    mean = measure("mean class", lambda weights: mean_class(hits, labels, weights), groups, rng, chance=1 / present)
    return [*scores, mean]


def ranks_of(scores: Vector, labels: Labels) -> Labels:
    """Return the rank of each right class among scores (N, classes), from 1; classes with the same score stand before it.

    Raises:
        ValueError: If a score is not finite, and so has no rank.
    """
    broken = ~np.isfinite(scores).all(1)
    if broken.any():
        raise ValueError(f"scores of {int(broken.sum())} of {len(scores)} videos are not finite (NaN or infinite)")
    own = scores[np.arange(len(labels)), labels]
    return np.asarray((scores >= own[:, None]).sum(1))


def mean_class(hits: Vector, labels: Labels, weights: Vector) -> float:
    """Return the mean over classes of the weighted share of hits in each, over those that weigh anything."""
    total = np.bincount(labels, weights)
    there = total > 0
    return float((np.bincount(labels, weights * hits)[there] / total[there]).mean())


def _each_class(ranks: Labels, labels: Labels, names: dict[int, str]) -> list[dict[str, object]]:
    rows = []
    for label in np.unique(labels).tolist():
        own = labels == label
        named = {"name": names[label]} if label in names else {}
        accuracy = round(float((ranks[own] == 1).mean()), 6)
        rows.append({"class": label, **named, "videos": int(own.sum()), "accuracy": accuracy})
    return rows


def _names(bench: Bench) -> dict[int, str]:
    return {number: name for name, number in read_labels(bench.recipe.clips).names.items()}
