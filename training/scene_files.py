"""Whether the scenes that are to be walked in are there, and how to get those that are not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from navloop.envs.simulator import SceneError

MATTERPORT = (
    "Matterport3D scenes are licensed: sign the terms of use at https://niessner.github.io/Matterport/, mail them as it says there, and "
    "run the download_mp.py that comes back with --task habitat; unpack its v1/tasks/mp3d_habitat.zip so that this file exists"
)


def require_scene_files(folder: Path, scene_ids: Iterable[str]) -> None:
    """Check that the file of every scene is there before anything is walked.

    Raises:
        SceneError: If one is not, naming it and how to get it.
    """
    wanted = sorted(set(scene_ids))
    missing = [scene_id for scene_id in wanted if not (folder / scene_id).is_file()]
    if not missing:
        return
    is_matterport = missing[0].startswith("mp3d/")
    mend = MATTERPORT if is_matterport else "check 'scenes' in the recipe, or make or download them"
    others = f" ({len(missing)} of {len(wanted)} scenes are missing)" if len(wanted) > 1 else ""
    raise SceneError(f"{folder / missing[0]}: no such scene file{others}. {mend}")
