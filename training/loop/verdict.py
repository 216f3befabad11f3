"""Did it help? Arms side by side over the same episodes, and the rule by which a round is accepted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from navloop.configs.loop import JudgeConfig
from navloop.envs.metrics import METRICS, SHARES, MetricInfo
from navloop.training.comparison import COMPARED
from navloop.training.rows import Row
from navloop.training.statistics import CONFIDENCE, NOTHING, compare, mean_interval

Seeds = Sequence[Sequence[Row]]
"""Rows of an arm: of each seed that it learned with, those of the same episodes."""

NEAR_M = (1.0, 2.0)
"""Metres from the goal that say more of an end than success does, whose 3 m are more than half of a short tour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What an arm reached.

    Attributes:
        arm: Which.
        metric: Of what.
        mean: Over episodes, of the mean over seeds.
        low: Lower end of the 95% interval; None where nothing can be said of other walks.
        high: Upper end.
        seeds: Means of the single seeds.
        episodes: Over how many.
    """

    arm: str
    metric: str
    mean: float
    low: float | None
    high: float | None
    seeds: tuple[float, ...]
    episodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """By how much an arm is better than another over the same episodes: positive is better, whatever the metric.

    Attributes:
        arm: Which.
        against: The other.
        metric: In what.
        mean: Of the episodes' differences, each between means over seeds.
        low: Lower end of its 95% interval, clustered by scene and tour; None where nothing can be said.
        high: Upper end.
        p_value: Two-sided, of no difference; None as above.
        seeds: Differences of the single seeds, in their order, where both have as many or one has one.
    """

    arm: str
    against: str
    metric: str
    mean: float
    low: float | None
    high: float | None
    p_value: float | None
    seeds: tuple[float, ...]

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out 0, and so does the test where the interval has no width."""
        if self.low is None or self.high is None or self.p_value is None:
            return False
        return (self.low > 0 or self.high < 0) and self.p_value < 1 - CONFIDENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a round is accepted.

    Attributes:
        accepted: Whether its agent goes on.
        why: In words.
    """

    accepted: bool
    why: str


def reach(arm: str, rows: Seeds, metrics: Sequence[str] = COMPARED) -> list[Reach]:
    """Return what an arm reached in each metric, over the episodes that all its seeds have a finite value for.

    Raises:
        ValueError: If there is no such episode.
    """
    found = []
    for metric in _infos(metrics):
        values = _means(rows, metric)
        if not values:
            raise ValueError(f"{arm}: no episode has a finite {metric.name}; evaluate on other episodes")
        first = {row.episode_id: row for row in rows[0]}
        walked = [first[name] for name in values]
        interval = mean_interval(
            list(values.values()),
            [r.scene_id for r in walked],
            [r.trajectory_id for r in walked],
            share=metric.name in SHARES,
        )
        singles = tuple(
            float(np.mean([_value(row, metric) for row in one if row.episode_id in values])) for one in rows
        )
        found.append(
            Reach(
                arm=arm,
                metric=metric.name,
                mean=interval.mean,
                low=interval.low,
                high=interval.high,
                seeds=singles,
                episodes=interval.episodes,
            )
        )
    return found


def ends_near(rows: Seeds) -> list[float]:
    """Return the shares of an arm's walks, of all seeds, that ended within the geodesic metres of `NEAR_M` of the goal."""
    ends = [row.metrics.navigation_error for one in rows for row in one]
    return [float(np.mean([end is not None and end <= metres for end in ends])) for metres in NEAR_M]


