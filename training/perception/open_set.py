"""Open set: is a classifier less sure of videos of classes that it does not know?"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from navloop.configs.perception_tasks import OpenSetTaskConfig
from navloop.encoders.losses import evidential_uncertainty
from navloop.geometry import Vector
from navloop.training.manifests import read_manifests
from navloop.training.overlaps import require_apart
from navloop.training.perception.classes import class_scores, labels_below, mean_probabilities, ranks_of
from navloop.training.perception.features import Embedded
from navloop.training.perception.results import Findings, Score, measure, measure_mean
from navloop.training.perception.task import TASKS, Bench

KEPT = 0.95
"""Share of the clips that a classifier was trained on that a threshold calls known. Source: DEAR."""


@TASKS.register("open_set")
def measure_open_set(config: OpenSetTaskConfig, bench: Bench) -> Findings:
    """Return how well uncertainty tells videos of unknown classes from those of known ones, and the accuracy on the latter.

    "AUROC evidential" takes classes over the sum of concentrations, averaged over views: of a classifier trained by the evidential
    loss it is what the paper reports. "AUROC softmax" takes 1 less the highest probability. Where the recipe has `train`, a
    threshold keeps 95% of those clips, seen as the others are, and "unknown rejected" and "known kept" say what it does to the others.

    Raises:
        ValueError: If there are no unknown videos, or two of the known, the unknown and those of `train` show some of the same.
    """
    lists = config.unknown or bench.recipe.unknown
    if not lists:
        raise ValueError("there are no videos of unknown classes; name lists of them (unknown)")
    _require_apart(lists, bench)
    known = bench.embed("logits", need=("label",))
    unknown = bench.embed("logits", role="unknown", manifest=lists, labelled=False)
    groups = known.groups + unknown.groups
    is_unknown = np.repeat([False, True], [len(known.rows), len(unknown.rows)])
    scores = []
    for name, uncertainty in (("evidential", evidential), ("softmax", unsure)):
        doubt = np.concatenate([uncertainty(known.values), uncertainty(unknown.values)])
        scores.append(measure(f"AUROC {name}", partial(auroc, doubt, is_unknown), groups, bench.rng, chance=0.5))
    return Findings(scores=(*scores, *_thresholded(known, unknown, bench), *_closed(known, bench)))


def evidential(logits: NDArray[np.float32]) -> Vector:
    """Return the evidential uncertainty of videos, logits (N, views, classes) to float64 (N,), the mean over views."""
    return np.asarray(evidential_uncertainty(torch.from_numpy(logits)).double().mean(1).numpy())


def unsure(logits: NDArray[np.float32]) -> Vector:
    """Return 1 less the highest of a video's mean probabilities, logits (N, views, classes) to float64 (N,).

    Source: Hendrycks and Gimpel, A Baseline for Detecting Misclassified and Out-of-Distribution Examples, 2017.
    """
    return np.asarray(1 - mean_probabilities(logits).max(1))


def auroc(doubt: Vector, is_unknown: NDArray[np.bool_], weights: Vector) -> float:
    """Return the chance that an unknown clip has more doubt than a known one, ties by half; NaN where either kind weighs nothing.

    Args:
        doubt: (N,).
        is_unknown: bool (N,).
        weights: float (N,), how often each clip counts.
    """
    values, place = np.unique(doubt, return_inverse=True)
    known = np.bincount(place.reshape(-1), weights * ~is_unknown, len(values))
    unknown = np.bincount(place.reshape(-1), weights * is_unknown, len(values))
    pairs = known.sum() * unknown.sum()
    if not pairs:
        return float("nan")
    below = np.cumsum(known) - known / 2
    return float(unknown @ below / pairs)


def _require_apart(unknown: tuple[str, ...], bench: Bench) -> None:
    known = read_manifests(bench.views())
    others = read_manifests(bench.views(unknown).model_copy(update={"num_classes": None, "classes": None}))
    require_apart(others, known, "clips of unknown classes", "measured as known")
    if bench.recipe.train:
        learned = read_manifests(bench.views(bench.recipe.train))
        require_apart(known, learned, "measured clips", "learned from")
        require_apart(others, learned, "clips of unknown classes", "learned from")


def _thresholded(known: Embedded, unknown: Embedded, bench: Bench) -> list[Score]:
    if not bench.recipe.train:
        return []
    learned = bench.embed("logits", role="train", manifest=bench.recipe.train)
    limit = np.quantile(evidential(learned.values), KEPT)
    rejected, kept = evidential(unknown.values) > limit, evidential(known.values) <= limit
    return [
        measure_mean("unknown rejected", rejected, unknown.groups, bench.rng, chance=1 - KEPT),
        measure_mean("known kept", kept, known.groups, bench.rng, chance=KEPT),
    ]


def _closed(known: Embedded, bench: Bench) -> list[Score]:
    probabilities = mean_probabilities(known.values)
    labels, count = labels_below(probabilities.shape[1], known), probabilities.shape[1]
    return class_scores(ranks_of(probabilities, labels), labels, count, known.groups, bench.rng)[:1]
