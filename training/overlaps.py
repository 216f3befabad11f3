"""What two lists of videos both show: the same files, whatever their paths are called, at times that overlap."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from navloop.training.clip_rows import ClipRows
from navloop.training.listings import ManifestError

SHARED_S = 1e-6
"""Seconds, or frames, from which on two segments share something: where one ends, the next may begin."""
_PAIRS = 1 << 20
"""Pairs of segments that are compared at once."""

Rows = NDArray[np.int64]
_NONE: Rows = np.zeros(0, np.int64)


def require_apart(asked: ClipRows, known: ClipRows, asked_as: str, known_as: str) -> None:
    """Refuse rows that show what rows of another purpose show.

    Args:
        asked: Rows to measure on.
        known: Rows that must not be among them.
        asked_as: What the former are: "held-out clips".
        known_as: What the latter are: "trained on".

    Raises:
        ManifestError: With how many there are, one of them, and the mend.
    """
    numbers, twins = shared_rows(asked, known)
    if not numbers.size:
        return
    row, twin = asked[int(numbers[0])], known[int(twins[0])]
    raise ManifestError(
        f"{asked_as} that are also {known_as}: {numbers.size} of {len(asked)}, such as {row.path} ({row.place}), which has frames "
        f"of {twin.path} ({twin.place}); take them out of one of the lists"
    )


class Shared(NamedTuple):
    """Rows that show what other rows show: their numbers, in order, and for each that of one of the others."""

    numbers: Rows
    twins: Rows


def shared_rows(asked: ClipRows, known: ClipRows) -> Shared:
    """Return which rows of `asked` show some of what a row of `known` shows.

    Files are the same where their real paths are. Segments of one overlap where their seconds do, and their frames: of one that is
    given in seconds and one that is given in frames it cannot be told that they do not.
    """
    if not len(asked):
        return Shared(_NONE, _NONE)
    places, files = _Places(), dict[str, int]()
    wanted = np.fromiter((files.setdefault(path, len(files)) for path in places.real(asked)), np.int64, len(asked))
    found = np.fromiter((files.get(path, -1) for path in places.real(known)), np.int64, len(known))
    order = np.flatnonzero(found >= 0)
    order = order[np.argsort(found[order], kind="stable")]
    begins, ends = (np.searchsorted(found[order], wanted, side) for side in ("left", "right"))
    spans, others = _spans(asked), _spans(known)
    numbers, twins = list[Rows](), list[Rows]()
    for first, last in _rounds(ends - begins):
        counts = (ends - begins)[first:last]
        ours = np.repeat(np.arange(first, last), counts)
        within = np.arange(len(ours)) - np.repeat(np.cumsum(counts) - counts, counts)
        theirs = order[np.repeat(begins[first:last], counts) + within]
        hit = _overlap(spans[ours], others[theirs])
        rows, where = np.unique(ours[hit], return_index=True)
        numbers.append(rows)
        twins.append(theirs[hit][where])
    return Shared(np.concatenate([_NONE, *numbers]), np.concatenate([_NONE, *twins]))


def _rounds(counts: Rows) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows that have some `_PAIRS` pairs together, or one row with more; `counts` says how many each has."""
    total = np.cumsum(counts)
    first = 0
    while first < len(counts) and total[-1] > (before := total[first] - counts[first]):
        last = max(int(np.searchsorted(total, before + _PAIRS, "right")), first + 1)
        yield first, last
        first = last


def _spans(rows: ClipRows) -> NDArray[np.float64]:
    """Return what rows show of their files, (N, 2, 2): seconds and frames, each from and to."""
    start, end, first, total = (rows.numbers(field) for field in ("start", "end", "first", "total"))
    first = np.nan_to_num(first)
    seconds = np.nan_to_num(start), np.nan_to_num(end, nan=np.inf)
    return np.stack([np.stack(seconds, 1), np.stack([first, first + np.nan_to_num(total, nan=np.inf)], 1)], 1)


def _overlap(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.bool_]:
    shared = np.minimum(ours[..., 1], theirs[..., 1]) - np.maximum(ours[..., 0], theirs[..., 0])  # (pairs, 2)
    return np.asarray((shared > SHARED_S).all(1))


class _Places:
    """Real paths. Each folder is resolved and looked through for links once: no file that is none is asked for."""

    def __init__(self) -> None:
        self._folders: dict[str, _Folder] = {}

    def real(self, rows: ClipRows) -> Iterator[str]:
        """Yield the real path of each row."""
        for path in rows.paths():
            head, name = os.path.split(path)
            if head not in self._folders:
                self._folders[head] = _look(head)
            folder = self._folders[head]
            linked = folder.links is None or name in folder.links or name in ("", os.curdir, os.pardir)
            yield _resolved(path) if linked else folder.path + name


class _Folder(NamedTuple):
    path: str  # real, with a separator at its end
    links: frozenset[str] | None  # names in it; None where they cannot be told


def _look(folder: str) -> _Folder:
    path = os.path.join(_resolved(folder), "")
    try:
        with os.scandir(path) as entries:
            return _Folder(path, frozenset(entry.name for entry in entries if entry.is_symlink()))
    except (FileNotFoundError, NotADirectoryError):
        return _Folder(path, frozenset())
    except (OSError, ValueError):
        return _Folder(path, None)


def _resolved(path: str) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # no path at all (NUL in it), as will be told when it is read
        return os.path.abspath(path)
