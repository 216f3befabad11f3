"""Episodes walked for their rows: one world in memory, with the cameras alone that the agent at hand looks at."""

from __future__ import annotations

from navloop.agent import Agent, cameras_of
from navloop.configs.schema import EvalConfig
from navloop.envs.metrics import evaluate as measure
from navloop.envs.navigation import NavigationEnv
from navloop.envs.protocols import Protocol, get_protocol
from navloop.envs.simulator import Camera, Simulator
from navloop.envs.worlds import create_simulator
from navloop.records import Episode
from navloop.training.controls import BlankEnv
from navloop.training.rollout import episode_seed, walk
from navloop.training.rows import Row


class Walker:
    """Walks episodes under the protocol of a benchmark and measures them by it.

    What an agent does not look at is not rendered, and is not in its observations. No row depends on that: a camera moves nobody.

    Args:
        config: Of the benchmark.
    """

    def __init__(self, config: EvalConfig) -> None:
        self._config = config
        self._protocol = get_protocol(config.protocol, config.pixels, config.depth)
        self._simulator: Simulator | None = None
        self._cameras: tuple[Camera, ...] = ()

    def walk(self, agent: Agent, episode: Episode, blank: bool = False) -> Row:
        """Return the row of an episode.

        Args:
            agent: Who walks.
            episode: What.
            blank: Whether the agent is shown black frames instead of what there is.

        Raises:
            ValueError: If the agent looks at a camera that the protocol lacks, or the scene cannot be walked in.
        """
        eyes = self._protocol.with_cameras(cameras_of(agent, self._protocol))
        env = (BlankEnv if blank else NavigationEnv)(self._simulator_of(eyes), [episode], eyes)
        seed = episode_seed(self._config.seed, episode.episode_id)
        trajectory = walk(env, agent, episode.episode_id, seed)
        return Row.of(episode, seed, measure(trajectory, episode, self._protocol), trajectory)

    def close(self) -> None:
        """Give back what the simulator holds."""
        if self._simulator is not None:
            self._simulator.close()
            self._simulator = None

    def _simulator_of(self, eyes: Protocol) -> Simulator:
        """Return the simulator with these cameras. There is one at a time: two would hold every scene twice."""
        if self._simulator is None or self._cameras != eyes.cameras:
            self.close()
            config = self._config
            self._simulator = create_simulator(config.world, config.scenes, eyes, **config.world_settings)
            self._cameras = eyes.cameras
        return self._simulator
