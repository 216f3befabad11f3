"""What a list of videos says of each of them, kept in columns: a list of millions is small, and no worker process copies it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, Literal, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_PART = 1 << 16
"""Rows of a batch: all but the last have as many, so that a row's number says where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRow:
    """One video, or one segment of it.

    Attributes:
        path: File, frame folder or image; absolute, or relative to the working folder.
        place: Where the row stands: file and line.
        start: Seconds at which the segment begins; None at the start.
        end: Seconds at which it ends; None at the end.
        first: Number of the first frame: that of its file in a frame folder, from 0 in a video; None for the lowest.
        total: How many frames there are from `first`; None for all.
        stride: In place of the config's, for lists that mix data sets; None takes the config's.
        captions: What happens in it, in other words each; empty where the list has none.
        label: Class; None where the list has none.
        scene: What it shares with other rows that are like it (`scene_id`); None where the list does not say.
    """

    path: str
    place: str
    start: float | None = None
    end: float | None = None
    first: int | None = None
    total: int | None = None
    stride: int | None = None
    captions: tuple[str, ...] = ()
    label: int | None = None
    scene: str | None = None


class ClipRows(Sequence[ClipRow]):
    """Rows of lists, some 0.2 kB each (Apache Arrow), and no Python objects until one is asked for.

    Worker processes are forked off with the rows in memory that all share. To read a Python object is to count a reference
    to it, which copies the page that it lies in: rows that were objects would in time be copied whole into every worker.

    Args:
        rows: In order; they are not kept as they are.
    """

    def __init__(self, rows: Iterable[ClipRow]) -> None:
        self._parts: tuple[pa.RecordBatch, ...] = rows._parts if isinstance(rows, ClipRows) else tuple(_parts(rows))
        self._count: int = sum(len(part) for part in self._parts)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return self._count

    @overload
    def __getitem__(self, number: int) -> ClipRow: ...

    @overload
    def __getitem__(self, number: slice) -> ClipRows: ...

    def __getitem__(self, number: int | slice) -> ClipRow | ClipRows:
        """Return a row, or the rows of a slice."""
        if isinstance(number, slice):
            return ClipRows(self[place] for place in range(*number.indices(len(self))))
        place = range(len(self))[number]  # also says where there is none
        return next(_rows(self._parts[place // _PART].slice(place % _PART, 1)))

    def __iter__(self) -> Iterator[ClipRow]:
        """Yield the rows."""
        for part in self._parts:
            yield from _rows(part)

    def without(self, field: Literal["label", "captions"]) -> NDArray[np.int64]:
        """Return the numbers of the rows that have none."""
        columns = [part.column(field) for part in self._parts]
        bare = [pc.equal(pc.list_value_length(c), 0) if field == "captions" else pc.is_null(c) for c in columns]
        return np.flatnonzero(np.concatenate([np.zeros(0, bool), *(b.to_numpy(zero_copy_only=False) for b in bare)]))

    def paths(self) -> Iterator[str]:
        """Yield the path of each row, and make no row of it."""
        for part in self._parts:
            yield from map(_text, part.column("path").to_pylist())

    def numbers(self, field: Literal["start", "end", "first", "total"]) -> NDArray[np.float64]:
        """Return what each row says, float64 (N,); NaN where it says nothing."""
        columns = [part.column(field).cast(pa.float64(), safe=False) for part in self._parts]
        return np.concatenate([np.zeros(0), *(column.to_numpy(zero_copy_only=False) for column in columns)])


def _parts(rows: Iterable[ClipRow]) -> Iterator[pa.RecordBatch]:
    """Yield batches of `_PART` rows, the last one with what remains."""
    source = iter(rows)
    while part := list(islice(source, _PART)):
        yield pa.record_batch({field.name: pa.array(_column(part, field.name)) for field in fields(ClipRow)})


def _column(rows: Sequence[ClipRow], name: str) -> list[Any]:
    values = [getattr(row, name) for row in rows]
    if name == "captions":
        return [[_packed(text) for text in texts] for texts in values]
    return [_packed(value) if isinstance(value, str) else value for value in values]


def _rows(part: pa.RecordBatch) -> Iterator[ClipRow]:
    for path, place, *numbers, captions, label, scene in zip(*(c.to_pylist() for c in part.columns), strict=True):
        yield ClipRow(
            path=_text(path),
            place=_text(place),
            **dict(zip(("start", "end", "first", "total", "stride"), numbers, strict=True)),
            captions=tuple(_text(caption) for caption in captions),
            label=label,
            scene=None if scene is None else _text(scene),
        )


def _packed(text: str) -> bytes:
    # Names of files, and JSON's texts, may hold what no UTF-8 has.
    return text.encode("utf-8", "surrogatepass")


def _text(packed: bytes) -> str:
    return packed.decode("utf-8", "surrogatepass")
