"""One step forward: straight where free, along or up to the obstacle where not."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from navloop.envs.embedded.freespace import Edge, FreeSpace
from navloop.envs.simulator import Body
from navloop.geometry import Vector

MARGIN: float = 1e-4
"""Metres kept from the boundary after a contact, so that rounding never puts the next step outside."""

COLLISION_EPSILON: float = 1e-5
"""Square metres by which a step's squared length must fall short to count as a collision.

Source: habitat-sim, src_python/habitat_sim/agent/controls/controls.py, ObjectControls.action.
"""

MAX_TURNS: int = 12
"""How often a step may change direction before it ends where it is."""


class Motion(NamedTuple):
    """What a FORWARD did.

    Attributes:
        position: float64 (3,), where it ended, on free space.
        collided: Whether it moved less far than asked.
    """

    position: Vector
    collided: bool


def move(free: FreeSpace, position: Vector, heading: float, body: Body) -> Motion:
    """Take one FORWARD of `body.step` from a free position (3,), metres, towards `heading`, radians.

    Where the way is blocked, a sliding body goes on along the obstacle towards the point that it had aimed at, as far as
    that brings it nearer, and never further than a step in all; another stops a tenth of a millimetre short of the contact.
    A position beside free space starts from the nearest free point.
    """
    from_x, from_y, from_z = position.tolist()
    x, z = from_x, from_z
    if not free.holds(x, z):
        start = free.nearest(position)
        if start is not None:
            x, z = float(start[0]), float(start[2])
    end = (x - math.sin(heading) * body.step, z - math.cos(heading) * body.step)
    edges = free.edges_near(x, z, body.step + 10 * MARGIN)
    to = end
    if edges:
        to = _walk((x, z), end, edges, body.sliding)
        if to != end and not free.holds(*to):
            to = (x, z)
    height = free.height_at(*to)
    moved = (to[0] - from_x) ** 2 + (height - from_y) ** 2 + (to[1] - from_z) ** 2
    return Motion(np.array([to[0], height, to[1]]), moved + COLLISION_EPSILON < body.step**2)


Point = tuple[float, float]


def _walk(start: Point, end: Point, edges: list[Edge], sliding: bool) -> Point:
    """Return how far a point gets from start towards end among edges that it must not cross."""
    budget = math.dist(start, end)
    share, edge = _first_hit(start, end, edges)
    here = _between(start, end, share)
    budget -= math.dist(start, here)
    if edge is None or not sliding:
        return here
    met: list[Edge] = []
    for _ in range(MAX_TURNS):
        aim = _along(here, end, edge, budget)
        share, hit = _first_hit(here, aim, edges)
        there = _between(here, aim, share)
        progress = math.dist(here, there)
        budget -= progress
        here = there
        if hit is None:
            # Past the end of the edge, or level with the goal: the straight way may be open again.
            share, hit = _first_hit(here, end, edges)
            there = _between(here, end, min(share, budget / max(math.dist(here, end), 1e-12)))
            progress += math.dist(here, there)
            budget -= math.dist(here, there)
            here = there
        if hit is None or (progress < 1e-9 and hit is edge) or budget <= 1e-9:
            return here
        # In a corner the walls pass the body to and fro. Once it is back at one without having moved, more turns only repeat these.
        met = [*met, edge] if progress == 0 else []
        if hit in met:
            return here
        edge = hit
    return here


def _first_hit(start: Point, end: Point, edges: list[Edge]) -> tuple[float, Edge | None]:
    """Return the share of the way up to `MARGIN` before the first edge in the way, and that edge; (1, None) if open."""
    x, z = start
    dx, dz = end[0] - x, end[1] - z
    first, found = 1.0, None
    for edge in edges:
        ax, az, ux, uz, length = edge
        towards = dx * uz - dz * ux  # minus the way along the inward normal (-uz, ux)
        if towards <= 1e-15:
            continue
        px, pz = x - ax, z - az
        distance = pz * ux - px * uz
        gap = distance - MARGIN
        if gap >= towards or distance < -MARGIN:  # further than the end, or passed
            continue
        share = gap / towards if gap > 0 else 0.0
        if share >= first:
            continue
        along = (px + share * dx) * ux + (pz + share * dz) * uz
        if -MARGIN <= along <= length + MARGIN:
            first, found = share, edge
    return first, found


def _along(here: Point, end: Point, edge: Edge, budget: float) -> Point:
    """Return the point beside an edge that is nearest to the end, no further than the budget nor just past the edge."""
    ax, az, ux, uz, length = edge
    wanted = (end[0] - here[0]) * ux + (end[1] - here[1]) * uz
    wanted = max(-budget, min(budget, wanted))
    passed = (here[0] - ax) * ux + (here[1] - az) * uz
    step = max(-2 * MARGIN - passed, min(length + 2 * MARGIN - passed, wanted))
    return here[0] + step * ux, here[1] + step * uz


def _between(start: Point, end: Point, share: float) -> Point:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
