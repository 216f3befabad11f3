"""Walks of others into a store: annotations and folders of frames, as StreamVLN and InternNav publish them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from navloop.envs.simulator import Action
from navloop.geometry import Pose, heading_to_quaternion
from navloop.records import SOURCES, Episode, Instruction, Trajectory
from navloop.training.clip_rows import ClipRow
from navloop.training.decoding import Decoding, UnreadableError
from navloop.training.readers import FrameFolder
from navloop.training.store import Record, Store, StoreAbout, StoredEpisode, StoreError, StoreWriter, open_store
from navloop.training.unseen import refuse_scenes
from navloop.training.walks import Frames

START = -1
"""What stands before the first frame in a list of actions: each tells how its frame was come to."""

_MATTERPORT = re.compile(r"[A-Za-z0-9]{11}")
"""Name of a Matterport3D house."""


def import_annotations(
    file: Path, folder: Path, *, turn: float = 15.0, step: float = 0.25, never: Collection[str] = ()
) -> Store:
    """Write walks from an annotations.json and the folders of frames beside it into a store, and return it finished.

    An item is {"id", "video": "images/<scene>_<set>_<walk>", "instructions": [...], "actions": [-1, 1, ...]}, its frames are numbered images in
    the video's folder or in `rgb` below it. Each instruction becomes a walk. Poses are reckoned from the actions, from the origin on, as if
    nothing were in the way; how far the goal is nobody says (nan). What is there is left as it is: a second call goes on.

    Args:
        file: The annotations.
        folder: Of the store, new or begun.
        turn: Degrees of LEFT and RIGHT.
        step: Metres of FORWARD.
        never: Scenes that are kept for validation.

    Raises:
        StoreError: If the annotations cannot be read, or do not fit their frames, naming the item.
        ValueError: If a walk is in a scene that is kept for validation. Nothing is written then.
    """
    items = _read_items(file)
    refuse_scenes({_scene(item) for item in items}, never, str(file))
    about = _about(file, items[0], turn, step)
    with StoreWriter(folder, about) as writer:
        there = open_store(folder).keys
        for item in items:
            for record in _records(file, item, about, there):
                writer.append(record)
        writer.finish()
    return open_store(folder)


def _read_items(file: Path) -> list[Mapping[str, Any]]:
    try:
        items = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"{file}: annotations cannot be read ({error}); give an annotations.json") from error
    if isinstance(items, dict):  # InternNav's
        items = items.get("episodes")
    if not isinstance(items, list) or not items:
        raise StoreError(f"{file}: holds no list of walks; give an annotations.json")
    for place, item in enumerate(items):
        missing = [name for name in ("id", "video", "instructions", "actions") if name not in item]
        if missing:
            raise StoreError(
                f"{file}, item {place}: has no {', '.join(missing)}; write id, video, instructions, actions"
            )
    return items


def _about(file: Path, item: Mapping[str, Any], turn: float, step: float) -> StoreAbout:
    first = _frames(file, item).read(np.array([0]))[0]
    height, width = (side - side % 2 for side in first.shape[:2])
    return StoreAbout(
        protocol="imported",
        protocol_fingerprint="",
        world="unknown",
        turn=turn,
        step=step,
        width=width,
        height=height,
    )


def _records(file: Path, item: Mapping[str, Any], about: StoreAbout, there: frozenset[str]) -> Iterator[Record]:
    """Yield the walks of an item that are not in the store yet."""
    actions = _actions(file, item)
    trajectory = reckon(actions, about)
    texts = [item["instructions"]] if isinstance(item["instructions"], str) else list(item["instructions"])
    walk = Path(item["video"]).name.partition("_")[2]
    start = Pose(trajectory.positions[0], 0.0)
    rgb: NDArray[np.uint8] | None = None
    for number, text in enumerate(texts):
        ids: dict[str, Any] = {
            "episode_id": f"{item['id']}" if number == 0 else f"{item['id']}.{number}",
            "trajectory_id": walk or str(item["id"]),
            "scene_id": _scene(item),
        }
        told = StoredEpisode(
            **ids, instruction=text, policy="expert", seed=0, source="imported", success=trajectory.stopped
        )
        if told.key in there:
            continue
        if rgb is None:
            rgb = _read(file, item, about, len(actions))
        task = Episode(
            **ids,
            start_position=start.position,
            start_rotation=heading_to_quaternion(start.heading),
            instruction=Instruction(text=text),
        )
        yield Record(about=told, task=task, trajectory=trajectory, expert_actions=actions, frames=Frames(rgb))


def _scene(item: Mapping[str, Any]) -> str:
    scene = Path(item["video"]).name.partition("_")[0]
    return f"mp3d/{scene}/{scene}.glb" if _MATTERPORT.fullmatch(scene) else scene


def reckon(actions: NDArray[np.int64], about: StoreAbout) -> Trajectory:
    """Return where actions lead from the origin in an empty world."""
    turns = np.radians(about.turn) * ((actions == Action.LEFT).astype(float) - (actions == Action.RIGHT))
    headings = np.concatenate([[0.0], np.cumsum(turns)])
    moves = about.step * (actions == Action.FORWARD)
    ahead = np.stack([-np.sin(headings[:-1]), np.zeros(len(actions)), -np.cos(headings[:-1])], axis=1)
    return Trajectory(
        positions=np.concatenate([np.zeros((1, 3)), np.cumsum(moves[:, None] * ahead, axis=0)]),
        headings=headings,
        actions=actions,
        distances_to_goal=np.full(len(actions) + 1, np.nan),
        collided=np.zeros(len(actions), dtype=bool),
        action_source=np.full(len(actions), SOURCES.index("expert")),
        stopped=bool(actions[-1] == Action.STOP),
    )


def _actions(file: Path, item: Mapping[str, Any]) -> NDArray[np.int64]:
    """What was done at each frame; after the last one, STOP."""
    listed: Sequence[Any] = item["actions"]
    known = [int(action) for action in (Action.STOP, Action.FORWARD, Action.LEFT, Action.RIGHT)]
    if not listed or listed[0] != START or any(action not in known for action in listed[1:]):
        raise StoreError(f"{file}, walk {item['id']}: actions are {str(listed)[:60]}; expected {START}, then 0 to 3")
    return np.array([*listed[1:], int(Action.STOP)], dtype=np.int64)


def _frames(file: Path, item: Mapping[str, Any]) -> FrameFolder:
    video = file.parent / str(item["video"])
    folder = video / "rgb" if (video / "rgb").is_dir() else video
    try:
        return FrameFolder(folder, ClipRow(path=str(folder), place=f"{file}, walk {item['id']}"), Decoding())
    except (OSError, UnreadableError) as error:
        raise StoreError(f"{file}, walk {item['id']}: frames cannot be read ({error})") from error


def _read(file: Path, item: Mapping[str, Any], about: StoreAbout, count: int) -> NDArray[np.uint8]:
    """Read the frames of an item, all of the store's size; sides that are odd lose a line."""
    frames = _frames(file, item)
    if frames.num_frames != count:
        raise StoreError(
            f"{file}, walk {item['id']}: has {frames.num_frames} frames for {count} actions; expected one each"
        )
    try:
        rgb = frames.read(np.arange(count))
    except (OSError, UnreadableError, Image.DecompressionBombError) as error:
        raise StoreError(f"{file}, walk {item['id']}: frames cannot be read ({error})") from error
    return rgb[:, : about.height, : about.width]
