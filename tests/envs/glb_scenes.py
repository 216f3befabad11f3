"""Small textured models, for the tests of rendering and rays: not a test itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navloop.envs.glb import Model, Node, Part
from navloop.envs.scenes import Portal, Room, SceneDescription, SceneObject

_FACES = [(0, 1, 2), (0, 2, 3)]


def box(low: tuple[float, ...], high: tuple[float, ...], texture: str, inward: bool = False) -> Part:
    """Return a box whose faces show the whole texture once, seen from outside or from inside."""
    bounds = np.array([low, high], dtype=float)
    vertices, faces, uv = [], [], []
    for axis in range(3):
        across, along = (axis + 1) % 3, (axis + 2) % 3
        for side in (0, 1):
            first = len(vertices)
            for i, j in ((0, 0), (1, 0), (1, 1), (0, 1)):
                corner = np.zeros(3)
                corner[axis], corner[across], corner[along] = bounds[side, axis], bounds[i, across], bounds[j, along]
                vertices.append(corner)
                uv.append((i, j))
            turned = (side == 0) != inward
            faces += [tuple(first + k for k in (face[::-1] if turned else face)) for face in _FACES]
    return Part(texture, np.array(vertices, np.float32), np.array(faces, np.int32), np.array(uv, np.float32))


def plain(*rgb: int) -> NDArray[np.uint8]:
    """Return a texture of one colour."""
    return np.full((8, 8, 3), rgb, np.uint8)


def one_room() -> Model:
    """Return a white room 8 m wide (x -4..4), 10 m long (z -7..3), 2.6 m high, with a red cube on its floor at z -3.5..-2.5."""
    shell = Node("hall_1/walls", (box((-4, 0, -7), (4, 2.6, 3), "white", inward=True),))
    cube = Node("cube_1", (box((-0.5, 0, -3.5), (0.5, 1, -2.5), "red"),))
    return Model((shell, cube), {"white": plain(240, 240, 240), "red": plain(200, 30, 30)})


def three_rooms() -> tuple[Model, SceneDescription]:
    """Return rooms of 4 m by 4 m side by side along x, with doors at different z, a box of its own colour in each."""
    nodes, rooms, objects = [], [], []
    textures = {"wall": plain(220, 220, 210), "floor": plain(120, 90, 60)}
    for i, colour in enumerate([(220, 40, 40), (40, 180, 60), (50, 70, 220)]):
        low, high = 4.1 * i, 4.1 * i + 4
        name = f"room_{i}"
        nodes.append(
            Node(f"{name}/walls", tuple(_walls(low, high, doors=[d for d in _DOORS if d[0] in (i - 1, i)], here=i)))
        )
        nodes.append(Node(f"{name}/floor", (box((low - 0.05, -0.1, 0), (high + 0.05, 0, 4), "floor"),)))
        lid = box((low - 0.05, 2.6, -0.05), (high + 0.05, 2.65, 4.05), "wall")
        nodes.append(Node(f"{name}/ceiling", (lid,)))
        textures[f"paint_{i}"] = plain(*colour)
        nodes.append(Node(f"crate_{i}", (box((low + 0.3, 0, 0.3), (low + 0.9, 0.8, 0.9), f"paint_{i}"),)))
        rooms.append(Room(name, f"room {i}", ((low, 0.0), (low, 4.0), (high, 4.0), (high, 0.0)), 0.0, 2.6, {}))
        bounds = (low + 0.3, 0.0, 0.3, low + 0.9, 0.8, 0.9)
        objects.append(SceneObject(f"crate_{i}", "crate", "red", "wood", name, bounds, 0.0))
    portals = [
        Portal((f"room_{i}", f"room_{i + 1}"), ((4.1 * i + 4.05, z0), (4.1 * i + 4.05, z1)), "door", 0.0, 2.6)
        for i, z0, z1 in _DOORS
    ]
    return Model(tuple(nodes), textures), SceneDescription(tuple(rooms), tuple(portals), tuple(objects))


_DOORS = [(0, 0.5, 1.5), (1, 2.5, 3.5)]  # Room on the left, start and end along z.


def _walls(low: float, high: float, doors: list[tuple[int, float, float]], here: int) -> list[Part]:
    """Return the walls of a room as slabs 5 cm thick, each room with its own half of a shared wall."""
    parts = [box((low, 0, -0.05), (high, 2.6, 0), "wall"), box((low, 0, 4), (high, 2.6, 4.05), "wall")]
    for x, left in ((low - 0.05, here - 1), (high, here)):
        gaps = [(z0, z1) for i, z0, z1 in doors if i == left]
        edges = [0.0, *(z for gap in gaps for z in gap), 4.0]
        parts += [box((x, 0, a), (x + 0.05, 2.6, b), "wall") for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return parts
