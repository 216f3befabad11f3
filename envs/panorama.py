"""Panoramas: the same camera several times around the agent, as graph and waypoint planners see, in any world."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from navloop.envs.navigation import Observation
from navloop.envs.protocols import Protocol
from navloop.envs.simulator import Camera

VIEWS = 12
"""Views of the panoramas that waypoint predictors are trained on, 30 degrees apart."""


def panorama(protocol: Protocol, views: int = VIEWS) -> Protocol:
    """Return the variant of a protocol whose every camera is there all around, "+pano12" in the label.

    View i looks i * 360 / views degrees to the left of the heading. The first keeps the camera's name, so that what looks at one camera
    goes on seeing ahead; the others add their degrees: "rgb", "rgb_030", ..., "rgb_330".

    Args:
        protocol: Cameras level or not, each looking ahead.
        views: How many; at least 1.

    Raises:
        ValueError: If there are no views, or a panorama is made of a panorama.
    """
    if views < 1:
        raise ValueError(f"a panorama has {views} views, expected at least 1")
    if any(camera.yaw for camera in protocol.cameras):
        raise ValueError(
            f"protocol {protocol.label} looks to the side already; make panoramas of cameras that look ahead"
        )
    cameras = [_view(camera, view, views) for camera in protocol.cameras for view in range(views)]
    return protocol.with_cameras(cameras, f"pano{views}")


def _view(camera: Camera, view: int, views: int) -> Camera:
    if view == 0:
        return camera
    return replace(camera, name=_name(camera.name, view, views), yaw=2 * math.pi * view / views)


def _name(name: str, view: int, views: int) -> str:
    return name if view == 0 else f"{name}_{360 * view / views:03g}"


def view_names(camera: str, views: int = VIEWS) -> list[str]:
    """Return the names of a camera's views in a panorama, by yaw to the left."""
    return [_name(camera, view, views) for view in range(views)]


class StackedViews(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Gives the views of each camera as one array: "rgb" uint8 (V, H, W, 3), "depth" float32 (V, H, W, 1), by yaw to the left.

    Args:
        env: An environment under a `panorama` protocol.
        views: V.

    Raises:
        ValueError: If the environment lacks a view.
    """

    def __init__(self, env: gymnasium.Env[Observation, Any], views: int = VIEWS) -> None:
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, spaces.Dict):
            raise TypeError(f"expected a Dict of boxes, got {space}")
        first = _name("", 1, views)
        self._names = {
            name: view_names(name, views) for name in space if views == 1 or f"{name}{first}" in space.spaces
        }
        used = {part for names in self._names.values() for part in names}
        missing = sorted(used - space.spaces.keys())
        if missing or not self._names:
            raise ValueError(
                f"the environment lacks {', '.join(missing) or 'a panorama'}; make its protocol with `panorama`"
            )
        stacked = {name: _stack_space(space[name], views) for name in self._names}
        rest = {name: part for name, part in space.items() if name not in used}
        self.observation_space = spaces.Dict({**stacked, **rest})

    def observation(self, observation: Observation) -> Observation:
        """Return the observation with the views of each camera stacked."""
        stacked = {name: np.stack([observation[part] for part in names]) for name, names in self._names.items()}
        used = {part for names in self._names.values() for part in names}
        return {**stacked, **{name: value for name, value in observation.items() if name not in used}}


def _stack_space(space: spaces.Space[Any], views: int) -> spaces.Box:
    assert isinstance(space, spaces.Box)
    low, high = (np.broadcast_to(bound, (views, *space.shape)) for bound in (space.low, space.high))
    return spaces.Box(low, high, dtype=space.dtype.type)
