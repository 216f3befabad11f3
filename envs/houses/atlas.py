"""One texture for all furniture of a house: small images packed into one, each with a border that keeps neighbours from bleeding in."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

WIDTH = 1024
GUTTER = 4  # Pixels repeated around each image: bilinear lookups stay inside it down to the third mipmap level.
ALIGNMENT = 8  # Images start and end on multiples, so that no texel of those levels mixes two of them.


class Atlas:
    """A register of images by key, packed into one when it is known which are used.

    Faces keep an image's number and the place within it, from (0, 0) at its top left corner to (1, 1); `pack` turns
    them into texture coordinates. What nobody uses is not even drawn.
    """

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._draws: list[Callable[[], Image]] = []

    def number(self, key: Hashable, draw: Callable[[], Image]) -> int:
        """Return the number of an image; `draw` will make it, uint8 (H, W, 3), if the key is new."""
        if key not in self._numbers:
            self._numbers[key] = len(self._draws)
            self._draws.append(draw)
        return self._numbers[key]

    def pack(self, numbers: NDArray[np.int64]) -> Packed:
        """Draw and pack images.

        Args:
            numbers: Which ones, int64 (N,), in any order, repeated or not.
        """
        images = {int(number): self._draws[int(number)]() for number in np.unique(numbers)}
        places, height = _shelve({number: _outer(image) for number, image in images.items()})
        pixels = np.zeros((height, WIDTH, 3), np.uint8)
        corners, spans = np.zeros((len(self._draws), 2)), np.zeros((len(self._draws), 2))
        for number, (x, y) in places.items():
            rows, columns = images[number].shape[:2]
            outer_rows, outer_columns = _outer(images[number])
            border = ((GUTTER, outer_rows - rows - GUTTER), (GUTTER, outer_columns - columns - GUTTER), (0, 0))
            pixels[y : y + outer_rows, x : x + outer_columns] = np.pad(images[number], border, mode="edge")
            # From the middle of the first pixel to the middle of the last one.
            corners[number] = x + GUTTER + 0.5, y + GUTTER + 0.5
            spans[number] = columns - 1, rows - 1
        return Packed(pixels, corners, spans)


class Packed:
    """The one image, and where each of those it was packed from lies.

    Attributes:
        image: uint8 (H, 1024, 3); H is a power of two.
    """

    def __init__(self, image: Image, corners: NDArray[np.float64], spans: NDArray[np.float64]) -> None:
        self.image = image
        self._corners, self._spans = corners, spans

    def uv(self, numbers: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return texture coordinates float32 (V, 2), as in glTF, of places (V, 2) within the images of numbers (V,)."""
        positions = self._corners[numbers] + shares * self._spans[numbers]
        return (positions / (WIDTH, len(self.image))).astype(np.float32)


def _outer(image: Image) -> tuple[int, int]:
    """Return rows and columns of an image with its border."""
    rows, columns = (-(-(size + 2 * GUTTER) // ALIGNMENT) * ALIGNMENT for size in image.shape[:2])
    return rows, columns


def _shelve(sizes: dict[int, tuple[int, int]]) -> tuple[dict[int, tuple[int, int]], int]:
    """Place rectangles (rows, columns) in rows, the highest first; return each one's (x, y) and the height needed."""
    places: dict[int, tuple[int, int]] = {}
    x = top = shelf = 0
    for number, (rows, columns) in sorted(sizes.items(), key=lambda item: (-item[1][0], item[0])):
        if columns > WIDTH:
            raise ValueError(f"an image {columns} pixels wide with its border does not fit the atlas of {WIDTH}")
        if x + columns > WIDTH:
            x, top = 0, top + shelf
        shelf = rows if x == 0 else shelf
        places[number] = x, top
        x += columns
    used = max(top + shelf, ALIGNMENT)
    return places, 1 << (used - 1).bit_length()
