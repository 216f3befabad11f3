"""Frames a second of the bare renderer, and steps a second of the environment over it, on the same walk.

Bare means Panda3D alone: the camera is put at a recorded pose, the rooms known to be in sight are drawn, and the picture is read into an
array; for RGB-D, Embree's distances to the same pixels as well. The environment does that and everything else: motion, collisions,
geodesics, visibility, metrics, resets, changes of scene. Both see the same frames, each as often: houses differ in what a frame costs.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.data import dataset, episodes
from navloop.envs.embedded.rays import camera_rays
from navloop.envs.embedded.renderer import PandaRenderer
from navloop.envs.embedded.simulator import EmbeddedSimulator, Scene
from navloop.envs.navigation import NavigationEnv
from navloop.envs.protocols import Protocol, get_protocol
from navloop.envs.simulator import Action
from navloop.envs.worlds import make_vln
from navloop.geometry import Pose

EPISODE = 57
"""Steps of a walk, the mean of R2R-CE's val_unseen."""

ROUNDS = 4
"""How often the renderer and the environment take turns."""


class Setting(NamedTuple):
    """What is measured: the folder of the houses, pixels, whether depth too, and the least seconds."""

    folder: Path
    size: int
    depth: bool
    seconds: float


def run(console: Console, folder: Path, seconds: float) -> None:
    dataset(folder)
    table = Table(title="Rendering and stepping, embedded world, furnished houses (a second; share of the bare rate)")
    for column in (
        "pixels",
        "sensors",
        "bare Panda3D, whole house",
        "bare, rooms in sight",
        "environment (share of either)",
        "environment x 2",
    ):
        table.add_column(column, justify="right")
    for depth in (False, True):
        for size in (64, 128, 224):
            setting = Setting(folder, size, depth, seconds)
            whole, bare, env = _in_processes(_measure, setting, 1)[0]
            pair = _in_processes(_measure_environment, setting, 2)
            both = sum(pair)
            cells = (f"{env:,.0f} ({env / whole:.0%}, {env / bare:.0%})", f"{both:,.0f} ({both / env:.2f} x one)")
            table.add_row(str(size), "RGB-D" if depth else "RGB", f"{whole:,.0f}", f"{bare:,.0f}", *cells)
    console.print(table)


def _in_processes(measure, setting: Setting, count: int) -> list:
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        return pool.map(measure, [setting] * count, chunksize=1)


def _measure(setting: Setting) -> tuple[float, float, float]:
    """Return the rates of the bare renderer with whole houses and with rooms in sight, and of the environment, over the same walks.

    They take turns, so that what else the machine does slows each of them alike.
    """
    env, protocol = _environment(setting)
    names = _warm(env)
    bare = _Bare(env, protocol)
    frames, spent = 0, np.zeros(3)
    for _ in range(ROUNDS):
        walked, seconds = _stepping(env, names, setting.seconds / ROUNDS)
        spent += (*bare.seconds(walked), seconds)
        frames += len(walked) * EPISODE
    bare.close()
    whole, in_sight, stepping = (frames / spent).tolist()
    return whole, in_sight, stepping


def _measure_environment(setting: Setting) -> float:
    env, _ = _environment(setting)
    walked, seconds = _stepping(env, _warm(env), setting.seconds)
    return len(walked) * EPISODE / seconds


def _environment(setting: Setting) -> tuple[NavigationEnv, Protocol]:
    protocol = get_protocol("houses").with_resolution(setting.size)
    protocol = protocol.with_depth() if setting.depth else protocol
    scenes = dataset(setting.folder) / "scenes"
    return make_vln(episodes(setting.folder), scenes, protocol, renderer="panda"), protocol


def _actions() -> list[int]:
    return np.random.default_rng(0).choice([1, 1, 1, 2, 3], size=EPISODE).tolist()


def _warm(env: NavigationEnv) -> Iterator[str]:
    """Load every scene, so that no rate counts loads, and return the episodes in a mixed order, without end."""
    for name in {episode.scene_id: episode.episode_id for episode in env.episodes}.values():
        env.reset(options={"episode": name})
        env.step(Action.FORWARD)
    names = [episode.episode_id for episode in env.episodes]
    return itertools.cycle(np.random.default_rng(0).permutation(names).tolist())


def _stepping(env: NavigationEnv, names: Iterator[str], seconds: float) -> tuple[list[str], float]:
    """Walk whole episodes for a while; return which, and the seconds that it took, resets included."""
    actions, walked = _actions(), []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        walked.append(next(names))
        env.reset(options={"episode": walked[-1]})
        for action in actions:
            env.step(action)
    return walked, time.perf_counter() - began


class _Bare:
    """Panda3D alone, and Embree's distances where there is depth, over what an environment has walked."""

    def __init__(self, env: NavigationEnv, protocol: Protocol) -> None:
        self._env = env
        self._rgb = protocol.cameras[0]
        self._depth = next((camera for camera in protocol.cameras if camera.kind == "depth"), None)
        self._renderer = PandaRenderer([self._rgb])

    def seconds(self, names: Sequence[str]) -> tuple[float, float]:
        """Return how long the frames of these episodes take with whole houses drawn, and with rooms in sight only."""
        walks = [self._replayed(name) for name in names]
        whole = sum(self._draw(scene, poses, [None] * len(poses)) for scene, poses, _ in walks)
        return whole, sum(self._draw(*walk) for walk in walks)

    def _replayed(self, name: str) -> tuple[Scene, list[Pose], list[frozenset[str] | None]]:
        self._env.reset(options={"episode": name})
        simulator = self._env.simulator
        assert isinstance(simulator, EmbeddedSimulator)
        poses, rooms = [], []
        for action in _actions():
            simulator.act(Action(action))
            poses.append(simulator.pose)
            rooms.append(simulator._rooms_in_sight([self._rgb]))
        return simulator.scene, poses, rooms

    def _draw(self, scene: Scene, poses: list[Pose], rooms: Sequence[frozenset[str] | None]) -> float:
        drawn, rays = scene.drawn, scene.rays
        began = time.perf_counter()
        for pose, seen in zip(poses, rooms, strict=True):
            drawn.show(seen)
            self._renderer.render(drawn, pose)
            if self._depth is not None:
                rays.distances(*camera_rays(self._depth, pose))
        return time.perf_counter() - began

    def close(self) -> None:
        self._renderer.close()
