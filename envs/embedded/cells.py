"""Which of a few areas hold a point: answered from a grid of cells, and by geometry only in the cells that a border crosses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

CELL: float = 0.25
"""Metres, edge of a cell; more where the areas would need over `MOST` cells a side."""

MOST: int = 256

GROWTH: float = 1e-6
"""Metres by which cells are grown before they are held against the areas, so that no rounding puts a point beside its own."""


class _Cell(NamedTuple):
    """What holds for every point of a cell: the areas that contain it, and those that have to be asked."""

    certain: tuple[int, ...] = ()
    doubtful: tuple[int, ...] = ()


class CellMap:
    """Answers for fixed areas in (x, z), just as `shapely.contains_xy` does.

    Args:
        areas: Polygons or multipolygons, which are prepared; they may overlap, and there may be none.
    """

    def __init__(self, areas: Sequence[BaseGeometry]) -> None:
        self._areas = tuple(areas)
        shapely.prepare(self._areas)
        bounds = shapely.total_bounds(self._areas) if self._areas else np.zeros(4)
        self._low_x, self._low_z, high_x, high_z = bounds.tolist()
        width, depth = high_x - self._low_x, high_z - self._low_z
        self._edge = max(CELL, width / MOST, depth / MOST)
        self._rows = self._survey(int(width / self._edge) + 1, int(depth / self._edge) + 1)
        self._place: tuple[float, float] | None = None
        self._held: tuple[int, ...] = ()

    def holding(self, x: float, z: float) -> tuple[int, ...]:
        """Return the numbers of the areas that have a point in their interior."""
        # Motion, geodesics and sight ask about the same place in turn, and turns on the spot ask again.
        if self._place != (x, z):
            certain, doubtful = self._cell(x, z)
            asked = [number for number in doubtful if shapely.contains_xy(self._areas[number], x, z)]
            self._held = tuple(sorted([*certain, *asked])) if asked else certain
            self._place = (x, z)
        return self._held

    def _cell(self, x: float, z: float) -> _Cell:
        column, row = math.floor((x - self._low_x) / self._edge), math.floor((z - self._low_z) / self._edge)
        inside = 0 <= row < len(self._rows) and 0 <= column < len(self._rows[0])
        return self._rows[row][column] if inside else _Cell()

    def _survey(self, columns: int, rows: int) -> list[list[_Cell]]:
        """Hold every cell against every area."""
        x, z = np.meshgrid(self._low_x + np.arange(columns) * self._edge, self._low_z + np.arange(rows) * self._edge)
        far = self._edge + GROWTH
        tree = shapely.STRtree(shapely.box(x - GROWTH, z - GROWTH, x + far, z + far).ravel())
        cells = [_Cell()] * (rows * columns)
        for number, area in enumerate(self._areas):
            within = set(tree.query(area, "contains_properly").tolist())
            for place in tree.query(area, "intersects").tolist():
                certain, doubtful = cells[place]
                in_it = place in within
                cells[place] = _Cell((*certain, number), doubtful) if in_it else _Cell(certain, (*doubtful, number))
        return [cells[first : first + columns] for first in range(0, len(cells), columns)]
