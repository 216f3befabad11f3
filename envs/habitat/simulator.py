"""habitat-sim behind our door: habitat-lab's own simulator, composed from a body and cameras, with its motion, rendering and navmesh."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navloop.envs.habitat.composition import compose_simulator
from navloop.envs.habitat.egl import require_device
from navloop.envs.habitat.ground import Ground
from navloop.envs.habitat.scenes import SceneSource, find_scene, loading, require_dataset
from navloop.envs.habitat.stages import Stage, Stages
from navloop.envs.habitat.versions import find_habitat
from navloop.envs.scenes import SceneDescription
from navloop.envs.simulator import Action, Body, Camera, FloorPlan, SceneError, Simulator
from navloop.geometry import Pose, Vector, heading_to_quaternion, heading_vector, quaternion_to_heading, wrap_angle

REACH = 0.5
"""Metres that `set_pose` may move an agent to the navmesh."""

NOTED = 0.01
"""Metres beyond which it says so."""

PLAN_CELL = 0.05
"""Metres, the cell of floor plans."""

_log = logging.getLogger(__name__)


class HabitatSimulator(Simulator):
    """One agent in one scene of habitat-sim.

    Motion, sliding, collisions, geodesics and rendering are habitat-sim's, set up by habitat-lab's configuration, so that an episode
    scores here as it does in `habitat.Env`. Depth is that of `Camera`: where nothing is hit it is max_depth, where habitat-sim gives 0.

    Args:
        scenes: Folder that scene ids are relative to.
        body: Shape and stride of the agent; turn and tilt in whole degrees.
        cameras: Its cameras, names unique; none at all needs no EGL.
        gpu_device: CUDA index of the GPU to draw on; -1 takes EGL's first device, the processor where no GPU driver is installed.
        scene_dataset_config: The file *.scene_dataset_config.json of the scenes, for semantics (MP3D, HM3D), or where scene ids are
            names of instances (HSSD, ReplicaCAD); None takes scenes as plain files.

    Raises:
        HabitatMissing: If habitat-sim or habitat-lab is missing, or they do not match.
        SceneError: If the scene data set is not there.
        ValueError: If an angle is no whole number of degrees.
    """

    def __init__(
        self,
        scenes: Path | str,
        body: Body,
        cameras: Sequence[Camera],
        gpu_device: int = -1,
        scene_dataset_config: Path | str | None = None,
    ) -> None:
        self._installation = find_habitat()
        self._folder = Path(scenes)
        self._body = body
        self._cameras = tuple(cameras)
        self._gpu_device = gpu_device
        self._dataset = None if scene_dataset_config is None else Path(scene_dataset_config)
        if self._dataset is not None:
            require_dataset(self._dataset)
        self._scene_id: str | None = None
        self._stages = Stages(self._make)
        self._stages.enter(self)
        self._stage: Stage | None = None
        self._placed = False
        self._tilt = 0.0

    def twin(self) -> HabitatSimulator:
        """See `Simulator.twin`: agents in one scene share one of habitat-lab's simulators, whose body each enters when it acts or looks."""
        twin = HabitatSimulator(self._folder, self._body, self._cameras, self._gpu_device, self._dataset)
        twin._stages = self._stages
        twin._stages.enter(twin)
        return twin

    @property
    def native(self) -> Any:
        """habitat-lab's simulator with the current scene and this agent in it, for what this door does not offer.

        Raises:
            RuntimeError: If no scene was loaded.
        """
        self._here.embody(self)
        return self._here.simulator

    @property
    def _here(self) -> Stage:
        if self._stage is None:
            raise RuntimeError("no scene is loaded; call load_scene first")
        return self._stage

    def load_scene(self, scene_id: str) -> None:
        """See `Simulator.load_scene`."""
        if scene_id == self._scene_id:
            return
        source = find_scene(self._folder, scene_id, self._dataset)
        self._scene_id, self._stage, self._placed = None, None, False
        with loading(source.file or source.handle):
            self._stage = self._stages.take(self, source)
        self._scene_id = scene_id

    def _make(self, source: SceneSource) -> Stage:
        if self._cameras:
            require_device(self._gpu_device)
        from habitat import read_write
        from habitat.sims import make_sim

        dataset = "default" if self._dataset is None else str(self._dataset)
        config = compose_simulator(self._body, self._cameras, self._gpu_device, dataset)
        with read_write(config):
            config.scene = source.handle
        return Stage(make_sim(config.type, config=config), self._body, self._installation.sim)

    @property
    def ground(self) -> Ground:
        """The current scene's navmesh."""
        return self._here.ground

    @property
    def _agent(self) -> Any:
        self._here.embody(self)
        return self._here.agent

    @property
    def pose(self) -> Pose:
        """See `Simulator.pose`."""
        if not self._placed:
            raise RuntimeError("the agent stands nowhere; call set_pose first")
        node = self._agent.scene_node
        heading = quaternion_to_heading([*node.rotation.vector, node.rotation.scalar])
        return Pose(np.array(node.absolute_translation, dtype=np.float64), wrap_angle(heading))

    def set_pose(self, pose: Pose) -> None:
        """See `Simulator.set_pose`; the cameras look level again."""
        position = np.array(pose.position, dtype=np.float64)
        if not self.ground.contains(position, 1e-3):
            nearest = self.ground.nearest(position, REACH)
            if nearest is None:
                raise SceneError(
                    f"{self._scene_id}: no navmesh within {REACH} m of {np.round(position, 3).tolist()}; "
                    "check that episodes and scenes belong together, and the agent's radius and height"
                )
            if (moved := float(np.linalg.norm((nearest - position)[[0, 2]]))) > NOTED:
                _log.warning(
                    "%s: %s is not on the navmesh; the agent is put %.2f m beside it",
                    self._scene_id, np.round(position, 3).tolist(), moved,
                )  # fmt: skip
            position = nearest
        self.native.set_agent_state(position.tolist(), heading_to_quaternion(pose.heading).tolist())
        self._placed, self._tilt = True, 0.0

    def act(self, action: Action) -> bool:
        """See `Simulator.act`."""
        if not self._placed:
            raise RuntimeError("the agent stands nowhere; call set_pose first")
        if action in (Action.LOOK_UP, Action.LOOK_DOWN):
            self._look(self._body.tilt if action == Action.LOOK_UP else -self._body.tilt)
            return False
        return action != Action.STOP and bool(self._agent.act(int(action)))

    def _look(self, tilt: float) -> None:
        """Tilt every camera about its own horizontal axis, as habitat-lab's look actions do, but straight up or down at most."""
        import magnum

        wanted = max(-math.pi / 2, min(math.pi / 2, self._tilt + tilt))
        turn = magnum.Quaternion.rotation(magnum.Rad(wanted - self._tilt), magnum.Vector3.x_axis())
        self._here.embody(self)
        for sensor in self._here.sensors:
            sensor.node.rotation = sensor.node.rotation * turn
        self._tilt = wanted

    def foresee(self, heading: float) -> Vector:
        """See `Simulator.foresee`."""
        start = self.pose.position
        return self.ground.step(start, start + self._body.step * heading_vector(heading))

    def render(self) -> dict[str, NDArray[np.generic]]:
        """See `Simulator.render`."""
        if not self._cameras:
            return {}
        seen = self.native.get_sensor_observations()
        return {camera.name: self._frame(camera, seen[camera.name]) for camera in self._cameras}

    def _frame(self, camera: Camera, seen: NDArray[Any]) -> NDArray[np.generic]:
        """Return what habitat-sim saw as `Camera` says, in memory of its own: habitat-sim draws into the same again."""
        if camera.kind == "rgb":
            return self._without_alpha(seen)
        if camera.kind == "semantic":
            return self._here.labels.number(seen)
        depth: NDArray[np.float32] = seen.clip(camera.min_depth, camera.max_depth)
        depth[seen == 0] = camera.max_depth
        return depth[..., None]

    @cached_property
    def _without_alpha(self) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
        import cv2  # comes with habitat-lab; twenty times as fast as NumPy here

        return partial(cv2.cvtColor, code=cv2.COLOR_RGBA2RGB)

    def geodesic_distances(self, points: Vector, goal: Vector) -> Vector:
        """See `Simulator.geodesic_distances`; points off the navmesh count as the nearest on it, as in habitat-lab's measures."""
        return self.ground.distances(points, goal)

    def shortest_path(self, start: Vector, goal: Vector) -> Vector:
        """See `Simulator.shortest_path`."""
        return self.ground.path(start, goal)

    def sample_navigable_point(self, rng: np.random.Generator) -> Vector:
        """See `Simulator.sample_navigable_point`."""
        return self.ground.sample(rng)

    def is_navigable(self, point: Vector, tolerance: float = 1e-3) -> bool:
        """See `Simulator.is_navigable`."""
        return self.ground.contains(np.asarray(point, dtype=np.float64), tolerance)

    def visible_labels(self) -> Sequence[str]:
        """See `Simulator.visible_labels`."""
        return self._here.labels.names

    def floor_plan(self) -> FloorPlan:
        """See `Simulator.floor_plan`: of the storey where the agent stands, or of the largest free space before it is put anywhere."""
        height = float(self.pose.position[1]) if self._placed else self.ground.height
        free, origin = self.ground.raster(PLAN_CELL, height)
        return FloorPlan(free=free, origin=origin, cell=PLAN_CELL, rooms=self._rooms())

    def _rooms(self) -> tuple[tuple[str, tuple[float, float]], ...]:
        """The rooms of a scene that is described beside its file."""
        source = self._here.source
        beside = None if source is None or source.file is None else source.file.with_suffix(".json")
        if beside is None or not beside.is_file():
            return ()
        try:
            rooms = SceneDescription.read(beside).rooms
        except ValueError:
            return ()  # some other program's file of that name
        middles = (np.mean(room.polygon, axis=0) for room in rooms)
        return tuple((room.label, (float(x), float(z))) for room, (x, z) in zip(rooms, middles, strict=True))

    def close(self) -> None:
        """See `Simulator.close`."""
        self._scene_id, self._stage, self._placed = None, None, False
        self._stages.leave(self)
