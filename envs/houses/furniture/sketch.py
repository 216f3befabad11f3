"""The few solids that furniture is made of, each face with its image in the atlas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from navloop.envs.houses.atlas import Atlas, Image
from navloop.envs.houses.furniture.palette import Finish, Style
from navloop.envs.houses.furniture.patterns import METRES, SHADES, surface

Array = NDArray[np.float64]

# Corners of a box: bit 0 is +x, bit 1 is +y, bit 2 is +z. A face lists its top left, bottom left, bottom right and top right
# corner as seen from outside, which is counter-clockwise; upper faces are seen by someone who stands in front.
_FACES: dict[str, tuple[list[int], int]] = {
    "t": ([7, 3, 2, 6], 0),
    "f": ([3, 1, 0, 2], 1),
    "b": ([6, 4, 5, 7], 1),
    "r": ([7, 5, 1, 3], 2),
    "l": ([2, 0, 4, 6], 2),
    "u": ([1, 5, 4, 0], 3),
}
_WHOLE = np.array([[0, 0], [0, 1], [1, 1], [1, 0]], float)
_BITS = np.array([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)], float)


@dataclass(frozen=True, slots=True)
class Picture:
    """An image drawn for one face.

    Attributes:
        key: What tells it from other pictures.
        draw: Makes it, uint8 (H, W, 3).
        shade: Multiplied in.
    """

    key: tuple[object, ...]
    draw: Callable[[], Image]
    shade: float = 1.0

    def shaded(self, shade: float) -> Picture:
        """Return the same picture, darker."""
        return Picture(self.key, self.draw, shade)


Skin = Finish | Picture


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles in the piece's own frame.

    Attributes:
        vertices: float64 (V, 3), metres.
        faces: int32 (F, 3), counter-clockwise seen from outside.
        images: int64 (V,), number of the image in the atlas that is seen there.
        shares: float64 (V, 2), the place in that image: (0, 0) is its top left corner, (1, 1) its bottom right one.
    """

    vertices: Array
    faces: NDArray[np.int32]
    images: NDArray[np.int64]
    shares: Array

    @property
    def low(self) -> Array:
        """Least x, y, z (3,)."""
        low: Array = self.vertices.min(axis=0)
        return low

    @property
    def high(self) -> Array:
        """Greatest x, y, z (3,)."""
        high: Array = self.vertices.max(axis=0)
        return high


