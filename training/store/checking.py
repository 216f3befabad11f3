"""A store read from end to end: which walks are damaged, and in which file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from navloop.training.decoding import UnreadableError
from navloop.training.store.films import check_film
from navloop.training.store.joined import INFO
from navloop.training.store.reader import Store
from navloop.training.store.schema import StoreError
from navloop.training.store.tables import column

_MEND = "collecting or merging into the store writes it anew"


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
        StoreError: If meta/info.json is missing, damaged or of other walks, naming it.
    """
    joined = len(store) - store.unjoined
    path = store.folder / INFO
    if not joined:
        return
    try:
        count = json.loads(path.read_bytes())["total_episodes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: cannot be read ({error!r}); {_MEND}") from error
    if count != joined:
        raise StoreError(f"{path}: tells of {count} walks, and {joined} are joined; {_MEND}")


def _read(store: Store, index: int) -> None:
    told, rows = store.told(index), store.rows(index)
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
