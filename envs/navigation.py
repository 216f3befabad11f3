"""The gymnasium environment: follow an instruction through a scene. The same class over any simulator and episode file."""

from __future__ import annotations

import math
import operator
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from navloop.envs.metrics import RunningMetrics
from navloop.envs.protocols import Protocol
from navloop.envs.simulator import Action, Camera, Simulator
from navloop.geometry import Pose, quaternion_to_heading
from navloop.records import SOURCES, Episode, Trajectory
from navloop.registry import nearest

Observation = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """The reward of a step: metres won towards the goal, less a price for time, plus a prize at the end.

    Source: habitat-baselines, the navigation RL environment's defaults (distance reward, 2.5 on success, -0.01 a step).

    Attributes:
        progress: Reward for a metre of geodesic distance won.
        success: Reward for stopping where the protocol counts success.
        slack: Price of a step.
    """

    progress: float = 1.0
    success: float = 2.5
    slack: float = 0.01


class NavigationEnv(gymnasium.Env[Observation, np.int64]):
    """Walk through a scene as an instruction says, and stop at its goal.

    Observations: "rgb" uint8 (H, W, 3) and every further camera of the protocol under its own name (depth: float32 (H, W, 1)
    metres), and "instruction", the text. Actions: the codes of `Action`: STOP, FORWARD, LEFT, RIGHT, and LOOK_UP, LOOK_DOWN where
    the protocol tilts. An episode terminates with STOP and is truncated after `Protocol.max_steps`.

    `info` has the episode's ids, "position" (3,), "heading", "collided", and the running metrics (`RunningMetrics.values`); those
    of the last step are the episode's result and equal `metrics.evaluate` on `trajectory()`.

    Args:
        simulator: The world; the environment closes it.
        episodes: What to walk, in this order unless shuffled.
        protocol: Embodiment, sensors, step limit and rule of success.
        reward: Weights of the reward.
        shuffle: Draw the order anew for each pass: scenes at random, and episodes at random within a scene, so that scenes are loaded
            rarely. `reset(seed=...)` starts the order again from that seed.
        render_mode: "rgb_array", or None; `render` gives the newest frame in either case.
        instruction_space: Space of the texts; None takes the one that just holds these episodes' (`text_space`).

    Raises:
        ValueError: If there are no episodes.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (gymnasium's own contract)

    def __init__(
        self,
        simulator: Simulator,
        episodes: Sequence[Episode],
        protocol: Protocol,
        *,
        reward: Reward | None = None,
        shuffle: bool = False,
        instruction_space: spaces.Text | None = None,
        render_mode: str | None = "rgb_array",
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is {render_mode!r}; there is only 'rgb_array'")
        if not episodes:
            raise ValueError("no episodes to walk; check the split and the selection")
        self.simulator = simulator
        self.episodes = tuple(episodes)
        self.protocol = protocol
        self.reward = reward or Reward()
        self.shuffle = shuffle
        self.render_mode = render_mode
        self.action_source = SOURCES[0]
        """Who chooses the next action, one of `SOURCES`; set it before `step` where it is not the policy."""
        self.observation_space = observation_space(protocol.cameras, instruction_space or text_space(episodes))
        self.action_space = spaces.Discrete(6 if protocol.body.tilt > 0 else 4)
        self._codes = range(int(self.action_space.n))
        self._numbers = {episode.episode_id: i for i, episode in enumerate(self.episodes)}
        self._order: Iterator[int] = iter(())
        self._walk: _Walk | None = None
        self._frames: Observation = {}

    @property
    def episode(self) -> Episode:
        """The current episode."""
        return self._current.episode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start the next episode, or the one that `options={"episode": id}` names.

        Args:
            seed: Starts the order of episodes again. It chooses among them only with `shuffle=True`; else every seed starts with
                the first.
            options: "episode": an episode_id (str), as `info["episode_id"]` has it, or a place in `episodes` (int). No other key.

        Raises:
            ValueError: If there is no such episode, or no such option.
            SceneError: If its scene cannot be loaded, or its start is not on free space.
        """
        wanted = _wanted(options or {})
        super().reset(seed=seed)
        if seed is not None:
            self._order = iter(())
        episode = self.episodes[self._choose(wanted)]
        self.simulator.load_scene(episode.scene_id)
        self.simulator.set_pose(Pose(episode.start_position, quaternion_to_heading(episode.start_rotation)))
        self._walk = _Walk(
            episode, RunningMetrics(episode, self.protocol), self.simulator.pose, self._distance(episode)
        )
        return self.observe(), self._info(collided=False)

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take one action, as gymnasium's contract says.

        Raises:
            ValueError: If the action is not in the action space.
            RuntimeError: If the episode is over or none was started.
        """
        walk = self._current
        if walk.done:
            raise RuntimeError("the episode is over; call reset() before step()")
        code = action if isinstance(action, int) else int(action) if isinstance(action, np.integer | np.ndarray) else -1
        if isinstance(action, bool) or code != action or code not in self._codes:
            raise ValueError(f"action {action!r} is not in {self.action_space}")
        collided = self.simulator.act(Action(code))
        pose, before = self.simulator.pose, walk.distances[-1]
        # Most actions turn or are blocked: where the agent still stands, the goal is as far as it was.
        stayed = pose.position.tolist() == walk.positions[-1].tolist()
        distance = before if stayed else self._distance(walk.episode)
        walk.add(pose, code, distance, collided, SOURCES.index(self.action_source))
        terminated = code == Action.STOP
        truncated = not terminated and len(walk.actions) >= self.protocol.max_steps
        walk.done = terminated or truncated
        info = self._info(collided)
        reward = self.reward.success * (info["success"] == 1) - self.reward.slack
        if math.isfinite(before - distance):
            reward += self.reward.progress * (before - distance)
        return self.observe(), float(reward), terminated, truncated, info

    def render(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the newest frame of the first RGB camera, uint8 (H, W, 3)."""
        name = next((camera.name for camera in self.protocol.cameras if camera.kind == "rgb"), None)
        if name is None:
            raise RuntimeError(f"protocol {self.protocol.label} has no RGB camera to render")
        frame: np.ndarray[Any, np.dtype[np.uint8]] = self._frames[name]
        return frame.copy()

    def observe(self) -> Observation:
        """Return what the agent sees now, drawn anew; `reset` and `step` give it already."""
        self._frames = dict(self.simulator.render())
        return {**self._frames, "instruction": self.episode.instruction.text}

    def face(self, heading: float) -> None:
        """Turn the agent without an action: nothing is counted or recorded, and the next action starts from this heading in radians.

        Agents that point to waypoints are turned so in VLN-CE; whoever uses it must say so beside the numbers (`WaypointEnv`).

        Raises:
            RuntimeError: If the episode is over or none was started.
        """
        if self._current.done:
            raise RuntimeError("the episode is over; call reset() before face()")
        self.simulator.set_pose(Pose(self.simulator.pose.position, heading))

    def trajectory(self) -> Trajectory:
        """Return what was walked since `reset`."""
        return self._current.trajectory()

    def close(self) -> None:
        """Give the simulator back."""
        self.simulator.close()

    @property
    def _current(self) -> _Walk:
        if self._walk is None:
            raise RuntimeError("no episode was started; call reset() first")
        return self._walk

    def _choose(self, wanted: str | int | None) -> int:
        if isinstance(wanted, str):
            if wanted not in self._numbers:
                raise ValueError(f"no episode {wanted!r} among the {len(self.episodes)} of this environment")
            return self._numbers[wanted]
        if wanted is not None:
            if not 0 <= wanted < len(self.episodes):
                raise ValueError(f"episode number {wanted} is not in [0, {len(self.episodes)})")
            return wanted
        number = next(self._order, None)
        if number is None:
            self._order = iter(self._draw_order())
            number = next(self._order)
        return number

    def _draw_order(self) -> list[int]:
        numbers = list(range(len(self.episodes)))
        if not self.shuffle:
            return numbers
        scenes = sorted({episode.scene_id for episode in self.episodes})
        rank = dict(zip(scenes, self.np_random.permutation(len(scenes)), strict=True))
        self.np_random.shuffle(numbers)
        return sorted(numbers, key=lambda number: rank[self.episodes[number].scene_id])

    def _distance(self, episode: Episode) -> float:
        if episode.goal_position is None:
            return math.nan
        return float(self.simulator.geodesic_distances(self.simulator.pose.position[None], episode.goal_position)[0])

    def _info(self, collided: bool) -> dict[str, Any]:
        walk = self._current
        return {
            "episode_id": walk.episode.episode_id,
            "trajectory_id": walk.episode.trajectory_id,
            "scene_id": walk.episode.scene_id,
            "position": walk.positions[-1].copy(),
            "heading": walk.headings[-1],
            "collided": collided,
            **walk.metrics.values(),
        }


