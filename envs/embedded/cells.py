"""Which of a few areas hold a point: answered from a grid of cells, and by geometry only in the cells that a border crosses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import shapely
from shapely.geometry.base import BaseGeometry

CELL: float = 0.25
"""Metres, edge of a cell."""

GROWTH: float = 1e-6
"""Metres by which cells are grown before they are held against the areas, so that no rounding puts a point beside its own."""


class _Cell(NamedTuple):
    """What holds for every point of a cell: the areas that contain it, and those that have to be asked."""

    certain: tuple[int, ...]
    doubtful: tuple[int, ...]


class CellMap:
    """Answers for fixed areas in (x, z), just as `shapely.contains_xy` does; cells are surveyed when they are first asked about.

    Args:
        areas: Polygons or multipolygons, which are prepared; they may overlap.
    """

    def __init__(self, areas: Sequence[BaseGeometry]) -> None:
        self._areas = tuple(areas)
        shapely.prepare(self._areas)
        self._cells: dict[tuple[int, int], _Cell] = {}
        self._place: tuple[float, float] | None = None
        self._held: tuple[int, ...] = ()

    def holding(self, x: float, z: float) -> tuple[int, ...]:
        """Return the numbers of the areas that have a point in their interior."""
        # Motion, geodesics and sight ask about the same place in turn, and turns on the spot ask again.
        if self._place != (x, z):
            key = (math.floor(x / CELL), math.floor(z / CELL))
            certain, doubtful = self._cells.get(key) or self._survey(key)
            asked = [number for number in doubtful if shapely.contains_xy(self._areas[number], x, z)]
            self._held = tuple(sorted([*certain, *asked])) if asked else certain
            self._place = (x, z)
        return self._held

    def _survey(self, key: tuple[int, int]) -> _Cell:
        x, z = key[0] * CELL, key[1] * CELL
        square = shapely.box(x - GROWTH, z - GROWTH, x + CELL + GROWTH, z + CELL + GROWTH)
        met = [number for number, area in enumerate(self._areas) if area.intersects(square)]
        certain = tuple(number for number in met if self._areas[number].contains_properly(square))
        cell = _Cell(certain, tuple(number for number in met if number not in certain))
        self._cells[key] = cell
        return cell
