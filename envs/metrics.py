"""Navigation metrics: pure functions of (Trajectory, Episode, Protocol), and the same step by step for a running environment.

Definitions are those of VLN-CE's measures and habitat-lab's, with P the agent's positions (the start first), R the protocol's
reference, d geodesic and e Euclidean distance, and th the protocol's success distance:

    TL    sum of e(p_t, p_t-1)                          SR    STOP was called and d(p_T, goal) < th
    NE    d(p_T, goal)                                  OSR   min over t of d(p_t, goal) < th, the start included
    ONE   min over t of d(p_t, goal)                    SPL   SR * d(p_0, goal) / max(d(p_0, goal), TL)
    nDTW  exp(-DTW(P, R) / (|R| * th)), consecutive duplicates of P dropped       sDTW  SR * nDTW
    CLS   PC * LS, PC = mean over r of exp(-min over p of e(r, p) / th), LS = PC * TL(R) / (PC * TL(R) + |PC * TL(R) - TL|)

A goal that cannot be reached from the start or from the end is a failure, whatever else holds: SR, SPL and sDTW are 0 and NE is inf.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from navloop.envs.alignment import alignment_row, point_distances
from navloop.envs.fidelity import coverage_length_score, ndtw, path_length, score_of_gaps
from navloop.envs.protocols import Protocol
from navloop.envs.simulator import Action
from navloop.geometry import Vector
from navloop.records import Episode, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The result of one episode; None where the episode lacks what a metric needs (a goal, a reference).

    Attributes:
        success: SR, 0 or 1.
        spl: SPL, in [0, 1].
        oracle_success: OSR, 0 or 1.
        navigation_error: NE, metres; inf where the goal cannot be reached.
        oracle_error: ONE, metres; inf where the goal cannot be reached.
        ndtw: nDTW with exact DTW, in (0, 1].
        sdtw: sDTW, in [0, 1].
        cls: CLS, in [0, 1].
        path_length: TL, metres.
        steps: Actions, STOP counted.
        collisions: Actions stopped or turned aside by an obstacle.
        collision_rate: `collisions` per action, in [0, 1].
        unreachable: Whether no walk leads to the goal from the start or from the end.
    """

    success: float | None
    spl: float | None
    oracle_success: float | None
    navigation_error: float | None
    oracle_error: float | None
    ndtw: float | None
    sdtw: float | None
    cls: float | None
    path_length: float
    steps: int
    collisions: int
    collision_rate: float
    unreachable: bool

    def to_row(self) -> dict[str, float | None]:
        """Return the fields as strict JSON holds them: an infinite error is None, and `unreachable` tells it apart."""
        row = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: None if value == math.inf else value for name, value in row.items()}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Metrics:
        """Return what `to_row` was made of; further keys are left alone.

        Raises:
            ValueError: If a field is missing, naming it.
        """
        missing = [field.name for field in fields(cls) if field.name not in row]
        if missing:
            raise ValueError(f"row of metrics lacks {', '.join(missing)}; evaluate the episode again")
        values = {field.name: row[field.name] for field in fields(cls)}
        if values["unreachable"]:
            values |= {name: math.inf for name in _ERRORS if values[name] is None}
        return cls(**values)


_ERRORS = ("navigation_error", "oracle_error")


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """How to print and judge a metric.

    Attributes:
        name: Field of `Metrics`.
        label: What papers call it.
        unit: "" for shares and counts, "m" for metres.
        better: "up" or "down"; "" where neither end is better by itself.
    """

    name: str
    label: str
    unit: Literal["", "m"]
    better: Literal["up", "down", ""]


METRICS: tuple[MetricInfo, ...] = (
    MetricInfo("success", "SR", "", "up"),
    MetricInfo("spl", "SPL", "", "up"),
    MetricInfo("oracle_success", "OSR", "", "up"),
    MetricInfo("navigation_error", "NE", "m", "down"),
    MetricInfo("oracle_error", "ONE", "m", "down"),
    MetricInfo("ndtw", "nDTW", "", "up"),
    MetricInfo("sdtw", "sDTW", "", "up"),
    MetricInfo("cls", "CLS", "", "up"),
    MetricInfo("path_length", "TL", "m", ""),
    MetricInfo("steps", "steps", "", ""),
    MetricInfo("collisions", "collisions", "", "down"),
    MetricInfo("collision_rate", "collision rate", "", "down"),
)

SHARES = frozenset({"success", "spl", "oracle_success", "ndtw", "sdtw", "cls", "collision_rate"})
"""Metrics in [0, 1], printed in percent."""
"""In the order of tables."""

_NAMES = tuple(metric.name for metric in METRICS)


def reference_of(episode: Episode, protocol: Protocol) -> Vector | None:
    """Return what the protocol compares a walk with (R, 3), or None where the episode lacks it."""
    if protocol.ndtw_reference == "reference_path":
        reference = episode.reference_path
    else:
        reference = None if episode.ground_truth is None else episode.ground_truth.locations
    return None if reference is None or len(reference) == 0 else reference


def evaluate(trajectory: Trajectory, episode: Episode, protocol: Protocol) -> Metrics:
    """Return every metric of a walk."""
    reference = reference_of(episode, protocol)
    length, threshold = path_length(trajectory.positions), protocol.success_distance
    distances = trajectory.distances_to_goal
    nearest = float(np.min(np.where(np.isnan(distances), math.inf, distances)))
    values = _judged(
        protocol=protocol,
        distances=None if episode.goal_position is None else (float(distances[0]), nearest, float(distances[-1])),
        stopped=trajectory.stopped,
        ndtw=None if reference is None else ndtw(trajectory.positions, reference, threshold),
        cls=None if reference is None else coverage_length_score(trajectory.positions, reference, threshold),
        counts=(length, len(trajectory), int(trajectory.collided.sum())),
    )
    return Metrics(**values)


