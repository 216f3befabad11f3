"""Rows of lists in columns: they come out as they went in, and processes that read them share the memory that they lie in."""

import gc
import multiprocessing
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navloop.training.clip_rows import ClipRow, ClipRows

texts = st.text(st.characters(), max_size=8)  # lone surrogates among them, as in names of files that are no UTF-8
numbers = st.none() | st.integers(0, 2**63 - 1)
moments = st.none() | st.floats(0, 1e9)
listed = st.builds(
    ClipRow,
    path=texts,
    place=texts,
    start=moments,
    end=moments,
    first=numbers,
    total=numbers,
    stride=numbers,
    captions=st.lists(texts, max_size=3).map(tuple),
    label=numbers,
    scene=st.none() | texts,
)


@given(st.lists(listed, max_size=20))
def test_rows_come_out_as_they_went_in(rows):
    kept = ClipRows(iter(rows))
    assert list(kept) == rows == [kept[place] for place in range(len(rows))] == list(kept[:])
    assert list(ClipRows(kept)) == rows and list(kept[-3:9:2]) == rows[-3:9:2]
    assert kept.without("captions").tolist() == [place for place, row in enumerate(rows) if not row.captions]
    assert kept.without("label").tolist() == [place for place, row in enumerate(rows) if row.label is None]
    assert list(kept.paths()) == [row.path for row in rows]
    for field in ("start", "end", "first", "total"):
        said = [np.nan if getattr(row, field) is None else float(getattr(row, field)) for row in rows]
        np.testing.assert_array_equal(kept.numbers(field), said)


def test_rows_of_several_parts_are_found_by_their_numbers():
    count = 150_000
    kept = ClipRows(ClipRow(path=f"{number}.mp4", place="", label=number % 7 or None) for number in range(count))
    for number in (0, 65_535, 65_536, 131_072, count - 1, -1, -count):
        assert kept[number].path == f"{number % count}.mp4"
    assert kept.without("label").tolist() == list(range(0, count, 7))
    with pytest.raises(IndexError):
        kept[count]


def _private_kb() -> int:
    """Return how much memory this process shares with nobody."""
    found = re.search(r"^Private_Dirty:\s+(\d+)", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def _grown(rows) -> int:
    """Return by how many kB a process that is forked off grows when it reads all rows, in another order than they lie."""
    reading, writing = multiprocessing.get_context("fork").Pipe(duplex=False)
    if (child := os.fork()) == 0:
        order = np.random.default_rng(0).permutation(len(rows))
        gc.disable()
        before = _private_kb()
        assert sum(len(rows[int(place)].captions) for place in order) == len(rows)
        writing.send(_private_kb() - before)
        os._exit(0)
    os.waitpid(child, 0)
    return int(reading.recv())


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="this system has no /proc/self/smaps_rollup")
def test_a_worker_that_reads_rows_does_not_copy_them():
    """In a process of its own: in one that has done much, what is made anew comes into pages that lie all about."""
    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        kept, listed = fresh.apply(_both_grown)
    assert kept < 0.2 * listed


def _both_grown() -> tuple[int, int]:
    rows = [
        ClipRow(path=f"/films/{number}.mp4", place=f"films.csv, line {number}", captions=(f"a walk past {number}",))
        for number in range(60_000)
    ]
    return _grown(ClipRows(rows)), _grown(rows)
