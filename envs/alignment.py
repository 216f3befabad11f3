"""Dynamic time warping of walks: exact, a row at a time, and FastDTW. Points are float64 (N, 3), costs Euclidean metres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navloop.geometry import Vector


def point_distances(points: Vector, point: Vector) -> Vector:
    """Return the Euclidean distance (N,) from each point (N, 3) to one (3,)."""
    offsets = points - point
    distances: Vector = np.sqrt(np.einsum("ij,ij->i", offsets, offsets))
    return distances


def alignment_row(above: Vector | None, costs: Vector) -> Vector:
    """Return the next row of the cumulative cost table of DTW.

    The recurrence D[j] = c[j] + min(above[j], above[j-1], D[j-1]) looks sequential; with C the running sum of c it is
    D[j] = C[j] + min over k <= j of (min(above[k], above[k-1]) - C[k-1]), two running operations that numpy does at once.

    Args:
        above: The row before (R,); None at the first point of the walk.
        costs: Cost (R,) of matching this point of the walk with each point of the reference.

    Returns:
        (R,); the last is the cost of aligning the walk so far with the whole reference.
    """
    sums = np.cumsum(costs)
    if above is None:
        return sums
    entered = above.copy()
    np.minimum(entered[1:], above[:-1], out=entered[1:])
    row: Vector = sums + np.minimum.accumulate(entered - (sums - costs))
    return row


def dtw(walk: Vector, reference: Vector) -> float:
    """Return the cost of the best alignment of two walks (N, 3), (R, 3), metres; O(N R).

    Source: Sakoe and Chiba, Dynamic programming algorithm optimization for spoken word recognition, 1978, symmetric steps of weight 1.
    """
    row = None
    for point in walk:
        row = alignment_row(row, point_distances(reference, point))
    if row is None or len(reference) == 0:
        raise ValueError(f"cannot align {len(walk)} points with {len(reference)}; both walks need one at least")
    return max(0.0, float(row[-1]))  # the running sums may leave -1e-16 of a perfect alignment


def fast_dtw(walk: Vector, reference: Vector, radius: int = 1) -> float:
    """Return an upper bound of `dtw`, close for similar walks: align at half resolution, then search only near that alignment.

    Of no use for speed at the lengths of navigation episodes; it is here because published nDTW often used it.

    Args:
        walk: (N, 3).
        reference: (R, 3).
        radius: Cells searched around the coarse alignment, at least 1.

    Source: Salvador and Chan, FastDTW: Toward accurate dynamic time warping in linear time and space, 2007, figure 6.
    """
    if min(len(walk), len(reference)) == 0:
        raise ValueError(f"cannot align {len(walk)} points with {len(reference)}; both walks need one at least")
    if radius < 1:
        raise ValueError(f"radius is {radius}, expected at least 1")
    return max(0.0, _fast_alignment(walk, reference, radius)[0])


def _fast_alignment(walk: Vector, reference: Vector, radius: int) -> tuple[float, NDArray[np.int64]]:
    """The cost and the cells (K, 2) of the alignment that FastDTW finds."""
    starts = np.zeros(len(walk), dtype=np.int64)
    ends = np.full(len(walk), len(reference), dtype=np.int64)
    if min(len(walk), len(reference)) >= radius + 2:
        _, cells = _fast_alignment(_halved(walk), _halved(reference), radius)
        starts, ends = _window(cells, radius, len(walk), len(reference))
    return _banded_alignment(walk, reference, starts, ends)


def _halved(points: Vector) -> Vector:
    even = len(points) // 2 * 2
    return (points[0:even:2] + points[1:even:2]) / 2


def _window(
    cells: NDArray[np.int64], radius: int, rows: int, columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and past-the-last column to search in each row: the coarse cells grown by the radius, each worth 2 x 2 cells here."""
    starts = np.full(rows, columns, dtype=np.int64)
    ends = np.zeros(rows, dtype=np.int64)
    for offset in range(-2 * radius, 2 * radius + 2):
        row = 2 * cells[:, 0] + offset
        inside = (row >= 0) & (row < rows)
        np.minimum.at(starts, row[inside], np.maximum(2 * (cells[inside, 1] - radius), 0))
        np.maximum.at(ends, row[inside], np.minimum(2 * (cells[inside, 1] + radius + 1), columns))
    return starts, ends


def _banded_alignment(
    walk: Vector, reference: Vector, starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[float, NDArray[np.int64]]:
    """DTW over the columns [start, end) of each row; the bands of neighbouring rows overlap, so that a way through exists."""
    table = np.full((len(walk) + 1, len(reference) + 1), np.inf)
    table[0, 0] = 0.0
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        costs = point_distances(reference[start:end], walk[i])
        entered = np.minimum(table[i, start + 1 : end + 1], table[i, start:end])
        sums = np.cumsum(costs)
        table[i + 1, start + 1 : end + 1] = sums + np.minimum.accumulate(entered - (sums - costs))
    return float(table[-1, -1]), _traced_back(table)


def _traced_back(table: Vector) -> NDArray[np.int64]:
    """The cells (K, 2) of the best way through a cumulative table with a border of inf, last first."""
    i, j = table.shape[0] - 1, table.shape[1] - 1
    cells = []
    while i and j:
        cells.append((i - 1, j - 1))
        costs = (table[i - 1, j], table[i, j - 1], table[i - 1, j - 1])
        best = costs.index(min(costs))  # ties: up, then left, then both
        i, j = i - (best != 1), j - (best != 0)
    return np.array(cells, dtype=np.int64)
