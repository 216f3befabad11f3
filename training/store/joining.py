"""Parts of a store joined into the files of a LeRobotDataset v3.0, films as they are.

New files are written aside, forced to disk and moved to where the table of episodes will name them; then the table is replaced, and with
it the walks are joined; then their parts are removed. A kill before the table leaves files that nobody names, which the next joining
removes, and all parts; a kill after it leaves parts that the table names, which readers pass over and the next joining removes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from navloop.files import write_text
from navloop.training.decoding import UnreadableError
from navloop.training.store.films import Stretch, film_parameters, join_films
from navloop.training.store.folder import JOINER, alone, sync
from navloop.training.store.joined import DATA, EPISODES, INFO, STATS, TASKS, TOLD, VIDEOS, require_none, told_row
from navloop.training.store.meta import (
    CHUNK,
    DATA_MEGABYTES,
    DATA_SCHEMA,
    MOMENTS,
    VIDEO_MEGABYTES,
    frame_statistics,
    info,
    picture_shaped,
    pool,
    task_table,
    tasks_of,
)
from navloop.training.store.parts import FILMS, FRAMES, PARTS, Told, list_parts, read_rows, read_told
from navloop.training.store.schema import StoreAbout, StoreError

JOINING = ".joining"
"""Folder that files are written in before they are moved to their places."""

GROUP = 4096
"""Frames of a row group at least: an episode is read with those of some others, and footers stay short."""


def join_parts(folder: Path, about: StoreAbout) -> int:
    """Join all parts that are there, and return how many; others may be written meanwhile, and wait for the next time.

    Raises:
        StoreError: If a part is damaged, naming its file: nothing is joined then.
        OSError: If something cannot be written: nothing is lost then.
    """
    with alone(folder / JOINER):
        aside = folder / JOINING
        shutil.rmtree(aside, ignore_errors=True)
        try:
            return _Joining(folder, about, aside).run()
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What episodes of before take up."""

    episodes: int
    frames: int
    tasks: dict[str, int]


