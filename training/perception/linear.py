"""The linear probe: a logistic regression on features as they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from navloop.configs.perception_tasks import ProbeTaskConfig
from navloop.geometry import Vector
from navloop.training.perception.classes import Labels, class_findings
from navloop.training.perception.neighbours import class_count, embed_pair
from navloop.training.perception.results import Findings, Groups
from navloop.training.perception.task import TASKS, Bench

STEPS = 500
"""Of L-BFGS, at most."""


class Probe(NamedTuple):
    """A logistic regression over standardised features.

    Attributes:
        weight: (classes, D).
        bias: (classes,).
        mean: (D,), of the features it learned from.
        scale: (D,), their deviation.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor

    def probabilities(self, features: NDArray[np.float32]) -> Vector:
        """Return the probability of each class, float64 (N, classes)."""
        asked = (torch.from_numpy(features).to(self.weight) - self.mean) / self.scale
        return np.asarray(F.linear(asked, self.weight, self.bias).double().softmax(1).cpu().numpy())


@TASKS.register("probe")
def measure_probe(config: ProbeTaskConfig, bench: Bench) -> Findings:
    """Return how often a logistic regression on the encoder's features names the class."""
    known, seen = embed_pair(config.train, bench)
    count, device = class_count(known, seen), bench.subject.device
    penalty = config.penalties[0]
    if len(config.penalties) > 1:
        parts = fold_of(known.groups, config.folds, bench.rng)
        right = [held_out_hits(known.values, known.labels, parts, each, count, device) for each in config.penalties]
        penalty = config.penalties[int(np.argmax(right))]
    probe = fit_probe(known.values, known.labels, penalty, count, device)
    protocol = {"learned from": len(known.rows), "penalty": penalty}
    return class_findings(probe.probabilities(seen.values), seen, bench, protocol)


def fit_probe(
    features: NDArray[np.float32], labels: Labels, penalty: float, count: int, device: torch.device | str = "cpu"
) -> Probe:
    """Return the logistic regression with the least mean cross-entropy plus penalty / 2 times the squared weights.

    scikit-learn's `LogisticRegression(C=1 / (penalty * N))` on standardised features is the same one. The bias goes without penalty.

    Args:
        features: (N, D).
        labels: (N,), below `count`.
        penalty: Above 0.
        count: Classes.
        device: Where to compute, in double precision.
    """
    known = torch.from_numpy(features).to(device, torch.float64)
    mean, scale = known.mean(0), known.std(0, correction=0).clamp(min=1e-6)
    known, target = (known - mean) / scale, torch.from_numpy(labels).to(device)
    weight = torch.zeros(count, known.shape[1], dtype=torch.float64, device=device, requires_grad=True)
    bias = torch.zeros(count, dtype=torch.float64, device=device, requires_grad=True)
    search = torch.optim.LBFGS(
        [weight, bias], max_iter=STEPS, history_size=20, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        search.zero_grad()
        value = F.cross_entropy(F.linear(known, weight, bias), target) + penalty / 2 * weight.square().sum()
        value.backward()
        return value

    search.step(loss)
    return Probe(weight.detach(), bias.detach(), mean, scale)


def held_out_hits(
    features: NDArray[np.float32],
    labels: Labels,
    parts: Labels,
    penalty: float,
    count: int,
    device: torch.device | str = "cpu",
) -> int:
    """Return how many clips a probe gets right that learned from the other parts; parts (N,) number them."""
    hits = 0
    for part in np.unique(parts):
        held = parts == part
        probe = fit_probe(features[~held], labels[~held], penalty, count, device)
        hits += int((probe.probabilities(features[held]).argmax(1) == labels[held]).sum())
    return hits


def fold_of(groups: Groups, folds: int, rng: np.random.Generator) -> Labels:
    """Return the part (N,) that each clip is in, scenes whole; videos whole where there are fewer scenes than parts.

    Raises:
        ValueError: If all clips are of one video.
    """
    names = groups.scenes if len(set(groups.scenes)) >= folds else groups.videos
    found, group = np.unique(names, return_inverse=True)
    if len(found) < 2:
        raise ValueError(
            "all clips to learn from are of one video; a penalty cannot be chosen on others, so name one (penalties)"
        )
    return np.asarray((rng.permutation(len(found)) % min(folds, len(found)))[group.reshape(-1)])
