"""One recorded walk at a time: walked again, checked against where it led, filmed, and described. What a worker of `navloop replay` does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navloop.configs.replay import ReplayConfig
from navloop.envs.houses.moments import class_of, list_classes
from navloop.envs.houses.sites import Site
from navloop.envs.protocols import Protocol, get_protocol
from navloop.envs.simulator import Action, Camera, Simulator
from navloop.envs.worlds import create_simulator
from navloop.files import write_text
from navloop.geometry import Pose, Vector, quaternion_to_heading
from navloop.records import GroundTruth
from navloop.training.recorded import RecordedWalk
from navloop.training.subwalks import Poses, SubWalk, captions_of, find_subwalks, read_site
from navloop.training.turning import convert, require_turns
from navloop.training.videos import write_video

FORMAT = "navloop-replay-2"
"""Raised whenever the same config would give other videos or other words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filmed:
    """What came of a walk.

    Attributes:
        key: Of the walk.
        frames: Of its video; 0 where it strayed and has none.
        subwalks: How many were found.
        gap: Metres by which it missed the ground truth's locations at worst.
        strayed: Whether that is more than the config tolerates.
    """

    key: str
    frames: int
    subwalks: int
    gap: float
    strayed: bool


def film_protocol(config: ReplayConfig) -> Protocol:
    """Return the protocol of a config with one camera: its first RGB camera in the config's width.

    Raises:
        ValueError: If it has none, or turns are to be converted for a body that turns otherwise.
    """
    protocol = get_protocol(config.protocol)
    require_turns(config.turns, protocol.body, protocol.label)
    camera = next((camera for camera in protocol.cameras if camera.kind == "rgb"), None)
    if camera is None:
        raise ValueError(f"protocol {protocol.label} has no RGB camera to film with; choose another")
    width = config.width or camera.width
    height = 2 * round(width * camera.height / camera.width / 2)
    return protocol.with_cameras([replace(camera, width=width, height=height)])


def record_file(folder: Path, key: str) -> Path:
    """Return where the record of a walk lies."""
    return folder / "walks" / f"{key}.json"


def video_name(key: str) -> str:
    """Return the path of a walk's video below the data set's folder."""
    return f"videos/{key}.mp4"


def read_filmed(folder: Path, key: str) -> dict[str, Any] | None:
    """Return the record of a walk that is finished, or None: it is written later than its video, and says how large that is.

    Raises:
        ValueError: If the record is not of this format, naming it.
    """
    path = record_file(folder, key)
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        if record["format"] != FORMAT:
            raise ValueError(f"format is {record['format']!r}, expected {FORMAT!r}")
        video = folder / video_name(key)
        is_whole = record["strayed"] or (video.is_file() and record.get("bytes") in (None, video.stat().st_size))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the record of a walk ({error!r}); delete it, and run again") from error
    return record if is_whole else None


