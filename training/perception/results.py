"""What a task of perception comes to: numbers with intervals, and on which videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from navloop.geometry import Vector
from navloop.training.clip_rows import ClipRow
from navloop.training.statistics import bootstrap_ends, exact_ends

Weighted = Callable[[Vector], float]
"""A number over units (clips, queries), given how much each weighs, float64 (N,): 1 each for the number itself, how often it was
drawn in a resample. NaN where those that weigh anything do not define it."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Which units are alike: those of one video, and more so of one scene.

    Attributes:
        scenes: N names; the video's own where its row says no scene.
        videos: N names.
    """

    scenes: tuple[str, ...]
    videos: tuple[str, ...]

    def take(self, indices: ArrayLike) -> Groups:
        """Return the groups of other units: of each, which of these it belongs to."""
        chosen = np.asarray(indices).tolist()
        return Groups(tuple(self.scenes[i] for i in chosen), tuple(self.videos[i] for i in chosen))

    def __add__(self, other: Groups) -> Groups:
        return Groups(self.scenes + other.scenes, self.videos + other.videos)


def groups_of(rows: Sequence[ClipRow]) -> Groups:
    """Return what clips are alike: by `scene_id` where a list has it, and by video."""
    return Groups(tuple(row.scene or row.path for row in rows), tuple(row.path for row in rows))


def unit_of(row: ClipRow) -> dict[str, object]:
    """Return what details say of a clip beside its numbers: where its row stands, and what it is alike with."""
    return {"place": row.place, "scene": row.scene or row.path, "video": row.path}


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A number, and where it would lie with other videos.

    Attributes:
        metric: Name: "top-1", "R@5".
        value: Over the units.
        low: Lower end of the 95% interval; None where all units are of one video, and nothing can be said of others.
        high: Upper end.
        units: How many clips, or queries, it is over.
        scenes: How many scenes they lie in (videos, where rows name no scene).
        kind: share, in [0, 1], printed in percent; number: anything else.
        better: Which way is better; none for numbers that only inform.
        chance: What guessing gives; None if that is not known.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    units: int
    scenes: int
    kind: Literal["share", "number"] = "share"
    better: Literal["up", "down", "none"] = "up"
    chance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a task found.

    Attributes:
        scores: For the table, in order.
        protocol: What decided the numbers beside recipe and data: penalty chosen, templates. For JSON.
        details: More than fits a table, by name: accuracy a class. For JSON.
    """

    scores: tuple[Score, ...]
    protocol: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


def measure(
    metric: str,
    statistic: Weighted,
    groups: Groups,
    rng: np.random.Generator,
    *,
    kind: Literal["share", "number"] = "share",
    better: Literal["up", "down", "none"] = "up",
    chance: float | None = None,
    span: tuple[float, float] | None = None,
) -> Score:
    """Return a number with its interval, by `bootstrap_ends` over scenes and videos.

    Ends are cut to `span`, which of a share is [0, 1].

    Raises:
        ValueError: If there are no units, or the number is not defined for them.
    """
    if not groups.videos:
        raise ValueError(f"{metric}: there are no clips to measure it on")
    value = float(statistic(np.ones(len(groups.videos))))
    if not np.isfinite(value):
        raise ValueError(f"{metric} is {value} on these {len(groups.videos)} clips")
    ends = bootstrap_ends(statistic, value, groups.scenes, groups.videos, rng)
    if ends is not None and kind == "share" and value in (0.0, 1.0) and ends[0] == ends[1]:
        ends = exact_ends(value, len(set(zip(groups.scenes, groups.videos, strict=True))))  # nothing varies
    span = (0.0, 1.0) if kind == "share" else span
    if ends is not None and span is not None:
        ends = max(ends[0], span[0]), min(ends[1], span[1])
    low, high = ends or (None, None)
    return Score(
        metric=metric,
        value=value,
        low=low,
        high=high,
        units=len(groups.videos),
        scenes=len(set(groups.scenes)),
        kind=kind,
        better=better,
        chance=chance,
    )


def measure_mean(
    metric: str,
    values: ArrayLike,
    groups: Groups,
    rng: np.random.Generator,
    *,
    kind: Literal["share", "number"] = "share",
    better: Literal["up", "down", "none"] = "up",
    chance: float | None = None,
    span: tuple[float, float] | None = None,
) -> Score:
    """Return the mean of a value a unit (N,), as `measure`."""
    each: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    mean: Weighted = lambda weights: weights @ each / weights.sum()
    return measure(metric, mean, groups, rng, kind=kind, better=better, chance=chance, span=span)
