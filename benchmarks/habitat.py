"""Steps a second through our environment over habitat-sim, through bare `habitat.Env`, and of bare habitat-sim, on the same walks.

All three take the same actions in the same house from the same starts with the same cameras, in turns, so that what else the machine
does slows each of them alike. Bare habitat-sim moves and draws; `habitat.Env` adds habitat-lab's task with distance to goal, success
and SPL; ours adds the whole set of VLN metrics, copies of the frames, and gymnasium's contract. Resets count, loads of scenes do not.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.data import dataset, episodes
from benchmarks.rendering import EPISODE, ROUNDS
from navloop.envs.episodes import read_episodes
from navloop.envs.habitat.versions import HabitatMissing, Installation, find_habitat
from navloop.envs.navigation import NavigationEnv
from navloop.envs.protocols import Protocol, get_protocol
from navloop.envs.worlds import create_simulator
from navloop.geometry import Pose, quaternion_to_heading
from navloop.records import Episode

Walk = Callable[[Episode, list[int]], None]


def run(console: Console, folder: Path, seconds: float) -> None:
    found = installed(console, "habitat")
    if found is None:
        return
    scenes = _export(folder)
    title = (
        f"Steps a second, habitat-sim {found.sim} with habitat-lab {found.lab} on the processor (share of habitat.Env)"
    )
    table = Table(title=title)
    for column in ("pixels", "sensors", "bare habitat-sim", "bare habitat.Env", "environment"):
        table.add_column(column, justify="right")
    for depth in (False, True):
        for size in (128, 224):
            protocol = get_protocol("houses").with_resolution(size)
            protocol = protocol.with_depth() if depth else protocol
            bare, lab, ours = _measure(folder, scenes, protocol, seconds)
            cells = (f"{bare:,.0f} ({bare / lab:.0%})", f"{lab:,.0f}", f"{ours:,.0f} ({ours / lab:.1%})")
            table.add_row(str(size), "RGB-D" if depth else "RGB", *cells)
    console.print(table)


def installed(console: Console, name: str) -> Installation | None:
    """Return which Habitat is installed; where none is, say that the benchmark of that name is left out."""
    try:
        return find_habitat()
    except HabitatMissing as error:
        console.print(f"{name}: left out. {error}", highlight=False)
        return None


def _export(folder: Path) -> Path:
    from navloop.envs.habitat.export import export_houses

    target = folder / "habitat"
    if not (target / "export.json").is_file():
        export_houses(dataset(folder), target)
    return target / "scene_datasets"


def _measure(folder: Path, scenes: Path, protocol: Protocol, seconds: float) -> tuple[float, float, float]:
    """Return the rates of bare habitat-sim, of habitat.Env and of our environment."""
    import habitat

    from navloop.envs.habitat.composition import compose_vln
    from navloop.envs.habitat.tasks import lab_dataset

    listed = read_episodes(episodes(folder)).episodes
    chosen = [episode for episode in listed if episode.scene_id == listed[0].scene_id]
    simulator = create_simulator("habitat", scenes, protocol)
    ours = NavigationEnv(simulator, chosen, protocol)
    ours.reset()  # first, as its simulator has the context that they share
    lab = habitat.Env(compose_vln(protocol), lab_dataset(chosen, scenes))
    walks = (_bare(simulator), _lab(lab), _ours(ours))
    steps, spent = np.zeros(3), np.zeros(3)
    for _, (number, walk) in itertools.product(range(ROUNDS), enumerate(walks)):
        for episode, actions in _until(seconds / ROUNDS, chosen):
            began = time.perf_counter()
            walk(episode, actions)
            spent[number] += time.perf_counter() - began
            steps[number] += len(actions)
    lab.close()
    ours.close()
    bare, through_lab, through_ours = (steps / spent).tolist()
    return bare, through_lab, through_ours


def _until(seconds: float, chosen: list[Episode]) -> Iterator[tuple[Episode, list[int]]]:
    """Yield walks, the same for everyone, until the time is up."""
    began = time.perf_counter()
    for number in itertools.count():
        if time.perf_counter() - began > seconds:
            return
        actions = np.random.default_rng(number).choice([1, 1, 1, 2, 3], size=EPISODE).tolist()
        yield chosen[number % len(chosen)], actions


def _bare(simulator) -> Walk:
    import habitat_sim

    def walk(episode: Episode, actions: list[int]) -> None:
        simulator.set_pose(Pose(episode.start_position, quaternion_to_heading(episode.start_rotation)))
        simulator.native.get_sensor_observations()
        for action in actions:
            habitat_sim.Simulator.step(simulator.native, action)

    return walk


def _lab(lab) -> Walk:
    named = {str(episode.episode_id): episode for episode in lab.episodes}

    def walk(episode: Episode, actions: list[int]) -> None:
        lab.current_episode = named[episode.episode_id]
        lab.reset()
        for action in actions:
            lab.step(action)

    return walk


def _ours(env: NavigationEnv) -> Walk:
    def walk(episode: Episode, actions: list[int]) -> None:
        env.reset(options={"episode": episode.episode_id})
        for action in actions:
            env.step(action)

    return walk
