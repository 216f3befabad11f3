"""Floors in a heap of triangles: which surfaces a body reaches on foot, and where on them it can stand.

Surfaces that adjoin without a step make a patch; from the largest patch the floor grows over steps that the body can climb onto
patches that have room for it. Slopes, uneven ground and split levels joined by stairs are one floor. Of storeys above each other
one is found, and the stairs away from it as far as they do not lie over it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from navloop.envs.embedded import footprints
from navloop.envs.embedded.footprints import Polygons
from navloop.envs.embedded.ground import Floor
from navloop.envs.simulator import Body, SceneError
from navloop.geometry import Vector

COVERING: float = 0.02
"""Metres: rugs and sills up to this thickness do not lift the body."""

STANCE: float = 0.1
"""Metres: a surface that is nowhere wider than twice this is not stepped on (skirting boards, shelves, ledges)."""

SLIMMEST: float = 0.01
"""Metres: a body of a smaller radius is taken to have this one, so that walls without thickness still stop it."""

SAGITTA: float = 0.008
"""Metres by which the polygons round a corner more tightly than the body's radius."""

CRACK: float = 1e-3
"""Metres of gap between triangles of one floor that are closed."""

OVERLAP: float = 0.05
"""Share of a surface that may lie above or below the floor before it counts as another storey."""

SMALLEST_PART: float = 0.05
"""Square metres of free space below which a part is dropped."""


@dataclass
class _Patch:
    """Surfaces that adjoin without a step.

    Attributes:
        triangles: float64 (T, 3, 3).
        polygons: Shadows (G,) of its plane pieces.
        planes: The planes (G, 3) of those.
        blocked: Shadows of what stands in the way on it.
    """

    triangles: Vector
    polygons: Polygons
    planes: Vector
    blocked: Polygons = field(default_factory=lambda: np.zeros(0, dtype=object))

    @cached_property
    def shadow(self) -> BaseGeometry:
        """All of it seen from above, cracks closed."""
        return _closed(self.polygons)

    @property
    def underfoot(self) -> Vector:
        """The plane (T, 3) that each triangle holds a body at: that of the whole where it is flat, coverings and all."""
        flat = len(self.planes) == 1
        return np.repeat(self.planes, len(self.triangles), axis=0) if flat else footprints.planes_of(self.triangles)

    @cached_property
    def height(self) -> float:
        """Its median height in metres."""
        return float(np.median(self.triangles[:, :, 1]))


def find_floor(triangles: Vector, body: Body) -> tuple[Floor, tuple[shapely.Polygon, ...]]:
    """Return the floor with the most room for a body in a scene of triangles (F, 3, 3), and the parts where its centre may stand.

    Of floors with much the same room (a storey and its roof) it is the lowest.

    Raises:
        SceneError: If nothing faces up, the body fits nowhere, or a vertex is not finite.
    """
    if not np.isfinite(triangles).all():
        raise SceneError("vertices that are not finite (nan or inf); export the scene again")
    up = triangles[footprints.faces_up(triangles)]
    if not len(up):
        raise SceneError(
            f"no floor: none of the {len(triangles)} triangles faces up; y must be the up axis, in metres, and "
            "triangles counter-clockwise seen from above"
        )
    scene = _Scene(triangles, up, body)
    found = [(floor, parts, sum(part.area for part in parts)) for floor, parts in scene.floors()]
    largest = max((area for _, _, area in found), default=0.0)
    if not largest:
        raise SceneError(
            f"no floor with room for a body of radius {body.radius:g} m and height {body.height:g} m among "
            f"{len(up)} triangles that face up; is the scene in metres, with y up?"
        )
    spacious = [(floor, parts) for floor, parts, area in found if area >= largest / 2]
    return min(spacious, key=lambda it: float(np.median(it[0].planes[:, 2])))