class _Joining:
    """One joining under way, by who alone may."""

    def __init__(self, folder: Path, about: StoreAbout, aside: Path) -> None:
        self._folder, self._about, self._aside = folder, about, aside
        self._before = self._read_table()

    def run(self) -> int:
        known = set(self._before["key"].to_pylist()) if self._before is not None else set()
        self._remove_unnamed()
        keys = list_parts(self._folder)
        fresh = [read_told(self._folder, key, self._about, is_checked=True) for key in keys if key not in known]
        fresh.sort(key=lambda told: told.episode.order)
        self._aside.mkdir()
        table = self._with(fresh) if fresh else self._before
        if table is not None:
            self._write_tasks(table)
            if fresh:
                self._place(EPISODES, lambda path: pq.write_table(table, path, write_page_checksum=True))
            self._write_rest(table)
        for key in [*(key for key in keys if key in known), *(told.episode.key for told in fresh)]:
            self._remove_part(key)
        return len(fresh)

    def _with(self, fresh: Sequence[Told]) -> pa.Table:
        """Write the files of new walks, and return the table that is to name them."""
        numbers = self._numbers()
        rows = [self._row(told, numbers.episodes + place) for place, told in enumerate(fresh)]
        self._write_data(fresh, rows, numbers)
        for video in self._about.videos:
            self._write_films(fresh, rows, video)
        table = _as_table(rows)
        return table if self._before is None else pa.concat_tables([self._before, table], promote_options="default")

    def _row(self, told: Told, number: int) -> dict[str, Any]:
        row = {
            "episode_index": number,
            "tasks": [told.episode.instruction],
            "length": told.episode.length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        for video in self._about.videos:
            row |= _flat(video, picture_shaped(told.pictures[video]))
        return row | told_row(told)

    def _write_data(self, fresh: Sequence[Told], rows: Sequence[dict[str, Any]], numbers: _Numbers) -> None:
        sizes = [(self._part(told) / FRAMES).stat().st_size for told in fresh]
        index, number = numbers.frames, self._files_there("data")
        for places in _fill(sizes, DATA_MEGABYTES):
            chunk, file = divmod(number, CHUNK)
            tables = []
            for place in places:
                table = self._indexed(fresh[place], rows[place]["episode_index"], index, numbers.tasks)
                end = index + len(table)
                rows[place].update({"dataset_from_index": index, "dataset_to_index": end})
                rows[place].update({"data/chunk_index": chunk, "data/file_index": file})
                for name, moments in frame_statistics(table).items():
                    rows[place].update(_flat(name, moments))
                tables.append(table)
                index = end
            self._place(DATA.format(chunk, file), partial(_write_frames, tables))
            number += 1

    def _indexed(self, told: Told, episode: int, index: int, tasks: dict[str, int]) -> pa.Table:
        table = read_rows(self._folder, told.episode.key)
        count = len(table)
        if count != told.episode.length:
            raise StoreError(
                f"{self._part(told) / FRAMES}: has {count} of {told.episode.length} frames; delete its folder"
            )
        task = tasks.setdefault(told.episode.instruction, len(tasks))
        columns = [np.full(count, episode), np.arange(index, index + count), np.full(count, task)]
        for name, values in zip(("episode_index", "index", "task_index"), columns, strict=True):
            table = table.append_column(name, pa.array(values, pa.int64()))
        return table

    def _write_films(self, fresh: Sequence[Told], rows: Sequence[dict[str, Any]], video: str) -> None:
        paths = [self._part(told) / FILMS[video] for told in fresh]
        try:
            kinds = [film_parameters(path) for path in paths]
            sizes = [path.stat().st_size for path in paths]
            number = self._files_there(f"videos/{video}")
            for places in _fill(sizes, VIDEO_MEGABYTES, kinds):
                stretches = [
                    Stretch(paths[place], 0, rows[place]["length"], fresh[place].films.get(video)) for place in places
                ]
                chunk, file = divmod(number, CHUNK)
                join = partial(join_films, stretches, self._about.fps)
                self._place(VIDEOS.format(video, chunk, file), join)
                begin = 0
                for place in places:
                    end = begin + rows[place]["length"]
                    names = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
                    values = (chunk, file, begin / self._about.fps, end / self._about.fps)
                    rows[place].update({f"videos/{video}/{n}": v for n, v in zip(names, values, strict=True)})
                    begin = end
                number += 1
        except UnreadableError as error:
            raise StoreError(f"{error}; delete its folder to lose this walk alone") from error

    def _write_tasks(self, table: pa.Table) -> None:
        tasks = task_table(tasks_of(table))
        self._place(TASKS, lambda path: pq.write_table(tasks, path, write_page_checksum=True))

    def _write_rest(self, table: pa.Table) -> None:
        """Write what follows from the table."""
        frames = int(table["dataset_to_index"][-1].as_py())
        told = info(self._about, len(table), frames, len(tasks_of(table)))
        videos = self._about.videos
        stats = {name: pool(_moments_of(table, name), name in videos) for name in [*DATA_SCHEMA.names, *videos]}
        for name, data in ((INFO, told), (STATS, stats)):
            write_text(self._folder / name, json.dumps(data, indent=1, allow_nan=False) + "\n")

    def _numbers(self) -> _Numbers:
        if self._before is None:
            return _Numbers(0, 0, {})
        tasks = {name: number for number, name in enumerate(tasks_of(self._before))}
        return _Numbers(len(self._before), self._before["dataset_to_index"][-1].as_py(), tasks)

    def _files_there(self, kind: str) -> int:
        """How many files of a kind the table names."""
        if self._before is None:
            return 0
        chunk, file = (self._before[f"{kind}/{part}_index"][-1].as_py() for part in ("chunk", "file"))
        return int(chunk * CHUNK + file + 1)

    def _place(self, name: str, write: Callable[[Path], object]) -> None:
        """Write a file aside, force it to disk, and move it to its place."""
        target = self._folder / name
        aside = self._aside / target.name
        try:
            write(aside)
        except OSError as error:
            if error.filename in (None, str(aside)):
                error.filename = str(target)
            raise
        sync(aside)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside, target)
        for parent in target.relative_to(self._folder).parents:
            sync(self._folder / parent)

    def _remove_unnamed(self) -> None:
        """Remove files of a joining that was killed before it was done."""
        for kind in ("data", *(f"videos/{video}" for video in self._about.videos)):
            there = self._files_there(kind)
            for path in (self._folder / kind).glob("chunk-*/file-*.*"):
                number = int(path.parent.name.removeprefix("chunk-")) * CHUNK + int(path.stem.removeprefix("file-"))
                if number >= there:
                    path.unlink()

    def _remove_part(self, key: str) -> None:
        """Take a part away at once, then remove its files: readers never find one with files missing."""
        gone = self._folder / PARTS / f".{key}.joined"
        shutil.rmtree(gone, ignore_errors=True)
        os.rename(self._folder / PARTS / key, gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _part(self, told: Told) -> Path:
        return self._folder / PARTS / told.episode.key

    def _read_table(self) -> pa.Table | None:
        path = self._folder / EPISODES
        if not path.is_file():
            require_none(self._folder)
            return None
        try:
            return pq.read_table(path, partitioning=None, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{path}: cannot be read ({error}); take it from a copy of the store") from error


def _fill(sizes: Sequence[int], megabytes: int, kinds: Sequence[bytes] | None = None) -> Iterator[list[int]]:
    """Yield the places of what goes into one file: up to a size, and of one kind."""
    places: list[int] = []
    room = megabytes * 2**20
    for place, size in enumerate(sizes):
        differs = kinds is not None and places and kinds[place] != kinds[places[-1]]
        if places and (size > room or differs):
            yield places
            places, room = [], megabytes * 2**20
        places.append(place)
        room -= size
    if places:
        yield places


def _write_frames(tables: Sequence[pa.Table], path: Path) -> None:
    with pq.ParquetWriter(path, DATA_SCHEMA, write_page_checksum=True) as writer:
        waiting: list[pa.Table] = []
        for table in tables:
            waiting.append(table.cast(DATA_SCHEMA))
            if sum(map(len, waiting)) >= GROUP:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())


def _as_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: pa.array([row.get(name) for row in rows], TOLD.get(name)) for name in names})


def _flat(name: str, moments: dict[str, Any]) -> dict[str, Any]:
    return {f"stats/{name}/{moment}": value.tolist() for moment, value in moments.items()}


def _moments_of(table: pa.Table, name: str) -> dict[str, NDArray[np.float64]]:
    """Statistics of a feature, a row a walk each."""
    return {moment: _matrix(table[f"stats/{name}/{moment}"]) for moment in MOMENTS}


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Lists of one length, or lists of lists, as an array of a row each."""
    flat = column.combine_chunks()
    while pa.types.is_list(flat.type):
        flat = flat.flatten()
    return np.asarray(flat.to_numpy(zero_copy_only=False), dtype=np.float64).reshape(len(column), -1)
