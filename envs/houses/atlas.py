"""One texture for all furniture of a house: small images packed into one, each with a border that keeps neighbours from bleeding in."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

WIDTH = 1024
GUTTER = 4  # Pixels repeated around each patch: bilinear lookups stay inside it down to the third mipmap level.
ALIGNMENT = 8  # Patches start and end on multiples, so that no texel of those levels mixes two of them.


class Patch(NamedTuple):
    """Where an image lies in the atlas: pixel edges, the first row at the top."""

    left: float
    top: float
    right: float
    bottom: float


class Atlas:
    """Packs images row by row and hands out where they lie; the same key is drawn once.

    Positions are pixels until the atlas is finished, since its height grows with what is put in; `to_uv` turns them
    into texture coordinates of the `image` of that moment.
    """

    def __init__(self) -> None:
        self._pixels: Image = np.zeros((256, WIDTH, 3), np.uint8)
        self._patches: dict[Hashable, Patch] = {}
        self._shelves: dict[int, tuple[int, int]] = {}  # patch height -> next free (x, y)
        self._used_height = 0

    def patch(self, key: Hashable, draw: Callable[[], Image]) -> Patch:
        """Return where the image of a key lies; `draw` makes it, uint8 (H, W, 3), if the key is new."""
        if key not in self._patches:
            self._patches[key] = self._add(draw())
        return self._patches[key]

    def to_uv(self, positions: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return texture coordinates (V, 2), as in glTF, of pixel positions (V, 2)."""
        return (positions / (WIDTH, len(self._pixels))).astype(np.float32)

    @property
    def image(self) -> Image:
        """The atlas, uint8 (H, 1024, 3); H is a power of two."""
        return self._pixels

    def _add(self, image: Image) -> Patch:
        height, width = image.shape[:2]
        padded = np.pad(
            image,
            (
                (GUTTER, GUTTER + -(height + 2 * GUTTER) % ALIGNMENT),
                (GUTTER, GUTTER + -(width + 2 * GUTTER) % ALIGNMENT),
                (0, 0),
            ),
            mode="edge",
        )
        x, y = self._place(padded.shape[1], padded.shape[0])
        self._pixels[y : y + padded.shape[0], x : x + padded.shape[1]] = padded
        # Half a pixel in from each edge: the outermost texels' centres.
        left, top = x + GUTTER + 0.5, y + GUTTER + 0.5
        return Patch(left, top, left + width - 1, top + height - 1)

    def _place(self, width: int, height: int) -> tuple[int, int]:
        if width > WIDTH:
            raise ValueError(f"an image {width} pixels wide with its border does not fit the atlas of {WIDTH}")
        x, y = self._shelves.get(height, (WIDTH, 0))
        if x + width > WIDTH:
            x, y = 0, self._used_height
            self._used_height += height
            while self._used_height > len(self._pixels):
                self._pixels = np.concatenate([self._pixels, np.zeros_like(self._pixels)])
        self._shelves[height] = (x + width, y)
        return x, y
