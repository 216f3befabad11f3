"""Walks to learn from, on disk: frames without loss, actions and corrections, and beside them what encoders made of the frames.

A folder of walks holds `part_NNNN.npz` (frames), `index.jsonl` (all else; a line a part, written when the part is whole), and for
each perception `features_<digest>/part_NNNN.npy`. What a killed writer left is never taken for a part.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from navloop.files import write_text, written_aside
from navloop.geometry import Vector
from navloop.records import Tour

_INDEX = "index.jsonl"
_LEVEL = 1
"""Of deflate. Rendered frames shrink to a third; higher levels win a tenth more and take three times as long."""


class WalksError(ValueError):
    """Walks that cannot be read; the message names the file and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What happened on one walk, at each of its S actions: where it was taken from, by whom, and what the expert would have done.

    Attributes:
        episode_id: Whose instruction was followed.
        trajectory_id: Of the tour, which other episodes describe too.
        scene_id: Where.
        actions: int64 (S,), taken.
        expert_actions: int64 (S,), what the expert would have done; what is learned.
        sources: int64 (S,), who chose the action, as in `Trajectory.action_source`.
        distances: float64 (S,), geodesic metres to the goal before the action.
        success: Whether it ended where the protocol counts success.
    """

    episode_id: str
    trajectory_id: str
    scene_id: str
    actions: NDArray[np.int64]
    expert_actions: NDArray[np.int64]
    sources: NDArray[np.int64]
    distances: Vector
    success: bool

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def tour(self) -> Tour:
        """What it shares with the episodes that tell it."""
        return self.scene_id, self.trajectory_id

    @property
    def progress(self) -> Vector:
        """Share of the way to the goal that was done before each action, in [-1, 1]. Source: VLN-CE, ProgressSensor."""
        start = self.distances[0]
        if not start > 0:
            return np.zeros(len(self))
        share: Vector = np.clip(np.nan_to_num((start - self.distances) / start, neginf=-1.0), -1.0, 1.0)
        return share

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads back, distances to the millimetre."""
        codes = {
            name: "".join(map(str, getattr(self, name).tolist())) for name in ("actions", "expert_actions", "sources")
        }
        ids = {name: getattr(self, name) for name in ("episode_id", "trajectory_id", "scene_id", "success")}
        far = [round(d * 1000) if np.isfinite(d) else None for d in self.distances.tolist()]
        return {**ids, **codes, "distances_mm": far}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Walk:
        """Read what `to_json` gave."""

        def codes(name: str) -> NDArray[np.int64]:
            return np.array([int(code) for code in data[name]], dtype=np.int64)

        return cls(
            episode_id=data["episode_id"],
            trajectory_id=data["trajectory_id"],
            scene_id=data["scene_id"],
            actions=codes("actions"),
            expert_actions=codes("expert_actions"),
            sources=codes("sources"),
            distances=np.array([np.inf if d is None else d / 1000 for d in data["distances_mm"]], dtype=np.float64),
            success=data["success"],
        )


class Frames(NamedTuple):
    """What was seen on a walk before each of its S actions."""

    rgb: NDArray[np.uint8]
    """uint8 (S, H, W, 3)."""
    depth: NDArray[np.float32] | None = None
    """float32 (S, H, W, 1), metres; None where there was no such camera."""


class Part(NamedTuple):
    """What one index line tells."""

    number: int
    walks: tuple[Walk, ...]


class WalkFolder:
    """The walks of one iteration.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The whole parts, by number.

        Raises:
            WalksError: If the index is broken before its last line, or a part's file is gone.
        """
        parts = sorted(self._read_index(), key=lambda part: part.number)
        for part in parts:
            if not self.frames_file(part.number).is_file():
                raise WalksError(
                    f"{self.frames_file(part.number)}: is gone; remove {self.path} to make its walks again"
                )
        return tuple(parts)

    @property
    def index(self) -> Path:
        """The file that lists them."""
        return self.path / _INDEX

    def frames_file(self, number: int) -> Path:
        """Return where a part's frames are."""
        return self.path / f"part_{number:04d}.npz"

    def features_file(self, digest: str, number: int, mirrored: bool = False) -> Path:
        """Return where what a perception made of a part's frames is, or of the frames in a mirror."""
        name = f"{'mirrored' if mirrored else 'part'}_{number:04d}.npy"
        return self.path / f"features_{digest.removeprefix('sha256:')[:16]}" / name

    def append(self, number: int, walks: Sequence[Walk]) -> None:
        """Enter a part whose files are written: from now on it is there."""
        line = json.dumps({"part": number, "walks": [walk.to_json() for walk in walks]}, separators=(",", ":"))
        self._cut_torn()
        with (self.path / _INDEX).open("ab") as file:
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        self.__dict__.pop("parts", None)

    def sort(self) -> None:
        """Put the index in the order of the parts, so that equal walks are equal files however they were made."""
        lines = {json.loads(line)["part"]: line for line in _whole_lines(self.path / _INDEX)}
        write_text(self.path / _INDEX, "".join(f"{lines[number].decode()}\n" for number in sorted(lines)))

    def frames(self, number: int) -> Iterator[Frames]:
        """Yield the frames of a part's walks, in the order of the index.

        Raises:
            WalksError: If they cannot be read.
        """
        with _opened(self.frames_file(number)) as stored:
            for place in range(sum(name.startswith("rgb_") for name in stored.files)):
                yield _read_frames(stored, place)

    def frames_of(self, number: int, place: int) -> Frames:
        """Return the frames of one walk, the `place`-th of a part, without reading the others.

        Raises:
            WalksError: If they cannot be read.
        """
        with _opened(self.frames_file(number)) as stored:
            return _read_frames(stored, place)

    def _read_index(self) -> Iterator[Part]:
        path = self.path / _INDEX
        for number, line in enumerate(_whole_lines(path), start=1):
            try:
                data = json.loads(line)
                yield Part(int(data["part"]), tuple(Walk.from_json(walk) for walk in data["walks"]))
            except (ValueError, KeyError, TypeError) as error:
                raise WalksError(
                    f"{path}, line {number}: not a part of walks ({error!r}); delete the line to make them again"
                ) from error

    def _cut_torn(self) -> None:
        """Cut off the last line if a killed writer tore it."""
        path = self.path / _INDEX
        if path.is_file():
            os.truncate(path, sum(len(line) + 1 for line in _whole_lines(path)))


def write_frames(path: Path, walks: Sequence[Frames]) -> None:
    """Write the frames of a part, whole or not at all: an ordinary .npz, `rgb_00000` and `depth_00000` for each walk.

    Raises:
        OSError: If it cannot be written.
    """
    with written_aside(path) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as file:
        for place, frames in enumerate(walks):
            for name, array in frames._asdict().items():
                if array is not None:
                    with file.open(f"{name}_{place:05d}.npy", "w", force_zip64=True) as entry:
                        npy.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)


def write_features(path: Path, features: Sequence[NDArray[np.float16]]) -> None:
    """Write what a perception made of a part's walks, each float16 (S, n, D), one after the other, whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    with written_aside(path) as aside, aside.open("wb") as file:
        npy.write_array(file, np.concatenate(features), allow_pickle=False)


def _opened(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise WalksError(f"{path}: cannot be read ({error}); remove its folder to make the walks again") from error


def _read_frames(stored: Any, place: int) -> Frames:
    depth = f"depth_{place:05d}"
    return Frames(stored[f"rgb_{place:05d}"], stored[depth] if depth in stored.files else None)


def _whole_lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