class Sketch:
    """Collects the solids of one piece.

    Frame: the front faces -z, the back is at +z, up is y; the origin lies on the floor in the middle of the footprint
    (for what hangs on a wall: at its lower edge; from a ceiling: at its upper end).

    Attributes:
        main: Finish that names the piece's colour.
        style: Taste of the house.
        rng: Source of randomness.
        width: Width that the place asks for, metres; None leaves it to the piece.
        height: Height that the place asks for, metres; None leaves it to the piece.
    """

    def __init__(self, atlas: Atlas, style: Style, main: Finish, rng: np.random.Generator) -> None:
        self.main, self.style, self.rng = main, style, rng
        self.width: float | None = None
        self.height: float | None = None
        self._atlas = atlas
        self._corners: list[Array] = []
        self._images: list[int] = []
        self._shares: list[Array] = []

    def uniform(self, low: float, high: float) -> float:
        """Draw a length, to the centimetre."""
        return round(float(self.rng.uniform(low, high)), 2)

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return bool(self.rng.random() < probability)

    def box(
        self,
        at: tuple[float, float, float],
        size: tuple[float, float, float],
        skin: Skin,
        faces: str = "tfblr",
        pictures: Mapping[str, Picture] | None = None,
    ) -> None:
        """Add a box.

        Args:
            at: Middle of its lower face (x, y, z), metres.
            size: Width along x, height, depth along z, metres.
            skin: What covers it.
            faces: Which faces exist: t(op), f(ront), b(ack), l(eft, -x), r(ight, +x), u(nderside).
            pictures: Other skins for some faces.
        """
        width, height, depth = size
        corners = (_BITS - (0.5, 0, 0.5)) * (width, height, depth) + at
        extents = {"t": (width, depth), "u": (width, depth), "f": (width, height), "b": (width, height)}
        for face in faces:
            indices, shade = _FACES[face]
            chosen = pictures[face] if pictures and face in pictures else skin
            self._add(corners[indices], chosen, shade, extents.get(face, (depth, height)))

    def quad(self, corners: Array | list[tuple[float, float, float]], skin: Skin, shade: int = 1) -> None:
        """Add a flat face; corners (4, 3) from its top left, counter-clockwise seen from outside."""
        points = np.asarray(corners, float)
        extent = (float(np.linalg.norm(points[3] - points[0])), float(np.linalg.norm(points[1] - points[0])))
        self._add(points, skin, shade, extent)

    def prism(
        self,
        at: tuple[float, float, float],
        radii: tuple[float, float],
        height: float,
        skin: Skin,
        sides: int = 8,
        caps: str = "t",
        depth: float = 1.0,
    ) -> None:
        """Add an upright prism or cone.

        Args:
            at: Middle of its lower face, metres.
            radii: Lower and upper radius, metres.
            height: Metres.
            skin: What covers it.
            sides: Number of sides.
            caps: Which ends are closed: "", "t" (upper), "u" (lower), "tu".
            depth: Its extent along z over that along x.
        """
        angles = (np.arange(sides + 1) + 0.5) * (2 * np.pi / sides)
        # Turning from -z towards +x is to the right as seen from above, so the next corner lies on the viewer's left.
        circle = np.stack([np.sin(angles), np.zeros(sides + 1), -np.cos(angles) * depth], axis=1)
        lower, upper = circle * radii[0] + at, circle * radii[1] + (at[0], at[1] + height, at[2])
        width = 2 * max(radii) * np.sin(np.pi / sides)
        for i in range(sides):
            facing = (angles[i] + angles[i + 1]) / 2
            shade = int(np.clip(round(1.6 - 1.2 * np.cos(facing + 0.6)), 0, 3))
            corners = np.array([upper[i + 1], lower[i + 1], lower[i], upper[i]])
            self._add(corners, skin, shade, (width, height))
        if "t" in caps:
            self._fan(upper[-2::-1], skin, 0)
        if "u" in caps:
            self._fan(lower[:-1], skin, 3)

    def disc(self, ring: Array, front: Picture) -> None:
        """Add an upright flat face; `ring` (N, 3) runs counter-clockwise as seen from the front."""
        self._fan(ring, front, 1, (0, 1))

    def leg(self, x: float, z: float, height: float, thick: tuple[float, float], skin: Skin) -> None:
        """Add a square leg from the floor; `thick` is its lower and upper edge, metres."""
        self.prism((x, 0, z), (thick[0] * 0.7071, thick[1] * 0.7071), height, skin, sides=4, caps="")

    def legs(self, span: tuple[float, float], height: float, thick: tuple[float, float], skin: Skin) -> None:
        """Add four legs at the corners of a rectangle (width, depth), set in by half their upper edge."""
        x, z = (span[0] - thick[1]) / 2, (span[1] - thick[1]) / 2
        for sx, sz in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
            self.leg(sx * x, sz * z, height, thick, skin)

    def mesh(self) -> Mesh:
        """Return what was added."""
        vertices = np.concatenate(self._corners)
        quads = np.arange(len(vertices)).reshape(-1, 4)
        faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
        kept = np.linalg.norm(np.cross(*(vertices[faces[:, [1, 2]]] - vertices[faces[:, :1]]).swapaxes(0, 1)), axis=1)
        return Mesh(
            vertices, faces[kept > 1e-10].astype(np.int32), np.repeat(self._images, 4), np.concatenate(self._shares)
        )

    def _fan(self, ring: Array, skin: Skin, shade: int, axes: tuple[int, int] = (0, 2)) -> None:
        """Close a convex ring, counter-clockwise seen from outside; the image spans its bounds on two axes."""
        low, span = ring.min(axis=0), np.ptp(ring, axis=0)
        image = self._image(skin, shade)
        for i in range(1, len(ring) - 1, 2):
            corners = ring[[0, i, i + 1, min(i + 2, len(ring) - 1)]]
            share = 1 - ((corners - low) / np.where(span > 0, span, 1))[:, list(axes)]
            self._corners.append(corners)
            self._images.append(image)
            self._shares.append(share)

    def _add(self, corners: Array, skin: Skin, shade: int, extent: tuple[float, float]) -> None:
        self._corners.append(corners)
        self._images.append(self._image(skin, shade))
        self._shares.append(self._cut(skin, extent) if isinstance(skin, Finish) else _WHOLE)

    def _cut(self, finish: Finish, extent: tuple[float, float]) -> Array:
        """Choose the part of a surface that keeps the pattern at its size; grain runs along the longer side."""
        turned = finish.pattern == "wood" and extent[1] > extent[0]
        across, down = extent[::-1] if turned else extent
        metres = METRES[finish.pattern]
        u, v = min(1.0, across / metres), min(1.0, down / metres)
        u0, v0 = self.rng.random(2) * (1 - u, 1 - v)
        share = np.array([[u0, v0], [u0, v0 + v], [u0 + u, v0 + v], [u0 + u, v0]])
        return np.roll(share, 1, axis=0) if turned else share

    def _image(self, skin: Skin, shade: int) -> int:
        if isinstance(skin, Finish):
            return self._atlas.number((skin, shade), partial(surface, skin, SHADES[shade]))
        # Pictures are drawn as they look on a front, so fronts take them as they are.
        level = round(skin.shade * min(1.0, SHADES[shade] / SHADES[1]), 2)
        return self._atlas.number((skin.key, level), partial(_dimmed, skin.draw, level))


def _dimmed(draw: Callable[[], Image], level: float) -> Image:
    dimmed: Image = np.clip(draw() * level, 0, 255).astype(np.uint8)
    return dimmed
