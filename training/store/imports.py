"""Walks of others into a store: annotations and folders of frames, as StreamVLN and InternNav publish them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from navloop.envs.simulator import Action
from navloop.geometry import Pose, heading_to_quaternion
from navloop.records import SOURCES, Episode, Instruction, Trajectory
from navloop.training.clip_rows import ClipRow
from navloop.training.decoding import Decoding, UnreadableError
from navloop.training.listings import is_store
from navloop.training.readers import FrameFolder
from navloop.training.store import Record, Store, StoreAbout, StoredEpisode, StoreError, StoreWriter, open_store
from navloop.training.store.tables import column
from navloop.training.unseen import refuse_scenes
from navloop.training.walks import Frames

START = -1
"""What stands before the first frame in a list of actions: each tells how its frame was come to."""

UNNAMED = "imported"
"""Source of walks whose video names no set."""

_MATTERPORT = re.compile(r"[A-Za-z0-9]{11}")
"""Name of a Matterport3D house."""


def import_annotations(
    file: Path, folder: Path, *, turn: float = 15.0, step: float = 0.25, never: Collection[str] = ()
) -> Store:
    """Write walks from an annotations.json and the folders of frames beside it into a store, and return it finished.

    An item is {"id", "video": "images/<scene>_<set>_<walk>", "instructions": [...], "actions": [-1, 1, ...]}, its frames are numbered images in
    the video's folder or in `rgb` below it. Each instruction becomes a walk, whose source is the set ("r2r", "rxr", ...; `UNNAMED` where there is
    none): sets that count their walks alike can lie in one store. Poses are reckoned from the actions, from the origin on, as if
    nothing were in the way; how far the goal is nobody says (nan). What is there is left as it is: a second call goes on.

    Args:
        file: The annotations.
        folder: Of the store, new or begun.
        turn: Degrees of LEFT and RIGHT.
        step: Metres of FORWARD.
        never: Scenes that are kept for validation.

    Raises:
        StoreError: If the annotations cannot be read, or do not fit their frames, naming the item. If a walk is there already, in the store or
            in the file, with another instruction or other actions, naming both; nothing is written then.
        ValueError: If a walk is in a scene that is kept for validation. Nothing is written then.
    """
    items = _read_items(file)
    refuse_scenes({_scene(item) for item in items}, never, str(file))
    about = _about(file, items[0], turn, step)
    _require_distinct(file, items, folder)
    with StoreWriter(folder, about) as writer:
        there = frozenset(_walks_of(open_store(folder)))
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
        if not isinstance(item, Mapping):
            raise StoreError(
                f"{file}, item {place}: is {str(item)[:60]}, no object; write id, video, instructions, actions"
            )
        missing = [name for name in ("id", "video", "instructions", "actions") if name not in item]
        if missing:
            raise StoreError(
                f"{file}, item {place}: has no {', '.join(missing)}; write id, video, instructions, actions"
            )
        texts = item["instructions"]
        told = isinstance(texts, str) or (isinstance(texts, list) and texts and all(isinstance(t, str) for t in texts))
        kinds = (
            ("id", isinstance(item["id"], str | int), "text or a number"),
            ("video", isinstance(item["video"], str), "text"),
            ("instructions", told, "text"),
            ("actions", isinstance(item["actions"], list), "a list of numbers"),
        )
        for name, holds, expected in kinds:
            if not holds:
                raise StoreError(f"{file}, item {place}: {name} is {str(item[name])[:60]}; expected {expected}")
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


class _Said(NamedTuple):
    """What makes a walk another one, and where it stands."""

    where: str
    instruction: str
    actions: bytes

    @classmethod
    def of(cls, where: str, instruction: str, actions: NDArray[np.int64]) -> _Said:
        return cls(where, instruction, actions.astype(np.uint8).tobytes())


def _require_distinct(file: Path, items: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Refuse walks that differ and have one key, in the store or in the file: but one of them would be kept."""
    store = open_store(folder) if is_store(folder) else None
    there = {} if store is None else _walks_of(store)
    known: dict[str, _Said] = {}
    for item in items:
        actions = _actions(file, item)
        for told in _tell(item):
            own = _Said.of(f"{file}, walk {told.episode_id} ({item['video']})", told.instruction, actions)
            if told.key not in known:
                known[told.key] = own if store is None or told.key not in there else _stored(store, there[told.key])
            _require_same(told, own, known[told.key])


