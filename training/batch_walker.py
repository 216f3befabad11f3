"""Episodes that one agent walks side by side in one process: its network sees the frames of all in one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from navloop.agent import BatchAgent, cameras_of
from navloop.configs.schema import EvalConfig
from navloop.envs.glancing import GlancingEnv
from navloop.envs.metrics import evaluate as measure
from navloop.envs.navigation import NavigationEnv, Observation
from navloop.envs.protocols import get_protocol
from navloop.envs.simulator import Simulator
from navloop.envs.worlds import create_simulators
from navloop.records import Episode
from navloop.training.controls import BlankEnv
from navloop.training.rollout import episode_seed
from navloop.training.rows import Row


class BatchWalker:
    """Walks episodes under the protocol of a benchmark, one in each lane, and measures them by it.

    A row depends on nothing in the other lanes, but for the last bits of what a network computes in batches of other sizes.

    Args:
        config: Of the benchmark.
    """

    def __init__(self, config: EvalConfig) -> None:
        self._config = config
        self._protocol = self._eyes = get_protocol(config.protocol, config.pixels, config.depth)
        self._simulators: list[Simulator] = []
        self._lanes: dict[int, _Lane] = {}
        self._agent: BatchAgent | None = None
        self._env: type[NavigationEnv] = NavigationEnv
        self.at_hand: Episode | None = None
        """The episode that is worked on; None while the agent decides for all."""

    def enter(self, agent: BatchAgent, count: int, blank: bool = False) -> None:
        """Let an agent walk from now on. Scenes stay in memory if it looks at the same as the one before.

        Args:
            agent: Who walks.
            count: How many lanes.
            blank: Whether it is shown black frames instead of what there is.

        Raises:
            ValueError: If the agent looks at a camera that the protocol lacks.
        """
        eyes = self._protocol.with_cameras(cameras_of(agent, self._protocol))
        if eyes.cameras != self._eyes.cameras or count != len(self._simulators):
            self.close()
            config = self._config
            self._simulators = create_simulators(count, config.world, config.scenes, eyes, **config.world_settings)
        self._eyes, self._agent, self._env = eyes, agent, BlankEnv if blank else GlancingEnv
        agent.start(count)

    @property
    def free(self) -> bool:
        """Whether there is room for an episode."""
        return len(self._lanes) < len(self._simulators)

    @property
    def busy(self) -> bool:
        """Whether any episode is under way."""
        return bool(self._lanes)

    def begin(self, episode: Episode) -> None:
        """Start an episode in a free lane.

        Raises:
            ValueError: If its scene cannot be walked in.
        """
        self.at_hand = episode
        place = next(place for place in range(len(self._simulators)) if place not in self._lanes)
        env = self._env(self._simulators[place], [episode], self._eyes)
        observation, info = env.reset(options={"episode": episode.episode_id})
        seed = episode_seed(self._config.seed, episode.episode_id)
        assert self._agent is not None
        self._agent.restart(place, env, seed)
        self._lanes[place] = _Lane(env, seed, observation, info)

    def step(self) -> list[tuple[Episode, Row]]:
        """Take one action in every lane and return the episodes that end with it."""
        assert self._agent is not None
        self.at_hand = None
        places = sorted(self._lanes)
        lanes = [self._lanes[place] for place in places]
        actions = self._agent.act_all(places, [lane.observation for lane in lanes], [lane.info for lane in lanes])
        done: list[tuple[Episode, Row]] = []
        for place, lane, action in zip(places, lanes, actions, strict=True):
            self.at_hand = lane.env.episode
            if lane.step(action):
                del self._lanes[place]
                done.append((lane.env.episode, self._row(lane)))
        return done

    def close(self) -> None:
        """Give back what the simulators hold, and forget what is under way."""
        for simulator in self._simulators:
            simulator.close()
        self._simulators, self._lanes, self._agent = [], {}, None

    def _row(self, lane: _Lane) -> Row:
        episode, trajectory = lane.env.episode, lane.env.trajectory()
        return Row.of(episode, lane.seed, measure(trajectory, episode, self._protocol), trajectory)


@dataclass(slots=True)
class _Lane:
    env: NavigationEnv
    seed: int
    observation: Observation
    info: dict[str, Any]

    def step(self, action: int) -> bool:
        """Take an action and return whether the episode is over."""
        self.observation, _, terminated, truncated, self.info = self.env.step(action)
        return terminated or truncated