@dataclass
class _Walk:
    """The episode under way."""

    episode: Episode
    metrics: RunningMetrics
    start: Pose
    start_distance: float
    done: bool = False
    positions: list[np.ndarray[Any, Any]] = field(init=False)
    headings: list[float] = field(init=False)
    distances: list[float] = field(init=False)
    actions: list[int] = field(default_factory=list)
    collided: list[bool] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.positions, self.headings, self.distances = (
            [self.start.position],
            [self.start.heading],
            [self.start_distance],
        )
        self.metrics.start(self.start.position, self.start_distance)

    def add(self, pose: Pose, action: int, distance: float, collided: bool, source: int) -> None:
        self.positions.append(pose.position)
        self.headings.append(pose.heading)
        self.distances.append(distance)
        self.actions.append(action)
        self.collided.append(collided)
        self.sources.append(source)
        self.metrics.step(pose.position, action, distance, collided)

    def trajectory(self) -> Trajectory:
        return Trajectory(
            positions=np.array(self.positions, dtype=np.float64),
            headings=np.array(self.headings, dtype=np.float64),
            actions=np.array(self.actions, dtype=np.int64),
            distances_to_goal=np.array(self.distances, dtype=np.float64),
            collided=np.array(self.collided, dtype=bool),
            action_source=np.array(self.sources, dtype=np.int64),
            stopped=bool(self.actions) and self.actions[-1] == Action.STOP,
        )