class Filmer:
    """Walks and films, holding one world in memory.

    Args:
        config: What to make.
        folder: Of the data set.
        split: Name of the split, for the rows.
    """

    def __init__(self, config: ReplayConfig, folder: Path, split: str) -> None:
        self._config = config
        self._folder = folder
        self._split = split
        self._protocol = film_protocol(config)
        self._camera: Camera = self._protocol.cameras[0]
        self._simulator: Simulator = create_simulator(
            config.world, config.scenes, self._protocol, **config.world_settings
        )
        self._site: tuple[str, Site | None] = ("", None)

    def do(self, walk: RecordedWalk) -> Filmed:
        """Write the record of a walk and, unless it strays, its video.

        Raises:
            ValueError: If the scene cannot be loaded, or the walk cannot be walked by this body.
            OSError: If a file cannot be written.
        """
        actions = convert(walk.actions.tolist(), self._config.turns)
        self._require_actions(actions)
        poses = self._walk(walk, actions)
        gap = gap_to(walk.truth, poses.positions, actions, self._config.turns == "recorded")
        strayed = gap > self._config.tolerance
        frames = 0 if strayed else len(poses.headings)
        parts = self._subwalks(walk, poses) if frames else []
        rows = [self._walk_row(walk, actions, frames), *self._part_rows(walk, actions, parts)] if frames else []
        record = {
            "format": FORMAT,
            "key": walk.key,
            "scene_id": walk.first.scene_id,
            "trajectory_id": walk.first.trajectory_id,
            "episode_ids": [episode.episode_id for episode in walk.episodes],
            "frames": frames,
            "gap": round(gap, 4),
            "strayed": strayed,
            "actions": actions,
            "positions": np.round(poses.positions, 4).tolist(),
            "headings": np.round(poses.headings, 4).tolist(),
            "rows": rows,
        }
        if frames:
            record["bytes"] = self._film(walk, actions, frames)
        write_text(record_file(self._folder, walk.key), json.dumps(record, allow_nan=False) + "\n")
        return Filmed(key=walk.key, frames=frames, subwalks=len(parts), gap=gap, strayed=strayed)

    def close(self) -> None:
        """Give back what the simulator holds."""
        self._simulator.close()

    def _require_actions(self, actions: Sequence[int]) -> None:
        known = range(6 if self._protocol.body.tilt > 0 else 4)
        unknown = sorted({Action(code).name for code in actions if code not in known})
        if unknown:
            raise ValueError(
                f"its actions include {', '.join(unknown)}, which {self._protocol.label} lacks; choose the protocol it was made for"
            )

    def _start(self, walk: RecordedWalk) -> None:
        self._simulator.load_scene(walk.group)
        self._simulator.set_pose(Pose(walk.first.start_position, quaternion_to_heading(walk.first.start_rotation)))

    def _walk(self, walk: RecordedWalk, actions: Sequence[int]) -> Poses:
        """Return the poses at which the actions are chosen: those of the frames. Nothing is drawn."""
        self._start(walk)
        poses = [self._simulator.pose]
        for action in shown(actions):
            self._simulator.act(Action(action))
            poses.append(self._simulator.pose)
        return Poses(
            positions=np.array([pose.position for pose in poses]), headings=np.array([pose.heading for pose in poses])
        )

    def _film(self, walk: RecordedWalk, actions: Sequence[int], frames: int) -> int:
        """Write the video and return its size, bytes."""
        config, path = self._config, self._folder / video_name(walk.key)
        count = write_video(
            path,
            self._frames(walk, actions),
            config.fps,
            gop=config.gop,
            quality=config.quality,
            bulk=True,
        )
        assert count == frames
        return path.stat().st_size

    def _frames(self, walk: RecordedWalk, actions: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        self._start(walk)
        yield self._render()
        for action in shown(actions):
            self._simulator.act(Action(action))
            yield self._render()

    def _render(self) -> NDArray[np.uint8]:
        frame: NDArray[Any] = self._simulator.render()[self._camera.name]
        return frame

    def _subwalks(self, walk: RecordedWalk, poses: Poses) -> list[SubWalk]:
        if not self._config.subwalks:
            return []
        if self._site[0] != walk.group:
            self._site = (walk.group, read_site(Path(self._config.scenes) / walk.group))
        site, episode = self._site[1], replace(walk.first, ground_truth=walk.truth)
        return [] if site is None else find_subwalks(site, episode, poses, self._camera)

    def _walk_row(self, walk: RecordedWalk, actions: Sequence[int], frames: int) -> dict[str, Any]:
        captions = [episode.instruction.text for episode in walk.episodes]
        languages = [episode.instruction.language for episode in walk.episodes]
        return {**self._times(walk, 0, frames - 1), "captions": captions, "kind": "walk", **self._ids(walk)} | {
            "languages": languages,
            "actions": list(actions),
        }

    def _part_rows(
        self, walk: RecordedWalk, actions: Sequence[int], parts: Sequence[SubWalk]
    ) -> Iterator[dict[str, Any]]:
        digest = hashlib.sha256(f"{self._config.seed}:{walk.key}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        classes = list_classes()
        for part in parts:
            moment, name = part.moment, class_of(part.moment)
            yield {
                **self._times(walk, part.first, part.last),
                "captions": captions_of(moment, self._config.wordings, rng),
                "label": classes.index(name),
                "label_name": name,
                "kind": "subwalk",
                **self._ids(walk),
                "event": moment.event,
                "at": part.at / self._config.fps,
                **{field: value for field in ("side", "room", "thing") if (value := getattr(moment, field))},
                "actions": list(actions[part.first : part.last]),
            }

    def _times(self, walk: RecordedWalk, first: int, last: int) -> dict[str, Any]:
        fps = self._config.fps
        return {"video": video_name(walk.key), "start": first / fps, "end": (last + 1) / fps}

    def _ids(self, walk: RecordedWalk) -> dict[str, Any]:
        return {
            "episode_ids": [episode.episode_id for episode in walk.episodes],
            "trajectory_id": walk.first.trajectory_id,
            "scene_id": walk.first.scene_id,
            "split": self._split,
        }


def shown(actions: Sequence[int]) -> Sequence[int]:
    """Return the actions that lead to another frame: all but a STOP at the end, after which everything looks as before."""
    return actions[:-1] if actions and actions[-1] == Action.STOP else actions


def gap_to(truth: GroundTruth, positions: Vector, actions: Sequence[int], is_as_recorded: bool) -> float:
    """Return by how many metres a walk misses the locations of its ground truth at worst.

    As recorded, each location is compared with the position that it is of: one after every FORWARD (R2R-CE) or after every action. With
    converted turns there is no such pairing: each position is compared with the nearest location, and the last with the last.

    Args:
        truth: The ground truth.
        positions: float64 (F, 3), metres: at the start and after each action but STOP.
        actions: What was done.
        is_as_recorded: Whether these are the recorded actions.

    Raises:
        ValueError: If locations and actions do not fit each other in number.
    """
    if not is_as_recorded:
        ways = np.linalg.norm(positions[:, None] - truth.locations[None], axis=2)
        return float(max(ways.min(axis=1).max(), ways[-1, -1]))
    moves = [number for number, action in enumerate(actions, start=1) if action == Action.FORWARD]
    held = np.concatenate([positions, positions[-1:]])
    for places in ([0, *moves], range(len(actions) + 1), range(len(actions))):
        if len(places) == len(truth.locations):
            return float(np.linalg.norm(held[list(places)] - truth.locations, axis=1).max())
    raise ValueError(
        f"its ground truth has {len(truth.locations)} locations for {len(actions)} actions, {len(moves)} of them forward; "
        "take both from one file"
    )
