"""What is known of a scene besides its triangles: rooms, the openings between them, objects. Written beside the GLB as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FORMAT = "navloop-scene-1"


@dataclass(frozen=True, slots=True)
class Room:
    """A room of convex floor shape.

    Attributes:
        name: Unique in the house, such as "bedroom_2".
        label: What people call it: "bedroom".
        polygon: Corners (x, z) in metres, in order around.
        floor: Height of the floor, metres.
        ceiling: Height of the ceiling, metres.
        colours: What stands out, by surface: {"wall": "sage green", "floor": "oak"}.
    """

    name: str
    label: str
    polygon: tuple[tuple[float, float], ...]
    floor: float
    ceiling: float
    colours: dict[str, str]


@dataclass(frozen=True, slots=True)
class Portal:
    """An opening that connects two rooms on the floor.

    Attributes:
        rooms: Names of the two rooms; the second is "" for a door or window to the outside.
        segment: End points ((x, z), (x, z)) in metres, on the middle of the wall.
        kind: "door" (a frame, perhaps with a leaf that stands open), "opening" (no frame, wide), or "window" (not walkable).
        bottom: Height of the opening's lower edge, metres.
        top: Height of its upper edge, metres.
    """

    rooms: tuple[str, str]
    segment: tuple[tuple[float, float], tuple[float, float]]
    kind: str
    bottom: float
    top: float


@dataclass(frozen=True, slots=True)
class SceneObject:
    """A thing that can be named.

    Attributes:
        name: Unique in the house and the name of its node in the GLB: "sofa_1".
        label: What people call it: "sofa".
        colour: Its colour word, "" where none fits: "navy blue".
        material: Its material word, "" where none fits: "leather".
        room: Name of its room.
        box: Axis-aligned bounds (min x, min y, min z, max x, max y, max z), metres.
        heading: Direction its front faces, radians (0 along -z, positive to the left).
    """

    name: str
    label: str
    colour: str
    material: str
    room: str
    box: tuple[float, float, float, float, float, float]
    heading: float


@dataclass(frozen=True, slots=True)
class SceneDescription:
    """Rooms, portals and objects of one scene; object i has semantic id i + 1."""

    rooms: tuple[Room, ...]
    portals: tuple[Portal, ...]
    objects: tuple[SceneObject, ...]

    def to_json(self) -> str:
        """Return the text of the file beside the GLB."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def read(cls, path: Path) -> SceneDescription:
        """Read what `to_json` wrote.

        Raises:
            ValueError: If the file is not of this format, naming file and field.
        """
        try:
            data = json.loads(path.read_text())
            if data.get("format") != FORMAT:
                raise ValueError(f"format is {data.get('format')!r}, expected {FORMAT!r}")
            rooms = tuple(Room(**{**r, "polygon": tuple(map(tuple, r["polygon"]))}) for r in data["rooms"])
            portals = tuple(
                Portal(**{**p, "rooms": tuple(p["rooms"]), "segment": tuple(map(tuple, p["segment"]))})
                for p in data["portals"]
            )
            objects = tuple(SceneObject(**{**o, "box": tuple(o["box"])}) for o in data["objects"])
        except (ValueError, TypeError, KeyError, AttributeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a scene description ({error}); generate the house again") from error
        return cls(rooms, portals, objects)