def _wanted(options: dict[str, Any]) -> str | int | None:
    """Return the episode_id or the place that options of `reset` name, None if they name none."""
    for name in options:
        if name != "episode":
            raise ValueError(f"reset has no option {name!r}; {nearest(str(name), ['episode'])}")
    wanted = options.get("episode")
    if wanted is None or isinstance(wanted, str):
        return wanted
    try:
        if isinstance(wanted, bool):
            raise TypeError
        return operator.index(wanted)
    except TypeError:
        raise ValueError(f"option 'episode' is {wanted!r}; give an episode_id (str) or a place (int)") from None


def text_space(episodes: Sequence[Episode]) -> spaces.Text:
    """Return the smallest text space that holds every instruction."""
    return characters_space([episode.instruction.text for episode in episodes])


def characters_space(texts: Sequence[str]) -> spaces.Text:
    """Return a text space that holds these texts, and as a rule those of other parts of their data set, so that vectors of both agree.

    It has ASCII's printable characters and whatever else these use, and lengths up to 1,024, or the next power of two.
    """
    characters = frozenset(string.printable).union(*texts)
    longest = max(1024, *map(len, texts), 1)
    return spaces.Text(min_length=0, max_length=1 << (longest - 1).bit_length(), charset=characters)


def observation_space(cameras: Sequence[Camera], instruction: spaces.Text) -> spaces.Dict:
    """Return the space of an observation: a Box for each camera, by name, and the instruction."""
    boxes: dict[str, spaces.Space[Any]] = {}
    for camera in cameras:
        size = (camera.height, camera.width)
        if camera.kind == "rgb":
            boxes[camera.name] = spaces.Box(0, 255, (*size, 3), np.uint8)
        elif camera.kind == "depth":
            boxes[camera.name] = spaces.Box(camera.min_depth, camera.max_depth, (*size, 1), np.float32)
        else:
            boxes[camera.name] = spaces.Box(0, np.iinfo(np.int32).max, size, np.int32)
    return spaces.Dict({**boxes, "instruction": instruction})
