"""What a scene id means to habitat-sim, settled before it is loaded: habitat-sim ends the process on a scene that it cannot find."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from navloop.envs.habitat.navmeshes import require_readable
from navloop.envs.scenes import SceneDescription
from navloop.envs.simulator import SceneError
from navloop.registry import nearest

MAGIC = {".glb": b"glTF", ".ply": b"ply"}
"""How files of these kinds begin."""


class SceneSource(NamedTuple):
    """A scene as habitat-sim takes it.

    Attributes:
        handle: A file's path, or the name of a scene instance.
        file: The file; None for an instance, which is made of many.
    """

    handle: str
    file: Path | None


def find_scene(scenes: Path, scene_id: str, scene_dataset: Path | None) -> SceneSource:
    """Return what an episode's scene id stands for.

    Args:
        scenes: Folder that scene ids are relative to.
        scene_id: Path of a file below it (MP3D, HM3D, Gibson, Replica), or the name of an instance in the scene data set (HSSD).
        scene_dataset: The scene_dataset_config file, or None.

    Raises:
        SceneError: If there is no such scene, or its file or the navmesh beside it is broken.
    """
    path = Path(os.path.abspath(scenes / scene_id))  # links, as git-annex and DVC make them, may lead anywhere
    if path.is_file():
        if not path.is_relative_to(os.path.abspath(scenes)):
            raise SceneError(f"scene id {scene_id!r} leads out of the scenes folder {scenes}; correct the episode file")
        _require_whole(path)
        if scene_dataset is None:
            _require_upright(path)
        return SceneSource(str(path), path)
    if scene_dataset is None:
        raise SceneError(
            f"{path}: no such scene; check the scenes folder {scenes}, download the scenes, or name a scene_dataset_config"
        )
    return SceneSource(_find_instance(scene_id, scene_dataset), None)


@contextmanager
def loading(scene: Path | str) -> Iterator[None]:
    """Name the scene where habitat-sim's own checks fail, which name no file.

    Raises:
        SceneError: In place of AssertionError and RuntimeError.
    """
    try:
        yield
    except (AssertionError, RuntimeError) as error:
        raise SceneError(
            f"{scene}: habitat-sim cannot load it, or what lies beside it ({error}); download or make it again"
        ) from error


def require_dataset(path: Path) -> None:
    """Check that a scene_dataset_config is there.

    Raises:
        SceneError: If it is not.
    """
    if not path.is_file() or not path.name.endswith(".scene_dataset_config.json"):
        raise SceneError(
            f"{path}: no scene data set; give the file *.scene_dataset_config.json that comes with the scenes"
        )


def _require_whole(path: Path) -> None:
    magic = MAGIC.get(path.suffix)
    with path.open("rb") as file:
        begin = file.read(12)
    if magic is not None and not begin.startswith(magic):
        raise SceneError(f"{path}: is no {path.suffix[1:].upper()} file; download or make the scene again")
    if path.suffix == ".glb" and int.from_bytes(begin[8:12], "little") > path.stat().st_size:
        raise SceneError(f"{path}: is torn; download or make the scene again")
    navmesh = path.with_suffix(".navmesh")
    if navmesh.is_file():
        require_readable(navmesh)


def _require_upright(path: Path) -> None:
    """Refuse a generated house that was not exported: habitat-sim takes a bare GLB to be Matterport3D's, and lays it on its side."""
    beside = path.with_suffix(".json")
    if path.with_suffix(".stage_config.json").is_file() or not beside.is_file():
        return
    try:
        SceneDescription.read(beside)
    except ValueError:
        return  # some other program's file of that name
    raise SceneError(
        f"{path}: is a generated house without a stage config, which Habitat would lay on its side; "
        "export the houses with `navloop houses RECIPE --export habitat` and use the exported folder"
    )


def _find_instance(scene_id: str, scene_dataset: Path) -> str:
    """Return the handle of a scene instance of a data set, or of a stage, which makes one alone, by its name with or without suffixes."""
    handles = _instances(scene_dataset)
    name = Path(scene_id).name.split(".")[0]
    if name not in handles:
        raise SceneError(f"{scene_dataset}: no scene {scene_id!r} in it; {nearest(name, sorted(handles))}")
    return name


def _instances(scene_dataset: Path) -> set[str]:
    from habitat_sim.metadata import MetadataMediator

    mediator: Any = MetadataMediator()
    mediator.active_dataset = str(scene_dataset)
    stages = mediator.stage_template_manager.get_template_handles()
    return {Path(handle).name.split(".")[0] for handle in (*mediator.get_scene_handles(), *stages)}
