"""What a number is worth: intervals and comparisons that respect that episodes of one walk, and of one scene, are alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, stdtr, stdtrit

from navloop.geometry import Vector

RESAMPLES = 1000
CONFIDENCE = 0.95
NOTHING = 1e-12
"""Differences below this are rounding."""
FEW = 10
"""Walks that had something, or that missed it, below which its share varies by more than their deviation tells."""
MOSTLY = 0.9
"""Share of values that are 0 or 1 from which on the others are taken for what few had in part, as SPL where few arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and where it would lie with other scenes and other walks.

    Attributes:
        mean: Over episodes.
        low: Lower end; of a share it may lie below 0, and the upper end above 1. None where all episodes are of one walk, and nothing
            can be said of others.
        high: Upper end; None as above.
        episodes: How many the mean is over.
        trajectories: How many different walks they describe.
        scenes: How many scenes they lie in.
    """

    mean: float
    low: float | None
    high: float | None
    episodes: int
    trajectories: int
    scenes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The difference of two results over the same episodes, first minus second.

    Attributes:
        difference: Mean and interval.
        p_value: Two-sided, of no difference: Student's t with the deviation of the interval; where every cluster differs alike, and so
            nothing varies, the exact sign test over scenes (of one scene, over its walks), 1 where nothing differs; None where all
            episodes are of one walk.
        mcnemar_p_value: Exact McNemar test, for metrics that are 0 or 1; None for others. It takes episodes as independent.
        first_only: Episodes that only the first has 1 in; None as above.
        second_only: Episodes that only the second has 1 in; None as above.
    """

    difference: Interval
    p_value: float | None
    mcnemar_p_value: float | None
    first_only: int | None
    second_only: int | None


def mean_interval(
    values: ArrayLike, scenes: Sequence[str], trajectories: Sequence[str], *, share: bool = False
) -> Interval:
    """Return a mean with its 95% interval, clustered on scene and trajectory.

    How far the mean moves when a scene is left out, each in turn, gives its deviation (the cluster jackknife); the ends lie Student's t
    times that from the mean, with a degree of freedom less than there are scenes. They never lie nearer than if trajectories were
    independent, whose episodes stay together: few scenes may be alike by chance. Simulated with 4 to 24 scenes, alike and unlike, 93 to 98% of the
    intervals cover the truth (tests/training/test_statistics.py). Of one scene little can be said of others: the interval is that of
    its trajectories, with one degree of freedom.
    What is had or not, and is rare or rarely missed, is not as sure as its deviation looks, least of all where all have it or none has: below
    `FEW` the ends are those of `exact_ends`, of as many walks as would have that deviation if they were independent. So are those of a share that
    is all or nothing for `MOSTLY` all walks.

    Args:
        values: (N,), finite.
        scenes: N scene ids.
        trajectories: N trajectory ids, unique within a scene.
        share: Whether values lie in [0, 1].

    Raises:
        ValueError: If lengths disagree, or values are none or not finite.

    Source: MacKinnon, Nielsen and Webb, Fast and reliable jackknife and bootstrap methods for cluster-robust inference, 2023 (CV3).
        Drawing scenes and then trajectories anew within them counts what varies within a scene twice.
    """
    column = np.asarray(values, dtype=np.float64)[:, None]
    return mean_intervals(column, scenes, trajectories, shares=[share])[0]


def mean_intervals(
    values: ArrayLike, scenes: Sequence[str], trajectories: Sequence[str], *, shares: Sequence[bool]
) -> list[Interval]:
    """Return what `mean_interval` does of each column of values (N, M)."""
    array = np.asarray(values, dtype=np.float64)
    if not len(array) == len(scenes) == len(trajectories) > 0 or not np.isfinite(array).all():
        raise ValueError(
            f"expected as many finite values as scenes and trajectories, at least 1; got {len(array)}, {len(scenes)} and "
            f"{len(trajectories)}, {int((~np.isfinite(array)).sum())} of the values not finite"
        )
    groups = _Groups.of(scenes, trajectories)
    counts = {"episodes": len(array), "trajectories": groups.walk_count, "scenes": groups.scene_count}
    means = array.mean(0).tolist()
    if groups.walk_count < 2:
        return [Interval(mean=mean, low=None, high=None, **counts) for mean in means]
    reaches = np.max([_jackknife(array, by) * _student(freedom) for by, freedom in groups.levels()], axis=0)
    ends = [
        _share_ends(mean, reach, groups.walk_count)
        if share and np.isin(column, (0, 1)).mean() >= MOSTLY
        else (mean - reach, mean + reach)
        for mean, reach, column, share in zip(means, reaches.tolist(), array.T, shares, strict=True)
    ]
    return [Interval(mean=mean, low=low, high=high, **counts) for mean, (low, high) in zip(means, ends, strict=True)]


def compare(first: ArrayLike, second: ArrayLike, scenes: Sequence[str], trajectories: Sequence[str]) -> Comparison:
    """Return how two results over the same episodes differ; arguments as in `mean_interval`, episode by episode."""
    ours, theirs = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    gaps = ours - theirs
    difference = mean_interval(gaps, scenes, trajectories)
    binary = bool(np.isin(ours, (0, 1)).all() and np.isin(theirs, (0, 1)).all())
    wins, losses = int(((gaps > 0) & binary).sum()), int(((gaps < 0) & binary).sum())
    exact = _coin_p_value(wins, wins + losses) if wins + losses else 1.0
    return Comparison(
        difference=difference,
        p_value=_p_value(gaps, _Groups.of(scenes, trajectories)),
        mcnemar_p_value=exact if binary else None,
        first_only=wins if binary else None,
        second_only=losses if binary else None,
    )


