"""Walks of a store that are not joined yet: a folder each, `parts/<key>/`, whole or absent whenever its writer was killed.

A part is written aside, forced to disk and renamed; a rename onto a part that is there fails, so that of two writers of one walk the first
one wins. Nothing else is shared between writers: there can be any number of them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from navloop.envs.episode_rows import format_episode
from navloop.records import Trajectory
from navloop.training.store.depth import write_depth
from navloop.training.store.films import Stretch, film_digest, join_films
from navloop.training.store.folder import sync
from navloop.training.store.kinds import fault_of
from navloop.training.store.meta import picture_statistics
from navloop.training.store.schema import (
    DEPTH,
    RGB,
    Record,
    StoreAbout,
    StoredEpisode,
    StoreError,
    told_from_json,
    told_to_json,
)
from navloop.training.store.tables import FRAME_SCHEMA, frame_table, trajectory_of
from navloop.training.videos import write_video

PARTS = "parts"
_DIGEST = "sha256"
_KEY = re.compile(r"[0-9a-f]{24}")
TOLD, FRAMES = "walk.json", "frames.parquet"
FILMS = {RGB: "rgb.mp4", DEPTH: "depth.mp4"}
"""Files of a part; that of depth only where it is stored."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a walk without opening its frames.

    Attributes:
        episode: What is told of it; its `index` is -1.
        task: The episode that was walked, as a row of an R2R-VLNCE file.
        end_pose: x, y, z and heading after the last action.
        end_distance: Geodesic metres to the goal there.
        stopped: Whether the last action was STOP.
        pictures: Statistics of what was seen, by video.
        films: SHA-256 of what was seen as it is coded, by video (`films.film_digest`); empty where a navloop wrote that took none.
    """

    episode: StoredEpisode
    task: Mapping[str, Any]
    end_pose: tuple[float, ...]
    end_distance: float
    stopped: bool
    pictures: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    films: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Record) -> Told:
        """Describe a record."""
        trajectory, depth = record.trajectory, record.frames.depth
        pictures = {RGB: picture_statistics(record.frames.rgb, 255)}
        if depth is not None:
            pictures[DEPTH] = picture_statistics(depth, 1)
        return cls(
            episode=replace(record.about, length=len(trajectory), index=-1),
            task=format_episode(record.task),
            end_pose=(*trajectory.positions[-1].tolist(), float(trajectory.headings[-1])),
            end_distance=float(trajectory.distances_to_goal[-1]),
            stopped=trajectory.stopped,
            pictures=pictures,
        )

    def to_json(self) -> dict[str, Any]:
        """Return strict JSON."""
        return {
            "told": told_to_json(self.episode),
            "task": dict(self.task),
            "end_pose": list(self.end_pose),
            "end_distance": repr(self.end_distance),
            "stopped": self.stopped,
            "pictures": {name: dict(found) for name, found in self.pictures.items()},
            "films": dict(self.films),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], about: StoreAbout, index: int = -1) -> Told:
        """Read what `to_json` gave."""
        return cls(
            episode=told_from_json(data["told"], about, index),
            task=data["task"],
            end_pose=tuple(data["end_pose"]),
            end_distance=float(data["end_distance"]),
            stopped=data["stopped"],
            pictures=data["pictures"],
            films=data.get("films", {}),
        )

    def trajectory(self, frames: pa.Table) -> Trajectory:
        """Return what was done, given the frames' table."""
        return trajectory_of(frames, self.end_pose, self.end_distance, self.stopped)


def write_record(folder: Path, record: Record, about: StoreAbout) -> bool:
    """Write a walk as a part, durably; return False if it is there already.

    Raises:
        StoreError: If the frames do not fit the store.
        OSError: If it cannot be written; then nothing of it is left.
    """
    _require_fit(record, about)
    with _part(folder, record.about.key) as (aside, done):
        write_video(aside / FILMS[RGB], record.frames.rgb, about.fps, gop=about.gop, quality=about.quality, bulk=True)
        if record.frames.depth is not None and about.depth:
            write_depth(aside / FILMS[DEPTH], record.frames.depth, about.fps, about.gop)
        _write_rows(aside, frame_table(record.trajectory, record.expert_actions, about.fps))
        _write_told(aside, replace(Told.of(record), films=_digests(aside, about, len(record.trajectory))))
    return done[0]