def gap(first: tuple[str, Seeds], second: tuple[str, Seeds], metric: str) -> Gap:
    """Return by how much the first arm is better than the second, episode by episode.

    Args:
        first: Name and rows.
        second: Name and rows, of the same episodes.
        metric: Name of one that has a better way.

    Raises:
        ValueError: If they have no episode in common.
    """
    info = _infos([metric])[0]
    sign = 1.0 if info.better == "up" else -1.0
    ours, theirs = _means(first[1], info), _means(second[1], info)
    common = [name for name in ours if name in theirs]
    if not common:
        raise ValueError(f"{first[0]} and {second[0]} walked no episode in common; evaluate both on the same episodes")
    rows = {row.episode_id: row for row in first[1][0]}
    found = compare(
        [sign * ours[name] for name in common],
        [sign * theirs[name] for name in common],
        [rows[name].scene_id for name in common],
        [rows[name].trajectory_id for name in common],
    )
    return Gap(
        arm=first[0],
        against=second[0],
        metric=metric,
        mean=found.difference.mean,
        low=found.difference.low,
        high=found.difference.high,
        p_value=found.p_value,
        seeds=_seed_gaps(first[1], second[1], info, set(common), sign),
    )


def judge(gaps: Sequence[Gap], config: JudgeConfig, forgotten: str = "") -> Verdict:
    """Say whether a round is accepted.

    Args:
        gaps: Of the loop's arm, against each that the recipe names.
        config: The rule.
        forgotten: What speaks against it whatever it gained; empty: nothing.
    """
    if forgotten:
        return Verdict(accepted=False, why=forgotten)
    asked = {found.against: found for found in gaps if found.metric == config.metric}
    for name in config.against:
        found = asked[name]
        if not _helps(found, config.rule):
            return Verdict(accepted=False, why=f"{_words(found)}: {_lacking(config.rule)}")
        if found.seeds and found.seeds[0] <= NOTHING:
            own = _words(replace(found, mean=found.seeds[0], low=None, high=None))
            return Verdict(
                accepted=False,
                why=f"{_words(found)}, but the agent that would go on, of the first seed, has no gain: {own}",
            )
    return Verdict(accepted=True, why="; ".join(_words(asked[name]) for name in config.against))


def to_json(reached: Sequence[Reach], gaps: Sequence[Gap], verdict: Verdict) -> dict[str, Any]:
    """Return findings as JSON has them."""
    return {
        "reached": [asdict(one) for one in reached],
        "gaps": [{**asdict(one), "sure": one.sure} for one in gaps],
        "verdict": asdict(verdict),
    }


def _helps(found: Gap, rule: str) -> bool:
    return found.mean > NOTHING if rule == "point" else found.mean > NOTHING and found.sure


def _lacking(rule: str) -> str:
    return "no gain" if rule == "point" else "not surely above 0"


def _words(found: Gap) -> str:
    scale, unit = (1, " m") if found.metric == "navigation_error" else (100, "")
    ends = (
        "" if found.low is None or found.high is None else f" ({scale * found.low:+.1f} to {scale * found.high:+.1f})"
    )
    return f"{found.metric} {scale * found.mean:+.1f}{unit}{ends} against {found.against}".replace("-", "−")


def _infos(names: Sequence[str]) -> list[MetricInfo]:
    infos = {metric.name: metric for metric in METRICS}
    return [infos[name] for name in names]


def _value(row: Row, metric: MetricInfo) -> float:
    value = getattr(row.metrics, metric.name)
    return math.nan if value is None else float(value)


def _means(rows: Seeds, metric: MetricInfo) -> Mapping[str, float]:
    """Return the mean over seeds of each episode that all have a finite value for, in the order of the first."""
    tables = [{row.episode_id: _value(row, metric) for row in one} for one in rows]
    means = {name: float(np.mean([table.get(name, math.nan) for table in tables])) for name in tables[0]}
    return {name: mean for name, mean in means.items() if math.isfinite(mean)}


def _seed_gaps(ours: Seeds, theirs: Seeds, metric: MetricInfo, names: set[str], sign: float) -> tuple[float, ...]:
    def single(rows: Sequence[Row]) -> float:
        return float(np.mean([_value(row, metric) for row in rows if row.episode_id in names]))

    count = max(len(ours), len(theirs))
    if any(len(side) not in (1, count) for side in (ours, theirs)):
        return ()
    pairs = [(ours[i % len(ours)], theirs[i % len(theirs)]) for i in range(count)]
    return tuple(sign * (single(a) - single(b)) for a, b in pairs)
