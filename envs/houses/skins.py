"""What the walls of a room wear: paint, tiles or bricks, with the light of the day baked in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navloop.envs.houses.sides import Point, Side
from navloop.envs.houses.surfaces import PAINTS, Texture, brick_texture, paint_texture, tiled_wall_texture
from navloop.envs.scenes import Room

_LIGHT = (1.0, 0.94, 0.97, 0.91)  # By side, so that corners read without lamps.


@dataclass(frozen=True, slots=True)
class Skin:
    """The texture of one side.

    Attributes:
        texture: Its name.
        metres: Width before it repeats; 0 where the wall fills one of four strips of the room's own texture.
        strip: Which strip.
    """

    texture: str
    metres: float = 0.0
    strip: int = 0

    def uv(self, points: Sequence[Point], length: float, height: float) -> NDArray[np.float64]:
        """Return texture coordinates (P, 2) of points on a side that is `length` metres long and `height` high."""
        t, y, _ = np.asarray(points, float).T
        inset = 0.5 / 128
        v = inset + (1 - np.clip(y / height, 0, 1)) * (1 - 2 * inset)
        if self.metres:
            return np.stack([t / self.metres, v], 1)
        edge = 0.75 / 64
        return np.stack([(self.strip + edge + t / length * (1 - 2 * edge)) / 4, v], 1)


def wall_skins(room: Room, around: Sequence[Side]) -> tuple[list[Skin], dict[str, Texture]]:
    """Choose what each of a room's four sides wears; return that, and the textures by name."""
    lit = [any(hole.portal.kind == "window" for hole in side.holes) for side in around]
    # Daylight falls on the walls beside and across a window; the window's own wall is darker against it.
    light = [_LIGHT[i] - 0.03 * lit[i] + 0.02 * lit[(i + 2) % 4] for i in range(4)]
    accent = _accent(around) if "accent wall" in room.colours else -1
    skins: list[Skin] = []
    textures: dict[str, Texture] = {}
    strips: list[Texture] = []
    for i, side in enumerate(around):
        colour, tone = room.colours["wall"], round(light[i], 2)
        if i == accent or colour.endswith(" tiles"):
            word = colour.removesuffix(" tiles")
            name = f"brick {tone}" if i == accent else f"{word} wall tiles {tone}"
            textures[name], metres = brick_texture(tone) if i == accent else tiled_wall_texture(word, tone)
            skins.append(Skin(name, metres))
        else:
            skins.append(Skin(f"{room.name} walls", strip=len(strips)))
            ends = (0.05 * lit[(i - 1) % 4], 0.05 * lit[(i + 1) % 4])
            strips.append(paint_texture(PAINTS[colour], side.length, light[i], ends))
    if strips:
        textures[f"{room.name} walls"] = np.concatenate(strips + [strips[-1]] * (4 - len(strips)), 1)
    return skins, textures


def _accent(around: Sequence[Side]) -> int:
    """Return the side that an accent suits: one without openings, without holes at all, the longest."""
    plain = [i for i in range(4) if not any(hole.portal.kind == "opening" for hole in around[i].holes)]
    return max(plain or range(4), key=lambda i: (not around[i].holes, around[i].length))
