"""A protocol in habitat-lab's own configuration, composed by its own means whatever it calls its groups."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import yaml

from navloop.envs.habitat.versions import find_habitat
from navloop.envs.protocols import Protocol
from navloop.envs.simulator import Body, Camera

VLN = "benchmark/nav/vln_r2r.yaml"
"""habitat-lab's configuration of R2R-CE."""

SENSORS = {"rgb": "HabitatSimRGBSensor", "depth": "HabitatSimDepthSensor", "semantic": "NavloopSemanticSensor"}
"""habitat-lab's sensor of each kind of camera; of object ids, ours (`navloop.envs.habitat.sensors`)."""

_AGENT = "habitat.simulator.agents.main_agent"


def compose(config: str = VLN, overrides: Sequence[str] = (), *, setup: str | None = None) -> Any:
    """Return a configuration of habitat-lab's, with overrides in Hydra's grammar.

    Args:
        config: A file, or a path below habitat-lab's `config` folder.
        overrides: Such as "habitat.environment.max_episode_steps=100".
        setup: Set of cameras instead of the file's own, "rgb_agent", "depth_agent", "rgbd_agent"; its group's name follows the version.

    Raises:
        HabitatMissing: If habitat-lab is not installed.
        ValueError: If there is no such file, or Hydra refuses an override.
    """
    group = find_habitat().sensor_group
    import habitat
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    chosen = [] if setup is None else [f"habitat/simulator/{group}@{_AGENT}={setup}"]
    try:
        composed = habitat.get_config(config, [*chosen, *overrides])
    except (HydraException, OmegaConfBaseException, RuntimeError) as error:
        raise ValueError(f"habitat-lab cannot compose {config} with {[*chosen, *overrides]}: {error}") from error
    _mend_sensors(composed, None if setup is None else _cameras_of(setup, Path(habitat.__file__).parent, group))
    return composed


def compose_simulator(body: Body, cameras: Sequence[Camera], gpu_device: int, scene_dataset: str) -> Any:
    """Return habitat-lab's simulator configuration for an embodiment, without a scene.

    Args:
        body: Shape, stride and sliding.
        cameras: Any number, names unique.
        gpu_device: CUDA index, or -1.
        scene_dataset: A scene_dataset_config file, or "default".

    Raises:
        HabitatMissing: If habitat-lab is not installed.
        ValueError: If an angle is no whole number of degrees, which is all that habitat-lab can hold.
    """
    config = compose(VLN, [*body_overrides(body), f"habitat.simulator.habitat_sim_v0.gpu_device_id={gpu_device}"])
    _put_sensors(config, cameras)
    from habitat import read_write

    with read_write(config):
        config.habitat.simulator.scene_dataset = scene_dataset
        # `navloop.envs.habitat.navmeshes` brings it, from its cache.
        config.habitat.simulator.default_agent_navmesh = False
    return config.habitat.simulator


def compose_vln(protocol: Protocol, gpu_device: int = -1, overrides: Sequence[str] = ()) -> Any:
    """Return habitat-lab's whole VLN configuration under a protocol: its own task, actions and measures.

    Raises:
        HabitatMissing: If habitat-lab is not installed.
        ValueError: As `compose_simulator`.
    """
    settings = [*body_overrides(protocol.body), *task_overrides(protocol)]
    config = compose(VLN, [*settings, f"habitat.simulator.habitat_sim_v0.gpu_device_id={gpu_device}", *overrides])
    _put_sensors(config, protocol.cameras)
    return config


def body_overrides(body: Body) -> list[str]:
    """Return a body as Hydra overrides of habitat-lab's simulator.

    Raises:
        ValueError: If the turn is no whole number of degrees.
    """
    return [
        f"habitat.simulator.forward_step_size={body.step}",
        f"habitat.simulator.turn_angle={whole_degrees('turn', body.turn)}",
        f"habitat.simulator.habitat_sim_v0.allow_sliding={str(body.sliding).lower()}",
        f"{_AGENT}.height={body.height}",
        f"{_AGENT}.radius={body.radius}",
        f"{_AGENT}.max_climb={body.max_climb}",
    ]


