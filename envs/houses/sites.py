"""A house to walk and to look around in, held in memory: free space, shortest ways, rays, rooms by place."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from navloop.envs.embedded.freespace import FreeSpace
from navloop.envs.embedded.geodesics import Geodesics
from navloop.envs.embedded.mesh import assemble
from navloop.envs.embedded.motion import move
from navloop.envs.embedded.rays import RayCaster
from navloop.envs.glb import Model
from navloop.envs.scenes import Portal, SceneDescription
from navloop.envs.simulator import Action, Body
from navloop.geometry import Pose, Vector, wrap_angle

BERTH = 0.07
"""Metres that a walk keeps from where the body would touch something, so that steps of a fixed length do not bump into corners."""


class Site:
    """A house as a guide knows it: where one can walk and what one sees from there.

    Attributes:
        description: Rooms, portals and objects.
        body: Who walks.
        free: Where the body can stand.
        geodesics: Its shortest ways.
        ways: The shortest ways that keep a berth from everything, which people would rather walk.
        rays: The triangles as rays meet them.
        face_object: int32 (F,), the object of each triangle, or -1.
        doorways: Portals that can be walked through, by their number in the description.
    """

    def __init__(self, model: Model, description: SceneDescription, body: Body) -> None:
        """Take a house as it was generated.

        Raises:
            SceneError: If there is no floor that the body fits on.
        """
        mesh = assemble(model, description)
        self.description = description
        self.body = body
        self.free = FreeSpace.from_triangles(mesh.triangles, body)
        self.geodesics = Geodesics(self.free)
        inner = (part.buffer(-BERTH, join_style="mitre") for part in self.free.polygons)
        wide = [part for shrunk in inner for part in shapely.get_parts(shrunk) if part.area > 0.05]
        self.ways = Geodesics(FreeSpace(wide, self.free.floor, body))
        self.rays = RayCaster(mesh.triangles)
        self.face_object = mesh.face_object
        self.doorways: dict[int, Portal] = {
            i: portal for i, portal in enumerate(description.portals) if portal.kind != "window" and all(portal.rooms)
        }
        self._names = {room.name: i for i, room in enumerate(description.rooms)}
        self._floors = np.array([shapely.Polygon(room.polygon) for room in description.rooms], dtype=object)
        self.boxes: Vector = np.array([thing.box for thing in description.objects], dtype=np.float64).reshape(-1, 6)

    def room_number(self, name: str) -> int:
        """Return the place of a room in the description."""
        return self._names[name]

    def rooms_at(self, points: ArrayLike) -> NDArray[np.int64]:
        """Return the number of the room that each point (N, 3) is in, or nearest to: int64 (N,)."""
        flat = np.asarray(shapely.points(np.asarray(points, dtype=np.float64).reshape(-1, 3)[:, [0, 2]]))
        rooms: NDArray[np.int64] = shapely.distance(flat[:, None], self._floors[None]).argmin(axis=1)
        return rooms

    def doorways_of(self, room: int) -> list[int]:
        """Return the portals that lead from a room to other rooms."""
        name = self.description.rooms[room].name
        return [i for i, portal in self.doorways.items() if name in portal.rooms]

    def beyond(self, portal: int, room: int) -> int:
        """Return the room on the other side of a portal, seen from a room."""
        first, second = self.doorways[portal].rooms
        return self._names[second if first == self.description.rooms[room].name else first]


class Walker:
    """An agent without eyes on a site: what `ShortestPathFollower` asks of a simulator, and no more. It plans with a berth."""

    def __init__(self, site: Site, pose: Pose) -> None:
        """Put it somewhere on free space."""
        self.site = site
        self.pose = pose

    def act(self, action: Action) -> bool:
        """Apply FORWARD, LEFT or RIGHT and return whether an obstacle was in the way."""
        position, heading = self.pose
        body = self.site.body
        if action == Action.FORWARD:
            moved = move(self.site.free, position, heading, body)
            self.pose = Pose(moved.position, heading)
            return moved.collided
        turn = {Action.LEFT: body.turn, Action.RIGHT: -body.turn}.get(action, 0.0)
        self.pose = Pose(position, wrap_angle(heading + turn))
        return False

    def shortest_path(self, start: Vector, goal: Vector) -> Vector:
        """Return the corners (K, 3) of the shortest way that keeps a berth."""
        return self.site.ways.path(start, goal)

    def geodesic_distances(self, points: Vector, goal: Vector) -> Vector:
        """Return the lengths (N,) of such ways, metres."""
        return self.site.ways.distances(points, goal)

    def foresee(self, heading: float) -> Vector:
        """Return where a FORWARD at a heading would end, (3,)."""
        return move(self.site.free, self.pose.position, heading, self.site.body).position
