"""The fixed part of a house in triangles: walls with their openings, floors, ceilings, trims, windows and doors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navloop.envs.glb import Node
from navloop.envs.houses.layouts import CIRCULATION
from navloop.envs.houses.leaves import Box, Leaf, draw_leaf
from navloop.envs.houses.plan import Plan
from navloop.envs.houses.sides import OVERLAP, Hole, Point, Sheets, Side, bounds, rectangle, sides, wall_triangles
from navloop.envs.houses.skins import Skin, wall_skins
from navloop.envs.houses.surfaces import (
    SWATCHES,
    TILED_HEIGHT,
    TILED_WALLS,
    Texture,
    ceiling_texture,
    floor_texture,
    swatch_texture,
)
from navloop.envs.houses.views import DOOR_PAINTS, FRONT_DOOR_PAINTS, door_texture, window_texture
from navloop.envs.scenes import Portal, Room, SceneObject

_CASING = 0.07
_PROUD = 0.015  # How far a casing stands out of its wall.
_PANE = 0.06  # How deep a window lies in its wall.
_LEAF = 0.03  # How deep the front door lies in its wall.
_VIEWS = ("garden", "hills", "street", "trees")


@dataclass(frozen=True, slots=True)
class Shell:
    """What `build_shell` makes.

    Attributes:
        nodes: "<room>/walls", "<room>/floor", "<room>/ceiling" and "<room>/trim" of every room, then one per object.
        textures: uint8 (H, W, 3) by name.
        objects: Doors and windows, in the order of their nodes.
    """

    nodes: tuple[Node, ...]
    textures: dict[str, Texture]
    objects: tuple[SceneObject, ...]


def build_shell(plan: Plan, rng: np.random.Generator, obstacles: Sequence[Box] = ()) -> Shell:
    """Build walls, floors, ceilings, windows and doors of a plan.

    Args:
        plan: Rooms and portals.
        rng: Draws colours of doors, views from windows, and which doors have a leaf.
        obstacles: Boxes (min x, min y, min z, max x, max y, max z) that door leaves keep clear of.
    """
    builder = _Builder(plan, rng, obstacles)
    # Leaves rather stand in rooms than in a hallway: those come last.
    for room in sorted(plan.rooms, key=lambda room: room.label in CIRCULATION):
        builder.add_room(room)
    return builder.shell()


class _Builder:
    def __init__(self, plan: Plan, rng: np.random.Generator, obstacles: Sequence[Box]) -> None:
        self._plan, self._rng, self._obstacles = plan, rng, list(obstacles)
        self._nodes: list[Node] = []
        self._fixtures: list[tuple[Node, SceneObject]] = []
        self._hung: set[Portal] = set()
        self._windows = 0
        names = list(DOOR_PAINTS)
        self._door = names[int(rng.choice(len(names), p=[0.5, 0.25, 0.15, 0.1]))]
        self._front = list(FRONT_DOOR_PAINTS)[int(rng.integers(len(FRONT_DOOR_PAINTS)))]
        self._view = _VIEWS[int(rng.integers(len(_VIEWS)))]
        trim = (244, 242, 236) if self._door in ("white", "grey") else DOOR_PAINTS[self._door]
        self._textures: dict[str, Texture] = {
            "ceiling": ceiling_texture(),
            "trim": swatch_texture(trim),
            "window trim": swatch_texture((244, 242, 236)),
            "door": door_texture(DOOR_PAINTS[self._door]),
        }

    def shell(self) -> Shell:
        nodes = (*self._nodes, *(node for node, _ in self._fixtures))
        return Shell(nodes, self._textures, tuple(thing for _, thing in self._fixtures))

    def add_room(self, room: Room) -> None:
        walls, trim = Sheets(), Sheets()
        around = sides(self._plan, room)
        skins, textures = wall_skins(room, around)
        self._textures |= textures
        for index, side in enumerate(around):
            self._wall(walls, side, skins[index])
            if room.colours["wall"].endswith(" tiles"):
                self._rail(trim, side, room.colours["wall"].removesuffix(" tiles"))
            for hole in side.holes:
                if hole.portal.kind == "opening":
                    self._reveal(walls, side, hole, skins[(index + 1) % 4])
                else:
                    self._frame(trim, side, hole)
                self._fixture(room, side, hole)
        self._nodes.append(Node(f"{room.name}/walls", walls.parts()))
        self._nodes.append(Node(f"{room.name}/floor", self._floor(room).parts()))
        self._nodes.append(Node(f"{room.name}/ceiling", self._ceiling(room).parts()))
        if trim.parts():
            self._nodes.append(Node(f"{room.name}/trim", trim.parts()))

    def _wall(self, sheets: Sheets, side: Side, skin: Skin) -> None:
        points, faces = wall_triangles(side, self._plan.height)
        sheets.add(skin.texture, side.world(points), skin.uv(points, side.length, self._plan.height), faces)

    def _rail(self, sheets: Sheets, side: Side, tiles: str) -> None:
        """Add the border that closes the tiles of a wall, between its doors."""
        red, green, blue = (round(value * 0.8) for value in TILED_WALLS[tiles])
        self._textures[f"{tiles} rail"] = swatch_texture((red, green, blue))
        at = 0.0
        cuts = [(h.left - _CASING, h.right + _CASING) for h in side.holes if h.portal.bottom < TILED_HEIGHT]
        for left, right in (*cuts, (side.length, side.length)):
            if left - at > 0.01:
                rail = rectangle(at, TILED_HEIGHT - 0.05, left, TILED_HEIGHT + 0.02, -_PROUD)
                sheets.add(f"{tiles} rail", side.world(rail), _swatch("casing"))
            at = right

    def _reveal(self, sheets: Sheets, side: Side, hole: Hole, skin: Skin) -> None:
        """Add this room's half of the inner faces of an opening, in the colour of a wall across."""
        for quad in _lining(hole, 0.0, self._plan.wall / 2)[:3]:
            flat = [(side.length / 2 + d, y, 0.0) for _, y, d in quad]
            sheets.add(skin.texture, side.world(quad), skin.uv(flat, side.length, self._plan.height))

    def _frame(self, sheets: Sheets, side: Side, hole: Hole) -> None:
        """Add the casing on the wall and the lining of a door or window, as far as this room shows it."""
        portal = hole.portal
        left, right, bottom, top = hole.left, hole.right, portal.bottom, portal.top
        plates = [
            rectangle(left - _CASING, bottom, left, top + _CASING, -_PROUD),
            rectangle(right, bottom, right + _CASING, top + _CASING, -_PROUD),
            rectangle(left, top, right, top + _CASING, -_PROUD),
        ]
        if portal.kind == "window":
            plates.append(rectangle(left - _CASING, bottom - _CASING, right + _CASING, bottom, -_PROUD))
        texture = "window trim" if portal.kind == "window" else "trim"
        for plate in plates:
            sheets.add(texture, side.world(plate), _swatch("casing"))
        depth = _PANE if portal.kind == "window" else _LEAF if not portal.rooms[1] else self._plan.wall / 2
        lining = _lining(hole, -_PROUD, depth)
        for quad, swatch in zip(lining, ("jamb", "jamb", "soffit", "sill"), strict=True):
            if swatch != "sill" or portal.kind == "window":
                sheets.add(texture, side.world(quad), _swatch(swatch))

    def _floor(self, room: Room) -> Sheets:
        texture, metres = floor_texture(room.colours["floor"])
        self._textures[room.colours["floor"]] = texture
        half = self._plan.wall / 2  # Up to the middle of the walls: thresholds are covered from both rooms.
        x0, z0, x1, z1 = bounds(room)
        x0, z0, x1, z1 = x0 - half, z0 - half, x1 + half, z1 + half
        corners = np.array([[x0, 0, z0], [x0, 0, z1], [x1, 0, z1], [x1, 0, z0]], float)
        uv = corners[:, [0, 2]] / metres
        sheets = Sheets()
        sheets.add(room.colours["floor"], corners, uv if x1 - x0 > z1 - z0 else uv[:, ::-1])
        return sheets

    def _ceiling(self, room: Room) -> Sheets:
        half, y = self._plan.wall / 2, self._plan.height
        x0, z0, x1, z1 = bounds(room)
        x0, z0, x1, z1 = x0 - half, z0 - half, x1 + half, z1 + half
        corners = np.array([[x0, y, z0], [x1, y, z0], [x1, y, z1], [x0, y, z1]], float)
        inset = 0.5 / 64
        uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * (1 - 2 * inset) + inset
        sheets = Sheets()
        sheets.add("ceiling", corners, uv)
        return sheets

    def _fixture(self, room: Room, side: Side, hole: Hole) -> None:
        if hole.portal.kind == "window":
            self._window(room, side, hole)
        elif hole.portal.kind == "door" and not hole.portal.rooms[1]:
            self._textures["front door"] = door_texture(FRONT_DOOR_PAINTS[self._front], True)
            corners = rectangle(hole.left, -OVERLAP, hole.right, hole.portal.top, _LEAF)
            labels = ("front_door", "front door", self._front, "wood")
            self._hang(room, side, labels, "front door", corners)
        elif hole.portal.kind == "door":
            self._leaf(room, side, hole)

    def _window(self, room: Room, side: Side, hole: Hole) -> None:
        portal = hole.portal
        panes = int(np.clip(round((hole.right - hole.left) / 0.7), 1, 3))
        seed = int(self._rng.integers(3))
        texture = f"window {self._view} {panes} {seed}"
        self._textures[texture] = window_texture(self._view, panes, seed)
        self._windows += 1
        corners = rectangle(hole.left, portal.bottom, hole.right, portal.top, _PANE)
        self._hang(room, side, (f"window_{self._windows}", "window", "", "glass"), texture, corners)

    def _hang(
        self, room: Room, side: Side, words: tuple[str, str, str, str], texture: str, corners: list[Point]
    ) -> None:
        """Add a flat fixture in a wall, filled by its texture."""
        inset = 0.004  # The texture repeats: its edges would show the opposite ones.
        uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0]]) * (1 - 2 * inset) + inset
        sheets = Sheets()
        vertices = side.world(corners)
        sheets.add(texture, vertices, uv)
        self._fixtures.append(_named(words, room, sheets, vertices, side.heading))

    def _leaf(self, room: Room, side: Side, hole: Hole) -> None:
        """Let the door stand open in this room or, if that fails, in the other one, when its turn comes."""
        leaf = None if hole.portal in self._hung else draw_leaf(self._plan, room, side, hole, self._obstacles)
        if leaf is None:
            return
        self._hung.add(hole.portal)
        self._obstacles.append(leaf.box)
        sheets = _leaf_sheets(side, leaf)
        name = f"door_{len(self._hung)}"
        words = (name, "door", self._door if self._door in ("white", "grey") else "", "wood")
        self._fixtures.append(_named(words, room, sheets, side.world(leaf.corners()), leaf.heading))


