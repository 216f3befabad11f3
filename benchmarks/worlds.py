"""How alike the embedded world and Habitat are: the same actions, walks between random places, and views, in twenty exported houses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.habitat import installed
from navloop.configs.schema import HousesConfig
from navloop.envs.houses.datasets import generate_dataset
from navloop.envs.protocols import get_protocol
from navloop.envs.simulator import Action, Simulator
from navloop.envs.worlds import create_simulator
from navloop.geometry import Pose, wrap_angle

HOUSES, WALKS, ACTIONS, PAIRS, VIEWS = 20, 40, 30, 50, 5
"""Houses; of each: walks, actions a walk at most, pairs of places, and views."""


@dataclass
class Gaps:
    """What was found to differ: of each free step, whether both were stopped, of each pair and each view."""

    level: list[float] = field(default_factory=list)
    height: list[float] = field(default_factory=list)
    heading: list[float] = field(default_factory=list)
    agreed: list[bool] = field(default_factory=list)
    agreed_forward: list[bool] = field(default_factory=list)
    geodesic: list[float] = field(default_factory=list)
    depth: list[float] = field(default_factory=list)
    colour: list[float] = field(default_factory=list)
    objects: list[float] = field(default_factory=list)


def run(console: Console, folder: Path, seconds: float) -> None:
    found = installed(console, "worlds")
    if found is None:
        return
    scenes, names = _export(folder)
    protocol = get_protocol("houses")
    kinds: tuple[Literal["rgb", "depth", "semantic"], ...] = ("rgb", "depth", "semantic")
    small = replace(protocol.cameras[0], width=128, height=128)
    protocol = protocol.with_cameras([replace(small, name=kind, kind=kind) for kind in kinds])
    worlds = create_simulator("embedded", scenes, protocol), create_simulator("habitat", scenes, protocol)
    gaps, rng = Gaps(), np.random.default_rng(0)
    for name in names:
        for world in worlds:
            world.load_scene(name)
        _measure(*worlds, gaps, rng)
    console.print(_table(gaps, f"The embedded world beside {found.words}, {HOUSES} houses"))
    for world in worlds:
        world.close()


def _export(folder: Path) -> tuple[Path, list[str]]:
    from navloop.envs.habitat.export import export_houses

    config = HousesConfig(name="alike", train_houses=0, val_unseen_houses=HOUSES, val_unseen_tours=1, val_seen_tours=0)
    generate_dataset(config, folder / "alike", workers=0)
    scenes = export_houses(folder / "alike", folder / "alike_habitat").folder / "scene_datasets"
    return scenes, sorted(str(path.relative_to(scenes)) for path in scenes.glob("*/*/*.glb"))


def _measure(embedded: Simulator, habitat: Simulator, gaps: Gaps, rng: np.random.Generator) -> None:
    for number in range(WALKS):
        pose = _common_place(embedded, habitat, rng)
        embedded.set_pose(pose)
        habitat.set_pose(pose)
        if number < VIEWS:
            ours, theirs = embedded.render(), habitat.render()
            gaps.depth.append(float(np.median(np.abs(ours["depth"] - theirs["depth"]))))
            gaps.colour.append(float(np.abs(ours["rgb"].astype(float) - theirs["rgb"]).mean()))
            gaps.objects.append(float((ours["semantic"] != theirs["semantic"]).mean()))
        _walk(embedded, habitat, gaps, rng)
    for _ in range(PAIRS):
        start, goal = (_common_place(embedded, habitat, rng).position for _ in range(2))
        ours, theirs = (float(world.geodesic_distances(start[None], goal)[0]) for world in (embedded, habitat))
        gaps.geodesic.append(abs(theirs - ours) / ours)


def _common_place(embedded: Simulator, habitat: Simulator, rng: np.random.Generator) -> Pose:
    """Draw a pose that an agent can take in both."""
    while True:
        position = embedded.sample_navigable_point(rng)
        if habitat.is_navigable(position):
            return Pose(position, float(rng.uniform(-np.pi, np.pi)))


def _walk(embedded: Simulator, habitat: Simulator, gaps: Gaps, rng: np.random.Generator) -> None:
    """Take the same actions in both until either touches something: from there on they slide, each in its own way."""
    for code in rng.choice([1, 1, 1, 2, 3], size=ACTIONS).tolist():
        hits = embedded.act(Action(code)), habitat.act(Action(code))
        gaps.agreed.append(hits[0] == hits[1])
        if code == Action.FORWARD:
            gaps.agreed_forward.append(hits[0] == hits[1])
        if any(hits):
            return
        apart = habitat.pose.position - embedded.pose.position
        gaps.level.append(float(np.hypot(apart[0], apart[2])))
        gaps.height.append(abs(float(apart[1])))
        gaps.heading.append(abs(float(np.degrees(wrap_angle(habitat.pose.heading - embedded.pose.heading)))))


def _table(gaps: Gaps, title: str) -> Table:
    table = Table(title=title)
    for column in ("", "of", "median or share", "99% under", "most"):
        table.add_column(column, justify="left" if not column else "right")
    rows = (
        ("place on the floor, mm", gaps.level, 1000.0),
        ("height, mm", gaps.height, 1000.0),
        ("heading, degrees", gaps.heading, 1.0),
        ("geodesic distance, %", gaps.geodesic, 100.0),
        ("depth, median of a view, mm", gaps.depth, 1000.0),
        ("colour, mean of a view, of 255", gaps.colour, 1.0),
        ("pixels of a view that show another object, %", gaps.objects, 100.0),
    )
    for name, values, unit in rows:
        array = np.array(values) * unit
        told = (f"{value:.2f}" for value in (np.median(array), np.quantile(array, 0.99), array.max()))
        table.add_row(name, f"{len(array):,}", *told)
    table.add_section()
    near = [share <= 0.03 for share in gaps.geodesic]
    for name, agreed in (
        ("steps that touch in both or neither, %", gaps.agreed),
        ("of them, steps forward, %", gaps.agreed_forward),
        ("geodesic distances within 3%, %", near),
    ):
        table.add_row(name, f"{len(agreed):,}", f"{100 * np.mean(agreed):.1f}")
    return table