class _Scene:
    """The triangles of a scene, sorted into patches that are joined by steps."""

    def __init__(self, triangles: Vector, up: Vector, body: Body) -> None:
        self.triangles, self.up, self.body = triangles, up, body
        pairs, steps = footprints.adjoining(up, max(body.max_climb, COVERING))
        self.patch_of = footprints.group(len(up), pairs[np.abs(steps) <= COVERING])
        self.joints = np.unique(np.sort(self.patch_of[pairs], axis=1), axis=0)
        self.index = _boxes(triangles)

    def floors(self) -> Iterator[tuple[Floor, tuple[shapely.Polygon, ...]]]:
        """Grow a floor in each group of patches that might be the main one."""
        count = int(self.patch_of.max()) + 1
        patch_areas = np.bincount(self.patch_of, shapely.area(footprints.shadows(self.up)), count)
        groups = footprints.group(count, self.joints)
        areas = np.bincount(groups, patch_areas)
        for number in np.nonzero(areas >= areas.max() / 2)[0]:
            members = np.nonzero(groups == number)[0]
            patches = self._grow(int(members[patch_areas[members].argmax()]))
            parts = self._parts(patches)
            space = footprints.union(parts)
            yield _floor([patch for patch in patches if patch.shadow.intersects(space)] or patches), parts

    def _grow(self, seed: int) -> list[_Patch]:
        """Return the patches that a body reaches from a seed, the seed first."""
        grown, seen, border = [self._patch(seed)], {seed}, [seed]
        while border:
            here = border.pop(0)
            beside = np.unique(self.joints[(self.joints == here).any(axis=1)])
            for number in (int(n) for n in beside if int(n) not in seen):
                seen.add(number)
                patch = self._patch(number)
                if self._has_room(patch) and not self._above_or_below(patch, grown):
                    grown.append(patch)
                    border.append(number)
        return grown

    def _patch(self, number: int) -> _Patch:
        triangles = self.up[self.patch_of == number]
        heights = triangles[:, :, 1]
        if np.ptp(heights) <= COVERING:
            areas = shapely.area(footprints.shadows(triangles))
            levels, which = np.unique(np.round(heights.mean(axis=1), 4), return_inverse=True)
            level = levels[np.bincount(which, areas).argmax()]
            shadow = footprints.union(footprints.shadows(triangles))
            patch = _Patch(triangles, np.array([shadow], dtype=object), np.array([[0.0, 0.0, level]]))
        else:
            patch = _Patch(triangles, *footprints.coplanar(triangles))
        return patch

    def _obstruct(self, patch: _Patch) -> None:
        """Find what stands in the way on a patch."""
        low, high = self.body.max_climb + 1e-4, self.body.height - 1e-4
        on, over = self.index.query(patch.polygons, predicate="intersects")
        hulls, which = footprints.obstacles(self.triangles[over], patch.planes[on], low, high)
        ground = patch.polygons[on[which]]
        if len(patch.polygons) > 1:
            hulls = shapely.intersection(hulls, ground)
        patch.blocked = hulls[~shapely.is_empty(hulls)]

    def _has_room(self, patch: _Patch) -> bool:
        """Whether a body can stand on a patch that is not the seed."""
        stance = min(STANCE, max(self.body.radius, SLIMMEST))
        if patch.shadow.buffer(-stance, quad_segs=1).is_empty:
            return False
        self._obstruct(patch)
        patch.blocked = shapely.intersection(patch.blocked, patch.shadow)
        return bool(self._open(patch.shadow, patch.blocked, stance).area > 1e-4)

    def _above_or_below(self, patch: _Patch, grown: list[_Patch]) -> bool:
        """Whether a patch is another storey, over or under the floor so far with room for a body between."""
        others = [other for other in grown if abs(other.height - patch.height) > self.body.height]
        shared = sum(patch.shadow.intersection(other.shadow).area for other in others)
        return bool(shared > OVERLAP * patch.shadow.area)

    def _parts(self, patches: list[_Patch]) -> tuple[shapely.Polygon, ...]:
        """Return where the centre of the body may stand on patches, the largest part first."""
        self._obstruct(patches[0])
        blocked = []
        ground = _closed(np.array([patch.shadow for patch in patches], dtype=object))
        for patch in patches:
            higher = [other.shadow for other in patches if _stands_on(other, patch)]
            blocked.append(_without(patch.blocked, higher))
        free = self._open(ground, np.concatenate(blocked), max(self.body.radius, SLIMMEST)).simplify(SAGITTA / 4)
        parts = [p for p in shapely.get_parts(free) if p.geom_type == "Polygon" and p.area >= SMALLEST_PART]
        parts.sort(key=lambda part: -part.area)
        floor = _floor(patches)
        return tuple(part for i, part in enumerate(parts) if i == 0 or not self._inside_solid(part, floor))

    def _open(self, ground: BaseGeometry, blocked: Polygons, radius: float) -> BaseGeometry:
        """Return the ground that a disc can be centred on, all of it on the ground and off what is blocked."""
        segments = max(1, math.ceil(math.pi / 4 / math.acos(max(1 - SAGITTA / radius, 0.0))))
        open_ground = ground.buffer(-radius, quad_segs=segments)
        return open_ground.difference(_merged(blocked).buffer(radius, quad_segs=segments))

    def _inside_solid(self, part: shapely.Polygon, floor: Floor) -> bool:
        """Whether what is above a part shows its back: a part inside a wardrobe or a thick wall, not a room."""
        x, z = part.representative_point().coords[0]
        over = self.triangles[self.index.query(shapely.Point(x, z))]
        normals = np.cross(over[:, 1] - over[:, 0], over[:, 2] - over[:, 0])[:, 1]
        lying = np.abs(normals) > 2 * footprints.SMALLEST
        over, normals = over[lying], normals[lying]
        covers = shapely.intersects_xy(footprints.shadows(over), x, z)
        heights = footprints.heights_on(footprints.planes_of(over), np.array([x, z]))
        above = covers & (heights > floor.heights(np.array([[x, z]]))[0] + self.body.max_climb)
        return bool(above.any() and normals[above][heights[above].argmin()] > 0)


