"""Navmeshes by habitat-sim itself, made once when houses are exported instead of whenever one is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from navloop.envs.simulator import Body, SceneError

MAX_SLOPE = 45.0
"""Degrees, habitat-lab's default agent; a navmesh of another would be made anew at every load."""


def navmesh_maker() -> str:
    """Return what makes navmeshes here, such as "habitat-sim 0.3.3"; "" where habitat-sim is not installed."""
    sim = _habitat_sim()
    return "" if sim is None else f"habitat-sim {getattr(sim, '__version__', '')}".strip()


def bake_navmesh(glb: Path, path: Path, body: Body) -> None:
    """Write the navmesh of a house, with just the settings that habitat-lab asks for an agent of this body.

    Args:
        glb: Of the house, its stage config beside it.
        path: Of the navmesh.
        body: Height, radius and highest step of the agent.

    Raises:
        SceneError: If habitat-sim finds no floor to walk on.
        RuntimeError: If habitat-sim is not installed.
    """
    sim = _habitat_sim()
    if sim is None:
        raise RuntimeError("habitat-sim is not installed, so there is nothing to make a navmesh; see docs/habitat.md")
    backend = sim.SimulatorConfiguration()
    backend.scene_id, backend.enable_physics = str(glb), False
    # Nothing is drawn, so neither a GPU nor EGL is needed.
    backend.create_renderer, backend.load_semantic_mesh = False, False
    simulator = sim.Simulator(sim.Configuration(backend, [sim.agent.AgentConfiguration(sensor_specifications=[])]))
    try:
        if not simulator.recompute_navmesh(simulator.pathfinder, _settings(sim, body)):
            raise SceneError(
                f"{glb}: habitat-sim finds no floor for a body of {body}; check the agent's radius and height"
            )
        if not simulator.pathfinder.save_nav_mesh(str(path)):
            raise OSError(None, "habitat-sim could not write the navmesh", str(path))
    finally:
        simulator.close()


def _settings(sim: Any, body: Body) -> Any:
    settings = sim.NavMeshSettings()
    settings.set_defaults()
    settings.agent_height, settings.agent_radius = body.height, body.radius
    settings.agent_max_climb, settings.agent_max_slope = body.max_climb, MAX_SLOPE
    settings.include_static_objects = False
    return settings


def _habitat_sim() -> Any:
    os.environ.setdefault("MAGNUM_LOG", "quiet")
    os.environ.setdefault("HABITAT_SIM_LOG", "quiet")
    try:
        import habitat_sim
    except ModuleNotFoundError as error:
        if error.name == "habitat_sim":
            return None
        raise RuntimeError(
            f"habitat-sim is installed but lacks a module of its own ({error}); install it again"
        ) from error
    except ImportError as error:
        raise RuntimeError(f"habitat-sim is installed but does not load ({error}); see docs/habitat.md") from error
    return habitat_sim