def _lining(hole: Hole, near: float, far: float) -> list[list[Point]]:
    """Return the inner faces of a hole from depth `near` to `far`: left jamb, right jamb, soffit, sill."""
    left, right, bottom, top = hole.left, hole.right, hole.portal.bottom, hole.portal.top
    return [
        [(left, bottom, near), (left, bottom, far), (left, top, far), (left, top, near)],
        [(right, bottom, far), (right, bottom, near), (right, top, near), (right, top, far)],
        [(left, top, far), (right, top, far), (right, top, near), (left, top, near)],
        [(left, bottom, near), (right, bottom, near), (right, bottom, far), (left, bottom, far)],
    ]


def _swatch(name: str) -> NDArray[np.float64]:
    return np.tile([(SWATCHES[name] + 0.5) / len(SWATCHES), 0.5], (4, 1))


def _leaf_sheets(side: Side, leaf: Leaf) -> Sheets:
    """Return an open leaf: two panelled faces, and the edges that show."""
    sheets = Sheets()
    uv = np.array([[0.004, 0.996], [0.996, 0.996], [0.996, 0.004], [0.004, 0.004]])
    for face, hinge_left in leaf.broad_faces():
        sheets.add("door", side.world(face), uv if hinge_left else uv[[1, 0, 3, 2]])
    for face in leaf.edges():
        sheets.add("trim", side.world(face), _swatch("jamb"))
    return sheets


def _named(
    words: tuple[str, str, str, str], room: Room, sheets: Sheets, vertices: NDArray[np.float64], heading: float
) -> tuple[Node, SceneObject]:
    name, label, colour, material = words
    low, high = vertices.min(0), vertices.max(0)
    corners = (low[0], max(low[1], 0.0), low[2], *high)  # Without what reaches under the floor.
    x0, y0, z0, x1, y1, z1 = (round(float(value), 4) + 0.0 for value in corners)
    thing = SceneObject(name, label, colour, material, room.name, (x0, y0, z0, x1, y1, z1), heading)
    return Node(name, sheets.parts()), thing
