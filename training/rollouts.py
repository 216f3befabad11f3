"""Walks to learn from: many environments at once in one batch, an expert's word at every place, and rules of who acts."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from navloop.agent.agents import BatchAgent
from navloop.configs.imitation import CollectionConfig, EpisodesConfig
from navloop.envs.follower import ShortestPathFollower
from navloop.envs.navigation import NavigationEnv, Observation
from navloop.envs.protocols import Protocol, get_protocol
from navloop.envs.simulator import Action
from navloop.envs.worlds import create_simulators
from navloop.geometry import Vector
from navloop.records import SOURCES, Episode, Trajectory
from navloop.training.rollout import episode_seed
from navloop.training.walks import Frames, Walk

_POLICY, _EXPERT, _TAKEOVER = SOURCES


def protocol_of(config: EpisodesConfig, depth: bool = False) -> Protocol:
    """Return the protocol of a recipe with the cameras that a policy looks at: one of RGB, and one of depth if it is asked for.

    Raises:
        ValueError: If the protocol has no RGB camera, or is unknown.
    """
    protocol = get_protocol(config.protocol, config.pixels, depth)
    kinds = ("rgb", "depth") if depth else ("rgb",)
    chosen = [next((camera for camera in protocol.cameras if camera.kind == kind), None) for kind in kinds]
    if None in chosen:
        raise ValueError(f"{protocol.label} has no RGB camera; choose another protocol")
    return protocol.with_cameras([camera for camera in chosen if camera is not None])


@dataclass(frozen=True, slots=True)
class Rules:
    """Who acts on a walk.

    Attributes:
        beta: Probability that the expert acts, at each step anew.
        off_path: Metres from the reference path at which the expert takes over; inf: never.
        early_stop: Whether the expert acts where the policy alone would stop.
        late_stop: Stops of the expert's that the policy may pass over before the walk is ended; None: any number.
        max_steps: Actions of a walk; None leaves it to the protocol.
        stop_within: Geodesic metres from the goal at which the expert stops; None: the length of a step.
        temperature: Of the softmax that the policy's actions are drawn from; 0 takes the likeliest.
    """

    beta: float = 0.0
    off_path: float = math.inf
    early_stop: bool = False
    late_stop: int | None = None
    max_steps: int | None = None
    stop_within: float | None = None
    temperature: float = 0.0

    @classmethod
    def of(cls, config: CollectionConfig, iteration: int) -> Rules:
        """Return the rules of an iteration, from 0: beta is p**(iteration + walked)."""
        return cls(
            beta=config.p ** (iteration + config.walked),
            off_path=math.inf if config.off_path is None else config.off_path,
            early_stop=config.early_stop,
            late_stop=config.late_stop,
            max_steps=config.max_steps,
            stop_within=config.stop_within,
            temperature=config.temperature,
        )


class Rollout(NamedTuple):
    """A finished walk, with what was seen on it."""

    episode: Episode
    walk: Walk
    trajectory: Trajectory
    frames: Frames
    percepts: NDArray[np.float16] | None
    """float16 (S, n, D), what the agent made of the frames; None where it makes nothing that is kept."""


class Rollouts:
    """E environments in one process, walked in step; their simulators share what they can.

    Args:
        config: Where.
        protocol: Embodiment and cameras.
        count: E.
        env: Of these simulators and the protocol.
    """

    def __init__(
        self, config: EpisodesConfig, protocol: Protocol, count: int, env: type[NavigationEnv] = NavigationEnv
    ) -> None:
        self.protocol = protocol
        self._env = env
        self._simulators = create_simulators(count, config.world, config.scenes, protocol, **config.world_settings)

    def collect(
        self, agent: BatchAgent | None, episodes: Sequence[Episode], rules: Rules, seed: int
    ) -> Iterator[Rollout]:
        """Walk episodes and yield each as it ends; with the same agent, episodes, rules, seed and E, the same walks in the same order.

        Args:
            agent: Who acts with the expert; None lets the expert act alone.
            episodes: With goals.
            rules: Who acts when.
            seed: With the episode's id it decides every draw of a walk.

        Raises:
            ValueError: If an episode has no goal, which the expert needs.
        """
        yield from self._walk(agent, episodes, rules, seed)

    def walk(self, agent: BatchAgent, episodes: Sequence[Episode], seed: int) -> Iterator[tuple[Episode, Trajectory]]:
        """Walk episodes with the agent alone and yield each with its trajectory as it ends; nobody asks an expert."""
        for rollout in self._walk(agent, episodes, None, seed):
            yield rollout.episode, rollout.trajectory

    def close(self) -> None:
        """Give the simulators back."""
        for simulator in self._simulators:
            simulator.close()

    def _walk(
        self, agent: BatchAgent | None, episodes: Sequence[Episode], rules: Rules | None, seed: int
    ) -> Iterator[Rollout]:
        waiting = deque(episodes)
        if agent is not None:
            agent.start(len(self._simulators))
        lanes: dict[int, _Lane] = {}
        places = range(min(len(self._simulators), len(waiting)))
        for place in places:
            lanes[place] = self._begin(place, waiting.popleft(), agent, rules, seed)
        while lanes:
            self._act(lanes, agent)
            for place, lane in list(lanes.items()):
                if lane.done:
                    yield lane.rollout()
                    del lanes[place]
                    if waiting:
                        lanes[place] = self._begin(place, waiting.popleft(), agent, rules, seed)

    def _begin(self, place: int, episode: Episode, agent: BatchAgent | None, rules: Rules | None, seed: int) -> _Lane:
        env = self._env(self._simulators[place], [episode], self.protocol)
        lane = _Lane(env, episode, rules, episode_seed(seed, episode.episode_id))
        if agent is not None:
            agent.restart(place, env, lane.seed)
        return lane

    def _act(self, lanes: dict[int, _Lane], agent: BatchAgent | None) -> None:
        """Let every lane take one action."""
        places = sorted(lanes)
        if agent is None:
            for place in places:
                lanes[place].act(None, None)
            return
        wanted = agent.act_all(places, [lanes[p].observation for p in places], [lanes[p].info for p in places])
        seen = getattr(agent, "percepts", None)
        percepts = None if seen is None else seen.to("cpu").numpy().astype(np.float16)
        for place, action in zip(places, wanted, strict=True):
            taken = lanes[place].act(action, None if percepts is None else percepts[place])
            if taken != action:
                agent.override(place, taken)


@dataclass(slots=True)
class _Lane:
    """A walk under way."""

    env: NavigationEnv
    episode: Episode
    rules: Rules | None
    seed: int
    done: bool = False
    observation: Observation = field(init=False)
    info: dict[str, Any] = field(init=False)
    _expert: ShortestPathFollower | None = field(init=False, default=None)
    _rng: np.random.Generator = field(init=False)
    _labels: list[int] = field(init=False, default_factory=list)
    _seen: list[Observation] = field(init=False, default_factory=list)
    _percepts: list[NDArray[np.float16]] = field(init=False, default_factory=list)
    _taken_over: bool = field(init=False, default=False)
    _stops_passed: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.observation, self.info = self.env.reset(options={"episode": 0})
        # A stream of its own: an agent that draws does so from `seed`, and who acts must not follow from what it draws.
        self._rng = np.random.default_rng((self.seed, 1))
        if self.rules is None:
            return
        if self.episode.goal_position is None:
            raise ValueError(
                f"episode {self.episode.episode_id} has no goal, which the expert walks to; choose another file"
            )
        body, goal = self.env.protocol.body, self.episode.goal_position
        self._expert = ShortestPathFollower(self.env.simulator, body, goal, self.rules.stop_within)

    def act(self, wanted: int | None, percepts: NDArray[np.float16] | None) -> int:
        """Take what the policy wants, or what the expert does; return it."""
        action, source = self._choose(wanted)
        if self.rules is not None:
            self._seen.append(self.observation)
            if percepts is not None:
                self._percepts.append(percepts)
        self.env.action_source = source
        self.observation, _, terminated, truncated, self.info = self.env.step(action)
        limit = None if self.rules is None else self.rules.max_steps
        self.done = terminated or truncated or (limit is not None and len(self._labels) >= limit)
        return action

    def _choose(self, wanted: int | None) -> tuple[int, str]:
        if self._expert is None or self.rules is None:
            assert wanted is not None
            return wanted, _POLICY
        label = int(self._expert.next_action())
        self._labels.append(label)
        # Drawn at every step, whatever comes of it, so that no rule shifts the draws of later steps.
        if self._rng.random() < self.rules.beta or wanted is None:
            return label, _EXPERT
        return (label, _TAKEOVER) if self._interferes(wanted, label) else (wanted, _POLICY)

    def _interferes(self, wanted: int, label: int) -> bool:
        """Whether the expert takes over from the policy."""
        assert self.rules is not None
        self._stops_passed += label == Action.STOP != wanted
        if self.rules.late_stop is not None and self._stops_passed > self.rules.late_stop:
            return True
        if self.rules.early_stop and wanted == Action.STOP != label:
            return True
        if math.isinf(self.rules.off_path) or self.episode.reference_path is None:
            return False
        away = distance_to_path(self.info["position"], self.episode.reference_path)
        self._taken_over = away > (self.env.protocol.body.step if self._taken_over else self.rules.off_path)
        return self._taken_over

    def rollout(self) -> Rollout:
        trajectory = self.env.trajectory()
        steps = len(self._labels)
        walk = Walk(
            episode_id=self.episode.episode_id,
            trajectory_id=self.episode.trajectory_id,
            scene_id=self.episode.scene_id,
            actions=trajectory.actions[:steps],
            expert_actions=np.array(self._labels, dtype=np.int64),
            sources=trajectory.action_source[:steps],
            distances=trajectory.distances_to_goal[:steps],
            success=self.info["success"] == 1,
        )
        return Rollout(
            self.episode, walk, trajectory, _frames(self._seen), np.stack(self._percepts) if self._percepts else None
        )


def distance_to_path(point: Vector, path: Vector) -> float:
    """Return the metres from a point (3,) to a polyline (P, 3)."""
    if len(path) == 1:
        return float(np.linalg.norm(point - path[0]))
    legs = np.diff(path, axis=0)
    lengths = np.maximum((legs**2).sum(axis=1), 1e-12)
    along = np.clip(((point - path[:-1]) * legs).sum(axis=1) / lengths, 0.0, 1.0)
    return float(np.linalg.norm(path[:-1] + along[:, None] * legs - point, axis=1).min())


def _frames(seen: Sequence[Observation]) -> Frames:
    if not seen:
        return Frames(np.zeros((0, 1, 1, 3), dtype=np.uint8))
    depth = np.stack([view["depth"] for view in seen]) if "depth" in seen[0] else None
    return Frames(np.stack([view["rgb"] for view in seen]), depth)
