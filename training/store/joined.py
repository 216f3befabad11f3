"""The joined walks of a store: a table of episodes that says in which files, and where in them, each one is.

The table is what counts: it is written last and replaced at once, so that files it does not name are not there for any reader.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from navloop.training.store.films import Stretch
from navloop.training.store.meta import MOMENTS
from navloop.training.store.parts import Told
from navloop.training.store.schema import StoreAbout, StoredEpisode, StoreError

EPISODES = "meta/episodes/chunk-000/file-000.parquet"
DATA = "data/chunk-{:03d}/file-{:03d}.parquet"
VIDEOS = "videos/{}/chunk-{:03d}/file-{:03d}.mp4"
TASKS, INFO, STATS = "meta/tasks.parquet", "meta/info.json", "meta/stats.json"
METRIC = "metrics/"
FILM_DIGEST = "films/"

TOLD = {
    "key": pa.string(),
    "episode_id": pa.string(),
    "trajectory_id": pa.string(),
    "scene_id": pa.string(),
    "instruction": pa.string(),
    "original_instruction": pa.string(),
    "policy": pa.string(),
    "weights": pa.string(),
    "seed": pa.int64(),
    "source": pa.string(),
    "round": pa.int64(),
    "success": pa.bool_(),
    "why": pa.string(),
    "extra": pa.string(),
    "end_pose": pa.list_(pa.float64()),
    "end_distance": pa.float64(),
    "stopped": pa.bool_(),
    "task": pa.string(),
}
"""Columns that navloop adds to a LeRobotDataset's table of episodes, besides `metrics/<name>` and `films/<video>`: what `Told` holds."""

_ROWS_HELD = 8
"""Row groups of frames that a reader keeps."""


def told_row(told: Told) -> dict[str, Any]:
    """Return what is told of a walk as a row of the table."""
    episode = told.episode
    plain = {f.name: getattr(episode, f.name) for f in fields(episode) if f.name in TOLD}
    metrics = {f"{METRIC}{name}": float(value) for name, value in episode.metrics.items()}
    films = {f"{FILM_DIGEST}{video}": digest for video, digest in told.films.items()}
    return (plain | metrics | films) | {
        "key": episode.key,
        "extra": json.dumps(dict(episode.extra), ensure_ascii=False),
        "task": json.dumps(dict(told.task), ensure_ascii=False),
        "end_pose": list(told.end_pose),
        "end_distance": told.end_distance,
        "stopped": told.stopped,
    }