def task_overrides(protocol: Protocol) -> list[str]:
    """Return a protocol's actions, step limit and success distance as Hydra overrides of habitat-lab's VLN task.

    Raises:
        ValueError: If the tilt is no whole number of degrees.
    """
    overrides = [
        f"habitat.environment.max_episode_steps={protocol.max_steps}",
        "habitat.environment.iterator_options.shuffle=false",
        f"habitat.task.measurements.success.success_distance={protocol.success_distance}",
    ]
    if protocol.body.tilt > 0:
        tilt = whole_degrees("tilt", protocol.body.tilt)
        names = "stop,move_forward,turn_left,turn_right,look_up,look_down"
        overrides += [
            f"habitat/task/actions=[{names}]",
            f"habitat.task.actions.look_up.tilt_angle={tilt}",
            f"habitat.task.actions.look_down.tilt_angle={tilt}",
        ]
    return overrides


def sensor_node(camera: Camera) -> dict[str, Any]:
    """Return a camera as a node of habitat-lab's `sim_sensors`."""
    node = {
        "type": SENSORS[camera.kind],
        "uuid": camera.name,  # habitat-lab's own is "rgb" for every colour camera
        "width": camera.width,
        "height": camera.height,
        "hfov": math.degrees(camera.hfov),
        "position": [0.0, camera.elevation, 0.0],
        "orientation": [camera.pitch, camera.yaw, 0.0],  # turned about x first, then about the vertical
        "sensor_subtype": "PINHOLE",
        "noise_model": "None",
        "noise_model_kwargs": {},
    }
    if camera.kind == "depth":
        node |= {"min_depth": camera.min_depth, "max_depth": camera.max_depth, "normalize_depth": False}
    return node


def whole_degrees(name: str, radians: float) -> int:
    """Return an angle in degrees.

    Raises:
        ValueError: If they are not whole.
    """
    degrees = math.degrees(radians)
    if abs(degrees - round(degrees)) > 1e-6:
        raise ValueError(f"body.{name} is {degrees:g} degrees; habitat-lab holds whole degrees alone: round it")
    return round(degrees)


def _cameras_of(setup: str, lab: Path, group: str) -> set[str] | None:
    """Return the names of the cameras of a set, from the list in its file; None for a set that is not habitat-lab's."""
    path = lab / "config" / "habitat" / "simulator" / group / f"{setup}.yaml"
    if not path.is_file():
        return None
    listed = yaml.safe_load(path.read_text())
    return {key.rpartition(".")[2] for entry in listed["defaults"] if isinstance(entry, dict) for key in entry}


def _mend_sensors(config: Any, chosen: Collection[str] | None) -> None:
    """Put our camera of object ids in place of habitat-lab's, which NumPy 2 refuses, and leave only those of the set that was asked for.

    A file that sizes a camera, as `vln_r2r.yaml` does, would else keep it whatever the set.
    """
    from habitat import read_write

    import navloop.envs.habitat.sensors  # noqa: F401 (registers it)

    with read_write(config):
        for agent in config.habitat.simulator.agents.values():
            for name, sensor in list(agent.sim_sensors.items()):
                # A file sizes cameras that an override took away, too: of those there is no type.
                if (chosen is not None and name not in chosen) or "type" not in sensor:
                    del agent.sim_sensors[name]
                elif sensor.type == "HabitatSimSemanticSensor":
                    sensor.type = SENSORS["semantic"]


def _put_sensors(config: Any, cameras: Sequence[Camera]) -> None:
    from habitat import read_write

    with read_write(config):
        agent = config.habitat.simulator.agents.main_agent
        agent.sim_sensors = {camera.name: sensor_node(camera) for camera in cameras}