def write_copy(folder: Path, told: Told, rows: pa.Table, films: Mapping[str, Stretch], about: StoreAbout) -> bool:
    """Write a walk of another store as a part, its films not coded anew; return False if it is there already.

    Raises:
        UnreadableError: If one of its films is damaged.
        OSError: If it cannot be written; then nothing of it is left.
    """
    if fault := fault_of(told.episode):
        raise StoreError(fault)
    with _part(folder, told.episode.key) as (aside, done):
        for video, stretch in films.items():
            join_films([stretch], about.fps, aside / FILMS[video])
        _write_rows(aside, rows.select(FRAME_SCHEMA.names).cast(FRAME_SCHEMA))
        _write_told(aside, replace(told, films=_digests(aside, about, len(rows))))
    return done[0]


@contextmanager
def _part(folder: Path, key: str) -> Iterator[tuple[Path, list[bool]]]:
    """Yield a fresh folder for the files of a part, and a list to read afterwards: whether it became the part."""
    parts, done = folder / PARTS, [False]
    target = parts / key
    aside = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=parts))
    try:
        yield aside, done
        for file in aside.iterdir():
            sync(file)
        os.chmod(aside, 0o777 & ~_umask())
        sync(aside)
        done[0] = _rename(aside, target)
        sync(parts)
    except OSError as error:
        # PyAV and Arrow do not say which file it was; and what is written aside is gone by the time that somebody reads this.
        raise type(error)(error.errno, error.strerror or str(error), str(target)) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _rename(aside: Path, target: Path) -> bool:
    try:
        os.rename(aside, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def list_parts(folder: Path) -> list[str]:
    """Return the keys of the parts that are there, sorted."""
    try:
        with os.scandir(folder / PARTS) as entries:
            return sorted(entry.name for entry in entries if _KEY.fullmatch(entry.name) and entry.is_dir())
    except FileNotFoundError:
        return []


def read_told(folder: Path, key: str, about: StoreAbout, *, is_checked: bool = False) -> Told:
    """Return what a part tells of its walk.

    Args:
        folder: Of the store.
        key: Of the walk.
        about: What all walks share.
        is_checked: Whether single wrong digits are looked for too, by the digest that was taken when it was written.

    Raises:
        FileNotFoundError: If there is no such part (any more).
        StoreError: If it is damaged, naming the file.
    """
    path = folder / PARTS / key / TOLD
    try:
        data = json.loads(path.read_bytes())
        if is_checked and data.get(_DIGEST, (own := _digest_of(data))) != own:
            raise ValueError("is not what was written")
        return Told.from_json(data, about)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise
        raise StoreError(f"{path}: is gone; delete {path.parent} to lose this walk alone") from None
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path}: not what a store tells of a walk ({error!r}); delete {path.parent} to lose this walk alone"
        ) from error


def read_rows(folder: Path, key: str) -> pa.Table:
    """Return the table of a part's frames.

    Raises:
        StoreError: If it is missing or damaged, naming the file.
    """
    path = folder / PARTS / key / FRAMES
    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        mend = (
            "it was joined since the store was opened: open it again"
            if not path.parent.is_dir()
            else f"delete {path.parent}"
        )
        raise StoreError(f"{path}: cannot be read; {mend}") from error


def _write_rows(aside: Path, table: pa.Table) -> None:
    pq.write_table(table, aside / FRAMES, write_page_checksum=True)


def _write_told(aside: Path, told: Told) -> None:
    data = told.to_json()
    for name, value in data["task"].items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            where = f"walk of episode {told.episode.episode_id}"
            raise StoreError(
                f"{where}: {name} of its task is {ascii(value)[:60]} ({error}); give numbers that are finite, or text"
            ) from error
    text = json.dumps({**data, _DIGEST: _digest_of(data)}, allow_nan=False, ensure_ascii=False)
    (aside / TOLD).write_text(f"{text}\n", encoding="utf-8")


def _digest_of(data: Mapping[str, Any]) -> str:
    """SHA-256 of what is told, but for the digest itself."""
    plain = {name: value for name, value in data.items() if name != _DIGEST}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _digests(aside: Path, about: StoreAbout, length: int) -> dict[str, str]:
    return {video: film_digest(Stretch(aside / FILMS[video], 0, length), about.fps) for video in about.videos}


def _require_fit(record: Record, about: StoreAbout) -> None:
    where = f"walk of episode {record.about.episode_id}"
    size = record.frames.rgb.shape[1:3]
    if size != (about.height, about.width):
        raise StoreError(
            f"{where}: frames are {size[1]} x {size[0]}, the store's {about.width} x {about.height} pixels"
        )
    if about.depth and record.frames.depth is None:
        raise StoreError(f"{where}: has no depth, which the store holds; walk with a depth camera")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