def _walks_of(store: Store) -> dict[str, StoredEpisode]:
    """Return the walks of a store by the keys that they would be imported under: earlier versions named no set."""
    walks = {}
    for episode in store.episodes:
        named, _, walk = episode.trajectory_id.partition("_")
        renamed = episode.source == UNNAMED and bool(walk)
        walks[replace(episode, source=named).key if renamed else episode.key] = episode
    return walks


def _require_same(told: StoredEpisode, own: _Said, other: _Said) -> None:
    if own[1:] == other[1:]:
        return
    what = "other actions" if own.instruction == other.instruction else "another instruction"
    raise StoreError(
        f"{own.where}: has {what} than {other.where}, and a store holds but one walk {told.episode_id} of {told.source} in {told.scene_id}; "
        "give it another id, or import it into another store"
    )


def _stored(store: Store, episode: StoredEpisode) -> _Said:
    followed = episode.instruction if episode.original_instruction is None else episode.original_instruction
    where = f"number {episode.index} of {store.folder}"
    return _Said.of(where, followed, column(store.rows(episode.index), "action"))


def _tell(item: Mapping[str, Any]) -> list[StoredEpisode]:
    """What is told of the walks of an item, one an instruction."""
    texts = [item["instructions"]] if isinstance(item["instructions"], str) else list(item["instructions"])
    _, *rest = Path(item["video"]).name.split("_")
    return [
        StoredEpisode(
            episode_id=f"{item['id']}" if number == 0 else f"{item['id']}.{number}",
            trajectory_id="_".join(rest) or str(item["id"]),
            scene_id=_scene(item),
            instruction=text,
            policy="expert",
            seed=0,
            source=rest[0] if len(rest) > 1 else UNNAMED,
            success=True,
        )
        for number, text in enumerate(texts)
    ]


def _records(file: Path, item: Mapping[str, Any], about: StoreAbout, there: frozenset[str]) -> Iterator[Record]:
    """Yield the walks of an item that are not in the store yet."""
    actions = _actions(file, item)
    trajectory = reckon(actions, about)
    start = Pose(trajectory.positions[0], 0.0)
    rgb: NDArray[np.uint8] | None = None
    for told in _tell(item):
        if told.key in there:
            continue
        if rgb is None:
            rgb = _read(file, item, about, len(actions))
        task = Episode(
            episode_id=told.episode_id,
            trajectory_id=told.trajectory_id,
            scene_id=told.scene_id,
            start_position=start.position,
            start_rotation=heading_to_quaternion(start.heading),
            instruction=Instruction(text=told.instruction),
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
    """Read the frames of an item, all of the store's size; sides that are odd lose a line, others have to fit."""
    frames = _frames(file, item)
    if frames.num_frames != count:
        raise StoreError(
            f"{file}, walk {item['id']}: has {frames.num_frames} frames for {count} actions; expected one each"
        )
    try:
        rgb = frames.read(np.arange(count))
    except (OSError, UnreadableError, Image.DecompressionBombError) as error:
        raise StoreError(f"{file}, walk {item['id']}: frames cannot be read ({error})") from error
    height, width = rgb.shape[1:3]
    if (height - height % 2, width - width % 2) != (about.height, about.width):
        raise StoreError(
            f"{file}, walk {item['id']}: frames are {width} x {height} pixels, the store's {about.width} x {about.height}; import those of "
            "each size into a store of its own"
        )
    return rgb[:, : about.height, : about.width]
