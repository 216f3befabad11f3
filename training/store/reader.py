"""A store as it is read: joined walks and parts alike, frames at any place, columns by name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from navloop.envs.episode_rows import parse_episode
from navloop.records import Episode, Trajectory
from navloop.training.decoding import UnreadableError
from navloop.training.store.conditions import parse_conditions
from navloop.training.store.depth import PIXELS, to_metres
from navloop.training.store.films import FilmReader, Stretch
from navloop.training.store.folder import read_about
from navloop.training.store.joined import METRIC, STATS, TOLD, Joined, first_line
from navloop.training.store.parts import FILMS, PARTS, Told, list_parts, read_rows, read_told
from navloop.training.store.schema import DEPTH, RGB, Record, StoredEpisode, StoreError, walk_of
from navloop.training.store.tables import column
from navloop.training.walks import Frames, Walk

Where: TypeAlias = "Callable[[StoredEpisode], bool] | pc.Expression | Sequence[str]"
"""Which walks: a function of what is told of one; or, over the columns of `Store.table`, an expression, or conditions as `conditions` reads them."""


class Store:
    """The walks of a folder as they were when it was opened: first the joined ones, then the parts by what they are.

    Numbers of joined walks never change; those of parts do when others are written or they are joined.

    Args:
        folder: Of the store.

    Attributes:
        about: What all walks share.
        episodes: What is told of each walk, by its number.

    Raises:
        StoreError: If it holds no store, one of a newer format, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.about = read_about(self.folder)
        self._joined, self._parts = self._look()
        self._films = FilmReader(self.about.fps)
        joined = len(self._joined)
        parts = (replace(part.episode, index=joined + number) for number, part in enumerate(self._parts))
        self.episodes: tuple[StoredEpisode, ...] = (*self._joined.episodes, *parts)

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def keys(self) -> frozenset[str]:
        """Keys of all walks."""
        return frozenset(self._joined.keys) | {part.episode.key for part in self._parts}

    @property
    def unjoined(self) -> int:
        """How many walks are parts still."""
        return len(self._parts)

    def trajectory(self, index: int) -> Trajectory:
        """Return what was done on a walk. Raises StoreError."""
        return self.told(index).trajectory(self.rows(index))

    def walk(self, index: int) -> Walk:
        """Return a walk as imitation takes it. Raises StoreError."""
        rows = self.rows(index)
        return walk_of(self.episodes[index], self.told(index).trajectory(rows), column(rows, "oracle_action"))

    def task(self, index: int) -> Episode:
        """Return the episode that was walked, with the instruction that was followed. Raises StoreError."""
        return parse_episode(self.told(index).task)

    def frames(self, index: int, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Return what was seen when the actions from `start` to before `stop` were chosen, uint8 (T, H, W, 3); no others are decoded.

        Raises:
            IndexError: If a walk has no such actions.
            StoreError: If the film is missing or damaged, naming it.
        """
        return self._read(index, RGB, start, stop)

    def depth(self, index: int, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Return how far away what was seen is, float32 (T, H, W, 1) metres, as `frames` does; from 0.01 to 10 m, to some millimetres.

        Raises:
            IndexError: If a walk has no such actions.
            StoreError: If the store has no depth, or the film is missing or damaged.
        """
        if not self.about.depth:
            raise StoreError(f"{self.folder}: holds no depth; record walks with depth=true")
        return to_metres(self._read(index, DEPTH, start, stop, PIXELS))[..., None]

    def record(self, index: int) -> Record:
        """Return a walk whole, its frames as the films keep them. Raises StoreError."""
        rows = self.rows(index)
        told = self.told(index)
        return Record(
            about=told.episode,
            task=parse_episode(told.task),
            trajectory=told.trajectory(rows),
            expert_actions=column(rows, "oracle_action"),
            frames=Frames(self.frames(index), self.depth(index) if self.about.depth else None),
        )

    def table(self, columns: Sequence[str] | None = None, where: Where | None = None) -> pa.Table:
        """Return a table of the walks, one a row: what is told of them, `metrics/<name>`, and `extra/<name>`, as text where some of it is.

        Args:
            columns: Which; None: all.
            where: Which walks.

        Raises:
            StoreError: If a condition cannot be read, or is on no column.
        """
        rows = [_columns(episode) for episode in self.episodes]
        names = dict.fromkeys([*PLAIN, *(name for row in rows for name in row)])
        table = pa.table({name: pa.array(_alike([row.get(name) for row in rows]), PLAIN.get(name)) for name in names})
        if callable(where):
            table = table.take([number for number, episode in enumerate(self.episodes) if where(episode)])
        elif where is not None:
            asked = where if isinstance(where, pc.Expression) else self._conditions(where, table.schema)
            try:
                table = table.filter(asked)
            except pa.ArrowInvalid as error:
                told = f"{self.folder}: {asked} cannot be asked ({first_line(error)})"
                raise StoreError(f"{told}; its columns are {', '.join(table.column_names)}") from error
        return table if columns is None else table.select(list(columns))

    def select(self, where: Where) -> tuple[int, ...]:
        """Return the numbers of the walks that are meant. Raises StoreError."""
        if callable(where):
            return tuple(number for number, episode in enumerate(self.episodes) if where(episode))
        return tuple(self.table(("index",), where)["index"].to_pylist())

    @property
    def stats(self) -> Mapping[str, Mapping[str, Any]]:
        """Statistics of all joined walks, by feature and moment.

        Raises:
            StoreError: If nothing is joined yet.
        """
        path = self.folder / STATS
        try:
            found: Mapping[str, Mapping[str, Any]] = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: cannot be read ({error}); run `navloop store join` on it") from error
        return found

    def close(self) -> None:
        """Close the films that are open."""
        self._films.close()

    def stretch(self, index: int, video: str = RGB) -> Stretch:
        """Return which frames of which film are those of a walk."""
        number = range(len(self))[index]
        if number < len(self._joined):
            return self._joined.film(number, video)
        part = self._parts[number - len(self._joined)]
        path = self.folder / PARTS / part.episode.key / FILMS[video]
        return Stretch(path, 0, part.episode.length, part.films.get(video))

    def told(self, index: int) -> Told:
        """Return all that is known of a walk without opening its frames. Raises StoreError."""
        number = range(len(self))[index]
        if number < len(self._joined):
            return self._joined.told(number)
        return replace(self._parts[number - len(self._joined)], episode=self.episodes[number])

    def rows(self, index: int) -> pa.Table:
        """Return the table of a walk's frames, one an action. Raises StoreError."""
        number = range(len(self))[index]
        if number < len(self._joined):
            return self._joined.frames(number)
        return read_rows(self.folder, self.episodes[number].key)

    def _conditions(self, texts: Sequence[str], columns: pa.Schema) -> pc.Expression:
        return parse_conditions([texts] if isinstance(texts, str) else texts, columns, str(self.folder))

    def _look(self) -> tuple[Joined, list[Told]]:
        """See joined walks and parts at one moment.

        Parts are listed before the table is read: one that is joined in between is in the table, and one that is joined later is
        missed when it is read, which is when all is looked at again.
        """
        while True:
            keys = list_parts(self.folder)
            joined = Joined(self.folder, self.about)
            known = set(joined.keys)
            try:
                parts = [read_told(self.folder, key, self.about) for key in keys if key not in known]
                return joined, sorted(parts, key=lambda part: part.episode.order)
            except FileNotFoundError:
                continue

    def _read(self, index: int, video: str, start: int, stop: int | None, pixels: str = "rgb24") -> NDArray[Any]:
        stretch = self.stretch(index, video)
        end = stretch.length if stop is None else stop
        if not 0 <= start < end <= stretch.length:
            raise IndexError(f"walk {index} has frames 0 to {stretch.length}; {start} to {end} are not among them")
        try:
            return self._films.read(stretch.path, stretch.first + start, end - start, pixels)
        except UnreadableError as error:
            if PARTS in stretch.path.parts and not stretch.path.parent.is_dir():
                raise StoreError(f"{error}: it was joined since the store was opened; open it again") from error
            raise StoreError(f"{error}; take it from a copy of the store") from error


def open_store(folder: str | os.PathLike[str]) -> Store:
    """Open a store, joined or not.

    Raises:
        StoreError: If it holds no store, one of a newer format, or a damaged one.
    """
    return Store(Path(folder))


PLAIN = {
    **{f.name: TOLD[f.name] for f in fields(StoredEpisode) if f.name in TOLD and f.name != "extra"},
    **dict.fromkeys(("index", "length"), pa.int64()),
    **dict.fromkeys(("protocol", "world"), pa.string()),
}
"""Columns of `Store.table` that are there whatever is stored."""


def _alike(values: Sequence[Any]) -> Sequence[Any]:
    """Return a column's values, numbers as text where others are text, and truths as numbers where others are numbers."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) < 2:
        return values
    kind = str if str in kinds else float
    return [None if value is None else kind(value) for value in values]


def _columns(episode: StoredEpisode) -> dict[str, Any]:
    plain = {f.name: getattr(episode, f.name) for f in fields(episode) if f.name not in ("metrics", "extra")}
    metrics = {f"{METRIC}{name}": value for name, value in episode.metrics.items()}
    return plain | metrics | {f"extra/{name}": value for name, value in episode.extra.items()}