class RunningMetrics:
    """The metrics of a walk under way, at O(|R|) a step; at its end they equal `evaluate`, up to rounding.

    Args:
        episode: What is walked.
        protocol: Whose rules hold.
    """

    def __init__(self, episode: Episode, protocol: Protocol) -> None:
        self._protocol = protocol
        self._has_goal = episode.goal_position is not None
        self._reference = reference_of(episode, protocol)
        self._reference_length = 0.0 if self._reference is None else path_length(self._reference)
        self._place: list[float] = []
        self._gaps: Vector | None = None
        self._row: Vector | None = None
        self._ndtw: float | None = None
        self._cls: float | None = None

    def start(self, position: Vector, distance: float) -> None:
        """Begin, or begin again, at a position (3,) and its geodesic distance to the goal, metres."""
        self._first = self._nearest = self._last = math.inf if math.isnan(distance) else distance
        self._length, self._steps, self._collisions, self._stopped = 0.0, 0, 0, False
        self._gaps = self._row = None
        self._arrive(position)

    def step(self, position: Vector, action: int, distance: float, collided: bool) -> None:
        """Add an action, the position (3,) it led to, the geodesic distance there, and whether it met an obstacle."""
        self._steps += 1
        self._collisions += bool(collided)
        self._stopped = action == Action.STOP
        self._last = math.inf if math.isnan(distance) else distance
        self._nearest = min(self._nearest, self._last)
        # Most actions turn or are blocked: what depends on the position alone stays as it is.
        place = position.tolist()
        if place != self._place:
            self._length += math.dist(place, self._place)
            self._arrive(position)

    def _arrive(self, position: Vector) -> None:
        """Take a new position into the alignment with the reference, and into the distance of each of its points."""
        self._place = position.tolist()
        if self._reference is None:
            return
        gaps = point_distances(self._reference, position)
        self._gaps = gaps if self._gaps is None else np.minimum(self._gaps, gaps)
        self._row = alignment_row(self._row, gaps)
        threshold = self._protocol.success_distance
        self._ndtw = math.exp(-max(0.0, float(self._row[-1])) / (len(self._reference) * threshold))
        self._cls = score_of_gaps(self._gaps, self._reference_length, self._length, threshold)

    def metrics(self) -> Metrics:
        """Return the metrics of the walk so far, as if it ended here.

        Raises:
            RuntimeError: If `start` was not called.
        """
        return Metrics(**self._now())

    def values(self) -> dict[str, float]:
        """Return `metrics` by name, nan where undefined: what an environment's info carries."""
        now = self._now()
        return {name: math.nan if (value := now[name]) is None else float(value) for name in _NAMES}

    def _now(self) -> dict[str, Any]:
        if not self._place:
            raise RuntimeError("no walk was started; call start() first")
        return _judged(
            protocol=self._protocol,
            distances=(self._first, self._nearest, self._last) if self._has_goal else None,
            stopped=self._stopped,
            ndtw=self._ndtw,
            cls=self._cls,
            counts=(self._length, self._steps, self._collisions),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Averages over episodes; every episode left out of one is counted.

    Attributes:
        episodes: How many there are.
        means: By name; None where no episode has the metric. The mean of an error is over episodes whose goal can be reached.
        counts: How many episodes each mean is over.
        unreachable: Episodes whose goal cannot be reached: failures in success, SPL and sDTW, left out of the errors alone.
    """

    episodes: int
    means: Mapping[str, float | None]
    counts: Mapping[str, int]
    unreachable: int


def aggregate(rows: Iterable[Metrics]) -> Summary:
    """Return the averages of episodes under the rule "fail_and_count" (`Protocol.unreachable`)."""
    listed = list(rows)
    means: dict[str, float | None] = {}
    counts: dict[str, int] = {}
    for metric in METRICS:
        values = [value for row in listed if (value := getattr(row, metric.name)) is not None and math.isfinite(value)]
        means[metric.name] = math.fsum(values) / len(values) if values else None
        counts[metric.name] = len(values)
    return Summary(episodes=len(listed), means=means, counts=counts, unreachable=sum(row.unreachable for row in listed))


def _judged(
    *,
    protocol: Protocol,
    distances: tuple[float, float, float] | None,
    stopped: bool,
    ndtw: float | None,
    cls: float | None,
    counts: tuple[float, int, int],
) -> dict[str, Any]:
    """Return the fields of `Metrics` by the rules of success, from (first, nearest, last) distance and (length, steps, collisions)."""
    length, steps, collisions = counts
    success = spl = oracle = error = oracle_error = None
    unreachable = False
    if distances is not None:
        first, nearest, last = distances
        unreachable = not (math.isfinite(first) and math.isfinite(last))
        success = float(stopped and not unreachable and protocol.is_success(last))
        oracle = float(math.isfinite(first) and protocol.is_success(nearest))
        # A walk of no length to a goal under the feet is the shortest there is; 0 / 0 says nothing of it.
        spl = success * (first / longest if (longest := max(first, length)) > 0 else 1.0) if success else 0.0
        error = math.inf if unreachable else last
        oracle_error = nearest if math.isfinite(first) else math.inf
    return {
        "success": success,
        "spl": spl,
        "oracle_success": oracle,
        "navigation_error": error,
        "oracle_error": oracle_error,
        "ndtw": ndtw,
        "sdtw": None if ndtw is None or success is None else success * ndtw,
        "cls": cls,
        "path_length": length,
        "steps": steps,
        "collisions": collisions,
        "collision_rate": collisions / steps if steps else 0.0,
        "unreachable": unreachable,
    }