class Joined:
    """The joined walks of a store as they were when it was opened.

    Args:
        folder: Of the store.
        about: What its walks share.

    Raises:
        StoreError: If the table cannot be read.
    """

    def __init__(self, folder: Path, about: StoreAbout) -> None:
        self._folder, self._about = folder, about
        self._path = folder / EPISODES
        self._columns = self._read_columns()
        self.keys: list[str] = self._columns["key"]
        self.episodes = self._tell()
        self._statistics: pa.Table | None = None
        self._tables: dict[tuple[Path, int], pa.Table] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def told(self, number: int) -> Told:
        """Return all that is known of a walk without opening its frames."""
        return Told(
            episode=self.episodes[number],
            task=json.loads(self._tasks[number].as_py()),
            end_pose=tuple(self._columns["end_pose"][number]),
            end_distance=self._columns["end_distance"][number],
            stopped=self._columns["stopped"][number],
            pictures=self._pictures(number),
            films={video: digest for video in self._about.videos if (digest := self._digest(number, video))},
        )

    def frames(self, number: int) -> pa.Table:
        """Return the rows of a walk's frames.

        Raises:
            StoreError: If their file is missing or damaged, naming it.
        """
        path = self._folder / DATA.format(*self._place(number, "data"))
        first = self._columns["dataset_from_index"][number]
        begin = self._starts[self._place(number, "data")]
        try:
            return self._slice(path, first - begin, self.episodes[number].length)
        except (OSError, pa.ArrowException, KeyError, IndexError) as error:
            raise StoreError(
                f"{path}: cannot be read ({first_line(error)}); take it from a copy of the store"
            ) from error

    def film(self, number: int, video: str) -> Stretch:
        """Return where a walk's film is."""
        begins: float = self._columns[f"videos/{video}/from_timestamp"][number]
        path = self._folder / VIDEOS.format(video, *self._place(number, f"videos/{video}"))
        return Stretch(path, round(begins * self._about.fps), self.episodes[number].length, self._digest(number, video))

    def _digest(self, number: int, video: str) -> str | None:
        """What a walk's film has to be; None where nobody wrote it down."""
        digests: list[str | None] | None = self._columns.get(f"{FILM_DIGEST}{video}")
        return None if digests is None else digests[number]

    def _pictures(self, number: int) -> dict[str, dict[str, list[float]]]:
        """Statistics of what was seen, flat as parts have them."""
        names = {video: {moment: f"stats/{video}/{moment}" for moment in MOMENTS} for video in self._about.videos}
        wanted = [name for moments in names.values() for name in moments.values()]
        if self._statistics is None:
            self._statistics = self._read(wanted)
        return {
            video: {m: np.ravel(self._statistics[name][number].as_py()).tolist() for m, name in moments.items()}
            for video, moments in names.items()
        }

    def _place(self, number: int, kind: str) -> tuple[int, int]:
        return self._columns[f"{kind}/chunk_index"][number], self._columns[f"{kind}/file_index"][number]

    def _slice(self, path: Path, first: int, count: int) -> pa.Table:
        """Return some rows of a file, reading only the row group that they are in: an episode is never in two."""
        file = pq.ParquetFile(path, page_checksum_verification=True)
        group, start = 0, 0
        while start + (rows := file.metadata.row_group(group).num_rows) <= first:
            group, start = group + 1, start + rows
        held = self._tables.get((path, group))
        if held is None:
            held = self._tables[path, group] = file.read_row_group(group)
            if len(self._tables) > _ROWS_HELD:
                self._tables.pop(next(iter(self._tables)))
        if first - start + count > len(held):
            raise IndexError(f"has no rows {first} to {first + count}")
        return held.slice(first - start, count)

    @cached_property
    def _starts(self) -> dict[tuple[int, int], int]:
        """Number of the first row of each file."""
        starts: dict[tuple[int, int], int] = {}
        for number, first in enumerate(self._columns["dataset_from_index"]):
            starts.setdefault(self._place(number, "data"), first)
        return starts

    @cached_property
    def _tasks(self) -> pa.ChunkedArray:
        return self._read(["task"])["task"]

    def _read_columns(self) -> dict[str, list[Any]]:
        if not self._path.is_file():
            require_none(self._folder)
            return {"key": []}
        table = self._read(None)
        return {name: table[name].to_pylist() for name in table.column_names}

    def _read(self, columns: Sequence[str] | None) -> pa.Table:
        """Return columns of what is told of the walks; None: all but tasks and statistics.

        Raises:
            StoreError: If they cannot be read, naming the file.
        """
        try:
            if columns is None:
                names = pq.read_schema(self._path).names
                columns = [name for name in names if name not in ("task", "tasks") and not name.startswith("stats/")]
            return pq.read_table(self._path, page_checksum_verification=True, columns=list(columns), partitioning=None)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(
                f"{self._path}: cannot be read ({first_line(error)}); take it from a copy of the store"
            ) from error

    def _tell(self) -> list[StoredEpisode]:
        columns = self._columns
        plain = [f.name for f in fields(StoredEpisode) if f.name in columns and f.name not in ("extra", "index")]
        names = [name for name in columns if name.startswith(METRIC)]
        shared: dict[str, Any] = {"protocol": self._about.protocol, "world": self._about.world}
        try:
            return [
                StoredEpisode(
                    **{name: columns[name][number] for name in plain},
                    **shared,
                    index=number,
                    extra=json.loads(columns["extra"][number]),
                    metrics={
                        name.removeprefix(METRIC): value
                        for name in names
                        if (value := columns[name][number]) is not None
                    },
                )
                for number in range(len(columns["key"]))
            ]
        except (TypeError, KeyError, ValueError) as error:
            raise StoreError(
                f"{self._path}: not a store's table of episodes ({error!r}); take it from a copy"
            ) from error


def require_none(folder: Path) -> None:
    """Check that a store without a table of episodes never had one.

    Raises:
        StoreError: If joined walks are there.
    """
    if (folder / INFO).is_file():
        raise StoreError(
            f"{folder / EPISODES}: is gone, while files of joined walks are there; take it from a copy of the store"
        )


def first_line(error: Exception) -> str:
    """Return what an error says in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
