"""The hands that furnish a house: draw a piece, find it a place, set things on it, hang things up, and keep the list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from navloop.envs.houses.arrangement import Arrangement, Rect, Spot, Stretch, Wall
from navloop.envs.houses.atlas import Atlas
from navloop.envs.houses.furniture.catalogue import CATEGORIES, draw_mesh
from navloop.envs.houses.furniture.palette import Finish, draw_finish, draw_style
from navloop.envs.houses.furniture.sketch import Mesh
from navloop.envs.scenes import Room

Size = tuple[float | None, float | None]


class Piece(NamedTuple):
    """A piece that has been drawn and may be set down any number of times."""

    category: str
    finish: Finish
    mesh: Mesh

    @property
    def width(self) -> float:
        """Along its own x, metres."""
        return float(self.mesh.high[0] - self.mesh.low[0])

    @property
    def depth(self) -> float:
        """Along its own z, metres."""
        return float(self.mesh.high[2] - self.mesh.low[2])

    @property
    def height(self) -> float:
        """Its upper end above its origin, metres."""
        return float(self.mesh.high[1])


@dataclass(frozen=True, slots=True)
class Standing:
    """A piece in its place: `y` is the height of its origin."""

    piece: Piece
    room: Room
    spot: Spot
    y: float


class Furnisher:
    """Furnishes one house.

    Attributes:
        rng: Source of randomness.
        atlas: Where all patches go.
        style: Taste of the house.
        placed: What stands where, in the order of importance within each room.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.atlas = Atlas()
        self.style = draw_style(rng)
        self.placed: list[Standing] = []
        self._colours: defaultdict[str, set[str]] = defaultdict(set)

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return bool(self.rng.random() < probability)

    def shuffled(self, items: Iterable[int]) -> list[int]:
        """Return numbers in random order."""
        return [int(i) for i in self.rng.permutation(list(items))]

    def piece(self, category: str, size: Size = (None, None), like: Piece | None = None) -> Piece:
        """Draw a new piece in a colour that its kind does not have yet in the house, or in the finish of another."""
        kind = CATEGORIES[category]
        if like is not None:
            finish = like.finish
        else:
            finish = draw_finish(self.style, kind.groups, self.rng, self._colours[kind.label])
        mesh = draw_mesh(category, (self.atlas, self.style), finish, self.rng, size)
        return Piece(category, finish, mesh)

    def put(self, piece: Piece, floor: Arrangement, spot: Spot, y: float = 0.0) -> Standing:
        """Note where a piece is."""
        standing = Standing(piece, floor.room, spot, y)
        self.placed.append(standing)
        self._colours[CATEGORIES[piece.category].label].add(piece.finish.colour)
        return standing

    def stand(
        self, floor: Arrangement, pieces: Sequence[tuple[Piece, Spot]], uses: Sequence[Rect] = (), tuck: float = 0.001
    ) -> bool:
        """Set down all pieces of a group or none: they must fit and leave room to walk.

        Args:
            floor: The room.
            pieces: What to set down and where.
            uses: Floor that the first piece needs free before it.
            tuck: Metres that pieces of the group may stand under each other.
        """
        rects = [spot.rect for _, spot in pieces]
        for i, (piece, spot) in enumerate(pieces):
            if not floor.fits(spot.rect, piece.height, uses if i == 0 else ()):
                return False
            if any(spot.rect.overlaps(other, -tuck - 0.001) for other in rects[:i]):
                return False
        if not floor.is_walkable(rects):
            return False
        for piece, spot in pieces:
            self.put(piece, floor, spot)
            floor.take(spot.rect, piece.height)
        floor.uses.extend(uses)
        return True

    def against(
        self, floor: Arrangement, piece: Piece, front: float = 0.6, where: str = "any", walls: Sequence[int] = ()
    ) -> tuple[int, Spot] | None:
        """Stand a piece with its back to a wall.

        Args:
            floor: The room.
            piece: What to place.
            front: Metres kept free before it.
            where: "corner", "middle" or "any" part of a wall.
            walls: Which walls to try, in order; empty for all.

        Returns:
            The wall's index and the spot; None if there is no place.
        """
        for index in walls or self.shuffled(range(4)):
            wall = floor.walls[index]
            for s in self.stops(wall, piece.width, where):
                spot = wall.back(s, piece.mesh)
                reach = piece.depth + 0.03
                use = [wall.rect(s - piece.width / 2, s + piece.width / 2, reach, reach + front)] if front else []
                if self.stand(floor, [(piece, spot)], use):
                    return index, spot
        return None

    def stops(self, wall: Wall, width: float, where: str) -> list[float]:
        """Return places along a wall to try for the middle of a piece, the most wanted first."""
        low, high = width / 2 + 0.02, wall.length - width / 2 - 0.02
        if high < low:
            return []
        ends, middle = [low, high], (low + high) / 2
        if where == "corner":
            return ends if self.chance(0.5) else ends[::-1]
        steps = np.linspace(low, high, max(2, int((high - low) / 0.2) + 1))
        if where == "middle":
            return [float(s) for s in steps[np.argsort(np.abs(steps - middle), kind="stable")]]
        return [*(ends if self.chance(0.5) else ends[::-1]), *(float(s) for s in self.rng.permutation(steps[1:-1]))]

    def top(
        self, floor: Arrangement, host: tuple[Piece, Spot], category: str, at: tuple[float, float], like: Size
    ) -> None:
        """Set a small thing on a piece, at (x, z) in the piece's frame from the middle of its footprint."""
        piece, spot = host
        thing = self.piece(category, like)
        cx, cz = (spot.rect.x0 + spot.rect.x1) / 2, (spot.rect.z0 + spot.rect.z1) / 2
        frame = Wall(spot.quarter, (cx, cz), 0.0, 0.0)
        self.put(thing, floor, frame.spot(at[0], -at[1], thing.mesh), piece.height)

    def hang(self, floor: Arrangement, index: int, s: float, piece: Piece, bottom: float, gap: float = 0.08) -> bool:
        """Hang a piece on a wall if that part of its face is free, with a gap to both sides."""
        low, high = s - piece.width / 2, s + piece.width / 2
        base, top = bottom + float(piece.mesh.low[1]), bottom + piece.height
        if top > floor.room.ceiling - 0.05 or not floor.face_is_free(index, low - gap, high + gap, base, top):
            return False
        self.put(piece, floor, floor.walls[index].back(s, piece.mesh, 0.005), bottom)
        floor.faces[index].append(Stretch(low, high, base, top, "hung"))
        return True

    def hang_anywhere(self, floor: Arrangement, piece: Piece, bottom: float) -> bool:
        """Hang a piece where a wall is free, over furniture and at its middle if possible."""
        choices = []
        for index in self.shuffled(range(4)):
            wall = floor.walls[index]
            over = [(f.low + f.high) / 2 for f in floor.faces[index] if f.kind == "piece" and f.high - f.low > 0.7]
            choices += [(index, s) for s in over] + [(index, wall.length * share) for share in (0.5, 0.25, 0.75)]
        return any(self.hang(floor, index, s, piece, bottom) for index, s in choices)

    def lay(self, floor: Arrangement, piece: Piece, spot: Spot, y: float = 0.005) -> bool:
        """Lay a rug or mat if it stays inside the room and off other rugs."""
        flats = [
            s.spot.rect for s in self.placed if s.room is floor.room and CATEGORIES[s.piece.category].mount == "flat"
        ]
        if not floor.bounds.contains(spot.rect.grown(0.03)) or any(spot.rect.overlaps(other, 0.02) for other in flats):
            return False
        self.put(piece, floor, spot, y)
        return True
