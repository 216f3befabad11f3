"""Frames a second of the bare renderer, and steps a second of the environment over it, on the same walk.

Bare means Panda3D alone: the camera is put at a recorded pose, the rooms known to be in sight are drawn, and the picture is read into an
array; for RGB-D, Embree's distances to the same pixels as well. The environment does that and everything else: motion, collisions,
geodesics, visibility, metrics, resets, changes of scene.
"""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.data import dataset, episodes
from navloop.envs.embedded.rays import camera_rays
from navloop.envs.embedded.renderer import PandaRenderer
from navloop.envs.embedded.simulator import EmbeddedSimulator
from navloop.envs.navigation import NavigationEnv
from navloop.envs.protocols import Protocol, get_protocol
from navloop.envs.worlds import make_vln
from navloop.geometry import Pose

EPISODE = 57
"""Steps of a walk, the mean of R2R-CE's val_unseen."""


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
        "environment",
        "environment x 2",
    ):
        table.add_column(column, justify="right")
    for depth in (False, True):
        for size in (64, 128, 224):
            setting = Setting(folder, size, depth, seconds)
            whole, bare, env = _in_processes(_measure, setting, 1)[0]
            pair = _in_processes(_measure_environment, setting, 2)
            both = sum(pair)
            cells = (f"{env:,.0f} ({env / bare:.0%})", f"{both:,.0f} ({both / env:.2f} x one)")
            table.add_row(str(size), "RGB-D" if depth else "RGB", f"{whole:,.0f}", f"{bare:,.0f}", *cells)
    console.print(table)


def _in_processes(measure, setting: Setting, count: int) -> list:
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        return pool.map(measure, [setting] * count, chunksize=1)


def _measure(setting: Setting) -> tuple[float, float, float]:
    env, protocol = _environment(setting)
    walk = _record(env)
    rates = []
    for whole in (True, False):
        rates.append(_bare(env.simulator, protocol, walk, setting.seconds, whole))
    return rates[0], rates[1], _stepping(env, setting.seconds)


def _measure_environment(setting: Setting) -> float:
    env, _ = _environment(setting)
    _stepping(env, 0.3)
    return _stepping(env, setting.seconds)


def _environment(setting: Setting) -> tuple[NavigationEnv, Protocol]:
    protocol = get_protocol("houses").with_resolution(setting.size)
    protocol = protocol.with_depth() if setting.depth else protocol
    scenes = dataset(setting.folder) / "scenes"
    return make_vln(episodes(setting.folder), scenes, protocol, renderer="panda"), protocol


def _actions() -> np.ndarray:
    return np.random.default_rng(0).choice([1, 1, 1, 2, 3], size=EPISODE)


def _record(env: NavigationEnv) -> list[tuple[str, list[Pose], list[frozenset[str] | None]]]:
    """Walk one episode in every scene; return the poses of each and the rooms in sight from them."""
    walks = []
    first = {episode.scene_id: episode.episode_id for episode in reversed(env.episodes)}
    simulator = env.simulator
    assert isinstance(simulator, EmbeddedSimulator)
    for scene, episode in sorted(first.items()):
        env.reset(options={"episode": episode})
        poses, rooms = [], []
        for action in _actions():
            env.step(action)
            poses.append(simulator.pose)
            rooms.append(simulator._rooms_in_sight(env.protocol.cameras[:1]))
        walks.append((scene, poses, rooms))
    return walks


def _bare(simulator, protocol: Protocol, walks, seconds: float, whole: bool) -> float:
    rgb = protocol.cameras[0]
    depth = next((camera for camera in protocol.cameras if camera.kind == "depth"), None)
    renderer = PandaRenderer([rgb])
    frames, spent = 0, 0.0
    for number, (scene, poses, rooms) in enumerate(walks, start=1):
        simulator.load_scene(scene)
        drawn, rays = simulator.scene.drawn, simulator.scene.rays
        drawn.show(None)
        renderer.render(drawn, poses[0])
        while spent < seconds * number / len(walks):
            began = time.perf_counter()
            for pose, seen in zip(poses, rooms, strict=True):
                drawn.show(None if whole else seen)
                renderer.render(drawn, pose)
                if depth is not None:
                    rays.distances(*camera_rays(depth, pose))
            spent += time.perf_counter() - began
            frames += len(poses)
    renderer.close()
    return frames / spent


def _stepping(env: NavigationEnv, seconds: float) -> float:
    actions = _actions().tolist()
    env.reset(seed=0)
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for action in actions:
            env.step(action)
        env.reset()
        steps += len(actions)
    return steps / (time.perf_counter() - began)