def bootstrap_ends(
    statistic: Callable[[Vector], float],
    value: float,
    scenes: Sequence[str],
    trajectories: Sequence[str],
    rng: np.random.Generator,
) -> tuple[float, float] | None:
    """Return the ends of the 95% interval of any number over units, medians among them, as those of a mean in `mean_interval`.

    Its deviation is that of a bootstrap, of scenes and of trajectories; a jackknife would not do for medians.

    Args:
        statistic: The number, given how often each unit is drawn, float64 (N,); NaN where those drawn do not define it.
        value: The number of the units as they are.
        scenes: N scene ids.
        trajectories: N trajectory ids, or whatever has several units, unique within a scene.
        rng: Source of randomness.

    Returns:
        Low and high; None where all units are of one trajectory, or hardly a resample defines the number.
    """
    groups = _Groups.of(scenes, trajectories)
    if groups.walk_count < 2:
        return None
    reaches = [_bootstrap(statistic, by, rng) * _student(freedom) for by, freedom in groups.levels()]
    return None if np.isnan(reaches).any() else (value - max(reaches), value + max(reaches))


def exact_ends(share: float, walks: float) -> tuple[float, float]:
    """Return the ends of the 95% interval of a share of walks that are independent: 0 to 11.6% where 30 of 30 failed.

    Source: Clopper and Pearson, Biometrika 26, 1934, and for a number of walks that is no whole one Korn and Graubard, Survey Methodology 24,
        1998. It holds for the mean of anything in [0, 1].
    """
    had, tail = share * walks, (1 - CONFIDENCE) / 2
    low = float(betaincinv(had, walks - had + 1, tail)) if had > 0 else 0.0
    high = float(betaincinv(had + 1, walks - had, 1 - tail)) if had < walks else 1.0
    return low, high


def _share_ends(share: float, reach: float, walks: int) -> tuple[float, float]:
    spread = share * (1 - share)
    alike = walks if reach < NOTHING else min(walks, spread * (_student(walks - 1) / reach) ** 2)
    if 0 < share < 1 and min(share, 1 - share) * alike >= FEW:
        return share - reach, share + reach
    return exact_ends(min(max(share, 0.0), 1.0), alike)


class _Groups(NamedTuple):
    """Which scene, and which trajectory, each of N units is of, numbered from 0."""

    scenes: NDArray[np.int64]  # (N,)
    walks: NDArray[np.int64]  # (N,)
    scene_count: int
    walk_count: int

    @classmethod
    def of(cls, scenes: Sequence[str], trajectories: Sequence[str]) -> _Groups:
        scene_of = np.unique(scenes, return_inverse=True)[1].reshape(-1)
        names = np.stack([scene_of, np.unique(trajectories, return_inverse=True)[1].reshape(-1)])
        walks, walk_of = np.unique(names, axis=1, return_inverse=True)
        return cls(scene_of, walk_of.reshape(-1), int(scene_of.max()) + 1, walks.shape[1])

    def levels(self) -> list[tuple[NDArray[np.int64], int]]:
        """Return what may vary together, and the degrees of freedom: trajectories, and of more than one scene the scenes."""
        if self.scene_count == 1:
            return [(self.walks, 1)]
        of_walks = [(self.walks, self.walk_count - 1)] if self.walk_count > self.scene_count else []
        return [*of_walks, (self.scenes, self.scene_count - 1)]


def _jackknife(values: Vector, groups: NDArray[np.int64]) -> Vector:
    """Return the deviation of the means of values (N, M), (M,): how far they move when each group is left out."""
    sizes = np.bincount(groups)
    sums = np.stack([np.bincount(groups, column) for column in values.T], axis=1)  # (groups, M)
    without = (sums.sum(0) - sums) / (sizes.sum() - sizes)[:, None]
    share = (len(sizes) - 1) / len(sizes)
    return np.asarray(np.sqrt(share * ((without - values.mean(0)) ** 2).sum(0)))


def _bootstrap(statistic: Callable[[Vector], float], groups: NDArray[np.int64], rng: np.random.Generator) -> float:
    """Return the deviation of a number when groups are drawn with replacement; NaN where hardly a draw defines it."""
    count = int(groups.max()) + 1
    drawn = (np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(RESAMPLES))
    values = np.array([statistic(times[groups].astype(np.float64)) for times in drawn])
    values = values[np.isfinite(values)]
    if len(values) < RESAMPLES // 2:
        return float("nan")
    return float(values.std(ddof=1) * np.sqrt(count / (count - 1)))  # those drawn vary about their own mean


def _student(freedom: int) -> float:
    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def _coin_p_value(heads: int, tosses: int) -> float:
    from scipy.stats import binomtest  # half a second that only comparisons need

    return float(binomtest(heads, tosses).pvalue)


def _p_value(gaps: Vector, groups: _Groups) -> float | None:
    if groups.walk_count < 2:
        return None
    mean = abs(float(gaps.mean()))
    deviations = [(float(_jackknife(gaps[:, None], by)[0]), freedom) for by, freedom in groups.levels()]
    if any(deviation >= NOTHING for deviation, _ in deviations):
        return max(float(2 * stdtr(free, -mean / deviation)) for deviation, free in deviations if deviation >= NOTHING)
    if mean < NOTHING:
        return 1.0
    # All clusters differ alike. A deviation of 0 would call that impossible, however few they are: count them as coins.
    count = groups.scene_count if groups.scene_count > 1 else groups.walk_count
    return _coin_p_value(count, count)
