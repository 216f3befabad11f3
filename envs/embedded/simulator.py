"""The built-in simulator: one agent, software rendering, rays, free space from geometry."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from navloop.envs.embedded.freespace import FreeSpace
from navloop.envs.embedded.geodesics import Geodesics
from navloop.envs.embedded.mesh import SceneMesh, load_mesh
from navloop.envs.embedded.motion import move
from navloop.envs.embedded.rays import Hits, RayCaster, camera_rays, depth_image
from navloop.envs.embedded.shading import Shader
from navloop.envs.embedded.stock import Stock
from navloop.envs.embedded.visibility import Visibility
from navloop.envs.simulator import Action, Body, Camera, FloorPlan, SceneError, Simulator
from navloop.geometry import Pose, Vector, wrap_angle

if TYPE_CHECKING:
    from navloop.envs.embedded.renderer import PandaRenderer, PandaScene

SCENES_KEPT = 4
"""Scenes that stay in memory, the most recent ones."""

REACH = 0.5
"""Metres that `set_pose` may move an agent to free space."""

PLAN_CELL = 0.05
"""Metres, the cell of floor plans."""

_log = logging.getLogger(__name__)


class Scene:
    """Everything that is computed for one scene, each part when it is first asked for.

    Args:
        path: Of the GLB.
        body: Whose free space to compute.
        pipe: What draws it, where Panda3D does.
    """

    def __init__(self, path: Path, body: Body, pipe: Literal["panda", "egl"] = "panda") -> None:
        self.path = path
        self._body = body
        self._pipe = pipe
        self.mesh: SceneMesh = load_mesh(path)

    @cached_property
    def free(self) -> FreeSpace:
        """Where the body can stand."""
        try:
            return FreeSpace.from_triangles(self.mesh.triangles, self._body)
        except SceneError as error:
            raise SceneError(f"{self.path}: {error}") from error

    @cached_property
    def geodesics(self) -> Geodesics:
        """Shortest walks."""
        return Geodesics(self.free)

    @cached_property
    def rays(self) -> RayCaster:
        """The triangles as rays meet them."""
        return RayCaster(self.mesh.triangles)

    @cached_property
    def shader(self) -> Shader:
        """Colours where rays end."""
        return Shader(self.mesh)

    @cached_property
    def visibility(self) -> Visibility | None:
        """Which rooms are in sight; None for a scene without rooms."""
        return None if self.mesh.description is None else Visibility(self.mesh.description)

    @cached_property
    def drawn(self) -> PandaScene:
        """The geometry as Panda3D draws it."""
        from navloop.envs.embedded.renderer import PandaScene  # not loaded for agents that look at nothing

        return PandaScene(self.mesh, self._pipe)

    def release(self) -> None:
        """Free what Panda3D holds."""
        if "drawn" in self.__dict__:
            self.drawn.release()


class EmbeddedSimulator(Simulator):
    """One agent in one generated house, or in any textured GLB.

    Args:
        scenes: Folder that scene ids are relative to.
        body: Shape and stride of the agent.
        cameras: Its cameras, names unique.
        renderer: What draws RGB: "panda" (Panda3D's software rasteriser), "egl" (Panda3D on a GPU or Mesa), "embree" (ray casting), or
            "auto": panda where it can load, else embree, saying so once.

    Raises:
        RendererMissing: From the first `render`, if the renderer that was asked for cannot run here.
    """

    def __init__(
        self,
        scenes: Path | str,
        body: Body,
        cameras: Sequence[Camera],
        renderer: Literal["auto", "panda", "egl", "embree"] = "auto",
    ) -> None:
        if renderer not in ("auto", "panda", "egl", "embree"):
            raise ValueError(f"renderer is {renderer!r}; known: auto, panda, egl, embree")
        self._folder = Path(scenes)
        self._body = body
        self._cameras = tuple(cameras)
        self._pictures = tuple(camera for camera in cameras if camera.kind == "rgb")
        self._choice = renderer
        self._stock = Stock(self._load, SCENES_KEPT)
        self._stock.enter(self)
        self._model: EmbeddedSimulator = self
        self._scene: Scene | None = None
        self._pose: Pose | None = None
        self._tilt = 0.0

    def twin(self) -> EmbeddedSimulator:
        """See `Simulator.twin`; the renderer is shared, too."""
        twin = EmbeddedSimulator(self._folder, self._body, self._cameras, self._choice)
        twin._stock, twin._model = self._stock, self._model
        twin._stock.enter(twin)
        return twin

    @property
    def scene(self) -> Scene:
        """The current scene.

        Raises:
            RuntimeError: If none was loaded.
        """
        if self._scene is None:
            raise RuntimeError("no scene is loaded; call load_scene first")
        return self._scene

    def load_scene(self, scene_id: str) -> None:
        """See `Simulator.load_scene`; the last few scenes are kept."""
        self._scene = self._stock.take(self, scene_id)

    def _load(self, scene_id: str) -> Scene:
        return Scene(self._path(scene_id), self._body, "egl" if self._choice == "egl" else "panda")

    def _path(self, scene_id: str) -> Path:
        # Links, as git-annex and DVC make them, may lead anywhere.
        path = Path(os.path.abspath(self._folder / scene_id))
        if not path.is_relative_to(os.path.abspath(self._folder)):
            raise SceneError(
                f"scene id {scene_id!r} leads out of the scenes folder {self._folder}; correct the episode file"
            )
        return path

    @property
    def pose(self) -> Pose:
        """See `Simulator.pose`."""
        if self._pose is None:
            raise RuntimeError("the agent stands nowhere; call set_pose first")
        return self._pose

    def set_pose(self, pose: Pose) -> None:
        """See `Simulator.set_pose`; the cameras look level again."""
        position = np.array(pose.position, dtype=np.float64)
        if not self.is_navigable(position):
            nearest = self.scene.free.nearest(position, REACH)
            if nearest is None or abs(nearest[1] - position[1]) > REACH:
                raise SceneError(
                    f"{self.scene.path}: no free space within {REACH} m of {np.round(position, 3).tolist()}; "
                    "check that episodes and scenes belong together, and the agent's radius and height"
                )
            position = nearest
        self._pose = Pose(position, wrap_angle(pose.heading))
        self._tilt = 0.0

    def act(self, action: Action) -> bool:
        """See `Simulator.act`."""
        position, heading = self.pose
        if action == Action.FORWARD:
            moved = move(self.scene.free, position, heading, self._body)
            self._pose = Pose(moved.position, heading)
            return moved.collided
        if action in (Action.LEFT, Action.RIGHT):
            turn = self._body.turn if action == Action.LEFT else -self._body.turn
            self._pose = Pose(position, wrap_angle(heading + turn))
        elif action in (Action.LOOK_UP, Action.LOOK_DOWN):
            tilt = self._body.tilt if action == Action.LOOK_UP else -self._body.tilt
            self._tilt = max(-math.pi / 2, min(math.pi / 2, self._tilt + tilt))
        return False

    def foresee(self, heading: float) -> Vector:
        """See `Simulator.foresee`."""
        return move(self.scene.free, self.pose.position, heading, self._body).position

    def render(self) -> dict[str, NDArray[np.generic]]:
        """See `Simulator.render`."""
        frames: dict[str, NDArray[np.generic]] = {}
        if self._pictures and self._model._panda is not None:
            scene = self.scene.drawn
            scene.show(self._rooms_in_sight(self._pictures))
            frames.update(self._model._panda.render(scene, self.pose, self._tilt))
        cast: dict[tuple[float, ...], Hits] = {}
        for camera in self._cameras:
            if camera.name not in frames:
                frames[camera.name] = self._trace(camera, cast)
        return {camera.name: frames[camera.name] for camera in self._cameras}

    def _trace(self, camera: Camera, cast: dict[tuple[float, ...], Hits]) -> NDArray[np.generic]:
        """Return one camera's frame by rays; cameras that differ in kind alone share them."""
        size = (camera.height, camera.width)
        view = (*size, camera.hfov, camera.elevation, camera.yaw, camera.pitch)
        if view not in cast:
            cast[view] = self.scene.rays.look(*camera_rays(camera, self.pose, self._tilt))
        hits = cast[view]
        if camera.kind == "depth":
            return depth_image(hits.distance, camera)
        if camera.kind == "rgb":
            _, ways = camera_rays(camera, self.pose, self._tilt)
            return self.scene.shader.shade(hits, ways, camera).reshape(*size, 3)
        objects = self.scene.mesh.face_object[hits.face] + 1
        return np.where(hits.face < 0, 0, objects).astype(np.int32).reshape(size)

    @cached_property
    def _panda(self) -> PandaRenderer | None:
        """The rasteriser; None where rays draw the pictures."""
        if self._choice == "embree":
            return None
        from navloop.envs.embedded.renderer import PandaRenderer, RendererMissing

        try:
            return PandaRenderer(self._pictures, "egl" if self._choice == "egl" else "panda")
        except RendererMissing as error:
            if self._choice != "auto":
                raise
            _warn_once(f"{error}. RGB is ray cast instead, which is slower.")
            return None

    def _rooms_in_sight(self, cameras: Sequence[Camera]) -> frozenset[str] | None:
        visibility = self.scene.visibility
        if visibility is None:
            return None
        x, _, z = self.pose.position.tolist()
        seen: frozenset[str] = frozenset()
        for camera in cameras:
            level = camera.pitch + self._tilt == 0
            seen |= visibility.seen_from(x, z, self.pose.heading + camera.yaw, camera.hfov if level else None)
        return seen

    def geodesic_distances(self, points: Vector, goal: Vector) -> Vector:
        """See `Simulator.geodesic_distances`; points up to 0.5 m from free space count as the nearest free point."""
        return self.scene.geodesics.distances(points, goal)

    def shortest_path(self, start: Vector, goal: Vector) -> Vector:
        """See `Simulator.shortest_path`."""
        return self.scene.geodesics.path(start, goal)

    def sample_navigable_point(self, rng: np.random.Generator) -> Vector:
        """See `Simulator.sample_navigable_point`."""
        return self.scene.free.sample(rng)

    def is_navigable(self, point: Vector, tolerance: float = 1e-3) -> bool:
        """See `Simulator.is_navigable`."""
        return bool(self.scene.free.contains(point, tolerance)[0])

    def visible_labels(self) -> Sequence[str]:
        """See `Simulator.visible_labels`."""
        description = self.scene.mesh.description
        return () if description is None else tuple(thing.label for thing in description.objects)

    def floor_plan(self) -> FloorPlan:
        """See `Simulator.floor_plan`."""
        free, origin = self.scene.free.raster(PLAN_CELL)
        description = self.scene.mesh.description
        rooms = () if description is None else description.rooms
        middles = tuple((room.label, tuple(np.mean(room.polygon, axis=0).tolist())) for room in rooms)
        return FloorPlan(free=free, origin=origin, cell=PLAN_CELL, rooms=middles)

    def close(self) -> None:
        """See `Simulator.close`."""
        self._scene = None
        if self._stock.leave(self):
            panda = self._model.__dict__.pop("_panda", None)
            if panda is not None:
                panda.close()


_warned: set[str] = set()


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        _log.warning(message)