def _floor(patches: list[_Patch]) -> Floor:
    triangles = np.concatenate([patch.triangles for patch in patches])
    return Floor(triangles, np.concatenate([patch.underfoot for patch in patches]))


def _closed(polygons: Polygons) -> BaseGeometry:
    """Return the union of polygons, the cracks between them filled."""
    grown = footprints.union(polygons).buffer(CRACK, join_style="mitre")
    return grown.buffer(-CRACK, join_style="mitre")


def _stands_on(patch: _Patch, lower: _Patch) -> bool:
    """Whether a patch lies on top of another, so that what is in the way on the lower one does not count there."""
    return patch is not lower and patch.height > lower.height


def _without(blocked: Polygons, covers: list[BaseGeometry]) -> Polygons:
    if not covers or not len(blocked):
        return blocked
    cover = footprints.union(covers).buffer(2 * CRACK, join_style="mitre")
    shapely.prepare(cover)
    hit = shapely.intersects(cover, blocked)
    return np.concatenate([blocked[~hit], shapely.difference(blocked[hit], cover)])


def _merged(blocked: Polygons) -> BaseGeometry:
    """Return the union of polygons and lines; lines within the polygons are dropped first, which is most of the work saved."""
    parts = shapely.get_parts(blocked)
    area = footprints.union(parts[shapely.get_dimensions(parts) == 2])
    lines = np.unique(shapely.to_wkb(shapely.normalize(parts[shapely.get_dimensions(parts) < 2])))
    thin = shapely.from_wkb(lines)
    shapely.prepare(area)
    return shapely.geometrycollections([area, footprints.union(thin[~shapely.covers(area, thin)])])


def _boxes(triangles: Vector) -> shapely.STRtree:
    """Return an index over the bounds of triangles (F, 3, 3) on the floor."""
    low, high = triangles.min(axis=1), triangles.max(axis=1)
    boxes: Polygons = shapely.box(low[:, 0], low[:, 2], high[:, 0], high[:, 2])
    return shapely.STRtree(boxes)
