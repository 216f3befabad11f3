"""The rows of an evaluation: one JSON line an episode, appended as it finishes, and sorted when all are there."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navloop.envs.metrics import Metrics
from navloop.files import write_text
from navloop.geometry import Vector
from navloop.records import Episode, Trajectory

SYNC_INTERVAL = 1.0
"""Seconds after which rows are forced to disk. A killed process loses no row; a power cut loses those of the last second."""


class RowError(ValueError):
    """A row file that cannot be trusted; the message names file, line and mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The result of one episode.

    Attributes:
        episode_id: Of the episode.
        trajectory_id: Of the walk that the instruction describes.
        scene_id: Where.
        seed: Of the episode's random choices.
        metrics: What was measured.
        actions: int64 (S,).
        positions: float64 (S+1, 3), metres, to the millimetre.
        distances: float64 (S+1,), geodesic metres to the goal, to the millimetre; nan where there is none.
        collided: bool (S,).
    """

    episode_id: str
    trajectory_id: str
    scene_id: str
    seed: int
    metrics: Metrics
    actions: NDArray[np.int64]
    positions: Vector
    distances: Vector
    collided: NDArray[np.bool_]

    @classmethod
    def of(cls, episode: Episode, seed: int, metrics: Metrics, trajectory: Trajectory) -> Row:
        """Return the row of a finished episode."""
        distances = np.where(np.isfinite(trajectory.distances_to_goal), trajectory.distances_to_goal, np.nan)
        return cls(
            episode_id=episode.episode_id,
            trajectory_id=episode.trajectory_id,
            scene_id=episode.scene_id,
            seed=seed,
            metrics=metrics,
            actions=trajectory.actions,
            positions=np.round(trajectory.positions, 3),
            distances=np.asarray(np.round(distances, 3), dtype=np.float64),
            collided=trajectory.collided,
        )

    def to_line(self) -> str:
        """Return one line of strict JSON, without its end."""
        walk = {
            "actions": "".join(map(str, self.actions.tolist())),
            "collided": "".join("01"[hit] for hit in self.collided.tolist()),
            "positions_mm": np.rint(self.positions * 1000).astype(int).ravel().tolist(),
            "distances_mm": [None if math.isnan(d) else round(d * 1000) for d in self.distances.tolist()],
        }
        ids = {name: getattr(self, name) for name in ("episode_id", "trajectory_id", "scene_id", "seed")}
        return json.dumps({**ids, **self.metrics.to_row(), "walk": walk}, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> Row:
        """Read what `to_line` wrote.

        Raises:
            ValueError: If the line is not whole.
        """
        try:
            data: dict[str, Any] = json.loads(line)
            walk = data["walk"]
            distances = [math.nan if d is None else d / 1000 for d in walk["distances_mm"]]
            return cls(
                **{name: data[name] for name in ("episode_id", "trajectory_id", "scene_id", "seed")},
                metrics=Metrics.from_row(data),
                actions=np.array([int(code) for code in walk["actions"]], dtype=np.int64),
                positions=np.array(walk["positions_mm"], dtype=np.float64).reshape(-1, 3) / 1000,
                distances=np.array(distances, dtype=np.float64),
                collided=np.array([code == "1" for code in walk["collided"]], dtype=bool),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a row ({error!r})") from error


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file in its order; none where there is no file. A last line without its end is left out.

    Raises:
        RowError: If any other line is broken, or an episode is there twice.
    """
    if not path.is_file():
        return []
    rows: dict[str, Row] = {}
    for number, line in enumerate(_whole_lines(path), start=1):
        try:
            row = Row.from_line(line.decode())
        except ValueError as error:
            raise RowError(
                f"{path}, line {number}: {error}; delete the line, and resume to do its episode again"
            ) from error
        if row.episode_id in rows:
            raise RowError(f"{path}, line {number}: episode {row.episode_id} is there twice; delete one of the lines")
        rows[row.episode_id] = row
    return list(rows.values())


def sort_rows(path: Path, order: Sequence[str]) -> None:
    """Rewrite a file, at once, in the order of these episode ids, so that equal results are equal files."""
    place = {episode_id: number for number, episode_id in enumerate(order)}
    rows = sorted(read_rows(path), key=lambda row: place.get(row.episode_id, len(place)))
    write_text(path, "".join(f"{row.to_line()}\n" for row in rows))


class RowWriter:
    """Appends rows to a file; each is handed to the system before `add` returns.

    Args:
        path: The file, made if absent. A torn last line, left by a killed writer, is cut off first.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            os.truncate(path, sum(len(line) + 1 for line in _whole_lines(path)))
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._synced = time.monotonic()

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows.

        Raises:
            OSError: If they cannot be written, naming the file. What was torn is cut off when the file is opened again.
        """
        try:
            left = memoryview("".join(f"{row.to_line()}\n" for row in rows).encode())
            while left:  # a disk that fills takes a part, and the next call says why
                left = left[self._file.write(left) :]
            if time.monotonic() - self._synced > SYNC_INTERVAL:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise type(error)(error.errno, f"cannot write rows ({error.strerror})", str(self._path)) from error

    def close(self) -> None:
        """Force everything to disk and let go of the file."""
        os.fsync(self._file.fileno())
        self._file.close()


def _whole_lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1]
