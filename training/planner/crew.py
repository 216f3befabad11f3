"""Who walks with a planner in worker processes: led by the oracle now and then, or alone to be measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from navloop.agent.planner_agent import PlannerAgent
from navloop.agent.planner_saving import load_planner
from navloop.configs.imitation import EpisodesConfig
from navloop.envs.glancing import GlancingEnv
from navloop.envs.panorama import view_names
from navloop.envs.protocols import Protocol, get_protocol
from navloop.records import Episode, Trajectory
from navloop.training.collection import Ground, Trial, measure_walks, one_thread
from navloop.training.planned_walks import DecidedWalk, DecidedWalks
from navloop.training.planning import PlannedWalk, TaughtAgent, lesson_of
from navloop.training.rollouts import Rollouts
from navloop.training.rows import Row


def planner_protocol(config: EpisodesConfig) -> Protocol:
    """Return the protocol of a recipe with the cameras that a planner looks at: twelve of RGB, twelve of depth.

    Raises:
        ValueError: If the protocol has no panorama, or is unknown.
    """
    protocol = get_protocol(config.protocol, config.pixels, depth=True)
    wanted = (*view_names("rgb"), *view_names("depth"))
    known = {camera.name: camera for camera in protocol.cameras}
    if any(name not in known for name in wanted):
        raise ValueError(
            f"episodes.protocol {config.protocol!r} has no panorama, which planners see; take {config.protocol.partition('+')[0]}+pano12"
        )
    return protocol.with_cameras([camera for camera in protocol.cameras if camera.name in wanted])


class PlannerOrder(NamedTuple):
    """A part of an iteration that is to be walked.

    Attributes:
        folder: Of the iteration's walks.
        number: Of the part.
        episodes: What to walk.
        agent: Folder of the planner.
        share: Of decisions that are the oracle's.
        seed: Of the iteration's draws.
        max_steps: Actions of a walk at most; None leaves it to the protocol.
    """

    folder: Path
    number: int
    episodes: tuple[Episode, ...]
    agent: Path
    share: float
    seed: int
    max_steps: int | None


class PlannerHand:
    """Does orders and trials of planners in one process.

    Args:
        ground: Where.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._protocol = planner_protocol(ground.episodes)
        self._rollouts = Rollouts(ground.episodes, self._protocol, ground.lanes, GlancingEnv)
        self._agent: tuple[Path, PlannerAgent] | None = None

    def collect(self, order: PlannerOrder) -> tuple[int, int]:
        """Walk a part and write it; return its number, and how many actions were taken."""
        limit = self._protocol.max_steps if order.max_steps is None else order.max_steps
        self._rollouts.protocol = replace(self._protocol, max_steps=min(limit, self._protocol.max_steps))
        with one_thread():
            taught = TaughtAgent(self._load(order.agent), order.share)
            done = {e.episode_id: (e, path) for e, path in self._rollouts.walk(taught, order.episodes, order.seed)}
        walks = {walk.episode_id: walk for walk in taught.walks}
        most = taught.config.candidates
        found = [
            self._decided(walks[episode.episode_id], *done[episode.episode_id], most) for episode in order.episodes
        ]
        DecidedWalks(order.folder).write(order.number, found)
        return order.number, sum(len(path.actions) for _, path in done.values())

    def measure(self, trial: Trial) -> list[Row]:
        """Walk episodes with a planner alone and return their rows."""
        self._rollouts.protocol = self._protocol
        with one_thread():
            return measure_walks(self._rollouts, self._load(trial.agent), trial)

    def close(self) -> None:
        """Give the simulators back."""
        self._rollouts.close()

    def _decided(self, walk: PlannedWalk, episode: Episode, path: Trajectory, most: int) -> DecidedWalk:
        success = path.stopped and self._protocol.is_success(path.distances_to_goal[-1])
        names = (episode.episode_id, episode.trajectory_id, episode.scene_id)
        return DecidedWalk(*names, lesson_of(walk, most), bool(success))

    def _load(self, folder: Path) -> PlannerAgent:
        if self._agent is None or self._agent[0] != folder:
            self._agent = folder, load_planner(folder, device=self._ground.device)
        return self._agent[1]
