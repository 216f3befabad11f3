"""habitat-lab's tasks as gymnasium environments: PointNav, ObjectNav, ImageNav, its own VLN, any benchmark configuration of its."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from navloop.envs.habitat.composition import compose, compose_vln
from navloop.envs.habitat.egl import require_device
from navloop.envs.habitat.lifetimes import Lifetime
from navloop.envs.habitat.scenes import find_scene, loading, require_dataset
from navloop.envs.habitat.spaces import convert_action_space, convert_observations, convert_space
from navloop.envs.protocols import Protocol
from navloop.envs.simulator import SceneError
from navloop.records import Episode

_log = logging.getLogger(__name__)


class LabEnv(gymnasium.Env[dict[str, Any], Any]):
    """habitat-lab's environment with gymnasium's contract: its task, sensors, actions and measures, untouched.

    Observations are those of the configuration's sensors; "instruction" is a text. Actions are the places of the task's actions, in
    `action_names`. The reward is what the task's `reward_measure` says, or else the metres won towards the goal. An episode terminates
    when the task ends it (STOP), and is truncated at the configuration's limits. `info` has the episode's ids and every measure.

    Args:
        config: habitat-lab's configuration (`compose`).
        dataset: habitat-lab's data set; None loads the configuration's.

    Raises:
        NoDisplay: If EGL has no such device.
        SceneError: If a scene of the episodes is not there; from `reset`, if it is broken.
        ValueError: If the data set's files are not there, or an action takes arguments.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (gymnasium's own contract)

    def __init__(self, config: Any, dataset: Any = None, render_mode: str | None = "rgb_array") -> None:
        import habitat

        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is {render_mode!r}; there is only 'rgb_array'")
        self.render_mode = render_mode
        require_device(int(config.habitat.simulator.habitat_sim_v0.gpu_device_id))
        if dataset is None:
            _require_episodes(config.habitat.dataset)
            dataset = habitat.make_dataset(config.habitat.dataset.type, config=config.habitat.dataset)
        _require_scenes(dataset.episodes)
        self._config = config
        self._scene = ""
        with loading(str(dataset.episodes[0].scene_id)):
            self.habitat = habitat.Env(config, dataset)
        self._listed = list(self.habitat.episodes)
        self._life = Lifetime(self.habitat.sim)
        self.habitat.sim.reconfigure = self._enter
        self.action_space, self.action_names = convert_action_space(self.habitat.action_space)
        self.observation_space = convert_space(self.habitat.observation_space, self.habitat.episodes)
        self._reward_measure = str(config.habitat.task.get("reward_measure", "") or "")
        self._frames: dict[str, Any] = {}
        self._distance = math.nan

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the next episode, or the one that `options={"episode": id}` names.

        Args:
            seed: Starts the order of episodes again, from this seed. habitat-lab seeds the process's own generators with it.
            options: "episode": an episode_id.

        Raises:
            ValueError: If there is no such episode.
        """
        super().reset(seed=seed)
        if seed is not None:
            self._start_again(seed)
        wanted = (options or {}).get("episode")
        if wanted is not None:
            found = [episode for episode in self.habitat.episodes if str(episode.episode_id) == str(wanted)]
            if not found:
                raise ValueError(f"no episode {wanted!r} among the {len(self.habitat.episodes)} of this environment")
            self.habitat.current_episode = found[0]
        seen = self.habitat.reset()
        info = self._info()
        self._distance = info.get("distance_to_goal", math.nan)
        if self._distance == math.inf:
            _log.warning(
                "episode %s in %s: no walk leads from its start to its goal, so its measures are none; check episodes, scenes and body",
                info["episode_id"], info["scene_id"],
            )  # fmt: skip
        return self._observe(seen), info

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Take one action, as gymnasium's contract says."""
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is not in {self.action_space}")
        seen = self.habitat.step({"action": self.action_names[int(action)], "action_args": None})
        info = self._info()
        terminated = not self.habitat.task.is_episode_active
        truncated = self.habitat.episode_over and not terminated
        return self._observe(seen), self._reward(info), terminated, truncated, info

    def _enter(self, config: Any, *_: Any) -> None:
        """Take habitat-lab's place in changing scenes: they stay in memory, and other simulators of the process alive."""
        if str(config.scene) != self._scene:
            _require_scene(str(config.scene), str(config.scene_dataset))
            self._scene = str(config.scene)
        with loading(self._scene):
            self._life.enter(config)

    def _start_again(self, seed: int) -> None:
        from habitat import read_write

        with read_write(self._config):
            self._config.habitat.seed = seed
        self.habitat.seed(seed)
        # habitat-lab begins its order anew when it is given episodes, and shuffles the very list that it is given.
        self.habitat.episodes = list(self._listed)

    def _reward(self, info: Mapping[str, Any]) -> float:
        before, self._distance = self._distance, info.get("distance_to_goal", math.nan)
        won = info.get(self._reward_measure, before - self._distance)
        return float(won) if isinstance(won, int | float) and math.isfinite(won) else 0.0

    def render(self) -> Any:
        """Return the newest frame of the first RGB camera, uint8 (H, W, 3)."""
        pictures = [frame for frame in self._frames.values() if getattr(frame, "dtype", None) == np.uint8]
        if not pictures:
            raise RuntimeError("this configuration has no RGB camera to render")
        return pictures[0].copy()

    def close(self) -> None:
        """Give the simulator back."""
        self._life.end()

    def _observe(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        assert isinstance(self.observation_space, spaces.Dict)
        self._frames = convert_observations(seen, self.observation_space)
        return self._frames

    def _info(self) -> dict[str, Any]:
        episode = self.habitat.current_episode
        ids = {"episode_id": str(episode.episode_id), "scene_id": str(episode.scene_id)}
        return {**ids, **self.habitat.get_metrics()}


def make_task(
    config: str,
    overrides: Sequence[str] = (),
    *,
    gpu_device: int = -1,
    setup: str | None = None,
    render_mode: str | None = "rgb_array",
) -> LabEnv:
    """Make the environment of any of habitat-lab's configurations; the entry point of the ids "navloop/Habitat...".

    Args:
        config: A file, or a path below habitat-lab's `config` folder.
        overrides: In Hydra's grammar, such as "habitat.dataset.split=val".
        gpu_device: CUDA index, or -1; see `HabitatSimulator`.
        setup: Set of cameras instead of the configuration's own, such as "rgb_agent".
        render_mode: "rgb_array" or None.

    Raises:
        HabitatMissing: If habitat-sim or habitat-lab is missing.
        ValueError: If the configuration cannot be composed, or its episodes are not there.
    """
    device = f"habitat.simulator.habitat_sim_v0.gpu_device_id={gpu_device}"
    return LabEnv(compose(config, [device, *overrides], setup=setup), render_mode=render_mode)


def make_lab_vln(
    episodes: Sequence[Episode],
    scenes: Path | str,
    protocol: Protocol,
    gpu_device: int = -1,
    scene_dataset_config: Path | str | None = None,
) -> LabEnv:
    """Make habitat-lab's own VLN task over our episodes, R2R or RxR: what our numbers are held against.

    Args:
        episodes: With goals; habitat-lab measures none without.
        scenes: Folder that their scene ids are relative to.
        protocol: Body, cameras, step limit and success distance.
        gpu_device: CUDA index, or -1; see `HabitatSimulator`.
        scene_dataset_config: See `HabitatSimulator`.

    Raises:
        SceneError: If a scene is not there.
        ValueError: If an episode has no goal.
    """
    config = compose_vln(protocol, gpu_device)
    dataset_file = None if scene_dataset_config is None else Path(scene_dataset_config)
    return LabEnv(config, lab_dataset(episodes, Path(scenes), dataset_file))


def lab_dataset(episodes: Sequence[Episode], scenes: Path, scene_dataset: Path | None = None) -> Any:
    """Return our episodes as habitat-lab's VLN data set, which its own reader cannot make of RxR files."""
    from habitat.datasets.vln.r2r_vln_dataset import VLNDatasetV1

    dataset = VLNDatasetV1()
    dataset.episodes = [_lab_episode(episode, scenes, scene_dataset) for episode in episodes]
    return dataset


def _lab_episode(episode: Episode, scenes: Path, scene_dataset: Path | None) -> Any:
    from habitat.tasks.nav.nav import NavigationGoal
    from habitat.tasks.vln.vln import InstructionData, VLNEpisode

    if episode.goal_position is None or episode.reference_path is None:
        raise ValueError(f"episode {episode.episode_id} has no goal; habitat-lab's VLN task measures none without")
    return VLNEpisode(
        episode_id=episode.episode_id,
        trajectory_id=episode.trajectory_id,
        scene_id=find_scene(scenes, episode.scene_id, scene_dataset).handle,
        scene_dataset_config="default" if scene_dataset is None else str(scene_dataset),
        start_position=episode.start_position.tolist(),
        start_rotation=episode.start_rotation.tolist(),
        goals=[NavigationGoal(position=episode.goal_position.tolist(), radius=episode.goal_radius)],
        reference_path=episode.reference_path.tolist(),
        instruction=InstructionData(instruction_text=episode.instruction.text),
    )


def _require_episodes(config: Any) -> None:
    path = Path(str(config.data_path).format(split=config.split))
    if not path.is_file():
        raise ValueError(
            f"{path}: no such episodes; download them, or set habitat.dataset.data_path and habitat.dataset.split"
        )
    if not Path(config.scenes_dir).is_dir():
        raise ValueError(f"{config.scenes_dir}: no such scenes; download them, or set habitat.dataset.scenes_dir")


def _require_scenes(episodes: Sequence[Any]) -> None:
    """Look for the scenes of all episodes, and into that of the first: habitat-sim ends the process over one that it cannot load."""
    if not episodes:
        raise ValueError("a data set without episodes; check habitat.dataset.split and habitat.dataset.content_scenes")
    wanted = {(str(episode.scene_id), str(episode.scene_dataset_config)) for episode in episodes}
    missing = sorted(scene for scene, dataset in wanted if dataset == "default" and not Path(scene).is_file())
    if missing:
        raise SceneError(
            f"{missing[0]}: no such scene ({len(missing)} of the {len(wanted)} scenes of these episodes are not there); "
            "download them, set habitat.dataset.scenes_dir, or name their scene_dataset_config in the episodes"
        )
    _require_scene(str(episodes[0].scene_id), str(episodes[0].scene_dataset_config))


def _require_scene(scene: str, dataset: str) -> None:
    path, file = Path(os.path.abspath(scene)), None if dataset == "default" else Path(dataset)
    if file is not None:
        require_dataset(file)
    find_scene(path.parent, path.name, file)
