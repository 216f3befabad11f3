"""Whole houses from a seed: plan, shell and furniture, checked before they leave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from navloop.envs.glb import Model, Node, write_glb
from navloop.envs.houses.placement import furnish
from navloop.envs.houses.plan import Plan, draw_plan
from navloop.envs.houses.shell import build_shell
from navloop.envs.houses.soundness import faults
from navloop.envs.scenes import SceneDescription
from navloop.files import write_text

_ATTEMPTS = 50


@dataclass(frozen=True, slots=True)
class House:
    """A house to look at and to talk about.

    Attributes:
        model: Nodes "<room>/walls", "/floor", "/ceiling", "/trim", then one per object of the description, by its name.
        description: Rooms, portals and objects.
    """

    model: Model
    description: SceneDescription


def generate_house(seed: int | np.random.SeedSequence | np.random.Generator) -> House:
    """Draw a furnished home of 4 to 10 rooms; the same seed gives the same house to the last byte.

    A draw that fails a check of `soundness` is thrown away and the next child of the seed is taken.

    Raises:
        RuntimeError: If 50 draws in a row fail, naming what was wrong with the last.
    """
    found: list[str] = []
    for rng in np.random.default_rng(seed).spawn(_ATTEMPTS):
        plan = draw_plan(rng)
        house = _draw(plan, rng)
        found = faults(plan, house.description.objects, house.model)
        if not found:
            return house
    raise RuntimeError(f"no sound house in {_ATTEMPTS} draws from {seed!r}; the last: {'; '.join(found)}")


def write_house(house: House, folder: Path, name: str) -> Path:
    """Write folder/name/name.glb and, before it, name.json beside it; return the GLB's path.

    Each file is whole or absent, and a GLB never stands without its description.

    Raises:
        OSError: If the folder cannot be written, naming it.
    """
    path = folder / name / f"{name}.glb"
    write_text(path.with_suffix(".json"), house.description.to_json() + "\n")
    write_glb(path, house.model)
    return path


def _draw(plan: Plan, rng: np.random.Generator) -> House:
    furnishing = furnish(plan, rng)
    pieces = tuple(placed.object for placed in furnishing.items)
    shell = build_shell(plan, rng, [piece.box for piece in pieces])
    nodes = (*shell.nodes, *(Node(placed.object.name, placed.parts) for placed in furnishing.items))
    model = Model(nodes, {**shell.textures, **furnishing.textures})
    return House(model, SceneDescription(plan.rooms, plan.portals, (*shell.objects, *pieces)))
