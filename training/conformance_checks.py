"""What must hold of one episode before a benchmark over it can be believed: its places, its distances, and its ground truth walked again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from navloop.envs.fidelity import path_length
from navloop.envs.metrics import Metrics, evaluate
from navloop.envs.navigation import NavigationEnv
from navloop.envs.protocols import Protocol
from navloop.envs.simulator import Action, SceneError, Simulator
from navloop.geometry import Pose, quaternion_to_heading
from navloop.records import Episode, GroundTruth, Trajectory
from navloop.training.conformance_causes import cause_of_drift

CHECKS = ("scene", "start", "goal", "geodesic", "ground truth", "replay", "scores")
"""In the order in which they are made and printed."""


Severity = Literal["fault", "lost", "apart", "note"]

_BELONG = "check that scenes, body and episodes belong together"
_OTHER_DISTANCE = "is not the file's: SPL would differ; check the body, or the navmesh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """How far a world may be from the files before scores would not be those of the benchmark.

    Attributes:
        position: Metres on the floor, of starts, goals and every location of the ground truth.
        height: Metres up or down: Habitat's navmeshes lie up to 0.2 m above the floor.
        snap: Metres on the floor that starts and goals may be moved while the scores hold.
        geodesic: Share of a geodesic distance.
        geodesic_most: Share of it beyond which the cells of a navmesh explain nothing: Habitat's of 5 cm close gaps, and lengthen walks.
        apart: Share of episodes whose geodesic distance may be off by what lies between the two.
        geodesic_floor: Metres that a geodesic distance may differ whatever its share.
        drift: Metres that a replay may be off after it touched an obstacle, while the scores hold: worlds differ in how walkers slide.
        lost: Share of episodes whose ground truth may get lost at an obstacle.
        ndtw: Least nDTW of the ground truth walked again.
        spl: How far SPL may be from that of the files' own lengths.
    """

    position: float = 0.01
    height: float = 0.25
    snap: float = 0.1
    geodesic: float = 0.03
    geodesic_most: float = 0.1
    apart: float = 0.1
    geodesic_floor: float = 0.05
    drift: float = 0.5
    lost: float = 0.02
    ndtw: float = 0.95
    spl: float = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that differs.

    Attributes:
        episode_id: Where.
        scene_id: Where.
        check: One of `CHECKS`.
        severity: "fault" where the benchmark would lie; "note" where scores hold; "lost" where the ground truth's actions, recorded in another
            world, get lost at an obstacle that this one sees differently: agents can still walk the episode, but `Tolerances.lost` says
            how many there may be; "apart" where a geodesic distance is off by a few percent, as of `Tolerances.apart`.
        cause: What it looks like and what to look at, in the same words for every episode with the same trouble.
        value: How much, in `unit`; None where there is no amount.
        unit: "m", "" for scores.
    """

    episode_id: str
    scene_id: str
    check: str
    severity: Severity
    cause: str
    value: float | None = None
    unit: Literal["m", ""] = "m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What an episode was found to be.

    Attributes:
        findings: What differs; empty where nothing does.
        drift: Largest distance of the replay from the ground truth's locations, metres on the floor; None where nothing was replayed.
        geodesic_error: Share by which the distance from start to goal differs from the file's; None where the file has none.
        metrics: Of the replay; None where nothing was replayed.
    """

    findings: tuple[Finding, ...]
    drift: float | None = None
    geodesic_error: float | None = None
    metrics: Metrics | None = None


def examine(
    simulator: Simulator, episode: Episode, protocol: Protocol, tolerances: Tolerances | None = None
) -> Examined:
    """Return what differs between an episode and the world that it is to be walked in.

    Args:
        simulator: The world, with the protocol's body.
        episode: With its ground truth, if there is one.
        protocol: Of the benchmark.
        tolerances: How much may differ.
    """
    return _Examination(simulator, episode, protocol, tolerances or Tolerances()).run()


class _Examination:
    def __init__(self, simulator: Simulator, episode: Episode, protocol: Protocol, tolerances: Tolerances) -> None:
        self._simulator = simulator
        self._episode = episode
        self._protocol = protocol
        self._allowed = tolerances
        self._findings: list[Finding] = []

    def run(self) -> Examined:
        try:
            self._simulator.load_scene(self._episode.scene_id)
        except SceneError as error:
            self._find("scene", f"the scene cannot be loaded: {error}")
            return Examined(findings=tuple(self._findings))
        stands = self._examine_start()
        off = self._examine_goal() if stands else None
        trajectory = self._replay() if stands else None
        drift = metrics = None
        if trajectory is not None:
            metrics = evaluate(trajectory, self._episode, self._protocol)
            drift = self._examine_drift(trajectory, metrics)
        order = sorted(self._findings, key=lambda finding: CHECKS.index(finding.check))
        return Examined(findings=tuple(order), drift=drift, geodesic_error=off, metrics=metrics)

    def _find(
        self,
        check: str,
        cause: str,
        value: float | None = None,
        unit: Literal["m", ""] = "m",
        severity: Severity = "fault",
    ) -> None:
        finding = Finding(
            episode_id=self._episode.episode_id,
            scene_id=self._episode.scene_id,
            check=check,
            severity=severity,
            cause=cause,
            value=None if value is None else round(value, 4),
            unit=unit,
        )
        self._findings.append(finding)

    def _examine_start(self) -> bool:
        """Return whether an agent can be put there."""
        start = Pose(self._episode.start_position, quaternion_to_heading(self._episode.start_rotation))
        try:
            self._simulator.set_pose(start)
        except SceneError:
            self._find("start", "is off free space; " + _BELONG)
            return False
        moved = self._simulator.pose.position - start.position
        gap = math.hypot(moved[0], moved[2])
        if gap > self._allowed.position or abs(moved[1]) > self._allowed.height:
            near = gap <= self._allowed.snap and abs(moved[1]) <= self._allowed.height
            self._find("start", "is moved to free space; " + _BELONG, gap, severity="note" if near else "fault")
        return True

    def _examine_goal(self) -> float | None:
        """Return by what share the geodesic distance is off."""
        goal, told = self._episode.goal_position, self._episode.info.get("geodesic_distance")
        if goal is None:
            return None
        if not self._simulator.is_navigable(goal, self._allowed.position):
            near = self._simulator.is_navigable(goal, self._allowed.snap)
            place = f"is up to {self._allowed.snap} m off free space" if near else "is off free space"
            self._find("goal", f"{place}; {_BELONG}", severity="note" if near else "fault")
        distance = float(self._simulator.geodesic_distances(self._simulator.pose.position[None], goal)[0])
        if not math.isfinite(distance):
            self._find("geodesic", "no walk leads to the goal: SR and SPL would be 0; check the body, or the navmesh")
            return None
        if not isinstance(told, int | float):
            return None
        gap = abs(distance - told)
        if gap > max(self._allowed.geodesic_floor, self._allowed.geodesic * told):
            near = gap <= self._allowed.geodesic_most * told
            cause = "is not quite the file's, as between navmeshes" if near else _OTHER_DISTANCE
            self._find("geodesic", cause, gap, severity="apart" if near else "fault")
        return gap / told if told > 0 else 0.0

    def _replay(self) -> Trajectory | None:
        truth = self._episode.ground_truth
        if truth is None or truth.actions is None or not self._truth_can_be_walked(truth.actions.tolist()):
            return None
        env = NavigationEnv(self._simulator, [self._episode], self._protocol)
        env.reset()
        for action in truth.actions.tolist():
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                break
        return env.trajectory()

    def _truth_can_be_walked(self, actions: Sequence[int]) -> bool:
        known = range(6 if self._protocol.body.tilt > 0 else 4)
        faults = []
        if unknown := sorted({code for code in actions if code not in known}):
            names = ", ".join(Action(code).name if code in range(6) else str(code) for code in unknown)
            faults.append(
                f"has actions that {self._protocol.label} lacks: {names}; choose the protocol it was made for"
            )
        if Action.STOP not in actions:
            faults.append("never stops; download it again")
        elif actions.index(Action.STOP) != len(actions) - 1:
            faults.append("goes on after its first STOP; download it again")
        elif len(actions) > self._protocol.max_steps:
            faults.append(f"is longer than the {self._protocol.max_steps} steps of {self._protocol.label}")
        for fault in faults:
            self._find("ground truth", fault)
        return not faults

    def _examine_drift(self, trajectory: Trajectory, metrics: Metrics) -> float | None:
        """Find where the replay leaves the locations and what that costs; return how far it is from them at worst."""
        truth = self._episode.ground_truth
        assert truth is not None
        places = _places(truth, trajectory)
        if places is None:
            self._find("ground truth", "locations and actions do not fit each other in number; take both from one file")
            return None
        gaps = trajectory.positions[places] - truth.locations
        level = np.hypot(gaps[:, 0], gaps[:, 2])
        worst = float(level.max())
        wrong = list(self._wrong_scores(metrics, truth))
        severity: Severity = "fault"
        if worst > self._allowed.position:
            first = int(np.argmax(level > self._allowed.position))
            cause = cause_of_drift(truth, trajectory, places, first, self._protocol.body)
            if cause.is_obstacle:
                severity = "lost" if wrong or worst > self._allowed.drift else "note"
            self._find("replay", cause.words, worst, severity=severity)
        elif (high := float(np.abs(gaps[:, 1]).max())) > self._allowed.height:
            self._find("replay", "walks on another level than the ground truth; check scene and navmesh", high)
        for words, value, unit in wrong:
            self._find("scores", words, value, unit, severity)
        return worst

    def _wrong_scores(self, metrics: Metrics, truth: GroundTruth) -> Iterator[tuple[str, float, Literal["m", ""]]]:
        """Yield the scores of the ground truth that are not those its own files promise: what, how much, and in which unit."""
        told = self._episode.info.get("geodesic_distance")
        if metrics.success == 0 and metrics.navigation_error is not None and not metrics.unreachable:
            yield "SR of the ground truth is 0: it stops too far from the goal", metrics.navigation_error, "m"
        if metrics.ndtw is not None and metrics.ndtw < self._allowed.ndtw:
            yield f"nDTW of the ground truth is under {self._allowed.ndtw}", metrics.ndtw, ""
        if metrics.success and metrics.spl is not None and isinstance(told, int | float) and told > 0:
            promised = told / max(told, path_length(truth.locations))
            if abs(metrics.spl - promised) > self._allowed.spl:
                yield "SPL of the ground truth is not that of the files' lengths", metrics.spl, ""


def _places(truth: GroundTruth, trajectory: Trajectory) -> NDArray[np.intp] | None:
    """Return at which step of the walk each location should be reached: after every FORWARD (R2R-CE), or after every action."""
    forwards = np.flatnonzero(trajectory.actions == Action.FORWARD) + 1
    for places in (np.concatenate([[0], forwards]), np.arange(len(trajectory) + 1), np.arange(len(trajectory))):
        if len(places) == len(truth.locations):
            return places
    return None
