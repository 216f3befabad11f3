"""A store read from end to end: which walks are damaged, and in which file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from navloop.training.decoding import UnreadableError
from navloop.training.store.films import check_film
from navloop.training.store.joined import EPISODES, INFO, STATS, TASKS
from navloop.training.store.meta import features, tasks_of
from navloop.training.store.parts import read_told
from navloop.training.store.reader import Store
from navloop.training.store.schema import StoreError
from navloop.training.store.tables import column

_MEND = "`navloop store join` writes it anew"


class Checked(NamedTuple):
    """What was found of a walk.

    Attributes:
        number: Of the walk in the store.
        fault: What is wrong, naming the file; empty if nothing is.
    """

    number: int
    fault: str


def check_walks(store: Store) -> Iterator[Checked]:
    """Read every number and every coded picture of a store, and yield what was found of each walk, in order.

    Numbers have the checksums of their pages, films the digest that was taken when they were written; films without one are decoded.
    """
    for index in range(len(store)):
        try:
            _read(store, index)
        except (StoreError, UnreadableError) as error:
            yield Checked(index, str(error))
        else:
            yield Checked(index, "")


def require_told(store: Store) -> None:
    """Check that what LeRobot reads first agrees with the table of episodes.

    Raises:
        StoreError: If meta/info.json, meta/tasks.parquet or meta/stats.json is missing, damaged or of other walks, naming it.
    """
    joined = len(store) - store.unjoined
    if not joined:
        return
    for name, check in ((INFO, _check_info), (TASKS, _check_tasks), (STATS, _check_stats)):
        path = store.folder / name
        try:
            fault = check(path, store, joined)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise StoreError(f"{path}: cannot be read ({error!r}); {_MEND}") from error
        if fault:
            raise StoreError(f"{path}: {fault}; {_MEND}")


def _check_info(path: Path, store: Store, joined: int) -> str:
    count = json.loads(path.read_bytes())["total_episodes"]
    return "" if count == joined else f"tells of {count} walks, and {joined} are joined"


def _check_tasks(path: Path, store: Store, joined: int) -> str:
    tasks = pq.read_table(path, page_checksum_verification=True)["task"].to_pylist()
    told = tasks_of(pq.read_table(store.folder / EPISODES, columns=["tasks"], partitioning=None))
    return "" if tasks == told else f"has {len(tasks)} instructions, not the {len(told)} of the joined walks"


def _check_stats(path: Path, store: Store, joined: int) -> str:
    missing = {*features(store.about)} - {*json.loads(path.read_bytes())}
    return f"says nothing of {min(missing)}" if missing else ""


def _read(store: Store, index: int) -> None:
    told, rows = store.told(index), store.rows(index)
    if index >= len(store) - store.unjoined:
        read_told(store.folder, told.episode.key, store.about, is_checked=True)
    if not np.array_equal(column(rows, "frame_index"), np.arange(told.episode.length)):
        raise StoreError(f"{store.folder}, walk {index}: its {len(rows)} rows are not {told.episode.length} frames")
    for video in store.about.videos:
        stretch = store.stretch(index, video)
        if stretch.digest is not None:
            check_film(stretch, store.about.fps)
        elif video == store.about.videos[0]:
            store.frames(index)
        else:
            store.depth(index)
