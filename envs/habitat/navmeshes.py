"""Navmeshes for an embodiment: the scene's own where it fits, else computed once and kept on disk."""

from __future__ import annotations

import hashlib
import logging
import os
import struct
from pathlib import Path
from typing import Any

from navloop.envs.habitat.detour import MAGIC, SET, SETTINGS, TILE, VERSIONS
from navloop.envs.habitat.tiles import require_sound
from navloop.envs.simulator import Body, SceneError
from navloop.files import written_aside

CACHE = "NAVLOOP_CACHE"
"""Environment variable that names the folder of the cache; without it, navloop in the user's cache folder."""

_MEND = "delete it to have it computed again, or download or export the scene again"

_log = logging.getLogger(__name__)


def settings_of(body: Body, furnished: bool = False) -> Any:
    """Return habitat-sim's navmesh settings for a body: its defaults, with the body's height, radius and climb.

    Args:
        body: Whose.
        furnished: Whether the scene is made of many files (HSSD, ReplicaCAD), whose furniture stands in the way.
    """
    from habitat_sim.nav import NavMeshSettings

    settings = NavMeshSettings()
    settings.set_defaults()
    settings.agent_height, settings.agent_radius, settings.agent_max_climb = body.height, body.radius, body.max_climb
    settings.include_static_objects = furnished
    return settings


def require_readable(path: Path) -> None:
    """Check that a navmesh file is whole. habitat-sim computes another in silence where it can, and crashes where it cannot.

    Raises:
        SceneError: If the file is torn or none.
    """
    data = path.read_bytes()
    try:
        magic, version, tiles, *_ = SET.unpack_from(data)
        if magic != MAGIC or version not in VERSIONS:
            raise ValueError("it does not begin as one")
        place = SET.size + (SETTINGS.size if version == 2 else 0)
        for _ in range(tiles):
            _, size = TILE.unpack_from(data, place)
            place += TILE.size
            if size < 0 or place + size > len(data):
                raise ValueError("a tile is torn")
            require_sound(data[place : place + size])
            place += size
    except (struct.error, ValueError) as error:
        raise SceneError(f"{path}: not a whole navmesh ({error}); {_MEND}") from error


def fit_navmesh(simulator: Any, body: Body, scene: Path | None, version: str) -> None:
    """Give a simulator with a scene the navmesh of a body.

    Args:
        simulator: habitat-sim's, with the scene loaded.
        body: Whose.
        scene: The scene's file, whose content names the navmesh in the cache; None where the scene is made of many files and nothing is
            kept.
        version: Of habitat-sim; another computes anew.

    Raises:
        SceneError: If the scene has no floor for this body.
    """
    wanted, pathfinder = settings_of(body, furnished=scene is None), simulator.pathfinder
    if not (pathfinder.is_loaded and pathfinder.nav_mesh_settings == wanted):
        kept = None if scene is None else cache_folder() / "navmeshes" / f"{_key(scene, wanted, version)}.navmesh"
        if kept is None or not _load(pathfinder, kept, wanted):
            if not simulator.recompute_navmesh(pathfinder, wanted):
                raise SceneError(f"{scene}: no navmesh can be computed for this body; has the scene a floor?")
            if kept is not None:
                _save(pathfinder, kept)
    if not pathfinder.is_loaded or not pathfinder.navigable_area > 0:  # a spoilt navmesh may have none that is a number
        raise SceneError(
            f"{scene}: no floor for a body {body.height} m high with radius {body.radius} m; check scene and body"
        )


def cache_folder() -> Path:
    """Return where computed files are kept."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(CACHE) or user / "navloop")


def _key(scene: Path, settings: Any, version: str) -> str:
    """Name a navmesh after all that it depends on."""
    names = [name for name in sorted(dir(settings)) if not name.startswith("_")]
    values = {name: getattr(settings, name) for name in names if not callable(getattr(settings, name))}
    digest = hashlib.sha256(f"habitat-sim {version}\n{values}\n".encode())
    stage = scene.with_suffix(".stage_config.json")  # says which way is up
    for path in (scene, stage) if stage.is_file() else (scene,):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _load(pathfinder: Any, path: Path, wanted: Any) -> bool:
    """Load a kept navmesh; False where there is none or it is spoilt, and it will be computed again."""
    if not path.is_file():
        return False
    try:
        require_readable(path)
    except SceneError as error:
        _log.warning("%s", error)
        return False
    return bool(pathfinder.load_nav_mesh(str(path))) and pathfinder.nav_mesh_settings == wanted


def _save(pathfinder: Any, path: Path) -> None:
    """Keep a navmesh, whole or not at all; a folder that cannot be written costs the next start some time, no more."""
    try:
        with written_aside(path) as aside:
            if not pathfinder.save_nav_mesh(str(aside)):
                raise OSError(f"{aside} could not be written")
    except OSError as error:
        _log.warning("the navmesh is not kept (%s); set %s to a folder that can be written", error, CACHE)
