"""Floor plans of single-floor homes: rooms, the walls between them, doors, openings and windows. No geometry is built here."""

from __future__ import annotations

from dataclasses import dataclass

from navloop.envs.scenes import Portal, Room


@dataclass(frozen=True, slots=True)
class Plan:
    """The rooms of a house and what connects them.

    Attributes:
        rooms: Axis-aligned rectangles on a 0.05 m grid; `Room.polygon` is the clear floor between the walls, as
            (min x, min z), (min x, max z), (max x, max z), (max x, min z). Neighbours share one wall.
        portals: Doors, openings and windows; a segment lies on the middle of its wall.
        wall: Thickness of every wall, metres.
        height: From floor (y = 0) to ceiling, metres.
    """

    rooms: tuple[Room, ...]
    portals: tuple[Portal, ...]
    wall: float = 0.1
    height: float = 2.6
